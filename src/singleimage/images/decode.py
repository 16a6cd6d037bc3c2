"""From the bytes of an image file to integers: the quirks of formats end here."""

import io
import logging
import re
import sys
import warnings
import zlib
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError, features

from singleimage.errors import ImageError
from singleimage.images.decoded import (
    EXIF,
    LEAST_DPI,
    Decoded,
    Notes,
    check_pixels,
    narrowed,
    notes_on_exif,
    notes_on_frames,
    too_large,
    unit_floats,
    upright,
)
from singleimage.images.encode import About
from singleimage.images.png import PNG, require_whole, without_texts
from singleimage.images.tiff import decode_tiff, is_tiff
from singleimage.images.values import MODES
from singleimage.machine.files import quiet_libraries
from singleimage.multiscale.geometry import Size

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may open. Not EPS: Pillow hands it to Ghostscript, which runs what is in it."""
CONVERTED = ("CMYK", "LAB", "YCbCr")
"""Pillow's names of colors that become RGB."""
HIGH_EFFICIENCY = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
"""Brands of HEIC and AVIF files."""

_ORIENTATION = 274  # the tag of EXIF and TIFF
_SIZES = (40962, 40963)  # tags of width and height in EXIF
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


def decode(path: Path, data: bytes, *, indices: bool = False) -> Decoded:
    """Decode an image file, upright, without loss.

    Args:
        path: for messages.
        data: bytes of the file.
        indices: give a palette picture's indices, (H, W, 1), in place of its colors.

    Raises:
        ImageError: the file is damaged, no image, over `PIXEL_LIMIT`, or its values do not fit.
    """
    try:
        with warnings.catch_warnings(), quiet_libraries() if is_tiff(data) else nullcontext():
            warnings.simplefilter("ignore")
            if is_tiff(data) and (decoded := decode_tiff(path, data)) is not None:
                return decoded
            return _decode_pillow(path, data, indices=indices)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise ImageError(too_large(path, "over 178 megapixels")) from None
    except UnidentifiedImageError:
        raise _unknown(path, data, tiff=is_tiff(data)) from None
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ImageError(f"{path} is damaged: {error}; export the image again.") from None


def decode_picture(picture: Image.Image) -> Decoded:
    """Take a `picture` of Pillow of any mode, as it would be taken from a file.

    Raises:
        ImageError: it is over `PIXEL_LIMIT`, or its values do not fit.
    """
    path = Path("the picture")
    check_pixels(path, Size(picture.height, picture.width))
    profile = picture.info.get("icc_profile") or b""
    values, notes, profile = _in_memory(path, picture, profile)
    about = About(profile, b"", None)
    return Decoded(values, MODES[values.shape[2]], notes, about, scaled=picture.mode == "F")


def _unknown(path: Path, data: bytes, *, tiff: bool) -> ImageError:
    if tiff:
        return ImageError(
            f"{path} is a damaged TIFF, or one with a compression or channels that cannot be read; "
            f"save it again without compression, or as PNG."
        )
    if data[4:8] == b"ftyp" and data[8:12] in HIGH_EFFICIENCY:
        return ImageError(
            f'{path} is HEIC or AVIF; pip install "singleimage[heic]", or convert it to JPEG or '
            f"PNG."
        )
    return ImageError(f"{path} is not an image in a known format; use JPEG, PNG, WebP or TIFF.")


@lru_cache
def high_efficiency_formats() -> tuple[str, ...]:
    """The formats of phones that are read here: HEIF where its plugin is installed, AVIF."""
    found = ["AVIF"] if features.check("avif") else []
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return tuple(found)
    register_heif_opener()
    return (*found, "HEIF")


# Through Pillow ----------------------------------------------------------------------------------


def _decode_pillow(path: Path, data: bytes, *, indices: bool) -> Decoded:
    profile = b""
    if data.startswith(PNG):
        data, profile = without_texts(data)
    with _open(data) as opened:
        check_pixels(path, Size(opened.height, opened.width))
        if data.startswith(PNG):
            require_whole(path, data)
        # MPO: a JPEG with further views or a gain map, which no one means as frames.
        more = opened.format != "MPO" and getattr(opened, "is_animated", False)
        notes = list(notes_on_frames(path, more))
        raw_modes = _raw_modes(opened)
        opened.load()
        _spread_key(opened, raw_modes)
        profile = profile or opened.info.get("icc_profile") or b""
        values: NDArray[Any] | None = None
        if any(map(_DEEP.fullmatch, raw_modes)) and not opened.mode.startswith("I"):
            values = _decode_deep_color(data, opened, raw_modes)
            if values is None:
                notes.append(f"{path.name} has 16 bits a channel; 8 of them are used.")
        palette: tuple[tuple[int, int, int], ...] = ()
        opacity = b""
        if indices and opened.mode == "P":
            values, palette = np.asarray(opened)[..., None], _palette(opened)
            key = opened.info.get("transparency", b"")
            opacity = b"\xff" * key + b"\0" if isinstance(key, int) else key
        elif values is None:
            values, more_notes, profile = _in_memory(path, opened, profile)
            notes += more_notes
        exif, orientation, odd = _exif(path, opened)
        upright_values = upright(values, orientation)
        return Decoded(
            upright_values,
            MODES[values.shape[2]],
            (*notes, *odd),
            About(profile, exif, _dpi(opened)),
            palette,
            opacity,
            lossy=_is_lossy(opened, data),
            scaled=opened.mode == "F",
        )


