"""Image files in, image files out: what is stored is read, and what was read is written back."""

import errno
import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from singleimage.errors import ImageError, OutputError
from singleimage.images import decode as imagefile
from singleimage.images.decode import PIXEL_LIMIT
from singleimage.images.photo import (
    LABEL_LIMIT,
    Channels,
    Photo,
    read_photo,
    require_texture,
)
from singleimage.images.sheet import png_bytes, save_sheet, sheet
from singleimage.images.values import MODE_CHANNELS
from singleimage.machine.files import make_folder, write_atomically
from singleimage.multiscale.geometry import Size

Array = NDArray[Any]
quick = settings(max_examples=25, deadline=None, derandomize=True)
UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda v: v,
    2: lambda v: v[:, ::-1],
    3: lambda v: np.rot90(v, 2),
    4: lambda v: v[::-1],
    5: lambda v: v.swapaxes(0, 1),
    6: lambda v: np.rot90(v, -1),
    7: lambda v: np.rot90(v, 2).swapaxes(0, 1),
    8: lambda v: np.rot90(v, 1),
}
"""What the EXIF standard asks a viewer to do with each orientation."""


def noise(height: int, width: int, channels: int, *, bits: int = 8, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**bits, (height, width, channels))
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def integers(photo: Photo) -> Array:
    """The integers that the photo's state stands for, computed apart from the package."""
    top = 255 if photo.channels.bits == 8 else 65535
    scaled = (photo.pixels[: MODE_CHANNELS[photo.channels.mode]].double() + 1) / 2 * top
    assert float((scaled - scaled.round()).abs().max()) < 0.01
    return scaled.round().permute(1, 2, 0).numpy().astype(np.int64)


def squeezed(values: Array) -> Array:
    return values[..., 0] if values.shape[2] == 1 else values


def save_png(path: Path, values: Array) -> Path:
    Image.fromarray(squeezed(values)).save(path)
    return path


