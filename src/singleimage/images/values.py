"""Between the integers of image files and the floats in [-1, 1] of tensors.

0 becomes -1 and the highest integer 1. Labels become evenly spaced values: the lowest is -1, the
highest 1, whatever their numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Mode = Literal["L", "LA", "RGB", "RGBA"]
MODE_CHANNELS: dict[Mode, int] = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
MODES: dict[int, Mode] = {count: mode for mode, count in MODE_CHANNELS.items()}


def from_integers(values: NDArray[Any]) -> Tensor:
    """Convert `values` (H, W, C), uint8 or uint16, to (C, H, W) float32 in [-1, 1]."""
    top = np.float32(np.iinfo(values.dtype).max)
    scaled = values.astype(np.float32) / top * 2 - 1
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def to_integers(pixels: Tensor, bits: int = 8) -> NDArray[Any]:
    """Convert an image to integers, rounded; what is out of range is clamped.

    Args:
        pixels: (C, H, W) in [-1, 1].
        bits: 8 or 16.

    Returns:
        (H, W, C) uint8 or uint16.
    """
    top = 255 if bits == 8 else 65535
    channels, height, width = pixels.shape
    values = np.empty((height, width, channels), np.uint8 if bits == 8 else np.uint16)
    for rows in _strips(height):
        unit = ((pixels[:, rows].detach().cpu().double() + 1) / 2).clamp(0, 1)
        values[rows] = unit.mul(top).round().permute(1, 2, 0).numpy()
    return values


def _strips(height: int) -> Iterator[slice]:
    """Slices of 256 rows: a large picture is converted in float64 part by part, to save memory."""
    return (slice(top, top + 256) for top in range(0, height, 256))


def from_labels(values: NDArray[Any], labels: Sequence[int]) -> Tensor:
    """Space labels evenly in [-1, 1]: the lowest is -1, the highest 1.

    Args:
        values: (H, W), all of them labels.
        labels: ascending.

    Returns:
        (H, W) float32.
    """
    ranks = np.searchsorted(labels, values).astype(np.float32)
    return torch.from_numpy(ranks * 2 / max(len(labels) - 1, 1) - 1)


def to_labels(plane: Tensor, labels: Sequence[int]) -> NDArray[Any]:
    """Turn each pixel into the nearest label.

    Args:
        plane: (H, W) in [-1, 1].
        labels: ascending.

    Returns:
        (H, W, 1) integers.
    """
    known = np.asarray(labels, dtype=np.uint8 if max(labels) < 256 else np.uint16)
    values = np.empty((*plane.shape, 1), known.dtype)
    for rows in _strips(len(plane)):
        ranks = (plane[rows].detach().cpu().double() + 1) / 2 * (len(labels) - 1)
        nearest = ranks.round().clamp(0, len(labels) - 1).numpy().astype(np.int64)
        values[rows, :, 0] = known[nearest]
    return values


def to_pil(values: NDArray[Any]) -> Image.Image:
    """Make a Pillow image of `values` (H, W, C), uint8 or uint16."""
    squeezed = values[..., 0] if values.shape[2] == 1 else values
    return Image.fromarray(squeezed)


def checkerboard(size: tuple[int, int]) -> Image.Image:
    """An opaque RGBA checkerboard of `size` (width, height), to be seen behind alpha."""
    y, x = np.indices((size[1], size[0])) // 8
    gray = np.where((x + y) % 2 == 0, 255, 205).astype(np.uint8)
    return Image.fromarray(gray).convert("RGBA")
