"""PNG beyond what Pillow does: whether a file holds all of its picture, and 16 bits of color.

Decoders are lenient, and leave missing rows black.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singleimage.errors import ImageError

PNG = b"\x89PNG\r\n\x1a\n"
"""How a file of that format begins."""
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel, by the color type."""
PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row, and steps between them, of the passes of an interlaced picture (PNG
specification, section 8.2)."""
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
"""Chunks that say nothing of the pixels."""
LONGEST = 1 << 26
"""Bytes of a color profile, at most."""
PIECE = 1 << 20
"""Bytes that are unpacked at once."""


def require_whole(path: Path, data: bytes) -> None:
    """Check that the compressed pixels of a PNG are as many as its header says, and undamaged.

    Args:
        path: for the message.
        data: bytes of the file.

    Raises:
        ImageError: they are not.
    """
    header = data[16:29]
    if len(header) < 13 or data[12:16] != b"IHDR":
        return  # the decoder says it better
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if color not in SAMPLES or interlaced > 1:
        return
    wanted = _size(width, height, depth * SAMPLES[color], interlaced == 1)
    unpacker, found = zlib.decompressobj(), 0
    try:
        for packed in _pixels(data):
            while packed:
                found += len(unpacker.decompress(packed, PIECE))
                packed = unpacker.unconsumed_tail
                if found > wanted:
                    break
    except zlib.error as error:
        raise ImageError(f"{path} is damaged: {error}; export the image again.") from None
    if found < wanted or not unpacker.eof:
        raise ImageError(
            f"{path} is damaged: its pixels end after {found} of {wanted} bytes; export the image "
            f"again."
        )


def without_texts(data: bytes) -> tuple[bytes, bytes]:
    """Take the texts and the color profile out of a PNG, which decoders refuse where they are long.

    Args:
        data: bytes of the file.

    Returns:
        The bytes of one without them, and the profile.
    """
    kept, profile = [PNG], b""
    place, end = len(PNG), len(PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        end = place + length + 12
        if kind == b"iCCP":
            profile = _profile(data[place + 8 : end - 4])
        elif kind not in TEXTS:
            kept.append(data[place:end])
        place = end
        if kind == b"IEND":
            break
    return b"".join([*kept, data[place:]]), profile


def _profile(chunk: bytes) -> bytes:
    """The profile in a chunk; nothing where it is damaged or over `LONGEST`."""
    packed = chunk[chunk.find(b"\0") + 2 :]
    try:
        unpacker = zlib.decompressobj()
        found = unpacker.decompress(packed, LONGEST)
    except zlib.error:
        return b""
    return found if unpacker.eof else b""


def _pixels(data: bytes) -> Iterator[bytes]:
    """The contents of the chunks that hold compressed pixels."""
    place = len(PNG)
    while place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"IDAT":
            end = place + 8 + length
            if data[end : end + 4] != struct.pack(">I", zlib.crc32(data[place + 4 : end])):
                raise zlib.error("the checksum of its pixels is wrong")
            yield data[place + 8 : end]
        elif kind == b"IEND":
            return
        place += length + 12


def _size(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Bytes of all rows, each with its filter."""
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def deep_png(
    values: NDArray[Any], *, profile: bytes, exif: bytes, dpi: tuple[float, float] | None
) -> bytes:
    """Encode a picture of 16 bits a channel.

    Args:
        values: (H, W, C) uint16 of gray, gray and alpha, RGB or RGBA.
        profile: ICC profile to embed; empty: none.
        exif: to embed; empty: none.
        dpi: pixels an inch, across and down.
    """
    height, width, channels = values.shape
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = np.ascontiguousarray(values.astype(">u2")).view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)  # filter 2: minus the row above
    filtered[:, 1:] = rows
    filtered[1:, 1:] -= rows[:-1]
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0))]
    if profile:
        parts.append(_chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile)))
    if dpi is not None:
        a_meter = [round(number / 0.0254) for number in dpi]
        parts.append(_chunk(b"pHYs", struct.pack(">IIB", *a_meter, 1)))
    if exif:
        parts.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    parts.append(_chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6)))
    return b"".join([PNG, *parts, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc
