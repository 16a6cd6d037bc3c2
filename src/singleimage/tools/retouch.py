"""Harmonize, edit, paint and restyle: a picture enters a model and comes out in the photo's style.

Each tool prepares a picture and a mask, lets the picture enter the model (`apps.inject`), and lays
the result over the background where the mask says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from singleimage.apps.colors import with_colors_of
from singleimage.apps.inject import entering, inject, suggested_level, working_size
from singleimage.apps.masks import (
    SIGMA,
    blend,
    difference,
    dilated,
    marked,
    require_part,
    soften,
)
from singleimage.errors import ImageError, MaskError
from singleimage.generators.base import Known
from singleimage.images.photo import Photo
from singleimage.images.rearrangement import Rearrangement
from singleimage.models.model import Model
from singleimage.multiscale.geometry import size_of
from singleimage.multiscale.resample import resize
from singleimage.tools.channels import (
    as_channels,
    colors_and_alpha,
    completed,
    fitted_to,
    given_back,
    photos_of,
    without_alpha,
)


@dataclass(frozen=True)
class Retouch:
    """What differs between the tools."""

    radius: float = 0.0
    """Pixels of the model by which the mask grows, whatever its size (the published codes, whose
    models have 250 on the long side); in proportion on pictures of another size."""
    share: float = 0.5
    """Where in the pyramid the picture enters if no level is given: 0 is the coarsest level, 1 the
    finest."""
    copied: float = 0.0
    """The same for a model that copies."""
    colors: bool = True
    """Whether the picture first takes the photo's colors, for a model that copies."""


HARMONIZE = Retouch(radius=7, share=0.75, copied=1.0)
EDIT = Retouch(radius=20, share=0.6, copied=0.55, colors=False)
PAINT = Retouch(share=0.15, copied=0.55)
RESTYLE = Retouch(share=0.45, copied=0.6)


