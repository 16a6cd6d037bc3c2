"""A model of a photo at once, without training."""

import torch

from singleimage.errors import ArgumentError
from singleimage.images.photo import Photo
from singleimage.models.model import Model
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import FLOW


def flow(
    photo: Photo, *, variety: float | None = None, device: str | torch.device = "cpu"
) -> Model:
    """Make a model of a photo that draws at once: patch flow (ours; see `generators.patch_flow`).

    Args:
        photo: what to draw from.
        variety: from 0, nearly the photo, to 1, its textures without their places; None: a third.
        device: where it will draw.

    Raises:
        ArgumentError: the variety is out of range.
        SizeError: the photo is too small.
        ImageError: all its pixels are equal.
    """
    if variety is None:
        return Model.of_photo(photo, FLOW, device=device)
    if not 0 <= variety <= 1:
        raise ArgumentError(f"a variety of {variety:g} is out of range; use one from 0 to 1.")
    recipe = with_overrides(FLOW, {"generator.variety": repr(float(variety))})
    return Model.of_photo(photo, recipe, device=device)
