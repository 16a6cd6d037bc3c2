"""Resizing, as two small matrices: one for the rows, one for the columns.

These laws live here and nowhere else:

* `resize` is the antialiased bicubic of the SinGAN family (Keys, a = -0.5) with its exact border
  rule. Output size and scale are separate arguments, because many scales round to one size.
* `stretch` is the plain bicubic (a = -0.75, corners aligned) that ConSinGAN applies to features.
* `enlarge` is the bilinear one with aligned corners by which HP-VAE-GAN goes from level to level;
  `retimed` is the same along the time of clips.
* `bilinear` is that of OpenCV on bytes, by which HP-VAE-GAN reduces the photo.

The first three are linear, so each is `rows @ x @ columns.T` with constant matrices, built once in
float64 and cached per device and type. That is exact, differentiable, and runs where the tensor is.

They also have a form without borders, for axes that wrap: what lies beyond one edge is the opposite
one. A period of n_in pixels must become one of n_out, so the scale is n_out / n_in, pixels
are areas (output i is centered at (i + 0.5) n_in / n_out - 0.5), and taps count modulo n_in. The
published scale and the aligned corners have no such form: they would leave a seam.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function

from singleimage.machine.device import channels_last
from singleimage.multiscale.geometry import OPEN, Part, Size, Window, Wrap, framed, size_of
from singleimage.multiscale.resize_matrices import (
    Kind,
    aligned_weights,
    keys_weights,
    wrapped_taps,
    wrapped_weights,
)

MATRIX = 2**20
"""Numbers of the matrix of an axis from which on images are resized tile by tile."""
TILE = 512
"""Pixels of the side of a tile."""


class Banding(NamedTuple):
    """When a matrix, of which few columns of a row are not zero, is applied in bands."""

    wide: int
    """Rows or columns from which on it is."""
    rows: int
    """Rows of a band."""


NARROW = Banding(32, 16)
"""On a processor, but in bfloat16: half the time of whole products."""
BROAD = Banding(320, 64)
"""In bfloat16 and on a GPU, which are fast at large products and slow at many."""


def scaled(size: Size, scale: float) -> Size:
    """The size `resize` gives for a bare scale: each side `ceil(n * scale)` in float64.

    The product is deliberately not rounded first: 188 * r**9 with r = (25 / 188)**(1 / 9) lands
    above 25 and gives 26, as it does in the published code.
    """
    return Size(math.ceil(size.height * scale), math.ceil(size.width * scale))


def resize(
    image: Tensor,
    size: Size,
    *,
    scale: float | None = None,
    quantize: bool = False,
    part: Part | None = None,
    wrap: Wrap = OPEN,
) -> Tensor:
    """Resize images (B, C, H, W) in [-1, 1] as the SinGAN family does (its `imresize`).

    Args:
        image: images in [-1, 1], or clips (B, C, T, H, W); values beyond count as its ends.
        size: the output size. With `scale`, outputs beyond `ceil(n * scale)` continue the mirrored
            border, and a smaller size keeps the top left corner: the published crop.
        scale: the true scale that places the samples. None: `size` over the input size, per axis.
        quantize: first truncate the input to 8 bits, as the published code does.
        part: compute a part of the output only; `image` is then `part.source` of the input.
        wrap: axes that wrap; on them `scale` does not count (see above).

    Returns:
        Images (B, C, *size), or the part of them, clamped to [-1, 1].
    """
    if image.dim() == 5:
        change = partial(resize, size=size, scale=scale, quantize=quantize, part=part, wrap=wrap)
        return _of_frames(image, change)
    image = truncate(image) if quantize else image.clamp(-1, 1)
    here = part.whole if part else size_of(image)
    if here == size and (scale in (None, 1.0) or all(wrap)):
        return framed(image, part.source, part.window, wrap) if part else image
    return _apply(_laws("keys", here, size, wrap, scale), part, image).clamp(-1, 1)


def resize_source(
    here: Size, size: Size, window: Window, *, scale: float | None = None, wrap: Wrap = OPEN
) -> Window:
    """Find what `resize` must know of an image for a part of its result.

    Args:
        here: size of the image.
        size: size it is brought to.
        window: the wanted part of the result.
        scale: as for `resize`.
        wrap: whether rows, and columns, continue at the opposite edge.

    Returns:
        The part of the input that must be known.
    """
    return _source(_laws("keys", here, size, wrap, scale), window)


def truncate(image: Tensor) -> Tensor:
    """Cut images down to 8 bits, not rounded: the published code's cast to uint8.

    A value within a thousandth of a level below it counts as that level, so that float rounding
    does not lose one, and cutting twice is cutting once.

    Args:
        image: any shape, in [-1, 1].
    """
    levels = image.clamp(-1, 1).add(1).mul(127.5).add(1e-3).floor()
    return levels.clamp(max=255).div(127.5).sub(1)


def stretch(
    features: Tensor,
    size: Size,
    plus: Tensor | None = None,
    *,
    part: Part | None = None,
    wrap: Wrap = OPEN,
) -> Tensor:
    """Resize features (B, C, H, W) to `size`: bicubic, a = -0.75, corners aligned.

    Args:
        plus: features of the size of the result that are added to it.
        part: compute a part of the output only; `features` is then `part.source` of the input.
        wrap: axes that wrap; they have no corners, and the scale is the ratio of sizes (see above).
    """
    here = part.whole if part else size_of(features)
    return _apply(_laws("aligned", here, size, wrap), part, features, plus)


def stretch_source(here: Size, size: Size, window: Window, *, wrap: Wrap = OPEN) -> Window:
    """Find what `stretch` must know of features for a part of its result.

    Args:
        here: size of the features.
        size: size it is brought to.
        window: the wanted part of the result.
        wrap: whether rows, and columns, continue at the opposite edge.

    Returns:
        The part of the input that must be known.
    """
    return _source(_laws("aligned", here, size, wrap), window)


def enlarge(image: Tensor, size: Size, *, part: Part | None = None, wrap: Wrap = OPEN) -> Tensor:
    """Enlarge images bilinearly, corners aligned; never clamped.

    Args:
        image: (B, C, H, W), or clips (B, C, T, H, W).
        size: of the result, pixels.
        part, wrap: as for `stretch`.
    """
    here = part.whole if part else size_of(image)
    laws = _laws("linear", here, size, wrap)
    if image.dim() == 4:
        return _apply(laws, part, image)
    return _of_frames(image, lambda frames: _apply(laws, part, frames))


def retimed(clip: Tensor, frames: int) -> Tensor:
    """Resample a `clip` (B, C, T, H, W) linearly to `frames` frames; ends stay ends."""
    here = clip.shape[2]
    if here == frames:
        return clip
    matrix = _frame_weights(here, frames, clip.dtype, clip.device)
    return torch.einsum("st,bcthw->bcshw", matrix, clip)


@lru_cache(maxsize=64)
def _frame_weights(here: int, frames: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    law = _Law("linear", here, frames, frames / here, False)
    with torch.inference_mode(False):
        return torch.from_numpy(law.weights()).to(device, dtype)


def _of_frames(clip: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A clip (B, C, T, H, W) with its frames changed by a function of images."""
    images = change(clip.transpose(1, 2).flatten(0, 1))
    frames: Tensor = images.unflatten(0, (len(clip), -1))
    return frames.transpose(1, 2)


