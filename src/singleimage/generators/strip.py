"""Several photos side by side, as one image to copy from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from singleimage.errors import SizeError
from singleimage.generators.patches import PatchGrid
from singleimage.multiscale.geometry import PIXEL_LIMIT, Size, size_of
from singleimage.multiscale.resample import resize

GAP = 1 / 12
"""Width of what lies between two photos, in heights: two pixels of a level of 24."""


@dataclass(frozen=True, eq=False)
class Strip:
    """Photos, all as high as the first."""

    image: Tensor
    """(C, H, W) in [-1, 1]; between two photos the edge of the left one."""
    spans: tuple[tuple[int, int], ...]
    """First column and width of each photo."""

    @classmethod
    def of(cls, photos: Sequence[Tensor]) -> Self:
        """Lay photos (C, H, W) side by side.

        Raises:
            SizeError: that is over `PIXEL_LIMIT`.
        """
        height = photos[0].shape[1]
        gap = round(height * GAP) + 1
        widths = [max(round(x.shape[2] * height / x.shape[1]), 1) for x in photos]
        pixels = height * (sum(widths) + gap * (len(photos) - 1))
        if pixels > PIXEL_LIMIT:
            raise SizeError(
                f"the photos are too large together: as high as the first, {pixels / 1e6:.0f} "
                f"megapixels of {PIXEL_LIMIT // 10**6}; reduce them, or give fewer."
            )
        parts: list[Tensor] = []
        spans: list[tuple[int, int]] = []
        for photo, width in zip(photos, widths, strict=True):
            fitted = (
                photo if photo.shape[1] == height else resize(photo[None], Size(height, width))[0]
            )
            if parts:
                parts.append(parts[-1][..., -1:].expand(-1, -1, gap))
            spans.append((sum(part.shape[2] for part in parts), width))
            parts.append(fitted)
        return cls(torch.cat(parts, 2), tuple(spans))

    @property
    def first(self) -> Size:
        """Size of the first photo."""
        return Size(self.image.shape[1], self.spans[0][1])

    @property
    def between(self) -> Tensor:
        """(1, 1, H, W) of zeros and ones: 1 between the photos."""
        found = torch.ones(1, 1, *size_of(self.image))
        for start, width in self.spans:
            found[..., start : start + width] = 0
        return found

    def places(self, grid: PatchGrid, unit: Tensor) -> Tensor:
        """Middles of patches (n, 2), relative to their photo, in short sides of the first.

        Args:
            grid: the patches of the strip at a level.
            unit: (2,), height and width of the first photo over its short side.
        """
        middles = (grid.corners.flatten(0, 1) + grid.patch / 2) / torch.tensor(grid.size)
        column = middles[:, 1] * self.image.shape[2]
        starts = torch.tensor([start for start, _ in self.spans])
        widths = torch.tensor([width for _, width in self.spans])
        which = (torch.bucketize(column, starts, right=True) - 1).clamp(min=0)
        across = ((column - starts[which]) / widths[which]).clamp(0, 1)
        return torch.stack([middles[:, 0], across], 1) * unit
