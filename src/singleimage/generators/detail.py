"""A larger image with the detail that a photo has where a step of reduction took it."""

import math

import torch
from torch import Tensor

from singleimage.errors import SizeError
from singleimage.generators.field import Corners, Field, Search
from singleimage.generators.patch_copies import rank_within
from singleimage.generators.patches import PatchGrid
from singleimage.machine.blocks import in_blocks
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize

DETAIL = 5
"""Side of the patches that carry detail to a larger image, pixels."""
DETAIL_WINDOW = 2.0
"""The window with which detail is folded."""


def with_detail(
    image: Tensor, size: Size, photo: Tensor, first: Size, *, barred: Tensor | None, rank: int
) -> Tensor:
    """Enlarge images a little.

    Patches of the enlarged image are compared with those of the photo as blurred, first at the same
    place (Freedman, Fattal: Image and Video Upscaling from Local Self-Examples, TOG 2011). What
    blurring took from them is added.

    Args:
        image: (B, C, h, w) in [-1, 1].
        size: that is wanted.
        photo: (C, H, W).
        first: size of the part of the photo that the image is like.
        barred: (H, W) of yes and no: pixels of the photo that nothing may come from.
        rank: how many components of patches are compared.

    Returns:
        (B, C, *size).

    Raises:
        SizeError: the images are smaller than a patch.
    """
    here, there = size_of(image), size_of(photo)
    if min(*size, *there) < DETAIL:
        raise SizeError(
            f"a picture of {here} is too small to be enlarged; its sides must be {DETAIL} pixels "
            f"or more."
        )
    pairs = zip(there, size, here, strict=True)
    small = Size(*(max(round(side * old / new), 1) for side, new, old in pairs))
    rank = rank_within(rank, max(math.prod(size), math.prod(there)))
    found = []
    with in_blocks(photo.device) as run:  # rounding does not depend on the number of threads
        blurred = resize(resize(photo[None], small), there)[0]
        search = Search(photo, DETAIL, rank)
        keys, corners = search.components(blurred), Corners(there, DETAIL, barred)
        for picture in resize(image, size):
            field = Field.spread(PatchGrid(size, DETAIL, 1), first)
            queries = search.queries(picture, field.grid)
            field = search.improved(field, queries, keys, corners, 2, run)
            found.append(picture + search.voted(field, DETAIL_WINDOW, run, photo - blurred))
    return torch.stack(found)