def enlarge_source(here: Size, size: Size, window: Window, *, wrap: Wrap = OPEN) -> Window:
    """Find what `enlarge` must know of an image for a part of its result.

    Args:
        here: size of the image.
        size: size it is brought to.
        window: the wanted part of the result.
        wrap: whether rows, and columns, continue at the opposite edge.

    Returns:
        The part of the input that must be known.
    """
    return _source(_laws("linear", here, size, wrap), window)


def bilinear(image: Tensor, size: Size, *, quantize: bool = False) -> Tensor:
    """Resize images bilinearly between pixel centers, not antialiased.

    Args:
        image: (B, C, H, W) in [-1, 1], or clips (B, C, T, H, W), which are resized frame by frame.
        size: of the result, pixels.
        quantize: round the result to 8 bits, as OpenCV does with bytes.
    """
    if image.dim() == 5:
        return _of_frames(image, lambda frames: bilinear(frames, size, quantize=quantize))
    image = F.interpolate(image.clamp(-1, 1), size, mode="bilinear", align_corners=False)
    return image.add(1).mul(127.5).round().div(127.5).sub(1) if quantize else image


# The laws as matrices ----------------------------------------------------------------------------


class _Law(NamedTuple):
    """How one axis is resized."""

    kind: Kind
    n_in: int
    n_out: int
    scale: float
    wrap: bool

    def weights(self, outputs: range | None = None) -> NDArray[np.float64]:
        if self.wrap:
            return wrapped_weights(self.n_in, self.n_out, self.kind, outputs)
        if self.kind == "keys":
            return keys_weights(self.n_in, self.n_out, self.scale, outputs)
        return aligned_weights(self.n_in, self.n_out, outputs, self.kind)

    def inputs(self, outputs: range) -> range:
        """The input pixels that these output pixels are made of."""
        if len(outputs) == self.n_out:
            return range(self.n_in)
        if self.wrap:
            ends = np.array([outputs[0], outputs[-1]])
            taps, _ = wrapped_taps(self.n_in, self.n_out, self.kind, ends)
            side = range(int(taps.min()), int(taps.max()) + 1)
            return side if len(side) < self.n_in else range(self.n_in)
        touched = np.flatnonzero(self.weights(outputs).any(axis=0))
        return range(int(touched[0]), int(touched[-1]) + 1)

    def part(self, outputs: range, inputs: range) -> NDArray[np.float64]:
        """The rows and columns of the matrix that belong to these pixels."""
        weights = self.weights(outputs)
        if self.wrap:
            return np.roll(weights, -inputs.start, axis=1)[:, : len(inputs)]
        return weights[:, inputs.start : inputs.stop]


