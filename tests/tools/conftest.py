"""Fixtures of the tests of tools: a model of each family, and the photo it learned."""

from pathlib import Path

import pytest

from singleimage import Model, Photo


@pytest.fixture
def model(tiny_run: Path) -> Model:
    return Model.load(tiny_run)


@pytest.fixture
def photo(model: Model) -> Photo:
    found = model.training_image()
    assert found is not None
    return found
