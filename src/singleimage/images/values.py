"""Between the integers of image files and the floats in [-1, 1] of tensors.

0 becomes -1 and the highest integer 1. A mask of labels becomes one channel a label, 1 where it is
and -1 elsewhere; of one or two labels one is enough.
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


def from_integers(values: NDArray[Any], white: int | None = None) -> Tensor:
    """Convert integers to an image.

    Args:
        values: (H, W, C), uint8 or uint16.
        white: the integer that becomes 1; None: the highest.

    Returns:
        (C, H, W) float32 in [-1, 1].
    """
    top = np.float32(white or np.iinfo(values.dtype).max)
    scaled = values.astype(np.float32) / top * 2 - 1
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def to_integers(pixels: Tensor, bits: int = 8, white: int | None = None) -> NDArray[Any]:
    """Convert an image to integers, rounded; what is out of range is clamped.

    Args:
        pixels: (C, H, W) in [-1, 1].
        bits: 8 or 16.
        white: the integer that 1 becomes; None: the highest.

    Returns:
        (H, W, C) uint8 or uint16.
    """
    top = white or 2**bits - 1
    channels, height, width = pixels.shape
    values = np.empty((height, width, channels), np.uint8 if bits == 8 else np.uint16)
    for rows in strips(height):
        unit = ((pixels[:, rows].detach().cpu().double() + 1) / 2).clamp(0, 1)
        values[rows] = unit.mul(top).round().permute(1, 2, 0).numpy()
    return values


def strips(height: int) -> Iterator[slice]:
    """Slices of 256 rows: a large picture is converted in float64 part by part, to save memory."""
    return (slice(top, top + 256) for top in range(0, height, 256))


def from_labels(values: NDArray[Any], labels: Sequence[int]) -> Tensor:
    """Give each label a channel of its own, or two of them one.

    Args:
        values: (H, W), all of them labels.
        labels: ascending.

    Returns:
        (n, H, W) float32, 1 where the label is, else -1; of two labels (1, H, W), 1 where the
        second is.
    """
    chosen = labels if len(labels) > 2 else labels[-1:] if len(labels) == 2 else [-1]
    planes = [torch.from_numpy(values == label) for label in chosen]
    return torch.stack(planes).float().mul_(2).sub_(1)


def to_labels(
    planes: Tensor, labels: Sequence[int], *, bits: int = 8, ranks: bool = False
) -> NDArray[Any]:
    """Turn each pixel into the label whose channel is the highest.

    Args:
        planes: (n, H, W) in [-1, 1], as `from_labels` makes them.
        labels: ascending.
        bits: 8 or 16; 16 always of labels over 255, of which earlier models say 8.
        ranks: the labels are evenly spaced in one channel instead.

    Returns:
        (H, W, 1) uint8 or uint16.
    """
    known = np.asarray(labels, np.uint8 if bits == 8 and max(labels) < 256 else np.uint16)
    values = np.empty((*planes.shape[1:], 1), known.dtype)
    for rows in strips(planes.shape[1]):
        part = planes[:, rows].detach().cpu()
        if len(part) > 1:
            found = part.argmax(0)
        else:
            unit = (part[0].double() + 1) / 2 * (len(labels) - 1)
            found = unit.round().clamp(0, len(labels) - 1).long()
        values[rows, :, 0] = known[found.numpy()]
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
