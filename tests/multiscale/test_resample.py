"""Reducing and enlarging images."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from reference.compare import difference, noise
from reference.singan import resize_reference
from singleimage.multiscale import resample
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import (
    bilinear,
    enlarge,
    resize,
    retimed,
    scaled,
    stretch,
    truncate,
)

quick = settings(max_examples=40, deadline=None, derandomize=True)
scales = st.floats(0.2, 3.0)
sides = st.integers(4, 24)


def plain_bilinear(row: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    """OpenCV's rule for one axis: pixel centers, edges repeated."""
    places = (np.arange(length) + 0.5) * len(row) / length - 0.5
    return np.interp(places, np.arange(len(row)), row)


def test_levels_are_made_by_plain_bilinear_interpolation() -> None:
    for here, there in ((20, 13), (13, 20), (40, 5)):
        rows = noise(1, 1, 1, here).clamp(-1, 1)
        found = bilinear(rows, Size(1, there))[0, 0, 0]
        expected = plain_bilinear(rows[0, 0, 0].numpy(), there)
        assert np.abs(found.numpy() - expected).max() < 1e-12
        levels = bilinear(rows, Size(1, there), quantize=True).add(1).mul(127.5)
        assert difference(levels, levels.round()) < 1e-9
        assert np.abs(levels[0, 0, 0].numpy() / 127.5 - 1 - expected).max() <= 0.5 / 127.5 + 1e-9


def test_between_levels_images_are_enlarged_with_aligned_corners() -> None:
    x = noise(2, 3, 9, 11).requires_grad_()
    found = enlarge(x, Size(14, 18))
    expected = F.interpolate(x, (14, 18), mode="bilinear", align_corners=True)
    assert difference(found, expected) < 1e-12
    weights = noise(*found.shape, seed=1)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected))
    assert difference(ours, theirs) < 1e-12


def test_time_is_enlarged_as_rows_and_columns_are() -> None:
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64).requires_grad_()
    found = retimed(enlarge(x, Size(8, 9)), 7)
    expected = F.interpolate(x, (7, 8, 9), mode="trilinear", align_corners=True)
    assert difference(found, expected) < 1e-12
    ours, theirs = (torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected))
    assert difference(ours, theirs) < 1e-12


def image(height: int, width: int, *, batch: int = 1, channels: int = 3, seed: int = 0) -> Tensor:
    """Values that reach both ends of [-1, 1]."""
    return noise(batch, channels, height, width, seed=seed).clamp(-1, 1)


def off_boundaries(x: Tensor) -> Tensor:
    """Images whose values lie well inside an 8-bit level."""
    return x.clamp(-0.99, 0.99).add(1).mul(127.5).floor().add(0.3).div(127.5).sub(1)


@quick
@given(height=sides, width=sides, scale=scales, seed=st.integers(0, 99), quantize=st.booleans())
def test_resize_by_a_scale_equals_the_transcription(
    height: int, width: int, scale: float, seed: int, quantize: bool
) -> None:
    x = off_boundaries(image(height, width, batch=2, seed=seed))
    expected = resize_reference(x, scale=scale, quantise=quantize)
    found = resize(x, scaled(size_of(x), scale), scale=scale, quantize=quantize)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-12


@quick
@given(
    here=st.tuples(sides, sides),
    there=st.tuples(sides, sides),
    channels=st.integers(1, 4),
    quantize=st.booleans(),
)
def test_resize_to_a_size_equals_the_transcription(
    here: tuple[int, int], there: tuple[int, int], channels: int, quantize: bool
) -> None:
    """Where both sides shrink or both grow; else the published code lets the height decide."""
    assume((there[0] < here[0]) == (there[1] < here[1]))
    x = off_boundaries(image(*here, channels=channels))
    expected = resize_reference(x, size=there, quantise=quantize)
    found = resize(x, Size(*there), quantize=quantize)
    assert (found - expected).abs().max() < 1e-12


def test_values_beyond_the_range_count_as_its_ends() -> None:
    """Generated images leave [-1, 1] a little; the published resize clamps before and after."""
    x = noise(1, 3, 8, 9)
    expected = resize_reference(x, scale=1.4, quantise=False)
    assert (resize(x, size_of(expected), scale=1.4) - expected).abs().max() < 1e-12


def test_an_image_that_shrinks_in_height_and_grows_threefold_in_width_is_finite() -> None:
    assert resize(image(5, 5), Size(4, 15)).isfinite().all()


def test_the_comparison_with_the_transcription_sees_a_wrong_scale() -> None:
    x = image(12, 15)
    expected = resize_reference(x, scale=1.4, quantise=False)
    found = resize(x, size_of(expected), scale=1.4 + 1e-4)
    assert (found - expected).abs().max() > 1e-6


@quick
@given(height=sides, width=sides, scale=scales)
def test_resized_images_stay_within_range(height: int, width: int, scale: float) -> None:
    x = noise(1, 3, height, width).sign()  # overshoots at every edge
    y = resize(x, scaled(size_of(x), scale), scale=scale)
    assert -1 <= y.min() <= y.max() <= 1


