"""Patch flow: new pictures of a photo in about a second, without training (ours).

A sample begins as noise and flows towards images whose every patch is one of the photo's. Noise n
and image are mixed by a time t from 0 to 1, x_t = t x + (1 - t) n. For the patches Y_j of the photo
the best guess of x from x_t has a closed form: at each patch q of x_t the mean of all Y_j with
weights exp(-|q - t Y_j|² / tau), tau = 2 (1 - t)² (the posterior mean of flow matching where the
data are patches). Two terms are added to the distance |q - t Y_j|²:

* **place**: the squared distance of the two patches' places, each relative to its image. Its
  weight is the knob from a copy of the photo to a soup of its textures;
* **balance**: a potential g_j for each Y_j, so that all patches of the photo are used about
  equally. These are Sinkhorn's updates for the columns of an entropic transport plan, one damped
  update a step, kept from step to step.

The flow runs on small images. Above them each level copies from the photo: a field says where every
patch comes from; it is enlarged with the image and improved by looking at neighbors (`field`). Keys
of the first search of a level are blurred as the picture is (GPNN; Granot et al., CVPR 2022). At
the end every pixel of a sample is a pixel of the photo.

What is known of a picture is put back in at every step and level, so that the rest fits it.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

import msgspec
import torch
from torch import Tensor, nn

from singleimage.errors import ArgumentError
from singleimage.generators.base import Generator, Injection, Known, check_injection
from singleimage.generators.detail import with_detail
from singleimage.generators.draft import Draft, Places, Tries, at_once
from singleimage.generators.field import Corners, Field, all_barred
from singleimage.generators.kept import Kept
from singleimage.generators.patch_copies import Copies, resized
from singleimage.generators.patch_guesses import SHARP, TOUCHED, Guesses, Octave, matched, places_of
from singleimage.generators.patches import PatchGrid
from singleimage.generators.strip import Strip
from singleimage.machine.blocks import Blocks, in_blocks
from singleimage.machine.memory import returned_heap
from singleimage.multiscale.geometry import OPEN, Size, Wrap, size_of
from singleimage.multiscale.latent import Latent, Map, Noise, drawn, seed_for
from singleimage.multiscale.pyramid import Ladder, Pyramid
from singleimage.multiscale.resample import resize

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
LARGE = 1_000_000
"""Pixels of a photo or a picture from which on memory is dear."""
FREE = 40
"""A level flows only if so many patches of the photo touch nothing that is barred."""
ENTERING = 50_000
"""Patches at most, about, of an image that enters at a level that copies."""


class PatchFlowSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="patch-flow"
):
    """How patches flow."""

    trained: ClassVar[Literal[False]] = False

    variety: Share = 1 / 3
    """From 0, nearly the photo, to 1, its textures without their places."""
    patch: Annotated[int, msgspec.Meta(ge=3, le=9)] = 7
    """Side of a patch, pixels."""
    flow_side: Annotated[int, msgspec.Meta(ge=24, le=256)] = 96
    """Longest short side of a level that flows, pixels; those above it copy from the photo."""
    flow_pixels: Annotated[int, msgspec.Meta(ge=1000)] = 50_000
    """Most pixels of a level of a picture that flows; in a larger picture all levels but the
    coarsest copy."""
    steps: Annotated[int, msgspec.Meta(ge=2, le=200)] = 16
    """Steps from noise to image at a level that flows."""
    renoise: Share = 0.6
    """Share of noise with which the image of the level below enters a level that flows."""
    patches: Annotated[int, msgspec.Meta(ge=100, le=20_000)] = 2600
    """Most patches of the photo at a level that flows; their stride is as small as that allows."""
    rank: Annotated[int, msgspec.Meta(ge=4, le=400)] = 48
    """Principal components of patches that are compared where they flow."""
    balance: Share = 0.8
    """Damping of the updates that balance the use of patches; 0: no balance."""
    balance_rounds: Annotated[int, msgspec.Meta(ge=1, le=50)] = 4
    """Updates in the first step of a level; every later step makes one."""
    balance_temperature: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    """Temperature of the assignment that is balanced, in squared distances of patches."""
    search_rank: Annotated[int, msgspec.Meta(ge=2, le=100)] = 24
    """Principal components of patches that are compared where they are copied."""
    copy_balance: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.2
    """Squared distance of patches that is added for each factor e by which a place of the photo is
    used more than others, where patches are copied."""
    redraws: Annotated[int, msgspec.Meta(ge=0, le=20)] = 2
    """How often a picture that copies the photo in large pieces is drawn again, at most."""
    stride: Annotated[int, msgspec.Meta(ge=1, le=4)] = 2
    """Pixels from one patch of a picture to the next, at levels that flow but the coarsest."""
    copy_stride: Annotated[int, msgspec.Meta(ge=1, le=4)] = 3
    """The same at levels that copy."""

    def __post_init__(self) -> None:
        if (apart := max(self.stride, self.copy_stride)) > self.patch:
            raise ValueError(
                f"patches of {self.patch} pixels, {apart} apart, leave gaps; use a stride of up to "
                f"{self.patch}"
            )

    @property
    def place(self) -> float:
        """Weight of squared distances of places against the mean squared difference of pixels."""
        return min(2 / 15 * (1 / max(self.variety, 1e-6) - 1), 10.0)

    @property
    def together(self) -> float:
        """A picture is drawn again if more of its neighbors are neighbors in the photo, too."""
        return max(0.24, 1 - 2.34 * self.variety)

    def generator_of(self, example: Pyramid) -> "PatchFlow":
        return PatchFlow(self, example)


class PatchFlow(nn.Module):
    """Draws from one photo; it has nothing but the photo."""

    def __init__(self, spec: PatchFlowSpec, example: Pyramid, strip: Strip | None = None) -> None:
        """Prepare a photo.

        Args:
            spec: the settings.
            example: the photo, (1, C, H, W) in [-1, 1] at every level.
            strip: several photos, which `example` shows; pictures have the layout of the first.
        """
        super().__init__()
        self.spec = spec
        ladder, self._strip = example.ladder, strip
        home = ladder.finest if strip is None else strip.first
        self.ladder: Ladder = replace(ladder, sizes=ladder.sizes_for(home))
        self._images = [level[0].float().contiguous() for level in example.images]
        self.channels = len(self._images[0])
        count = max(1, sum(min(size) <= spec.flow_side for size in self.ladder.sizes))
        self._unit = torch.tensor([side / min(home) for side in home])
        with in_blocks(self.device):  # rounding does not depend on the number of threads
            self._octaves = [Octave(image, spec, self._middles) for image in self._images[:count]]
        self._copies = Copies(self._images, spec)

    def _middles(self, grid: PatchGrid) -> Tensor:
        """Places of the photo's patches."""
        if self._strip is None:
            return places_of(grid, self._unit)
        return self._strip.places(grid, self._unit)

    @property
    def photo(self) -> Size:
        """Size of the image that is copied from."""
        return size_of(self._images[-1])

    @property
    def entry_levels(self) -> frozenset[int]:
        """Every level but the coarsest takes images."""
        return frozenset(range(1, len(self.ladder.sizes)))

    @property
    def copier(self) -> Self:
        """It copies every pixel."""
        return self

    @property
    def device(self) -> torch.device:
        """Device on which it computes."""
        return self._images[0].device

    def lasting(self, frames: int) -> Generator:
        """Refuse clips of any number of `frames`, as `Generator.lasting`."""
        raise ArgumentError("a model of a photo draws no clips; train one with --for video.")

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        """Fresh noise, as `Generator.draw`; levels that copy use none."""
        maps: list[Map] = []
        for level, size in enumerate(sizes):
            extent = size if level < len(self._octaves) else Size(1, 1)
            level_seeds = tuple(seed_for(seed, "noise", level) for seed in seeds)
            maps.append(Noise(level_seeds, self.channels, extent, self._images[0]))
        return Latent(tuple(maps), tuple(sizes), wrap)

    def anchor(self) -> Latent:
        """The photo itself at every level, in place of noise."""
        sizes = self.ladder.sizes
        pairs = zip(self._images, sizes, strict=True)
        return Latent(tuple(x[None, :, : size.height, : size.width] for x, size in pairs), sizes)

    def decode(self, latent: Latent, entry: Injection | None = None) -> Tensor:
        """Images whose every pixel is one of the photo's, as `Generator.decode`."""
        return self.copied(self.sources(latent, entry)).to(self.device)

    def copied(self, places: Tensor) -> Tensor:
        """Images of the photo's pixels, as `Copier.copied`."""
        photo = self._images[-1].cpu().flatten(1)
        found = photo.index_select(1, places.flatten()).view(-1, *places.shape)
        return found.transpose(0, 1)

    @torch.inference_mode()
    def sources(
        self, latent: Latent, entry: Injection | None = None, known: Known | None = None
    ) -> Tensor:
        """Where every pixel of the images comes from, as `Copier.sources`."""
        if entry is not None:
            check_injection(entry, self.entry_levels, latent.sizes)
        return self._sources(latent, entry, known)

    @torch.inference_mode()
    def begun(self, latent: Latent, images: Tensor) -> Tensor:
        """Where every pixel comes from of pictures that begin as images of the coarsest level.

        Args:
            latent: noise, of which the images are given the share `renoise`.
            images: (B, C, *sizes[0]) in [-1, 1].

        Returns:
            As `Copier.sources`.
        """
        return self._sources(latent, Injection(0, images), None)

    def _sources(self, latent: Latent, entry: Injection | None, known: Known | None) -> Tensor:
        device, size, count = self.device, latent.sizes[-1], latent.batch
        if known is not None:
            known = replace(known, image=known.image.to(device), part=known.part.to(device))
        large = math.prod(self.photo) > LARGE or math.prod(size) > LARGE
        share = -(-count // torch.get_num_threads()) if device.type == "cpu" else count
        with returned_heap() if large else nullcontext(), in_blocks(device) as run:
            # Threads that each have pictures of their own wait less than those that share one.
            by_pictures = count > 1 and device.type == "cpu" and not large
            outer, inner = (run, Blocks(None)) if by_pictures else (Blocks(None), run)

            def some(part: slice) -> Tensor:
                numbers = range(count)[part]
                entering = None if entry is None else entry.items(numbers)
                return self._pictures(latent.items(numbers), entering, known, inner)

            return torch.cat(outer(some, count, min(at_once(size, self.photo), share)))

    def _pictures(
        self, latent: Latent, entry: Injection | None, known: Known | None, run: Blocks
    ) -> Tensor:
        """What `sources` tells, (B, H, W)."""
        if known is None and (entry is None or entry.level == 0):
            rows, columns = self._scattered(latent, entry, run)
        else:
            begun = self._begun(latent, entry, known, run)
            rows, columns = self._finished(begun, known, run).sources()
        return rows * self.photo.width + columns

    def _scattered(self, latent: Latent, entry: Injection | None, run: Blocks) -> Places:
        """The sources of pictures that copy the photo in no large pieces, as far as tries go."""
        flows = (self._flows(level, size) for level, size in enumerate(latent.sizes))
        stop = min(sum(flows) + 1, len(latent.sizes))
        tries = Tries(
            limit=self.spec.together,
            redraws=self.spec.redraws if all(isinstance(x, Noise) for x in latent.maps) else 0,
            drafted=self.ladder.sizes[stop - 1],
            finest=self.ladder.finest,
        )

        def draft_of(noise: Latent, pictures: list[int]) -> Draft:
            some = None if entry is None else entry.items(pictures)
            return self._grown(self._begun(noise, some, None, run), stop, None, run)

        return tries.best(latent, draft_of, lambda draft: self._finished(draft, None, run))

    @torch.inference_mode()
    def finer(self, image: Tensor, size: Size) -> Tensor:
        """Enlarge an image with detail of the photo, as `Copier.finer`."""
        return with_detail(
            image,
            size,
            self._images[-1],
            self.ladder.finest,
            barred=None if self._strip is None else self._strip.between[0, 0] > 0,
            rank=self.spec.search_rank,
        )

    def _begun(
        self, latent: Latent, entry: Injection | None, known: Known | None, run: Blocks
    ) -> Draft:
        """Pictures before their first level; what enters, or is known of them, is there."""
        if entry is not None:
            first, images = entry.level, entry.image.float()
            flows = self._flows(first, latent.sizes[first])
            field = None if flows else self._entered(first, images, latent, known, run)
            return Draft(latent, first, images, field)
        if known is not None and (first := self._first_free(known)) > 0:
            image = resize(known.image, latent.sizes[first - 1])
            return Draft(latent, first, image.expand(latent.batch, -1, -1, -1), None)
        return Draft(latent, 0, None, None)

    def _grown(self, draft: Draft, stop: int, known: Known | None, run: Blocks) -> Draft:
        """The draft of the same pictures with all levels under `stop`."""
        latent, images, field = draft.latent, draft.images, draft.field
        for level in range(draft.levels, stop):
            values, size = latent.maps[level], latent.sizes[level]
            kept = None if known is None else Kept.at(known, size)
            if not isinstance(values, Noise):  # the anchor's
                images, grid = values, self._grid(level, self.ladder.sizes[level])
                field = Field(grid, grid.corners.expand(latent.batch, -1, -1, -1))
            elif self._flows(level, size):
                items = map(latent.item, range(latent.batch))
                belows = [None] * latent.batch if images is None else images
                found = [
                    self._flow(level, item, below, known, kept, run)
                    for item, below in zip(items, belows, strict=True)
                ]
                images = torch.stack([image for image, _ in found])
                field = Field.joined([field for _, field in found])
            else:
                assert images is not None
                grid = self._grid(level, size, latent.wrap)
                if field is not None:
                    field = field.on(grid, self._copies.growth(level))
                else:
                    spread = Field.spread(grid, self.ladder.sizes[level])
                    field = Field.joined([spread] * latent.batch)
                corners = self._corners(level, known)
                field = self._copies.field(level, images, field, corners, kept, run)
                if level < len(latent.sizes) - 1:
                    images = self._copies.image(level, field, kept)
        return Draft(latent, max(stop, draft.levels), images, field)

    def _finished(self, draft: Draft, known: Known | None, run: Blocks) -> Field:
        """The field of a draft's pictures at the finest level."""
        field = self._grown(draft, len(draft.latent.sizes), known, run).field
        assert field is not None
        return self._on_finest(field, draft.latent, known)

    def _flows(self, level: int, size: Size) -> bool:
        """Whether a level flows: one of few pixels, and in any case the coarsest."""
        small = size.height * size.width <= self.spec.flow_pixels
        return level < len(self._octaves) and (level == 0 or small)

    def _barred(self, known: Known | None) -> Tensor | None:
        """What nothing may come from, (1, 1, H, W): a hole, and what is between photos."""
        hole = None if known is None else known.barred
        if self._strip is None:
            return hole
        barred = self._strip.between
        if hole is not None:
            barred[..., : hole.shape[2], : hole.shape[3]] += hole
        return barred

    def _first_free(self, known: Known) -> int:
        """The coarsest level where patches enough of the photo are free."""
        if (barred := self._barred(known)) is None:
            return 0
        enough = [int(o.free(barred).sum()) >= FREE for o in self._octaves]
        if any(enough):
            return enough.index(True)
        if len(self._octaves) < len(self._images):
            return len(self._octaves)
        raise all_barred(self.spec.patch)

    def _corners(self, level: int, known: Known | None) -> Corners:
        """Where matches may be at a level."""
        size = size_of(self._images[level])
        barred = self._barred(known)
        if barred is None:
            return Corners(size, self.spec.patch)
        last = level == len(self.ladder.sizes) - 1
        touched = barred > 0 if last else resize(barred, size) > TOUCHED
        return Corners(size, self.spec.patch, touched[0, 0])

    def _grid(self, level: int, size: Size, wrap: Wrap = OPEN) -> PatchGrid:
        flows, spec = self._flows(level, size), self.spec
        return PatchGrid(size, spec.patch, spec.stride if flows else spec.copy_stride, wrap)

    def _on_finest(self, field: Field, latent: Latent, known: Known | None) -> Field:
        """Of a photo so small that its finest level flows, too, the field with the usual stride."""
        last = len(latent.sizes) - 1
        grid = self._grid(last, latent.sizes[last], latent.wrap)
        if len(grid) == len(field.grid):
            return field
        corners = self._corners(last, known)
        return Field(grid, corners.within(field.on(grid).matches))

    def _flow(
        self,
        level: int,
        latent: Latent,
        below: Tensor | None,
        known: Known | None,
        kept: Kept | None,
        run: Blocks,
    ) -> tuple[Tensor, Field]:
        """One image of a level from noise, and from that of the level below if there is one."""
        spec, octave = self.spec, self._octaves[level]
        size, wrap, values = latent.sizes[level], latent.wrap, latent.maps[level]
        assert isinstance(values, Noise)

        def noise(step: int) -> Tensor:
            seeds = tuple(seed_for(seed, "step", step) for seed in values.seeds)
            return drawn(replace(values, seeds=seeds))[0]

        first, x = 0.0, noise(0)
        if below is not None:
            first = min(1 - spec.renoise, SHARP)
            x = torch.lerp(x, resize(below[None], size)[0], first)
        stride = octave.stride if below is None else max(octave.stride, spec.stride)
        grid = PatchGrid(size, spec.patch, min(stride, spec.patch), wrap)  # without gaps
        guesses = Guesses(octave, grid, self._places(level, latent, known, grid), spec, run)
        if (barred := self._barred(known)) is not None:
            guesses.bar(octave.free(barred))
        if known is not None and kept is not None and not known.evenly:
            guesses.only_fill(kept.new)
        times = torch.linspace(first, 1, spec.steps + 1).tolist()
        for i, (time, later) in enumerate(pairwise(times)):
            if kept is not None:
                x = kept.over(x, time, noise(i))
            guess = guesses.at(x, time, spec.balance_rounds if i == 0 else 1, last=later == 1)
            x = torch.lerp(noise(i + 1), guess, later) if later < 1 else guess
        return x if kept is None else kept.over(x), guesses.field

    def _entered(
        self, first: int, images: Tensor, latent: Latent, known: Known | None, run: Blocks
    ) -> Field:
        """The field of images that enter at a level that copies, on the patches of that below.

        They are compared with the photo where it flows, reduced from its level as it is.
        """
        spec, octave = self.spec, self._octaves[min(first, len(self._octaves)) - 1]
        below, here = size_of(self._images[first - 1]), size_of(images)
        grown = [new / old for new, old in zip(below, octave.size, strict=True)]
        size = Size(*(max(round(a / b), spec.patch) for a, b in zip(here, grown, strict=True)))
        stride = max(octave.stride, math.ceil(math.sqrt(math.prod(size) / ENTERING)))
        grid = PatchGrid(size, spec.patch, stride, latent.wrap)
        found = matched(octave, resized(images, size), grid, self._barred(known), spec, run)
        return found.on(self._grid(first - 1, here, latent.wrap), grown)

    def _places(
        self, level: int, latent: Latent, known: Known | None, grid: PatchGrid
    ) -> tuple[Tensor, Tensor]:
        """Places of the patches of a sample, and the weights of their squared distances, (n, 2)."""
        weight = self.spec.place * self._octaves[level].depth
        if known is None or known.corner is None:
            places = places_of(grid, self._unit)
            weights = torch.tensor([0.0 if around else weight for around in latent.wrap])
            return places, weights.expand_as(places)
        photo = torch.tensor(self.ladder.sizes[level])
        scale = photo / torch.tensor(self.ladder.finest)
        corners = grid.corners.flatten(0, 1) - torch.tensor(known.corner) * scale
        nearest = torch.minimum(corners.clamp(min=0), photo - grid.patch)  # of what lies beyond it
        places = (nearest + grid.patch / 2) / photo * self._unit
        return places, torch.full_like(places, weight)
