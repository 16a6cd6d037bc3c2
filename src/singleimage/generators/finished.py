"""A network's picture, finished with the photo's own patches (ours).

What a network learns up to 70 pixels or so, layout, costs a small part of its training; the rest is
detail, which the photo has. So the network's image is mixed with noise and flows, at its own size,
towards patches of the photo, of which all are used about equally; then levels above copy. Every
pixel of a picture is one of the photo's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, cast

import msgspec
import torch
from torch import Tensor, nn

from singleimage.generators.base import (
    Copier,
    Generator,
    Injection,
    Known,
    check_injection,
    evaluating,
)
from singleimage.generators.patch_flow import LARGE, PatchFlow, PatchFlowSpec, Share
from singleimage.machine.blocks import Blocks, in_blocks
from singleimage.multiscale.geometry import OPEN, Size, Wrap, size_of
from singleimage.multiscale.latent import Latent, Noise
from singleimage.multiscale.pyramid import Ladder, OctavePyramid, Pyramid, Side
from singleimage.multiscale.resample import resize, scaled


class FinishSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the photo's patches finish what a network draws."""

    renoise: Share = 0.8
    """Share of noise with which the network's image flows."""
    variety: Share = 0.5
    """How far patches may be from their place in the photo while the image flows, 0 to 1: the more,
    the more the layout is the network's."""
    factor: Annotated[float, msgspec.Meta(gt=0.3, lt=0.98)] = 0.6
    """Nominal ratio of sides between a level that copies and the next."""
    stride: Annotated[int, msgspec.Meta(ge=1, le=4)] = 3
    """Pixels from one patch of a picture to the next."""
    steps: Annotated[int, msgspec.Meta(ge=2, le=200)] = 20
    """Steps in which the network's image flows."""
    redraws: Annotated[int, msgspec.Meta(ge=0, le=20)] = 4
    """How often a picture that copies the photo in large pieces flows again, at most."""
    max_size: Side | None = 1024
    """Long side up to which pictures are finished, pixels; of larger photos null: all of it."""

    def reduced(self, photo: Tensor) -> Tensor:
        """The photo (C, H, W) in [-1, 1] as large as its pictures are to be."""
        size = size_of(photo)
        if self.max_size is None or max(size) <= self.max_size:
            return photo
        factor = self.max_size / max(size)
        return resize(photo[None], scaled(size, factor), scale=factor)[0].clamp(-1, 1)


def finished(network: Generator, spec: FinishSpec | None, photo: Tensor) -> Generator:
    """What draws pictures of the size of the photo: the network, or it and the photo's patches.

    Args:
        network: as far as it has learned.
        spec: of the recipe; None: the network alone.
        photo: (C, H, W) in [-1, 1], without masks.
    """
    if spec is None or min(network.ladder.finest) >= min(size_of(photo)):
        return network
    return Finished(network, spec, photo)


