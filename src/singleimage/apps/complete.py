"""A picture of which a part is copied anew from the photo (ours)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.apps.masks import dilated
from singleimage.generators.base import Copier, Generator, Injection, Known
from singleimage.images.rearrangement import ELSEWHERE
from singleimage.multiscale.filling import filled
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize

RING = 4
"""Pixels around a part whose light it takes on."""
COARSE = 6
"""Pixels from one value of the light to the next."""


class Completed(NamedTuple):
    """Pictures of which a part is new."""

    images: Tensor
    """(B, C, H, W) in [-1, 1], in main memory."""
    places: Tensor
    """(B, H, W): where the pixels come from, see `Rearrangement`."""


def complete(
    generator: Generator,
    copier: Copier,
    known: Known,
    *,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
    lit: int = 0,
) -> Completed:
    """Make the part of a picture new; the rest stays bit for bit.

    Args:
        generator: of the photo.
        copier: the same as one that copies.
        known: the picture, its part and what may be copied.
        level: at which the picture enters, so that the part resembles what is there; None: the part
            begins as noise.
        seeds: one result is made for each.
        lit: so many channels, from the first, take on the light around the part; of the rest every
            pixel stays one of the photo's.

    Returns:
        One picture a seed.

    Raises:
        UnsupportedEntry: the level takes no picture.
        SizeError: the picture is too small for the pyramid.
        MaskError: nothing is left of the photo to copy from.
    """
    image, part = known.image.cpu(), known.part.cpu()
    sizes = generator.ladder.sizes_for(size_of(image))
    entry = None
    if level is not None:
        entering = resize(image, sizes[max(level - 1, 0)]).to(generator.device)
        entry = Injection(level, entering.expand(len(seeds), -1, -1, -1))
    places = copier.sources(generator.draw(sizes, seeds), entry, known)
    copied = copier.copied(places)
    if lit:
        beyond = _continued(places, part[0, 0] > 0, copier.photo)
        missing = (image - copier.copied(beyond))[:, :lit]
        copied[:, :lit] = (copied[:, :lit] + _membrane(missing, part)).clamp(-1, 1)
    stays = torch.full(size_of(image), ELSEWHERE) if known.corner is None else _stays(known, copier)
    return Completed(
        torch.where(part > 0, copied, image), torch.where(part[:, 0] > 0, places, stays)
    )


def _stays(known: Known, copier: Copier) -> Tensor:
    """Where the pixels (H, W) of a picture come from that shows the photo itself."""
    assert known.corner is not None
    here, photo = size_of(known.image), copier.photo
    rows, columns = (
        torch.arange(side) - first for side, first in zip(here, known.corner, strict=True)
    )
    inside = (
        ((rows >= 0) & (rows < photo.height))[:, None] & (columns >= 0) & (columns < photo.width)
    )
    return torch.where(inside, rows[:, None] * photo.width + columns, ELSEWHERE)


def _continued(places: Tensor, part: Tensor, photo: Size) -> Tensor:
    """Places (B, H, W) where those of the part (H, W) go on around it, `RING` pixels far."""
    rows, columns = places // photo.width, places % photo.width
    done = part
    for _ in range(RING):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            moved = torch.roll(done, (dy, dx), (0, 1)) & ~done
            rows = torch.where(moved, torch.roll(rows, (dy, dx), (1, 2)) + dy, rows)
            columns = torch.where(moved, torch.roll(columns, (dy, dx), (1, 2)) + dx, columns)
            done = done | moved
    rows, columns = rows.clamp(0, photo.height - 1), columns.clamp(0, photo.width - 1)
    return rows * photo.width + columns


def _membrane(missing: Tensor, part: Tensor) -> Tensor:
    """What is missing around a part, carried smoothly into it, so that light does not jump.

    In the manner of seamless cloning (Perez, Gangnet, Blake; SIGGRAPH 2003), but coarse.

    Args:
        missing: (B, C, H, W), what to add to be right where it is known.
        part: (1, 1, H, W) of zeros and ones, 1 where it is not known.
    """
    around = dilated(part, RING) - part
    size = size_of(part)
    coarse = Size(-(-size.height // COARSE), -(-size.width // COARSE))
    weight = F.adaptive_avg_pool2d(around, coarse)
    mean = F.adaptive_avg_pool2d(missing * around, coarse) / weight.clamp(min=1e-6)
    return 2 * resize(filled(mean / 2, (weight == 0).float()), size)
