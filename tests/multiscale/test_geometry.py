"""Windows of an image, and the frames around them, also where the image wraps."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.compare import noise
from singleimage.multiscale.geometry import Size, Window, framed, wrapped_pieces
from singleimage.multiscale.latent import drawn
from wrapping import BOTH, ROWS


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    corner=st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    extent=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_a_frame_goes_around_where_it_wraps_and_is_zero_elsewhere(
    size: tuple[int, int], corner: tuple[int, int], extent: tuple[int, int]
) -> None:
    x = noise(1, 1, *size)
    wanted = Window(*corner, *extent)
    rows, columns = (np.array(side) for side in (wanted.rows, wanted.columns))
    whole = Window.whole(Size(*size))
    expected = x[..., rows % size[0], :][..., columns % size[1]]
    assert torch.equal(framed(x, whole, wanted, BOTH), expected)
    inside = torch.from_numpy((columns >= 0) & (columns < size[1]))
    if inside.any():
        assert torch.equal(framed(x, whole, wanted, ROWS), expected * inside)
    values = drawn(x, wanted)
    assert torch.equal(values, expected)
    lengths = [len(piece) for piece in wrapped_pieces(wanted.rows, size[0])]
    assert sum(lengths) == extent[0]
    assert [i for piece in wrapped_pieces(wanted.rows, size[0]) for i in piece] == list(
        rows % size[0]
    )


def test_windows_of_a_torus_grow_beyond_its_edges_and_fold_when_they_hold_it_all() -> None:
    size = Size(20, 30)
    window = Window(2, 25, 4, 5)
    assert window.grown(3) == Window(-1, 22, 10, 11)
    assert window.grown(3, size) == Window(0, 22, 9, 8)
    assert window.grown(3, size, ROWS) == Window(-1, 22, 10, 8)
    assert window.grown(3, size, BOTH) == Window(-1, 22, 10, 11)
    assert window.grown(8, size, BOTH).folded(size, BOTH) == Window(0, 17, 20, 21)
    assert window.grown(3, size, BOTH).folded(size, BOTH) == Window(-1, 22, 10, 11)
