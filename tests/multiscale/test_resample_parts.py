"""A part of a resized image is cut from the whole, and needs its source and no more."""

from collections.abc import Callable

import pytest
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from reference.compare import difference, noise
from singleimage.multiscale.geometry import Part, Size, Window
from singleimage.multiscale.resample import resize, resize_source, stretch, stretch_source

WINDOWS = {
    "whole": lambda size: Window.whole(size),
    "top left": lambda size: Window(0, 0, 4, 5),
    "top right": lambda size: Window(0, size.width - 5, 3, 5),
    "bottom left": lambda size: Window(size.height - 4, 0, 4, 6),
    "bottom right": lambda size: Window(size.height - 1, size.width - 1, 1, 1),
    "middle": lambda size: Window(size.height // 2 - 2, size.width // 2 - 3, 4, 5),
    "row": lambda size: Window(size.height // 3, 0, 1, size.width),
    "column": lambda size: Window(0, size.width // 3, size.height, 1),
}


SIZES = [
    (Size(12, 15), Size(16, 20)),
    (Size(12, 15), Size(12, 15)),
    (Size(13, 11), Size(31, 29)),
    (Size(25, 31), Size(14, 17)),
]


Resized = tuple[Callable[[Tensor, Part | None], Tensor], Callable[[Window], Window]]


def ways(here: Size, there: Size) -> dict[str, Resized]:
    """Each resize of `here` to `there`, and what it says it must know of `here` for a window."""
    scale = 1.01 * there.height / here.height
    return {
        "stretch": (
            lambda x, part: stretch(x, there, part=part),
            lambda window: stretch_source(here, there, window),
        ),
        "resize": (
            lambda x, part: resize(x, there, part=part),
            lambda window: resize_source(here, there, window),
        ),
        "resize by a scale": (
            lambda x, part: resize(x, there, scale=scale, part=part),
            lambda window: resize_source(here, there, window, scale=scale),
        ),
        "8 bits": (
            lambda x, part: resize(x, there, quantize=True, part=part),
            lambda window: resize_source(here, there, window),
        ),
    }


@pytest.mark.parametrize(("here", "there"), SIZES, ids=str)
@pytest.mark.parametrize("way", ["stretch", "resize", "resize by a scale", "8 bits"])
def test_a_part_of_a_resized_image_is_cut_from_the_whole(way: str, here: Size, there: Size) -> None:
    run, source_of = ways(here, there)[way]
    x = noise(2, 3, *here, seed=4).clamp(-1, 1)
    whole = run(x, None)
    for place, window_of in WINDOWS.items():
        window = window_of(there)
        source = source_of(window)
        wider = source.grown(2, here)  # more than it takes
        for given in (source, wider):
            found = run(given.cut(x), Part(window, given, here))
            assert difference(found, window.cut(whole)) < 1e-12, (place, given)


def cells(source: Window, edge: str) -> tuple[slice, slice]:
    """The outermost line of a window at one of its edges."""
    rows, columns = (slice(side.start, side.stop) for side in (source.rows, source.columns))
    return {
        "top": (slice(rows.start, rows.start + 1), columns),
        "bottom": (slice(rows.stop - 1, rows.stop), columns),
        "left": (rows, slice(columns.start, columns.start + 1)),
        "right": (rows, slice(columns.stop - 1, columns.stop)),
    }[edge]


@pytest.mark.parametrize(("here", "there"), SIZES, ids=str)
@pytest.mark.parametrize("way", ["stretch", "resize", "resize by a scale"])
def test_a_part_of_a_resized_image_needs_its_source_and_no_more(
    way: str, here: Size, there: Size
) -> None:
    """What lies around does not matter, even where it is nothing; every line of it does."""
    run, source_of = ways(here, there)[way]
    x = 0.2 * noise(1, 1, *here, seed=5).clamp(-1, 1)
    whole = run(x, None)
    for place in WINDOWS.keys() - {"whole"}:
        window = WINDOWS[place](there)
        source = source_of(window)
        expected = window.cut(whole)
        around = noise(1, 1, *here, seed=6).clamp(-1, 1)
        source.cut(around).copy_(source.cut(x))
        assert difference(window.cut(run(around, None)), expected) < 1e-12, place
        lines = []
        if window.height < there.height:
            lines += ["top", "bottom"]
        if window.width < there.width:
            lines += ["left", "right"]
        for line in lines:
            changed = x.clone()
            rows, columns = cells(source, line)
            changed[..., rows, columns] += 0.5
            assert difference(window.cut(run(changed, None)), expected) > 1e-9, (place, line)


def test_what_is_added_to_a_stretched_part_is_added_to_the_whole() -> None:
    here, there, window = Size(9, 8), Size(20, 17), Window(3, 5, 7, 6)
    x, plus = noise(2, 3, *here), noise(2, 3, *there, seed=1)
    source = stretch_source(here, there, window)
    found = stretch(source.cut(x), there, window.cut(plus), part=Part(window, source, here))
    assert difference(found, window.cut(stretch(x, there) + plus)) < 1e-12
    assert difference(stretch(x, there, plus), stretch(x, there) + plus) < 1e-12


def test_gradients_flow_through_a_part_and_what_is_added_to_it() -> None:
    here, there, window = Size(5, 6), Size(9, 8), Window(3, 0, 3, 4)
    source = stretch_source(here, there, window)
    x = source.cut(noise(1, 2, *here)).clone().requires_grad_()
    plus = noise(1, 2, 3, 4, seed=1).requires_grad_()
    part = Part(window, source, here)
    assert gradcheck(lambda x, plus: stretch(x, there, plus, part=part), (x, plus))
    assert gradgradcheck(lambda x, plus: stretch(x, there, plus, part=part), (x, plus))
