"""Small clips, and models of them."""

from typing import Any

import torch
from torch import Tensor

from singleimage.images.channels import Channels
from singleimage.images.clip import Clip
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import HP_VAE_GAN
from singleimage.recipes.recipe import Recipe
from singleimage.recipes.tasks import for_video
from singleimage.training.trainer import Trainer

FIELDS = {
    "pyramid.width": "24",
    "pyramid.min_width": "13",
    "pyramid.strides": "[3,2,1]",
    "generator.width": "4",
    "generator.latent": "4",
    "generator.depth": "2",
    "critic.width": "4",
    "critic.depth": "2",
    "training.steps": "2",
}


TINY = with_overrides(for_video(HP_VAE_GAN), FIELDS)
"""Five levels, of 3, 3, 4, 4 and 7 frames."""


def waves(frames: int, height: int = 20, width: int = 24) -> Tensor:
    """(3, T, H, W) in [-1, 1]: no frame is like another."""
    t, y, x = torch.meshgrid(*(torch.arange(n) for n in (frames, height, width)), indexing="ij")
    return torch.stack([(x / 4 + t / 3).sin(), (y / 3 - t / 4).cos(), (x * y / 40 + t / 5).sin()])


def clip(frames: int = 9) -> Clip:
    return Clip(waves(frames), Channels(mode="RGB"), fps=8.0)


def trained_on_clip(recipe: Recipe = TINY, frames: int = 9, **settings: Any) -> Trainer:
    trainer = Trainer(clip(frames), recipe, seed=3, device="cpu", precision="fp32", **settings)
    for _ in trainer:
        pass
    return trainer
