"""Colors are learned in sRGB and given back in the space of their file."""

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from encoded import noise, squeezed
from profiles import ADOBE_RGB, DISPLAY_P3, GRAY_18, INKS, gamma, profile
from singleimage import Photo, read_photo
from singleimage.images.profile import profile_of

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def levels(photo: Photo) -> np.ndarray:
    return np.asarray((photo.pixels.permute(1, 2, 0).numpy() + 1) * 127.5)


@pytest.mark.parametrize("data", [DISPLAY_P3, ADOBE_RGB], ids=["P3", "Adobe RGB"])
def test_colors_become_those_of_srgb_as_littlecms_has_them(data: bytes, tmp_path: Path) -> None:
    values = noise(30, 40, 3)
    Image.fromarray(values).save(tmp_path / "x.png", icc_profile=data)
    own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(data)), ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(Image.fromarray(values), own, srgb, renderingIntent=1)
    found = levels(read_photo(tmp_path / "x.png"))
    assert np.abs(found - np.asarray(expected)).max() <= 1.01
    assert np.abs(found - values).max() > 17


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("data", "channels"),
    [(DISPLAY_P3, 3), (DISPLAY_P3, 4), (ADOBE_RGB, 3), (GRAY_18, 1), (GRAY_18, 2), (SRGB, 3)],
)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_what_is_read_is_written_as_it_was(
    suffix: str, data: bytes, channels: int, bits: int, tmp_path: Path
) -> None:
    values = noise(20, 30, channels, bits=bits)
    extra = ["unassalpha"] if channels in (2, 4) else None
    tifffile.imwrite(
        tmp_path / "x.tif",
        squeezed(values),
        photometric="rgb" if channels > 2 else "minisblack",
        extrasamples=extra,
        iccprofile=data,
        resolution=(300, 200),
        resolutionunit="INCH",
    )
    photo = read_photo(tmp_path / "x.tif")
    photo.save(tmp_path / f"y{suffix}")
    again = read_photo(tmp_path / f"y{suffix}")
    for found in (photo, again):
        assert found.notes == ()
        assert found.original is not None
        np.testing.assert_array_equal(found.original.values, values)
        np.testing.assert_array_equal(found.integers(), values)
        assert found.original.about.profile == data
        assert found.original.about.dpi == pytest.approx((300, 200), rel=1e-3)
    assert again.channels == photo.channels


def test_a_changed_picture_is_written_in_the_space_of_its_file(tmp_path: Path) -> None:
    values = noise(20, 30, 3) // 2 + 64  # within sRGB, whose way back is exact but for rounding
    Image.fromarray(values).save(tmp_path / "x.png", icc_profile=DISPLAY_P3)
    photo = read_photo(tmp_path / "x.png")
    inside = (levels(photo) > 0).all(2) & (levels(photo) < 255).all(2)
    moved = replace(photo, pixels=photo.pixels + 6e-6)  # so that nothing is the file's own
    apart = np.abs(moved.integers().astype(int) - values)
    assert inside.mean() > 0.5
    assert apart[inside].max() <= 1


def test_a_profile_of_srgb_changes_nothing(tmp_path: Path) -> None:
    values = noise(20, 30, 3)
    Image.fromarray(values).save(tmp_path / "x.jpg", icc_profile=SRGB, quality=95)
    Image.fromarray(values).save(tmp_path / "y.jpg", quality=95)
    assert (read_photo(tmp_path / "x.jpg").pixels == read_photo(tmp_path / "y.jpg").pixels).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"junk" * 50, "of another kind of picture"),
        (GRAY_18, "of another kind of picture"),
        (DISPLAY_P3[:200], ""),
        (DISPLAY_P3.replace(b"para", b"nope"), "a curve of an unknown kind"),
    ],
)
def test_a_profile_that_cannot_be_used_is_said(data: bytes, words: str, tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30, 3)).save(tmp_path / "x.png", icc_profile=data)
    photo = read_photo(tmp_path / "x.png")
    (note,) = photo.notes
    assert note.startswith("the color profile of x.png cannot be used")
    assert words in note
    photo.save(tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as opened:
        assert "icc_profile" not in opened.info


def test_curves_are_read_in_all_their_kinds() -> None:
    """Parametric kinds 0 to 4 and tables that all say a gamma of 2, or nothing."""
    square = [2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    counts = (1, 3, 4, 5, 7)
    x = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    wanted = profile_of(profile(gamma(2.0)), 1)
    assert wanted is not None
    for kind, count in enumerate(counts):
        numbers = b"".join(struct.pack(">i", round(n * 65536)) for n in square[:count])
        curve = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + numbers
        found = profile_of(profile(curve), 1)
        assert found is not None
        np.testing.assert_allclose(found.to_srgb(x), wanted.to_srgb(x), atol=2e-3)
    steps = (np.linspace(0, 1, 1025) ** 2 * 65535).round().astype(">u2").tobytes()
    table = b"curv" + bytes(4) + struct.pack(">I", 1025) + steps
    found = profile_of(profile(table), 1)
    assert found is not None
    np.testing.assert_allclose(found.to_srgb(x), wanted.to_srgb(x), atol=2e-3)


def test_cmyk_is_converted_with_a_note(tmp_path: Path) -> None:
    Image.fromarray(noise(20, 30, 4), "CMYK").save(tmp_path / "x.jpg")
    photo = read_photo(tmp_path / "x.jpg")
    assert photo.channels.mode == "RGB"
    assert photo.notes == ("x.jpg has CMYK colors; they are converted to RGB.",)


def test_cmyk_of_16_bits_has_the_colors_of_its_profile_as_that_of_8_bits(tmp_path: Path) -> None:
    values = noise(20, 30, 4)
    Image.fromarray(values, "CMYK").save(tmp_path / "8.tiff", icc_profile=INKS)
    deep = values.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "16.tiff", deep, photometric="separated", iccprofile=INKS)
    tifffile.imwrite(tmp_path / "plain.tiff", deep, photometric="separated")
    shallow, photo, plain = (read_photo(tmp_path / f"{x}.tiff") for x in (8, 16, "plain"))
    np.testing.assert_array_equal(levels(photo), levels(shallow))
    assert np.abs(levels(photo) - levels(plain)).max() > 100
    assert photo.notes == (
        "16.tiff has 16 bits a channel; 8 of them are used.",
        "16.tiff has CMYK colors; they are converted to RGB.",
    )