def _open(data: bytes) -> ImageFile.ImageFile:
    brand = data[4:8] == b"ftyp" and data[8:12] in HIGH_EFFICIENCY
    formats = (*FORMATS, *(high_efficiency_formats() if brand else ()))
    return Image.open(io.BytesIO(data), formats=formats)


def _is_lossy(opened: ImageFile.ImageFile, data: bytes) -> bool:
    webp = opened.format == "WEBP" and b"VP8L" not in data[:4096]
    return webp or opened.format in ("JPEG", "MPO", "AVIF", "HEIF")


def _in_memory(
    path: Path, picture: Image.Image, profile: bytes
) -> tuple[NDArray[Any], Notes, bytes]:
    """(H, W, C) uint8 or uint16 of any Pillow picture, and the profile that they still have."""
    if picture.mode in CONVERTED:
        note = f"{path.name} has {picture.mode} colors; they are converted to RGB."
        return _converted(picture, profile), (note,), b""
    return *_plain(path, picture), profile


def _converted(opened: Image.Image, profile: bytes) -> NDArray[Any]:
    """Colors of another space as RGB, by their profile if there is one."""
    if profile:
        try:
            own, srgb = (
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
            )
            found = ImageCms.profileToProfile(opened, own, srgb, outputMode="RGB")
            assert found is not None  # it is where the picture is not changed in place
            return np.asarray(found)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return np.asarray(opened.convert("RGB"))


def _palette(opened: ImageFile.ImageFile) -> tuple[tuple[int, int, int], ...]:
    numbers = opened.getpalette("RGB") or []
    return tuple(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=False))


def _exif(path: Path, opened: ImageFile.ImageFile) -> tuple[bytes, Any, Notes]:
    """EXIF without orientation and sizes, which are those of the pixels; and the orientation."""
    try:
        exif = opened.getexif()
        orientation = exif.pop(_ORIENTATION, None)
        if opened.format == "TIFF":  # whose tags are about its pixels
            return b"", orientation, notes_on_exif(path, exif)
        if not exif:
            return b"", orientation, ()
        picture = exif.get_ifd(EXIF[0])
        for tag in _SIZES:
            picture.pop(tag, None)
        return exif.tobytes(), orientation, ()
    except Exception:  # any bytes may be there
        return b"", None, (f"the EXIF of {path.name} is damaged; it is left out.",)


def _dpi(opened: ImageFile.ImageFile) -> tuple[float, float] | None:
    try:
        across, down = opened.info["dpi"]
        found = float(across), float(down)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return found if all(LEAST_DPI <= number <= 100_000 for number in found) else None


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


def _spread_key(opened: ImageFile.ImageFile, raw_modes: set[str]) -> None:
    """Spread the gray of a PNG that is transparent to 0..255, as Pillow does with its samples."""
    key = opened.info.get("transparency")
    for mode, factor in (("L;2", 85), ("L;4", 17)):
        if mode in raw_modes and isinstance(key, int):
            opened.info["transparency"] = key * factor


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


def _plain(path: Path, picture: Image.Image) -> tuple[NDArray[Any], Notes]:
    """(H, W, C) uint8 or uint16 of any Pillow picture."""
    mode, key = picture.mode, picture.info.get("transparency")
    if mode == "F":
        return unit_floats(path, np.asarray(picture))[..., None], ()
    if mode.startswith("I"):
        values, notes = narrowed(path, np.asarray(picture).astype(np.int64)[..., None])
        return (values if key is None else _keyed_out(values, key)), notes
    wanted = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA"}
    target = wanted.get(mode, "RGBA" if mode == "PA" else "RGB")
    if key is not None and target in ("L", "RGB"):
        target += "A"
    values = np.asarray(picture if mode == target else picture.convert(target))
    return (values[..., None] if values.ndim == 2 else values), ()
