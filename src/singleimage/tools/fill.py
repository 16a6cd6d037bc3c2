"""Fill and extend: a part of a picture made new from what the photo has elsewhere.

The part first takes the colors around it and the structure of a sample. Then the picture enters the
model at a level and at every finer one that takes pictures, and each result is laid into the
untouched rest.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.apps.inject import suggested_level, working_size
from singleimage.apps.masks import binary, blend, soften
from singleimage.errors import ArgumentError
from singleimage.images.photo import Photo
from singleimage.models.model import Model
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize
from singleimage.tools.channels import fitted_to, photo_of
from singleimage.tools.retouch import Retouch, fine_detail, rendered

GRAIN = 6
"""Pixels, at the level that is entered: a sample's structure up to this size begins the part."""
FILL = Retouch(radius=4, share=0.3)


def fill(
    model: Model,
    picture: Photo,
    mask: Photo,
    *,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """Replace the marked part of a picture by what the photo has elsewhere (inpainting; ours).

    Outside the mask the result is bit for bit the picture.

    Args:
        model: of the photo.
        picture: the photo, or one like it, of any size.
        mask: white where the picture is to be filled, of the picture's size.
        level: the coarsest level at which the picture enters; None: a suggestion.
        seeds: one result is made for each.

    Returns:
        One picture a seed, of the picture's size.

    Raises:
        MaskError: the mask marks nothing or everything, or has another size.
        ImageError, UnsupportedEntry, SizeError: as `harmonize`.
    """
    pixels = fitted_to(model, picture)
    part = binary(mask.pixels, picture.size)
    return _filled(model, pixels, part, level, seeds)


def extend(
    model: Model,
    picture: Photo,
    *,
    top: int = 0,
    bottom: int = 0,
    left: int = 0,
    right: int = 0,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """Continue a picture beyond its borders, on a larger canvas (outpainting; ours).

    Args:
        model: of the photo.
        picture: the photo, or one like it, of any size.
        top, bottom, left, right: pixels to add on each side, 0 or more.
        level, seeds: as `fill`.

    Returns:
        One picture a seed, larger by what was added.

    Raises:
        ArgumentError: nothing is to be added, or a side is negative.
        ImageError, UnsupportedEntry, SizeError: as `harmonize`.
    """
    sides = (top, bottom, left, right)
    if min(sides) < 0 or not any(sides):
        raise ArgumentError("nothing to add; give one side or more a number of pixels over 0.")
    pixels = fitted_to(model, picture)
    height, width = picture.size
    canvas = pixels.new_zeros(1, pixels.shape[1], height + top + bottom, width + left + right)
    part = torch.ones_like(canvas[:, :1])
    canvas[..., top : top + height, left : left + width] = pixels
    part[..., top : top + height, left : left + width] = 0
    return _filled(model, canvas, part, level, seeds)


def _filled(
    model: Model, pixels: Tensor, part: Tensor, level: int | None, seeds: Sequence[int]
) -> list[Photo]:
    size = size_of(pixels)
    scale = max(size) / max(model.size)
    soft = soften(part, FILL.radius * scale, 2.0 * scale)
    if level is None:
        level = suggested_level(model.generator, FILL.share)
    fine = fine_detail(model, pixels, part, scale)
    results = []
    for seed in seeds:
        current = _begun(model, pixels, part, level, seed)
        for step in sorted(n for n in model.generator.entry_levels if n >= level):
            new = rendered(model, FILL.share, current, step, [seed]) + fine
            current = blend(pixels, new, torch.maximum(soft, part))
        results.append(photo_of(model, current))
    return results


def _begun(model: Model, pixels: Tensor, part: Tensor, level: int, seed: int) -> Tensor:
    """The marked part filled with the colors around it and the structure of a sample."""
    size = size_of(pixels)
    generator = model.generator
    inner = working_size(generator, size)
    sizes = generator.ladder.sizes_for(inner)
    texture = generator.decode(generator.draw(sizes, [seed])).float().cpu()
    entering = sizes[max(level - 1, 0)]
    coarse = Size(max(entering.height // GRAIN, 1), max(entering.width // GRAIN, 1))
    fine = resize((texture - resize(resize(texture, coarse), inner)) / 2, size) * 2
    filled = _smooth(pixels, part)
    return torch.where(part > 0, (filled + fine).clamp(-1, 1), pixels)


def _smooth(pixels: Tensor, part: Tensor) -> Tensor:
    """The marked part filled from around it: means of what is known, at ever coarser sizes."""
    known = 1 - part
    size = size_of(pixels)
    if min(size) <= 2 or bool(known.all()):
        return pixels
    half = Size((size.height + 1) // 2, (size.width + 1) // 2)
    weight = F.adaptive_avg_pool2d(known, half)
    mean = F.adaptive_avg_pool2d(pixels * known, half)
    coarse = mean / weight.clamp(min=1e-6)
    below = _smooth(torch.where(weight > 0, coarse, 0.0), (weight == 0).float())
    return torch.where(part > 0, resize(below, size), pixels)