# Files that Pillow and tifffile do not write -----------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(rows: Array, pixel: int) -> bytes:
    """PNG rows (h, n) of bytes, `pixel` bytes a pixel, with all five filters in turn."""
    lines = []
    above = np.zeros(rows.shape[1], np.int64)
    for i, row in enumerate(rows.astype(np.int64)):
        left, corner = (np.concatenate([np.zeros(pixel, int), r])[: len(row)] for r in (row, above))
        p = left + above - corner
        gaps = np.abs(np.stack([p - left, p - above, p - corner]))
        paeth = np.choose(gaps.argmin(axis=0), [left, above, corner])
        guess = (0 * row, left, above, (left + above) // 2, paeth)[i % 5]
        lines.append(bytes([i % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes())
        above = row
    return b"".join(lines)


def encoded_png(values: Array, *, interlaced: bool = False, before: bytes = b"") -> bytes:
    """A PNG file of (H, W, C) uint8 or uint16; `before`: chunks before the pixels."""
    height, width, channels = values.shape
    depth = values.itemsize
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
        passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x, y, dx, dy in passes:
        part = np.ascontiguousarray(values[y::dy, x::dx].astype(f">u{depth}"))
        if part.size:
            rows = part.view(np.uint8).reshape(part.shape[0], -1)
            raw += filtered(rows, channels * depth)
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, depth * 8, color, 0, 0, int(interlaced))
    signature = b"\x89PNG\r\n\x1a\n"
    pixels = chunk(b"IDAT", zlib.compress(raw))
    return signature + chunk(b"IHDR", header) + before + pixels + chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    return b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HHI", orientation, 0, 0)


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


# Reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".bmp", ".ppm"])
def test_lossless_formats_give_the_integers_that_were_stored(suffix: str, tmp_path: Path) -> None:
    values = noise(11, 13, 3)
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(values).save(tmp_path / f"x{suffix}", **options)
    photo = read_photo(tmp_path / f"x{suffix}")
    assert photo.channels == Channels(mode="RGB")
    assert photo.size == Size(11, 13)
    assert photo.notes == ()
    np.testing.assert_array_equal(integers(photo), values)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_gives_what_pillow_decodes(mode: str, tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30, 3)).convert(mode).save(tmp_path / "x.jpg")
    photo = read_photo(tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as opened:
        expected = np.atleast_3d(np.asarray(opened))
    assert photo.channels.mode == mode
    np.testing.assert_array_equal(integers(photo), expected)


@pytest.mark.parametrize("mode", MODE_CHANNELS)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_gray_and_alpha_stay_what_they_are(mode: Any, suffix: str, tmp_path: Path) -> None:
    values = noise(9, 7, MODE_CHANNELS[mode])
    Image.fromarray(squeezed(values)).save(tmp_path / f"x{suffix}")
    photo = read_photo(tmp_path / f"x{suffix}")
    assert photo.channels == Channels(mode=mode)
    np.testing.assert_array_equal(integers(photo), values)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("bits", [8, 16])
def test_alpha_that_is_opaque_everywhere_is_left_out(mode: Any, bits: int, tmp_path: Path) -> None:
    values = noise(9, 7, MODE_CHANNELS[mode], bits=bits)
    for least, kept in ((2**bits - 1, mode[:-1]), (2**bits - 2, mode)):
        values[..., -1] = 2**bits - 1
        values[0, 0, -1] = least
        tifffile.imwrite(tmp_path / "x.tif", values, extrasamples=["unassalpha"])
        photo = read_photo(tmp_path / "x.tif")
        assert photo.channels.mode == kept
        assert any("opaque" in note for note in photo.notes) == (kept != mode)


@pytest.mark.parametrize("bits", [8, 16])
def test_zero_is_minus_one_and_the_maximum_is_one(bits: int, tmp_path: Path) -> None:
    values = noise(4, 5, 1, bits=bits)
    values[0, 0], values[1, 1] = 0, 2**bits - 1
    pixels = read_photo(save_png(tmp_path / "x.png", values)).pixels
    assert pixels.dtype == torch.float32
    assert pixels.shape == (1, 4, 5)
    assert float(pixels[0, 0, 0]) == -1.0
    assert float(pixels[0, 1, 1]) == 1.0


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    values = noise(9, 10, 1) // 128 * 255
    Image.fromarray(squeezed(values)).convert("1").save(tmp_path / "x.png")
    photo = read_photo(tmp_path / "x.png")
    assert photo.channels == Channels(mode="L")
    np.testing.assert_array_equal(integers(photo), values)


def test_a_palette_becomes_its_colors(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(12, 12, 3)).quantize(16)
    picture.save(tmp_path / "x.png")
    photo = read_photo(tmp_path / "x.png")
    assert photo.channels.mode == "RGB"
    np.testing.assert_array_equal(integers(photo), np.asarray(picture.convert("RGB")))


def test_a_palette_with_transparency_becomes_rgba(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(12, 12, 3)).quantize(16)
    picture.save(tmp_path / "x.png", transparency=3)
    photo = read_photo(tmp_path / "x.png")
    assert photo.channels.mode == "RGBA"
    opaque = np.where(np.asarray(picture) == 3, 0, 255)
    np.testing.assert_array_equal(integers(photo)[..., 3], opaque)


@pytest.mark.parametrize(("channels", "mode"), [(1, "LA"), (3, "RGBA")])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_color_becomes_alpha(
    channels: int, mode: str, bits: int, tmp_path: Path
) -> None:
    values = noise(6, 8, channels, bits=bits)
    key = values[2, 3]
    chunks = chunk(b"tRNS", b"".join(int(v).to_bytes(2, "big") for v in key))
    (tmp_path / "x.png").write_bytes(encoded_png(values, before=chunks))
    photo = read_photo(tmp_path / "x.png")
    assert (photo.channels.mode, photo.channels.bits) == (mode, bits)
    opaque = np.where((values == key).all(axis=2), 0, 2**bits - 1)
    np.testing.assert_array_equal(integers(photo), np.dstack([values, opaque]))


def test_cmyk_becomes_rgb_with_a_note(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(16, 16, 3)).convert("CMYK")
    picture.save(tmp_path / "x.tiff")
    photo = read_photo(tmp_path / "x.tiff")
    assert photo.channels.mode == "RGB"
    assert photo.notes == ("x.tiff has CMYK colors; they are converted to RGB.",)
    np.testing.assert_array_equal(integers(photo), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tiff"])
def test_the_first_frame_of_many_is_read_with_a_note(suffix: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(10, 12, 3, seed=i)).quantize(8) for i in range(3)]
    if suffix != ".gif":
        frames = [frame.convert("RGB") for frame in frames]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"x{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    photo = read_photo(path)
    assert photo.notes == (f"{path.name} has 3 frames; the first is used.",)
    first = np.asarray(frames[0].convert(photo.channels.mode))
    np.testing.assert_array_equal(integers(photo), first)


def test_the_first_page_of_a_deep_tiff_is_read_with_a_note(tmp_path: Path) -> None:
    pages = noise(5, 8, 9, bits=16)
    tifffile.imwrite(tmp_path / "x.tiff", pages, photometric="minisblack")
    photo = read_photo(tmp_path / "x.tiff")
    assert photo.notes == ("x.tiff has 5 frames; the first is used.",)
    np.testing.assert_array_equal(integers(photo)[..., 0], pages[0])


# Sixteen bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODE_CHANNELS)
@pytest.mark.parametrize("interlaced", [False, True], ids=["plain", "interlaced"])
def test_png_keeps_sixteen_bits(mode: Any, interlaced: bool, tmp_path: Path) -> None:
    values = noise(21, 19, MODE_CHANNELS[mode], bits=16)
    (tmp_path / "x.png").write_bytes(encoded_png(values, interlaced=interlaced))
    photo = read_photo(tmp_path / "x.png")
    assert photo.channels == Channels(mode=mode, bits=16)
    assert photo.notes == ()
    np.testing.assert_array_equal(integers(photo), values)


@pytest.mark.parametrize("mode", MODE_CHANNELS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True, "byteorder": ">"},
        {"tile": (16, 16)},
        {"planarconfig": "separate"},
    ],
    ids=str,
)
def test_tiff_keeps_sixteen_bits(mode: Any, options: dict[str, Any], tmp_path: Path) -> None:
    values = noise(20, 30, MODE_CHANNELS[mode], bits=16)
    stored = squeezed(values)
    if "planarconfig" in options:
        stored = np.ascontiguousarray(np.moveaxis(values, -1, 0)) if values.shape[2] > 1 else stored
    if values.shape[2] > 1:
        options = {"planarconfig": "contig", **options}
    else:
        options = {k: v for k, v in options.items() if k != "planarconfig"}
    photometric = "rgb" if values.shape[2] > 2 else "minisblack"
    extra = ["unassalpha"] if values.shape[2] in (2, 4) else None
    tifffile.imwrite(
        tmp_path / "x.tif", stored, photometric=photometric, extrasamples=extra, **options
    )
    photo = read_photo(tmp_path / "x.tif")
    assert photo.channels == Channels(mode=mode, bits=16)
    assert photo.notes == ()
    np.testing.assert_array_equal(integers(photo), values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_compression_that_tifffile_lacks_keeps_sixteen_bits(
    order: str, mode: str, tmp_path: Path
) -> None:
    values = noise(9, 14, {"L": 1, "RGB": 3, "RGBA": 4}[mode], bits=16)
    (tmp_path / "x.tif").write_bytes(tiff_bytes(values, order=order))
    photo = read_photo(tmp_path / "x.tif")
    assert (photo.channels.mode, photo.channels.bits) == (mode, 16)
    assert photo.notes == ()
    np.testing.assert_array_equal(integers(photo), values)


def test_a_fourth_channel_that_means_nothing_is_left_out(tmp_path: Path) -> None:
    values = noise(9, 14, 4, bits=16)
    (tmp_path / "x.tif").write_bytes(tiff_bytes(values, extra=0))
    np.testing.assert_array_equal(integers(read_photo(tmp_path / "x.tif")), values[..., :3])


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_color_that_cannot_be_read_deep_is_read_with_8_bits_and_a_note(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(data: bytes, raw_mode: str) -> Array:
        raise AttributeError("tile")

    values = noise(9, 14, 3, bits=16)
    data = encoded_png(values) if kind == "png" else tiff_bytes(values)
    (tmp_path / f"x.{kind}").write_bytes(data)
    monkeypatch.setattr(imagefile, "_with_raw_mode", changed)
    photo = read_photo(tmp_path / f"x.{kind}")
    assert photo.channels == Channels(mode="RGB", bits=8)
    assert photo.notes == (f"x.{kind} has 16 bits a channel; 8 of them are used.",)
    np.testing.assert_array_equal(integers(photo), values // 256)


def test_color_that_pillow_decodes_in_another_way_is_read_with_8_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = noise(9, 14, 3, bits=16)
    (tmp_path / "x.png").write_bytes(encoded_png(values))
    wrong = np.zeros((9, 14, 3), np.uint8)
    monkeypatch.setattr(imagefile, "_with_raw_mode", lambda data, raw_mode: wrong)
    assert read_photo(tmp_path / "x.png").channels.bits == 8


def test_deep_color_in_formats_read_with_8_bits_is_noted(tmp_path: Path) -> None:
    values = noise(4, 5, 3, bits=16)
    (tmp_path / "x.ppm").write_bytes(b"P6 5 4 65535\n" + values.astype(">u2").tobytes())
    tifffile.imwrite(
        tmp_path / "x.tif", noise(4, 5, 4, bits=16), photometric="separated", planarconfig="contig"
    )
    for name in ("x.ppm", "x.tif"):
        photo = read_photo(tmp_path / name)
        assert photo.channels == Channels(mode="RGB", bits=8)
        assert photo.notes == (f"{name} has 16 bits a channel; 8 of them are used.",)


def test_white_is_zero_where_a_tiff_says_so(tmp_path: Path) -> None:
    values = noise(9, 14, 1, bits=16)
    tifffile.imwrite(tmp_path / "x.tif", squeezed(65535 - values), photometric="miniswhite")
    np.testing.assert_array_equal(integers(read_photo(tmp_path / "x.tif")), values)


def test_premultiplied_alpha_is_divided_out(tmp_path: Path) -> None:
    color, alpha = noise(9, 14, 3, bits=16), noise(9, 14, 1, bits=16) | 0x8000
    stored = np.dstack([np.round(color * (alpha / 65535)), alpha]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    found = integers(read_photo(tmp_path / "x.tif"))
    np.testing.assert_array_equal(found[..., 3:], alpha)
    assert np.abs(found[..., :3] - color.astype(int)).max() <= 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_in_0_to_1_become_sixteen_bits(dtype: Any, channels: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((8, 9, channels)).astype(dtype)
    values[0, 0], values[0, 1] = 0, 1
    photometric = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "x.tif", squeezed(values), photometric=photometric)
    photo = read_photo(tmp_path / "x.tif")
    assert photo.channels.bits == 16
    expected = np.round(values.astype(np.float64) * 65535)
    np.testing.assert_array_equal(integers(photo), expected)


def test_integers_of_32_bits_are_read_where_they_fit_16(tmp_path: Path) -> None:
    values = noise(6, 7, 1, bits=16)
    Image.fromarray(squeezed(values).astype(np.int32)).save(tmp_path / "x.pgm")
    np.testing.assert_array_equal(integers(read_photo(tmp_path / "x.pgm")), values)


# Orientation -------------------------------------------------------------------------------------


def oriented(kind: str, values: Array, orientation: int) -> bytes:
    stream = io.BytesIO()
    if kind == "png 16 bits":
        return encoded_png(values, before=chunk(b"eXIf", exif(orientation)))
    if kind == "tiff 16 bits, lzw":
        return tiff_bytes(values, orientation=orientation)
    if kind == "tiff 16 bits":
        tag = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(stream, values, photometric="rgb", extratags=tag)
        return stream.getvalue()
    format_, options = {
        "png": ("PNG", {}),
        "webp": ("WEBP", {"lossless": True}),
        "jpeg": ("JPEG", {"quality": 95}),
        "tiff": ("TIFF", {}),
        "tiff, lzw": ("TIFF", {"compression": "tiff_lzw"}),
    }[kind]
    notes = Image.Exif()
    notes[274] = orientation
    Image.fromarray(values).save(stream, format_, exif=notes, **options)
    return stream.getvalue()


KINDS = ["png", "webp", "jpeg", "tiff", "tiff, lzw"]
DEEP_KINDS = ["png 16 bits", "tiff 16 bits", "tiff 16 bits, lzw"]


@pytest.mark.parametrize("kind", [*KINDS, *DEEP_KINDS])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_upright(kind: str, orientation: int, tmp_path: Path) -> None:
    values = noise(16, 24, 3, bits=16 if "16" in kind else 8)
    (tmp_path / "x").write_bytes(oriented(kind, values, orientation))
    if kind == "jpeg":
        with Image.open(tmp_path / "x") as opened:
            values = np.asarray(opened)
    found = read_photo(tmp_path / "x")
    assert found.channels.bits == (16 if "16" in kind else 8)
    np.testing.assert_array_equal(integers(found), UPRIGHT[orientation](values))


def test_the_orientations_are_those_of_pillow() -> None:
    values = noise(4, 6, 3)
    for orientation, upright in UPRIGHT.items():
        picture = Image.fromarray(values)
        picture.getexif()[274] = orientation
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(picture)), upright(values))


def test_an_orientation_out_of_range_is_upright(tmp_path: Path) -> None:
    values = noise(5, 6, 3, bits=16)
    (tmp_path / "x.png").write_bytes(oriented("png 16 bits", values, 9))
    np.testing.assert_array_equal(integers(read_photo(tmp_path / "x.png")), values)


# Masks -------------------------------------------------------------------------------------------


@pytest.fixture
def photo_path(tmp_path: Path) -> Path:
    return save_png(tmp_path / "photo.png", noise(10, 12, 3))


def with_mask(photo_path: Path, mask: Array) -> Photo:
    path = photo_path.with_name("mask.png")
    return read_photo(photo_path, masks=[save_png(path, np.atleast_3d(mask))])


def saved_mask(photo: Photo, tmp_path: Path) -> Array:
    _, path = photo.save(tmp_path / "saved.png", overwrite=True)
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_a_binary_mask_is_a_channel_of_minus_one_and_one(photo_path: Path) -> None:
    mask = noise(10, 12, 1)[..., 0] // 128 * 255
    photo = with_mask(photo_path, mask)
    assert photo.channels == Channels(mode="RGB", masks=((0, 255),))
    assert photo.pixels.shape == (4, 10, 12)
    np.testing.assert_array_equal(photo.pixels[3].numpy(), np.where(mask, 1, -1))


def test_labels_are_spaced_evenly_whatever_their_values(photo_path: Path) -> None:
    mask = np.random.default_rng(0).choice([0, 1, 7, 30, 31], (10, 12)).astype(np.uint8)
    photo = with_mask(photo_path, mask)
    assert photo.channels.masks == ((0, 1, 7, 30, 31),)
    ranks = np.searchsorted([0, 1, 7, 30, 31], mask)
    np.testing.assert_array_equal(photo.pixels[3].numpy(), ranks / 2 - 1)


def test_the_indices_of_a_palette_are_the_labels(photo_path: Path, tmp_path: Path) -> None:
    indices = np.random.default_rng(0).integers(0, 5, (10, 12)).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(noise(1, 5, 3).tobytes())
    notes = Image.Exif()
    notes[274] = 3
    picture.save(tmp_path / "labels.png", exif=notes)
    photo = read_photo(photo_path, masks=[tmp_path / "labels.png"])
    assert photo.channels.masks == ((0, 1, 2, 3, 4),)
    np.testing.assert_array_equal(saved_mask(photo, tmp_path), np.rot90(indices, 2))


@pytest.mark.parametrize("labels", [(0, 1, 2), (0, 65535), (3, 500, 40000)])
def test_labels_of_16_bits_are_kept(
    labels: tuple[int, ...], photo_path: Path, tmp_path: Path
) -> None:
    mask = np.random.default_rng(0).choice(labels, (10, 12)).astype(np.uint16)
    photo = with_mask(photo_path, mask)
    assert photo.channels.masks == (labels,)
    np.testing.assert_array_equal(saved_mask(photo, tmp_path), mask)


def test_more_values_than_labels_make_a_continuous_mask(photo_path: Path, tmp_path: Path) -> None:
    few = np.resize(np.arange(LABEL_LIMIT), (10, 12)).astype(np.uint8) * 8
    many = np.resize(np.arange(LABEL_LIMIT + 1), (10, 12)).astype(np.uint8) * 7
    assert with_mask(photo_path, few).channels.masks == (tuple(range(0, 256, 8)),)
    photo = with_mask(photo_path, many)
    assert photo.channels.masks == ((),)
    np.testing.assert_allclose(photo.pixels[3].numpy(), many / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(saved_mask(photo, tmp_path), many)


def test_a_continuous_mask_of_16_bits_is_written_with_8(photo_path: Path, tmp_path: Path) -> None:
    mask = noise(10, 12, 1, bits=16)[..., 0]
    photo = with_mask(photo_path, mask)
    np.testing.assert_allclose(photo.pixels[3].numpy(), mask / 32767.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(saved_mask(photo, tmp_path), np.round(mask / 257))


def test_saved_masks_hold_the_nearest_label(tmp_path: Path) -> None:
    row = torch.tensor([[-1.4, -0.9, -0.51, -0.49, 0.2, 0.51, 0.8, 1.5]])
    photo = Photo(torch.stack([row, row]), Channels(mode="L", masks=((0, 5, 200),)))
    assert saved_mask(photo, tmp_path).tolist() == [[0, 0, 0, 5, 5, 200, 200, 200]]


def test_each_mask_is_a_channel_and_a_file(photo_path: Path, tmp_path: Path) -> None:
    masks = [noise(10, 12, 1, seed=i) // 128 * (i + 1) for i in range(3)]
    paths = [save_png(tmp_path / f"m{i}.png", mask) for i, mask in enumerate(masks)]
    photo = read_photo(photo_path, masks=paths)
    assert photo.channels.count == 6
    files = photo.save(tmp_path / "x.png")
    assert [f.name for f in files] == ["x.png", "x_mask.png", "x_mask2.png", "x_mask3.png"]
    assert files == photo.channels.files(tmp_path / "x.png")
    for path, mask in zip(files[1:], masks, strict=True):
        with Image.open(path) as opened:
            np.testing.assert_array_equal(np.asarray(opened), mask[..., 0])


def test_a_gray_mask_may_have_three_equal_channels(photo_path: Path) -> None:
    mask = noise(10, 12, 1) // 128 * 255
    expected = with_mask(photo_path, mask).pixels
    assert torch.equal(with_mask(photo_path, np.dstack([mask] * 3)).pixels, expected)


def test_the_alpha_of_a_mask_is_not_used_and_noted(photo_path: Path) -> None:
    mask = noise(10, 12, 1) // 128 * 255
    photo = with_mask(photo_path, np.dstack([mask] * 3 + [noise(10, 12, 1)]))
    assert torch.equal(photo.pixels, with_mask(photo_path, mask).pixels)
    assert photo.notes == ("the alpha of the mask mask.png is not used.",)


def test_a_mask_of_one_value_is_noted(photo_path: Path, tmp_path: Path) -> None:
    photo = with_mask(photo_path, np.full((10, 12), 7, np.uint8))
    assert photo.notes == ("the mask mask.png has the value 7 everywhere.",)
    assert saved_mask(photo, tmp_path).tolist() == [[7] * 12] * 10


def test_a_mask_of_another_size_is_refused(photo_path: Path) -> None:
    with pytest.raises(ImageError, match=r"mask\.png is 10x11, the image 10x12; crop or resize"):
        with_mask(photo_path, noise(10, 11, 1))


def test_a_mask_with_colors_is_refused(photo_path: Path) -> None:
    with pytest.raises(ImageError, match="has colors; save it as grayscale or with a palette"):
        with_mask(photo_path, noise(10, 12, 3))


def test_the_digest_covers_the_masks(photo_path: Path, tmp_path: Path) -> None:
    one = save_png(tmp_path / "one.png", noise(10, 12, 1, seed=1))
    two = save_png(tmp_path / "two.png", noise(10, 12, 1, seed=2))
    lists = [[], [one], [two], [one, two], [two, one]]
    digests = [read_photo(photo_path, masks=masks).sha256 for masks in lists]
    assert digests[0] == hashlib.sha256(photo_path.read_bytes()).hexdigest()
    assert len(set(digests)) == len(lists)
    assert digests[3] == read_photo(photo_path, masks=[one, two]).sha256


# Refusals ----------------------------------------------------------------------------------------


def test_pictures_over_the_limit_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    height, width = 9000, PIXEL_LIMIT // 9000 + 1
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"is 9000x8889; the limit is 80 megapixels\. Reduce"):
        read_photo(tmp_path / "x.png")
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        tiff.write(
            iter([b"\0"] * height),
            shape=(height, width),
            dtype="uint16",
            rowsperstrip=1,
            compression="zlib",
        )
    with pytest.raises(ImageError, match="the limit is 80 megapixels"):
        read_photo(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((8, 9), np.uint32), "stores 32-bit uint32 samples; save it with 8 or 16 bits"),
        (np.zeros((8, 9), np.int16), "stores 16-bit int16 samples"),
        (np.zeros((8, 9, 5), np.uint16), "has 5 channels; 1 to 4 can be read"),
        (np.full((8, 9), np.nan, np.float32), "holds 72 values that are NaN or infinite"),
        (np.full((8, 9), 1.5, np.float32), "holds floats from 1.5 to 1.5; scale them to 0..1"),
    ],
)
def test_a_tiff_whose_values_do_not_fit_is_refused(
    values: Array, message: str, tmp_path: Path
) -> None:
    contig = {"planarconfig": "contig"} if values.ndim == 3 else {}
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack", **contig)
    with pytest.raises(ImageError, match=message):
        read_photo(tmp_path / "x.tif")


def test_a_volume_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "x.tif", noise(16, 16, 16, bits=16), volumetric=True, tile=(16, 16, 16)
    )
    with pytest.raises(ImageError, match="is a volume, not a picture; save one slice"):
        read_photo(tmp_path / "x.tif")


def test_a_tiff_that_nothing_here_reads_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(tiff_bytes(noise(9, 14, 2, bits=16)))
    with pytest.raises(ImageError, match="compression or channels that cannot be read; save it"):
        read_photo(tmp_path / "x.tif")


def test_32_bit_values_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="32-bit"):
        read_photo(tmp_path / "x.tif")


