"""Dilated involution: a 3x3 kernel for each pixel, computed from the image itself.

From "Fast Learning a Stabilized Generative Model from a Single Image". The weights of the kernels
are a map with nine channels a group, nine times as large as the image if every channel is a group
of its own. Nothing else of that size is made here: no image unfolded into its nine taps, and no
product with it. Images are worked through in bands of rows that stay in the processor's cache.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from singleimage.nn.blocks import Conv, ImageNorm, init_normal

_BAND = 2**17
"""Values of a band of rows, on the CPU: half a megabyte in float32."""


def involve(x: Tensor, weights: Tensor, dilation: int, groups: int) -> Tensor:
    """Weigh nine neighbours of each pixel by weights of its own; differentiable once.

    Y[c](i, j) = sum over t of W[t, g(c)](i, j) X[c](i + 1 + dy, j + 1 + dx), where (dy, dx) is tap
    t of {-d, 0, d}^2 in reading order, g(c) = floor(c groups / C), and X is zero outside. The sum
    is in float32 or better.

    Args:
        x: (B, C, H, W).
        weights: (B, 9 * groups, H - 2, W - 2); channel t * groups + g is tap t of group g, so that
            one tap of all groups is together in channels-last order.
        dilation: distance d of the taps in pixels.
        groups: a divisor of C; channels of a group share their weights.

    Returns:
        (B, C, H - 2, W - 2) in channels-last order and the type of `x`: like a 3x3 convolution
        without padding, though it sees `dilation` pixels far.
    """
    batch, channels, height, width = x.shape
    if channels % groups or weights.shape != (batch, 9 * groups, height - 2, width - 2):
        raise ValueError(f"{groups} groups of {(*x.shape,)} with weights {(*weights.shape,)}")
    return _involve(x, weights, dilation, groups)


class _Involve(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, dilation: int, groups: int) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.dilation, ctx.groups = dilation, groups
        pixels, taps = _by_pixel(x, groups), _by_tap(weights, groups)
        batch, height, width, *rest = pixels.shape
        y = x.new_empty(batch, height - 2, width - 2, *rest)
        for image, rows in _bands(y):
            frame = _framed(pixels[image], rows, dilation)
            total = frame.new_zeros(y[image, rows].shape)
            for tap, window in zip(taps[image], _windows(frame, dilation), strict=True):
                total.addcmul_(window, tap[rows])
            y[image, rows] = total
        return _as_image(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weights = ctx.saved_tensors
        dilation, groups = ctx.dilation, ctx.groups
        by_x, by_weights, *_ = ctx.needs_input_grad
        pixels, arriving = _by_pixel(x, groups), _by_pixel(g, groups)
        taps = _by_tap(weights, groups)
        of_x = pixels.new_zeros(pixels.shape if by_x else 0, dtype=_sums_in(x))
        of_weights = torch.empty_like(weights, memory_format=torch.channels_last)
        of_taps = _by_tap(of_weights, groups)
        for image, rows in _bands(arriving):
            here = arriving[image, rows].to(of_x.dtype)
            if by_weights:
                frame = _framed(pixels[image], rows, dilation)
                for tap, window in zip(of_taps[image], _windows(frame, dilation), strict=True):
                    _multiply(window, here, tap[rows])
            if by_x:
                frame = _frame(pixels[image], rows, dilation)
                for tap, window in zip(taps[image], _windows(frame, dilation), strict=True):
                    window.addcmul_(here, tap[rows])
                inner, seen = _inner(frame, rows, dilation, len(pixels[image]))
                of_x[image, seen] += inner
        return (
            _as_image(of_x).to(x.dtype) if by_x else None,
            of_weights if by_weights else None,
            None,
            None,
        )


_involve: Callable[..., Tensor] = _Involve.apply


def _by_pixel(x: Tensor, groups: int) -> Tensor:
    """(B, C, H, W) -> (B, H, W, groups, C / groups), a view."""
    batch, _, height, width = x.shape
    return x.view(batch, groups, -1, height, width).permute(0, 3, 4, 1, 2)


def _by_tap(weights: Tensor, groups: int) -> Tensor:
    """(B, 9 * groups, h, w) -> (B, 9, h, w, groups, 1), a view."""
    batch, _, height, width = weights.shape
    return weights.view(batch, 9, groups, height, width).permute(0, 1, 3, 4, 2).unsqueeze(-1)


def _as_image(pixels: Tensor) -> Tensor:
    """(B, H, W, groups, C / groups) -> (B, C, H, W), a view in channels-last order."""
    return pixels.flatten(3).permute(0, 3, 1, 2)


def _sums_in(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _bands(y: Tensor) -> Iterator[tuple[int, slice]]:
    """Image and rows of each band of (B, h, w, groups, C / groups)."""
    batch, height, *_ = y.shape
    count = max(_BAND // y[0, 0].numel(), 1) if y.device.type == "cpu" else height
    for image in range(batch):
        for first in range(0, height, count):
            yield image, slice(first, min(first + count, height))


def _frame(image: Tensor, rows: slice, dilation: int) -> Tensor:
    """Zeros for all that output `rows` see of (H, W, ...); see `_inner` for where that is."""
    _, width, *rest = image.shape
    height = rows.stop - rows.start + 2 * dilation
    return image.new_zeros(height, width + 2 * dilation - 2, *rest, dtype=_sums_in(image))


def _inner(frame: Tensor, rows: slice, dilation: int, height: int) -> tuple[Tensor, slice]:
    """The part of a frame that is inside the image, and the rows of the image that it is."""
    top = rows.start + 1 - dilation
    seen = slice(max(top, 0), min(top + len(frame), height))
    inner = frame[seen.start - top : seen.stop - top]
    return inner[:, dilation - 1 : inner.shape[1] - dilation + 1], seen


def _framed(image: Tensor, rows: slice, dilation: int) -> Tensor:
    """All that output `rows` see of an image, with the zeros around it."""
    frame = _frame(image, rows, dilation)
    inner, seen = _inner(frame, rows, dilation, len(image))
    inner.copy_(image[seen])
    return frame


def _windows(frame: Tensor, dilation: int) -> Iterator[Tensor]:
    """What each of the nine taps meets."""
    height, width = (length - 2 * dilation for length in frame.shape[:2])
    for dy, dx in product((0, dilation, 2 * dilation), repeat=2):
        yield frame[dy : dy + height, dx : dx + width]


def _multiply(a: Tensor, b: Tensor, out: Tensor) -> None:
    """The products of (h, w, groups, n), summed over each group, into (h, w, groups, 1)."""
    if a.shape == out.shape:
        torch.mul(a, b, out=out)
    else:
        out.copy_((a * b).sum(-1, keepdim=True))


class Involution(nn.Module):
    """(B, C, H, W) -> (B, C, H - 2, W - 2): `involve` with weights made of its input.

    A 1x1 convolution without bias to C / `reduction` channels, norm of each image, ReLU and a 1x1
    convolution to the weights. It computes in the type that its `Conv` computes in.
    """

    def __init__(
        self, channels: int, *, reduction: int = 8, dilation: int = 3, groups: int | None = None
    ) -> None:
        """`groups`: how many kernels each pixel has; None: one for each channel."""
        super().__init__()
        self.dilation = dilation
        self.groups = channels if groups is None else groups
        if channels % reduction or channels % self.groups or dilation < 1:
            raise ValueError(f"{channels} channels, {reduction=}, {groups=}, {dilation=}")
        hidden = channels // reduction
        self.squeeze = nn.Parameter(torch.empty(hidden, channels, 1, 1))
        self.norm = ImageNorm(hidden)
        self.expand = Conv(hidden, 9 * self.groups, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.expand.compute or x.dtype)
        return involve(x, self.kernels(x), self.dilation, self.groups)

    def kernels(self, x: Tensor) -> Tensor:
        """The weights (B, 9 * groups, H - 2, W - 2) for `x` (B, C, H, W).

        The norm takes the statistics of the whole image; what follows it is pixel by pixel, so that
        the outermost pixels are left out from there on.
        """
        x = F.relu(self.norm(F.conv2d(x, self.squeeze.to(x.dtype))))
        weights: Tensor = self.expand(x[:, :, 1:-1, 1:-1])
        return weights


def init_involutions(module: nn.Module, generator: torch.Generator) -> None:
    """`init_normal`, and then the first convolution of each involution N(0, 0.02^2) too."""
    init_normal(module, generator)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, Involution):
                part.squeeze.normal_(0.0, 0.02, generator=generator)
