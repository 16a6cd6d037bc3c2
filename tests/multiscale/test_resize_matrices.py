"""The weights of resizing are the published ones."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize, scaled
from singleimage.multiscale.resize_matrices import (
    Kind,
    aligned_weights,
    keys_weights,
    wrapped_weights,
)

quick = settings(max_examples=40, deadline=None, derandomize=True)
scales = st.floats(0.2, 3.0)
sides = st.integers(4, 24)
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


def kernel(distance: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Keys' kernel, a = -1/2, stretched for an antialiased scale; by its two polynomials."""
    d = np.abs(distance * scale)
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return scale * np.where(d < 1, near, np.where(d < 2, far, 0))


def widened(here: tuple[int, int], there: tuple[int, int]) -> bool:
    """Height shrinks, so that the kernel of the width is squeezed until it misses all samples."""
    return there[0] < here[0] and there[1] >= 3 * here[1]


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


@pytest.mark.parametrize("kind", ["keys", "aligned"])
def test_wrapped_weights_move_with_the_image_to_the_last_bit(kind: Kind) -> None:
    for n_in, n_out in ((12, 18), (18, 12), (7, 21), (21, 7), (8, 8), (9, 10)):
        weights = wrapped_weights(n_in, n_out, kind)
        steps = np.gcd(n_in, n_out)
        moved = np.roll(weights, (n_out // steps, n_in // steps), (0, 1))
        assert np.array_equal(moved, weights), (n_in, n_out)
        assert np.abs(weights.sum(axis=1) - 1).max() < 1e-12
        around = range(-3, 5)
        assert np.array_equal(wrapped_weights(n_in, n_out, kind, around), weights[around])
        if n_in == n_out:
            assert np.array_equal(weights, np.eye(n_in))
