"""Chains of convolutions and leaky ReLUs, with gradients written by hand.

One node in PyTorch's graph for a whole chain: nothing is computed or kept that is not needed, and
what can be fused is. For a critic there is also the gradient of the chain at its input, which the
gradient penalty is made of. A piecewise linear network is linear around almost every input, so
that gradient is a chain of transposed convolutions and constant masks: exact, without a second
backward pass, differentiable in the weights. (With norm, see `nn.second_order`.)

All are without stride, on images (B, C, H, W) or clips (B, C, T, H, W), of any device and type, in
the order of `channels_last`: a convolution has as many axes as its weights.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from singleimage.machine.device import channels_last

aten = torch.ops.aten


class Link(NamedTuple):
    """One convolution of a chain, in the type it computes in."""

    weight: Tensor
    """(out, in, k, k), or (out, in, k, k, k) for clips; channels-last."""
    bias: Tensor
    slope: float | None = None
    """Negative slope of the leaky ReLU behind it; None: none."""
    padding: int = 0
    """Zeros around its input, pixels a side."""


# Chains ------------------------------------------------------------------------------------------


def chain(x: Tensor, links: Sequence[Link], parameters: Sequence[Tensor]) -> Tensor:
    """`x` through all links, differentiable once in `x` and in `parameters`.

    Args:
        parameters: weight and bias of every link, in the type in which they are trained; their
            gradients come in that type and in their memory order.
    """
    if torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters)):
        result: Tensor = _Chain.apply(x, links, *parameters)
        return result
    x = channels_last(x)
    for link in links:
        x = _apply(x, link)
    return x


class Shown(NamedTuple):
    """Which features of which images a critic shows besides its scores."""

    images: int = 0
    """Number of images, from the first on, whose features are shown."""
    taps: tuple[int, ...] = ()
    """Numbers of links after which the features are taken, ascending."""


NOTHING = Shown()


def judge(
    images: Tensor,
    between: Tensor,
    links: Sequence[Link],
    parameters: Sequence[Tensor],
    shown: Shown = NOTHING,
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    """What a critic says of images, and how steep it is at other ones, in one pass.

    For links without padding: all but the last with a leaky ReLU, the last to one channel.

    Args:
        images, between: (B, C, H, W) and (A, C, H, W), where A may be 0.

    Returns:
        The mean of the output map of each of `images` (B,), in float32 or better, differentiable
        once in `images` and `parameters`; the gradient of the summed output map at `between`
        (A, C, H, W), differentiable once in `parameters`; and the features `shown`, differentiable
        as the scores are.
    """
    layers = _layers(torch.cat([images.detach(), between.detach()]), links[:-1])
    count = len(images)
    below = [x[:count] for x in layers]
    scores, *features = _Scores.apply(images, below, links, shown, *parameters)
    if not len(between):
        return scores, between, features
    steepness: Tensor = _Steepness.apply([x[count:] for x in layers], links, *parameters)
    return scores, steepness, features


def mean_scores(images: Tensor, links: Sequence[Link], parameters: Sequence[Tensor]) -> Tensor:
    """Compute the mean scores alone; arguments and result as the first one of `judge`.

    Args:
        images: (B, C, H, W).
        links: convolutions and leaky ReLUs.
        parameters: weights and biases of the links, which autograd sees.
    """
    layers = _layers(images.detach(), links[:-1])
    (scores,) = _Scores.apply(images, layers, links, NOTHING, *parameters)
    return scores  # type: ignore[no-any-return]


class _Chain(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, links: Sequence[Link], *parameters: Tensor) -> Tensor:
        layers = _layers(x, links)
        ctx.save_for_backward(*layers)
        ctx.links, ctx.likes = links, parameters
        return layers[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        by_input, _, *by_parameters = ctx.needs_input_grad
        below, found = _descend(
            g, ctx.saved_tensors, ctx.links, by_input, by_parameters, reuse=False
        )
        return below, None, *_like(found, ctx.likes)


class _Scores(Function):
    """Mean over the map of the last convolution: its weights times the means of its windows.

    And features on the way there, whose gradients join that of the scores.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        layers: list[Tensor],
        links: Sequence[Link],
        shown: Shown,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        weight, bias, *_ = links[-1]
        kernel = weight.shape[-1]
        area = (layers[-1].shape[-2] - kernel + 1) * (layers[-1].shape[-1] - kernel + 1)
        means = _window_sums(layers[-1], kernel) / area
        ctx.layers, ctx.links, ctx.likes = layers, links, parameters
        ctx.means, ctx.area, ctx.shown = means, area, shown
        scores = (means * weight.to(means.dtype)).sum((1, 2, 3)) + bias.to(means.dtype)
        return scores, *(layers[tap][: shown.images] for tap in shown.taps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, *of_features: Tensor) -> tuple[Tensor | None, ...]:
        layers, links = ctx.layers, ctx.links
        by_input, _, _, _, *by_parameters = ctx.needs_input_grad
        top = _spread(links[-1].weight, layers[-1], g / ctx.area)
        joining = dict(zip(ctx.shown.taps, of_features, strict=True))
        below, found = _descend(
            top, layers, links[:-1], by_input, by_parameters[:-2], reuse=True, joining=joining
        )
        scale = g[:, None, None, None]
        found += [(ctx.means * scale).sum(0, keepdim=True), g.sum(0, keepdim=True)]
        return below, None, None, None, *_like(found, ctx.likes)


