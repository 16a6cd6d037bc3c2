"""From integers to the bytes of an image file, and which format holds what."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singleimage.errors import OutputError
from singleimage.images.png import deep_png
from singleimage.images.values import MODE_CHANNELS, MODES, Mode, to_pil
from singleimage.machine.files import followed, write_atomically


@dataclass(frozen=True)
class About:
    """What a file says of itself, in the words of its format."""

    profile: bytes = b""
    """Its ICC profile."""
    exif: bytes = b""
    """Its EXIF, without orientation and sizes."""
    dpi: tuple[float, float] | None = None
    """Pixels an inch, across and down."""


NOTHING = About()


def write_picture(
    path: Path, values: NDArray[Any], *, mode: Mode | None = None, about: About = NOTHING
) -> None:
    """Write a picture in the format of the suffix, losslessly but for JPEG; whole or not at all.

    Args:
        path: of the file; one that exists is replaced.
        values: (H, W, C) uint8 or uint16.
        mode: of the first channels, the others are further bands; None: after their number.
        about: what the file says of itself.

    Raises:
        OutputError: the format cannot hold the picture, or the file cannot be written.
    """
    mode = mode or MODES[values.shape[2]]
    bands = values.shape[2] - MODE_CHANNELS[mode]
    kind = format_for(path, mode, 16 if values.dtype == np.uint16 else 8, bands)
    try:
        encoded = _encoded(values, kind, mode, about)
    except (OSError, ValueError) as error:  # such as a side over the limit of the format
        raise OutputError(f"cannot write {path}: {error}; write .png.") from None
    write_atomically(followed(path), lambda stream: stream.write(encoded))


def write_indices(
    path: Path,
    indices: NDArray[Any],
    palette: tuple[tuple[int, ...], ...],
    *,
    opacity: bytes = b"",
    about: About = NOTHING,
) -> None:
    """Write a picture with a palette, PNG.

    Args:
        path: of the file; one that exists is replaced.
        indices: (H, W) uint8.
        palette: red, green and blue of each index, 0 to 255.
        opacity: of the first indices, 0 to 255; the rest is opaque.
        about: what else the file says.

    Raises:
        OutputError: the file cannot be written.
    """
    stream, picture = io.BytesIO(), to_pil(indices[..., None])
    picture.putpalette(bytes(number for color in palette for number in color))
    picture.save(stream, "PNG", **_said(about), **({"transparency": opacity} if opacity else {}))
    write_atomically(followed(path), lambda file: file.write(stream.getbuffer()))


def format_for(path: Path, mode: Mode, bits: int, bands: int = 0) -> str:
    """Find the format that a file is to have.

    Args:
        path: of the file.
        mode: of the picture.
        bits: of a channel.
        bands: further channels.

    Raises:
        OutputError: the suffix is of no image, or of a format that cannot hold the picture.
    """
    wanted = mode + (";16" if bits == 16 else "")
    suffix = path.suffix.lower()
    if suffix not in _HOLDS:
        raise OutputError(f"{path} has no suffix of an image; use .png, .jpg, .webp or .tiff.")
    kind, modes = _HOLDS[suffix]
    if bands and kind != "TIFF":
        raise OutputError(f"{path}: {kind} cannot hold further bands; write .tiff.")
    if wanted not in modes:
        raise OutputError(f"{path}: {kind} cannot hold {_words_for(wanted)}; write .png or .tiff.")
    return kind


_EIGHT = ("L", "LA", "RGB", "RGBA")
_SIXTEEN = ("L;16", "LA;16", "RGB;16", "RGBA;16")
_HOLDS: dict[str, tuple[str, tuple[str, ...]]] = {
    ".png": ("PNG", (*_EIGHT, *_SIXTEEN)),
    ".jpg": ("JPEG", ("L", "RGB")),
    ".jpeg": ("JPEG", ("L", "RGB")),
    ".webp": ("WEBP", _EIGHT),
    ".tif": ("TIFF", (*_EIGHT, *_SIXTEEN)),
    ".tiff": ("TIFF", (*_EIGHT, *_SIXTEEN)),
}
"""Suffixes that are written: the format, and what it holds."""


def _words_for(mode: str) -> str:
    kind, deep, _ = mode.partition(";")
    colors = {"L": "gray", "LA": "gray with alpha", "RGB": "color", "RGBA": "color with alpha"}
    return f"{'16-bit ' if deep else ''}{colors[kind]}"


def _encoded(values: NDArray[Any], kind: str, mode: Mode, about: About) -> memoryview:
    if kind == "TIFF":
        return _tiff(values, mode, about)
    if kind == "PNG" and values.dtype == np.uint16 and values.shape[2] > 1:
        return memoryview(deep_png(values, profile=about.profile, exif=about.exif, dpi=about.dpi))
    stream = io.BytesIO()
    by_format: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 95},
        "WEBP": {"lossless": True, "exact": True},  # exact: colors under full transparency too
    }
    to_pil(values).save(stream, kind, **by_format.get(kind, {}), **_said(about))
    return stream.getbuffer()


def _said(about: About) -> dict[str, Any]:
    """What Pillow is to say in a file beside the pixels."""
    given = {"icc_profile": about.profile, "exif": about.exif, "dpi": about.dpi}
    return {name: value for name, value in given.items() if value}


def _tiff(values: NDArray[Any], mode: Mode, about: About) -> memoryview:
    import tifffile

    stream = io.BytesIO()
    colors = 3 if mode.startswith("RGB") else 1
    extra = ["unassalpha"] * mode.endswith("A")
    extra += ["unspecified"] * (values.shape[2] - colors - len(extra))
    tifffile.imwrite(
        stream,
        values if values.shape[2] > 1 else values[..., 0],
        photometric="rgb" if colors == 3 else "minisblack",
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=extra or None,
        compression="zlib",
        metadata=None,
        iccprofile=about.profile or None,
        resolution=about.dpi,
        resolutionunit="INCH" if about.dpi else None,
    )
    return stream.getbuffer()
