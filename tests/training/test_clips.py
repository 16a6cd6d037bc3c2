"""A model of a clip is trained, stopped and continued."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from clips import FIELDS, TINY, clip, trained_on_clip, waves
from reference.compare import difference
from singleimage.multiscale.pyramid import Pyramid
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import HP_VAE_GAN
from singleimage.recipes.tasks import for_video
from singleimage.training.trainer import Trainer
from tiny import slow_but


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


@pytest.mark.parametrize("stop", slow_but([1, 7], 7))
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


@pytest.mark.parametrize(
    ("precision", "norm"),
    [
        ("fp32", "image"),
        ("bf16", "running"),
        pytest.param("fp32", "running", marks=pytest.mark.slow),
        pytest.param("bf16", "image", marks=pytest.mark.slow),
    ],
)
def test_a_clip_trains_in_every_precision_and_with_every_norm(precision: Any, norm: str) -> None:
    recipe = with_overrides(TINY, {"generator.decode_norm": norm, "training.batch": "2"})
    trainer = Trainer(clip(), recipe, seed=3, device="cpu", precision=precision)
    for progress in trainer:
        assert all(np.isfinite(loss) for loss in progress.losses.values())
    drawn = list(trainer.model().sample([0, 1]))
    assert drawn[0].pixels.shape == (3, 7, 20, 24)
    assert difference(drawn[0].pixels, drawn[1].pixels) > 0.01


@pytest.mark.slow
def test_a_clip_is_memorized_by_an_autoencoder_that_learns_long_enough() -> None:
    """Its reconstruction moves as the clip does, not as the clip backward."""
    fields = FIELDS | {
        "generator.width": "16",
        "training.steps": "30",
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
