"""Convolutions of spectral norm one, and the critic made of them: HP-VAE-GAN's encoder and critic.

Miyato, Kataoka, Koyama, Yoshida: Spectral Normalization for Generative Adversarial Networks, ICLR
2018. Every layer has zeros around its input, so that sizes stay.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singleimage.nn.blocks import Axes, Channels, Conv, Slope
from singleimage.nn.convolution import Link, chain
from singleimage.nn.critic import Critic, CriticOutputs
from singleimage.nn.initial import draw
from singleimage.nn.second_order import bend, convolve


class SpectralConv(nn.Module):
    """A 3x3 convolution whose weights are divided by their largest singular value.

    That value is estimated by power iteration: as the weights move little from step to step, one
    iteration a forward pass is enough, from the direction where the last one ended.
    """

    def __init__(self, c_in: int, c_out: int, *, spectral: bool = True, axes: Axes = 2) -> None:
        """`spectral`: without it this is a plain convolution."""
        super().__init__()
        self.conv = Conv(c_in, c_out, padding=1, axes=axes)
        self.spectral = spectral
        self.register_buffer("direction", torch.zeros(c_out) if spectral else None)
        self.direction: Tensor

    def normalized(self, passes: int) -> Tensor:
        """The divided weights, differentiable in the weights.

        `passes`: how many iterations to make, in training; otherwise nothing is changed.
        """
        weight = self.conv.weight
        if not self.spectral:
            return weight
        matrix = weight.flatten(1)
        with torch.no_grad():
            left = self.direction
            for _ in range(passes if self.training else 1):
                right = F.normalize(matrix.T @ left, dim=0)
                left = F.normalize(matrix @ right, dim=0)
            if self.training:
                self.direction.copy_(left)
        return weight / (left @ (matrix @ right))


class SpectralStack(nn.Module):
    """3x3 convolutions of spectral norm one, each with a leaky ReLU behind it; sizes stay."""

    def __init__(
        self, widths: tuple[int, ...], *, slope: float, spectral: bool = True, axes: Axes = 2
    ) -> None:
        """`widths`: channels before, between and after the convolutions."""
        super().__init__()
        self.convs = nn.ModuleList(
            SpectralConv(c_in, c_out, spectral=spectral, axes=axes)
            for c_in, c_out in pairwise(widths)
        )
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, C, H, W) to (B, C', H, W), in the type the convolutions compute in."""
        parameters = self.parameters_for(1)
        dtype = self.compute or x.dtype
        return chain(
            x.to(dtype), links(parameters, [self.slope] * len(self.convs), dtype), parameters
        )

    @property
    def compute(self) -> torch.dtype | None:
        """In which type the convolutions compute; None: that of their input."""
        return next(part.compute for part in self.modules() if isinstance(part, Conv))

    def parameters_for(self, passes: int) -> list[Tensor]:
        """Return weights over their norms, and biases, of all layers after `passes` iterations."""
        return [
            tensor
            for layer in self.convs
            if isinstance(layer, SpectralConv)
            for tensor in (layer.normalized(passes), layer.conv.bias)
        ]


def links(
    parameters: Sequence[Tensor], slopes: Sequence[float | None], dtype: torch.dtype
) -> list[Link]:
    """Make padded convolutions into links of a chain.

    Args:
        parameters: weight and bias of each in turn.
        slopes: for each, of the leaky ReLU that follows; None: none follows.
        dtype: in which the chain computes.
    """
    cast = [tensor.detach().to(dtype) for tensor in parameters]
    return [
        Link(weight, bias, slope, padding=1)
        for weight, bias, slope in zip(cast[::2], cast[1::2], slopes, strict=True)
    ]


