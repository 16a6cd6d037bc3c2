"""Where every patch of a picture comes from in the photo: a field of matches.

A field is improved by the search of PatchMatch (Barnes, Shechtman, Finkelstein, Goldman; SIGGRAPH
2009): a patch tries where its neighbors come from, and the places beside its own. All patches of a
step look at the field as it was before, so that no order matters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.errors import MaskError
from singleimage.generators.patches import PatchGrid, bell, nearest
from singleimage.machine.blocks import Blocks
from singleimage.multiscale.geometry import Size, size_of

BESIDE = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Steps to the four neighbors: rows, columns."""
ROWS = 8192
"""Patches that are compared at once."""
COMPARED = torch.float16
"""Type of the photo's components: half the memory, and no worse matches."""
BAND = 64
"""Rows of an image whose components are computed at once."""


@dataclass(frozen=True, eq=False)
class Field:
    """For every patch of a picture the corner of its match in the photo."""

    grid: PatchGrid
    """The patches of the picture."""
    matches: Tensor
    """(rows, columns, 2) integers, in main memory: row and column of the match's top left pixel."""

    @classmethod
    def spread(cls, grid: PatchGrid, photo: Size) -> "Field":
        """Make the field of a picture that is the photo stretched to its size.

        Args:
            grid: the patches of the picture.
            photo: size of the photo, pixels.
        """
        ends = torch.tensor([max(side - grid.patch, 1) for side in grid.size])
        limits = torch.tensor([side - grid.patch for side in photo])
        return cls(grid, (grid.corners / ends).clamp(max=1).mul(limits).round().long())

    def on(self, grid: PatchGrid) -> "Field":
        """Return the field of the same picture at another size: offsets grow with it.

        Args:
            grid: the patches of the other picture.
        """
        scales = torch.tensor(
            [new / old for new, old in zip(grid.size, self.grid.size, strict=True)]
        )
        rows = nearest(self.grid.rows, grid.rows / scales[0])
        columns = nearest(self.grid.columns, grid.columns / scales[1])
        offsets = (self.matches - self.grid.corners)[rows][:, columns]
        return Field(grid, (grid.corners + offsets * scales).round().long())

    def sources(self) -> tuple[Tensor, Tensor]:
        """Row and column in the photo that every pixel of the picture comes from, (H, W) each.

        A pixel goes where the patch puts it whose middle is nearest.
        """
        (rows, row), (columns, column) = self.grid.owners(0), self.grid.owners(1)
        corners = self.matches[rows][:, columns]
        return corners[..., 0] + row[:, None], corners[..., 1] + column


PIECE = 8
"""Side of a piece, in pixels of a photo of about 16,000 pixels; as `metrics.copying` has it."""


def together(rows: Tensor, columns: Tensor, photo: Size) -> float:
    """Share of neighboring pieces of a picture that are neighbors in the photo, too, from 0 to 1.

    Args:
        rows, columns: (H, W), where the pixels of the picture come from.
        photo: size of the photo, pixels.
    """
    apart = max(round(PIECE * math.sqrt(photo.height * photo.width / 16_000)), 2)
    step = apart // 2
    down = (rows - torch.arange(len(rows))[:, None])[::step, ::step]
    across = (columns - torch.arange(columns.shape[1]))[::step, ::step]
    offsets = torch.stack([down, across])

    def alike(a: Tensor, b: Tensor) -> Tensor:
        return ((a - b).abs() <= apart / PIECE).all(0)

    beside = alike(offsets[:, :, 2:], offsets[:, :, :-2])
    below = alike(offsets[:, 2:], offsets[:, :-2])
    count = beside.numel() + below.numel()
    return float(beside.sum() + below.sum()) / max(count, 1)


class Corners:
    """The top left pixels of patches of a photo that may be matches."""

    def __init__(self, photo: Size, patch: int, barred: Tensor | None = None) -> None:
        """Find them.

        Args:
            photo: its size, pixels.
            patch: side of a patch, pixels.
            barred: (H, W) of yes and no: pixels of the photo that no match may touch.

        Raises:
            MaskError: every match touches one.
        """
        self._limits = torch.tensor([side - patch for side in photo])
        self._instead: Tensor | None = None
        if barred is not None:
            free = F.max_pool2d(barred.float()[None], patch, 1)[0] == 0
            if not free.any():
                raise all_barred(patch)
            self._instead = _nearest_free(free)

    def within(self, places: Tensor) -> Tensor:
        """Move places (..., 2) that are none of the corners to some near."""
        places = torch.minimum(places.clamp(min=0), self._limits)
        if self._instead is None:
            return places
        return self._instead[places[..., 0], places[..., 1]]


def all_barred(patch: int) -> MaskError:
    """Say that no patch of that side is left to copy from."""
    return MaskError(
        f"the mask leaves no {patch}x{patch} pixels of the photo to copy from; mark less of it."
    )


