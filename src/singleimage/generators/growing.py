"""ConSinGAN's generator: one network that grows in feature space, its last blocks trained together.

Hinz, Fisher, Wang, Wermter: Improved Techniques for Training Single-Image GANs, WACV 2021,
section 3; details from the published code.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singleimage.generators.base import Entry, Trainee, check_entry, decode_tiles
from singleimage.latent import Latent, Map, Noise, drawn, gaussian, seed_for
from singleimage.nn.blocks import Channels, Conv, ConvStack, Slope, init_normal
from singleimage.nn.convolution import channels_last
from singleimage.pyramid import Ladder, Pyramid
from singleimage.resample import Part, Size, Window, stretch, stretch_source


class EdgePolicy(NamedTuple):
    """What a block of three valid convolutions sees beyond the border of its level.

    Features are stretched over so many pixels more than the level has, in all; what is then
    missing to the six that a block takes away are zeros.
    """

    first: int
    """At level 0."""
    border: int
    """At all others; their noise covers it too."""


REACH = 3
"""Pixels that a block takes away on every side."""

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

    width: Channels = 64
    norm: Literal["none", "image"] = "none"
    """Norm of head and blocks. `image` is the published batch-norm option, which never leaves the
    statistics of the image at hand."""
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

    def build(self, *, channels: int, ladder: Ladder) -> "Growing":
        return Growing(self, channels=channels, ladder=ladder)


class Growing(nn.Module):
    """Head, one block a level, tail; features pass from level to level, not images."""

    def __init__(self, spec: GrowingSpec, *, channels: int, ladder: Ladder) -> None:
        super().__init__()
        self.spec = spec
        self.channels = channels
        self.full_ladder = ladder
        self.edge = EDGES[spec.edge]
        style: dict[str, Any] = {"norm": spec.norm, "slope": spec.slope}
        self.head = ConvStack((channels, spec.width), **style)
        self.blocks = nn.ModuleList()
        self.tail = Conv(spec.width, channels, padding=1)
        self.register_buffer("amplitudes", torch.ones(len(ladder.sizes)))
        self.amplitudes: Tensor

    # Generator

    @property
    def ladder(self) -> Ladder:
        return self.full_ladder.truncated(len(self.blocks))

    @property
    def entry_levels(self) -> frozenset[int]:
        return frozenset({0})

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int]) -> Latent:
        maps: list[Map] = []
        for level, size in enumerate(sizes):
            shape = self._map_shape(level, size)
            level_seeds = [seed_for(seed, "noise", level) for seed in seeds]
            maps.append(Noise(tuple(level_seeds), shape[0], Size(*shape[1:]), self.amplitudes))
        return Latent(tuple(maps), tuple(sizes))

    def anchor(self) -> Latent:
        maps = (self.get_buffer(f"anchor_{level}") for level in range(len(self.blocks)))
        return Latent(tuple(maps), self.ladder.sizes)

    @torch.inference_mode()
    def decode(self, latent: Latent, entry: Entry | None = None) -> Tensor:
        if entry is not None:
            check_entry(entry, self.entry_levels, latent.sizes)
            latent = Latent((entry.image, *latent.maps[1:]), latent.sizes)
        coarsest = self._features(0, 1, None, latent)

        def decode(window: Window) -> Tensor:
            size = latent.sizes[-1]
            seen = window.grown(1, size)  # the tail looks one pixel around
            windows = self._windows(seen, latent.sizes)
            features = windows[0].cut(coarsest)
            features = self._features(1, len(self.blocks), features, latent, windows=windows)
            return window.within(seen).cut(self._image(features))

        return decode_tiles(decode, latent.sizes, local=self.spec.norm == "none")

    # Trainee

    def approach(self, latent: Latent) -> Tensor | None:
        frozen = self._frozen_blocks()
        if frozen == 0:
            return None
        with torch.no_grad():
            return self._features(0, frozen, None, latent)

    together = True

    def refine(
        self, paths: Sequence[tuple[Tensor | None, Latent]], *, observe: bool = True
    ) -> list[Tensor]:
        approaches = [approach for approach, _ in paths if approach is not None]
        below = torch.cat(approaches) if approaches else None
        latents = [latent for _, latent in paths]
        features = self._features(self._frozen_blocks(), len(self.blocks), below, *latents)
        return list(torch.split(self._image(features), [latent.batch for latent in latents]))

    # Learner

    def extend(self, generator: torch.Generator | None) -> None:
        if self.blocks:
            block: nn.Module = deepcopy(self.blocks[-1])
        else:
            width = self.spec.width
            block = ConvStack((width,) * 4, norm=self.spec.norm, slope=self.spec.slope)
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
            noise = example.images[0] + self.spec.anchor_noise * noise
        anchor.copy_(noise)
        if level > 0:
            self.amplitudes[level] = 0.0
            error = F.mse_loss(self.decode(self.anchor()), example.images[level]).sqrt()
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

    def refresh(self, seed: int) -> None:
        """ConSinGAN redraws nothing between steps."""

    def bind(self, example: Pyramid) -> Trainee:
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
            latents: of equal sizes; they make one batch.
            windows: the part of every level to compute; none: all of it.
        """
        sizes = latents[0].sizes
        for level in range(first, stop):
            maps = [latent.maps[level] for latent in latents]
            size = sizes[level]
            if level == 0:
                features = self._coarsest(torch.cat([drawn(values) for values in maps]), size)
                continue
            assert features is not None
            border = self.edge.border
            frame = Size(size.height + border, size.width + border)
            window = windows[level] if windows else Window.whole(size)
            inner = _in_frame(window, border, frame)
            below = windows[level - 1] if windows else Window.whole(sizes[level - 1])
            scaled = [
                drawn(values, inner, scale=self.amplitudes[level], dtype=features.dtype)
                for values in maps
            ]
            noise = scaled[0] if len(scaled) == 1 else torch.cat(scaled)
            part = Part(inner, below, sizes[level - 1])
            x = stretch(features, frame, noise, part=part)
            missing = _missing(window, border, inner)
            change = self.blocks[level](F.pad(x, missing) if any(missing) else x)
            features = stretch(features, size, change, part=part._replace(window=window))
        assert features is not None
        return features

    def _coarsest(self, base: Tensor, size: Size) -> Tensor:
        features: Tensor = self.head(F.pad(base, [1] * 4))
        border = self.edge.first
        if border:
            features = stretch(features, Size(size.height + border, size.width + border))
        features = self.blocks[0](F.pad(features, [REACH - border // 2] * 4))
        return features

    def _windows(self, window: Window, sizes: Sequence[Size]) -> list[Window]:
        """What of every level must be known for `window` of the finest; of level 0 all is."""
        windows = [window]
        border = self.edge.border
        for below, size in zip(reversed(sizes[:-1]), reversed(sizes[1:]), strict=True):
            frame = Size(size.height + border, size.width + border)
            inner = _in_frame(windows[0], border, frame)
            skip = stretch_source(below, size, windows[0])
            windows.insert(0, stretch_source(below, frame, inner).union(skip))
        return windows

    def _image(self, features: Tensor) -> Tensor:
        image: Tensor = self.tail(features)
        return torch.tanh(image.to(self.amplitudes.dtype))

    def _map_shape(self, level: int, size: Size) -> tuple[int, int, int]:
        if level == 0:
            return self.channels, size.height, size.width
        border = self.edge.border
        return self.spec.width, size.height + border, size.width + border

    def _frozen_blocks(self) -> int:
        return max(len(self.blocks) - self.spec.train_depth, 0)


def _in_frame(window: Window, border: int, frame: Size) -> Window:
    """What a block needs for `window`, in the pixels of the stretched frame around the level."""
    moved = window._replace(top=window.top + border // 2, left=window.left + border // 2)
    return moved.grown(REACH, frame)


def _missing(window: Window, border: int, inner: Window) -> list[int]:
    """Pixels that `inner` lacks left, right, above and below of what a block needs."""
    found = []
    for side, here in ((window.columns, inner.columns), (window.rows, inner.rows)):
        start, stop = side.start + border // 2 - REACH, side.stop + border // 2 + REACH
        found += [here.start - start, stop - here.stop]
    return found
