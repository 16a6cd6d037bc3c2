"""From an image to a vector: the residual network that a hypernetwork looks through.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016. Meta Internal Learning
takes the network of 34 layers, untrained, with a linear layer behind it.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Self

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singleimage.machine.device import channels_last
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.resample import bilinear
from singleimage.nn.initial import draw

Count = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class EmbeddingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A residual network of four stages."""

    view: Annotated[int, msgspec.Meta(ge=64, le=1024)] = 128
    """Side to which images are resized, pixels, whatever their aspect."""
    blocks: tuple[Count, Count, Count, Count] = (3, 4, 6, 3)
    """Residual blocks of the stages; these are the network of 34 layers."""
    width: Count = 64
    """Channels of the first stage; every later one has twice those of the one before."""
    linear: bool = True
    """Whether a linear layer that keeps the number of features ends the network."""

    @property
    def features(self) -> int:
        """Length of the vector."""
        return 8 * self.width

    def build(self, *, channels: int) -> "Embedding":
        return Embedding(self, channels)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose running variance is that which batches were divided by.

    PyTorch keeps n / (n - 1) times that, for n values of a channel. At the end of such networks
    n is small: four for one image of 64x64. Here a batch that is always the same is treated alike
    in training and in use.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` (B, C, H, W); in train mode the running statistics move on."""
        if not self.training:
            return super().forward(x)
        assert self.running_var is not None
        assert self.momentum is not None
        kept = self.running_var * (1 - self.momentum)
        y: Tensor = super().forward(x)
        count = x.numel() // x.shape[1]
        # A new tensor: autograd holds the old one.
        self.running_var = torch.lerp(self.running_var, kept, 1 / count)
        return y


class Shortcut(nn.Conv2d):
    """A 1x1 convolution of every `stride`-th pixel, which is one without stride of these pixels.

    For fewer than eight input channels oneDNN's own strided one writes beyond its memory on
    processors without AVX-512 (uxlfoundation/oneDNN#6035): wrong gradients, or a crash.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__(c_in, c_out, 1, bias=False)
        self.every = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, in, H, W) to (B, out, H / stride, W / stride)."""
        return super().forward(channels_last(x[:, :, :: self.every, :: self.every]))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and their input added to them."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = BatchNorm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(c_out)
        self.downsample: nn.Module | None = None
        if stride > 1 or c_in != c_out:
            self.downsample = nn.Sequential(Shortcut(c_in, c_out, stride), BatchNorm(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, in, H, W) to (B, out, H / stride, W / stride), none of it negative."""
        y = F.relu(self.bn1(self.conv1(x)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(y)) + shortcut)


class Embedding(nn.Module):
    """Images (B, C, H, W) in [-1, 1], of any size, to vectors (B, features).

    In train mode the vectors of a batch depend on each other, through batch norm; in eval mode each
    depends on its image alone.
    """

    compute: torch.dtype | None = None
    """Type of the convolutions; None: that of their input."""

    def __init__(self, spec: EmbeddingSpec, channels: int) -> None:
        super().__init__()
        self.view = spec.view
        self.conv1 = nn.Conv2d(channels, spec.width, 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm(spec.width)
        self.stages = nn.ModuleList()
        c_in = spec.width
        for stage, count in enumerate(spec.blocks):
            c_out = spec.width << stage
            first = ResidualBlock(c_in, c_out, 2 if stage else 1)
            rest = (ResidualBlock(c_out, c_out, 1) for _ in range(count - 1))
            self.stages.append(nn.Sequential(first, *rest))
            c_in = c_out
        self.linear = nn.Linear(c_in, c_in) if spec.linear else None
        self._apply(lambda x: x)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `to` calls: weights go in the order of `channels_last`."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.data = channels_last(part.weight.data)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Embed `images` (B, C, H, W) in [-1, 1], seen at `view` pixels a side: (B, features)."""
        low = self.compute is not None and self.compute != images.dtype
        device = images.device.type
        images = bilinear(images, Size(self.view, self.view))
        with torch.autocast(device, dtype=self.compute) if low else nullcontext():
            x = F.relu(self.bn1(self.conv1(channels_last(images))))
            x = F.max_pool2d(x, 3, stride=2, padding=1)
            for stage in self.stages:
                x = stage(x)
        features = x.to(images.dtype).mean((2, 3))
        return features if self.linear is None else self.linear(features)


def init_embedding(module: nn.Module, generator: torch.Generator) -> None:
    """Initialize as torchvision does residual networks, and PyTorch linear layers.

    Args:
        module: changed in place.
        generator: source of all randomness.
    """
    normal = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            draw(part.weight, normal, generator=generator)
        elif isinstance(part, nn.Linear):
            init_linear(part, generator)


def init_linear(layer: nn.Linear, generator: torch.Generator, *, gain: float = 1.0) -> None:
    """Draw weights and biases uniform within gain / sqrt(fan in); PyTorch's own start with gain 1.

    Args:
        layer: changed in place.
        generator: source of all randomness.
        gain: factor on the range.
    """
    bound = gain * layer.in_features**-0.5
    draw(layer.weight, Tensor.uniform_, -bound, bound, generator=generator)
    if layer.bias is not None:
        draw(layer.bias, Tensor.uniform_, -bound, bound, generator=generator)
