"""Kinds of files that real people have: bands, integers and floats of all kinds, long texts."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, PngImagePlugin

from encoded import Array, chunk, noise, save_png
from singleimage import photo_from, read_photo
from singleimage.errors import ImageError


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bands", [2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_bands_are_read_and_written_as_they_were(
    planar: str, bands: int, bits: int, tmp_path: Path
) -> None:
    values = noise(20, 30, bands, bits=bits)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="minisblack", planarconfig=planar)
    photo = read_photo(tmp_path / "x.tif")
    assert photo.channels.mode == ("L" if bands == 2 else "RGB")
    assert photo.channels.count == bands
    assert photo.channels.suffix == (".png" if bands == 3 else ".tiff")
    photo.save(tmp_path / "y.tif")
    again = read_photo(tmp_path / "y.tif")
    assert again.channels == photo.channels
    np.testing.assert_array_equal(again.integers(), values)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "y.tif"), values)


def test_near_infrared_is_no_alpha_wherever_alpha_lies(tmp_path: Path) -> None:
    values = noise(20, 30, 5, bits=16)
    extra = ["unspecified", "unassalpha"]
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", extrasamples=extra)
    photo = read_photo(tmp_path / "x.tif")
    assert (photo.channels.mode, photo.channels.bands) == ("RGBA", 1)
    np.testing.assert_array_equal(photo.integers(), values[..., [0, 1, 2, 4, 3]])


def test_signed_integers_are_moved_with_a_note(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1000, 30000, (20, 30)).astype(np.int16)
    values[0, :2] = -1000, 29999
    tifffile.imwrite(tmp_path / "x.tif", values)
    photo = read_photo(tmp_path / "x.tif")
    assert photo.notes == ("x.tif holds values from -1000 to 29999; -1000 is taken from each.",)
    np.testing.assert_array_equal(photo.integers()[..., 0], values.astype(int) + 1000)
    tifffile.imwrite(tmp_path / "y.tif", np.abs(values))
    np.testing.assert_array_equal(read_photo(tmp_path / "y.tif").integers()[..., 0], np.abs(values))


def test_few_bits_of_16_are_the_whole_range(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (20, 30, 1)).astype(np.uint16)
    photo = read_photo(save_png(tmp_path / "x.png", values))
    assert photo.channels.white == 4095
    assert photo.notes == ("x.png uses 12 of its 16 bits; 4095 is taken for white.",)
    assert float(photo.pixels.max()) > 0.99
    assert np.asarray(photo.preview()).max() > 250
    photo.save(tmp_path / "y.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "y.png").integers(), values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_every_order_of_bytes_is_read(
    order: Any, big: bool, kind: str, compression: str | None, tmp_path: Path
) -> None:
    values = noise(20, 30, 3)
    stored = values / 255 if kind == "f4" else values.astype(int) * (1 if kind == "u1" else 120)
    tifffile.imwrite(
        tmp_path / "x.tif",
        stored.astype(kind),
        photometric="rgb",
        byteorder=order,
        bigtiff=big,
        compression=compression,
        predictor=2 if compression and kind != "f4" else None,
    )
    expected = (values / 255 * 65535).round() if kind == "f4" else stored
    found = read_photo(tmp_path / "x.tif").integers()
    assert np.abs(found.astype(int) - expected).max() <= (1 if kind == "f4" else 0)


def predicted_floats(values: Array, order: str) -> bytes:
    """A deflated TIFF of floats with the predictor of Photoshop, in strips of all rows."""
    height, width = values.shape
    rows = values.astype(">f4").view(np.uint8).reshape(height, width, 4)
    planes = np.ascontiguousarray(rows.transpose(0, 2, 1)).reshape(height, -1)
    steps = planes.copy()
    steps[:, 1:] -= planes[:, :-1]
    data = zlib.compress(steps.tobytes())
    data += bytes(len(data) % 2)
    tags = {256: width, 257: height, 258: 32, 259: 8, 262: 1, 273: 8, 277: 1, 278: height}
    tags |= {279: len(data), 317: 3, 339: 3}
    file = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data)) + data
    file += struct.pack(f"{order}H", len(tags))
    for tag, number in tags.items():
        file += struct.pack(f"{order}HHII", tag, 4, 1, number)
    return file + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_with_a_predictor_are_read_in_both_orders(order: str) -> None:
    values = np.linspace(0, 1, 20 * 30, dtype=np.float32).reshape(20, 30)
    found = photo_from(predicted_floats(values, order)).integers()[..., 0]
    assert np.abs(found - values * 65535).max() <= 0.51


def test_a_png_with_long_texts_and_a_long_profile_is_read(tmp_path: Path) -> None:
    values, texts = noise(20, 30, 3), PngImagePlugin.PngInfo()
    texts.add_text("prompt", "words " * 400_000, zip=True)
    Image.fromarray(values).save(tmp_path / "x.png", pnginfo=texts, icc_profile=bytes(3_000_000))
    photo = read_photo(tmp_path / "x.png")
    np.testing.assert_array_equal(photo.integers(), values)


@pytest.mark.parametrize("junk", [b"Exif\0\0junkjunk", b"MM\0*\0\0\0\x08\xff\xff" + b"z" * 30])
def test_junk_in_exif_is_no_reason_to_refuse_a_picture(junk: bytes, tmp_path: Path) -> None:
    values = noise(20, 30, 3)
    data = save_png(tmp_path / "x.png", values).read_bytes()
    photo = photo_from(data[:33] + chunk(b"eXIf", junk) + data[33:], "x.png")
    np.testing.assert_array_equal(photo.integers(), values)


def test_exif_is_kept_but_for_orientation_and_size(tmp_path: Path) -> None:
    words = Image.Exif()
    words[274], words[271], words[0x8769] = 6, "Maker", {40962: 30, 40963: 20, 37386: 50.0}
    Image.fromarray(noise(20, 30, 3)).save(tmp_path / "x.png", exif=words, dpi=(300, 300))
    photo = read_photo(tmp_path / "x.png")
    assert tuple(photo.size) == (30, 20)
    for name in ("y.png", "y.jpg", "y.webp"):
        photo.save(tmp_path / name)
        with Image.open(tmp_path / name) as opened:
            found = opened.getexif()
            assert found.get(271) == "Maker"
            assert found.get(274, 1) == 1
            assert dict(found.get_ifd(0x8769)) == {37386: 50.0}


@pytest.mark.parametrize("bits", [8, 16])
def test_the_exif_of_a_tiff_is_left_out_with_a_note(bits: int, tmp_path: Path) -> None:
    values, words = noise(20, 30, 1, bits=bits), Image.Exif()
    words[0x8769] = {37386: 50.0}
    Image.fromarray(values[..., 0]).save(tmp_path / "x.tif", exif=words.tobytes())
    photo = read_photo(tmp_path / "x.tif")
    np.testing.assert_array_equal(photo.integers(), values)
    assert photo.notes == ("the EXIF of x.tif, a TIFF, is left out.",)
    photo.save(tmp_path / "y.tif")
    assert read_photo(tmp_path / "y.tif").notes == ()


def test_a_mask_of_a_lossy_format_is_snapped_to_its_labels(tmp_path: Path) -> None:
    y, x = np.indices((120, 160))
    mask = (((y - 60) ** 2 + (x - 70) ** 2 < 40**2) * 255).astype(np.uint8)
    photo = save_png(tmp_path / "p.png", noise(120, 160, 3))
    for name in ("m.jpg", "m.webp"):
        Image.fromarray(mask).save(tmp_path / name, quality=90)
        found = read_photo(photo, masks=[tmp_path / name])
        (meaning,) = found.channels.masks
        assert meaning.labels == (0, 255)
        assert any("is of a lossy format" in note for note in found.notes)
        assert np.abs((found.pixels[3].numpy() + 1) * 127.5 - mask).mean() < 0.5
    soft = (np.clip(x / 160, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(soft).save(tmp_path / "soft.jpg", quality=90)
    (meaning,) = read_photo(photo, masks=[tmp_path / "soft.jpg"]).channels.masks
    assert meaning.labels == ()


def test_a_palette_of_too_many_labels_is_refused(tmp_path: Path) -> None:
    indices = np.resize(np.arange(40), (20, 30)).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(noise(1, 40, 3).tobytes())
    picture.save(tmp_path / "m.png")
    photo = save_png(tmp_path / "p.png", noise(20, 30, 3))
    with pytest.raises(ImageError, match=r"has 40 labels; the limit is 32\. Merge"):
        read_photo(photo, masks=[tmp_path / "m.png"])


@pytest.mark.parametrize(("depth", "key"), [(1, 1), (2, 2), (4, 9)])
def test_a_gray_of_few_bits_that_is_transparent_becomes_alpha(
    depth: int, key: int, tmp_path: Path
) -> None:
    """As optimizers write it; Pillow takes the key for one of 8 bits."""
    values = noise(6, 8, 1, bits=8)[..., 0] % 2**depth
    bits = np.unpackbits(values[..., None], axis=2)[..., 8 - depth :].reshape(6, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    header = struct.pack(">IIBBBBB", 8, 6, depth, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"tRNS", struct.pack(">H", key)), (b"IDAT", zlib.compress(rows)))
    data = b"".join(chunk(*part) for part in (*parts, (b"IEND", b"")))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    photo = read_photo(tmp_path / "a.png")
    assert photo.channels.mode == "LA"
    assert torch.equal(photo.pixels[1] < 0, torch.from_numpy(values == key))


@pytest.mark.parametrize("compression", ["group4", "raw"])
def test_a_scan_of_one_bit_is_read(compression: str, tmp_path: Path) -> None:
    values = noise(40, 48, 1)[..., 0] > 127
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    photo = read_photo(tmp_path / "a.tif")
    assert torch.equal(photo.pixels[0] > 0, torch.from_numpy(values))