class _Steepness(Function):
    @staticmethod
    def forward(
        ctx: Any, layers: list[Tensor], links: Sequence[Link], *parameters: Tensor
    ) -> Tensor:
        g = _spread(links[-1].weight, layers[-1], layers[-1].new_ones(len(layers[-1])))
        arriving: list[Tensor] = []
        for i in range(len(links) - 2, -1, -1):
            arriving.insert(0, _bend(g, layers[i + 1], links[i].slope, reuse=True))
            g = input_gradient(arriving[0], links[i].weight)
        ctx.layers, ctx.arriving = layers, arriving
        ctx.links, ctx.likes = links, parameters
        return g

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        layers, links = ctx.layers, ctx.links
        found: list[Tensor | None] = []
        for i, (weight, _, slope, _) in enumerate(links[:-1]):
            d = channels_last(d)
            found += [weight_gradient(d, ctx.arriving[i], weight.shape), None]
            d = _bend(convolved(d, weight), layers[i + 1], slope, reuse=True)
        found += [_window_sums(d, links[-1].weight.shape[-1]).sum(0, keepdim=True), None]
        return None, None, *_like(found, ctx.likes)


def _layers(x: Tensor, links: Sequence[Link]) -> list[Tensor]:
    """`x` and what each link makes of it, without a graph."""
    with torch.no_grad():
        layers = [channels_last(x)]
        for link in links:
            layers.append(_apply(layers[-1], link))
    return layers


def _descend(
    g: Tensor,
    layers: Sequence[Tensor],
    links: Sequence[Link],
    by_input: bool,
    by_parameters: Sequence[bool],
    *,
    reuse: bool,
    joining: Mapping[int, Tensor] = {},
) -> tuple[Tensor | None, list[Tensor | None]]:
    """From the gradient after the last link to those at the input and by all parameters.

    Args:
        reuse: `g` is nobody else's.
        joining: gradients that arrive elsewhere too, by the number of links below them, for the
            first images of the batch; only with `reuse`.
    """
    found: list[Tensor | None] = [None] * (2 * len(links))
    for i in range(len(links) - 1, -1, -1):
        weight, _, slope, padding = links[i]
        if i + 1 in joining:
            g[: len(joining[i + 1])] += channels_last(joining[i + 1])
        if slope is not None:
            g = _bend(g, layers[i + 1], slope, reuse=reuse or i < len(links) - 1)
        of_weight, of_bias = by_parameters[2 * i : 2 * i + 2]
        needed = (by_input or any(by_parameters[: 2 * i]), of_weight, of_bias)
        if not any(needed):
            return None, found
        below, found[2 * i], found[2 * i + 1] = gradients(
            g, layers[i], weight, needed, padding=padding
        )
        if below is None:
            return None, found
        g = below
    return g, found


