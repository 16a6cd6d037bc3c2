"""A picture enters a generator at a level: which levels take one, and which is suggested."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scenes import scene
from singleimage import PRESETS, Model
from singleimage.apps.inject import entering, inject, suggested_level
from singleimage.errors import UnsupportedEntry
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.resample import resize


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


@pytest.mark.parametrize("name", ["hp-vae-gan", "meta"])
def test_all_of_a_picture_enters_where_levels_show_all_of_the_photo(name: str) -> None:
    """Mirrored, it enters mirrored: at the rounded sizes nothing is cut or added at a border."""
    picture = scene(188, 250)[None]
    ladder = PRESETS[name].pyramid.plan(Size(188, 250))
    picture = resize(picture, ladder.finest)
    stand_in: Any = SimpleNamespace(ladder=ladder, draw=lambda *_: None, anchor=lambda: ladder)
    for level in range(1, len(ladder.sizes) + 1):
        one, other = (
            entering(stand_in, x, level=level)[1].image for x in (picture, picture.flip(3))
        )
        assert float((one - other.flip(3)).abs().max()) < 0.05, level
