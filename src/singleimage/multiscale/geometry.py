"""Sizes and rectangles of pixels, and images whose edges may meet (wrap)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Size(NamedTuple):
    """Height and width in pixels, always in this order."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


Wrap = tuple[bool, bool]
"""Whether rows, and columns, go on at the opposite edge. Images and noise then live on a cylinder
or a torus, and windows of them may lie beyond an edge: pixel -1 is the last one."""
OPEN: Wrap = (False, False)
"""No axis wraps."""


PIXEL_LIMIT = 80_000_000
"""Pixels of the largest picture that is read or drawn: a small file can ask for many gigabytes."""


class Window(NamedTuple):
    """A rectangle of pixels of a larger image."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def whole(cls, size: Size) -> "Window":
        """Return the window that is all of an image of `size`."""
        return cls(0, 0, *size)

    @classmethod
    def of(cls, rows: range, columns: range) -> "Window":
        """Return the window of these `rows` and `columns`, each a range of pixels."""
        return cls(rows.start, columns.start, len(rows), len(columns))

    @property
    def rows(self) -> range:
        """Rows of the window, as a range of pixels."""
        return range(self.top, self.top + self.height)

    @property
    def columns(self) -> range:
        """Columns of the window, as a range of pixels."""
        return range(self.left, self.left + self.width)

    def grown(self, pixels: int, size: Size | None = None, wrap: Wrap = OPEN) -> "Window":
        """Return the window with `pixels` more on every side.

        Args:
            pixels: to add on each side.
            size: of the image, which ends the window where it does not wrap; None: nothing does.
            wrap: axes on which the window may lie beyond the image.
        """
        tall, wide = self.height + 2 * pixels, self.width + 2 * pixels
        grown = Window(self.top - pixels, self.left - pixels, tall, wide)
        if size is None:
            return grown
        rows, columns = (
            side if around else range(max(side.start, 0), min(side.stop, length))
            for side, length, around in zip((grown.rows, grown.columns), size, wrap, strict=True)
        )
        return Window.of(rows, columns)

    def folded(self, size: Size, wrap: Wrap) -> "Window":
        """Return a window that names no pixel twice: a whole axis, if it holds one that wraps.

        Args:
            size: of the image, pixels.
            wrap: whether rows, and columns, continue at the opposite edge.
        """
        rows, columns = (
            range(length) if around and len(side) >= length else side
            for side, length, around in zip((self.rows, self.columns), size, wrap, strict=True)
        )
        return Window.of(rows, columns)

    def union(self, other: "Window") -> "Window":
        """Return the smallest window that holds this one and `other`."""
        rows, columns = (
            range(min(a.start, b.start), max(a.stop, b.stop))
            for a, b in ((self.rows, other.rows), (self.columns, other.columns))
        )
        return Window.of(rows, columns)

    def cut(self, x: Tensor) -> Tensor:
        """Cut this window out of a tensor `x` (..., H, W)."""
        return x[..., self.top : self.rows.stop, self.left : self.columns.stop]


def wrapped_pieces(side: range, length: int) -> list[range]:
    """The pixels `side` of an axis that wraps after `length`, as pieces within it, in order."""
    pieces = []
    start = side.start
    while start < side.stop:
        first = start % length
        stop = min(first + side.stop - start, length)
        pieces.append(range(first, stop))
        start += stop - first
    return pieces


def framed(x: Tensor, here: Window, wanted: Window, wrap: Wrap = OPEN) -> Tensor:
    """The window `wanted` of an image of which `x` (..., h, w) is the window `here`.

    What `here` lacks is taken from the opposite edge where the axis wraps (`here` must be all of it
    then, from pixel 0 on), and is zero where it does not.
    """
    missing = []
    for dim, around in ((-1, wrap[1]), (-2, wrap[0])):
        side, target = (w.rows if dim == -2 else w.columns for w in (here, wanted))
        before, after = side.start - target.start, target.stop - side.stop
        if around and (before > 0 or after > 0):
            pieces = wrapped_pieces(target, len(side))
            x = torch.cat([x.narrow(dim, piece.start, len(piece)) for piece in pieces], dim)
            before = after = 0
        elif before < 0 or after < 0:
            start = max(-before, 0)
            x = x.narrow(dim, start, len(side) - start - max(-after, 0))
        missing += [max(before, 0), max(after, 0)]
    return F.pad(x, missing) if any(missing) else x


class Part(NamedTuple):
    """Which part of a resized image to compute, and what of the input is given for it."""

    window: Window
    """Window of the output."""
    source: Window
    """Window of the input that is given."""
    whole: Size
    """Size of the input in full."""


def size_of(x: Tensor) -> Size:
    """Return height and width of a tensor `x` (..., H, W)."""
    return Size(x.shape[-2], x.shape[-1])
