"""The guess of an image from noise, by the patches of a photo: one step of patch flow."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from singleimage.errors import RecipeError
from singleimage.generators.field import Field
from singleimage.generators.patches import PatchGrid, bell
from singleimage.machine.blocks import Blocks
from singleimage.machine.device import supported
from singleimage.multiscale.geometry import size_of
from singleimage.multiscale.resample import resize

FLOW_WINDOW = 0.5
"""Width of the window with which patches are folded while they flow; see `patches.bell`."""
BITS = 1 / math.log(2)
"""exp(x) is 2^(BITS x), which torch computes several times as fast."""
SMALL = 80.0
"""2 to the power of minus this is nothing beside 1 in float32. Much smaller shares would, times
what photos of few colors have of most components, be denormal, with which processors are slow."""
SHARP = 0.999
"""Time at which hardly any noise is left: the guess is the nearest patch."""
COMPARED = 160_000
"""Distances of patches computed at once on a processor: they fit in a cache."""
SELDOM = 0.3
"""Use of a patch of the photo by those of a hole, up to which it repeats nothing."""
PULL = 0.5
"""Squared distance, at most, by which a patch that a hole uses less is nearer: enough for a hole in
gravel to become stones, and too little for one in a sky to become trees."""
TOUCHED = 0.3
"""Share of a pixel of a level that is barred, from which on all of it is."""


class Settings(Protocol):
    """What of `PatchFlowSpec` is needed here; see there."""

    @property
    def patch(self) -> int: ...
    @property
    def patches(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def balance(self) -> float: ...
    @property
    def balance_temperature(self) -> float: ...


class Octave:
    """The patches of the photo at a level that flows."""

    def __init__(
        self, image: Tensor, spec: Settings, places_of: Callable[[PatchGrid], Tensor]
    ) -> None:
        """Cut the patches and find their principal components.

        Args:
            image: the photo, (C, H, W) in [-1, 1].
            spec: of the generator.
            places_of: where patches of the photo are, (n, 2).

        Raises:
            RecipeError: no patch fits in.
        """
        self.size, patch = size_of(image), spec.patch
        if min(self.size) < patch:
            raise RecipeError(
                f"a level is {self.size}, and a patch {patch} pixels; set pyramid.min_size={patch} "
                f"or more, or a smaller generator.patch."
            )
        stride = 1
        while math.prod((side - patch) // stride + 1 for side in self.size) > spec.patches:
            stride += 1
        self.stride = stride
        self.grid = PatchGrid(self.size, patch, stride)
        patches = self.grid.cut(image)
        self.depth = patches.shape[1]
        """Values of a patch."""
        _, vectors = torch.linalg.eigh(supported(patches.T @ patches))
        self.basis = vectors[:, -min(spec.rank, self.depth) :].contiguous().to(image.device)
        self.values = patches @ self.basis
        self.lengths = patches.square().sum(1)
        places = places_of(self.grid).to(image.device)
        self.keys = torch.cat([self.values, places, places.square()], 1)

    def free(self, barred: Tensor) -> Tensor:
        """Which patches (n,) touch nothing `barred`, (1, 1, H, W) of the photo's size, 0 to 1."""
        touched = resize(barred, self.size)[0] > TOUCHED
        return self.grid.cut(touched.float().cpu()).amax(1) == 0


def places_of(grid: PatchGrid, unit: Tensor) -> Tensor:
    """Middles of patches (n, 2), relative to the image, in short sides of the photo.

    Args:
        grid: the patches of the photo, or of a sample of any size.
        unit: (2,), height and width of the photo over its short side.
    """
    return (grid.corners.flatten(0, 1) + grid.patch / 2) / torch.tensor(grid.size) * unit


