"""Super-resolution: what its strength and its consistency mean, and which factors there are."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import singleimage
from scenes import scene
from singleimage import Channels, Model, Photo
from singleimage.apps.upscale import bicubic, upscale
from singleimage.errors import ArgumentError
from singleimage.generators.base import Generator
from singleimage.generators.detail import with_detail
from singleimage.generators.field import Search
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


def test_detail_of_the_photo_comes_closer_to_the_truth_than_plain_enlargement() -> None:
    """Waves of one length in every direction: what is blurred here is sharp there."""
    y, x = torch.meshgrid(torch.arange(192), torch.arange(192), indexing="ij")
    far = ((y - 40) ** 2 + (x - 50) ** 2).sqrt()
    truth = torch.sin(far**1.2 / 6).expand(1, 3, -1, -1) * 0.8
    small = resize(truth, Size(64, 64)).clamp(-1, 1)
    model = singleimage.flow(Photo(small[0], Channels(mode="RGB")))
    ours = upscale(model.generator, small, 3, strength=0.7)
    plain = bicubic(small, 3)
    assert float((ours - truth).square().mean()) < 0.9 * float((plain - truth).square().mean())
    assert size_of(upscale(model.generator, scene()[None], 1.5)) == Size(180, 225)


def test_passes_of_levels_that_show_all_of_the_photo_enlarge_all_of_it(
    tiny_runs: dict[str, Path],
) -> None:
    """Mirrored, it is enlarged mirrored; before, what rounding added was cut at two borders."""
    model = Model.load(tiny_runs["hp-vae-gan"])
    photo = resize(scene()[None], model.size)
    one, other = (
        upscale(model.generator, x, 2.3, strength=0.0, consistent=False)
        for x in (photo, photo.flip((2, 3)))
    )
    assert size_of(one) == Size(*(int(side * 2.3) for side in model.size))
    assert float((one - other.flip((2, 3))).abs().max()) < 0.05


def test_a_photo_is_enlarged_alike_by_any_number_of_threads(threads: int) -> None:
    photo, found = scene(90, 110), []
    for number in (1, 2):
        torch.set_num_threads(number)
        found.append(
            with_detail(photo[None], Size(180, 220), photo, size_of(photo), barred=None, rank=24)
        )
    assert torch.equal(*found)


def test_detail_is_compared_with_as_many_components_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranks, photo = [], scene(40, 50)
    monkeypatch.setattr(
        "singleimage.generators.detail.Search",
        lambda *given: ranks.append(given[2]) or Search(*given),
    )
    for most in (170_000_000, 80 * 100 * 8):
        monkeypatch.setattr("singleimage.generators.patch_copies.COMPONENTS", most)
        with_detail(photo[None], Size(80, 100), photo, size_of(photo), barred=None, rank=24)
    assert ranks == [24, 8]
