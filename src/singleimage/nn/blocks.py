"""Convolution blocks shared by generators and critics.

No stack pads: what lies beyond the border is a policy of the generator, so n 3x3 convolutions
return n pixels less on every side.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singleimage.machine.device import channels_last
from singleimage.multiscale.geometry import Window, Wrap, framed
from singleimage.nn.convolution import (
    NOTHING,
    Link,
    Shown,
    chain,
    judge,
    mean_scores,
)
from singleimage.nn.critic import Critic, CriticOutputs
from singleimage.nn.initial import draw
from singleimage.nn.second_order import bend, convolve, normalize

Norm = Literal["none", "batch", "image"]
"""none; batch: statistics of the batch in training and running ones once frozen (SinGAN's
generators); image: always the statistics of each image alone, which is what batch norm does in
train mode at batch size one (SinGAN's critics, ConSinGAN's batch-norm option)."""

Axes = Literal[2, 3]
"""Those of images, or those of clips: time, height, width."""
Channels = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Slope = Annotated[float, msgspec.Meta(ge=0, lt=1)]
HeadRoom = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""How far beyond black and white images may go, in half the range from one to the other. At tanh's
own ends, 0 and as published, there is no slope, and a photo that is mostly black or white, such as
a night or a page of text, draws a network there for good."""


