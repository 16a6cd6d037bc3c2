"""Rearrangements: shown, read again, and applied."""

import pytest
import torch

from scenes import scene
from singleimage.images.rearrangement import ELSEWHERE, Rearrangement
from singleimage.multiscale.geometry import Size

PHOTO = Size(120, 150)
PLACES = torch.randint(120 * 150, (30, 40), generator=torch.Generator().manual_seed(3))


def test_a_map_on_16_bits_gives_the_places_back() -> None:
    places = PLACES.clone()
    places[4, 5] = ELSEWHERE
    shown = Rearrangement(places, PHOTO).shown()
    sixteen = ((shown.double() + 1) / 2 * 65535).round() / 65535 * 2 - 1
    assert torch.equal(Rearrangement.read(sixteen.float(), PHOTO).places, places)


def test_an_image_is_rearranged_pixel_by_pixel() -> None:
    how = Rearrangement(PLACES, PHOTO)
    assert torch.equal(how.applied(scene())[:, 7, 9], scene().flatten(1)[:, PLACES[7, 9]])
    nowhere = Rearrangement(torch.full((2, 2), ELSEWHERE), PHOTO)
    assert nowhere.applied(scene()).unique().tolist() == [-1]


def test_a_map_fits_an_image_of_another_size() -> None:
    identity = Rearrangement(torch.arange(PHOTO.height * PHOTO.width).view(PHOTO), PHOTO)
    twice = Size(240, 300)
    places = Rearrangement.read(identity.shown(), twice).places
    assert places[0, 0] == 0
    assert places[-1, -1] == 240 * 300 - 1


def test_a_copy_moves_together_and_soup_does_not() -> None:
    identity = torch.arange(PHOTO.height * PHOTO.width).view(PHOTO)
    assert Rearrangement(identity, PHOTO).together == pytest.approx(1)
    assert Rearrangement(identity[:, 40:], PHOTO).together == pytest.approx(1)
    soup = identity.flatten()[torch.randperm(120 * 150, generator=torch.Generator().manual_seed(1))]
    assert Rearrangement(soup.view(PHOTO), PHOTO).together < 0.01