def _nearest_free(free: Tensor) -> Tensor:
    """For every place (H, W) a free one (H, W, 2): in its row; where that has none, in the next."""
    height, width = free.shape
    rows = torch.arange(height)
    column = _nearest_marked(free)
    row = _nearest_marked(free.any(1)[None])[0]
    row = torch.where(free.any(1), rows, row)
    return torch.stack([row[:, None].expand(-1, width), column[row]], -1)


def _nearest_marked(marked: Tensor) -> Tensor:
    """Column (H, W) of the nearest mark in the row; any number where there is none."""
    height, width = marked.shape
    columns = torch.arange(width).expand(height, -1)
    before = torch.where(marked, columns, -2 * width).cummax(1).values
    after = torch.where(marked, columns, 3 * width).flip(1).cummin(1).values.flip(1)
    found = torch.where(columns - before <= after - columns, before, after)
    return found.clamp(0, width - 1)


class Search:
    """Finds the patches of pictures in a photo, by their first principal components."""

    def __init__(self, image: Tensor, patch: int, rank: int) -> None:
        """Prepare a photo.

        Args:
            image: the photo, (C, H, W) in [-1, 1].
            patch: side of a patch, pixels.
            rank: how many components are compared.
        """
        self.image = image
        self.size = size_of(image)
        self.patch = patch
        every = PatchGrid(self.size, patch, _thin(self.size))
        patches = every.cut(image)
        mean = patches.mean(0)
        centered = patches - mean
        _, vectors = torch.linalg.eigh(centered.T @ centered)
        basis = vectors[:, -min(rank, vectors.shape[1]) :]
        self._kernels = basis.T.reshape(-1, len(image), patch, patch).contiguous()
        self._shift = -(mean @ basis)

    def components(self, image: Tensor, stride: tuple[int, int] = (1, 1)) -> Tensor:
        """Compute the components (H', W', rank) of the patches of an image (C, H, W).

        Args:
            image: any.
            stride: pixels between patches, down and across.
        """
        height, width = (
            (side - self.patch) // step + 1
            for side, step in zip(image.shape[1:], stride, strict=True)
        )
        result = image.new_empty(height, width, len(self._kernels), dtype=COMPARED)
        for first in range(0, height, BAND):
            last = min(first + BAND, height) - 1
            band = image[None, :, first * stride[0] : last * stride[0] + self.patch]
            found = F.conv2d(band, self._kernels, self._shift, stride=stride)[0]
            result[first : last + 1] = found.permute(1, 2, 0)
        return result

    def improved(
        self,
        field: Field,
        picture: Tensor,
        keys: Tensor,
        corners: Corners,
        rounds: int,
        run: Blocks,
        bias: Tensor | None = None,
    ) -> Field:
        """Search better matches for the patches of a picture.

        Args:
            field: the matches to begin with.
            picture: (C, H, W) in [-1, 1].
            keys: `components` of the photo, or of the photo blurred.
            corners: where matches may be.
            rounds: how often; each tries eight neighbors' offsets and the four places beside.
            run: works on blocks of patches.
            bias: (H', W'), added to the squared distance of each place of the photo.
        """
        found = _Matches(self._queries(picture, field.grid), keys, corners, field, run, bias)
        for turn in range(rounds):
            for step in (4, 1) if turn == 0 else (2, 1):
                for dy, dx in BESIDE:
                    found.offer_neighbors(dy * step, dx * step)
            for beside in BESIDE:
                found.offer_beside(beside)
        return Field(field.grid, found.places)

    def crowding(self, field: Field) -> Tensor:
        """Tell how much more than others each place of the photo is used.

        Returns:
            (H', W'): the logarithm of the use over even use, about 9 pixels square; none: -2.3.
        """
        sides = [side - self.patch + 1 for side in self.size]
        matches = torch.minimum(field.matches.clamp(min=0), torch.tensor(sides) - 1)
        index = (matches[..., 0] * sides[1] + matches[..., 1]).flatten()
        use = torch.bincount(index, minlength=sides[0] * sides[1]).float() / len(index)
        near = F.avg_pool2d(use.view(1, *sides), 9, 1, 4, count_include_pad=False)[0]
        return (near * near.numel()).clamp(min=0.1).log()

    def _queries(self, picture: Tensor, grid: PatchGrid) -> Tensor:
        """Components (rows, columns, rank) of the patches of a picture that the grid lays out."""
        picture = _around(picture, grid)
        lines = []
        for row in grid.row_runs:
            part = picture[:, row.pixels(grid.patch)]
            runs = [
                self.components(part[..., run.pixels(grid.patch)], (row.stride, run.stride))
                for run in grid.column_runs
            ]
            lines.append(torch.cat(runs, 1))
        return torch.cat(lines)

    def voted(self, field: Field, width: float, run: Blocks, image: Tensor | None = None) -> Tensor:
        """Average the pixels of the photo that the patches put on each pixel of the picture.

        Args:
            field: where the patches come from.
            width: standard deviation of the window that weighs a patch's pixels, see `bell`.
            run: works on the channels.
            image: take the pixels of this image (C, H, W) of the photo's size instead.

        Returns:
            The picture, (C, H, W).
        """
        image = self.image if image is None else image
        grid, window = field.grid, bell(self.patch, width)
        rows, columns = (
            [(places + step) % side for step in range(self.patch)]
            for places, side in zip((grid.rows, grid.columns), grid.size, strict=True)
        )
        first = (field.matches[..., 0] * self.size.width + field.matches[..., 1]).to(image.device)
        weights = []
        for lines, side in zip((rows, columns), grid.size, strict=True):
            weight = image.new_zeros(side)
            for step, places in enumerate(lines):
                weight[places] += window[step, step].sqrt()
            weights.append(weight)

        total = image.new_zeros(len(image), *grid.size)

        def vote(channels: slice) -> None:
            flat = image[channels].flatten(1)
            for y, row in enumerate(rows):
                for x, column in enumerate(columns):
                    pixels = flat[:, first + (y * self.size.width + x)]
                    total[channels, row[:, None], column] += float(window[y, x]) * pixels

        run(vote, len(image), 1)
        return total.div_(weights[0][:, None] * weights[1])


