"""Hypernetworks in training: what changes their course, and what does not."""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from singleimage import Trainer
from singleimage.images.folder import read_album
from tiny import album_recipe


@cache
def learned(album: Path, **more: str) -> dict[str, Tensor]:
    """The weights after two levels."""
    trainer = Trainer(
        read_album(album), album_recipe(**more), seed=0, device="cpu", dtype=torch.float64
    )
    for progress in trainer:
        if progress.level == 1 and progress.level_done:
            break
    return trainer.learner.state_dict()


@pytest.mark.slow
def test_computing_images_again_changes_nothing(album: Path) -> None:
    kept, again = learned(album), learned(album, **{"training.recompute": "true"})
    for name in kept:
        torch.testing.assert_close(kept[name], again[name], rtol=1e-9, atol=1e-12, msg=name)


def test_a_generator_may_make_several_steps(album: Path) -> None:
    once = learned(album)
    more = learned(album, **{"phases.0.objective.generator_steps": "2"})
    assert any(not torch.equal(once[name], more[name]) for name in once)
