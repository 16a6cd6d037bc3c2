"""Upscale as a tool: sizes, layout, and pictures of other channels than color."""

from pathlib import Path
from typing import Any

import pytest
import torch

import singleimage
from scenes import scene
from singleimage import Channels, Model, Photo, for_upscaling, preset, train
from singleimage.apps.upscale import bicubic, upscale
from singleimage.errors import SizeError, UnsupportedEntry
from singleimage.images.channels import Mask
from singleimage.multiscale.geometry import Size, size_of
from singleimage.tools import upscale as upscaling
from tiny import tiny


def test_enlarging_to_any_factor_or_a_documented_refusal(model: Model, photo: Photo) -> None:
    top = len(model.generator.ladder.sizes) - 1
    if top not in model.generator.entry_levels:
        with pytest.raises(UnsupportedEntry, match="--preset singan --for upscale:2"):
            upscaling.upscale(model, factor=2)
        return
    for factor in (1.5, 2, 3, 4):
        (image,) = upscaling.upscale(model, factor=factor)
        assert image.size == Size(int(photo.size.height * factor), int(photo.size.width * factor))
        plain = bicubic(photo.pixels[None], factor)
        assert size_of(plain) == image.size
        # The layout is the photo's: no drift towards a corner, whatever the passes.
        error = float((image.pixels - plain[0]).square().mean())
        shifted = float((image.pixels - plain[0].roll((3, 3), (1, 2))).square().mean())
        assert error < shifted, factor


@pytest.mark.slow
@pytest.mark.parametrize(
    "channels", [Channels(mode="L"), Channels(mode="RGB", masks=(Mask(labels=(0, 255)),))]
)
def test_gray_pictures_and_masks_are_enlarged_too(channels: Channels) -> None:
    waves = torch.sin(torch.arange(40 * 44.0).view(1, 40, 44) / 7)
    photo = Photo(waves.repeat(channels.count, 1, 1), channels)
    recipe = tiny(for_upscaling(preset("singan"), 2), **{"training.steps": "1"})
    model = train(photo, recipe, seed=0, device="cpu")
    (image,) = upscaling.upscale(model, factor=2)
    assert (image.channels, image.size) == (channels, Size(80, 88))
    assert upscaling.compare_upscaled(model, 2, image, image)["psnr_ours"] > 100


def test_the_tool_hands_its_numbers_to_the_application(tiny_runs: dict[str, Path]) -> None:
    model = Model.load(tiny_runs["singan"])
    photo = model.training_image()
    assert photo is not None
    for numbers in ({"strength": 0.5}, {"consistent": False}, {"factor": 1.5}):
        known: dict[str, Any] = {"factor": 2.0, **numbers}
        made = upscaling.upscale(model, seeds=[3, 4], **known)
        for seed, image in zip((3, 4), made, strict=True):
            expected = upscale(model.generator, photo.pixels[None], seed=seed, **known)
            assert torch.equal(image.pixels, expected[0].clamp(-1, 1))


def test_what_would_be_too_large_is_refused_before_it_is_made() -> None:
    pixels = torch.zeros(3, 3000, 2400)
    pixels[:, ::2] = 1.0
    model = singleimage.flow(Photo(scene(40, 50), Channels(mode="RGB")))
    with pytest.raises(SizeError, match="12000x9600 is too large; use a smaller factor, for up"):
        upscaling.upscale(model, Photo(pixels, Channels(mode="RGB")))
