"""Patches of an image: where they lie, cut out, and folded back with weights."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.machine.device import supported
from singleimage.multiscale.geometry import OPEN, Size, Wrap


class PatchGrid:
    """The places of square patches on an image: every `stride` pixels, and at the far edges.

    On an axis that wraps, patches continue at the opposite edge.
    """

    def __init__(self, size: Size, patch: int, stride: int, wrap: Wrap = OPEN) -> None:
        """Lay out the patches.

        Args:
            size: of the image, pixels.
            patch: side of a patch, pixels; at most the sides of the image.
            stride: pixels from one patch to the next.
            wrap: whether rows, and columns, continue at the opposite edge.
        """
        self.size = size
        self.patch = patch
        self.wrap = wrap
        self.rows, self.columns = (
            _starts(side, patch, stride, around) for side, around in zip(size, wrap, strict=True)
        )
        self.shape = Size(len(self.rows), len(self.columns))
        self.row_runs, self.column_runs = _even_runs(self.rows), _even_runs(self.columns)
        """The patches along each axis, in runs of patches evenly apart."""
        self._folding: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return self.shape.height * self.shape.width

    @property
    def corners(self) -> Tensor:
        """Row and column of the top left pixels of all patches, (rows, columns, 2) integers."""
        return torch.stack(torch.meshgrid(self.rows, self.columns, indexing="ij"), -1)

    def apart(self, axis: int, step: int) -> Tensor:
        """How many pixels each patch of an axis lies behind that `step` before it, (n,).

        Where the axis wraps, that is the short way around.
        """
        places, side = (self.rows, self.columns)[axis], self.size[axis]
        found = places - places.roll(step)
        return (found + side // 2) % side - side // 2 if self.wrap[axis] else found

    def cut(self, image: Tensor) -> Tensor:
        """Cut the patches (n, C * patch²) out of an image (C, H, W)."""
        flat = image.flatten(1).index_select(1, self._pixels.to(image.device))
        return flat.view(len(image), len(self), -1).transpose(0, 1).flatten(1)

    @cached_property
    def _pixels(self) -> Tensor:
        """Index of every pixel of every patch, one after the other."""
        steps = torch.arange(self.patch)
        rows = (self.rows[:, None] + steps) % self.size.height
        columns = (self.columns[:, None] + steps) % self.size.width
        pixels = rows[:, None, :, None] * self.size.width + columns[None, :, None, :]
        return pixels.reshape(-1)

    def around(self, picture: Tensor) -> Tensor:
        """A picture (C, H, W) with what patches that wrap see beyond its far edges."""
        down, right = (
            max(int(places[-1]) + self.patch - side, 0)
            for places, side in zip((self.rows, self.columns), self.size, strict=True)
        )
        rows = torch.arange(self.size.height + down, device=picture.device) % self.size.height
        columns = torch.arange(self.size.width + right, device=picture.device) % self.size.width
        return picture[..., rows[:, None], columns] if down or right else picture

    def fold(self, patches: Tensor, window: Tensor) -> Tensor:
        """Average overlapping patches into an image (C, H, W).

        Args:
            patches: (n, C * patch²).
            window: weights (patch, patch) over 0 of the pixels of a patch.
        """
        if self._folding is None or self._folding[0] is not window:
            self._folding = window, *self._bags(window)
        _, pixels, first, weights = self._folding
        values = patches.view(len(self), -1, self.patch**2).transpose(1, 2).flatten(0, 1)
        image = F.embedding_bag(
            pixels, supported(values), first, mode="sum", per_sample_weights=weights
        )
        return image.T.reshape(-1, *self.size).to(patches.device)

    def _bags(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which pixels of patches lie on a pixel of the image, one pixel after the other.

        Returns:
            Their indices, where in these each pixel's begin, and the share of each, (n * patch²,),
            (H * W,), (n * patch²,).
        """
        pixels, count = self._pixels, self.size.height * self.size.width
        order = pixels.argsort(stable=True)
        weights = window.flatten().cpu().repeat(len(self))
        total = torch.bincount(pixels, weights, count).to(weights)  # a GPU adds in any order
        first = torch.bincount(pixels, minlength=count).cumsum(0)
        first = torch.cat([first.new_zeros(1), first[:-1]])
        found = order, first, (weights / total[pixels])[order]
        device = supported(window).device
        return tuple(x.to(device) for x in found)  # type: ignore[return-value]

    def owners(self, axis: int) -> tuple[Tensor, Tensor]:
        """For every pixel of an axis, the patch whose middle is nearest, and its pixel there.

        Args:
            axis: 0 for rows, 1 for columns.

        Returns:
            The index of the patch along the axis, and the pixel within the patch, both (side,).
        """
        places, side = (self.rows, self.columns)[axis], self.size[axis]
        pixels = torch.arange(side)
        middle = (self.patch - 1) // 2  # of two the first: `nearest` takes the lower place
        if not self.wrap[axis]:
            index = nearest(places + middle, pixels)
            return index, pixels - places[index]
        repeated = torch.cat([places - side, places, places + side])
        index = nearest(repeated + middle, pixels)
        return index % len(places), pixels - repeated[index]