def _laws(kind: Kind, here: Size, size: Size, wrap: Wrap, scale: float | None = None) -> list[_Law]:
    return [
        _Law(kind, n, m, m / n if scale is None or around else scale, around)
        for n, m, around in zip(here, size, wrap, strict=True)
    ]


def _source(laws: list[_Law], window: Window) -> Window:
    rows, columns = laws
    return Window.of(rows.inputs(window.rows), columns.inputs(window.columns))


class _Band(NamedTuple):
    """Some rows of a matrix, without the columns in which they are zero."""

    rows: slice
    columns: slice
    matrix: Tensor


class _Axis(NamedTuple):
    """The matrix of one axis and its transpose, in bands."""

    bands: tuple[_Band, ...]
    transposed: tuple[_Band, ...]
    n_in: int
    n_out: int

    @property
    def turned(self) -> "_Axis":
        return _Axis(self.transposed, self.bands, self.n_out, self.n_in)

    def apply(self, x: Tensor) -> Tensor:
        """Along the first axis of (n_in, a, b, c), in any memory order."""
        if len(self.bands) > 1:
            flat = x.reshape(self.n_in, -1)
            product = flat.new_empty(self.n_out, flat.shape[1])
            for band in self.bands:
                if x.device.type == "cpu":
                    torch.mm(band.matrix, flat[band.columns], out=product[band.rows])
                else:  # MPS on macOS 14 writes no product into the middle of a tensor
                    product[band.rows] = band.matrix @ flat[band.columns]
            return product.view(-1, *x.shape[1:])
        matrix = self.bands[0].matrix  # filled up with zeros (see `_filled`)
        flat = x.new_empty(matrix.shape[1], *x.shape[1:])
        flat[: self.n_in] = x
        flat[self.n_in :] = 0
        product = matrix @ flat.view(len(flat), -1)
        return product[: self.n_out].view(-1, *x.shape[1:])


