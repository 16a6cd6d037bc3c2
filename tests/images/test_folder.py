"""Folders of photos: which files are pictures, and photos that are learned together."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from encoded import noise
from singleimage import read_photo
from singleimage.errors import ImageError
from singleimage.images.channels import Channels
from singleimage.images.decode import high_efficiency_formats
from singleimage.images.folder import pictures_in, read_album, skipped_in
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


def test_a_name_like_a_mask_s_is_a_photo_where_there_is_no_other(tmp_path: Path) -> None:
    for name in ("n95_mask.jpg", "a.png", "a_mask.png", "a_map.tiff", "b_mask2.png", "d_map.png"):
        Image.fromarray(noise(20, 24, 3)).save(tmp_path / name)
    found = [path.name for path in pictures_in(tmp_path)]
    assert found == ["a.png", "b_mask2.png", "d_map.png", "n95_mask.jpg"]
    told = "a_map.tiff, a_mask.png skipped: masks or maps, by their names."
    assert skipped_in(tmp_path) == [told]


def test_every_suffix_of_a_format_that_is_read_is_a_picture(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(20, 24, 3))
    picture.save(tmp_path / "a.jfif", "JPEG")
    picture.convert("L").save(tmp_path / "b.pgm")
    picture.convert("1").save(tmp_path / "c.pbm")
    assert [read_photo(path).channels.mode for path in pictures_in(tmp_path)] == ["RGB", "L", "L"]


def test_heic_names_what_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleimage.images.decode.high_efficiency_formats", tuple)
    monkeypatch.setattr("singleimage.images.folder.high_efficiency_formats", tuple)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ImageError, match=r'is HEIC or AVIF; pip install "singleimage\[heic\]"'):
        read_photo(tmp_path / "a.heic")
    Image.fromarray(noise(20, 24, 3)).save(tmp_path / "b.png")
    assert [path.name for path in pictures_in(tmp_path)] == ["b.png"]
    (said,) = skipped_in(tmp_path)
    assert said.startswith('a.heic skipped: which pip install "singleimage[heic]" reads')


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_pictures_of_phones_are_read_where_they_can_be(suffix: str, tmp_path: Path) -> None:
    kind = {".heic": "HEIF", ".avif": "AVIF"}[suffix]
    if kind not in high_efficiency_formats():
        pytest.skip(f"nothing here reads {kind}")
    smooth = (np.indices((64, 80)).sum(0)[..., None] + np.array([0, 40, 90])).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / f"a{suffix}", quality=95)
    photo = read_photo(tmp_path / f"a{suffix}")
    assert np.abs(photo.integers().astype(int) - smooth).mean() < 4
    assert pictures_in(tmp_path) == [tmp_path / f"a{suffix}"]


def test_masks_beside_photos_with_capitals_are_no_photos(tmp_path: Path) -> None:
    """As cameras write them."""
    for name in ("IMG_1.JPG", "IMG_1_mask.png", "IMG_2.PNG"):
        Image.fromarray(noise(20, 24, 3)).save(tmp_path / name)
    assert [path.name for path in pictures_in(tmp_path)] == ["IMG_1.JPG", "IMG_2.PNG"]