class SpectralCritic(Critic):
    """Convolutions of spectral norm one and a plain one to a map of scores, of the image's size."""

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        depth: int,
        slope: float,
        spectral: bool = True,
        axes: Axes = 2,
    ) -> None:
        super().__init__()
        widths = (channels, *[width] * depth)
        self.trunk = SpectralStack(widths, slope=slope, spectral=spectral, axes=axes)
        self.last = Conv(width, 1, padding=1, axes=axes)
        self.slopes: list[float | None] = [*[slope] * depth, None]

    def forward(self, images: Tensor) -> Tensor:
        """The map of scores (B, 1, H, W) of images (B, C, H, W), unbounded; the same of clips."""
        return self._scores(images, self._weights(1))

    def mean_scores(self, images: Tensor) -> Tensor:
        """Score `images` (B, C, H, W) by the mean of their maps, (B,)."""
        scores: Tensor = self(images).flatten(1).mean(1)
        return scores

    def bind(self, photos: Tensor, share: slice) -> Self:
        return self

    def judge(self, real: Tensor, fake: Tensor, between: Tensor, seed: int) -> CriticOutputs:
        """Judge `real`, `fake` and what lies `between`; arguments as for `Scorer.judge`.

        The gradient is differentiable in the weights, by autograd. `seed` makes no difference.

        This stands for the published code's three passes: of the photo, of generated images, and
        between them. It makes three power iterations and uses the last weights for all, where the
        code uses each once.
        """
        parameters = self._weights(3)
        scores = self._scores(torch.cat([real, fake]), parameters).flatten(1).mean(1)
        if not len(between):
            return CriticOutputs(scores[: len(real)], scores[len(real) :], between)
        point = between.detach().requires_grad_()
        dtype = self.trunk.compute or point.dtype
        cast = [tensor.to(dtype) for tensor in parameters]
        x = point.to(dtype)
        for weight, bias, slope in zip(cast[::2], cast[1::2], self.slopes, strict=True):
            x = convolve(x, weight, bias, padding=1)
            x = x if slope is None else bend(x, slope)
        (gradient,) = torch.autograd.grad(x.sum(), point, create_graph=True)
        return CriticOutputs(scores[: len(real)], scores[len(real) :], gradient)

    def _weights(self, passes: int) -> list[Tensor]:
        return [*self.trunk.parameters_for(passes), self.last.weight, self.last.bias]

    def _scores(self, images: Tensor, parameters: list[Tensor]) -> Tensor:
        dtype = self.trunk.compute or images.dtype
        scores = chain(images.to(dtype), links(parameters, self.slopes, dtype), parameters)
        return scores.to(images.dtype)


class SpectralCriticSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="spectral"
):
    """A critic with zeros around its layers: (B, C, H, W) -> (B, 1, H, W), unbounded."""

    axes: Axes = 2
    """3 for clips, (B, C, T, H, W) -> (B, 1, T, H, W)."""
    width: Channels = 64
    depth: Annotated[int, msgspec.Meta(ge=1, le=32)] = 6
    """Convolutions of spectral norm; a plain one follows."""
    spectral: bool = True
    """Divide weights by their largest singular value. Without it this is the critic for one photo
    of Meta Internal Learning's code, of depth 4."""
    slope: Slope = 0.2
    """Negative slope of the leaky ReLU."""

    @property
    def smallest_image(self) -> int:
        """Pixels a side of the smallest image that the critic can score."""
        return 1

    def build(
        self, *, level: int, channels: int, generator: torch.Generator | None
    ) -> SpectralCritic:
        """Build a fresh critic.

        Args:
            level: makes no difference.
            channels: of the images.
            generator: source of all randomness; None: weights stay as they are, to be loaded.
        """
        critic = SpectralCritic(
            channels,
            self.width,
            depth=self.depth,
            slope=self.slope,
            spectral=self.spectral,
            axes=self.axes,
        )
        if generator is not None:
            init_uniform(critic, generator)
        return critic


def init_uniform(module: nn.Module, generator: torch.Generator) -> None:
    """Initialize convolutions and spectral norms as PyTorch does.

    Weights and biases are uniform within 1 / sqrt(fan in); norms start at scale 1 and shift 0.

    Args:
        module: changed in place.
        generator: source of all randomness.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, Conv):
                bound = 1 / math.sqrt(part.weight[0].numel())
                draw(part.weight, Tensor.uniform_, -bound, bound, generator=generator)
                draw(part.bias, Tensor.uniform_, -bound, bound, generator=generator)
            elif isinstance(part, SpectralConv) and part.spectral:
                draw(part.direction, Tensor.normal_, generator=generator)
                part.direction.copy_(F.normalize(part.direction, dim=0))
