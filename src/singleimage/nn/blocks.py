"""Convolution blocks shared by generators and critics.

No block pads: what lies beyond the border is a policy of the generator, so a stack of n 3x3
convolutions returns n pixels less on every side.
"""

import math
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["none", "batch", "image"]
"""none; batch: statistics of the batch in training and running ones once frozen (SinGAN's
generators); image: always the statistics of each image alone, which is what batch norm does in
train mode at batch size one (SinGAN's critics, ConSinGAN's batch-norm option)."""

Channels = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Slope = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Width(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Feature channels of a level, doubling towards the fine levels (SinGAN, section 2.2)."""

    base: Channels = 32
    double_every: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Double at every so many levels; null: the same width at all levels."""
    limit: Channels = 128
    """Largest width; in SinGAN's code, not in its paper."""

    def at(self, level: int) -> int:
        if self.double_every is None:
            return self.base
        doublings = level // self.double_every
        return min(self.base << min(doublings, 16), self.limit)


def _last(x: Tensor) -> Tensor:
    """`x` in channels-last order, which one-channel tensors lose on the way."""
    return x.contiguous(memory_format=torch.channels_last)


class Conv(nn.Module):
    """A convolution without padding or stride; weights (out, in, k, k) in channels-last order.

    It computes in `compute` if that is set (see `nn.precision`), else in the type of its input.
    """

    compute: torch.dtype | None = None

    def __init__(self, c_in: int, c_out: int, *, kernel: int = 3) -> None:
        super().__init__()
        weight = torch.empty(c_out, c_in, kernel, kernel, memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(c_out))

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.compute or x.dtype
        y = F.conv2d(_last(x.to(dtype)), self.weight.to(dtype), self.bias.to(dtype))
        return _last(y)

    def pull_back(self, gradient: Tensor) -> Tensor:
        """The gradient at the input from that at the output; differentiable in the weights.

        Written as a convolution of the padded gradient: with `padding=` instead, oneDNN's weight
        gradient falls to a path ten times slower.
        """
        reach = self.weight.shape[-1] - 1
        dtype = self.compute or gradient.dtype
        flipped = self.weight.to(dtype).flip(2, 3).transpose(0, 1)
        return _last(F.conv2d(F.pad(_last(gradient.to(dtype)), [reach] * 4), _last(flipped)))


def channels_last(module: nn.Module) -> None:
    """Put convolution weights that were read from elsewhere back in channels-last order."""
    for part in module.modules():
        if isinstance(part, Conv):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)


class ImageNorm(nn.Module):
    """Normalize each image and channel by its own mean and variance, then scale and shift."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] == 1:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """The layer that `norm` names."""
    if norm == "none":
        return nn.Identity()
    return nn.BatchNorm2d(channels) if norm == "batch" else ImageNorm(channels)


class ConvStack(nn.Module):
    """`depth` times 3x3 convolution, norm and leaky ReLU; loses `depth` pixels on every side."""

    def __init__(self, widths: tuple[int, ...], *, norm: Norm, slope: float) -> None:
        """`widths`: channels before, between and after the convolutions; depth is one less."""
        super().__init__()
        pairs = list(pairwise(widths))
        self.convs = nn.ModuleList(Conv(c_in, c_out) for c_in, c_out in pairs)
        self.norms = nn.ModuleList(make_norm(norm, c_out) for _, c_out in pairs)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), self.slope)
        return x


class PatchNet(nn.Module):
    """Five 3x3 convolutions, the last one linear: receptive field 11, 5 pixels lost a side.

    SinGAN's generator of one level and its critic, and ConSinGAN's critic, are this network.
    """

    margin = 5
    """Pixels lost on every side."""

    def __init__(self, c_in: int, width: int, c_out: int, *, norm: Norm, slope: float) -> None:
        super().__init__()
        self.trunk = ConvStack((c_in, width, width, width, width), norm=norm, slope=slope)
        self.last = Conv(width, c_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.trunk(x))
        return y.to(x.dtype)

    @property
    def piecewise_linear(self) -> bool:
        """True if the network is linear around almost every input: no norm."""
        return all(isinstance(norm, nn.Identity) for norm in self.trunk.norms)

    def input_gradient(self, x: Tensor) -> Tensor:
        """The gradient of the summed output at `x`, differentiable in the weights.

        Exact for a piecewise linear network, without a second backward pass: its derivative is
        constant around `x`, a chain of transposed convolutions and masks that do not move with
        the weights. Shape of `x`.
        """
        slopes = []
        with torch.no_grad():
            y = x
            for conv in self.trunk.convs:
                y = conv(y)
                slopes.append(torch.where(y > 0, y.new_ones(()), self.trunk.slope))
                y = y * slopes[-1]
        height, width = y.shape[-2:]
        gradient = y.new_ones(x.shape[0], self.last.weight.shape[0], height - 2, width - 2)
        gradient = self.last.pull_back(gradient)
        for conv, slope in zip(reversed(self.trunk.convs), reversed(slopes), strict=True):
            assert isinstance(conv, Conv)
            gradient = conv.pull_back(gradient * slope)
        return gradient.to(x.dtype)


def init_normal(module: nn.Module, generator: torch.Generator) -> None:
    """Initialize as SinGAN's code does, drawing from `generator` alone.

    Convolution weights N(0, 0.02^2), norm weights N(1, 0.02^2), norm biases 0; convolution biases
    uniform within 1 / sqrt(fan in), PyTorch's default.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, Conv):
                part.weight.normal_(0.0, 0.02, generator=generator)
                bound = 1 / math.sqrt(part.weight[0].numel())
                part.bias.uniform_(-bound, bound, generator=generator)
            elif isinstance(part, nn.BatchNorm2d | ImageNorm):
                part.weight.normal_(1.0, 0.02, generator=generator)
                part.bias.zero_()
