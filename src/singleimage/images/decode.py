"""From the bytes of an image file to integers: the quirks of formats end here.

A decoded file is an array (H, W, C) of uint8 or uint16, upright, gray, gray and alpha, RGB or RGBA
for C of 1 to 4, together with notes on what was changed or left out, in words for the user.
"""

import io
import logging
import re
import sys
import warnings
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from singleimage.errors import ImageError
from singleimage.images.png import PNG, require_whole
from singleimage.machine.files import quiet_libraries
from singleimage.multiscale.geometry import PIXEL_LIMIT, Size

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may open. Not EPS: Pillow hands it to Ghostscript, which runs what is in it."""

Notes = tuple[str, ...]

_ORIENTATION = 274  # the tag of EXIF and TIFF
_DEEP = re.compile(r"(.+);16([BLN])")  # Pillow's name of samples of 16 bits in an order of bytes

# What these libraries log about damaged files would reach the user beside our own message.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_bytes(path: Path) -> bytes:
    """Read the bytes of what may be an image file.

    Args:
        path: of the file.

    Raises:
        ImageError: it is missing, a folder, unreadable or empty.
    """
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give one image file.")
    if path.exists() and not path.is_file():
        raise ImageError(f"{path} is a device or a pipe; give an image file.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check the path.") from None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}; check the path.") from None
    if not data:
        raise ImageError(f"{path} is empty (0 bytes); export the image again.")
    if path.suffix == ".safetensors":
        raise ImageError(
            f"{path} is a model, not an image; draw from it with: "
            f"singleimage sample {path} -o FOLDER"
        )
    return data


def decode(path: Path, data: bytes, *, indices: bool = False) -> tuple[NDArray[Any], Notes]:
    """Decode an image file, upright, without loss.

    Args:
        path: for messages.
        data: bytes of the file.
        indices: give a palette picture's indices, (H, W, 1), in place of its colors.

    Returns:
        (H, W, C) uint8 or uint16 with C of 1 to 4, and notes on what was changed or left out.

    Raises:
        ImageError: the file is damaged, no image, over `PIXEL_LIMIT`, or its values do not fit.
    """
    try:
        with warnings.catch_warnings(), quiet_libraries() if _is_tiff(data) else nullcontext():
            warnings.simplefilter("ignore")
            if _is_tiff(data) and (decoded := _decode_deep_tiff(path, data)) is not None:
                return decoded
            return _decode_pillow(path, data, indices=indices)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise ImageError(_too_large(path, "over 178 megapixels")) from None
    except UnidentifiedImageError:
        raise _unknown(path, data) from None
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ImageError(f"{path} is damaged: {error}; export the image again.") from None


def _is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _unknown(path: Path, data: bytes) -> ImageError:
    if _is_tiff(data):
        return ImageError(
            f"{path} is a damaged TIFF, or one with a compression or channels that cannot be read; "
            f"save it again without compression, or as PNG."
        )
    return ImageError(f"{path} is not an image in a known format; use JPEG, PNG, WebP or TIFF.")


def _check_pixels(path: Path, size: Size) -> None:
    if size.height * size.width > PIXEL_LIMIT:
        raise ImageError(_too_large(path, f"{size}"))


def _too_large(path: Path, found: str) -> str:
    return f"{path} is {found}; the limit is {PIXEL_LIMIT // 10**6} megapixels. Reduce it first."


def _upright(values: NDArray[Any], orientation: Any) -> NDArray[Any]:
    """Undo an EXIF orientation of 2 to 8 on (H, W, C); anything else is upright."""
    if orientation not in range(2, 9):
        return values
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


# TIFF with more than 8 bits, through tifffile ----------------------------------------------------


def _decode_deep_tiff(path: Path, data: bytes) -> tuple[NDArray[Any], Notes] | None:
    """First page of a TIFF that Pillow would reduce or refuse; None to leave it to Pillow."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page: Any = tiff.pages[0]
            ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
            if max(ends, default=0) > len(data):  # libtiff would print its own words on it
                raise ImageError(f"{path} is damaged: it is cut short; export the image again.")
            deep = page.dtype is not None and page.dtype.itemsize > 1
            if not deep or page.photometric not in (0, 1, 2):
                return None
            _check_tiff(path, page)
            values = page.asarray()
            notes = _notes_on_frames(path, _has_second(tiff))
            orientation = page.tags.valueof(_ORIENTATION)
    except (ImageError, MemoryError):
        raise
    except Exception:  # a damaged file or a compression it lacks; Pillow tries, and reports
        return None
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    values = values.reshape(*values.shape[:2], -1)
    values = _unit_floats(path, values) if values.dtype.kind == "f" else values
    if page.photometric == 0:  # white is zero
        values[..., 0] = 65535 - values[..., 0]
    if values.shape[2] in (2, 4) and 1 in page.extrasamples:
        values = _unassociated(values)
    return _upright(values, orientation), notes


def _check_tiff(path: Path, page: Any) -> None:
    """Raises `ImageError` unless the page is a picture of a depth and a size that can be read."""
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ImageError(f"{path} is a volume, not a picture; save one slice of it.")
    _check_pixels(path, Size(page.imagelength, page.imagewidth))
    if page.samplesperpixel > 4:
        raise ImageError(
            f"{path} has {page.samplesperpixel} channels; 1 to 4 can be read. Give further ones "
            f"as --mask."
        )
    if page.dtype.kind != "f" and (page.dtype != np.uint16 or page.bitspersample != 16):
        raise ImageError(
            f"{path} stores {page.bitspersample}-bit {page.dtype} samples; save it with 8 or 16 "
            f"bits, or floats in 0..1."
        )