def _window_sums(x: Tensor, kernel: int) -> Tensor:
    """(B, C, H, W) -> (B, C, k, k): sums of `x` over all places of each weight of a kernel.

    Each is the sum of everything less the few rows and columns that the weight never meets.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    edge = kernel - 1
    missed = _missed(kernel, dtype, x.device)
    batch, channels, height, width = x.shape
    x = x.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    rows = torch.cat([x[:, :edge], x[:, height - edge :]], 1).to(dtype)
    sums = (x.sum(1, keepdim=True).to(dtype) - missed @ rows).view(-1, width, channels)
    columns = torch.cat([sums[:, :edge], sums[:, width - edge :]], 1)
    sums = sums.sum(1, keepdim=True) - missed @ columns
    return sums.view(batch, kernel, kernel, channels).permute(0, 3, 1, 2)


@lru_cache
def _missed(kernel: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(k, 2k - 2): which of the first and last k - 1 lines weight i of a kernel never meets."""
    edge = kernel - 1
    first = torch.ones(kernel, edge).tril(-1)  # lines under i
    last = torch.ones(kernel, edge).triu()  # lines after the last but k - 1 - i
    with torch.inference_mode(False):
        return torch.cat([first, last], 1).to(device, dtype)


def _spread(weight: Tensor, like: Tensor, scales: Tensor) -> Tensor:
    """The input gradient of a convolution to one channel from the constant `scales[b]` at its map.

    Constant but for the borders, so that a few pixels hold it all. Shape of `like`, (B, C, H, W).
    """
    kernel = weight.shape[-1]
    height, width = like.shape[-2:]
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    ones = weight.new_ones(1, 1, min(height - kernel + 1, kernel), min(width - kernel + 1, kernel))
    small = F.conv_transpose2d(ones, weight) * scales.to(weight)[:, None, None, None]
    small = small.to(like.dtype).permute(0, 2, 3, 1)
    return channels_last(_widen(_widen(small, 2, width), 1, height).permute(0, 3, 1, 2))


def _widen(x: Tensor, dim: int, length: int) -> Tensor:
    """Repeat the middle of an axis until it has this length."""
    here = x.shape[dim]
    if here == length:
        return x
    half = here // 2
    shape = list(x.shape)
    shape[dim] = length - 2 * half
    middle = x.narrow(dim, half, 1).expand(shape)
    return torch.cat([x.narrow(dim, 0, half), middle, x.narrow(dim, here - half, half)], dim)


def _apply(x: Tensor, link: Link) -> Tensor:
    """Convolution and leaky ReLU, in one pass over the memory where the build can."""
    weight, bias, slope, padding = link
    if slope is None:
        return convolved(x, weight, bias, padding)
    exporting = torch.compiler.is_compiling()  # other programs know no fused operation
    if x.device.type == "cpu" and not exporting and _fuses(x.dtype):
        fused = torch.ops.mkldnn._convolution_pointwise
        pads, ones = [padding] * axes_of(weight), [1] * axes_of(weight)
        y: Tensor = fused(x, weight, bias, pads, ones, ones, 1, "leaky_relu", [slope], "")
        return y
    return F.leaky_relu_(convolved(x, weight, bias, padding), slope)


