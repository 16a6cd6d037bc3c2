"""Whether a PNG holds all of its picture: decoders are lenient, and leave missing rows black."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

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
