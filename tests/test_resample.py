"""Resizing: the SinGAN family's antialiased bicubic, and the bicubic of ConSinGAN's features."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from transcription import resize_reference

from singleimage.multiscale import resample
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import (
    aligned_weights,
    keys_weights,
    resize,
    scaled,
    stretch,
    truncate,
)

quick = settings(max_examples=40, deadline=None, derandomize=True)
sides = st.integers(4, 24)
scales = st.floats(0.2, 3.0)
values = st.floats(-1.0, 1.0)

# Obtained by running the published resize on one-hot signals.
PUBLISHED = {
    (8, 4, 0.5): (
        [
            [0.464435, 0.464435, 0.121339, -0.037657, -0.012552, 0, 0, 0],
            [-0.034749, 0.111969, 0.428571, 0.428571, 0.111969, -0.034749, -0.011583, 0],
            [0, -0.011719, -0.035156, 0.113281, 0.433594, 0.433594, 0.113281, -0.046875],
            [0, 0, 0, -0.011719, -0.035156, 0.101562, 0.398438, 0.546875],
        ],
        [0.543933, 2.459459, 4.511719, 6.550781],
    ),
    (4, 6, 1.5): (
        [
            [1.065789, -0.065789, 0, 0],
            [0.529412, 0.529412, -0.058824, 0],
            [-0.057870, 0.9375, 0.131944, -0.011574],
            [-0.011574, 0.131944, 0.9375, -0.057870],
            [0, -0.0625, 0.5625, 0.5],
            [0, 0, -0.069444, 1.069444],
        ],
        [-0.065789, 0.411765, 1.166667, 1.833333, 2.5625, 3.069444],
    ),
}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def image(height: int, width: int, *, batch: int = 1, channels: int = 3, seed: int = 0) -> Tensor:
    """Values that reach both ends of [-1, 1]."""
    return noise(batch, channels, height, width, seed=seed).clamp(-1, 1)


def kernel(distance: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Keys' kernel, a = -1/2, stretched for an antialiased scale; by its two polynomials."""
    d = np.abs(distance * scale)
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return scale * np.where(d < 1, near, np.where(d < 2, far, 0))


def off_boundaries(x: Tensor) -> Tensor:
    """Images whose values lie well inside an 8-bit level."""
    return x.clamp(-0.99, 0.99).add(1).mul(127.5).floor().add(0.3).div(127.5).sub(1)


def widened(here: tuple[int, int], there: tuple[int, int]) -> bool:
    """Height shrinks, so that the kernel of the width is squeezed until it misses all samples."""
    return there[0] < here[0] and there[1] >= 3 * here[1]


# The weights


@pytest.mark.parametrize("case", PUBLISHED)
def test_weights_are_the_published_ones(case: tuple[int, int, float]) -> None:
    n_in, n_out, scale = case
    matrix, ramp = PUBLISHED[case]
    weights = keys_weights(n_in, n_out, scale)
    assert np.abs(weights - np.array(matrix)).max() < 6e-7
    assert np.abs(weights @ np.arange(n_in) - np.array(ramp)).max() < 6e-7


@pytest.mark.parametrize("case", PUBLISHED)
def test_resize_applies_the_weights_to_rows_and_to_columns(case: tuple[int, int, float]) -> None:
    n_in, n_out, scale = case
    ramp = torch.tensor(PUBLISHED[case][1], dtype=torch.float64)
    levels = torch.arange(n_in, dtype=torch.float64) / 10  # small enough that nothing is clamped
    tall = levels.view(1, 1, n_in, 1).expand(-1, -1, -1, n_in)
    for axis, x in ((2, tall), (3, tall.mT)):
        y = resize(x, Size(n_out, n_out), scale=scale)
        assert (10 * y.select(5 - axis, 0)[0, 0] - ramp).abs().max() < 6e-6


@quick
@given(n_in=sides, scale=scales)
def test_every_row_of_weights_sums_to_one(n_in: int, scale: float) -> None:
    rows = keys_weights(n_in, math.ceil(n_in * scale), scale)
    assert np.abs(rows.sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize(("n", "scale"), [(8, 0.5), (9, 0.7), (8, 1.5), (7, 2.3)])
def test_first_row_drops_taps_outside_and_last_row_mirrors_them(n: int, scale: float) -> None:
    squeeze = min(scale, 1.0)
    rows = keys_weights(n, math.ceil(n * scale), scale)
    inside = np.arange(n)

    start = 0.5 / scale - 0.5
    truncated = kernel(start - inside, squeeze)
    assert np.abs(rows[0] - truncated / truncated.sum()).max() < 1e-12

    end = (len(rows) - 0.5) / scale - 0.5
    mirrored = kernel(end - inside, squeeze) + kernel(end - (2 * n - 1 - inside), squeeze)
    assert np.abs(rows[-1] - mirrored / mirrored.sum()).max() < 1e-12

    other_way = kernel(start - inside, squeeze) + kernel(start - (-1 - inside), squeeze)
    assert np.abs(rows[0] - other_way / other_way.sum()).max() > 1e-3


@quick
@given(n_in=sides, n_out=sides)
def test_stretch_reproduces_a_constant(n_in: int, n_out: int) -> None:
    assert np.abs(aligned_weights(n_in, n_out).sum(axis=1) - 1).max() < 1e-12


# Resize


@quick
@given(value=values, height=sides, width=sides, scale=scales)
def test_a_constant_image_stays_constant_at_any_scale(
    value: float, height: int, width: int, scale: float
) -> None:
    flat = torch.full((1, 1, height, width), value, dtype=torch.float64)
    y = resize(flat, scaled(size_of(flat), scale), scale=scale)
    assert (y - value).abs().max() < 1e-12


@quick
@given(value=values, here=st.tuples(sides, sides), there=st.tuples(sides, sides))
def test_a_constant_image_stays_constant_at_any_size(
    value: float, here: tuple[int, int], there: tuple[int, int]
) -> None:
    assume(not widened(here, there))
    flat = torch.full((1, 1, *here), value, dtype=torch.float64)
    assert (resize(flat, Size(*there)) - value).abs().max() < 1e-12


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


# Truncation to 8 bits


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


# Stretch


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


# Gradients and caches


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