def test_postscript_is_not_handed_to_an_interpreter(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "x.eps")
    with pytest.raises(ImageError, match="not an image in a known format; use JPEG, PNG"):
        read_photo(tmp_path / "x.eps")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "TIFF, LZW", "TIFF, 16"])
def test_a_file_cut_short_is_refused_in_silence(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = io.BytesIO()
    options = {"compression": "tiff_lzw"} if kind == "TIFF, LZW" else {}
    if kind == "TIFF, 16":
        tifffile.imwrite(stream, noise(24, 24, 3, bits=16), photometric="rgb", compression="zlib")
    else:
        Image.fromarray(noise(24, 24, 3)).save(stream, kind.split(",")[0], **options)
    data = stream.getvalue()
    errors = []
    for length in range(1, len(data), max(1, len(data) // 30)):
        (tmp_path / "x").write_bytes(data[:length])
        try:
            read_photo(tmp_path / "x")
        except ImageError as error:
            errors.append(str(error))
    assert len(errors) > 20
    assert all(error.startswith(str(tmp_path / "x")) for error in errors)
    assert capfd.readouterr().err == ""


def test_memory_that_runs_out_is_not_taken_for_damage(
    photo_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", full)
    with pytest.raises(MemoryError):
        read_photo(photo_path)


def test_one_color_is_refused_even_with_a_mask(tmp_path: Path) -> None:
    path = save_png(tmp_path / "x.png", np.full((10, 12, 4), 255, np.uint8))
    mask = save_png(tmp_path / "m.png", noise(10, 12, 1))
    with pytest.raises(ImageError, match="every pixel of the image has the same color"):
        require_texture(read_photo(path, masks=[mask]))


def test_a_shape_in_alpha_alone_is_something_to_learn(tmp_path: Path) -> None:
    values = np.full((10, 12, 4), 255, np.uint8)
    values[3:5, 3:5, 3] = 0
    photo = read_photo(save_png(tmp_path / "x.png", values))
    assert require_texture(photo) is photo


# Writing -----------------------------------------------------------------------------------------


@quick
@given(
    mode=st.sampled_from(list(MODE_CHANNELS)),
    bits=st.sampled_from([8, 16]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    suffix=st.sampled_from(["", ".tif", ".tiff"]),
)
def test_what_is_saved_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    mode: Any,
    bits: Any,
    height: int,
    width: int,
    seed: int,
    suffix: str,
) -> None:
    channels = Channels(mode=mode, bits=bits)
    values = noise(height, width, MODE_CHANNELS[mode], bits=bits, seed=seed)
    pixels = torch.from_numpy(values.astype(np.float64).transpose(2, 0, 1)) / (2**bits - 1) * 2 - 1
    path = tmp_path_factory.mktemp("saved") / f"x{suffix or channels.suffix}"
    assert Photo(pixels.float(), channels).save(path) == [path]
    found = read_photo(path)
    assert found.channels == channels
    assert found.notes == ()
    np.testing.assert_array_equal(integers(found), values)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".webp"])
def test_every_lossless_suffix_keeps_the_colors_under_full_transparency(
    suffix: str, tmp_path: Path
) -> None:
    values = noise(9, 10, 4)
    values[2:7, 2:7, 3] = 0
    photo = read_photo(save_png(tmp_path / "a.png", values))
    photo.save(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(integers(read_photo(tmp_path / f"b{suffix}")), values)


def test_the_suffix_is_that_of_a_format_that_holds_the_bits() -> None:
    assert [Channels(mode=m).suffix for m in MODE_CHANNELS] == [".png"] * 4
    deep = [Channels(mode=m, bits=16).suffix for m in MODE_CHANNELS]
    assert deep == [".png", ".tiff", ".tiff", ".tiff"]


def test_jpeg_is_close(tmp_path: Path) -> None:
    smooth = np.indices((16, 16)).sum(axis=0).astype(np.uint8)[..., None] * 8
    photo = read_photo(save_png(tmp_path / "a.png", np.dstack([smooth] * 3)))
    photo.save(tmp_path / "b.jpg")
    assert float((read_photo(tmp_path / "b.jpg").pixels - photo.pixels).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("x.jpg", Channels(mode="RGBA"), "JPEG cannot hold color with alpha; write .png or .tiff"),
        ("x.jpeg", Channels(mode="L", bits=16), "JPEG cannot hold 16-bit gray; write .png or"),
        ("x.png", Channels(mode="RGB", bits=16), "PNG cannot hold 16-bit color; write .tiff."),
        ("x.webp", Channels(mode="LA", bits=16), "cannot hold 16-bit gray with alpha; write .ti"),
        ("x.gif", Channels(mode="RGB"), "has no suffix of an image; use .png, .jpg, .webp or"),
        ("x", Channels(mode="RGB"), "has no suffix of an image"),
    ],
)
def test_a_format_that_cannot_hold_the_picture_is_refused(
    name: str, channels: Channels, message: str, tmp_path: Path
) -> None:
    photo = Photo(torch.zeros(channels.count, 4, 5), channels)
    with pytest.raises(OutputError, match=message):
        photo.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_side_over_the_limit_of_the_format_is_refused(tmp_path: Path) -> None:
    photo = Photo(torch.zeros(3, 1, 17000), Channels(mode="RGB"))
    with pytest.raises(OutputError, match=r"cannot write .*x\.webp: .*16383.*; write \.png"):
        photo.save(tmp_path / "x.webp")
    assert list(tmp_path.iterdir()) == []


def test_values_out_of_range_are_clamped(tmp_path: Path) -> None:
    photo = Photo(torch.tensor([[[-3.0, -1.0, 0.0, 1.0, 3.0]]]), Channels(mode="L"))
    photo.save(tmp_path / "x.png")
    assert integers(read_photo(tmp_path / "x.png"))[..., 0].tolist() == [[0, 0, 128, 255, 255]]


def test_existing_files_are_kept_unless_overwriting_is_asked_for(
    photo_path: Path, tmp_path: Path
) -> None:
    photo = with_mask(photo_path, noise(10, 12, 1))
    (tmp_path / "x_mask.png").write_text("kept")
    with pytest.raises(OutputError, match=r"x_mask\.png exists and would be replaced; choose"):
        photo.save(tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
    assert (tmp_path / "x_mask.png").read_text() == "kept"
    photo.save(tmp_path / "x.png", overwrite=True)
    again = read_photo(tmp_path / "x.png", masks=[tmp_path / "x_mask.png"])
    assert torch.equal(again.pixels, photo.pixels)


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_everything_as_it_was(
    existing: bool, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.png"
    if existing:
        target.write_bytes(b"before")

    def write(stream: BinaryIO) -> None:
        stream.write(b"half")
        if call == "write":
            no_space()

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", no_space)
    elif call == "replace":
        monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(OutputError, match=r"cannot write .*x\.png: No space left on device; cho"):
        write_atomically(target, write)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == (
        [("x.png", b"before")] if existing else []
    )


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(stream: BinaryIO) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_a_file_below_a_file_or_in_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x.png", tmp_path / "missing" / "x.png"):
        with pytest.raises(OutputError, match=r"cannot write .*; choose another output"):
            write_atomically(path, lambda stream: stream.write(b""))


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="is not a regular file"):
        write_atomically(tmp_path / "pipe", lambda stream: stream.write(b""))
    assert (tmp_path / "pipe").is_fifo()


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_of_files_follow_the_umask(mask: int, mode: int, tmp_path: Path) -> None:
    with umask(mask):
        Photo(torch.zeros(1, 4, 4), Channels(mode="L")).save(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_mode & 0o777 == mode


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder; choose another output"):
        make_folder(tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot create .*: Not a directory; choose"):
        make_folder(tmp_path / "file" / "below")


# Previews ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("mode", MODE_CHANNELS)
def test_previews_are_8_bit_rgb_of_the_picture_s_size(mode: Any, bits: Any) -> None:
    channels = Channels(mode=mode, bits=bits)
    picture = Photo(torch.zeros(channels.count, 6, 7), channels).preview()
    assert (picture.mode, picture.size) == ("RGB", (7, 6))


def test_transparency_shows_a_checkerboard() -> None:
    pixels = torch.full((4, 16, 16), 1.0)
    pixels[3, :, :8] = -1
    shown = np.asarray(Photo(pixels, Channels(mode="RGBA")).preview())
    assert len(np.unique(shown[:, :8])) == 2
    assert (shown[:, 8:] == 255).all()


def test_masks_are_shown_below_the_picture_with_labels_spread() -> None:
    mask = torch.tensor([[-1.0, -0.1, 0.1, 0.9]]).expand(3, 4)
    photo = Photo(torch.stack([mask, mask, mask]), Channels(mode="L", masks=((0, 1, 2), ())))
    shown = np.asarray(photo.preview())
    assert shown.shape == (9, 4, 3)
    assert shown[3, :, 0].tolist() == [0, 128, 128, 255]
    assert shown[6, :, 0].tolist() == [0, 115, 140, 242]


def test_a_sheet_shows_pictures_in_reading_order() -> None:
    grays = [-1.0, -0.5, 0.0, 0.5, 0.75]
    photos = [Photo(torch.full((1, 5, 6), g), Channels(mode="L")) for g in grays]
    page = np.asarray(sheet([p.preview() for p in photos], columns=2, gap=3))
    assert page.shape == (3 * 8 + 3, 2 * 9 + 3, 3)
    found = [int(page[3 + i // 2 * 8, 3 + i % 2 * 9, 0]) for i in range(5)]
    assert found == [round((g + 1) * 127.5) for g in grays]
    assert (page[-4, -4] == 255).all()


def test_a_sheet_is_about_square_by_itself() -> None:
    photos = [Photo(torch.zeros(1, 5, 5), Channels(mode="L"))] * 7
    tiles = [photo.preview() for photo in photos]
    assert sheet(tiles, gap=1).size == (19, 19)
    assert sheet(tiles[:1], gap=1).size == (7, 7)


def test_a_sheet_is_saved_once(tmp_path: Path) -> None:
    page = sheet([Photo(torch.zeros(1, 5, 5), Channels(mode="L")).preview()])
    save_sheet(page, tmp_path / "sheet.png", overwrite=False)
    with pytest.raises(OutputError, match="exists and would be replaced"):
        save_sheet(page, tmp_path / "sheet.png", overwrite=False)
    save_sheet(page, tmp_path / "sheet.png", overwrite=True)


def test_notebooks_get_a_png() -> None:
    photo = Photo(torch.zeros(1, 5, 5), Channels(mode="L"))
    with Image.open(io.BytesIO(photo._repr_png_())) as opened:
        assert (opened.format, opened.size) == ("PNG", (5, 5))
    assert png_bytes(photo.preview()) == photo._repr_png_()


def test_a_preview_is_reduced_to_a_limit_and_never_enlarged() -> None:
    photo = Photo(torch.zeros(3, 30, 60), Channels(mode="RGB"))
    assert photo.preview(20).size == (20, 10)
    assert photo.preview(100).size == (60, 30)
