"""Samples without a seam, and the seam as a number."""

import pytest
import torch
from torch import Tensor

from reference.compare import difference
from singleimage.apps.sample import Tile, sample, seam
from singleimage.errors import ArgumentError
from singleimage.multiscale.geometry import Size
from wrapping import EVEN, NORMED, SPECS, made


def across(images: Tensor, dim: int) -> float:
    """Differences across the border over those inside, of pairs that lie alike on all levels.

    Enlarging makes neighbors that lie between two coarse pixels differ more than those on one. In
    `EVEN`, pixels 3 and 4, 7 and 8, ... lie as the last and the first do.
    """
    first, last = (images.movedim(dim, 0)[start::4] for start in (0, 3))
    pairs = (last - first.roll(-1, 0)).abs().flatten(1).mean(1)
    return float(pairs[-1] / pairs[:-1].mean())


@pytest.mark.parametrize("name", [*SPECS, *NORMED])
def test_neighbors_across_the_border_differ_as_those_inside(name: str) -> None:
    """Over many samples; and the measure sees the borders that do not wrap."""
    g = made(name, EVEN)
    tiles: tuple[Tile, ...] = (None, "x", "y", "xy")
    images = {tile: sample(g, range(32), tile=tile) for tile in tiles}
    x, y = ({tile: across(images[tile], dim) for tile in tiles} for dim in (-1, -2))
    for value in (x["x"], x["xy"], y["y"], y["xy"]):
        assert value == pytest.approx(1, abs=0.15), (x, y)
    assert min(x[None], x["y"], y[None], y["x"]) > 1.3, (x, y)
    assert seam(images[None]).x > 1.3 * seam(images["xy"]).x
    assert seam(images[None]).y > 1.3 * seam(images["xy"]).y


def test_the_seam_is_the_ratio_of_differences() -> None:
    image = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 4.0, 6.0]])
    x, y = seam(image)
    assert x == pytest.approx(4.5 / 1.5)
    assert y == pytest.approx(1.0)  # from the last of two rows to the first: the same neighbors
    assert seam(torch.stack([image, -image])) == pytest.approx((x, y))
    assert seam(torch.full((3, 5, 6), 0.3)) == (1.0, 1.0)
    assert seam(image[:, :1]) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("tile", ["x", "y", "xy"])
def test_tiles_go_with_every_size_and_seed(tile: Tile) -> None:
    for name in [*SPECS, *NORMED]:
        g = made(name)
        together = sample(g, [5, 6], size=Size(37, 53), tile=tile)
        assert together.shape == (2, 3, 37, 53)
        assert difference(together[1:], sample(g, [6], size=Size(37, 53), tile=tile)) < 1e-12
        assert sample(g, [5], size=g.ladder.minimum(), tile=tile).isfinite().all()


def test_a_kept_layout_cannot_be_tiled() -> None:
    g = made("cascade")
    with pytest.raises(ArgumentError, match=r"layout, which cannot be tiled along x; drop one"):
        sample(g, [0], start_level=1, tile="x")
    with pytest.raises(ArgumentError, match="tiled along yx; use x, y or xy"):
        sample(g, [0], tile="yx")  # type: ignore[arg-type]
