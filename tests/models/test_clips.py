"""A model of a clip draws clips of any size and length."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clips import TINY, clip, trained_on_clip
from reference.compare import difference
from singleimage.apps.animate import animate
from singleimage.apps.inject import inject
from singleimage.apps.sample import seam
from singleimage.errors import ArgumentError, DeviceError, ImageError, UnsupportedEntry
from singleimage.images.clip import Clip
from singleimage.images.reader import read_photo
from singleimage.models.model import Model
from singleimage.recipes.presets import HP_VAE_GAN
from singleimage.training.trainer import Trainer


@pytest.fixture(scope="module")
def model() -> Model:
    return trained_on_clip().model()


def test_a_clip_depends_on_its_seed_alone(model: Model) -> None:
    one, many = next(model.sample([5])), list(model.sample([4, 5, 6]))
    assert isinstance(one, Clip)
    assert one.fps == 8
    assert torch.equal(one.pixels, many[1].pixels)
    assert difference(many[0].pixels, many[1].pixels) > 0.01


def test_clips_of_any_size_and_length(model: Model) -> None:
    assert next(model.sample([0], size=(30, 25))).pixels.shape == (3, 7, 30, 25)
    assert next(model.sample([0], frames=19)).pixels.shape == (3, 19, 20, 24)
    assert next(model.sample([0], frames=4)).pixels.shape == (3, 4, 20, 24)
    assert torch.equal(next(model.sample([0], frames=7)).pixels, next(model.sample([0])).pixels)
    assert model.generator.ladder.frames(-1) == 7
    with pytest.raises(
        ArgumentError, match="3 frames are too few for this model; ask for 4 or more"
    ):
        model.sample([0], frames=3)
    with pytest.raises(ArgumentError, match="drop one of the two"):
        model.sample([0], frames=9, start_level=1)


def test_a_model_of_clips_is_not_read_on_mps(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(DeviceError, match="use --device cpu"):
        Model.load(tmp_path, device=torch.device("mps"))


def test_a_kept_layout_keeps_the_coarse_clip(model: Model) -> None:
    """Above it noise is small: the clips are nearly alike, and like what reproduces the photo."""
    kept, free = (model.sample([1, 2], start_level=level) for level in (3, 0))
    near, far = (difference(a.pixels, b.pixels) for a, b in (kept, free))
    assert near < far


def test_a_period_can_be_repeated(model: Model) -> None:
    g = model.generator
    assert all(part.dim() == 5 for part in g.draw(g.ladder.sizes, [3], (True, True)).tensors())
    wrapped = [seam(next(model.sample([i], tile="xy")).pixels) for i in range(6)]
    open_ = [seam(next(model.sample([i])).pixels) for i in range(6)]
    assert np.mean(wrapped) < np.mean(open_)


def test_a_model_of_a_clip_is_saved_and_read(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.safetensors")
    read = Model.load(tmp_path / "m.safetensors", precision="fp32")
    assert torch.equal(next(read.sample([1])).pixels, next(model.sample([1])).pixels)
    photo = read.training_image()
    assert isinstance(photo, Clip)
    assert photo.pixels.shape == (3, 7, 20, 24)
    assert read.provenance.fps == 8
    assert read.suffix == ".gif"


def test_applications_of_photos_refuse_a_model_of_a_clip(model: Model) -> None:
    image = torch.zeros(1, 3, 20, 24)
    with pytest.raises(UnsupportedEntry, match="this model accepts none"):
        inject(model.generator, image, level=1)
    with pytest.raises(ImageError, match="take its `frames`"):
        next(model.sample([0])).colors()
    with pytest.raises(UnsupportedEntry, match="a model of a clip moves by itself"):
        animate(model.generator, frames=2, seed=0)


def test_photos_and_clips_are_not_taken_for_each_other(photo_file: Path) -> None:
    photo = read_photo(photo_file)
    with pytest.raises(ImageError, match="a clip of 7 frames or more is needed, not 1"):
        Trainer(photo, TINY, seed=0, device="cpu")
    with pytest.raises(ImageError, match="a clip of 7 frames or more is needed, not 6"):
        Trainer(clip(6), TINY, seed=0, device="cpu")
    with pytest.raises(ImageError, match="hp-vae-gan learns photos"):
        Trainer(clip(), HP_VAE_GAN, seed=0, device="cpu")
