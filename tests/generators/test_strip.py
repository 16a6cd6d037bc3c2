"""Several photos as one source."""

import pytest
import torch

import singleimage
from scenes import scene
from singleimage import Channels, Photo
from singleimage.apps.sample import reconstruct
from singleimage.errors import ArgumentError, ImageError, SizeError
from singleimage.generators.patches import PatchGrid
from singleimage.generators.strip import Strip
from singleimage.multiscale.geometry import Size, size_of

RGB = Channels(mode="RGB")
FIRST = Photo(scene(), RGB)
SECOND = Photo(-scene(90, 160).flip(2), RGB)


def test_photos_lie_side_by_side_as_high_as_the_first() -> None:
    strip = Strip.of([FIRST.pixels, SECOND.pixels])
    (_, width), (start, wide) = strip.spans
    assert (width, wide) == (150, round(160 * 120 / 90))
    assert torch.equal(strip.image[..., :150], FIRST.pixels)
    assert size_of(strip.image) == Size(120, start + wide)
    assert strip.between.sum() == 120 * (start - 150)
    assert strip.first == FIRST.size


def test_places_are_relative_to_the_own_photo() -> None:
    strip = Strip.of([FIRST.pixels, SECOND.pixels])
    unit = torch.tensor([1.0, 1.25])
    places = strip.places(PatchGrid(size_of(strip.image), 7, 1), unit)
    places = places.view(114, -1, 2)
    start, width = strip.spans[1]
    assert torch.allclose(places[50, 71], torch.tensor([53.5 / 120, 74.5 / 150 * 1.25]))
    across = (start + 40 + 3.5 - start) / width * 1.25
    assert torch.allclose(places[50, start + 40], torch.tensor([53.5 / 120, across]))


@pytest.mark.usefixtures("quick_flow")
def test_pictures_take_from_all_photos_and_nothing_from_between() -> None:
    first, second = Photo(scene(60, 75), RGB), Photo(-scene(45, 80).flip(2), RGB)
    model = singleimage.flow(first, second, variety=0.6)
    assert model.size == first.size
    start = Strip.of([first.pixels, second.pixels]).spans[1][0]
    for drawn in model.sample([0, 1]):
        found = drawn.rearrangement
        assert found is not None
        columns = found.places % found.photo.width
        other = columns >= start
        assert 0.1 < float(other.float().mean()) < 0.9
        assert not ((columns >= 75) & ~other).any()
    (picture,) = model.sample([0], size=(50, 100))
    assert picture.size == Size(50, 100)


def test_the_anchor_is_the_first_photo() -> None:
    model = singleimage.flow(FIRST, SECOND)
    photo = reconstruct(model.generator)[0]
    assert float((photo - FIRST.pixels).abs().max()) < 0.01


def test_what_does_not_go_together_is_refused() -> None:
    clear = torch.cat([scene(), scene()[:1]])
    with pytest.raises(ImageError, match="different channels"):
        singleimage.flow(FIRST, Photo(clear, Channels(mode="RGBA")))
    with pytest.raises(ArgumentError, match="several photos cannot be saved"):
        singleimage.flow(FIRST, SECOND).save("nowhere.safetensors")


def test_photos_that_are_too_large_together_are_refused() -> None:
    """A panorama as high as a photo, before anything is made of it."""
    photo, panorama = (torch.zeros(3, 1, 1).expand(3, *size) for size in ((3000, 4000), (20, 9000)))
    with pytest.raises(SizeError, match="too large together: as high as the first, 4063 megapix"):
        Strip.of([photo, panorama])
