"""ConSinGAN's generator: one network that grows in feature space, its last blocks trained together.

Hinz, Fisher, Wang, Wermter: Improved Techniques for Training Single-Image GANs, WACV 2021,
section 3; details from the published code. With blocks of involutions it is that of
"Fast Learning a Stabilized Generative Model from a Single Image".
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, cast

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singleimage.generators.base import (
    ALL,
    Injection,
    Intermediate,
    Learner,
    TrainingView,
    check_injection,
)
from singleimage.generators.tiles import WHOLE, decode_tiles
from singleimage.machine.device import channels_last
from singleimage.multiscale.geometry import OPEN, Part, Size, Window, Wrap, framed
from singleimage.multiscale.latent import Latent, Map, Noise, drawn, gaussian, seed_for
from singleimage.multiscale.pyramid import Ladder, Pyramid
from singleimage.multiscale.resample import stretch, stretch_source
from singleimage.nn.blocks import (
    Channels,
    Conv,
    ConvolutionBody,
    ConvStack,
    HeadRoom,
    Slope,
    init_normal,
    norms_of,
)
from singleimage.nn.involution import InvolutionBody


class EdgePolicy(NamedTuple):
    """What a block of three layers without padding sees beyond the border of its level.

    Features are stretched over a border around the level; where it is narrower than the six pixels
    that a block takes away, zeros are added. On an axis that wraps there is no border:
    the block sees the features of the opposite edge.
    """

    first: int
    """Border at level 0, pixels, both sides together."""
    border: int
    """Border at all other levels; their noise covers it too."""


REACH = 3
"""Pixels that a block takes away on every side."""


class Block(Protocol):
    """The network of one level, which takes `REACH` pixels away where no axis wraps."""

    def within(self, x: Tensor, here: Window, wanted: Window, wrap: Wrap) -> Tensor:
        """Compute the features of a part of an image.

        Args:
            x: the features (B, C, h, w) of the window `here`.
            here: the window that is known.
            wanted: the window to compute.
            wrap: whether rows, and columns, continue at the opposite edge.
        """
        ...


Body = ConvolutionBody | InvolutionBody
"""What blocks are made of."""

EDGES: dict[str, EdgePolicy] = {
    # Borders vary as much as the inside.
    "stretch": EdgePolicy(first=2, border=6),
    # Layouts stay where they are, for other sizes and for editing.
    "zero": EdgePolicy(first=0, border=0),
}


class GrowingSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="growing"
):
    """How a growing generator is built and trained."""

    trained: ClassVar[Literal[True]] = True
    learns_several: ClassVar[bool] = False

    body: Body = ConvolutionBody()
    width: Channels = 64
    norm: Literal["none", "image"] = "none"
    """Norm of head and blocks. `image` is the published batch-norm option, which never leaves the
    statistics of the image at hand."""
    entry_norm: Literal["own", "photo"] = "own"
    """Statistics of the norms for an image that enters: its own, as published, or the photo's, so
    that what is changed in one place does not change the rest."""
    slope: Slope = 0.05
    """Negative slope of the leaky ReLU."""
    edge: Literal["stretch", "zero"] = "stretch"
    """stretch: the code's `generation` and `animation`; zero: `retarget`, `harmonization`,
    `editing`."""
    train_depth: Annotated[int, msgspec.Meta(ge=1)] = 3
    """How many of the newest blocks are trained together."""
    lr_scale: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    """Learning rate of a block over that of the next newer one (delta in the paper)."""
    noise_amplitude: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    """Noise of a level over the error of its reconstruction before training."""
    anchor: Literal["image", "noise"] = "image"
    """Base input that reproduces the photo: the photo at level 0, or fixed noise (animation)."""
    anchor_noise: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Fixed noise on top of the photo in that input; 0.1 in the code's mode `editing`."""

    walk_step: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    """How far the first step of an animation goes from the anchor (ConSinGAN's code; SinGAN's takes
    0.05)."""
    head_room: HeadRoom = 0.0
    """How far beyond black and white images may go."""

    def __post_init__(self) -> None:
        self.body.require_width(self.width)

    def build(self, *, channels: int, ladder: Ladder) -> "Growing":
        return Growing(self, channels=channels, ladder=ladder)