def _unit_floats(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Floats in 0..1 to uint16."""
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


def _unassociated(values: NDArray[Any]) -> NDArray[Any]:
    """uint16 colors that were multiplied by alpha, the last channel, divided by it again."""
    wide = values.astype(np.float64)
    color, alpha = wide[..., :-1] * 65535, wide[..., -1:]
    color /= np.maximum(alpha, 1)
    return np.concatenate([color.round().clip(0, 65535), alpha], axis=2).astype(np.uint16)


# All else, through Pillow ------------------------------------------------------------------------


def _decode_pillow(path: Path, data: bytes, *, indices: bool) -> tuple[NDArray[Any], Notes]:
    with _open(data) as opened:
        _check_pixels(path, Size(opened.height, opened.width))
        if data.startswith(PNG):
            require_whole(path, data)
        # MPO: a JPEG with further views or a gain map, which no one means as frames.
        more = opened.format != "MPO" and getattr(opened, "is_animated", False)
        notes = list(_notes_on_frames(path, more))
        raw_modes = _raw_modes(opened)
        opened.load()
        values: NDArray[Any] | None = None
        if any(map(_DEEP.fullmatch, raw_modes)) and not opened.mode.startswith("I"):
            values = _decode_deep_color(data, opened, raw_modes)
            if values is None:
                notes.append(f"{path.name} has 16 bits a channel; 8 of them are used.")
        elif opened.mode in ("CMYK", "LAB", "YCbCr"):
            notes.append(f"{path.name} has {opened.mode} colors; they are converted to RGB.")
        if indices and opened.mode == "P":
            values = np.asarray(opened)[..., None]
        elif values is None:
            values = _plain(path, opened)
        return _upright(values, opened.getexif().get(_ORIENTATION)), tuple(notes)


def _open(data: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _notes_on_frames(path: Path, more: bool) -> Notes:
    return (f"{path.name} has several frames; the first is used.",) if more else ()


def _has_second(tiff: Any) -> bool:
    """Whether a TIFF has a second page; to count all may take a minute."""
    try:
        return tiff.pages[1] is not None
    except IndexError:
        return False


def _raw_modes(opened: ImageFile.ImageFile) -> set[str]:
    """How the samples lie in the file, in Pillow's words."""
    modes = set()
    for tile in opened.tile:
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if tile.codec_name.startswith("ppm") and isinstance(args[-1], int) and args[-1] > 255:
            modes.add("PPM;16B")
        else:
            modes.add(str(args[0]))
    return modes


def _decode_deep_color(
    data: bytes, opened: ImageFile.ImageFile, raw_modes: set[str]
) -> NDArray[Any] | None:
    """(H, W, C) uint16 of 16-bit color, which Pillow alone reduces to 8 bits; None if it cannot be.

    A 16-bit gray and alpha PNG is, byte for byte, an 8-bit RGBA PNG with another header. For RGB
    and RGBA, Pillow's own decoder is run twice: told the true order of bytes it keeps the first
    byte of each sample, told the opposite the second.
    """
    if opened.format == "PNG" and data[24:26] == b"\x10\x04":
        header = data[12:24] + b"\x08\x06" + data[26:29]
        relabeled = data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
        with _open(relabeled) as bytewise:
            pairs = np.asarray(bytewise).astype(np.uint16)
        return pairs[..., 0::2] * 256 + pairs[..., 1::2]
    match = _DEEP.fullmatch(next(iter(raw_modes))) if len(raw_modes) == 1 else None
    if match is None or match[1] not in ("RGB", "RGBA", "RGBX"):
        return None
    kind, order = match.groups()
    order = {"little": "L", "big": "B"}[sys.byteorder] if order == "N" else order
    opposite = "L" if order == "B" else "B"
    try:
        high = _with_raw_mode(data, f"{kind};16{order}")
        low = _with_raw_mode(data, f"{kind};16{opposite}")
    except (AttributeError, TypeError, ValueError, OSError):  # not the Pillow we know
        return None
    if not (high == np.asarray(opened)).all():
        return None
    values = high.astype(np.uint16) * 256 + low
    key = opened.info.get("transparency")
    return _keyed_out(values, key) if isinstance(key, tuple) and kind == "RGB" else values


def _with_raw_mode(data: bytes, raw_mode: str) -> NDArray[Any]:
    """Pillow's 8-bit picture, decoded as if its samples lay so in the file."""
    with _open(data) as opened:
        opened.tile = [
            tile._replace(
                args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode
            )
            for tile in opened.tile
        ]
        return np.asarray(opened)


def _keyed_out(values: NDArray[Any], key: Any) -> NDArray[Any]:
    """uint16 colors with an alpha channel: transparent where they equal `key`."""
    alpha = np.where((values == np.asarray(key)).all(axis=2), 0, 65535).astype(np.uint16)
    return np.concatenate([values, alpha[..., None]], axis=2)


def _plain(path: Path, picture: Image.Image) -> NDArray[Any]:
    """(H, W, C) uint8 or uint16 of any Pillow picture."""
    mode, key = picture.mode, picture.info.get("transparency")
    if mode == "F":
        return _unit_floats(path, np.asarray(picture))[..., None]
    if mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)[..., None]
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(
                f"{path} holds 32-bit values from {values.min()} to {values.max()}; "
                f"save it with 8 or 16 bits."
            )
        values = values.astype(np.uint16)
        return values if key is None else _keyed_out(values, key)
    wanted = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA"}
    target = wanted.get(mode, "RGBA" if mode == "PA" else "RGB")
    if key is not None and target in ("L", "RGB"):
        target += "A"
    values = np.asarray(picture if mode == target else picture.convert(target))
    return values[..., None] if values.ndim == 2 else values
