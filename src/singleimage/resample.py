"""Resizing, as two small matrices: one for the rows, one for the columns.

Two laws live here and nowhere else:

* `resize` is the antialiased bicubic of the SinGAN family (Keys, a = -0.5) with its exact border
  rule. Output size and scale are separate arguments, because many scales round to one size.
* `stretch` is the plain bicubic (a = -0.75, corners aligned) that ConSinGAN applies to features.

Both are linear, so each is `rows @ x @ columns.T` with constant matrices, built once in float64
and cached per device and type. That is exact, differentiable, and runs where the tensor is.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Size(NamedTuple):
    """Height and width in pixels, always in this order."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


def scaled(size: Size, scale: float) -> Size:
    """The size `resize` gives for a bare scale: each side `ceil(n * scale)` in float64.

    The product is deliberately not rounded first: 188 * r**9 with r = (25 / 188)**(1 / 9) lands
    above 25 and gives 26, as it does in the published code.
    """
    return Size(math.ceil(size.height * scale), math.ceil(size.width * scale))


def size_of(x: Tensor) -> Size:
    """Height and width of a tensor (..., H, W)."""
    return Size(x.shape[-2], x.shape[-1])


def resize(
    image: Tensor, size: Size, *, scale: float | None = None, quantize: bool = False
) -> Tensor:
    """Resize images (B, C, H, W) in [-1, 1] as the SinGAN family does (its `imresize`).

    Args:
        image: images in [-1, 1]; values beyond count as its ends.
        size: the output size. With `scale`, outputs beyond `ceil(n * scale)` continue the mirrored
            border, and a smaller size keeps the top left corner: the published crop.
        scale: the true scale that places the samples. None: `size` over the input size, per axis.
        quantize: first truncate the input to 8 bits, as the published code does.

    Returns:
        Images (B, C, *size), clamped to [-1, 1].
    """
    image = truncate(image) if quantize else image.clamp(-1, 1)
    here = size_of(image)
    if here == size and scale in (None, 1.0):
        return image
    down = scale if scale is not None else size.height / here.height
    across = scale if scale is not None else size.width / here.width
    rows = _keys_matrix(here.height, size.height, down, image.dtype, image.device)
    columns = _keys_matrix(here.width, size.width, across, image.dtype, image.device)
    return _apply(rows, columns, image).clamp(-1, 1)


def truncate(image: Tensor) -> Tensor:
    """Images in [-1, 1] cut down to 8 bits, not rounded: the published code's cast to uint8.

    A value within a thousandth of a level below it counts as that level, so that float rounding
    does not lose one, and cutting twice is cutting once.
    """
    levels = image.clamp(-1, 1).add(1).mul(127.5).add(1e-3).floor()
    return levels.clamp(max=255).div(127.5).sub(1)


def stretch(features: Tensor, size: Size) -> Tensor:
    """Resize features (B, C, H, W) to `size`: bicubic, a = -0.75, corners aligned."""
    here = size_of(features)
    if here == size:
        return features
    rows = _aligned_matrix(here.height, size.height, features.dtype, features.device)
    columns = _aligned_matrix(here.width, size.width, features.dtype, features.device)
    return _apply(rows, columns, features)


def _apply(rows: Tensor, columns: Tensor, x: Tensor) -> Tensor:
    """`rows` (h, H) and `columns` (w, W) on x (B, C, H, W), in channels-last order throughout."""
    batch, channels, height, width = x.shape
    last = x.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    tall = torch.matmul(rows, last).view(batch * rows.shape[0], width, channels)
    wide = torch.matmul(columns, tall).view(batch, rows.shape[0], columns.shape[0], channels)
    return wide.permute(0, 3, 1, 2)


def keys_weights(n_in: int, n_out: int, scale: float) -> NDArray[np.float64]:
    """The (n_out, n_in) float64 matrix of `resize` along one axis, antialiased where it shrinks.

    (The published code lets the height decide for both axes; the two differ only where one axis
    shrinks and the other grows, which no pyramid does.)

    Output i is centered at (i + 0.5) / scale - 0.5. Taps before the first sample are dropped and
    the row renormalized; taps after the last are mirrored with the edge repeated.
    """
    squeeze = min(scale, 1.0)
    support = 4.0 / squeeze
    centers = (np.arange(n_out) + 0.5) / scale - 0.5
    first = np.floor(centers - support / 2).astype(np.int64)
    taps = first[:, None] + np.arange(math.ceil(support) + 2)[None, :]
    weights = squeeze * _cubic((centers[:, None] - taps) * squeeze, -0.5)
    weights[taps < 0] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    period = taps % (2 * n_in)
    mirrored = np.where(period < n_in, period, 2 * n_in - 1 - period)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], mirrored), weights)
    return matrix


def aligned_weights(n_in: int, n_out: int) -> NDArray[np.float64]:
    """The (n_out, n_in) float64 matrix of `stretch` along one axis; outside, the edge repeats."""
    step = (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
    centers = np.arange(n_out) * step
    taps = np.floor(centers).astype(np.int64)[:, None] + np.arange(-1, 3)[None, :]
    weights = _cubic(centers[:, None] - taps, -0.75)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], taps.clip(0, n_in - 1)), weights)
    return matrix


def _cubic(x: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with parameter `a`."""
    d = np.abs(x)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d <= 2, far, 0.0))


@lru_cache(maxsize=512)
def _keys_matrix(
    n_in: int, n_out: int, scale: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    weights = keys_weights(n_in, n_out, scale)
    return _constant(weights, dtype, device)


@lru_cache(maxsize=512)
def _aligned_matrix(n_in: int, n_out: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return _constant(aligned_weights(n_in, n_out), dtype, device)


def _constant(matrix: NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> Tensor:
    """An ordinary tensor even if inference asks first: training will use it later."""
    with torch.inference_mode(False):
        return torch.from_numpy(matrix).to(device, dtype)