def harmonize(
    model: Model,
    composite: Photo,
    *,
    background: Photo | None = None,
    mask: Photo | None = None,
    exact: bool = False,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """Give an object that was pasted into the photo the photo's style.

    Outside the mask the result is bit for bit the background. Source: SinGAN, section 4; ConSinGAN,
    section 3.3.

    Args:
        model: of the photo; best trained with `for_harmonizing`.
        composite: the photo with something pasted in; of any size.
        background: what lies under the object. None: the training image if it has the composite's
            size, else the composite.
        mask: where the object is, of the composite's size; see `apps.masks.marked`. None: the
            composite's alpha if it has one, else where composite and background differ.
        exact: as for `fill`.
        level: at which the composite enters, one of the generator's `entry_levels`; None: a
            suggestion.
        seeds: one result is made for each.

    Returns:
        One picture a seed, of the composite's size.

    Raises:
        MaskError: no mask is given or can be found, or it marks nothing or everything.
        ImageError: the channels do not fit the model, or the background has another size.
        UnsupportedEntry: the level takes no picture.
        SizeError: the composite is too small for the pyramid.
    """
    return _retouch(model, HARMONIZE, composite, background, mask, exact, level, seeds)


def edit(
    model: Model,
    composite: Photo,
    *,
    background: Photo | None = None,
    mask: Photo | None = None,
    exact: bool = False,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """Make a photo whole again whose parts were moved or copied by hand.

    Arguments, result and errors are those of `harmonize`. Source: SinGAN, section 4; ConSinGAN,
    section 3.3.
    """
    return _retouch(model, EDIT, composite, background, mask, exact, level, seeds)


def paint(
    model: Model, picture: Photo, *, level: int | None = None, seeds: Sequence[int] = (0,)
) -> list[Photo]:
    """Turn clip art or a sketch into a picture with the photo's colors and textures.

    Source: SinGAN, section 4 (paint to image).

    Args:
        model: of the photo; best trained with `for_painting`.
        picture: the drawing, of any size.
        level: at which the drawing enters; None: a suggestion.
        seeds: one result is made for each.

    Returns:
        One picture a seed, of the drawing's aspect; the long side is the model's.

    Raises:
        ImageError, UnsupportedEntry, SizeError: as `harmonize`.
    """
    return _render(model, PAINT, picture, level, seeds)


def restyle(
    model: Model, picture: Photo, *, level: int | None = None, seeds: Sequence[int] = (0,)
) -> list[Photo]:
    """Draw another photo's structure in this photo's style.

    Arguments, result and errors are those of `paint`; the picture enters at a finer level.
    """
    return _render(model, RESTYLE, picture, level, seeds)


def rendered(
    model: Model, share: float, pixels: Tensor, level: int | None, seeds: Sequence[int]
) -> Tensor:
    """Let a picture enter a model.

    Args:
        model: of the photo.
        share: where in the pyramid the picture enters if `level` is None; see `Retouch`.
        pixels: the picture, (1, C, H, W) in [-1, 1].
        level: at which it enters.
        seeds: one result is made for each.

    Returns:
        (len(seeds), C, H, W).

    Raises:
        UnsupportedEntry: the level takes no picture.
        SizeError: the picture is too small for the pyramid.
    """
    size = size_of(pixels)
    small = resize(pixels, working_size(model.generator, size))
    if level is None:
        level = suggested_level(model.generator, share)
    noise = model.recipe.base_input.noise
    new = inject(
        model.generator, small.to(model.generator.device), level=level, seeds=seeds, noise=noise
    )
    return resize(new.float().cpu(), size)


def fine_detail(model: Model, pixels: Tensor, part: Tensor, scale: float) -> Tensor:
    """Separate detail of a picture that is too fine for the model, except in a part.

    Tools add it to what the model makes, so that a large picture stays sharp around the part.

    Args:
        model: of the photo.
        pixels: the picture, (1, C, H, W) in [-1, 1].
        part: mask (1, 1, H, W), 1 where the picture is to be new.
        scale: size of the picture over that of the model.
    """
    if scale <= 1:
        return torch.zeros_like(pixels)
    size = size_of(pixels)
    seen = resize(resize(pixels, working_size(model.generator, size)), size)
    return (1 - soften(part, 3 * scale, scale)) * (pixels - seen)


def _retouch(
    model: Model,
    tool: Retouch,
    composite: Photo,
    background: Photo | None,
    mask: Photo | None,
    exact: bool,
    level: int | None,
    seeds: Sequence[int],
) -> list[Photo]:
    under = _under(model, composite, background)
    part, flat = _mask_and_colors(composite, under, mask)
    pixels = fitted_to(model, flat)
    base = pixels if under is None else fitted_to(model, under)
    ground = _ground(model, composite, under, part, base)
    scale = max(composite.size) / max(model.size)
    if (copier := model.generator.copier) is not None:
        same = under is not None and under.size == model.size and background is None
        if tool.colors:
            pixels = with_colors_of(pixels, _photo(model), model.channels.colors, part)
        part = dilated(part, tool.radius * scale)
        known = Known(torch.where(part > 0, pixels, base), part, corner=(0, 0) if same else None)
        if level is None:
            level = suggested_level(model.generator, tool.copied)
        return completed(model, copier, known, ground, level=level, seeds=seeds, exact=exact)
    soft = soften(part, tool.radius * scale, SIGMA * scale)
    fine = fine_detail(model, pixels, part, scale)
    new = rendered(model, tool.share, pixels, level, seeds) + fine
    blended = torch.cat([blend(base, image[None], soft) for image in new])
    return given_back(model, blended, ground, soft)


def laid_into(
    model: Model, composite: Photo, background: Photo | None = None, mask: Photo | None = None
) -> Photo:
    """What `harmonize` and `edit` lay their result into; arguments and errors are theirs."""
    under = _under(model, composite, background)
    part, flat = _mask_and_colors(composite, under, mask)
    return _ground(model, composite, under, part, fitted_to(model, under or flat))


def _under(model: Model, composite: Photo, background: Photo | None) -> Photo | None:
    """What the composite was pasted on, of its size."""
    under = background or model.first_photo()
    if under is None or under.size == composite.size:
        return under
    if background is not None:
        raise ImageError(
            f"the background is {background.size}, the composite {composite.size}; "
            f"crop or resize one to the other."
        )
    return None


def _ground(
    model: Model, composite: Photo, under: Photo | None, part: Tensor, base: Tensor
) -> Photo:
    """What the result is laid into: what lies under the part, in the channels of its file.

    A model's training image is of fewer bits than the composite may be, which shows the same there.
    """
    if composite.channels.alpha is None and (under is None or under.original is None):
        seen = fitted_to(model, composite)
        if bool(((seen == base) | (part > 0)).all()):
            return composite
    if under is not None:
        return under
    flat = without_alpha(composite, None) if composite.channels.alpha is not None else composite
    return flat if model.channels.alpha is None else composite


def _mask_and_colors(
    composite: Photo, under: Photo | None, mask: Photo | None
) -> tuple[Tensor, Photo]:
    """The mask (1, 1, H, W) of what was pasted, and the composite without alpha."""
    mode = composite.channels.mode
    pasted = mode in ("LA", "RGBA") and (under is None or under.channels.mode != mode)
    flat = without_alpha(composite, under) if pasted else composite
    if pasted and under is None:
        raise ImageError(
            "the picture is a cut-out, and nothing of its size lies under it; give --background, "
            "or paste it on a photo first."
        )
    if mask is not None:
        return marked(mask, composite).part, flat
    if pasted:
        alpha = (colors_and_alpha(composite)[1] > -1).float()
        return require_part(alpha[None], "the alpha of the composite"), flat
    if under is None:
        raise MaskError(
            "no mask, and none can be found: the training image has another size than the "
            "composite; give --mask, or the --background that something was pasted on."
        )
    base = as_channels(under, composite.channels.plain)
    pixels = composite.pixels[None, : len(base)]
    return difference(pixels, base[None], composite.channels.alpha), flat


def _render(
    model: Model, tool: Retouch, picture: Photo, level: int | None, seeds: Sequence[int]
) -> list[Photo]:
    pixels = fitted_to(model, picture)
    small = resize(pixels, working_size(model.generator, picture.size))
    if (copier := model.generator.copier) is None:
        return photos_of(model, rendered(model, tool.share, small, level, seeds))
    small = with_colors_of(small, _photo(model), model.channels.colors)
    if level is None:
        level = suggested_level(model.generator, tool.copied)
    entry = entering(model.generator, small.to(model.generator.device), level=level, seeds=seeds)
    places = copier.sources(*entry)
    return [model.rearranged(Rearrangement(where, copier.photo)) for where in places]


def _photo(model: Model) -> Tensor:
    """The photo (C, H, W) of a model that copies."""
    assert model.image is not None
    return model.image.cpu()
