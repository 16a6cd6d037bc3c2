"""Fill and extend: what is marked is new, and the rest stays."""

from pathlib import Path

import pytest
import skimage
import torch

import singleimage
from pasting import with_square
from scenes import colors, disk, scene, sprite
from singleimage import PRESETS, Channels, Model, Photo, read_photo, with_overrides
from singleimage.errors import ArgumentError, MaskError
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.resample import resize
from singleimage.tools import fill


def test_what_is_not_marked_is_not_filled(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    (image,) = fill.fill(model, composite, mask=mask)
    assert image.size == photo.size
    assert bool((image.pixels[:, 12:16, 16:20] < 0.99).any()), "the white square is still there"
    assert torch.equal(image.pixels[:, -6:, -6:], photo.pixels[:, -6:, -6:])


def test_a_canvas_is_extended_and_the_picture_stays(model: Model, photo: Photo) -> None:
    height, width = photo.size
    (image,) = fill.extend(model, photo, left=20, bottom=6)
    assert image.size == Size(height + 6, width + 20)
    # Its borders to the new part are mixed; beyond, it is as it was.
    assert torch.equal(image.pixels[:, :10, -10:], photo.pixels[:, :10, -10:])
    assert float(image.pixels[:, :, :10].std()) > 0
    with pytest.raises(ArgumentError, match="nothing to add"):
        fill.extend(model, photo)
    with pytest.raises(ArgumentError, match="nothing to add"):
        fill.extend(model, photo, left=-1, right=4)


def test_a_model_that_copies_fills_from_elsewhere(flow: Model) -> None:
    photo = flow.training_image()
    assert photo is not None
    mask = disk(photo.size)
    for found in fill.fill(flow, mask=mask, seeds=[0, 1]):
        new = mask.pixels[0] > 0
        assert torch.equal(found.pixels[:, ~new], photo.pixels[:, ~new])
        assert 0.5 < float(found.pixels[:, new].std() / photo.pixels[:, new].std()) < 1.5
        assert bool((found.pixels != photo.pixels)[:, new].any())


@pytest.mark.parametrize("exact", [True, False])
def test_a_hole_in_the_sky_is_filled_with_sky(exact: bool) -> None:
    """A small part need not use all of the photo, as a whole sample does."""
    pixels = scene(60, 75)
    pixels[:, :36] += 1.2  # bright above dark ground
    photo = Photo(pixels.clamp(-1, 1), Channels(mode="RGB"))
    part = torch.zeros(60, 75)
    part[10:17, 25:50] = 1
    mask = Photo(2 * part[None] - 1, Channels(mode="L"))
    recipe = with_overrides(PRESETS["flow"], {"generator.flow_side": "48"})
    model = Model.of_photo(photo, recipe)
    for found in fill.fill(model, mask=mask, exact=exact, seeds=[0, 1]):
        wrong = (found.pixels - photo.pixels)[:, part > 0].abs().mean()
        assert float(wrong) < 0.25


@pytest.mark.slow
def test_a_hole_in_gravel_is_filled_with_stones() -> None:
    """It is as rough as what was there: patches in between, an even gray, are not all there is."""
    gravel = read_photo(Path(skimage.__file__).parent / "data" / "gravel.png").pixels
    pixels = resize(gravel[None, :1, :200, :200], Size(128, 128))[0].clamp(-1, 1)
    photo = Photo(pixels, Channels(mode="L"))
    mask = disk(photo.size)
    new = mask.pixels[0] > 0
    found = fill.fill(singleimage.flow(photo), mask=mask, seeds=[0, 1])
    filled = sum(float(image.pixels[:, new].std()) for image in found) / len(found)
    assert filled > 0.75 * float(pixels[:, new].std())


def test_nothing_is_copied_out_of_the_hole(flow: Model) -> None:
    """Whatever the picture shows in the hole, the result is the same."""
    photo = flow.training_image()
    assert photo is not None
    mask = disk(photo.size)
    holed = Photo(torch.where(mask.pixels > 0, 1.0, photo.pixels), photo.channels)
    (plain,), (other,) = fill.fill(flow, photo, mask=mask), fill.fill(flow, holed, mask=mask)
    assert torch.equal(plain.pixels, other.pixels)
    marked = photo.pixels.clone()
    marked[0] = -0.9
    marked[0, mask.pixels[0] > 0] = 0.9
    model = singleimage.flow(Photo(marked, photo.channels))
    (found,) = fill.fill(model, mask=mask)
    assert float(found.pixels[0].amax()) < -0.5


def test_a_hole_in_everything_but_a_corner_is_refused_or_filled(flow: Model) -> None:
    size = flow.size
    mask = torch.ones(1, *size)
    mask[:, :3, :3] = -1
    with pytest.raises(MaskError, match="leaves no 7x7 pixels of the photo to copy from"):
        fill.fill(flow, mask=Photo(mask, Channels(mode="L")))
    mask[:, : size.height // 2] = -1
    (found,) = fill.fill(flow, mask=Photo(mask, Channels(mode="L")))
    assert float(found.pixels[:, size.height // 2 :].std()) > 0.05


def test_a_model_that_copies_extends_its_photo(flow: Model) -> None:
    photo = flow.training_image()
    assert photo is not None
    (image,) = fill.extend(flow, left=31, top=12)
    assert image.size == Size(photo.size.height + 12, photo.size.width + 31)
    assert torch.equal(image.pixels[:, 12:, 31:], photo.pixels)
    assert float(image.pixels[:, :, :31].std()) > 0.1


def test_a_sprite_keeps_its_palette() -> None:
    (found,) = fill.fill(singleimage.flow(sprite()), mask=disk(Size(40, 48)))
    assert colors(found) <= colors(sprite())


def test_exact_is_pixels_of_the_photo_and_otherwise_they_take_on_light(flow: Model) -> None:
    photo = flow.training_image()
    assert photo is not None
    own = {tuple(color) for color in photo.pixels.flatten(1).T.tolist()}

    def strange(exact: bool) -> int:
        (found,) = fill.fill(flow, mask=disk(photo.size), exact=exact)
        return len({tuple(color) for color in found.pixels.flatten(1).T.tolist()} - own)

    assert strange(True) == 0
    assert strange(False) > 0


@pytest.mark.slow
def test_nothing_is_copied_out_of_the_hole_of_the_photo_saved_with_loss_or_larger() -> None:
    """What shows the model's photo is taken for it: the mark of the hole is not put back."""
    pixels = scene(60, 75)
    pixels[:, 20:36, 25:41] = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    part = torch.zeros(1, 1, 60, 75)
    part[..., 19:37, 24:42] = 1
    model = singleimage.flow(Photo(pixels, Channels(mode="RGB")), variety=0.1)
    loss = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0)) * 0.06 - 0.03
    for size in (Size(60, 75), Size(90, 112)):
        picture = resize((pixels + loss).clamp(-1, 1)[None], size)[0].clamp(-1, 1)
        hole = (resize(part, size)[0] > 0.01).float()
        for found in fill.fill(
            model,
            Photo(picture, Channels(mode="RGB")),
            mask=Photo(hole * 2 - 1, Channels(mode="L")),
            exact=True,
        ):
            red, green = found.pixels[0][hole[0] > 0], found.pixels[1][hole[0] > 0]
            assert not bool(((red > 0.9) & (green < -0.9)).any()), size


@pytest.mark.slow
def test_a_model_of_several_photos_fills_the_first_of_them() -> None:
    pixels = scene(60, 75)
    pixels[:, 20:36, 25:41] = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    photo = Photo(pixels, Channels(mode="RGB"))
    part = torch.zeros(1, 60, 75)
    part[:, 19:37, 24:42] = 1
    mask = Photo(part * 2 - 1, Channels(mode="L"))
    model = singleimage.flow(photo, Photo(-scene(60, 75), photo.channels), variety=0.1)
    for given in (None, photo):
        (found,) = fill.fill(model, given, mask=mask, exact=True)
        assert found.size == photo.size
        red, green = found.pixels[0][part[0] > 0], found.pixels[1][part[0] > 0]
        assert not bool(((red > 0.9) & (green < -0.9)).any())
