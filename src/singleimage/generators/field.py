"""Where every patch of a picture comes from in the photo: a field of matches.

A field is improved by the search of PatchMatch (Barnes, Shechtman, Finkelstein, Goldman; SIGGRAPH
2009): a patch tries where its neighbors come from, and the places beside its own. All patches of a
step look at the field as it was before, so that no order matters.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.errors import MaskError
from singleimage.generators.patches import PatchGrid, Run, around, bell, nearest
from singleimage.machine.blocks import Blocks
from singleimage.machine.device import supported
from singleimage.multiscale.geometry import Size, size_of

BESIDE = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Steps to the four neighbors: rows, columns."""
ROWS = 32_768
"""Patches that are compared at once."""
VOTES = 100_000
"""Patches of a picture whose pixels are put in place at once on a processor: for any batch, so that
rounding is the same."""
COMPARED = torch.float16
"""Type of the photo's components: half the memory, and no worse matches."""
BAND = 64
"""Rows of an image whose components are computed at once."""


@dataclass(frozen=True, eq=False)
class Field:
    """For every patch of a picture, or of several of one size, the corner of its match."""

    grid: PatchGrid
    """The patches of a picture."""
    matches: Tensor
    """(..., rows, columns, 2) integers, in main memory: row and column in the photo of the match's
    top left pixel."""

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

    def on(self, grid: PatchGrid, grown: Sequence[float] = (1.0, 1.0)) -> "Field":
        """Return the field of the same picture at another size, from the photo at another size.

        Args:
            grid: the patches of the other picture.
            grown: how many times as high and as wide the photo is.
        """
        scales = torch.tensor(
            [new / old for new, old in zip(grid.size, self.grid.size, strict=True)]
        )
        rows = nearest(self.grid.rows, grid.rows / scales[0])
        columns = nearest(self.grid.columns, grid.columns / scales[1])
        offsets = _taken(self.matches - self.grid.corners, rows, columns)
        places = grid.corners + offsets * scales
        places += _taken(self.matches, rows, columns) * (torch.tensor(grown) - scales)
        return Field(grid, places.round().long())

    @classmethod
    def joined(cls, fields: Sequence["Field"]) -> "Field":
        """Make one field of those of several pictures of one size.

        Args:
            fields: one or more, of one picture each.
        """
        return cls(fields[0].grid, torch.stack([field.matches for field in fields]))

    def items(self, indices: Sequence[int]) -> "Field":
        """Return the field of some of the pictures.

        Args:
            indices: their numbers.
        """
        return Field(self.grid, self.matches[list(indices)])

    def sources(self) -> tuple[Tensor, Tensor]:
        """Row and column in the photo that every pixel comes from, (..., H, W) each.

        A pixel goes where the patch puts it whose middle is nearest.
        """
        (rows, row), (columns, column) = self.grid.owners(0), self.grid.owners(1)
        corners = _taken(self.matches, rows, columns)
        return corners[..., 0] + row[:, None], corners[..., 1] + column


