"""Fixtures of the tests of tools: a model of each family, and the photo it learned."""

from pathlib import Path

import pytest

from scenes import scene
from singleimage import PRESETS, Channels, Model, Photo, with_overrides


@pytest.fixture
def model(tiny_run: Path) -> Model:
    return Model.load(tiny_run)


@pytest.fixture(scope="module")
def flow() -> Model:
    """A model without training, of three levels of which the finest copies."""
    fields = {"generator.steps": "6", "generator.flow_side": "48"}
    recipe = with_overrides(PRESETS["flow"], fields)
    return Model.of_photo(Photo(scene(60, 75), Channels(mode="RGB")), recipe)


@pytest.fixture
def photo(model: Model) -> Photo:
    found = model.training_image()
    assert found is not None
    return found
