"""Dilated involution: a kernel for each pixel, computed from the image itself.

From "Fast Learning a Stabilized Generative Model from a Single Image"; details from its published
code.

The kernels of an image are nine times as large as the image if every channel has its own. They are
never there as a whole: the last convolution that makes them belongs to the operation, which goes
through the image in bands of rows that stay in the processor's cache, and makes the kernels of a
band again for its gradient.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from singleimage.machine.device import channels_last
from singleimage.multiscale.geometry import OPEN, Window, Wrap, framed, size_of
from singleimage.nn.blocks import Conv, ImageNorm, Norm, Projection, make_norm, run_chain

_BAND = 2**18
"""Kernel weights of a band of rows, on the CPU: a megabyte in float32."""


def involve(
    x: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    groups: int,
    dilation: int,
    padding: tuple[int, int] = (0, 0),
) -> Tensor:
    """Weigh the neighbors of each pixel by a kernel of its own; differentiable once.

    Y[c](i, j) = sum over t of W[t, g(c)](i, j) X[c](i + dy, j + dx), with W = weight hidden + bias
    at each pixel, (dy, dx) tap t of {0, d, ..., (K - 1) d}^2 in reading order, and
    g(c) = floor(c groups / C). Sums and kernels are in float32 or better.

    Args:
        x: (B, C, H, W).
        hidden: (B, m, h, w), what the kernels are made of, with h = H + 2 padding - (K - 1) d and
            w likewise.
        weight, bias: (K * K * groups, m, 1, 1) and (K * K * groups,), for an odd K; channel
            t * groups + g of the kernels is tap t of group g.
        groups: a divisor of C; channels of a group share their kernels.
        dilation: distance d of the taps in pixels.
        padding: rows of zeros above and below x, and columns left and right.

    Returns:
        (B, C, h, w) in channels-last order and the type of `x`.

    Raises:
        ValueError: the sizes do not go together.
    """
    form = _Form(math.isqrt(len(bias) // groups), dilation, groups, padding)
    expected = tuple(n + 2 * p - form.span for n, p in zip(size_of(x), padding, strict=True))
    if x.shape[1] % groups or len(bias) != form.taps * groups or size_of(hidden) != expected:
        raise ValueError(
            f"{groups} groups and {len(bias)} channels of kernels for {(*hidden.shape,)} "
            f"of {(*x.shape,)}, {dilation=}, {padding=}"
        )
    if torch.compiler.is_compiling():
        return _plainly(x, hidden, weight, bias, form)
    y: Tensor = _Involve.apply(x, hidden, weight, bias, form)
    return y


class _Form(NamedTuple):
    kernel: int
    dilation: int
    groups: int
    padding: tuple[int, int]

    @property
    def taps(self) -> int:
        return self.kernel * self.kernel

    @property
    def span(self) -> int:
        """Pixels between the first and the last tap of a row."""
        return (self.kernel - 1) * self.dilation

    def by_pixel(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H, W, groups, C / groups), a view of channels-last tensors."""
        pixels = x.permute(0, 2, 3, 1)
        return pixels.view(*pixels.shape[:3], self.groups, -1)


def _plainly(x: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, form: _Form) -> Tensor:
    """What `involve` computes with ordinary operations, for a graph that another program runs."""
    tall, wide = form.padding
    x = F.pad(x, (wide, wide, tall, tall)).unflatten(1, (form.groups, -1))
    kernels = F.conv2d(hidden, weight, bias).unsqueeze(2).split(form.groups, 1)
    height, width = size_of(hidden)
    steps = range(0, form.span + 1, form.dilation)
    rows = [x[..., down : down + height, :] for down in steps]
    met = [row[..., right : right + width] for row in rows for right in steps]
    weighed = [window * kernel for window, kernel in zip(met, kernels, strict=True)]
    total: Tensor = sum(weighed[1:], weighed[0])
    return total.flatten(1, 2)