class _Separable(Function):
    """Columns, then rows, of (B, C, H, W), plus what is to be added.

    The derivative is the same with both matrices transposed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, plus: Tensor | None, rows: _Axis, columns: _Axis) -> Tensor:
        ctx.axes = rows.turned, columns.turned
        y = columns.apply(x.permute(3, 0, 2, 1))  # (w, B, H, C)
        y = rows.apply(y.permute(2, 1, 0, 3))  # (h, B, w, C)
        y = channels_last(y.permute(1, 3, 0, 2))
        return y if plus is None else y.add_(plus)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        to_x, to_plus, *_ = ctx.needs_input_grad
        return (
            _Separable.apply(g, None, *ctx.axes) if to_x else None,
            g if to_plus else None,
            None,
            None,
        )


def _apply(laws: list[_Law], part: Part | None, x: Tensor, plus: Tensor | None = None) -> Tensor:
    """Both axes of x (B, C, H, W); channels-last (B, C, h, w)."""
    if torch.compiler.is_compiling():
        return _plainly(laws, part, x, plus)
    large = max(law.n_in * law.n_out for law in laws) > MATRIX and not x.requires_grad
    if part is None and large and not any(law.wrap for law in laws):
        return _tiled(laws, x, plus)
    if part is None or part.window == (0, 0, *(law.n_out for law in laws)):
        rows, columns = (_whole_axis(law, x.dtype, x.device) for law in laws)
    else:
        rows, columns = (
            _axis(law.part(outputs, inputs), x.dtype, x.device)
            for law, outputs, inputs in zip(
                laws,
                (part.window.rows, part.window.columns),
                (part.source.rows, part.source.columns),
                strict=True,
            )
        )
    y: Tensor = _Separable.apply(x, plus, rows, columns)
    return y


def _plainly(laws: list[_Law], part: Part | None, x: Tensor, plus: Tensor | None) -> Tensor:
    """The same as two products of matrices, for a graph that another program runs.

    Nothing is kept: tensors that are made while a graph is recorded have no values later.
    """
    window, source = part[:2] if part else (Window(0, 0, *(law.n_out for law in laws)), None)
    source = source or Window(0, 0, *(law.n_in for law in laws))
    rows, columns = (
        torch.from_numpy(law.part(outputs, inputs)).to(x)
        for law, outputs, inputs in zip(
            laws, (window.rows, window.columns), (source.rows, source.columns), strict=True
        )
    )
    y = rows @ x @ columns.T
    return y if plus is None else y + plus


def _tiled(laws: list[_Law], x: Tensor, plus: Tensor | None) -> Tensor:
    """The same, tile by tile: whole matrices of large images are large, and nearly all zeros."""
    size, here = Size(*(law.n_out for law in laws)), size_of(x)
    result = channels_last(x.new_empty(*x.shape[:2], *size))
    for top in range(0, size.height, TILE):
        for left in range(0, size.width, TILE):
            rows, columns = (
                range(first, min(first + TILE, side))
                for first, side in zip((top, left), size, strict=True)
            )
            window = Window.of(rows, columns)
            source = _source(laws, window)
            tile = _apply(laws, Part(window, source, here), framed(x, Window.whole(here), source))
            result[..., top : rows.stop, left : columns.stop] = tile
    return result if plus is None else result.add_(plus)


@lru_cache(maxsize=512)
def _whole_axis(law: _Law, dtype: torch.dtype, device: torch.device) -> _Axis:
    return _axis(law.weights(), dtype, device)


def _axis(weights: NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> _Axis:
    n_out, n_in = weights.shape
    bands, transposed = (_bands(matrix, dtype, device) for matrix in (weights, weights.T))
    return _Axis(bands, transposed, n_in, n_out)


def _bands(
    matrix: NDArray[np.float64], dtype: torch.dtype, device: torch.device
) -> tuple[_Band, ...]:
    """One band, filled up; of a large matrix, which is nearly all zeros, several narrow ones."""
    exact = device.type == "cpu" and dtype != torch.bfloat16
    banding = NARROW if exact else BROAD
    if max(matrix.shape) <= banding.wide:
        return (_Band(slice(None), slice(None), _filled(matrix, dtype, device)),)
    bands = []
    for first in range(0, len(matrix), banding.rows):
        rows = matrix[first : first + banding.rows]
        touched = np.flatnonzero(rows.any(axis=0))
        start, stop = (int(touched[0]), int(touched[-1]) + 1) if len(touched) else (0, 1)
        with torch.inference_mode(False):
            part = torch.from_numpy(rows[:, start:stop].copy()).to(device, dtype)
        bands.append(_Band(slice(first, first + len(rows)), slice(start, stop), part))
    return tuple(bands)


def _filled(matrix: NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> Tensor:
    """With zeros up to multiples of 32: oneDNN's bf16 product is three times as fast then."""
    rows, columns = matrix.shape
    filled = np.zeros((rows + -rows % 32, columns + -columns % 32))
    filled[:rows, :columns] = matrix
    with torch.inference_mode(False):  # an ordinary tensor even if inference asks first
        return torch.from_numpy(filled).to(device, dtype)
