"""Generators of every method for tests of animations, with weights that nobody trained."""

from typing import Any

import torch
from torch import nn

from singleimage import PRESETS, Recipe
from singleimage.recipes.tasks import for_animating
from tiny import METHODS, PHOTO, tiny

RECIPES: dict[str, Recipe] = {
    recipe.name: tiny(recipe)
    for preset in (PRESETS[name].of_one() for name in METHODS)
    for recipe in (preset, for_animating(preset))
}
"""Of every method, as it is and made for animating."""


def lively(recipe: Recipe) -> Any:
    """Its generator with weights, anchor and amplitudes so large that all noise shows."""
    ladder = recipe.pyramid.plan(PHOTO)
    generator = recipe.schedule.generator.build(channels=3, ladder=ladder)
    source = torch.Generator().manual_seed(1)
    for _ in ladder.sizes:
        generator.extend(source)
    for name, parameter in generator.named_parameters():
        if parameter.ndim == 4:
            gain = 8 if name == "encoder.mean.weight" else 1  # an anchor as large as noise
            nn.init.normal_(parameter, std=gain * parameter[0].numel() ** -0.5, generator=source)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    for name, values in generator.named_buffers():
        if name == "anchor_noise" or name.startswith("anchor_"):
            values.copy_(torch.randn(values.shape, generator=source))
    generator.get_buffer("amplitudes").fill_(1.0)
    return generator.requires_grad_(False).eval()
