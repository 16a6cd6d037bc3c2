"""Fill and extend: a part of a picture made new from what the photo has elsewhere.

The part first takes the colors around it and the structure of a sample. Then the picture enters the
model at a level and at every finer one that takes pictures, and each result is laid into the
untouched rest. A model that copies keeps the rest in place itself.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from singleimage.apps.inject import suggested_level, working_size
from singleimage.apps.masks import blend, marked, soften
from singleimage.errors import ArgumentError, SizeError
from singleimage.generators.base import Known
from singleimage.images.photo import Photo
from singleimage.models.model import Model
from singleimage.multiscale.filling import filled
from singleimage.multiscale.geometry import PIXEL_LIMIT, Size, size_of
from singleimage.multiscale.resample import resize
from singleimage.tools.channels import completed, given_back, to_work_on, worked_on
from singleimage.tools.retouch import Retouch, fine_detail, rendered

GRAIN = 6
"""Pixels, at the level that is entered: a sample's structure up to this size begins the part."""
ALIKE = 0.15
"""Mean difference to the model's photo, in standard deviations of it, at most, of what shows it:
the photo saved again with loss, or larger."""
FILL = Retouch(radius=4, share=0.3)


def fill(
    model: Model,
    picture: Photo | None = None,
    *,
    mask: Photo,
    exact: bool = False,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """Replace the marked part of a picture by what the photo has elsewhere (inpainting; ours).

    Outside the mask the result is bit for bit the picture.

    Args:
        model: of the photo.
        picture: the photo, or one like it, of any size; None: the training image.
        mask: what is to be filled, of the picture's size; see `apps.masks.marked`.
        exact: of a model that copies, every new pixel is one of the photo's; without it, new parts
            take on the light around them.
        level: the coarsest level at which the picture enters; None: a suggestion.
        seeds: one result is made for each.

    Returns:
        One picture a seed, of the picture's size.

    Raises:
        MaskError: the mask marks nothing or everything, or has another size.
        ImageError, UnsupportedEntry, SizeError: as `harmonize`.
    """
    base = worked_on(model, picture)
    pixels = to_work_on(model, picture)
    part = marked(mask, base).part
    if (copier := model.generator.copier) is None:
        return _filled(model, pixels, part, base, level, seeds)
    barred = _there(model, pixels, part)
    same = barred is not None and size_of(barred) == size_of(part)
    known = Known(filled(pixels, part), part, barred=barred, corner=(0, 0) if same else None)
    return completed(model, copier, known, base, level=level, seeds=seeds, exact=exact)


def extend(
    model: Model,
    picture: Photo | None = None,
    *,
    top: int = 0,
    bottom: int = 0,
    left: int = 0,
    right: int = 0,
    exact: bool = False,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """Continue a picture beyond its borders, on a larger canvas (outpainting; ours).

    Args:
        model: of the photo.
        picture: the photo, or one like it, of any size; None: the training image.
        top, bottom, left, right: pixels to add on each side, 0 or more.
        exact, level, seeds: as `fill`.

    Returns:
        One picture a seed, larger by what was added.

    Raises:
        ArgumentError: nothing is to be added, or a side is negative.
        SizeError: the result would be over `PIXEL_LIMIT`.
        ImageError, UnsupportedEntry, SizeError: as `harmonize`.
    """
    sides = (top, bottom, left, right)
    if min(sides) < 0 or not any(sides):
        raise ArgumentError("nothing to add; give one side or more a number of pixels over 0.")
    pixels = to_work_on(model, picture)
    height, width = size_of(pixels)
    if (height + top + bottom) * (width + left + right) > PIXEL_LIMIT:
        raise SizeError(
            f"{Size(height + top + bottom, width + left + right)} is too large; ask for up to "
            f"{PIXEL_LIMIT // 10**6} megapixels."
        )
    canvas = pixels.new_zeros(1, pixels.shape[1], height + top + bottom, width + left + right)
    part = torch.ones_like(canvas[:, :1])
    canvas[..., top : top + height, left : left + width] = pixels
    part[..., top : top + height, left : left + width] = 0
    base = _on_canvas(worked_on(model, picture), top, left, size_of(canvas))
    if (copier := model.generator.copier) is None:
        return _filled(model, canvas, part, base, level, seeds)
    nothing = torch.zeros_like(pixels[:, :1])
    there = _there(model, pixels, nothing)
    same = there is not None and size_of(there) == size_of(pixels)
    corner = (top, left) if same else None
    known = Known(filled(canvas, part), part, corner=corner)
    return completed(model, copier, known, base, level=level, seeds=seeds, exact=exact)


def _on_canvas(picture: Photo, top: int, left: int, size: Size) -> Photo:
    """A picture on a canvas, from `top` and `left` on."""
    height, width = picture.size
    pixels = torch.zeros(len(picture.pixels), *size)
    pixels[:, top : top + height, left : left + width] = picture.pixels
    original = picture.original
    if original is not None:
        original = original.placed(top, left, size)
    return Photo(pixels, picture.channels, original=original)


def _there(model: Model, pixels: Tensor, part: Tensor) -> Tensor | None:
    """The part in the photo that is copied from, (1, 1, h, w), of zeros and ones.

    None where the picture does not show the model's photo, in any size, but for the part.
    """
    first = model.first_photo()
    assert first is not None  # it is all there is of such a model
    photo, size = first.pixels[: pixels.shape[1]].cpu(), first.size
    seen, marks = (x if size_of(x) == size else resize(x, size) for x in (pixels, part))
    rest = marks <= 0
    off = ((seen - photo).abs().mean(1, keepdim=True) * rest).sum() / rest.sum().clamp(min=1)
    if float(off) > ALIKE * float(photo.std()):
        return None
    return (marks > 0).float()


def _filled(
    model: Model,
    pixels: Tensor,
    part: Tensor,
    base: Photo,
    level: int | None,
    seeds: Sequence[int],
) -> list[Photo]:
    size = size_of(pixels)
    scale = max(size) / max(model.size)
    soft = soften(part, FILL.radius * scale, 2.0 * scale)
    if level is None:
        level = suggested_level(model.generator, FILL.share)
    fine = fine_detail(model, pixels, part, scale)
    images = []
    for seed in seeds:
        current = _begun(model, pixels, part, level, seed)
        for step in sorted(n for n in model.generator.entry_levels if n >= level):
            new = rendered(model, FILL.share, current, step, [seed]) + fine
            current = blend(pixels, new, torch.maximum(soft, part))
        images.append(current)
    return given_back(model, torch.cat(images), base, torch.maximum(soft, part))


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
    smooth = filled(pixels, part)
    return torch.where(part > 0, (smooth + fine).clamp(-1, 1), pixels)