class _Bands:
    """The kernels of images, band by band, and the windows of pixels that they weigh."""

    def __init__(
        self, x: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, form: _Form
    ) -> None:
        dtype = torch.promote_types(x.dtype, torch.float32)
        batch, count, height, self.width = hidden.shape
        self.form = form
        self.frame = _padded(form.by_pixel(x), form.padding, dtype)
        self.codes = hidden.new_ones((batch, count + 1, height, self.width), dtype=dtype)
        self.codes[:, :count] = hidden  # and ones, which the bias is the weight of
        self.matrix = torch.cat([weight.flatten(1), bias[:, None]], 1).t().to(dtype).contiguous()
        on_cpu = x.device.type == "cpu"
        self.threads = torch.get_num_threads() if on_cpu else 1
        self._rows = max(_BAND // (self.width * len(bias)), 1) if on_cpu else height

    def stripes(self) -> list[tuple[int, slice]]:
        """Image and rows of the parts that threads take: whole images, if there are enough."""
        batch, _, height, _ = self.codes.shape
        parts = min(math.ceil(self.threads / batch), height)
        ends = [height * part // parts for part in range(parts + 1)]
        return [(image, slice(*rows)) for image in range(batch) for rows in pairwise(ends)]

    def of(self, image: int, stripe: slice) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows of each band, what its kernels are made of, and the kernels, until the next band.

        The second are (m + 1, pixels), the third (pixels, taps * groups).
        """
        rows = min(self._rows, stripe.stop - stripe.start)
        room = self.frame.new_empty(rows * self.width * self.matrix.shape[1])
        for first in range(stripe.start, stripe.stop, rows):
            band = slice(first, min(first + rows, stripe.stop))
            codes = self.codes[image, :, band].flatten(1)
            pixels = codes.shape[1]
            kernels = room[: pixels * self.matrix.shape[1]].view(pixels, -1)
            yield band, codes, torch.mm(codes.t(), self.matrix, out=kernels)

    def by_tap(self, kernels: Tensor) -> Tensor:
        """(pixels, taps * groups) -> (K, K, rows, w, groups, 1), a view."""
        kernel, groups = self.form.kernel, self.form.groups
        taps = kernels.view(-1, self.width, kernel, kernel, groups, 1)
        return taps.permute(2, 3, 0, 1, 4, 5)

    def windows(self, frame: Tensor, rows: slice) -> Tensor:
        """(K, K, rows, w, groups, C / groups): what each tap meets of an image, a view."""
        kernel, d = self.form.kernel, self.form.dilation
        down, right, *rest = frame.stride()
        return frame[rows.start :].as_strided(
            (kernel, kernel, rows.stop - rows.start, self.width, *frame.shape[2:]),
            (d * down, d * right, down, right, *rest),
        )


class _Involve(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, form: _Form
    ) -> Tensor:
        ctx.save_for_backward(x, hidden, weight, bias)
        ctx.form = form
        bands = _Bands(x, hidden, weight, bias, form)
        y = x.new_empty(len(x), *hidden.shape[2:], *bands.frame.shape[3:])

        def weigh(image: int, stripe: slice) -> None:
            weighed = bands.frame.new_empty(0)
            for rows, _, kernels in bands.of(image, stripe):
                windows = bands.windows(bands.frame[image], rows)
                if weighed.shape != windows.shape:
                    weighed = windows.new_empty(windows.shape)
                torch.mul(windows, bands.by_tap(kernels), out=weighed)
                y[image, rows] = weighed.sum((0, 1))

        _in_threads(weigh, bands.stripes(), bands.threads)
        return _as_image(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, weight, bias = ctx.saved_tensors
        form: _Form = ctx.form
        bands = _Bands(x, hidden, weight, bias, form)
        arriving, stripes = form.by_pixel(g), bands.stripes()
        by_x, whole = ctx.needs_input_grad[0], len(stripes) == len(x)
        of_frame = torch.zeros_like(bands.frame if by_x else bands.frame[:0])
        of_hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format)

        def descend(image: int, stripe: slice) -> tuple[Tensor, Tensor]:
            """What the stripe adds to the gradients of its part of the frame and of the matrix."""
            of_matrix = torch.zeros_like(bands.matrix)
            seen = bands.frame[image, stripe.start : stripe.stop + form.span]
            of_seen = (
                of_frame[image] if whole and by_x else torch.zeros_like(seen if by_x else seen[:0])
            )
            for rows, codes, kernels in bands.of(image, stripe):
                here, taps = arriving[image, rows].to(of_frame.dtype), bands.by_tap(kernels)
                if by_x:
                    own = slice(rows.start - stripe.start, rows.stop - stripe.start)
                    met = bands.windows(of_seen, own)
                    for near, weights in zip(_each(met), _each(taps), strict=True):
                        near.addcmul_(here, weights)
                # The kernels are used up: their gradient takes their place.
                _multiply(bands.windows(bands.frame[image], rows), here, taps)
                of_matrix.addmm_(codes, kernels)
                of_codes = bands.matrix[:-1] @ kernels.t()
                of_hidden[image, :, rows] = of_codes.view(-1, *here.shape[:2])
            return of_seen, of_matrix

        found = _in_threads(descend, stripes, bands.threads)
        of_matrix = torch.stack([part for _, part in found]).sum(0)
        if by_x and not whole:
            for (image, stripe), (of_seen, _) in zip(stripes, found, strict=True):
                of_frame[image, stripe.start : stripe.stop + form.span] += of_seen
        of_x = None
        if by_x:
            del bands, found  # copies of the image
            tall, wide = form.padding
            of_x = _as_image(_padded(of_frame, (-tall, -wide), x.dtype))
        of_weight = of_matrix[:-1].t().reshape(weight.shape).to(weight.dtype)
        return of_x, of_hidden, of_weight, of_matrix[-1].to(bias.dtype), None


Result = TypeVar("Result")


def _in_threads(
    work: Callable[[int, slice], Result], stripes: Sequence[tuple[int, slice]], threads: int
) -> list[Result]:
    """The results of all stripes, each worked on by one thread alone.

    Bands are many small operations. Threads that share each of them wait for one another each time,
    and where the processor has other work too, far longer than they compute.
    """
    if threads == 1 or len(stripes) == 1:
        return [work(*stripe) for stripe in stripes]
    inference = torch.is_inference_mode_enabled()

    def alone(stripe: tuple[int, slice]) -> Result:
        with torch.inference_mode(inference), torch.no_grad():
            return work(*stripe)

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(alone, stripes))
    finally:
        torch.set_num_threads(threads)


def _padded(x: Tensor, margins: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Copy (B, H, W, ...) in `dtype` with a border of zeros; a negative border is cut off."""
    (tall, wide), (batch, height, width, *rest) = margins, x.shape
    padded = x.new_empty(batch, height + 2 * tall, width + 2 * wide, *rest, dtype=dtype)
    inner, copied = padded, x
    for dim, margin in ((1, tall), (2, wide)):
        if margin > 0:
            inner.narrow(dim, 0, margin).zero_()
            inner.narrow(dim, inner.shape[dim] - margin, margin).zero_()
            inner = inner.narrow(dim, margin, inner.shape[dim] - 2 * margin)
        else:
            copied = copied.narrow(dim, -margin, copied.shape[dim] + 2 * margin)
    inner.copy_(copied)
    return padded


def _each(taps: Tensor) -> Iterator[Tensor]:
    """(K, K, ...), one tap after the other."""
    for row in taps.unbind():
        yield from row.unbind()


def _as_image(pixels: Tensor) -> Tensor:
    """(B, H, W, groups, C / groups) -> (B, C, H, W); a view where that is `channels_last`."""
    return channels_last(pixels.flatten(3).permute(0, 3, 1, 2))


def _multiply(a: Tensor, b: Tensor, out: Tensor) -> None:
    """The products of (..., groups, n), summed over each group, into (..., groups, 1)."""
    if a.shape == out.shape:
        torch.mul(a, b, out=out)
    else:
        torch.sum(a * b, -1, keepdim=True, out=out)


# Layers ------------------------------------------------------------------------------------------


class InvolutionBody(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="involution"
):
    """Blocks of three dilated involutions, each with a 1x1 convolution behind it."""

    dilation: Annotated[int, msgspec.Meta(ge=1, le=64)] = 3
    """Distance of the taps of a kernel in pixels."""
    kernel: Literal[3, 5, 7] = 3
    """Taps a side."""
    reduction: Annotated[int, msgspec.Meta(ge=1)] = 8
    """Channels over those that the kernels are computed from, of which there is at least one."""
    groups: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many kernels a pixel has, a divisor of the channels; null: one for each channel, as in
    the published code. (The paper's words let channels share kernels.)"""

    local: ClassVar[bool] = False
    """The norm in the kernels' branch looks at the whole image."""

    def require_width(self, width: int) -> None:
        """Raise `ValueError` unless blocks can have `width` channels."""
        if width % (self.groups or width):
            raise ValueError(f"{self.groups} groups do not divide {width} channels")

    def build(self, width: int, *, norm: Norm, slope: float) -> "InvolutionStack":
        return InvolutionStack(self, width, norm=norm, slope=slope)


class Involution(nn.Module):
    """`involve` with kernels made of its input: a 1x1 convolution to fewer channels, norm of each
    image, ReLU, and a 1x1 convolution to the kernels.

    A layer like a 3x3 convolution without padding, (B, C, H, W) -> (B, C, H - 2, W - 2), whatever
    its kernel and dilation: further out it sees zeros. On an axis that wraps it takes nothing away.
    """

    def __init__(self, spec: InvolutionBody, channels: int) -> None:
        super().__init__()
        spec.require_width(channels)
        self.dilation = spec.dilation
        self.reach = spec.dilation * (spec.kernel // 2)
        self.groups = spec.groups or channels
        hidden = max(channels // spec.reduction, 1)
        self.squeeze = Projection(channels, hidden)
        self.norm = ImageNorm(hidden)
        self.expand = Conv(hidden, spec.kernel**2 * self.groups, kernel=1)

    def forward(self, x: Tensor, wrap: Wrap = OPEN) -> Tensor:
        """Map `x` (B, C, H, W) to (B, C, H - 2, W - 2); an axis that wraps keeps its length.

        Args:
            x: features; the result is in the type the convolutions compute in.
            wrap: whether rows, and columns, continue at the opposite edge.
        """
        x = x.to(self.expand.compute or x.dtype)
        whole = Window.whole(size_of(x))
        hidden = F.relu(self.norm(self.squeeze(x)))
        tall, wide = (self.reach if around else 0 for around in wrap)
        around = Window.of(range(-tall, whole.height + tall), range(-wide, whole.width + wide))
        return involve(
            framed(x, whole, around, wrap),
            framed(hidden, whole, _less(whole, 1, wrap)),
            self.expand.weight,
            self.expand.bias,
            groups=self.groups,
            dilation=self.dilation,
            padding=(0 if tall else self.reach - 1, 0 if wide else self.reach - 1),
        )


class InvolutionStack(nn.Module):
    """`depth` times involution, leaky ReLU, 1x1 convolution, norm and leaky ReLU."""

    def __init__(
        self, spec: InvolutionBody, width: int, *, norm: Norm, slope: float, depth: int = 3
    ) -> None:
        super().__init__()
        self.involutions = nn.ModuleList(Involution(spec, width) for _ in range(depth))
        self.convs = nn.ModuleList(Conv(width, width, kernel=1) for _ in range(depth))
        self.norms = nn.ModuleList(make_norm(norm, width) for _ in range(depth))
        self.slope = slope

    def forward(self, x: Tensor, wrap: Wrap = OPEN) -> Tensor:
        """Apply every layer to `x` (B, C, H, W).

        Args:
            x: features.
            wrap: whether rows, and columns, continue at the opposite edge.

        Returns:
            (B, C', H', W'): every axis that does not wrap loses a pixel a layer on both sides.
        """
        for involution, conv, norm in zip(self.involutions, self.convs, self.norms, strict=True):
            assert isinstance(conv, Conv)
            x = F.leaky_relu(involution(x, wrap), self.slope)
            if isinstance(norm, nn.Identity):
                x = run_chain(x, [conv], [self.slope])
            else:
                x = F.leaky_relu(norm(conv(x)), self.slope)
        return x

    def within(self, x: Tensor, here: Window, wanted: Window, wrap: Wrap) -> Tensor:
        """The features in the window `wanted` of an image of which `x` is the window `here`.

        Args:
            wrap: axes that wrap; of them `here` and `wanted` must be all there is, from pixel 0 on.
        """
        framed_x = framed(x, here, _less(wanted, -len(self.convs), wrap))
        features: Tensor = self(framed_x, wrap)
        return features


def _less(window: Window, pixels: int, wrap: Wrap) -> Window:
    """Take `pixels` off both sides of every axis that does not wrap."""
    tall, wide = (0 if around else pixels for around in wrap)
    rows, columns = window.rows, window.columns
    return Window.of(
        range(rows.start + tall, rows.stop - tall), range(columns.start + wide, columns.stop - wide)
    )