class Guesses:
    """What the steps of a level that flows share: potentials of the photo's patches."""

    def __init__(
        self,
        octave: Octave,
        grid: PatchGrid,
        places: tuple[Tensor, Tensor],
        spec: Settings,
        run: Blocks,
    ) -> None:
        """Prepare a level.

        Args:
            octave: the photo's patches.
            grid: the patches of the sample.
            places: (n, 2), where these are, and (n, 2), weights of squared distances from there.
            spec: of the generator.
            run: works on blocks of patches.
        """
        self._octave = octave
        self._grid = grid
        self._spec = spec
        self._run = run
        where, weights = (x.to(octave.keys.device) for x in places)
        self._places = torch.cat([-2 * where * weights, weights], 1)
        self._barred: Tensor | None = None
        self._count = torch.ones(len(grid), device=octave.keys.device)
        self._fills = False
        self._scale = -BITS / spec.balance_temperature
        """Factor on distances, for which 2 to their power is a share."""
        self._potentials = torch.zeros_like(octave.lengths)
        self._window = bell(spec.patch, FLOW_WINDOW).to(octave.keys.device)
        self._nearest = torch.zeros(len(grid), dtype=torch.long, device=octave.keys.device)
        """For every patch of the sample, the index of the nearest of the photo in the last step."""

    @property
    def field(self) -> Field:
        """Where the last guess took patches from."""
        matches = self._octave.grid.corners.flatten(0, 1)[self._nearest.cpu()]
        return Field(self._grid, matches.view(*self._grid.shape, 2))

    def bar(self, free: Tensor) -> None:
        """Use only some patches of the photo, (n,) of yes and no."""
        self._barred = ~free.to(self._potentials.device)

    def only_fill(self, new: Tensor) -> None:
        """Balance no more than that patches of the sample that touch `new` repeat little.

        They need not use all of the photo: a small part is to look like what is around it. What is
        not used is only a little nearer.

        Args:
            new: (H, W) of yes and no.
        """
        touching = self._grid.cut(new.float()[None]).amax(1)
        self._count = touching.to(self._count.device)
        self._fills = True

    def at(self, x: Tensor, time: float, rounds: int, *, last: bool) -> Tensor:
        """Guess the image (C, H, W) that noise is mixed with.

        Args:
            x: the mixture, (C, H, W).
            time: share of the image in it, from 0 to below 1.
            rounds: updates of the balance.
            last: also find the nearest patches.
        """
        octave = self._octave
        queries = self._grid.cut(x) @ octave.basis
        queries = torch.cat([queries * (-2 * time), self._places], 1).mul_(self._scale)
        rows = max(COMPARED // len(octave.keys), 1)
        for _ in range(rounds - 1):
            self._update(self._run(lambda part: self._use(queries, part, time), len(queries), rows))
        power = self._spec.balance_temperature / (2 * (1 - time) ** 2)

        def block(part: slice) -> tuple[Tensor, Tensor]:
            exponents = self._exponents(queries[part], time)
            if last:
                self._nearest[part] = exponents.argmax(1)
            use = self._use_of(exponents, part)
            weights = exponents.mul_(power).clamp_(min=-SMALL).exp2_()
            return (weights @ octave.values) / weights.sum(1, keepdim=True), use

        found = self._run(block, len(queries), rows)
        means, uses = zip(*found, strict=True)
        self._update(uses)
        return self._grid.fold(torch.cat(means) @ octave.basis.T, self._window)

    def _exponents(self, queries: Tensor, time: float) -> Tensor:
        """Binary logarithms of the shares of the photo's patches in each query, (rows, keys).

        They are |q - t Y_j|² with place and balance, over the temperature of the balance, less
        what is the same for all j; the largest are 0.
        """
        octave, temperature = self._octave, self._spec.balance_temperature
        alone = time**2 * octave.lengths + temperature * self._potentials
        if self._barred is not None:
            alone = alone.masked_fill(self._barred, 1e9)
        found = torch.addmm(alone * self._scale, queries, octave.keys.T)
        found -= found.amax(1, keepdim=True)  # many times as fast as both in one
        return found

    def _use(self, queries: Tensor, part: slice, time: float) -> Tensor:
        return self._use_of(self._exponents(queries[part], time), part)

    def _use_of(self, exponents: Tensor, part: slice) -> Tensor:
        """How much those queries that count use each patch of the photo, (keys,)."""
        shares = exponents.clamp(min=-SMALL).exp2_()
        return (self._count[part] / shares.sum(1)) @ shares

    def _update(self, uses: Sequence[Tensor]) -> None:
        """Raise the potentials of patches that are used more than others."""
        use = torch.stack(list(uses)).sum(0).clamp(min=1e-6)
        even = float(self._count.sum()) / len(use)
        if self._fills:
            even = max(even, SELDOM)
        self._potentials = self._potentials + self._spec.balance * (use / even).log()
        if self._fills:
            self._potentials.clamp_(min=-PULL)


def matched(
    octave: Octave,
    images: Tensor,
    grid: PatchGrid,
    barred: Tensor | None,
    spec: Settings,
    run: Blocks,
) -> Field:
    """Take the nearest patches of the photo, wherever they are.

    Args:
        octave: the photo's patches.
        images: (B, C, *grid.size) in [-1, 1].
        grid: the patches of an image.
        barred: what nothing may come from, as for `Octave.free`.
        spec: of the generator.
        run: works on blocks of patches.
    """
    nowhere, found = torch.zeros(len(grid), 2), []
    for image in images:
        guesses = Guesses(octave, grid, (nowhere, nowhere), spec, run)
        if barred is not None:
            guesses.bar(octave.free(barred))
        guesses.at(image, SHARP, 1, last=True)
        found.append(guesses.field)
    return Field.joined(found)