def around(image: Tensor, side: int, axis: int) -> Tensor:
    """Add what lies beyond a side to the opposite edge.

    Args:
        image: is changed.
        side: pixels of the axis that remain.
        axis: of the image.
    """
    if (over := image.shape[axis] - side) > 0:
        image.narrow(axis, 0, over).add_(image.narrow(axis, side, over))
    return image.narrow(axis, 0, side)


@dataclass(frozen=True)
class Run:
    """Patches along an axis that are evenly apart."""

    first: int
    """Index of the first patch."""
    stop: int
    """Index after that of the last."""
    stride: int
    """Pixels from one to the next."""
    start: int
    """The first pixel."""

    def extent(self, patch: int) -> int:
        """Pixels from the first to the last, for patches of that side."""
        return (self.stop - self.first - 1) * self.stride + patch

    def every(self, step: int) -> slice:
        """The pixels so many `step`s behind the first of each patch."""
        first = self.start + step
        return slice(first, first + (self.stop - self.first - 1) * self.stride + 1, self.stride)

    def split(self, count: int) -> list["Run"]:
        """The same patches as runs of at most `count`."""
        return [
            Run(
                index,
                min(index + count, self.stop),
                self.stride,
                self.start + (index - self.first) * self.stride,
            )
            for index in range(self.first, self.stop, count)
        ]

    def pixels(self, patch: int) -> slice:
        """The pixels of these patches."""
        return slice(self.start, self.start + self.extent(patch))


def _even_runs(places: Tensor) -> list[Run]:
    """Ascending places as runs: all of them, or where the last is closer, all others and it."""
    count, first = len(places), int(places[0])
    if count < 3 or places[-1] - places[-2] == places[1] - places[0]:
        return [Run(0, count, int(places[1] - places[0]) if count > 1 else 1, first)]
    stride = int(places[1] - places[0])
    return [Run(0, count - 1, stride, first), Run(count - 1, count, 1, int(places[-1]))]


def _starts(side: int, patch: int, stride: int, around: bool) -> Tensor:
    """First pixels of the patches along an axis."""
    if around:
        return torch.arange(0, side, stride)
    last = side - patch
    places = list(range(0, last + 1, stride))
    return torch.tensor(places if places[-1] == last else [*places, last])


def nearest(places: Tensor, wanted: Tensor) -> Tensor:
    """Find the place nearest to each of the wanted numbers; the lower one of two as near.

    Args:
        places: (n,), ascending.
        wanted: (m,).

    Returns:
        Indices of places, (m,).
    """
    after = torch.searchsorted(places.to(wanted.dtype), wanted.contiguous())
    after = after.clamp(max=len(places) - 1)
    before = (after - 1).clamp(min=0)
    closer = (wanted - places[before]).abs() <= (places[after] - wanted).abs()
    return torch.where(closer, before, after)


@lru_cache
def bell(patch: int, width: float) -> Tensor:
    """A Gaussian window (patch, patch) on [-1, 1]², of standard deviation `width`."""
    side = torch.linspace(-1, 1, patch)
    line = torch.exp(-0.5 * (side / width) ** 2)
    return line[:, None] * line
