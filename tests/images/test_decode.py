"""Image files become the integers that were stored, upright."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps

from encoded import Array, chunk, integers, noise, save_png, squeezed, tiff_bytes
from singleimage.images import decode as imagefile
from singleimage.images.channels import Channels
from singleimage.images.reader import read_photo
from singleimage.images.values import MODE_CHANNELS
from singleimage.multiscale.geometry import Size

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
    assert photo.channels == Channels(mode="L", palette=((0,), (255,)))
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
    assert photo.notes == (f"{path.name} has several frames; the first is used.",)
    first = np.asarray(frames[0].convert(photo.channels.mode))
    np.testing.assert_array_equal(integers(photo), first)


def test_the_first_page_of_a_deep_tiff_is_read_with_a_note(tmp_path: Path) -> None:
    pages = noise(5, 8, 9, bits=16)
    tifffile.imwrite(tmp_path / "x.tiff", pages, photometric="minisblack")
    photo = read_photo(tmp_path / "x.tiff")
    assert photo.notes == ("x.tiff has several frames; the first is used.",)
    np.testing.assert_array_equal(integers(photo)[..., 0], pages[0])


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
        assert photo.notes[0] == f"{name} has 16 bits a channel; 8 of them are used."


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
