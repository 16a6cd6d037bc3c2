"""A model of a photo, or of several, at once and without training."""

from collections.abc import Sequence

import torch

from singleimage.errors import ArgumentError
from singleimage.generators.patch_flow import PatchFlow, PatchFlowSpec
from singleimage.generators.strip import Strip
from singleimage.images.folder import alike
from singleimage.images.photo import Photo, require_texture
from singleimage.images.reader import PhotoLike, as_photo
from singleimage.machine.device import find_device
from singleimage.models.model import Model
from singleimage.models.modelfile import from_stored, made_at_once, to_stored
from singleimage.multiscale.pyramid import OctavePyramid, Pyramid
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import FLOW
from singleimage.recipes.recipe import Recipe

MEDIUM = 12
"""Short side of a photo from which on patches of 5 pixels fit."""


def flow(
    photo: PhotoLike,
    *more: PhotoLike,
    variety: float | None = None,
    device: str | torch.device = "cpu",
) -> Model:
    """Make a model of a photo that draws at once: patch flow (ours; see `generators.patch_flow`).

    Args:
        photo: what to draw from, see `as_photo`.
        more: further photos to draw from; pictures have the size and the layout of the first, and
            such a model cannot be saved. Gray ones among colored ones become colored.
        variety: from 0, nearly the photo, to 1, its textures without their places; None: a third.
        device: where it will draw.

    Raises:
        ArgumentError: the variety is out of range.
        SizeError: the photo is too small.
        ImageError: all its pixels are equal, or some photos have alpha, masks or bands that others
            have not.
    """
    first, *others = map(as_photo, (photo, *more))
    device = find_device(device) if isinstance(device, str) else device
    recipe = _for_size(min(first.size))
    if variety is not None:
        if not 0 <= variety <= 1:
            raise ArgumentError(f"a variety of {variety:g} is out of range; use one from 0 to 1.")
        recipe = with_overrides(recipe, {"generator.variety": repr(float(variety))})
    if not others:
        return Model.of_photo(first, recipe, device=device)
    return _of_several((first, *others), recipe, device)


def _for_size(side: int) -> Recipe:
    """The recipe for a photo of a short `side`: of a small one, a sprite, patches are small."""
    assert isinstance(FLOW.pyramid, OctavePyramid)
    if side >= FLOW.pyramid.min_size:
        return FLOW
    patch = 5 if side >= MEDIUM else 3
    coarsest = max(side * 3 // 4, patch + 1)
    return with_overrides(FLOW, {"generator.patch": patch, "pyramid.min_size": coarsest})


def _of_several(photos: Sequence[Photo], recipe: Recipe, device: str | torch.device) -> Model:
    found = alike([require_texture(photo) for photo in photos])
    channels = found[0].channels
    strip = Strip.of([photo.pixels for photo in found])
    image = from_stored(to_stored(strip.image, channels), channels)
    assert isinstance(recipe.generator, PatchFlowSpec)
    pyramid = Pyramid.build(image[None, : channels.picture].to(device), recipe.pyramid)
    generator = PatchFlow(recipe.generator, pyramid, strip)
    levels = len(generator.ladder.sizes)
    provenance = made_at_once(found[0], levels, str(device), more=found[1:])
    return Model(generator, recipe, channels, provenance, image)
