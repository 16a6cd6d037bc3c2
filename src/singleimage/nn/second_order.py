"""Layers whose gradient is differentiated again, for critics with norm and a gradient penalty.

PyTorch differentiates these layers once by fast primitives, but twice by convolutions with kernels
as large as the image, by sums in the slowest order, and by zeros that are carried along. Here each
gradient is a function of the same kind, whose derivative is made of the fast primitives again.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from singleimage.machine.device import channels_last
from singleimage.nn.convolution import (
    convolved,
    gradients,
    image_sums,
    input_gradient,
    weight_gradient,
)

aten = torch.ops.aten


def convolve(x: Tensor, weight: Tensor, bias: Tensor, *, padding: int = 0) -> Tensor:
    """Convolve so that the gradient can be differentiated again, as often as one likes.

    Args:
        x: (B, in, H, W), or clips (B, in, T, H, W).
        weight: (out, in, k, k), or (out, in, k, k, k).
        bias: (out,); all three of one type.
        padding: zeros around the input, pixels a side.

    Returns:
        (B, out, H - k + 1 + 2 padding, W - k + 1 + 2 padding), or clips likewise.
    """
    result: Tensor = _Convolve.apply(channels_last(x), weight, bias, padding)
    return result


class _Convolve(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return convolved(x, weight, bias, padding)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return *gradients(g, x, weight, ctx.needs_input_grad[:3], padding=ctx.padding), None
        by_input, by_weight, by_bias, _ = ctx.needs_input_grad
        return (
            _InputGradient.apply(g, weight, ctx.padding) if by_input else None,
            _WeightGradient.apply(x, g, weight.shape, ctx.padding) if by_weight else None,
            image_sums(g).sum(0) if by_bias else None,
            None,
        )


class _InputGradient(Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.padding = padding
        return input_gradient(g, weight, padding)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        g, weight = ctx.saved_tensors
        by_g, by_weight, _ = ctx.needs_input_grad
        padding = ctx.padding
        return (
            _Convolve.apply(channels_last(d), weight, None, padding) if by_g else None,
            _WeightGradient.apply(d, g, weight.shape, padding) if by_weight else None,
            None,
        )


class _WeightGradient(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, shape: torch.Size, padding: int) -> Tensor:
        ctx.save_for_backward(x, g)
        ctx.padding = padding
        return weight_gradient(x, g, shape, padding)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        return (
            _InputGradient.apply(g, d, ctx.padding) if ctx.needs_input_grad[0] else None,
            _Convolve.apply(x, d, None, ctx.padding) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


def bend(x: Tensor, slope: float) -> Tensor:
    """Apply a leaky ReLU of `slope` to `x`; its gradient can be differentiated again."""
    y: Tensor = _Bend.apply(x, slope)
    return y


class _Bend(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        y = F.leaky_relu(x, slope)
        ctx.save_for_backward(y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return _BendGradient.apply(g, ctx.saved_tensors[0], ctx.slope), None


class _BendGradient(Function):
    """Linear in `g`; constant in `y` almost everywhere."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        bent: Tensor = aten.leaky_relu_backward(channels_last(g), y.detach(), slope, True)
        return bent

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, None]:
        return _BendGradient.apply(d, ctx.saved_tensors[0], ctx.slope), None, None


def normalize(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Bring each image and channel to mean `bias` and standard deviation `weight`.

    Args:
        x: (B, C, H, W).
        weight: (C,).
        bias: (C,).
        eps: added to the variance.
    """
    images = [_Normalize.apply(channels_last(image), weight, bias, eps) for image in x.split(1)]
    return images[0] if len(images) == 1 else torch.cat(images)


class _Normalize(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, mean, rate = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight)
        ctx.statistics = mean, rate, eps
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return *_NormalizeGradient.apply(g, x, weight, ctx.statistics), None


class _NormalizeGradient(Function):
    """The gradients of `_Normalize` by its input, weight and bias.

    With n pixels, u = weight g, normalized image z and r = 1 / standard deviation, that by the
    input is P(u) = r (u - mean(u) - z mean(u z)). P is linear and its own transpose, so its
    derivative along d is weight P(d) in g, and in x
    -r (mean(u z) P(d) + mean(d z) P(u) + mean(d P(u)) z).
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, statistics: Any) -> Any:
        g = channels_last(g)
        by_x, by_weight, by_bias = _batch_norm_gradients(g, x, weight, statistics)
        ctx.save_for_backward(g, x.detach(), weight, by_x, by_weight)
        ctx.statistics = statistics
        ctx.set_materialize_grads(False)
        return by_x, by_weight, by_bias

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d: Tensor | None, d_weight: Tensor | None, d_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if d is None or d_weight is not None or d_bias is not None:
            raise NotImplementedError("only the gradient by the input is differentiated again")
        g, x, weight, by_x, by_weight = ctx.saved_tensors
        mean, rate, _ = ctx.statistics
        d = channels_last(d)
        passed, d_dot_z, _ = _batch_norm_gradients(d, x, torch.ones_like(weight), ctx.statistics)
        by_scale = (g * passed).sum((0, 2, 3)).to(weight.dtype)  # also sum(d P(g))
        pixels = x.shape[2] * x.shape[3]
        scale = -rate / pixels

        def wide(values: Tensor) -> Tensor:
            return values.to(x.dtype).view(1, -1, 1, 1)

        slope = scale * weight * by_scale * rate
        along = passed * wide(scale * weight * by_weight) + wide(-slope * mean)
        along.addcmul_(by_x, wide(scale * d_dot_z)).addcmul_(x, wide(slope))
        return passed.mul_(wide(weight)), along, by_scale, None


def _batch_norm_gradients(
    g: Tensor, x: Tensor, weight: Tensor, statistics: tuple[Tensor, Tensor, float]
) -> tuple[Tensor, Tensor, Tensor]:
    mean, rate, eps = statistics
    found: tuple[Tensor, Tensor, Tensor] = aten.native_batch_norm_backward(
        g, x, weight, None, None, mean, rate, True, eps, [True, True, True]
    )
    return found
