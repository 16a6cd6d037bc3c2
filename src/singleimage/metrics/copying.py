"""Does a sample paste its photo? Its patches are sought in the photo, and the matches compared.

SIFID rewards pasting: the photo itself scores 0. What gives a paste away is that where one patch
matches, its neighbor matches just beside. Patches here are 8x8 pixels of an image of about 16,000
pixels (so 14 pixels of one of 188x250) and do not overlap; nearest neighbors are sought
exhaustively in the photo and in both mirror images of it. The field of neighbors, and its
compressed size as a measure, are those of VGPNN (Haim et al., "Diverse Generation from a Single
Video Made Possible", ECCV 2022: NNFDIV).
"""

import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from singleimage.errors import SizeError
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize

PATCH = 8
AREA = 16_000
"""Pixels that the photo is reduced to; samples are reduced by the same factor."""
COPY = 1 / 3
"""A sample is called a copy if more of its patches continue their neighbor's match. Published
samples of SinGAN and ConSinGAN stay under, photos shifted, mirrored or cut in 16 tiles are over."""
COMPONENTS = 48
"""Principal components of the photo's patches in which distances are taken; others are small."""
_CHUNK = 64
"""Queries at once: their distances should fit in a cache."""


@dataclass(frozen=True, eq=False)
class Field:
    """Where in the photo each patch of a sample has its nearest neighbor; all (rows, columns)."""

    step: int
    """Pixels from one patch of the sample to the next."""
    top: Tensor
    left: Tensor
    """Corner of the match."""
    mirrored: Tensor
    """0: in the photo, 1: left to right, 2: upside down."""
    photo: Size
    """Size of the photo that the matches are in."""

    def continuing(self) -> float:
        """Share of neighboring patches, not overlapping, whose matches are neighbors too.

        To one pixel, because a paste may be shifted by half of one. 1 for a copy.
        """
        k = math.ceil(PATCH / self.step)
        offsets = torch.stack([self.mirrored * self.photo.width, *self._offsets()])

        def near(a: Tensor, b: Tensor) -> Tensor:
            return ((a - b).abs() <= 1).all(dim=0)

        across = near(offsets[:, :, k:], offsets[:, :, :-k])
        down = near(offsets[:, k:], offsets[:, :-k])
        return float(across.sum() + down.sum()) / (across.numel() + down.numel())

    def compression(self) -> float:
        """Compressed size of the field over that of random matches: about 0 for a copy, 1 at most.

        The field is one of offsets, which are constant where a region is pasted.
        """
        generator = np.random.default_rng(0)
        shape = tuple(self.top.shape)
        rows = generator.integers(0, self.photo.height - PATCH + 1, shape)
        columns = generator.integers(0, self.photo.width - PATCH + 1, shape)
        random = Field(
            self.step,
            torch.from_numpy(rows),
            torch.from_numpy(columns),
            torch.from_numpy(generator.integers(0, 3, shape)),
            self.photo,
        )
        return min(self._packed() / random._packed(), 1.0)

    def picture(self) -> Tensor:
        """(3, rows, columns) in [-1, 1]: red says from which row, green from which column.

        A copy is smooth, new structure is speckled; blue is what matches a mirror image.
        """
        height, width = self.photo.height - PATCH, self.photo.width - PATCH
        planes = (self.top / max(height, 1), self.left / max(width, 1), self.mirrored.bool())
        return torch.stack([plane.float() for plane in planes]) * 2 - 1

    def _offsets(self) -> tuple[Tensor, Tensor]:
        rows, columns = (torch.arange(n) * self.step for n in self.top.shape)
        return self.top - rows[:, None], self.left - columns

    def _packed(self) -> int:
        planes = torch.stack([self.mirrored, *self._offsets()]).numpy().astype("<i2")
        return len(zlib.compress(planes.tobytes(), 9))


class PatchSearch:
    """Finds patches of samples in one photo."""

    def __init__(self, real: Tensor) -> None:
        """`real`: the photo (3, H, W) in [-1, 1].

        Raises:
            SizeError: it is narrower than two patches.
        """
        self._factor = min(1.0, math.sqrt(AREA / (real.shape[-1] * real.shape[-2])))
        photo = self._reduced(real)
        self._size = size_of(photo)
        views = [photo, photo.flip(-1), photo.flip(-2)]
        patches = torch.cat([patches_of(view, 1).flatten(0, 1) for view in views])
        self._basis = principal(patches)
        self._patches = patches @ self._basis
        self._norms = self._patches.square().sum(dim=1)

    @torch.inference_mode()
    def field(self, image: Tensor, *, step: int = PATCH) -> Field:
        """Find the nearest neighbors in the photo of the patches of a sample.

        Args:
            image: the sample, (3, H, W) in [-1, 1].
            step: pixels from one patch to the next: 1, 2, 4 or 8, so that the next patch that does
                not overlap is in the field.

        Raises:
            SizeError: the sample is narrower than two patches.
        """
        queries = patches_of(self._reduced(image), step)
        shape = queries.shape[:2]
        found = [
            torch.addmm(self._norms, part, self._patches.T, alpha=-2).argmin(dim=1)
            for part in torch.split(queries.flatten(0, 1) @ self._basis, _CHUNK)
        ]
        height, width = (side - PATCH + 1 for side in self._size)
        place = torch.cat(found).reshape(shape)
        inside = place % (height * width)
        return Field(step, inside // width, inside % width, place // (height * width), self._size)

    def _reduced(self, image: Tensor) -> Tensor:
        height, width = (round(side * self._factor) for side in image.shape[-2:])
        if min(height, width) < 2 * PATCH:
            raise SizeError(
                f"{size_of(image)} is too small to seek patches in; "
                f"a side must be {math.ceil(2 * PATCH / self._factor)} pixels or more."
            )
        if self._factor == 1:
            return image.cpu().float()
        return resize(image[None].cpu().float(), Size(height, width))[0]


def patches_of(image: Tensor, step: int) -> Tensor:
    """Cut the patches of `image` (3, H, W), every `step` pixels: (rows, columns, 3 * PATCH²)."""
    patches = image.unfold(1, PATCH, step).unfold(2, PATCH, step).permute(1, 2, 0, 3, 4)
    return patches.flatten(2).contiguous()


def principal(patches: Tensor) -> Tensor:
    """Return the directions in which patches differ most.

    Args:
        patches: (N, 3 * PATCH²), a patch a row.

    Returns:
        (3 * PATCH², COMPONENTS), orthonormal columns, the most important one last.
    """
    values = patches - patches.mean(dim=0)
    _, vectors = torch.linalg.eigh(values.T @ values)
    basis: Tensor = vectors[:, -COMPONENTS:].contiguous()
    return basis