@quick
@given(height=sides, width=sides, scale=scales, cut=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_a_size_smaller_than_the_scaled_one_is_its_top_left_corner(
    height: int, width: int, scale: float, cut: tuple[int, int]
) -> None:
    x = image(height, width)
    whole = scaled(size_of(x), scale)
    part = Size(max(1, whole.height - cut[0]), max(1, whole.width - cut[1]))
    cropped = resize(x, whole, scale=scale)[..., : part.height, : part.width]
    assert (resize(x, part, scale=scale) - cropped).abs().max() < 1e-12


def test_a_size_beyond_the_scaled_one_continues_the_mirrored_border() -> None:
    x = image(9, 9)
    mirrored = torch.cat([x, x.flip(2)], dim=2)
    mirrored = torch.cat([mirrored, mirrored.flip(3)], dim=3)
    expected = resize(mirrored, Size(15, 16), scale=1.5)
    assert (resize(x, Size(15, 16), scale=1.5) - expected).abs().max() < 1e-12


def test_the_scale_places_the_samples_and_not_the_ratio_of_sizes() -> None:
    x = image(11, 11)
    size = scaled(size_of(x), 0.75)
    assert size == Size(9, 9)  # 8.25, rounded up
    assert (resize(x, size, scale=0.75) - resize(x, size)).abs().max() > 1e-2


def test_resize_to_the_same_size_only_clamps() -> None:
    x = 1.5 * image(6, 7)
    for scale in (None, 1.0):
        assert torch.equal(resize(x, Size(6, 7), scale=scale), x.clamp(-1, 1))


def test_resize_treats_every_image_and_channel_alike() -> None:
    x = image(8, 9, batch=3, channels=4)
    together = resize(x, Size(5, 14))
    for i in range(3):
        for c in range(4):
            alone = resize(x[i : i + 1, c : c + 1], Size(5, 14))
            assert (together[i : i + 1, c : c + 1] - alone).abs().max() < 1e-12


@quick
@given(value=st.floats(-3, 3), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_truncating_twice_is_truncating_once(value: float, dtype: torch.dtype) -> None:
    x = torch.tensor([value], dtype=dtype)
    once = truncate(x)
    assert torch.equal(truncate(once), once)
    assert -1 <= once.item() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_truncation_keeps_every_level_of_an_8_bit_photo(dtype: torch.dtype) -> None:
    """Plain truncation, as published, loses one level at 63 of the 256 values in float32."""
    levels = torch.arange(256)
    x = levels.to(dtype) / 255 * 2 - 1
    kept = truncate(x).double().add(1).mul(127.5)
    assert torch.equal(kept.round().long(), levels)
    assert (kept - kept.round()).abs().max() < 1e-4


@quick
@given(seed=st.integers(0, 99))
def test_truncation_is_the_published_one_away_from_the_levels(seed: int) -> None:
    x = noise(1, 3, 20, 20, seed=seed)
    published = (255 * ((x + 1) / 2).clamp(0, 1)).trunc()
    found = truncate(x).add(1).mul(127.5).round()
    above = (255 * ((x + 1) / 2).clamp(0, 1)).frac()
    assert torch.equal(found[above < 0.999], published[above < 0.999])
    assert ((found - published)[above >= 0.999] == 1).all()


@quick
@given(here=st.tuples(sides, sides), there=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_stretch_is_bicubic_interpolation_with_aligned_corners(
    here: tuple[int, int], there: tuple[int, int]
) -> None:
    x = noise(2, 3, *here)
    expected = F.interpolate(x, size=there, mode="bicubic", align_corners=True)
    assert (stretch(x, Size(*there)) - expected).abs().max() < 1e-12


def test_stretch_keeps_the_corners_and_does_not_clamp() -> None:
    x = 5 * noise(1, 2, 6, 8)
    y = stretch(x, Size(13, 11))
    corners = torch.tensor([0, -1])
    assert torch.allclose(
        y[..., corners, :][..., corners], x[..., corners, :][..., corners], atol=1e-12
    )
    assert y.abs().max() > 1


def test_gradients_flow_through_both_resizes() -> None:
    x = (0.3 * noise(1, 2, 6, 4)).clamp(-0.6, 0.6).requires_grad_()  # away from the final clamp
    for size, scale in ((Size(4, 3), 0.6), (Size(8, 5), 1.4), (Size(7, 3), None)):
        assert torch.autograd.gradcheck(lambda v, s=size, k=scale: resize(v, s, scale=k), (x,))
        assert torch.autograd.gradcheck(lambda v, s=size: stretch(v, s), (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrices_first_made_for_inference_serve_training_afterwards(dtype: torch.dtype) -> None:
    resample._whole_axis.cache_clear()
    x = noise(1, 3, 8, 9, dtype=dtype)
    with torch.inference_mode():
        resize(x, Size(5, 6))
        stretch(x, Size(11, 12))
    x.requires_grad_()
    (resize(x, Size(5, 6)).square().sum() + stretch(x, Size(11, 12)).square().sum()).backward()
    assert x.grad is not None
    assert bool(x.grad.abs().sum() > 0)


def test_results_have_the_type_of_the_input() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = noise(1, 1, 8, 8).to(dtype)
        assert resize(x, Size(5, 5)).dtype == stretch(x, Size(5, 5)).dtype == dtype
