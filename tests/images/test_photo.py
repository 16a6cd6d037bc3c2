"""Photos: masks and their labels, previews."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from encoded import Array, noise, save_png, with_mask
from singleimage.errors import ImageError
from singleimage.images.channels import LABEL_LIMIT, Channels, Mask, same_masks
from singleimage.images.photo import Photo
from singleimage.images.reader import read_photo
from singleimage.images.sheet import png_bytes
from singleimage.images.values import MODE_CHANNELS
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.resample import resize


def saved_mask(photo: Photo, tmp_path: Path) -> Array:
    _, path = photo.save(tmp_path / "saved.png", overwrite=True)
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_a_binary_mask_is_a_channel_of_minus_one_and_one(photo_path: Path) -> None:
    mask = noise(10, 12, 1)[..., 0] // 128 * 255
    photo = with_mask(photo_path, mask)
    assert photo.channels == Channels(mode="RGB", masks=(Mask(labels=(0, 255)),))
    assert photo.pixels.shape == (4, 10, 12)
    np.testing.assert_array_equal(photo.pixels[3].numpy(), np.where(mask, 1, -1))


def test_each_label_is_a_channel_of_its_own(photo_path: Path) -> None:
    mask = np.random.default_rng(0).choice([0, 1, 7, 30, 31], (10, 12)).astype(np.uint8)
    photo = with_mask(photo_path, mask)
    assert photo.channels.masks == (Mask(labels=(0, 1, 7, 30, 31)),)
    assert photo.channels.count == 8
    for plane, label in zip(photo.pixels[3:], (0, 1, 7, 30, 31), strict=True):
        np.testing.assert_array_equal(plane.numpy(), np.where(mask == label, 1, -1))


def test_no_label_appears_between_two_others(photo_path: Path, tmp_path: Path) -> None:
    """A disc of 200 and a square of 7 on 0: reduced, no ring of 7 stands around the disc."""
    y, x = np.indices((100, 120))
    mask = np.zeros((100, 120), np.uint8)
    mask[(y - 50) ** 2 + (x - 40) ** 2 < 30**2] = 200
    mask[30:70, 85:110] = 7
    photo = with_mask(save_png(tmp_path / "p.png", noise(100, 120, 3)), mask)
    small = Photo(resize(photo.pixels[None], Size(50, 60))[0], photo.channels)
    found = saved_mask(small, tmp_path)
    assert set(np.unique(found)) == {0, 7, 200}
    assert not (found[:, :38] == 7).any()
    nearest = mask[1::2, 1::2]
    assert (found == nearest).mean() > 0.97


def test_the_indices_of_a_palette_are_the_labels(photo_path: Path, tmp_path: Path) -> None:
    indices = np.random.default_rng(0).integers(0, 5, (10, 12)).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(noise(1, 5, 3).tobytes())
    notes = Image.Exif()
    notes[274] = 3
    picture.save(tmp_path / "labels.png", exif=notes)
    photo = read_photo(photo_path, masks=[tmp_path / "labels.png"])
    (found,) = photo.channels.masks
    assert found.labels == (0, 1, 2, 3, 4)
    assert found.palette[:5] == tuple(map(tuple, noise(1, 5, 3)[0].tolist()))
    np.testing.assert_array_equal(saved_mask(photo, tmp_path), np.rot90(indices, 2))
    with Image.open(tmp_path / "saved_mask.png") as opened:
        assert opened.mode == "P"
        assert (opened.getpalette() or [])[:15] == noise(1, 5, 3).ravel().tolist()


def test_masks_of_equal_labels_mean_the_same_in_any_number_of_bits() -> None:
    mask = Mask(labels=(0, 1, 2))
    assert same_masks([mask], [Mask(labels=(0, 1, 2), bits=16)])
    assert not same_masks([mask], [Mask(labels=(0, 1, 3))])
    assert not same_masks([mask], [])


@pytest.mark.parametrize("labels", [(0, 1, 2), (0, 65535), (3, 500, 40000)])
def test_labels_of_16_bits_are_kept(
    labels: tuple[int, ...], photo_path: Path, tmp_path: Path
) -> None:
    mask = np.random.default_rng(0).choice(labels, (10, 12)).astype(np.uint16)
    photo = with_mask(photo_path, mask)
    assert photo.channels.masks == (Mask(labels=labels, bits=16),)
    saved = saved_mask(photo, tmp_path)
    np.testing.assert_array_equal(saved, mask)
    assert saved.dtype == np.uint16
    before = Channels(mode="RGB", masks=(Mask(labels=labels),))  # as of an earlier model
    np.testing.assert_array_equal(saved_mask(Photo(photo.pixels, before), tmp_path), mask)


def test_more_values_than_labels_make_a_continuous_mask(photo_path: Path, tmp_path: Path) -> None:
    few = np.resize(np.arange(LABEL_LIMIT), (10, 12)).astype(np.uint8) * 8
    many = np.resize(np.arange(LABEL_LIMIT + 1), (10, 12)).astype(np.uint8) * 7
    assert with_mask(photo_path, few).channels.masks == (Mask(labels=tuple(range(0, 256, 8))),)
    photo = with_mask(photo_path, many)
    assert photo.channels.masks == (Mask(),)
    assert photo.notes == (
        "the mask mask.png has over 32 values; they are taken for continuous ones, not for labels.",
    )
    np.testing.assert_allclose(photo.pixels[3].numpy(), many / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(saved_mask(photo, tmp_path), many)


def test_a_continuous_mask_of_16_bits_keeps_them(photo_path: Path, tmp_path: Path) -> None:
    mask = noise(10, 12, 1, bits=16)[..., 0]
    photo = with_mask(photo_path, mask)
    np.testing.assert_allclose(photo.pixels[3].numpy(), mask / 32767.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(saved_mask(photo, tmp_path), mask)


def test_saved_masks_hold_the_nearest_label(tmp_path: Path) -> None:
    row = torch.tensor([[-1.4, -0.9, -0.51, -0.49, 0.2, 0.51, 0.8, 1.5]])
    planes = torch.stack([row, -row, 0 * row + 0.3, row])
    photo = Photo(planes, Channels(mode="L", masks=(Mask(labels=(0, 5, 200)),)))
    assert saved_mask(photo, tmp_path).tolist() == [[0, 0, 0, 0, 5, 200, 200, 200]]
    ranked = Mask(labels=(0, 5, 200), ranks=True)  # as models before had them
    photo = Photo(torch.stack([row, row]), Channels(mode="L", masks=(ranked,)))
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
    photo = Photo(
        torch.stack([mask, mask, mask]),
        Channels(mode="L", masks=(Mask(labels=(0, 1, 2), ranks=True), Mask())),
    )
    shown = np.asarray(photo.preview())
    assert shown.shape == (9, 4, 3)
    assert shown[3, :, 0].tolist() == [0, 128, 128, 255]
    assert shown[6, :, 0].tolist() == [0, 115, 140, 242]


def test_notebooks_get_a_png() -> None:
    photo = Photo(torch.zeros(1, 5, 5), Channels(mode="L"))
    with Image.open(io.BytesIO(photo._repr_png_())) as opened:
        assert (opened.format, opened.size) == ("PNG", (5, 5))
    assert png_bytes(photo.preview()) == photo._repr_png_()


def test_a_preview_is_reduced_to_a_limit_and_never_enlarged() -> None:
    photo = Photo(torch.zeros(3, 30, 60), Channels(mode="RGB"))
    assert photo.preview(20).size == (20, 10)
    assert photo.preview(100).size == (60, 30)