class Growing(Learner, TrainingView):
    """Head, one block a level, tail; features pass from level to level, not images."""

    together = True
    steady = True

    def __init__(self, spec: GrowingSpec, *, channels: int, ladder: Ladder) -> None:
        super().__init__()
        self.spec = spec
        self.channels = channels
        self.full_ladder = ladder
        self.edge = EDGES[spec.edge]
        self.head = ConvStack((channels, spec.width), norm=spec.norm, slope=spec.slope)
        self.blocks = nn.ModuleList()
        self.tail = Conv(spec.width, channels, padding=1)
        self.register_buffer("amplitudes", torch.ones(len(ladder.sizes)))
        self.amplitudes: Tensor

    @property
    def limit(self) -> float:
        """Largest value of an image, where tanh has no slope."""
        return 1 + self.spec.head_room

    # Generator

    @property
    def ladder(self) -> Ladder:
        return self.full_ladder.truncated(len(self.blocks))

    @property
    def entry_levels(self) -> frozenset[int]:
        return frozenset({0})

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        maps: list[Map] = []
        for level, size in enumerate(sizes):
            shape = self._map_shape(level, size, wrap)
            level_seeds = [seed_for(seed, "noise", level) for seed in seeds]
            maps.append(Noise(tuple(level_seeds), shape[0], Size(*shape[1:]), self.amplitudes))
        return Latent(tuple(maps), tuple(sizes), wrap)

    def anchor(self) -> Latent:
        maps = (self.get_buffer(f"anchor_{level}") for level in range(len(self.blocks)))
        return Latent(tuple(maps), self.ladder.sizes)

    @torch.inference_mode()
    def decode(self, latent: Latent, entry: Injection | None = None) -> Tensor:
        if entry is None:
            return self._decode(latent)
        check_injection(entry, self.entry_levels, latent.sizes)
        latent = replace(latent, maps=(entry.image, *latent.maps[1:]))
        if self.spec.entry_norm == "own":
            return self._decode(latent)
        with norms_of(self, lambda: self._decode(self.anchor())):
            return self._decode(latent)

    def _decode(self, latent: Latent) -> Tensor:
        first, wrap = latent.sizes[0], latent.wrap
        small = first.height * first.width <= WHOLE or not self._local
        coarsest = self._features(0, 1, None, latent) if small else None

        def decode(window: Window) -> Tensor:
            size = latent.sizes[-1]
            seen = window.grown(1, size, wrap).folded(size, wrap)  # by the tail
            windows = self._windows(seen, latent)
            if coarsest is None:
                features = self._features(0, 1, None, latent, windows=windows)
            else:  # once for all tiles
                features = framed(coarsest, Window.whole(first), windows[0], wrap)
            features = self._features(1, len(self.blocks), features, latent, windows=windows)
            return self._image(features, latent, window, seen)

        return decode_tiles(decode, latent.sizes, local=self._local)

    # TrainingView

    def run_frozen(self, latent: Latent) -> Tensor | None:
        frozen = self._frozen_blocks()
        if frozen == 0:
            return None
        with torch.no_grad():
            return self._features(0, frozen, None, latent)

    def run_trained(self, inputs: Sequence[Intermediate], *, observe: bool = True) -> list[Tensor]:
        frozen = [features for features, _ in inputs if features is not None]
        below = torch.cat(frozen) if frozen else None
        latents = [latent for _, latent in inputs]
        features = self._features(self._frozen_blocks(), len(self.blocks), below, *latents)
        image = self._image(features, latents[0])
        return list(torch.split(image, [latent.batch for latent in latents]))

    # Learner

    def extend(self, generator: torch.Generator | None) -> None:
        if self.blocks:
            block: nn.Module = deepcopy(self.blocks[-1])
        else:
            spec = self.spec
            block = spec.body.build(spec.width, norm=spec.norm, slope=spec.slope)
            if generator is not None:
                for part in (self.head, block, self.tail):
                    init_normal(part, generator)
        self.blocks.append(block.to(self.amplitudes.device, self.amplitudes.dtype))
        level = len(self.blocks) - 1
        shape = self._map_shape(level, self.full_ladder.sizes[level])
        anchor = channels_last(self.amplitudes.new_zeros(1, *shape))
        self.register_buffer(f"anchor_{level}", anchor)
        frozen = self._frozen_blocks()
        self.head.requires_grad_(frozen == 0)
        for i, block in enumerate(self.blocks):
            block.requires_grad_(i >= frozen)

    def grow(self, example: Pyramid, seed: int) -> None:
        level = len(self.blocks)
        self.extend(torch.Generator().manual_seed(seed_for(seed, "weights", level)))
        anchor = self.get_buffer(f"anchor_{level}")
        noise = gaussian(anchor.shape[1:], seed_for(seed, "anchor", level), like=anchor)
        if level == 0 and self.spec.anchor == "image":
            noise = example.images[0][:1] + self.spec.anchor_noise * noise
        anchor.copy_(noise)
        if level > 0:
            self.amplitudes[level] = 0.0
            photo = example.images[level][:1]
            error = F.mse_loss(self.decode(self.anchor()), photo).sqrt()
            self.amplitudes[level] = self.spec.noise_amplitude * error

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        level, decay = len(self.blocks) - 1, self.spec.lr_scale
        groups = [
            {"params": list(block.parameters()), "lr": lr * decay**age}
            for age, block in enumerate(reversed(self.blocks))
            if age < self.spec.train_depth
        ]
        groups.append({"params": list(self.tail.parameters()), "lr": lr})
        if self._frozen_blocks() == 0:
            groups.append({"params": list(self.head.parameters()), "lr": lr * decay**level})
        return groups

    def bind(self, example: Pyramid, share: slice = ALL) -> TrainingView:
        return self

    def generator_of(self, example: Pyramid) -> "Growing":
        return self

    # One coarse-to-fine loop

    def _features(
        self,
        first: int,
        stop: int,
        features: Tensor | None,
        *latents: Latent,
        windows: Sequence[Window] = (),
    ) -> Tensor:
        """Blocks `first` to `stop - 1`, from the features of the level below (None: the head).

        Args:
            latents: of equal sizes that wrap alike; they make one batch.
            windows: the part of every level to compute; none: all of it.
        """
        sizes, wrap = latents[0].sizes, latents[0].wrap
        for level in range(first, stop):
            maps = [latent.maps[level] for latent in latents]
            size = sizes[level]
            if level == 0:
                window = windows[0] if windows else Window.whole(size)
                features = self._coarsest(maps, size, window, wrap)
                continue
            assert features is not None
            frame = _widened(size, self.edge.border, wrap)
            window = windows[level] if windows else Window.whole(size)
            wanted, inner = _in_frame(window, size, frame, wrap)
            below = windows[level - 1] if windows else Window.whole(sizes[level - 1])
            scaled = [
                drawn(values, inner, scale=self.amplitudes[level], dtype=features.dtype)
                for values in maps
            ]
            noise = scaled[0] if len(scaled) == 1 else torch.cat(scaled)
            part = Part(inner, below, sizes[level - 1])
            x = stretch(features, frame, noise, part=part, wrap=wrap)
            change = self._block(level).within(x, inner, wanted, wrap)
            part = part._replace(window=window)
            features = stretch(features, size, change, part=part, wrap=wrap)
        assert features is not None
        return features

    def _coarsest(self, maps: Sequence[Map], size: Size, window: Window, wrap: Wrap) -> Tensor:
        """The features of a window of level 0, from its maps."""
        frame = _widened(size, self.edge.first, wrap)
        wanted, inner = _in_frame(window, size, frame, wrap)
        source = inner if frame == size else stretch_source(size, frame, inner, wrap=wrap)
        seen = source.grown(1, size, wrap).folded(size, wrap)
        base = torch.cat([drawn(values, seen) for values in maps])
        features: Tensor = self.head(framed(base, seen, source.grown(1), wrap))
        if frame != size:
            features = stretch(features, frame, part=Part(inner, source, size), wrap=wrap)
        return self._block(0).within(features, inner, wanted, wrap)

    def _block(self, level: int) -> Block:
        return cast(Block, self.blocks[level])

    @property
    def _local(self) -> bool:
        """Whether a pixel depends on those near it alone."""
        return self.spec.body.local and self.spec.norm == "none"

    def _windows(self, window: Window, latent: Latent) -> list[Window]:
        """What of every level must be known for `window` of the finest; of level 0 all is."""
        windows, sizes, wrap = [window], latent.sizes, latent.wrap
        for below, size in zip(reversed(sizes[:-1]), reversed(sizes[1:]), strict=True):
            frame = _widened(size, self.edge.border, wrap)
            _, inner = _in_frame(windows[0], size, frame, wrap)
            skip = stretch_source(below, size, windows[0], wrap=wrap)
            source = stretch_source(below, frame, inner, wrap=wrap).union(skip)
            windows.insert(0, source.folded(below, wrap))
        return windows

    def _image(
        self,
        features: Tensor,
        latent: Latent,
        window: Window | None = None,
        seen: Window | None = None,
    ) -> Tensor:
        """The image in `window` (None: all) from the features in `seen`, a pixel more around."""
        size, wrap = latent.sizes[len(self.blocks) - 1], latent.wrap
        window, seen = window or Window.whole(size), seen or Window.whole(size)
        wide = window.grown(1, size, wrap)
        image: Tensor = self.tail(framed(features, seen, wide, wrap))
        image = torch.tanh(image.to(self.amplitudes.dtype))
        if self.spec.head_room:
            image = image * self.limit
        return framed(image, wide, window)

    def _map_shape(self, level: int, size: Size, wrap: Wrap = OPEN) -> tuple[int, int, int]:
        if level == 0:
            return self.channels, size.height, size.width
        return self.spec.width, *_widened(size, self.edge.border, wrap)

    def _frozen_blocks(self) -> int:
        return max(len(self.blocks) - self.spec.train_depth, 0)


def _widened(size: Size, border: int, wrap: Wrap) -> Size:
    """Add `border` pixels, both sides together, to each axis of `size` that does not wrap."""
    height, width = (n if around else n + border for n, around in zip(size, wrap, strict=True))
    return Size(height, width)


def _in_frame(window: Window, size: Size, frame: Size, wrap: Wrap) -> tuple[Window, Window]:
    """`window` and what there is of what a block needs for it, in pixels of the stretched frame.

    The frame lies around the level, which has `size`.
    """
    top, left = (frame.height - size.height) // 2, (frame.width - size.width) // 2
    moved = window._replace(top=window.top + top, left=window.left + left)
    return moved, moved.grown(REACH, frame, wrap).folded(frame, wrap)
