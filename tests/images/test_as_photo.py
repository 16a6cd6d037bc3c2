"""What is meant for a photo is taken for one, and the rest is refused in one line."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import singleimage as si
from profiles import INKS
from scenes import scene
from singleimage.errors import ImageError, RecipeError, SizeError
from singleimage.images.reader import as_photo
from singleimage.images.values import to_integers

RGB = si.Channels(mode="RGB")
BYTES = to_integers(scene(40, 50))
SMALL = {"training.steps": 1, "pyramid.max_size": 40, "generator.width": 4, "critic.width.base": 4}


def test_paths_pictures_and_arrays_are_the_same_photo(tmp_path: Path) -> None:
    si.Photo(scene(40, 50), RGB).save(tmp_path / "a.png")
    photo = si.read_photo(tmp_path / "a.png")
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(BYTES), BYTES):
        assert torch.equal(as_photo(given).pixels, photo.pixels)
    assert as_photo(photo) is photo


@pytest.mark.parametrize(
    ("picture", "mode"),
    [
        (BYTES[..., 0], "L"),
        (BYTES[..., :2], "LA"),
        (Image.fromarray(BYTES).convert("L"), "L"),
        (Image.fromarray(BYTES).convert("P"), "RGB"),
        (Image.fromarray(BYTES).convert("1"), "RGB"),
        (Image.fromarray(BYTES).convert("CMYK"), "RGB"),
        (Image.fromarray(BYTES).convert("RGBA").convert("PA"), "RGB"),
    ],
)
def test_every_kind_of_picture_is_taken(picture: Any, mode: str) -> None:
    assert as_photo(picture).channels.mode == mode


def test_sixteen_bits_stay() -> None:
    deep = (BYTES.astype(np.uint16) * 257)[..., 0]
    assert as_photo(deep).channels.bits == 16
    assert torch.equal(as_photo(deep).pixels, as_photo(BYTES[..., 0]).pixels)


def pictures() -> dict[str, Image.Image]:
    """Pictures that are no picture of 8 bits in PNG, and how each is as a file."""
    deep = (BYTES[..., 0].astype(np.uint16) << 8) + 77
    inks = Image.fromarray(BYTES).convert("CMYK")
    inks.info["icc_profile"] = INKS
    big = Image.fromarray(deep.astype(np.int32)).convert("I;16B")
    return {
        "I": Image.fromarray(deep.astype(np.int32)),
        "I;16B": big,
        "F": Image.fromarray((deep / 65535).astype(np.float32) / 50),
        "CMYK": inks,
        "LAB": ImageCms.profileToProfile(
            Image.fromarray(BYTES),
            ImageCms.createProfile("sRGB"),
            ImageCms.createProfile("LAB"),
            outputMode="LAB",
        ),
    }


@pytest.mark.parametrize("mode", pictures())
def test_a_picture_of_any_mode_is_as_its_file(mode: str, tmp_path: Path) -> None:
    picture = pictures()[mode]
    assert picture.mode == mode
    picture.save(tmp_path / "the picture.tiff", icc_profile=picture.info.get("icc_profile"))
    wanted, found = si.read_photo(tmp_path / "the picture.tiff"), as_photo(picture)
    assert found.channels == wanted.channels
    assert torch.equal(found.pixels, wanted.pixels)
    assert [n.replace("the picture.tiff", "the picture") for n in wanted.notes] == [*found.notes]


def test_floats_beyond_one_are_refused_in_a_line() -> None:
    with pytest.raises(ImageError, match=r"the picture holds floats from .*; scale them to 0\.\.1"):
        as_photo(Image.fromarray(BYTES[..., 0].astype(np.float32)))


@pytest.mark.parametrize(
    "given",
    [scene(), BYTES / 255.0, 3, None, BYTES[0, 0], BYTES[None], np.zeros((0, 5, 3), np.uint8)],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_photo_is_refused_in_one_line(given: Any) -> None:
    for make in (si.flow, si.train):
        with pytest.raises(ImageError, match="is no photo") as caught:
            make(given)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pixels", [scene() * 255, scene() + 3, scene()[:2]])
def test_pixels_out_of_range_are_refused(pixels: torch.Tensor) -> None:
    photo = si.Photo(pixels, RGB)
    recipe = si.with_overrides(si.preset("preview"), SMALL)
    for make in (lambda: si.flow(photo), lambda: si.train(photo, recipe)):
        with pytest.raises(ImageError):
            make()


def test_a_path_and_the_name_of_a_preset_are_enough(tmp_path: Path) -> None:
    si.Photo(scene(40, 50), RGB).save(tmp_path / "a.png")
    model = si.train(str(tmp_path / "a.png"), "flow")
    model.save(tmp_path / "m.safetensors")
    loaded = si.Model.load(tmp_path / "m.safetensors", device="auto")
    first, second = (next(one.sample([3])).pixels for one in (model, loaded))
    assert torch.equal(first, second)
    recipe = si.with_overrides(si.preset("preview"), SMALL)
    assert si.train(tmp_path / "a.png", recipe).provenance.levels == 5
    with pytest.raises(RecipeError, match="no preset 'fast'"):
        si.train(tmp_path / "a.png", "fast")
    with pytest.raises(SizeError, match="0x0 is too small"):
        next(model.sample([0], size=(0, 0)))


def test_a_picture_from_a_phone_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(BYTES).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        assert torch.equal(as_photo(opened).pixels, si.read_photo(tmp_path / "a.png").pixels)


def test_junk_in_the_exif_of_a_picture_is_no_reason_to_refuse_it() -> None:
    stream = io.BytesIO()
    Image.fromarray(BYTES).save(stream, "PNG", exif=b"Exif\0\0junk")
    with Image.open(stream) as opened:
        assert torch.equal(as_photo(opened).pixels, as_photo(BYTES).pixels)


def test_an_array_of_few_colors_keeps_to_them() -> None:
    few = BYTES // 128 * 128
    assert as_photo(few).channels == as_photo(Image.fromarray(few)).channels
    assert as_photo(few).channels.palette
