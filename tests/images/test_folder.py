"""Folders of photos: which files are pictures, and photos that are learned together."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from singleimage import read_photo
from singleimage.errors import ImageError
from singleimage.images.channels import Channels
from singleimage.images.folder import pictures_in, read_album
from tiny import draw


def test_photos_of_other_aspects_are_cropped_about_their_middle(tmp_path: Path) -> None:
    for i in range(2):
        draw(tmp_path / "in" / f"{i}.png", i, (40, 60))
    wide = draw(tmp_path / "in" / "2.png", 2, (40, 90))
    with Image.open(draw(tmp_path / "in" / "3.png", 3, (80, 120))) as opened:
        gray = opened.convert("L")
    gray.save(tmp_path / "in" / "3.png")
    photos = read_album(tmp_path / "in")
    assert [photo.size for photo in photos] == [(40, 60), (40, 60), (40, 60), (80, 120)]
    assert all(photo.channels == Channels(mode="RGB") for photo in photos)
    assert torch.equal(photos[2].pixels, read_photo(wide).pixels[:, :, 15:75])
    notes = [note for photo in photos for note in photo.notes]
    assert notes == ["2.png is cropped to the aspect of the others, 33% are left out."]


def test_alpha_among_photos_without_is_refused(tmp_path: Path) -> None:
    for i in range(2):
        draw(tmp_path / "in" / f"{i}.png", i)
    pixels = np.full((44, 52, 4), 90, np.uint8)
    pixels[0, 0] = 0
    Image.fromarray(pixels).save(tmp_path / "in" / "2.png")
    with pytest.raises(ImageError, match=r"2\.png is color with alpha, most photos are color"):
        read_album(tmp_path / "in")


def touch(folder: Path, names: str) -> None:
    for name in names.split():
        (folder / name).touch()


def test_pictures_of_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "10.png 2.png 1.PNG a10b2.jpg a9b11.jpg a9b2.jpeg b.webp c.tif c.tiff d.bmp")
    touch(
        tmp_path, "e.gif f.ppm .hidden.png sheet.png 2_mask.png 2_mask2.png notes.txt model 3.npy"
    )
    (tmp_path / "folder.png").mkdir()
    found = [path.name for path in pictures_in(tmp_path)]
    assert found == [
        *("1.PNG", "2.png", "10.png", "a9b2.jpeg", "a9b11.jpg", "a10b2.jpg"),
        *("b.webp", "c.tif", "c.tiff", "d.bmp", "e.gif", "f.ppm"),
    ]


def test_a_folder_without_pictures_or_none_at_all_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "sheet.png notes.txt")
    with pytest.raises(ImageError, match="holds no pictures"):
        pictures_in(tmp_path)
    for path in (tmp_path / "none", tmp_path / "notes.txt"):
        with pytest.raises(ImageError, match="there is no folder"):
            pictures_in(path)
