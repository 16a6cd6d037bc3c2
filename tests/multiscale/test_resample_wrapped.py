"""Resizing images that wrap, as if they were repeated without end."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reference.compare import difference, noise
from singleimage.multiscale.geometry import OPEN, Part, Size, Window, Wrap, framed
from singleimage.multiscale.resample import (
    resize,
    resize_source,
    stretch,
    stretch_source,
)
from wrapping import BOTH, ROWS, WRAPS

quick = settings(max_examples=25, deadline=None, derandomize=True)
sides = st.integers(4, 24)
wraps = st.sampled_from(WRAPS)


def middle(x: Tensor) -> Tensor:
    """The tile in the middle of three by three."""
    height, width = x.shape[-2] // 3, x.shape[-1] // 3
    return x[..., height : 2 * height, width : 2 * width]


@quick
@given(here=st.tuples(sides, sides), there=st.tuples(sides, sides))
def test_a_wrapped_resize_is_that_of_the_repeated_image(
    here: tuple[int, int], there: tuple[int, int]
) -> None:
    """And its scale is the ratio of sizes, whatever is given."""
    x = noise(2, 3, *here).mul(0.3).clamp(-1, 1)
    repeated = resize(x.repeat(1, 1, 3, 3), Size(3 * there[0], 3 * there[1]))
    assert difference(resize(x, Size(*there), wrap=BOTH, scale=0.123), middle(repeated)) < 1e-12


@quick
@given(here=st.tuples(sides, sides), there=st.tuples(sides, sides))
def test_a_wrapped_stretch_is_bicubic_interpolation_of_the_repeated_features(
    here: tuple[int, int], there: tuple[int, int]
) -> None:
    x = noise(2, 3, *here)
    size = (3 * there[0], 3 * there[1])
    repeated = F.interpolate(x.repeat(1, 1, 3, 3), size, mode="bicubic", align_corners=False)
    assert difference(stretch(x, Size(*there), wrap=BOTH), middle(repeated)) < 1e-12


@quick
@given(here=st.tuples(sides, sides), there=st.tuples(sides, sides), wrap=wraps)
def test_an_axis_that_does_not_wrap_is_resized_as_ever(
    here: tuple[int, int], there: tuple[int, int], wrap: Wrap
) -> None:
    axes = [0 if around else 1 for around in wrap]  # smooth along what wraps: a constant
    x = noise(1, 2, *(n if axis else 1 for n, axis in zip(here, axes, strict=True)))
    x = x.mul(0.2).clamp(-0.5, 0.5).expand(-1, -1, *here)
    size = Size(*there)
    assert difference(stretch(x, size, wrap=wrap), stretch(x, size)) < 1e-12
    if not any(m < n for n, m in zip(here, there, strict=True)):
        assert difference(resize(x, size, wrap=wrap), resize(x, size)) < 1e-12
        if wrap != BOTH:
            up = 1.01 * max(m / n for n, m in zip(here, there, strict=True))
            assert difference(resize(x, size, scale=up, wrap=wrap), resize(x, size, scale=up)) < (
                1e-12
            )


@pytest.mark.parametrize("wrap", [OPEN, *WRAPS], ids=str)
def test_a_part_of_a_wrapped_image_is_made_of_its_source(wrap: Wrap) -> None:
    here, there = Size(30, 26), Size(41, 40)
    x = noise(1, 2, *here).mul(0.3).clamp(-1, 1)
    windows = [
        Window(top, left, 9, 12)
        for top, left in itertools.product((-5, 0, 36) if wrap[0] else (3,), (-7, 2, 39))
        if wrap[1] or left == 2
    ]
    for window in [*windows, Window.whole(there)]:
        for plan, law in ((resize_source, resize), (stretch_source, stretch)):
            source = plan(here, there, window, wrap=wrap)
            assert window == Window.whole(there) or source.height < here.height
            given_part = framed(x, Window.whole(here), source, wrap)
            part = law(given_part, there, part=Part(window, source, here), wrap=wrap)
            expected = framed(law(x, there, wrap=wrap), Window.whole(there), window, wrap)
            assert difference(part, expected) < 1e-12


def test_gradients_flow_through_wrapped_resizes() -> None:
    x = noise(1, 1, 5, 4).mul(0.2).clamp(-0.5, 0.5).requires_grad_()
    for size in (Size(4, 3), Size(7, 6)):
        assert torch.autograd.gradcheck(lambda v, s=size: resize(v, s, wrap=BOTH), (x,))
        assert torch.autograd.gradcheck(lambda v, s=size: stretch(v, s, wrap=ROWS), (x,))
