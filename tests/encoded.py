"""Pictures of random integers, and files that Pillow and tifffile do not write."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from singleimage.images.photo import Photo
from singleimage.images.reader import read_photo

Array = NDArray[Any]


def noise(height: int, width: int, channels: int, *, bits: int = 8, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**bits, (height, width, channels))
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def integers(photo: Photo) -> Array:
    """The integers that the photo's state stands for, computed apart from the package.

    Colors under full transparency are those of the file, which the state does not tell.
    """
    top = photo.channels.white or (255 if photo.channels.bits == 8 else 65535)
    scaled = (photo.pixels[: photo.channels.picture].double() + 1) / 2 * top
    assert float((scaled - scaled.round()).abs().max()) < 0.01
    found = scaled.round().permute(1, 2, 0).numpy().astype(np.int64)
    if photo.channels.alpha is not None and photo.original is not None:
        hidden = found[..., photo.channels.alpha] == 0
        found[hidden] = photo.original.values[hidden]
    return found


def squeezed(values: Array) -> Array:
    return values[..., 0] if values.shape[2] == 1 else values


def save_png(path: Path, values: Array) -> Path:
    Image.fromarray(squeezed(values)).save(path)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def lzw(data: bytes) -> bytes:
    """LZW as TIFF has it, with the dictionary emptied before it grows."""
    codes = [256]
    for i in range(0, len(data), 200):
        codes += [*data[i : i + 200], 256]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def tiff_bytes(values: Array, *, order: str = "<", orientation: int = 1, extra: int = 2) -> bytes:
    """An LZW-compressed TIFF of (H, W, C) uint16, which tifffile cannot read by itself."""
    height, width, channels = values.shape
    strip = lzw(values.astype(f"{order}u2").tobytes())
    depths_at = 8 + len(strip)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, depths_at)]
    tags += [(259, 3, 1, 5), (262, 3, 1, 2 if channels > 2 else 1), (273, 4, 1, 8)]
    tags += [(274, 3, 1, orientation), (277, 3, 1, channels), (278, 4, 1, height)]
    tags += [(279, 4, 1, len(strip))]
    tags += [(338, 3, 1, extra)] if channels in (2, 4) else []
    pack = struct.Struct
    depths = pack(f"{order}{channels}H").pack(*[16] * channels)
    if channels <= 2:
        tags[2] = (258, 3, channels, int.from_bytes(depths.ljust(4, b"\0"), "little"))
    ifd = pack(f"{order}H").pack(len(tags))
    for tag, kind, count, value in tags:
        if kind == 3 and count == 1:
            ifd += pack(f"{order}HHIHH").pack(tag, kind, count, 16 if tag == 258 else value, 0)
        elif tag == 258 and channels == 2:
            ifd += pack(f"{order}HHI").pack(tag, kind, count) + depths
        else:
            ifd += pack(f"{order}HHII").pack(tag, kind, count, value)
    magic = b"II" if order == "<" else b"MM"
    start = pack(f"{order}HI").pack(42, depths_at + len(depths))
    return magic + start + strip + depths + ifd + b"\0" * 4


def with_mask(photo_path: Path, mask: Array) -> Photo:
    path = photo_path.with_name("mask.png")
    return read_photo(photo_path, masks=[save_png(path, np.atleast_3d(mask))])
