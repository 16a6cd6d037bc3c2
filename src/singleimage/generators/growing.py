"""ConSinGAN's generator: one network that grows in feature space, its last blocks trained together.

Hinz, Fisher, Wang, Wermter: Improved Techniques for Training Single-Image GANs, WACV 2021,
section 3; details from the published code.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singleimage.generators.base import Entry, Trainee, check_entry
from singleimage.latent import Latent, gaussian, gaussian_batch, seed_for
from singleimage.nn.blocks import Channels, Conv, ConvStack, Slope, init_normal
from singleimage.pyramid import Ladder, Pyramid
from singleimage.resample import Size, stretch


@dataclass(frozen=True)
class EdgePolicy:
    """What a block of three valid convolutions sees beyond the border of its level."""

    border: int
    """Pixels by which noise maps exceed their level, in all."""
    enter_first: Callable[[Tensor, Size], Tensor]
    """Head features and size of level 0 -> the first block's input, 6 pixels larger."""
    enter: Callable[[Tensor, Tensor, Size], Tensor]
    """Features of the level below, noise, size -> a block's input, 6 pixels larger."""


EDGES: dict[str, EdgePolicy] = {
    # Features are stretched over the border: borders vary as much as the inside.
    "stretch": EdgePolicy(
        border=6,
        enter_first=lambda h, s: F.pad(stretch(h, Size(s.height + 2, s.width + 2)), [2] * 4),
        enter=lambda f, noise, s: stretch(f, Size(s.height + 6, s.width + 6)) + noise,
    ),
    # Zeros beyond the border: layouts stay where they are, for other sizes and for editing.
    "zero": EdgePolicy(
        border=0,
        enter_first=lambda h, s: F.pad(h, [3] * 4),
        enter=lambda f, noise, s: F.pad(stretch(f, s) + noise, [3] * 4),
    ),
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
        self.tail = Conv(spec.width, channels)
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
        maps = []
        for level, size in enumerate(sizes):
            shape = self._map_shape(level, size)
            level_seeds = [seed_for(seed, "noise", level) for seed in seeds]
            maps.append(gaussian_batch(shape, level_seeds, like=self.amplitudes))
        return Latent(tuple(maps), tuple(sizes))

    def anchor(self) -> Latent:
        maps = (self.get_buffer(f"anchor_{level}") for level in range(len(self.blocks)))
        return Latent(tuple(maps), self.ladder.sizes)

    @torch.inference_mode()
    def decode(self, latent: Latent, entry: Entry | None = None) -> Tensor:
        if entry is not None:
            check_entry(entry, self.entry_levels, latent.sizes)
            latent = Latent((entry.image, *latent.maps[1:]), latent.sizes)
        return self._image(self._features(0, len(self.blocks), None, latent))

    # Trainee

    def approach(self, latent: Latent) -> Tensor | None:
        frozen = self._frozen_blocks()
        if frozen == 0:
            return None
        with torch.no_grad():
            return self._features(0, frozen, None, latent)

    def refine(self, approach: Tensor | None, latent: Latent, *, observe: bool = True) -> Tensor:
        first = self._frozen_blocks()
        return self._image(self._features(first, len(self.blocks), approach, latent))

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
        self.register_buffer(f"anchor_{level}", self.amplitudes.new_zeros(1, *shape))
        frozen = self._frozen_blocks()
        self.head.requires_grad_(frozen == 0)
        for i, block in enumerate(self.blocks):
            block.requires_grad_(i >= frozen)

    def grow(self, example: Pyramid, seed: int) -> None:
        level = len(self.blocks)
        self.extend(torch.Generator().manual_seed(seed_for(seed, "weights", level)))
        anchor = self.get_buffer(f"anchor_{level}")
        if level == 0 and self.spec.anchor == "image":
            anchor.copy_(example.images[0])
        else:
            noise = gaussian(anchor.shape, seed_for(seed, "anchor", level), like=anchor)
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

    def _features(self, first: int, stop: int, features: Tensor | None, latent: Latent) -> Tensor:
        """Blocks `first` to `stop - 1`, from the features of the level below (None: the head)."""
        for level in range(first, stop):
            size = latent.sizes[level]
            if level == 0:
                head = self.head(F.pad(latent.maps[0], [1] * 4))
                features = self.blocks[0](self.edge.enter_first(head, size))
                continue
            assert features is not None
            noise = (self.amplitudes[level] * latent.maps[level]).to(features.dtype)
            change = self.blocks[level](self.edge.enter(features, noise, size))
            features = stretch(features, size) + change
        assert features is not None
        return features

    def _image(self, features: Tensor) -> Tensor:
        image: Tensor = self.tail(F.pad(features, [1] * 4))
        return torch.tanh(image.to(self.amplitudes.dtype))

    def _map_shape(self, level: int, size: Size) -> tuple[int, int, int]:
        if level == 0:
            return self.channels, size.height, size.width
        border = self.edge.border
        return self.spec.width, size.height + border, size.width + border

    def _frozen_blocks(self) -> int:
        return max(len(self.blocks) - self.spec.train_depth, 0)