class Width(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Feature channels of a level, doubling towards the fine levels (SinGAN, section 2.2)."""

    base: Channels = 32
    double_every: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Levels after which the width doubles, again and again; null: it stays the same."""
    limit: Channels = 128
    """Largest width; in SinGAN's code, not in its paper."""

    def at(self, level: int) -> int:
        """Return the number of channels at `level`, counted from 0, the coarsest."""
        if self.double_every is None:
            return self.base
        doublings = level // self.double_every
        return min(self.base << min(doublings, 16), self.limit)


class Conv(nn.Module):
    """A convolution without stride; weights (out, in, k, k) in channels-last order.

    Of clips it has three axes, (out, in, k, k, k).

    It computes in `compute` if that is set (see `nn.precision`), else in the type of its input.
    """

    compute: torch.dtype | None = None

    def __init__(
        self, c_in: int, c_out: int, *, kernel: int = 3, padding: int = 0, axes: Axes = 2
    ) -> None:
        super().__init__()
        self.padding = padding
        self.weight = nn.Parameter(channels_last(torch.empty(c_out, c_in, *[kernel] * axes)))
        self.bias = nn.Parameter(torch.empty(c_out))
        self._cast: tuple[Any, Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` (B, in, H, W) to (B, out, H - k + 1 + 2 padding, ...); see `run_chain`."""
        return run_chain(x, [self], [None])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `to` calls: weights may be in the order of a file, or of another device."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.weight.data = channels_last(self.weight.data)
        return self

    def twice_differentiable(self, x: Tensor) -> Tensor:
        """Convolve as `forward` does, slower, where the gradient is differentiated again.

        Args:
            x: (B, in, H, W).
        """
        dtype = self.compute or x.dtype
        return convolve(x.to(dtype), self.weight.to(dtype), self.bias.to(dtype))

    def link(self, dtype: torch.dtype, slope: float | None) -> Link:
        """Return this convolution as a link of a chain, cast once for each update of the weights.

        Args:
            dtype: type in which the chain computes.
            slope: of the leaky ReLU that follows; None: none follows.
        """
        weight, bias = self.weight, self.bias
        if weight.dtype == dtype:
            return Link(weight.detach(), bias.detach(), slope, self.padding)
        state = (weight._version, bias._version, weight.data_ptr(), dtype)
        if self._cast is None or self._cast[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._cast = (state, weight.detach().to(dtype), bias.detach().to(dtype))
        return Link(*self._cast[1:], slope, self.padding)


def run_chain(x: Tensor, convs: Sequence[Conv], slopes: Sequence[float | None]) -> Tensor:
    """Apply convolutions and leaky ReLUs in turn, in the type the convolutions compute in.

    Args:
        x: (B, C, H, W).
        convs: one after the other.
        slopes: for each convolution, of the leaky ReLU that follows; None: none follows.

    Returns:
        (B, C', H', W'), smaller by the borders the convolutions leave out.
    """
    return chain(*_chain_arguments(x, convs, slopes))


def _chain_arguments(
    x: Tensor, convs: Sequence[Conv], slopes: Sequence[float | None]
) -> tuple[Tensor, list[Link], list[Tensor]]:
    dtype = convs[0].compute or x.dtype
    links = [conv.link(dtype, slope) for conv, slope in zip(convs, slopes, strict=True)]
    return x.to(dtype), links, [p for conv in convs for p in (conv.weight, conv.bias)]


class Projection(nn.Module):
    """A 1x1 convolution without bias, for a norm behind it; it computes in its input's type."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_out, c_in, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, in, H, W) to (B, out, H, W)."""
        return F.conv2d(x, self.weight.to(x.dtype))


class ImageNorm(nn.Module):
    """Normalize each image and channel by its own mean and variance, then scale and shift."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps
        self.held: tuple[Tensor, Tensor] | None = None
        """Mean and variance in place of the image's own."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` (B, C, H, W), or clips; shape stays. With `held` by those statistics."""
        if self.held is not None:
            return F.batch_norm(x, *self.held, self.weight, self.bias, False, 0.0, self.eps)
        if torch.compiler.is_compiling():  # recorded for another program, for batches of any size
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return normalize(x, self.weight, self.bias, self.eps)


@contextmanager
def norms_of(module: nn.Module, carry_out: Callable[[], object]) -> Iterator[None]:
    """Within, the image norms of `module` use the statistics of one image.

    Args:
        module: the network.
        carry_out: runs the network on that image, batch 1; norms keep the statistics they meet.
    """
    norms = [part for part in module.modules() if isinstance(part, ImageNorm)]

    def note(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, ImageNorm)
        x = inputs[0].float()
        norm.held = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    try:
        try:
            carry_out()
        finally:
            for hook in hooks:
                hook.remove()
        yield
    finally:
        for norm in norms:
            norm.held = None


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """Build the layer that `norm` names, for `channels` channels."""
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

    @property
    def piecewise_linear(self) -> bool:
        """True if the stack is linear around almost every input: no norm."""
        return all(isinstance(norm, nn.Identity) for norm in self.norms)

    @property
    def layers(self) -> list[Conv]:
        """The convolutions, in order."""
        return [conv for conv in self.convs if isinstance(conv, Conv)]

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, widths[0], H, W) to (B, widths[-1], H - 2 depth, W - 2 depth)."""
        if self.piecewise_linear:
            return run_chain(x, self.layers, [self.slope] * len(self.convs))
        return self.layered(x)[-1]

    def layered(self, x: Tensor) -> list[Tensor]:
        """`x` and what each layer makes of it, one by one."""
        layers = [x]
        for conv, norm in zip(self.layers, self.norms, strict=True):
            layers.append(bend(norm(conv.twice_differentiable(layers[-1])), self.slope))
        return layers

    def within(self, x: Tensor, here: Window, wanted: Window, wrap: Wrap) -> Tensor:
        """The features in the window `wanted` of an image of which `x` is the window `here`.

        What the stack sees and `here` lacks comes from the opposite edge where the axis wraps, and
        is zero where it does not (see `framed`).
        """
        features: Tensor = self(framed(x, here, wanted.grown(len(self.convs)), wrap))
        return features


class ConvolutionBody(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="convolution"
):
    """Blocks of three 3x3 convolutions (ConSinGAN)."""

    local: ClassVar[bool] = True
    """A pixel depends on those near it alone, as far as there is no norm."""

    def require_width(self, width: int) -> None:
        """Accept any `width`: blocks of convolutions can have any number of channels."""

    def build(self, width: int, *, norm: Norm, slope: float) -> ConvStack:
        return ConvStack((width,) * 4, norm=norm, slope=slope)


class PatchNet(Critic):
    """Five 3x3 convolutions, the last one linear: receptive field 11, 5 pixels lost a side.

    SinGAN's generator of one level and its critic, and ConSinGAN's critic, are this network.
    """

    margin = 5
    """Pixels lost on every side."""

    def __init__(self, c_in: int, width: int, c_out: int, *, norm: Norm, slope: float) -> None:
        super().__init__()
        self.trunk = ConvStack((c_in, width, width, width, width), norm=norm, slope=slope)
        self.last = Conv(width, c_out)

    @property
    def piecewise_linear(self) -> bool:
        """True if the network is linear around almost every input: no norm."""
        return self.trunk.piecewise_linear

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, in, H, W) to (B, out, H - 10, W - 10), unbounded, in the type of `x`."""
        if self.piecewise_linear:
            return run_chain(x, self._convs, self._slopes).to(x.dtype)
        return self.last.twice_differentiable(self.trunk(x)).to(x.dtype)

    def mean_scores(self, images: Tensor) -> Tensor:
        """Score images by the mean of their output map.

        Args:
            images: (B, C, H, W); the network's output must have one channel.

        Returns:
            (B,), unbounded.
        """
        if not self.piecewise_linear:
            scores: Tensor = self(images).mean((1, 2, 3))
            return scores
        return mean_scores(*_chain_arguments(images, self._convs, self._slopes)).to(images.dtype)

    def bind(self, photos: Tensor, share: slice) -> Self:
        return self

    def judge(self, real: Tensor, fake: Tensor, between: Tensor, seed: int) -> CriticOutputs:
        """Judge `real`, `fake` and what lies `between`; arguments as for `Scorer.judge`."""
        scores, gradient, _ = self.examine(torch.cat([real, fake]), between)
        return CriticOutputs(scores[: len(real)], scores[len(real) :], gradient)

    def examine(
        self, images: Tensor, between: Tensor, shown: Shown = NOTHING
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Score images, and take the gradient of the scores elsewhere.

        Without norm the gradient is computed in closed form, exactly; with norm, by autograd's
        double backward.

        Args:
            images: (B, C, H, W), to be scored.
            between: (A, C, H, W), where the gradient is taken; A may be 0.
            shown: which images' features are returned too.

        Returns:
            `mean_scores(images)`; the gradient (A, C, H, W) of the summed output map at `between`,
            differentiable in the weights; the features asked for.
        """
        if not self.piecewise_linear:
            gradient = points = between.detach()
            if len(points):
                points.requires_grad_()
                (gradient,) = torch.autograd.grad(self(points).sum(), points, create_graph=True)
            layers = self.trunk.layered(images)
            scores = self.last.twice_differentiable(layers[-1]).to(images.dtype).mean((1, 2, 3))
            return scores, gradient, [layers[tap][: shown.images] for tap in shown.taps]
        cast, links, parameters = _chain_arguments(images, self._convs, self._slopes)
        scores, gradient, features = judge(cast, between.to(cast.dtype), links, parameters, shown)
        return scores.to(images.dtype), gradient.to(images.dtype), features

    @property
    def _convs(self) -> list[Conv]:
        return [*self.trunk.layers, self.last]

    @property
    def _slopes(self) -> list[float | None]:
        return [self.trunk.slope] * len(self.trunk.convs) + [None]


def init_normal(module: nn.Module, generator: torch.Generator) -> None:
    """Initialize a network as SinGAN's code does, drawing from `generator` alone.

    Convolution weights N(0, 0.02^2), norm weights N(1, 0.02^2), norm biases 0; convolution biases
    uniform within 1 / sqrt(fan in), PyTorch's default.

    Args:
        module: changed in place.
        generator: source of all randomness.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, Projection):
                draw(part.weight, Tensor.normal_, 0.0, 0.02, generator=generator)
            elif isinstance(part, Conv):
                draw(part.weight, Tensor.normal_, 0.0, 0.02, generator=generator)
                bound = 1 / math.sqrt(part.weight[0].numel())
                draw(part.bias, Tensor.uniform_, -bound, bound, generator=generator)
            elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm | ImageNorm):
                draw(part.weight, Tensor.normal_, 1.0, 0.02, generator=generator)
                part.bias.zero_()