def _bend(g: Tensor, y: Tensor, slope: float | None, *, reuse: bool) -> Tensor:
    """`g` times the slope of the leaky ReLU whose result is `y`; `reuse`: in the memory of `g`."""
    assert slope is not None
    if reuse:
        return aten.leaky_relu_backward.grad_input(g, y, slope, True, grad_input=g)  # type: ignore[no-any-return]
    return aten.leaky_relu_backward(g, y, slope, True)  # type: ignore[no-any-return]


def _like(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients in the type and the memory order of their parameters."""
    return [
        None if g is None else torch.empty_like(p).copy_(g)
        for g, p in zip(gradients, parameters, strict=True)
    ]


# The primitives ----------------------------------------------------------------------------------


def axes_of(weight: Tensor) -> int:
    """Tell the axes of a convolution from its `weight`: 2 for images, 3 for clips."""
    return weight.dim() - 2


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """Convolve images or clips.

    Args:
        x: (B, in, H, W), or (B, in, T, H, W).
        weight: (out, in, k, k), or (out, in, k, k, k).
        bias: (out,), or None.
        padding: zeros around the input, pixels a side.
    """
    convolve = F.conv3d if axes_of(weight) == 3 else F.conv2d
    return channels_last(convolve(x, weight, bias, padding=padding))


def input_gradient(g: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """Compute the gradient at the input of a convolution.

    Args:
        g: gradient at its output, (B, out, H', W').
        weight: of the convolution, (out, in, k, k).
        padding: of the convolution.
    """
    transposed = F.conv_transpose3d if axes_of(weight) == 3 else F.conv_transpose2d
    return channels_last(transposed(channels_last(g), weight, padding=padding))


def weight_gradient(x: Tensor, g: Tensor, shape: torch.Size, padding: int = 0) -> Tensor:
    """Compute the gradient by the weights of a convolution.

    Args:
        x: its input, (B, in, H, W).
        g: gradient at its output, (B, out, H', W').
        shape: of the weights.
        padding: of the convolution.
    """
    weight = g.new_empty(1).expand(shape)
    found = gradients(g, x, weight, (False, True, False), padding=padding)[1]
    assert found is not None
    return found


def gradients(
    g: Tensor, x: Tensor, weight: Tensor, needed: Sequence[bool], *, padding: int = 0
) -> tuple[Tensor | None, ...]:
    """Compute the gradients by input, weights and bias of a convolution.

    Args:
        g: gradient at its output, (B, out, H', W').
        x: its input, (B, in, H, W).
        weight: (out, in, k, k).
        needed: which of the three are wanted; None is returned for the others.
        padding: of the convolution.
    """
    by_input, by_weight, by_bias = needed
    g, x = channels_last(g), channels_last(x)
    of_weight: Tensor | None = None
    if by_weight:
        axes = axes_of(weight)
        stride = dilation = [1] * axes
        _, of_weight, _ = aten.convolution_backward(
            *(g, x, weight, [len(weight)], stride, [padding] * axes, dilation),
            *(False, [0] * axes, 1, [False, True, False]),
        )
    return (
        # A quarter faster than the same primitive asked for by `convolution_backward`.
        input_gradient(g, weight, padding) if by_input else None,
        of_weight,
        # Image by image: what photo and generated image contribute to a critic's bias often cancels
        # exactly, and the rounding of a joint sum would become a full step of Adam.
        image_sums(g).sum(0) if by_bias else None,
    )


def image_sums(x: Tensor) -> Tensor:
    """(B, C, ...) -> (B, C): sums over all pixels."""
    return x.sum(tuple(range(2, x.dim())))


@lru_cache
def _fuses(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch has the fused operation that its compiler uses."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    x = channels_last(torch.ones(1, 2, 3, 3, dtype=dtype))
    weight, bias = x.expand(2, 2, 3, 3), -torch.ones(2, dtype=dtype)
    try:
        y = torch.ops.mkldnn._convolution_pointwise(
            x, channels_last(-weight), bias, [0, 0], [1, 1], [1, 1], 1, "leaky_relu", [0.5], ""
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((y == -9.5).all())
