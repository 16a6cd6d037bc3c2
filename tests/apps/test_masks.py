"""Masks: dilated, softened, found as a difference, and used to blend."""

import io

import pytest
import torch
from torch import Tensor

from singleimage.apps.masks import blend, difference, dilated, marked, soften
from singleimage.errors import MaskError
from singleimage.images.channels import Channels, Mask
from singleimage.images.photo import Photo
from singleimage.images.reader import photo_from
from singleimage.multiscale.filling import filled
from singleimage.multiscale.geometry import Size


def small_image(size: Size, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def gray(pixels: Tensor) -> Photo:
    return Photo(pixels, Channels(mode="L"))


def color(pixels: Tensor) -> Photo:
    return Photo(pixels, Channels(mode="RGB"))


def test_a_mask_is_dilated_by_a_disk() -> None:
    mask = torch.zeros(1, 1, 23, 31)
    mask[..., 4, 5] = mask[..., 20, 30] = mask[..., 21, 2] = 1
    y, x = torch.meshgrid(torch.arange(23.0), torch.arange(31.0), indexing="ij")
    for radius in (0.0, 1.0, 2.5, 7.0, 40.0):
        near = [
            (y - a).square() + (x - b).square() <= radius**2 for a, b in ((4, 5), (20, 30), (21, 2))
        ]
        found = dilated(mask, radius)[0, 0] > 0
        assert torch.equal(found, near[0] | near[1] | near[2]), radius


def test_a_softened_mask_is_1_inside_0_far_away_and_between_elsewhere() -> None:
    mask = torch.zeros(1, 1, 80, 90)
    mask[..., 35:45, 40:50] = 1
    soft = soften(mask, 7)
    assert float(soft.amin()) == 0.0
    assert float(soft.amax()) == 1.0
    reach = 7 + 20
    far = torch.ones_like(mask, dtype=torch.bool)
    far[..., 35 - reach : 45 + reach, 40 - reach : 50 + reach] = False
    assert not bool(soft[far].any())
    assert float(soft[..., 40, 45]) > 0.95
    torch.testing.assert_close(soft, soft.flip(-1).roll(0, -1), atol=1e-5, rtol=0)  # symmetric


def test_a_softened_mask_is_dilated_by_a_disk() -> None:
    mask = torch.zeros(1, 1, 41, 41)
    mask[..., 20, 20] = 1
    grown = soften(mask, 7, sigma=0.01) > 0.5
    y, x = torch.meshgrid(torch.arange(-20, 21), torch.arange(-20, 21), indexing="ij")
    assert torch.equal(grown[0, 0], y.square() + x.square() <= 49)


def test_the_background_stays_bit_for_bit_where_the_mask_is_0() -> None:
    background, new = small_image(Size(60, 70)), small_image(Size(60, 70)).flip(-1)
    mask = torch.zeros(1, 1, 60, 70)
    mask[..., 30:34, 30:34] = 1
    soft = soften(mask, 2, sigma=1)
    mixed = blend(background, new, soft)
    outside = (soft == 0).expand_as(mixed)
    assert torch.equal(mixed[outside], background[outside])
    assert not torch.equal(mixed, background)


def test_a_difference_finds_what_was_pasted_and_no_specks() -> None:
    background = small_image(Size(40, 40)) * 0.5
    picture = background.clone()
    picture[..., 10:20, 12:25] += 0.4
    picture[..., 35, 35] += 0.5
    picture += 0.02  # as JPEG does
    found = difference(picture, background)
    expected = torch.zeros(1, 1, 40, 40)
    expected[..., 10:20, 12:25] = 1
    assert torch.equal(found, expected)


def test_masks_that_mark_nothing_or_all_or_have_another_size_are_refused() -> None:
    same = small_image(Size(20, 30))
    with pytest.raises(MaskError, match="is empty; mark"):
        marked(gray(torch.full((1, 20, 30), -1.0)), color(same[0]))
    with pytest.raises(MaskError, match="covers the whole picture"):
        marked(gray(torch.ones(1, 20, 30)), color(same[0]))
    with pytest.raises(MaskError, match=r"is 20x31, the picture 20x30"):
        marked(gray(torch.ones(1, 20, 31)), color(same[0]))
    with pytest.raises(MaskError, match="difference of picture and background is empty"):
        difference(same, same)


def test_a_smooth_filling_keeps_what_is_known_and_is_between_it() -> None:
    pixels = torch.zeros(1, 3, 33, 47)
    pixels[..., 24:] = 0.5
    part = torch.zeros(1, 1, 33, 47)
    part[..., 8:20, 15:35] = 1
    found = filled(torch.where(part > 0, -1.0, pixels), part)
    assert torch.equal(found[(part == 0).expand_as(found)], pixels[(part == 0).expand_as(pixels)])
    assert float(found.amin()) > -0.1
    assert float(found.amax()) < 0.6


@pytest.mark.parametrize("size", [(20, 200), (94, 250), (200, 20), (64, 64), (1, 8)])
def test_a_large_part_does_not_fade_to_gray(size: tuple[int, int]) -> None:
    """Half of a picture, or more: beyond where it is next to what is known."""
    part = torch.zeros(1, 1, *size)
    part[..., size[1] // 3 :] = 1
    pixels = torch.where(part > 0, 0.9, torch.full((1, 3, *size), -0.6))
    torch.testing.assert_close(filled(pixels, part), torch.full_like(pixels, -0.6))


SIZE = Size(60, 80)
PART = torch.zeros(1, *SIZE)
PART[:, 20:35, 30:60] = 1
"""What all these masks mark."""


def scene_to_mark() -> Tensor:
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    return torch.stack([torch.sin(x / 9 + c) * torch.cos(y / 7) for c in range(3)]) * 0.8


def painted(color: tuple[float, float, float], under: Tensor) -> Tensor:
    return torch.where(PART > 0, torch.tensor(color)[:, None, None], under)


def jpeg(pixels: Tensor) -> Tensor:
    stream = io.BytesIO()
    Photo(pixels, Channels(mode="RGB")).preview().save(stream, "JPEG", quality=90)
    return photo_from(stream.getvalue()).pixels


BLACK = torch.full((3, *SIZE), -1.0)
RED, GREEN, BLUE, WHITE = (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0), (1.0, 1.0, 1.0)
MARKS = {
    "white on black": (PART * 2 - 1, "L"),
    "gray on black": (PART * 0.6 - 1, "L"),
    "1 of 255 on 0": (PART * 2 / 255 - 1, "L"),
    "white on 1 of 255": (torch.where(PART > 0, 1.0, 2 / 255 - 1), "L"),
    "green on black": (painted(GREEN, BLACK), "RGB"),
    "blue on black": (painted(BLUE, BLACK), "RGB"),
    "red on the picture": (painted(RED, scene_to_mark()), "RGB"),
    "white on the picture": (painted(WHITE, scene_to_mark()), "RGB"),
    "black on the picture": (painted((-1.0, -1.0, -1.0), scene_to_mark()), "RGB"),
    "red on the picture, JPEG": (jpeg(painted(RED, scene_to_mark())), "RGB"),
    "a white brush in alpha": (torch.cat([painted(WHITE, BLACK), PART * 2 - 1]), "RGBA"),
    "a red brush in alpha": (torch.cat([painted(RED, BLACK), PART * 2 - 1]), "RGBA"),
    "the picture erased": (torch.cat([painted(WHITE, scene_to_mark()), 1 - PART * 2]), "RGBA"),
    "the part alone left": (torch.cat([painted(RED, scene_to_mark()), PART * 2 - 1]), "RGBA"),
}


@pytest.mark.parametrize("kind", MARKS)
def test_masks_are_read_as_people_paint_them(kind: str) -> None:
    pixels, mode = MARKS[kind]
    under = color(scene_to_mark())
    found = marked(Photo(pixels, Channels(mode=mode)), under)  # type: ignore[arg-type]
    wrong = (found.part[0] - PART).abs().mean()
    assert float(wrong) < (0.02 if "JPEG" in kind else 1e-9), found.how
    again = marked(gray(found.part[0] * 2 - 1), under)
    assert torch.equal(again.part, found.part)


def test_a_night_photo_is_not_taken_for_what_lies_under_a_plain_mask() -> None:
    night = torch.full((3, *SIZE), -1.0)
    night[..., 5:8, 5:8] = 1.0
    assert torch.equal(marked(gray(PART * 2 - 1), color(night)).part[0], PART)


def test_gaps_in_paint_are_painted_too() -> None:
    """Where the paint has the color of what is under it."""
    under = scene_to_mark()
    under[:, 25:28, 40:45] = torch.tensor(RED)[:, None, None]
    found = marked(color(painted(RED, under)), color(under))
    assert torch.equal(found.part[0], PART)


def test_paint_on_a_gray_picture_is_seen_whatever_masks_it_has() -> None:
    labels = Mask(labels=(0, 1, 2))
    pixels = torch.cat([scene_to_mark()[:1], torch.ones(3, *SIZE)])
    under = Photo(pixels, Channels(mode="L", masks=(labels,)))
    found = marked(color(painted(RED, scene_to_mark()[:1].expand(3, -1, -1))), under)
    assert torch.equal(found.part[0], PART)


def test_what_is_transparent_in_both_pictures_does_not_differ() -> None:
    """Its colors are made up from those around, which may have moved."""
    picture, background = small_image(Size(40, 40), 4), small_image(Size(40, 40), 4)
    picture[:, 3], background[:, 3] = -1.0, -1.0
    for image in (picture, background):
        image[..., 10:20, 12:25] = 1.0
    picture[..., :3, 12:16, 14:20] = background[..., :3, 12:16, 14:20] = 0.0
    picture[:, :3, 12:16, 14:20] = -1.0
    found = difference(picture, background, 3)
    expected = torch.zeros(1, 1, 40, 40)
    expected[..., 12:16, 14:20] = 1
    assert torch.equal(found, expected)
