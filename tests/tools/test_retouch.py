"""Harmonize, edit, paint and restyle: what changes, and what stays bit for bit."""

from dataclasses import replace
from pathlib import Path

import torch

import singleimage
from pasting import with_square
from scenes import colors, disk, scene, sprite
from singleimage import Channels, Model, Photo, read_photo
from singleimage.apps.inject import working_size
from singleimage.apps.masks import blend, dilated, marked, soften
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.resample import resize
from singleimage.tools import retouch


def test_retouching_changes_the_masked_part_alone(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    for task in (retouch.harmonize, retouch.edit):
        for found in (
            task(model, composite, mask=mask),
            task(model, composite),  # the mask is the difference to the training image
        ):
            (image,) = found
            assert image.size == photo.size
            changed = (image.pixels != photo.pixels).any(dim=0)
            assert bool(changed[10:18, 14:22].all())
            assert not torch.equal(image.pixels, composite.pixels)
    # A mask so small and soft that there is an outside at this size.
    soft = soften(marked(mask, photo).part, 1, sigma=0.5)
    (raw,) = retouch.rendered(model, retouch.HARMONIZE.share, composite.pixels[None], None, [0])
    mixed = blend(photo.pixels[None], raw[None], soft)
    outside = (soft == 0).expand_as(mixed)
    assert torch.equal(mixed[outside], photo.pixels[None][outside])


def test_outside_the_mask_the_file_is_the_background(
    model: Model, photo: Photo, tmp_path: Path
) -> None:
    """Of a large picture: the mask grows with it, but not to its border."""
    big = resize(photo.pixels[None], Size(photo.size.height * 6, photo.size.width * 6))[0]
    background = Photo(big, photo.channels)
    background.save(tmp_path / "background.png")
    background = read_photo(tmp_path / "background.png")
    pixels = background.pixels.clone()
    pixels[:, 4:30, 4:30] = 1
    composite = replace(background, pixels=pixels)
    (image,) = retouch.harmonize(model, composite, background=background)
    image.save(tmp_path / "result.png")
    result = read_photo(tmp_path / "result.png").pixels
    assert torch.equal(result[:, -20:, -20:], background.pixels[:, -20:, -20:])
    assert not torch.equal(result[:, 4:30, 4:30], background.pixels[:, 4:30, 4:30])


def test_around_the_part_fine_detail_of_a_large_picture_stays(model: Model, photo: Photo) -> None:
    size = Size(4 * photo.size.height, 4 * photo.size.width)
    grain = 0.2 * torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    background = replace(photo, pixels=(resize(photo.pixels[None], size) + grain)[0].clamp(-1, 1))
    composite, mask = with_square(background, 40)
    (image,) = retouch.harmonize(model, composite, background=background, mask=mask)

    def fineness(rows: slice) -> float:
        part = image.pixels[:, rows, 24:44]
        return float((part[..., 1:] - part[..., :-1]).abs().mean())

    assert fineness(slice(20, 40)) < 0.5 * fineness(slice(58, 66))  # below the square, but softened


def test_alpha_is_a_mask(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    pixels = torch.cat([composite.pixels, mask.pixels])
    cut_out = Photo(pixels, Channels(mode="RGBA"))
    (by_alpha,) = retouch.harmonize(model, cut_out)
    (by_mask,) = retouch.harmonize(model, composite, background=photo, mask=mask)
    torch.testing.assert_close(by_alpha.pixels, by_mask.pixels, atol=1e-5, rtol=0)


def test_alpha_beside_a_mask_shows_the_background(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    clear = torch.where(mask.pixels > 0, 1.0, -1.0)
    cut_out = Photo(torch.cat([composite.pixels, clear]), Channels(mode="RGBA"))
    (with_alpha,) = retouch.harmonize(model, cut_out, mask=mask)
    (without,) = retouch.harmonize(model, composite, background=photo, mask=mask)
    torch.testing.assert_close(with_alpha.pixels, without.pixels, atol=1e-5, rtol=0)


def test_pictures_of_any_size_are_rendered_at_the_models_size(model: Model) -> None:
    for size in (Size(90, 120), Size(40, 30), Size(30, 80)):
        pixels = torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
        picture = Photo(pixels, Channels(mode="RGB"))
        expected = working_size(model.generator, size)
        assert max(expected) == max(model.size)
        for task in (retouch.paint, retouch.restyle):
            images = task(model, picture, seeds=[0, 1])
            assert [image.size for image in images] == [expected, expected]


def test_results_depend_on_their_seed_alone(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    both = retouch.harmonize(model, composite, mask=mask, seeds=[3, 4])
    (alone,) = retouch.harmonize(model, composite, mask=mask, seeds=[4])
    torch.testing.assert_close(both[1].pixels, alone.pixels, atol=1e-5, rtol=0)


def test_a_model_that_copies_keeps_what_is_outside(flow: Model) -> None:
    photo = flow.training_image()
    assert photo is not None
    composite, mask = with_square(photo)
    for tool, config in ((retouch.harmonize, retouch.HARMONIZE), (retouch.edit, retouch.EDIT)):
        (found,) = tool(flow, composite, mask=mask)
        part = dilated(marked(mask, photo).part, config.radius)[0, 0] > 0
        assert torch.equal(found.pixels[:, ~part], photo.pixels[:, ~part])
        assert bool((found.pixels != photo.pixels)[:, part].any())


def test_what_is_edited_has_the_photos_values_and_what_is_harmonized_its_colors() -> None:
    """A red object on a photo without red: harmonizing leaves nothing of the color."""
    pixels = scene()
    pixels[0] = pixels[1]
    photo = Photo(pixels, Channels(mode="RGB"))
    pasted = pixels.clone()
    pasted[0, 30:70, 40:80], pasted[1:, 30:70, 40:80] = 1.0, -1.0
    model = singleimage.flow(photo)
    mask = torch.full((1, 120, 150), -1.0)
    mask[:, 30:70, 40:80] = 1
    (found,) = retouch.harmonize(
        model, Photo(pasted, photo.channels), mask=Photo(mask, Channels(mode="L"))
    )
    assert float((found.pixels[0] - found.pixels[1]).abs().amax()) < 0.3


def test_structure_stays_where_a_drawing_is_painted(flow: Model) -> None:
    """Black and white halves become the darkest and the lightest the photo has."""
    drawing = torch.full((3, 50, 60), -0.8)
    drawing[:, :, 30:] = 0.8
    for tool in (retouch.paint, retouch.restyle):
        (found,) = tool(flow, Photo(drawing, Channels(mode="RGB")), seeds=[3])
        assert max(found.size) == 75
        left, right = found.pixels.mean(0).chunk(2, dim=1)
        assert float(right.mean() - left.mean()) > 0.1


def test_a_sprite_is_edited_in_its_palette() -> None:
    photo = sprite()
    composite = Photo(photo.pixels.roll(3, 1), photo.channels)
    (found,) = retouch.edit(singleimage.flow(photo), composite, mask=disk(photo.size))
    assert colors(found) <= colors(photo)


def test_paint_over_one_of_two_objects_marks_that_one(flow: Model) -> None:
    """It is paint on the composite, not all that differs from the photo, which is under it."""
    base = flow.training_image()
    assert base is not None
    composite, _ = with_square(base)
    composite.pixels[:, 40:50, 50:60] = -0.8
    painted = composite.pixels.clone()
    painted[:, 38:52, 48:62] = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    mask = Photo(painted, Channels(mode="RGB"))
    (found,) = singleimage.harmonize(flow, composite, mask=mask)
    assert torch.equal(found.pixels[:, 10:18, 14:22], base.pixels[:, 10:18, 14:22])
    assert not torch.equal(found.pixels[:, 40:50, 50:60], base.pixels[:, 40:50, 50:60])
