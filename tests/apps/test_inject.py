"""A picture enters a generator at a level: which levels take one, and which is suggested."""

from pathlib import Path

import pytest

from singleimage import Model
from singleimage.apps.inject import inject, suggested_level
from singleimage.errors import UnsupportedEntry


@pytest.fixture
def model(tiny_run: Path) -> Model:
    return Model.load(tiny_run)


def test_a_picture_enters_at_every_level_it_may(model: Model) -> None:
    photo = model.training_image()
    assert photo is not None
    generator = model.generator
    for level in range(len(generator.ladder.sizes) + 1):
        if level in generator.entry_levels:
            images = inject(generator, photo.pixels[None], level=level, seeds=[0, 1])
            assert images.shape == (2, *photo.pixels.shape)
        else:
            with pytest.raises(UnsupportedEntry, match="cannot take an image"):
                inject(generator, photo.pixels[None], level=level)


def test_the_suggested_level_is_one_and_grows_with_the_share(model: Model) -> None:
    levels = [suggested_level(model.generator, share) for share in (0, 0.5, 1)]
    assert set(levels) <= model.generator.entry_levels
    assert levels == sorted(levels)
