"""`photo_from`: a photo from the bytes of its file is that of the file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from singleimage.errors import ImageError
from singleimage.images.photo import Photo
from singleimage.images.reader import photo_from, read_photo


def write(folder: Path, name: str, mode: str) -> Path:
    """A file with a picture of random values."""
    shape = (20, 30, len(mode)) if len(mode) > 1 else (20, 30)
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(values).save(folder / name)
    return folder / name


def assert_same(one: Photo, other: Photo) -> None:
    assert torch.equal(one.pixels, other.pixels)
    assert (one.channels, one.sha256, one.notes) == (other.channels, other.sha256, other.notes)


def test_bytes_are_read_as_the_file_is(tmp_path: Path) -> None:
    for name, mode in {
        "gray.png": "L",
        "color.jpg": "RGB",
        "alpha.png": "RGBA",
        "color.webp": "RGB",
        "color.tif": "RGB",
    }.items():
        path = write(tmp_path, name, mode)
        assert_same(photo_from(path.read_bytes(), str(path)), read_photo(path))
        assert_same(photo_from(path.read_bytes()), read_photo(path))


def test_masks_and_notes_are_those_of_the_files(tmp_path: Path) -> None:
    """The alpha of the picture is opaque and is left out, which is said by its name."""
    path, mask = write(tmp_path, "x.png", "RGB"), write(tmp_path, "mask.png", "L")
    with Image.open(path) as picture:
        picture.convert("RGBA").save(path)
    expected = read_photo(path, masks=[mask])
    found = photo_from(path.read_bytes(), "x.png", masks=[(mask.read_bytes(), "mask.png")])
    assert_same(found, expected)
    assert expected.notes[0] == "the alpha of x.png is opaque everywhere; it is left out."
    assert found.channels.count == 4


def test_bytes_that_are_no_image_are_refused_by_their_name(tmp_path: Path) -> None:
    path = write(tmp_path, "x.png", "RGB")
    path.write_bytes(path.read_bytes()[:200])
    for data, name, words in (
        (b"", "upload.png", "upload.png is not an image in a known format"),
        (b"text", "upload.png", "upload.png is not an image in a known format"),
        (path.read_bytes(), str(path), f"{path} is damaged"),
    ):
        with pytest.raises(ImageError, match=words):
            photo_from(data, name)
    with pytest.raises(ImageError) as from_file:
        read_photo(path)
    with pytest.raises(ImageError) as from_bytes:
        photo_from(path.read_bytes(), str(path))
    assert str(from_bytes.value) == str(from_file.value)
