"""The levels of patch flow that copy: what the photo is there, and how a picture is made of it."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from singleimage.generators.field import Corners, Field, Search
from singleimage.generators.kept import Kept
from singleimage.machine.blocks import Blocks
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize

WINDOW = 0.6
"""Width of the window with which copies are averaged between two searches; see `patches.bell`."""
PASSES = 2
"""Searches among the sharp patches."""
REMEMBERED = 2_000_000
"""Pixels of the largest photo whose components are kept from picture to picture."""
COMPONENTS = 170_000_000
"""Components of a level at most; they are most of the memory of large pictures."""


def rank_within(rank: int, pixels: int) -> int:
    """As many of `rank` components as there is room for at a level of so many `pixels`."""
    return min(rank, max(COMPONENTS // pixels, 4))


class Settings(Protocol):
    """What of `PatchFlowSpec` is needed here; see there."""

    @property
    def patch(self) -> int: ...
    @property
    def search_rank(self) -> int: ...
    @property
    def copy_balance(self) -> float: ...


def resized(images: Tensor, size: Size) -> Tensor:
    """Bring images (B, C, h, w) to a size, one by one: rounding of each is its own."""
    return torch.cat([resize(x[None], size) for x in images])


class Copies:
    """Makes pictures from the photo's patches, at levels above those that flow."""

    def __init__(self, images: Sequence[Tensor], spec: Settings) -> None:
        """Keep what is needed.

        Args:
            images: the photo at every level, (C, H, W) in [-1, 1].
            spec: of the generator.
        """
        self._images = images
        self._spec = spec
        self._searches: dict[int, Search] = {}
        self._keys: dict[tuple[int, bool], Tensor] = {}

    def growth(self, level: int) -> list[float]:
        """Tell how many times as high and as wide the photo is as at the level below.

        Args:
            level: above 0.
        """
        below, here = (size_of(image) for image in self._images[level - 1 : level + 1])
        return [new / old for new, old in zip(here, below, strict=True)]

    def field(
        self,
        level: int,
        below: Tensor,
        field: Field,
        corners: Corners,
        kept: Kept | None,
        run: Blocks,
    ) -> Field:
        """Find where the patches of pictures come from.

        Args:
            level: above 0.
            below: the pictures at the level below, (B, C, h, w).
            field: what is known of them, on the patches of this level.
            corners: where matches may be.
            kept: what is known of every picture.
            run: works on blocks.
        """
        spec, search = self._spec, self._search(level)
        grid = field.grid
        crowding = spec.copy_balance * search.crowding(field)
        # No large tensor is kept longer than it is needed.
        picture = resized(below, grid.size)
        queries = search.queries(picture if kept is None else kept.over(picture), grid)
        del picture
        keys = self._components(level, blurred=True)
        field = search.improved(field, queries, keys, corners, 2, run, crowding)
        del keys, queries
        keys = self._components(level, blurred=False)
        for _ in range(PASSES):
            picture = search.voted(field, WINDOW, run)
            queries = search.queries(picture if kept is None else kept.over(picture), grid)
            del picture
            crowding += spec.copy_balance * search.crowding(field)
            field = search.improved(field, queries, keys, corners, 1, run, crowding)
            del queries
        return field

    def image(self, level: int, field: Field, kept: Kept | None) -> Tensor:
        """Make the pictures (B, C, H, W) of a field, each pixel one of the photo's or `kept`."""
        photo = self._images[level]
        rows, columns = field.sources()
        index = (rows * photo.shape[2] + columns).flatten().to(photo.device)
        picture = photo.flatten(1).index_select(1, index).view(-1, *rows.shape).transpose(0, 1)
        return picture if kept is None else kept.over(picture)

    def _search(self, level: int) -> Search:
        if level not in self._searches:
            image, spec = self._images[level], self._spec
            rank = rank_within(spec.search_rank, image[0].numel())
            self._searches[level] = Search(image, spec.patch, rank)
        return self._searches[level]

    def _components(self, level: int, *, blurred: bool) -> Tensor:
        """Components of the photo's patches; blurred, of the photo from the level below."""
        if (level, blurred) in self._keys:
            return self._keys[level, blurred]
        image = self._images[level]
        if blurred:
            image = resize(self._images[level - 1][None], size_of(image))[0]
        found = self._search(level).components(image)
        if self._images[-1][0].numel() <= REMEMBERED:
            self._keys[level, blurred] = found
        return found
