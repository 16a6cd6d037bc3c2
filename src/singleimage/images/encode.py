"""From integers to the bytes of an image file, and which format holds what."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singleimage.errors import OutputError
from singleimage.images.values import MODES, Mode, to_pil
from singleimage.machine.files import write_atomically


def write_picture(path: Path, values: NDArray[Any]) -> None:
    """Write a picture in the format of the suffix, losslessly but for JPEG; whole or not at all.

    Args:
        path: of the file; one that exists is replaced.
        values: (H, W, C) uint8 or uint16.

    Raises:
        OutputError: the format cannot hold the picture, or the file cannot be written.
    """
    kind = format_for(path, MODES[values.shape[2]], 16 if values.dtype == np.uint16 else 8)
    try:
        encoded = _encoded(values, kind)
    except (OSError, ValueError) as error:  # such as a side over the limit of the format
        raise OutputError(f"cannot write {path}: {error}; write .png.") from None
    write_atomically(path, lambda stream: stream.write(encoded))


def format_for(path: Path, mode: Mode, bits: int) -> str:
    """Find the format that a file is to have.

    Args:
        path: of the file.
        mode: of the picture.
        bits: of a channel.

    Raises:
        OutputError: the suffix is of no image, or of a format that cannot hold the picture.
    """
    wanted = mode + (";16" if bits == 16 else "")
    suffix = path.suffix.lower()
    if suffix not in _HOLDS:
        raise OutputError(f"{path} has no suffix of an image; use .png, .jpg, .webp or .tiff.")
    kind, modes = _HOLDS[suffix]
    if wanted not in modes:
        raise OutputError(
            f"{path}: {kind} cannot hold {_words_for(wanted)}; write "
            f"{' or '.join(s for s in ('.png', '.tiff') if wanted in _HOLDS[s][1])}."
        )
    return kind


_EIGHT = ("L", "LA", "RGB", "RGBA")
_SIXTEEN = ("L;16", "LA;16", "RGB;16", "RGBA;16")
_HOLDS: dict[str, tuple[str, tuple[str, ...]]] = {
    ".png": ("PNG", (*_EIGHT, "L;16")),
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


def _encoded(values: NDArray[Any], kind: str) -> memoryview:
    stream = io.BytesIO()
    if kind == "TIFF":
        import tifffile

        tifffile.imwrite(
            stream,
            values if values.shape[2] > 1 else values[..., 0],
            photometric="rgb" if values.shape[2] > 2 else "minisblack",
            planarconfig="contig" if values.shape[2] > 1 else None,
            extrasamples=["unassalpha"] if values.shape[2] in (2, 4) else None,
            compression="zlib",
            metadata=None,
        )
        return stream.getbuffer()
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 95},
        "WEBP": {"lossless": True, "exact": True},  # exact: colors under full transparency too
    }
    to_pil(values).save(stream, kind, **options.get(kind, {}))
    return stream.getbuffer()
