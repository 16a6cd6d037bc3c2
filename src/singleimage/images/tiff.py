"""TIFF beyond what Pillow reads: more than 8 bits or four channels, BigTIFF; by tifffile."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singleimage.errors import ImageError
from singleimage.images.channels import BAND_LIMIT
from singleimage.images.decoded import (
    LEAST_DPI,
    Decoded,
    Notes,
    check_pixels,
    narrowed,
    notes_on_exif,
    notes_on_frames,
    unit_floats,
    upright,
)
from singleimage.images.encode import About
from singleimage.images.values import MODE_CHANNELS, Mode
from singleimage.multiscale.geometry import Size

_ORIENTATION = 274
_ASSOCIATED, _UNASSOCIATED = 1, 2
"""Kinds of further samples that are alpha: colors are multiplied by it, or not."""
_INCH, _CENTIMETER = 2, 3
_FLOAT_PREDICTOR, _DEFLATED = 3, (8, 32946)


def is_tiff(data: bytes) -> bool:
    """Whether `data` begins as a TIFF does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def decode_tiff(path: Path, data: bytes) -> Decoded | None:
    """Decode the first page of a TIFF that Pillow would reduce or refuse.

    Args:
        path: for messages.
        data: bytes of the file.

    Returns:
        None to leave it to Pillow.

    Raises:
        ImageError: it is cut short, over `PIXEL_LIMIT`, a volume, or its values do not fit.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page: Any = tiff.pages[0]
            ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
            if max(ends, default=0) > len(data):  # libtiff would print its own words on it
                raise ImageError(f"{path} is damaged: it is cut short; export the image again.")
            if page.photometric not in (0, 1, 2) or page.dtype is None:
                return None
            mode, order = _meaning(page)
            usual = mode.startswith("RGB") == (page.photometric == 2) and not tiff.is_bigtiff
            if usual and page.dtype in (np.uint8, np.bool_) and len(order) == MODE_CHANNELS[mode]:
                return None
            _check(path, page)
            if page.predictor == _FLOAT_PREDICTOR and tiff.byteorder == ">":
                values = _predicted(page, data)  # which Pillow would read in the wrong order
            else:
                values = page.asarray()
            notes = notes_on_frames(path, _has_second(tiff)) + notes_on_exif(path, page.tags)
            orientation = page.tags.valueof(_ORIENTATION)
            about = _about(page)
    except (ImageError, MemoryError):
        raise
    except Exception:  # a damaged file or a compression it lacks; Pillow tries, and reports
        return None
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    values = values.reshape(*values.shape[:2], -1)[..., order]
    scaled, more = values.dtype.kind == "f", Notes()
    values, more = (unit_floats(path, values), ()) if scaled else narrowed(path, values)
    if page.photometric == 0:  # white is zero
        values = values.copy()
        values[..., 0] = np.iinfo(values.dtype).max - values[..., 0]
    if _ASSOCIATED in page.extrasamples:
        values = _unassociated(values, MODE_CHANNELS[mode])
    return Decoded(upright(values, orientation), mode, notes + more, about, scaled=scaled)


def _predicted(page: Any, data: bytes) -> NDArray[Any]:
    """Floats of a deflated page in strips, whose bytes are differences (TIFF Technical Note 3)."""
    if page.is_tiled or page.compression not in _DEFLATED or page.planarconfig != 1:
        raise ValueError("a predictor with another compression")
    width, samples, size = page.imagewidth, page.samplesperpixel, page.dtype.itemsize
    rows = []
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        packed = np.frombuffer(zlib.decompress(data[start : start + length]), np.uint8)
        steps = packed.reshape(-1, size * width, samples)
        planes = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(len(steps), size, -1)
        whole = np.ascontiguousarray(planes.transpose(0, 2, 1))  # the highest bytes came first
        rows.append(whole.view(f">f{size}").reshape(-1, width, samples))
    return np.concatenate(rows)[: page.imagelength]


def _meaning(page: Any) -> tuple[Mode, list[int]]:
    """The mode of a page, and where in it the samples of the mode and the further bands lie.

    Three samples or more of gray without alpha are shown as color: most are bands of a camera.
    """
    samples = page.samplesperpixel
    colors = 3 if page.photometric == 2 or (samples >= 3 and not any(page.extrasamples)) else 1
    base = 3 if page.photometric == 2 else 1
    extra = [*page.extrasamples, *[0] * samples][: samples - base]
    alpha = [base + i for i, kind in enumerate(extra) if kind in (_ASSOCIATED, _UNASSOCIATED)][:1]
    rest = [i for i in range(colors, samples) if i not in alpha]
    kinds: dict[tuple[int, int], Mode] = {(1, 0): "L", (1, 1): "LA", (3, 0): "RGB", (3, 1): "RGBA"}
    return kinds[colors, len(alpha)], [*range(colors), *alpha, *rest]


def _check(path: Path, page: Any) -> None:
    """Raises `ImageError` unless the page is a picture of a size that can be read."""
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ImageError(f"{path} is a volume, not a picture; save one slice of it.")
    check_pixels(path, Size(page.imagelength, page.imagewidth))
    if page.samplesperpixel > BAND_LIMIT:
        raise ImageError(
            f"{path} has {page.samplesperpixel} channels; the limit is {BAND_LIMIT}. Give further "
            f"ones as --mask."
        )
    if page.dtype.kind not in "fiu":
        raise ImageError(
            f"{path} stores {page.dtype} samples; save it with 8 or 16 bits, or floats in 0..1."
        )


def _about(page: Any) -> About:
    profile = page.tags.valueof("InterColorProfile") or b""
    unit = {_INCH: 1.0, _CENTIMETER: 2.54}.get(int(page.tags.valueof("ResolutionUnit") or 0))
    fractions = [page.tags.valueof(name) for name in ("XResolution", "YResolution")]
    dpi = None
    if unit is not None and all(isinstance(f, tuple) and len(f) == 2 and f[1] for f in fractions):
        across, down = (unit * f[0] / f[1] for f in fractions)
        dpi = (across, down) if min(across, down) >= LEAST_DPI else None
    return About(profile if isinstance(profile, bytes) else b"", b"", dpi)


def _has_second(tiff: Any) -> bool:
    """Whether a TIFF has a second page; to count all may take a minute."""
    try:
        return tiff.pages[1] is not None
    except IndexError:
        return False


def _unassociated(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Colors that were multiplied by alpha, the last of `count` channels, divided by it again."""
    whole = np.iinfo(values.dtype).max
    found = values.astype(np.float64)
    found[..., : count - 1] *= whole / np.maximum(found[..., count - 1 : count], 1)
    return found.round().clip(0, whole).astype(values.dtype)
