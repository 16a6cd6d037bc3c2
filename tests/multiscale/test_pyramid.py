"""The sizes of levels, and the levels of a photo."""

import math

import pytest
import torch
import torch.nn.functional as F

from reference.compare import SMALL_HP_VAE_GAN, photo
from singleimage.errors import SizeError
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import Pyramid, WidthPyramid

PUBLISHED = "24x33 30x41 38x51 48x65 60x81 76x102 97x129 121x162 153x204 192x256"


def test_sizes_by_width_are_those_of_the_published_code() -> None:
    ladder = WidthPyramid().plan(Size(188, 250))
    assert " ".join(map(str, ladder.sizes)) == PUBLISHED
    assert ladder.ratio == pytest.approx(0.7937, abs=1e-4)
    assert ladder.reduction == 256 / 250  # enlarged


def test_widths_lead_and_heights_follow() -> None:
    for size in (Size(500, 250), Size(90, 640), Size(256, 256)):
        ladder = WidthPyramid().plan(size)
        assert [s.width for s in ladder.sizes] == [33, 41, 51, 65, 81, 102, 129, 162, 204, 256]
        for height, width in ladder.sizes:
            assert height == math.floor(width * (size.height / size.width))


def test_other_sizes_of_output_scale_each_level() -> None:
    ladder = WidthPyramid().plan(Size(188, 250))
    sizes = ladder.sizes_for(Size(96, 512))
    assert sizes[0] == Size(12, 66)
    assert sizes[-1] == Size(96, 512)
    assert ladder.sizes_for(ladder.finest) == ladder.sizes


def test_photos_that_do_not_fit_a_width_are_refused_with_what_to_do() -> None:
    with pytest.raises(SizeError, match=r"too wide.*pyramid.min_width=40 or more"):
        WidthPyramid().plan(Size(40, 400))
    assert WidthPyramid(min_width=40).plan(Size(40, 400)).sizes[0].height >= 4
    with pytest.raises(SizeError, match=r"set pyramid.width to more than"):
        WidthPyramid(width=32).plan(Size(40, 40))


def test_every_level_is_made_from_the_photo_itself() -> None:
    pixels = photo().pixels[None]
    pyramid = Pyramid.build(pixels, SMALL_HP_VAE_GAN.pyramid)
    for image, size in zip(pyramid.images, pyramid.ladder.sizes, strict=True):
        assert torch.equal(image, F.interpolate(pixels, size, mode="bilinear"))
