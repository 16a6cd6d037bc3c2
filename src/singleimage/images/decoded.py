"""What decoders give, and what they share."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singleimage.errors import ImageError
from singleimage.images.encode import NOTHING, About
from singleimage.images.values import Mode
from singleimage.multiscale.geometry import PIXEL_LIMIT, Size

EXIF = 0x8769, 0x8825
"""Tags of the parts of EXIF about the picture and the place."""
Notes = tuple[str, ...]
LEAST_DPI = 10
"""Pixels an inch, at least: less is what programs write that know none."""


@dataclass(frozen=True)
class Decoded:
    """What is in an image file, upright."""

    values: NDArray[Any]
    """(H, W, C) uint8 or uint16: the channels of `mode`, then further bands."""
    mode: Mode
    notes: Notes = ()
    """What was changed or left out, in words for the user."""
    about: About = NOTHING
    """What the file says of itself."""
    palette: tuple[tuple[int, int, int], ...] = ()
    """Colors of the values, where they are asked for as indices."""
    opacity: bytes = b""
    """Of the first of these colors, 0 to 255; the others are opaque."""
    lossy: bool = False
    """Whether values are but near to those that were saved, as in JPEG."""
    scaled: bool = False
    """Whether the values were floats in 0..1, so that dark ones are meant to be dark."""


def check_pixels(path: Path, size: Size) -> None:
    """Raise `ImageError` where the picture in `path` of that `size` is over `PIXEL_LIMIT`."""
    if size.height * size.width > PIXEL_LIMIT:
        raise ImageError(too_large(path, f"{size}"))


def too_large(path: Path, found: str) -> str:
    """Say that the picture in `path` is too large: it is `found`."""
    return f"{path} is {found}; the limit is {PIXEL_LIMIT // 10**6} megapixels. Reduce it first."


def upright(values: NDArray[Any], orientation: Any) -> NDArray[Any]:
    """Undo an EXIF `orientation` of 2 to 8 on `values` (H, W, C); anything else is upright."""
    if orientation not in range(2, 9):
        return values
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def unit_floats(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Convert floats in 0..1, the `values` in `path`, to uint16; others are an `ImageError`."""
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ImageError(
            f"{path} holds {bad} values that are NaN or infinite; replace them before training."
        )
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise ImageError(
            f"{path} holds floats from {low:g} to {high:g}; scale them to 0..1 before training."
        )
    return np.round(values.astype(np.float64) * 65535).astype(np.uint16)


def narrowed(path: Path, values: NDArray[Any]) -> tuple[NDArray[Any], Notes]:
    """Bring integers of any kind, the `values` in `path`, to uint8 or uint16, with a note.

    Raises:
        ImageError: they span more than 16 bits.
    """
    if values.dtype in (np.uint8, np.uint16):
        return values, ()
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= 65535:
        return values.astype(np.uint16), ()
    if high - low > 65535:
        raise ImageError(
            f"{path} holds {values.dtype.itemsize * 8}-bit values from {low} to {high}; save it "
            f"with 8 or 16 bits."
        )
    note = f"{path.name} holds values from {low} to {high}; {low} is taken from each."
    return (values.astype(np.int64) - low).astype(np.uint16), (note,)


def notes_on_frames(path: Path, more: bool) -> Notes:
    """Tell that there are `more` frames in `path` than the one that is used."""
    return (f"{path.name} has several frames; the first is used.",) if more else ()


def notes_on_exif(path: Path, tags: Container[int]) -> Notes:
    """Tell that the EXIF of a TIFF in `path`, if there is some among its `tags`, is not kept."""
    found = any(tag in tags for tag in EXIF)
    return (f"the EXIF of {path.name}, a TIFF, is left out.",) if found else ()
