"""Files with a byte changed are read as they were, or refused; a PNG is never read as another."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from singleimage.errors import ImageError
from singleimage.images.decode import decode

NOISE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
SMOOTH = np.stack(np.indices((90, 120)) * 2 % 256, -1)[..., [0, 1, 0]].astype(np.uint8)
COUNTS = [60, pytest.param(1500, marks=pytest.mark.slow)]


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(values: np.ndarray, piece: int, *, interlaced: bool = False) -> bytes:
    """A PNG whose pixels are in chunks of so many bytes, as large ones are."""
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    data = stream.getvalue()
    at = data.index(b"IDAT")
    body = data[at + 4 : at + 4 + struct.unpack(">I", data[at - 4 : at])[0]]
    parts = [chunk(b"IDAT", body[i : i + piece]) for i in range(0, len(body), piece)]
    return data[: at - 4] + b"".join(parts) + chunk(b"IEND", b"")


def tiff(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values)
    return stream.getvalue()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("values", [NOISE, SMOOTH], ids=["noise", "smooth"])
def test_a_damaged_png_is_refused_or_the_same(values: np.ndarray, count: int) -> None:
    data, numbers = png(values, 500), random.Random(1)
    refused = 0
    for _ in range(count):
        changed = bytearray(data)
        changed[numbers.randrange(len(data))] = numbers.randrange(256)
        try:
            found = decode(Path("x.png"), bytes(changed)).values
        except ImageError:
            refused += 1
        else:
            assert np.array_equal(found, values)
    assert refused > 0.8 * count


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_damaged_header_of_a_deep_tiff_is_no_traceback(
    channels: int, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    deep = NOISE[:40, :50, :channels].astype(np.uint16) * 257
    data, numbers = tiff(deep[..., 0] if channels == 1 else deep), random.Random(1)
    first = struct.unpack("<I", data[4:8])[0]
    for _ in range(count):
        changed = bytearray(data)
        changed[numbers.randrange(first, first + 260)] = numbers.randrange(256)
        try:
            decode(Path("x.tif"), bytes(changed))
        except ImageError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
    assert capfd.readouterr().err == "", "what libtiff prints is kept from the user"


def test_interlaced_and_shallow_pngs_are_whole() -> None:
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        picture = Image.fromarray(NOISE).convert(mode)
        for size in ((1, 1), (3, 9), (120, 90)):
            stream = io.BytesIO()
            picture.crop((0, 0, *size)).save(stream, "PNG")
            decode(Path("x.png"), stream.getvalue())