class Finished:
    """A network for the coarse levels, and patch flow for the fine ones."""

    def __init__(self, network: Generator, spec: FinishSpec, photo: Tensor) -> None:
        """Put the photo on the levels above the network's."""
        self.network = network
        learned = network.ladder
        short = min(learned.finest)
        law = OctavePyramid(min_size=short, octaves_to=short, factor=spec.factor)
        example = Pyramid.build(photo[None].to(network.device), law)
        settings = PatchFlowSpec(
            variety=spec.variety,
            flow_side=max(short, 24),
            renoise=spec.renoise,
            stride=spec.stride,
            copy_stride=spec.stride,
            steps=spec.steps,
            redraws=spec.redraws,
        )
        self._flow = PatchFlow(settings, example)
        above = self._flow.ladder
        self._learned = len(learned.sizes)
        coarse = tuple(scale * above.scales[0] for scale in learned.scales)
        self.ladder: Ladder = replace(
            learned,
            sizes=(*learned.sizes, *above.sizes[1:]),
            scales=(*coarse, *above.scales[1:]),
            reduction=1.0,
            exact=False,
            floor=above.floor,
        )

    @property
    def photo(self) -> Size:
        """Size of the image that is copied from."""
        return self._flow.photo

    @property
    def entry_levels(self) -> frozenset[int]:
        """Those of the network, and every finer one."""
        finer = range(self._learned, len(self.ladder.sizes))
        return self.network.entry_levels | frozenset(finer)

    @property
    def copier(self) -> Copier:
        """It copies every pixel."""
        return self

    @property
    def device(self) -> torch.device:
        """Device on which it computes."""
        return self.network.device

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        """The network's noise, as `Generator.draw`, and that of the levels above."""
        below = self.network.draw(sizes[: self._learned], seeds, wrap)
        above = self._flow.draw(sizes[self._learned - 1 :], seeds, wrap)
        return Latent((*below.maps, *above.maps[1:]), tuple(sizes), wrap)

    def anchor(self) -> Latent:
        """The network's; the levels above copy to whatever it makes."""
        sizes = self.ladder.sizes
        above = self._flow.draw(sizes[self._learned - 1 :], [0])
        return Latent((*self.network.anchor().maps, *above.maps[1:]), sizes)

    def decode(self, latent: Latent, entry: Injection | None = None) -> Tensor:
        """Images whose every pixel is one of the photo's, as `Generator.decode`."""
        return self.copied(self.sources(latent, entry)).to(self.device)

    def copied(self, places: Tensor) -> Tensor:
        """Images of the photo's pixels, as `Copier.copied`."""
        return self._flow.copied(places)

    def finer(self, image: Tensor, size: Size) -> Tensor:
        """Enlarge an image with detail of the photo, as `Copier.finer`."""
        return self._flow.finer(image, size)

    @torch.inference_mode()
    def sources(
        self, latent: Latent, entry: Injection | None = None, known: Known | None = None
    ) -> Tensor:
        """Where every pixel of the images comes from, as `Copier.sources`.

        A part of a picture of which the rest is `known` is patch flow's alone.
        """
        if entry is not None:
            check_injection(entry, self.entry_levels, latent.sizes)
        count = self._learned
        sizes = latent.sizes[count - 1 :]
        noise = latent.maps[count]  # where latents were mixed, it is the same in all
        seeds = noise.seeds if isinstance(noise, Noise) else [0] * latent.batch
        above = self._flow.draw(sizes, seeds, latent.wrap)
        if entry is not None and entry.level >= count:
            return self._flow.sources(above, replace(entry, level=entry.level - count + 1), known)
        if known is None:
            below = Latent(latent.maps[:count], latent.sizes[:count], latent.wrap)
            return self._flow.begun(above, self._layouts(below, entry))
        if entry is not None:
            image = resize(entry.image, sizes[0])
            return self._flow.sources(above, Injection(1, image), known)
        return self._flow.sources(above, None, known)

    def _layouts(self, latent: Latent, entry: Injection | None) -> Tensor:
        """What the network draws, one by one: rounding of each is its own."""

        def draw(part: slice) -> Tensor:  # several on devices that like much at once
            found = []
            for number in range(latent.batch)[part]:
                entering = None if entry is None else entry.items([number])
                found.append(self.network.decode(latent.item(number), entering))
            return torch.cat(found)

        with evaluating(cast(nn.Module, self.network)):  # not each thread, for all of them
            if math.prod(latent.sizes[-1]) > LARGE:  # all threads draw one
                images = Blocks(None)(draw, latent.batch, 1)
            else:
                with in_blocks(self.device) as run:
                    # What enters may set norms of the network.
                    images = (run if entry is None else Blocks(None))(draw, latent.batch, 1)
        return torch.cat(images).float()[:, : self._flow.channels].clamp(-1, 1)

    def lasting(self, frames: int) -> Generator:
        """Refuse clips of any number of `frames`, as `Generator.lasting`."""
        return self._flow.lasting(frames)

    def state_dict(self) -> dict[str, Any]:
        """The network's tensors."""
        return self.network.state_dict()

    def parameters(self) -> Iterator[nn.Parameter]:
        """What the network learned."""
        return self.network.parameters()