class _Matches:
    """The best matches so far of the patches of a picture."""

    def __init__(
        self,
        queries: Tensor,
        keys: Tensor,
        corners: Corners,
        field: Field,
        run: Blocks,
        bias: Tensor | None,
    ) -> None:
        """`queries` (rows, columns, rank), `keys` (H', W', rank), `bias` (H', W')."""
        self._queries = queries
        self._keys = keys.flatten(0, 1)
        self._bias = None if bias is None else bias.flatten().to(keys.device)
        self._wide = keys.shape[1]
        self._corners = corners
        self._grid = field.grid
        self._run = run
        self.places = corners.within(field.matches)
        self._distances = torch.full(self.places.shape[:2], torch.inf)
        self._offer(lambda rows: self.places[rows])

    def offer_beside(self, step: tuple[int, int]) -> None:
        """Offer each patch the place that lies so many rows and columns from its own."""
        self._offer(lambda rows: self.places[rows] + torch.tensor(step))

    def offer_neighbors(self, down: int, across: int) -> None:
        """Offer each patch the offset of another patch, so many rows and columns before it."""
        grid = self._grid

        def candidates(rows: slice) -> Tensor:
            lines = torch.arange(len(grid.rows))[rows]
            others = (lines - down) % len(grid.rows)
            offsets = self.places[others] - grid.corners_of(others)
            return torch.roll(offsets, across, 1) + grid.corners_of(lines)

        self._offer(candidates)

    def _offer(self, candidates: Callable[[slice], Tensor]) -> None:
        """Take those of some places (rows, columns, 2) that are better."""

        def block(rows: slice) -> tuple[Tensor, Tensor]:
            places = self._corners.within(candidates(rows))
            distances = self._distance(rows, places)
            better = distances < self._distances[rows]
            return (
                torch.where(better[..., None], places, self.places[rows]),
                torch.where(better, distances, self._distances[rows]),
            )

        lines = max(ROWS // self.places.shape[1], 1)
        found = self._run(block, len(self.places), lines)
        places, distances = zip(*found, strict=True)
        self.places, self._distances = torch.cat(places), torch.cat(distances)

    def _distance(self, rows: slice, places: Tensor) -> Tensor:
        """Squared distances (rows, columns) from the matches at some places."""
        index = (places[..., 0] * self._wide + places[..., 1]).flatten().to(self._keys.device)
        apart = self._queries[rows].flatten(0, 1) - self._keys.index_select(0, index)
        found = apart.float().square_().sum(1)
        if self._bias is not None:
            found += self._bias[index]
        return found.view(places.shape[:2]).cpu()


def _around(picture: Tensor, grid: PatchGrid) -> Tensor:
    """The picture, with what patches that wrap see beyond its far edges."""
    down, right = (
        max(int(places[-1]) + grid.patch - side, 0)
        for places, side in zip((grid.rows, grid.columns), grid.size, strict=True)
    )
    rows = torch.arange(grid.size.height + down, device=picture.device) % grid.size.height
    columns = torch.arange(grid.size.width + right, device=picture.device) % grid.size.width
    return picture[:, rows[:, None], columns] if down or right else picture


def _thin(size: Size) -> int:
    """Pixels between patches so that a few thousand remain."""
    return max(1, math.isqrt(size.height * size.width // 4000))
