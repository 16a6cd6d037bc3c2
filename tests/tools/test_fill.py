"""Fill and extend: what is marked is new, and the rest stays."""

import pytest
import torch

from pasting import with_square
from singleimage import Model, Photo
from singleimage.errors import ArgumentError
from singleimage.multiscale.geometry import Size
from singleimage.tools import fill


def test_what_is_not_marked_is_not_filled(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    (image,) = fill.fill(model, composite, mask)
    assert image.size == photo.size
    assert bool((image.pixels[:, 12:16, 16:20] < 0.99).any()), "the white square is still there"
    assert torch.equal(image.pixels[:, -6:, -6:], photo.pixels[:, -6:, -6:])


def test_a_smooth_filling_keeps_what_is_known_and_is_between_it() -> None:
    pixels = torch.zeros(1, 3, 33, 47)
    pixels[..., 24:] = 0.5
    part = torch.zeros(1, 1, 33, 47)
    part[..., 8:20, 15:35] = 1
    filled = fill._smooth(torch.where(part > 0, -1.0, pixels), part)
    assert torch.equal(filled[(part == 0).expand_as(filled)], pixels[(part == 0).expand_as(pixels)])
    assert float(filled.amin()) > -0.1
    assert float(filled.amax()) < 0.6


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
