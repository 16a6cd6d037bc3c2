"""A model of a clip is trained, stopped and continued."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from clips import FIELDS, TINY, clip, trained_on_clip, waves
from reference.compare import difference
from singleimage.models.model import Model
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import Pyramid, WidthPyramid
from singleimage.multiscale.resample import bilinear, resize
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import HP_VAE_GAN
from singleimage.recipes.tasks import for_video
from singleimage.training.planning import count_parameters
from singleimage.training.trainer import Trainer


@pytest.fixture(scope="module")
def model() -> Model:
    return trained_on_clip().model()


def test_levels_have_the_published_numbers_of_frames() -> None:
    """Frame rates follow the level: floor(3 i / 9) of strides 4, 3, 2, 1; 12 frames are spanned."""
    ladder = for_video(HP_VAE_GAN).pyramid.plan(Size(144, 256))
    assert [ladder.frames(level) for level in range(10)] == [4, 4, 4, 5, 5, 5, 7, 7, 7, 13]
    assert ladder.shape(9) == (13, 144, 256)
    assert ladder.truncated(4).shape(-1) == (5, *ladder.sizes[3])


def test_levels_begin_and_end_with_the_same_frames() -> None:
    law = WidthPyramid(width=24, min_width=13, strides=(3, 2, 1), quantize=False)
    pixels = waves(9)[None]
    reel = Pyramid.build(pixels, law)
    for start in (0, 2):
        part = reel.excerpt(start)
        strides = (3, 3, 2, 2, 1)
        for image, size, stride in zip(part.images, part.ladder.sizes, strides, strict=True):
            chosen = pixels[:, :, start : start + 7 : stride]
            ends = pixels[:, :, start], pixels[:, :, start + 6]
            assert difference(image[:, :, 0], bilinear(ends[0], size)) < 1e-6
            assert difference(image[:, :, -1], bilinear(ends[1], size)) < 1e-6
            assert difference(image, bilinear(chosen, size)) < 1e-6


def test_clips_are_reduced_frame_by_frame_by_either_law() -> None:
    pixels = waves(7)[None]
    for resampling, reduce in (("bilinear", bilinear), ("bicubic", resize)):
        fields = {"pyramid.resampling": resampling, "pyramid.quantize": "false"}
        law = with_overrides(TINY, fields).pyramid
        reel = Pyramid.build(pixels, law)
        for image, size in zip(reel.images, reel.ladder.sizes, strict=True):
            frames = [reduce(frame, size) for frame in pixels.unbind(2)]
            assert difference(image, torch.stack(frames, 2)) < 1e-5


def test_networks_have_three_axes_and_the_counts_of_the_published_code() -> None:
    """27 weights in place of 9: counted by hand from the layers."""
    recipe = for_video(HP_VAE_GAN)
    ladder = recipe.pyramid.plan(Size(144, 256))

    def layer(c_in: int, c_out: int) -> int:
        return 27 * c_in * c_out + c_out

    encoder = layer(3, 64) + 2 * layer(64, 64) + 2 * layer(64, 128)
    body = 5 * (layer(64, 64) + 128) + 128 + layer(64, 3)
    decoder, block = layer(128, 64) + body, layer(3, 64) + body
    critic = layer(3, 64) + 5 * layer(64, 64) + layer(64, 1)
    assert count_parameters(recipe, ladder) == (encoder + decoder + 9 * block, critic)


def test_steps_look_at_any_part_of_a_long_clip() -> None:
    trainer = Trainer(clip(12), TINY, seed=3, device="cpu")
    reel = Pyramid.build(waves(12)[None], TINY.pyramid)
    starts = set()
    for step in range(60):
        seen = trainer._batch(step).images[-1]
        fits = [i for i in range(6) if torch.equal(seen, reel.excerpt(i).images[-1])]
        assert len(fits) == 1
        starts |= set(fits)
        assert step or fits == [0]
    assert starts == set(range(6))
    again = Trainer(clip(12), TINY, seed=3, device="cpu")
    assert torch.equal(again._batch(7).images[0], trainer._batch(7).images[0])


@pytest.mark.parametrize("stop", [1, 7])
def test_a_stopped_training_of_a_clip_ends_with_the_same_weights(stop: int) -> None:
    whole = trained_on_clip()
    first, second = (Trainer(clip(), TINY, seed=3, device="cpu", precision="fp32") for _ in "12")
    for _, _ in zip(range(stop), first, strict=False):
        pass
    second.load_state_dict(deepcopy(first.state_dict()))
    for _ in second:
        pass
    ours, theirs = whole.state_dict()["learner"], second.state_dict()["learner"]
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("norm", ["image", "running"])
def test_a_clip_trains_in_every_precision_and_with_every_norm(precision: Any, norm: str) -> None:
    recipe = with_overrides(TINY, {"generator.decode_norm": norm, "training.batch": "2"})
    trainer = Trainer(clip(), recipe, seed=3, device="cpu", precision=precision)
    for progress in trainer:
        assert all(np.isfinite(loss) for loss in progress.losses.values())
    drawn = list(trainer.model().sample([0, 1]))
    assert drawn[0].pixels.shape == (3, 7, 20, 24)
    assert difference(drawn[0].pixels, drawn[1].pixels) > 0.01


def test_a_clip_is_memorized_by_an_autoencoder_that_learns_long_enough() -> None:
    """Its reconstruction moves as the clip does, not as the clip backward."""
    fields = FIELDS | {
        "generator.width": "16",
        "training.steps": "80",
        "pyramid.width": "16",
        "generator.vae_levels": "2",
        "generator.noise_from": "2",
        "phases.1.from_level": "2",
    }
    trainer = Trainer(clip(7), with_overrides(for_video(HP_VAE_GAN), fields), seed=0, device="cpu")
    for progress in trainer:
        if progress.level == 1 and progress.level_done:
            break
    model = trainer.model()
    photo, made = model.training_image(), model.reconstruct()
    assert photo is not None
    errors = [
        float((made.pixels - x).square().mean()) for x in (photo.pixels, photo.pixels.flip(1))
    ]
    assert errors[0] < 0.5 * errors[1]
    assert errors[0] < 0.5 * float(photo.pixels.var())
