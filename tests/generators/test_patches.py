"""Patches: cut out, folded back, and whose middle is nearest."""

import pytest
import torch

from reference.compare import difference, noise
from singleimage.generators.patches import PatchGrid, bell, nearest
from singleimage.multiscale.geometry import OPEN, Size, Wrap

GRIDS: list[tuple[Size, int, Wrap]] = [
    (Size(12, 17), 1, OPEN),
    (Size(12, 17), 3, OPEN),
    (Size(13, 16), 2, (True, False)),
    (Size(14, 15), 3, (True, True)),
    (Size(5, 9), 2, OPEN),
]


@pytest.mark.parametrize(("size", "stride", "wrap"), GRIDS)
def test_patches_that_are_cut_and_folded_are_the_image(size: Size, stride: int, wrap: Wrap) -> None:
    grid = PatchGrid(size, 5, stride, wrap)
    image = noise(3, *size)
    assert difference(grid.fold(grid.cut(image), bell(5, 0.5).double()), image) < 1e-12


@pytest.mark.parametrize(("size", "stride", "wrap"), GRIDS)
def test_a_patch_is_the_pixels_at_its_corner(size: Size, stride: int, wrap: Wrap) -> None:
    grid = PatchGrid(size, 5, stride, wrap)
    image = noise(2, *size)
    again = torch.cat([image, image], 1)
    again = torch.cat([again, again], 2)
    patches = grid.cut(image).view(*grid.shape, 2, 5, 5)
    for row, top in enumerate(grid.rows.tolist()):
        for column, left in enumerate(grid.columns.tolist()):
            expected = again[:, top : top + 5, left : left + 5]
            assert torch.equal(patches[row, column], expected)


@pytest.mark.parametrize(("size", "stride", "wrap"), GRIDS)
def test_a_pixel_belongs_to_the_patch_whose_middle_is_nearest(
    size: Size, stride: int, wrap: Wrap
) -> None:
    grid = PatchGrid(size, 5, stride, wrap)
    for axis, places in enumerate((grid.rows, grid.columns)):
        index, within = grid.owners(axis)
        pixels = torch.arange(size[axis])
        assert bool(((within >= 0) & (within < 5)).all())
        assert torch.equal((places[index] + within) % size[axis], pixels)
        apart = pixels[:, None] - (places + 2)
        if wrap[axis]:
            apart = torch.minimum(apart % size[axis], -apart % size[axis])
        apart = apart.abs()
        assert torch.equal((within - 2).abs(), apart.amin(1))


@pytest.mark.parametrize("wrap", [OPEN, (True, True)])
@pytest.mark.parametrize("patch", [3, 4, 6])
def test_a_pixel_belongs_to_a_patch_that_has_it(patch: int, wrap: Wrap) -> None:
    """Also where patches lie side by side, and the middle of one is between two pixels."""
    grid = PatchGrid(Size(27, 30), patch, patch, wrap)
    for axis in (0, 1):
        _, within = grid.owners(axis)
        assert bool(((within >= 0) & (within < patch)).all())


def test_the_nearest_place_and_of_two_the_lower() -> None:
    places = torch.tensor([0, 2, 7])
    assert nearest(places, torch.tensor([-3, 1, 2, 4, 5, 90])).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_narrow_window_is_the_middle_pixel() -> None:
    window = bell(7, 0.05)
    assert float(window[3, 3]) == 1
    assert float(window.sum()) < 1.001
