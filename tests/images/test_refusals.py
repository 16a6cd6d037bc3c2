"""Files that are no photos or masks to learn from: each is refused in one line."""

import errno
import io
import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from encoded import Array, chunk, noise, save_png, tiff_bytes
from refusals import assert_refused
from singleimage.errors import ImageError
from singleimage.images.photo import require_texture
from singleimage.images.reader import read_photo
from singleimage.multiscale.geometry import PIXEL_LIMIT
from tiny import Command

TRANSCRIPT = """
missing file
$ train {bad}/no.png -o {out}
{bad}/no.png does not exist; check the path.

empty file
$ train {bad}/empty.png -o {out}
{bad}/empty.png is empty (0 bytes); export the image again.

truncated JPEG
$ train {bad}/cut.jpg -o {out}
{bad}/cut.jpg is damaged: ...; export the image again.

truncated PNG
$ train {bad}/cut.png -o {out}
{bad}/cut.png is damaged: ...; export the image again.

truncated TIFF
$ train {bad}/cut.tif -o {out}
{bad}/cut.tif is damaged: it is cut short; export the image again.

text named png
$ train {bad}/text.png -o {out}
{bad}/text.png is not an image in a known format; use JPEG, PNG, WebP or TIFF.

TIFF in name only
$ train {bad}/magic.tif -o {out}
{bad}/magic.tif is a damaged TIFF, or one with a compression or channels that cannot be read; save
it again without compression, or as PNG.

one pixel
$ train {bad}/1x1.png -o {out}
every pixel of the image has the same color, so there is nothing to learn; choose an image with
some texture.

flat
$ train {bad}/8x3000.png -o {out}
the image is 8x3000; its short side must be over 25 pixels to make a pyramid. Use a larger image,
or lower pyramid.min_size.

tall
$ train {bad}/3000x8.png -o {out}
the image is 3000x8; its short side must be over 25 pixels to make a pyramid. Use a larger image,
or lower pyramid.min_size.

narrow once reduced
$ train {bad}/40x200.png -o {out}
the image is 40x200, too narrow: reduced to 40 pixels on the long side, its short side must stay
over 25. Crop it, or set pyramid.max_size=130 or more.

gigapixels
$ train {bad}/40000x40000.png -o {out}
{bad}/40000x40000.png is over 178 megapixels; the limit is 80 megapixels. Reduce it first.

too many pixels
$ train {bad}/9000x9000.png -o {out}
{bad}/9000x9000.png is 9000x9000; the limit is 80 megapixels. Reduce it first.

one color
$ train {bad}/gray.png -o {out}
every pixel of the image has the same color, so there is nothing to learn; choose an image with
some texture.

one color, opaque
$ train {bad}/opaque.png -o {out}
every pixel of the image has the same color, so there is nothing to learn; choose an image with
some texture.

NaN
$ train {bad}/nan.tif -o {out}
{bad}/nan.tif holds 2304 values that are NaN or infinite; replace them before training.

floats out of range
$ train {bad}/bright.tif -o {out}
{bad}/bright.tif holds floats from 0 to 255; scale them to 0..1 before training.

integers of 32 bits
$ train {bad}/deep.tif -o {out}
{bad}/deep.tif holds 32-bit values from 0 to 150929408; save it with 8 or 16 bits.

many channels
$ train {bad}/many.tif -o {out}
{bad}/many.tif has 70 channels; the limit is 64. Give further ones as --mask.

folder as image
$ train {bad} -o {out}
{bad} is a folder; add --each to learn every photo in it, or --preset meta-small for one model of
all.

device as image
$ train /dev/null -o {out}
/dev/null is a device or a pipe; give an image file.

run as image
$ train {run} -o {out}
{run} is a folder; add --each to learn every photo in it, or --preset meta-small for one model of
all.

model as image
$ train {run}/model.safetensors -o {out}
{run}/model.safetensors is a model, not an image; draw from it with: singleimage sample
{run}/model.safetensors -o FOLDER

below a file
$ train {photo}/x.png -o {out}
cannot read {photo}/x.png: Not a directory; check the path.

missing mask
$ train {photo} --mask {bad}/no.png -o {out}
{bad}/no.png does not exist; check the path.

mask of another size
$ train {photo} --mask {bad}/gray.png -o {out}
the mask {bad}/gray.png is 48x48, the image 44x52; crop or resize it to that size.

mask with colors
$ train {photo} --mask {photo} -o {out}
the mask {photo} has colors; save it as grayscale or with a palette.
"""


def png_header(height: int, width: int) -> bytes:
    """The start of a PNG of this size with 1 bit a pixel, and not one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000)))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything that is wrong with images."""
    folder = tmp_path_factory.mktemp("bad")
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
    for name in ("good.png", "good.jpg"):
        Image.fromarray(values).save(folder / name)
    tifffile.imwrite(folder / "good.tif", values.astype(np.uint16), photometric="rgb")
    for suffix in (".png", ".jpg", ".tif"):
        data = (folder / f"good{suffix}").read_bytes()
        (folder / f"cut{suffix}").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("This is not a picture.")
    (folder / "magic.tif").write_bytes(b"II*\0nonsense")
    for height, width in ((1, 1), (8, 3000), (3000, 8), (40, 200)):
        noise = rng.integers(0, 256, (height, width)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{height}x{width}.png")
    for side in (9000, 40000):
        (folder / f"{side}x{side}.png").write_bytes(png_header(side, side))
    Image.new("RGB", (48, 48), (9, 8, 7)).save(folder / "gray.png")
    Image.new("RGBA", (48, 48), (9, 8, 7, 255)).save(folder / "opaque.png")
    for name, content in {
        "nan": np.full((48, 48), np.nan, np.float32),
        "bright": np.linspace(0, 255, 48 * 48, dtype=np.float32).reshape(48, 48),
        "deep": np.arange(48 * 48, dtype=np.uint32).reshape(48, 48) * 65536,
        "many": np.zeros((48, 48, 70), np.uint16),
    }.items():
        extra = {"planarconfig": "contig"} if content.ndim == 3 else {}
        tifffile.imwrite(folder / f"{name}.tif", content, photometric="minisblack", **extra)
    return folder


def test_a_bad_image_is_one_line_and_leaves_no_trace(
    bad: Path, photo_file: Path, good_run: Path, tmp_path: Path, command: Command
) -> None:
    assert_refused(TRANSCRIPT, command, tmp_path, bad=bad, photo=photo_file, run=good_run)


def test_a_picture_of_gigapixels_is_refused_at_once(bad: Path, command: Command) -> None:
    # The file holds a header alone: had its pixels been asked for, it would be called damaged.
    started = time.perf_counter()
    outcome = command(f"train {bad}/40000x40000.png -o {bad}/run")
    assert "the limit is 80 megapixels" in outcome.err
    assert time.perf_counter() - started < 2


def test_a_file_that_may_not_be_read_is_one_line(
    photo_file: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    outcome = command(f"train {photo_file} -o {tmp_path}/out")
    message = f"cannot read {photo_file}: Permission denied; check the path."
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"error: {message}\n")


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
        (np.array([[0, 70000]], np.uint32), "holds 32-bit values from 0 to 70000; save it"),
        (np.zeros((8, 9), np.complex64), "stores complex64 samples; save it with 8 or 16 bits"),
        (np.zeros((8, 9, 65), np.uint16), "has 65 channels; the limit is 64"),
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
