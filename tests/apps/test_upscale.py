"""Super-resolution: what its strength and its consistency mean, and which factors there are."""

import math
from pathlib import Path

import pytest
from torch import Tensor

from singleimage import Model
from singleimage.apps.upscale import bicubic, upscale
from singleimage.errors import ArgumentError
from singleimage.generators.base import Generator
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize

Known = tuple[Generator, Tensor]


@pytest.fixture
def known(tiny_runs: dict[str, Path]) -> Known:
    """A generator that enlarges, and the photo (1, C, H, W) that it learned."""
    model = Model.load(tiny_runs["singan"])
    photo = model.training_image()
    assert photo is not None
    return model.generator, photo.pixels[None]


def test_strength_is_the_part_of_a_pass_that_is_kept(known: Known) -> None:
    generator, photo = known
    plain = bicubic(photo, 2).clamp(-1, 1)
    distances = []
    for strength in (0.0, 0.5, 1.0):
        image = upscale(generator, photo, 2, strength=strength, consistent=False)
        distances.append(float((image - plain).square().mean().sqrt()))
    assert distances[0] < 0.05  # several bicubic passes in place of one
    assert distances[0] < distances[1] < distances[2]
    with pytest.raises(ArgumentError, match=r"a strength of 1\.1 is out of range"):
        upscale(generator, photo, 2, strength=1.1)


def test_a_consistent_result_reduces_to_the_photo(known: Known) -> None:
    generator, photo = known
    height, width = size_of(photo)
    errors = []
    for consistent in (True, False):
        image = upscale(generator, photo, 2, consistent=consistent)
        assert size_of(image) == Size(height * 2, width * 2)
        reduced = resize(image, size_of(photo))
        errors.append(float((reduced - photo).square().mean().sqrt()))
    assert errors[0] < 0.02
    assert errors[0] < errors[1] / 3


def test_factors_out_of_range_are_refused(known: Known) -> None:
    for factor in (1, 0.5, -2, 17, math.nan):
        with pytest.raises(ArgumentError, match="out of range"):
            upscale(*known, factor)
