"""Masks from files: labels, or continuous values."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from singleimage.errors import ImageError
from singleimage.images.channels import LABEL_LIMIT, Mask
from singleimage.images.decode import decode
from singleimage.images.decoded import Decoded, Notes
from singleimage.images.values import from_integers, from_labels
from singleimage.multiscale.geometry import Size

NEAR = 16
"""Levels within which a lossy format moves most values."""
CLOSE = 2
"""Levels within which at least half of those are."""
LEAST = 0.002
"""Share of the pixels that a label has, at least, in a mask of a lossy format."""
SURE = 0.95
"""Share of the pixels that lie near a label in such a mask; with less its values are continuous."""


def decode_mask(path: Path, data: bytes, size: Size) -> tuple[Tensor, Mask, Notes]:
    """Decode a mask of a photo.

    A file with a palette holds labels, and so does one of at most `LABEL_LIMIT` values. In a lossy
    format, the few values that most pixels are near are the labels.

    Args:
        path: for messages.
        data: bytes of the file.
        size: of the photo.

    Returns:
        Its channels (n, H, W), their meaning, and notes.

    Raises:
        ImageError: it is no image, has another size, colors, or too many labels.
    """
    decoded = decode(path, data, indices=True)
    here = Size(*decoded.values.shape[:2])
    if here != size:
        raise ImageError(
            f"the mask {path} is {here}, the image {size}; crop or resize it to that size."
        )
    values, notes = _gray(path, decoded)
    low, high = values.min(), values.max()
    if low == high:
        notes += (f"the mask {path.name} has the value {low} everywhere.",)
    distinct = np.unique(values)
    bits: Literal[8, 16] = 16 if values.dtype == np.uint16 else 8
    if decoded.lossy and (found := _clusters(values)) is not None:
        if len(found) < len(distinct):
            named = ", ".join(map(str, found))
            notes += (
                f"the mask {path.name} is of a lossy format; its {len(distinct)} values are taken "
                f"for {len(found)} labels: {named}.",
            )
        values, distinct = _nearest(values, found), found
    if len(distinct) > LABEL_LIMIT:
        if decoded.palette:
            raise ImageError(
                f"the mask {path} has {len(distinct)} labels; the limit is {LABEL_LIMIT}. Merge "
                f"some."
            )
        notes += (
            f"the mask {path.name} has over {LABEL_LIMIT} values; they are taken for continuous "
            f"ones, not for labels.",
        )
        return from_integers(values[..., None]), Mask(bits=bits), notes
    labels = tuple(map(int, distinct))
    mask = Mask(labels=labels, bits=bits, palette=decoded.palette)
    return from_labels(values, labels), mask, notes


def _gray(path: Path, decoded: Decoded) -> tuple[NDArray[Any], Notes]:
    """The gray values or palette indices (H, W) of a mask."""
    values, notes = decoded.values, decoded.notes
    if decoded.mode in ("LA", "RGBA"):
        values = values[..., :-1]
        notes += (f"the alpha of the mask {path.name} is not used.",)
    gray: NDArray[Any] = values[..., 0]
    apart = np.abs(values.astype(np.int64) - gray[..., None].astype(np.int64)).max()
    if apart > (NEAR if decoded.lossy else 0):
        raise ImageError(f"the mask {path} has colors; save it as grayscale or with a palette.")
    return gray, notes


def _clusters(values: NDArray[Any]) -> NDArray[Any] | None:
    """The values, ascending, that nearly all pixels are near; None: there are none such."""
    counts = np.bincount(values.ravel(), minlength=256)
    left, found = counts.copy(), list[int]()
    while len(found) < LABEL_LIMIT and left.max() > LEAST * values.size:
        peak = int(left.argmax())
        near = slice(max(peak - NEAR, 0), peak + NEAR + 1)
        if left[max(peak - CLOSE, 0) : peak + CLOSE + 1].sum() < left[near].sum() / 2:
            return None  # no peak
        found.append(peak)
        left[near] = 0
    if left.sum() > (1 - SURE) * values.size or len(found) > LABEL_LIMIT // 2:
        return None
    return np.array(sorted(found), values.dtype)


def _nearest(values: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    levels = np.arange(int(values.max()) + 1)[:, None]
    table = labels[np.abs(levels - labels.astype(np.int64)).argmin(1)]
    return np.asarray(table[values])