def _taken(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Some rows and columns of values (..., rows, columns, 2)."""
    return values.index_select(-3, rows).index_select(-2, columns)


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
        self._last_row, self._last_column = (side - patch for side in photo)
        self._instead: Tensor | None = None
        if barred is not None:
            free = F.max_pool2d(barred.float()[None], patch, 1)[0] == 0
            if not free.any():
                raise all_barred(patch)
            self._instead = _nearest_free(free)

    def within(self, places: Tensor) -> Tensor:
        """Move places (..., 2) that are none of the corners to some near."""
        return torch.stack(self.moved(places[..., 0], places[..., 1]), -1)

    def moved(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Do so with rows and columns of one shape."""
        rows = rows.clamp(0, self._last_row)
        columns = columns.clamp(0, self._last_column)
        if self._instead is None:
            return rows, columns
        found = self._instead[rows, columns]
        return found[..., 0].to(rows.dtype), found[..., 1].to(columns.dtype)


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
        _, vectors = torch.linalg.eigh(supported(centered.T @ centered))
        basis = vectors[:, -min(rank, vectors.shape[1]) :].to(image.device)
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
        queries: Tensor,
        keys: Tensor,
        corners: Corners,
        rounds: int,
        run: Blocks,
        bias: Tensor | None = None,
    ) -> Field:
        """Search better matches for the patches of a picture.

        Args:
            field: the matches to begin with.
            queries: of the picture or of several, see `queries`.
            keys: `components` of the photo, or of the photo blurred.
            corners: where matches may be.
            rounds: how often; each tries eight neighbors' offsets and the four places beside.
            run: works on blocks of patches.
            bias: (..., H', W'), added to the squared distance of each place of the photo.
        """
        found = _Matches(queries, keys, corners, field, run, bias)
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
            (..., H', W'): the logarithm of the use over even use, within 9 pixels; none: -2.3.
        """
        sides = [side - self.patch + 1 for side in self.size]
        places = math.prod(sides)
        matches = torch.minimum(field.matches.clamp(min=0), torch.tensor(sides) - 1)
        index = (matches[..., 0] * sides[1] + matches[..., 1]).flatten(-2)
        lead, count = index.shape[:-1], index.shape[-1]
        index = index.view(-1, count)
        index = index + torch.arange(len(index))[:, None] * places  # a range of each picture's own
        use = torch.bincount(index.flatten(), minlength=len(index) * places).float() / count
        near = _means_near(use.view(*lead, *sides))
        return (near * places).clamp(min=0.1).log()

    def queries(self, picture: Tensor, grid: PatchGrid) -> Tensor:
        """Compute the components (..., rows, columns, rank) of the patches of pictures.

        Args:
            picture: (C, H, W) in [-1, 1], or several (B, C, H, W).
            grid: lays out the patches.
        """
        if picture.dim() == 4:  # rounding of each is its own
            return torch.stack([self.queries(x, grid) for x in picture])
        picture = grid.around(picture)
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
            run: works on blocks of patches.
            image: take the pixels of this image (C, H, W) of the photo's size instead.

        Returns:
            The picture, (..., C, H, W).
        """
        image = self.image if image is None else image
        flat, grid, window = image.flatten(1), field.grid, bell(self.patch, width).tolist()
        first = (field.matches[..., 0] * self.size.width + field.matches[..., 1]).to(image.device)
        lead, first = first.shape[:-2], first.view(-1, *grid.shape)
        reach = [int(places[-1]) + grid.patch for places in (grid.rows, grid.columns)]
        sides = [max(pair) for pair in zip(reach, grid.size, strict=True)]
        total = image.new_zeros(len(image), len(first), *sides)

        def vote(several: Sequence[Run]) -> None:
            for rows, columns in product(several, grid.column_runs):
                places = first[:, rows.first : rows.stop, columns.first : columns.stop]
                for y, x in product(range(self.patch), repeat=2):
                    index = (places + (y * self.size.width + x)).flatten()
                    pixels = flat.index_select(1, index).view(len(image), *places.shape)
                    here = total[..., rows.every(y), columns.every(x)]
                    here.add_(pixels, alpha=window[y][x])

        for rows in grid.row_runs:
            blocks = rows.split(max(VOTES // grid.shape.width, grid.patch))
            for some in (blocks[::2], blocks[1::2]):  # blocks side by side would touch
                run(lambda part, some=some: vote(some[part]), len(some), 1)  # type: ignore[misc]
        line = [math.sqrt(window[step][step]) for step in range(self.patch)]
        for axis, (runs, side) in enumerate(
            zip((grid.row_runs, grid.column_runs), grid.size, strict=True), start=2
        ):
            weights = image.new_zeros(total.shape[axis])
            for places in runs:
                for step in range(self.patch):
                    weights[places.every(step)] += line[step]
            total, weights = (around(x, side, dim) for x, dim in ((total, axis), (weights, 0)))
            total.div_(weights if axis == 3 else weights[:, None])
        return total.transpose(0, 1).reshape(*lead, len(image), *grid.size)


class _Matches:
    """The best matches so far of the patches of pictures."""

    def __init__(
        self,
        queries: Tensor,
        keys: Tensor,
        corners: Corners,
        field: Field,
        run: Blocks,
        bias: Tensor | None,
    ) -> None:
        """`queries` (..., rows, columns, rank), `keys` (H', W', rank), `bias` (..., H', W')."""
        self._lead = queries.shape[:-3]
        self._queries = queries.flatten(0, -2)
        self._keys = keys.flatten(0, 1)
        self._wide = keys.shape[1]
        self._corners = corners
        self._grid = field.grid
        self._run = run
        matches = field.matches.int().expand(*self._lead, *field.grid.shape, 2)
        matches = matches.reshape(-1, *field.grid.shape, 2)
        self._rows, self._columns = corners.moved(matches[..., 0], matches[..., 1])
        self._patches = torch.arange(self._rows.numel()).view(self._rows.shape)
        self._bias: tuple[Tensor, Tensor] | None = None
        """All biases, and of every patch where those of its picture begin."""
        if bias is not None:
            first = torch.arange(len(self._rows)) * len(self._keys) % bias.numel()
            begin = first.repeat_interleave(self._rows[0].numel())
            self._bias = bias.flatten().to(keys.device), begin.to(keys.device)
        self._distances = torch.full((self._rows.numel(),), torch.inf)
        self._offer(lambda lines: (self._rows[:, lines], self._columns[:, lines]), known=False)

    @property
    def places(self) -> Tensor:
        """Rows and columns of the matches, (..., rows, columns, 2) integers."""
        places = torch.stack([self._rows, self._columns], -1).long()
        return places.view(*self._lead, *self._grid.shape, 2)

    def offer_beside(self, step: tuple[int, int]) -> None:
        """Offer each patch the place that lies so many rows and columns from its own."""
        down, right = step
        self._offer(lambda lines: (self._rows[:, lines] + down, self._columns[:, lines] + right))

    def offer_neighbors(self, down: int, across: int) -> None:
        """Offer each patch the offset of another patch, so many rows and columns before it."""
        below = self._grid.apart(0, down).int()[:, None]
        right = self._grid.apart(1, across).int()

        def candidates(lines: slice) -> tuple[Tensor, Tensor]:
            others = (torch.arange(len(below))[lines] - down) % len(below)
            return (
                self._rows.index_select(1, others).roll(across, 2) + below[lines],
                self._columns.index_select(1, others).roll(across, 2) + right,
            )

        self._offer(candidates)

    def _offer(
        self, candidates: Callable[[slice], tuple[Tensor, Tensor]], *, known: bool = True
    ) -> None:
        """Take those of some places that are better; `known`: the distances so far are."""
        pictures, height, across = self._rows.shape

        def block(lines: slice) -> tuple[Tensor, ...]:
            rows, columns = (x.flatten() for x in self._corners.moved(*candidates(lines)))
            patches = self._patches[:, lines].flatten()
            if known:  # most patches lie in pieces, and are offered what they have
                differ = rows != self._rows[:, lines].flatten()
                differ.logical_or_(columns != self._columns[:, lines].flatten())
                new = differ.nonzero()[:, 0]
                rows, columns, patches = (x.index_select(0, new) for x in (rows, columns, patches))
            distances = self._distance(patches, rows * self._wide + columns)
            better = (distances < self._distances.index_select(0, patches)).nonzero()[:, 0]
            found = patches, rows, columns, distances
            return tuple(x.index_select(0, better) for x in found)

        found = self._run(block, height, max(ROWS // (pictures * across), 1))
        for patches, rows, columns, distances in found:
            self._rows.view(-1)[patches] = rows
            self._columns.view(-1)[patches] = columns
            self._distances[patches] = distances

    def _distance(self, patches: Tensor, places: Tensor) -> Tensor:
        """Squared distances (n,) of patches of the pictures from places of the photo, (n,) each."""
        device = self._keys.device
        patches, places = patches.to(device), places.to(device)
        apart = self._queries.index_select(0, patches) - self._keys.index_select(0, places)
        found = apart.float().square_().sum(1)  # of a row whatever the others are
        if self._bias is not None:
            biases, begin = self._bias
            found += biases.index_select(0, begin.index_select(0, patches).add_(places))
        return found.cpu()


def _means_near(values: Tensor) -> Tensor:
    """Means (..., H, W) of the values of the 9 by 9 places about each, as far as there are any."""
    return _sums_near(values) / _sums_near(torch.ones(values.shape[-2:]))


def _sums_near(values: Tensor) -> Tensor:
    for axis in (-2, -1):
        side = values.shape[axis]
        values = F.pad(values, (0, 0, 4, 4) if axis == -2 else (4, 4))
        total = values.narrow(axis, 0, side).clone()
        for step in range(1, 9):
            total += values.narrow(axis, step, side)
        values = total
    return values


def _thin(size: Size) -> int:
    """Pixels between patches so that a few thousand remain."""
    return max(1, math.isqrt(size.height * size.width // 4000))
