"""Copies are told from what is new, by the nearest of all patches."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reference.compare import noise
from singleimage.errors import SizeError
from singleimage.metrics import copying
from singleimage.metrics.copying import AREA, COPY, PATCH, PatchSearch
from tiny import slow_but


def to_image(values: NDArray[Any]) -> Tensor:
    """(H, W, 3) of 8 bits to (3, H, W) in [-1, 1]."""
    return torch.from_numpy(values.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)


def dead_leaves(seed: int, height: int = 96, width: int = 128) -> Tensor:
    """Disks of many sizes and colors that cover each other, with some shade and grain."""
    numbers = np.random.default_rng(seed)
    y, x = np.indices((height, width))
    values = np.full((height, width, 3), 128.0)
    for radius in np.sort(numbers.pareto(1.5, 500) * 2 + 2)[::-1]:
        row, column = numbers.uniform(0, height), numbers.uniform(0, width)
        inside = (y - row) ** 2 + (x - column) ** 2 < radius**2
        slope = numbers.normal(0, 1.5, (2, 1))
        shade = slope[0] * (y[inside] - row) + slope[1] * (x[inside] - column)
        values[inside] = numbers.uniform(30, 225, 3) + shade[:, None].clip(-30, 30)
    values += numbers.normal(0, 2, values.shape)
    return to_image(values.clip(0, 255).round())


def microscope() -> Tensor:
    skimage = pytest.importorskip("skimage")
    path = Path(skimage.__file__).parent / "data" / "ihc.png"
    with Image.open(path) as picture:
        return to_image(np.asarray(picture.convert("RGB").resize((250, 188))))


PHOTOS: dict[str, Callable[[], Tensor]] = {
    "leaves 0": lambda: dead_leaves(0),
    "leaves 1": lambda: dead_leaves(1),
    "leaves 2, reduced": lambda: dead_leaves(2, 188, 250),
    "microscope": microscope,
}


@pytest.fixture(scope="module", params=slow_but(PHOTOS, "leaves 0", "microscope"))
def photo(request: pytest.FixtureRequest) -> Tensor:
    return PHOTOS[request.param]()


@pytest.fixture(scope="module")
def search(photo: Tensor) -> PatchSearch:
    return PatchSearch(photo)


def shuffled(image: Tensor, height: int, width: int, seed: int = 0) -> Tensor:
    """Cut in tiles of this size, put together in another order; what is left over is dropped."""
    rows, columns = image.shape[1] // height, image.shape[2] // width
    image = image[:, : rows * height, : columns * width]
    tiles = image.reshape(3, rows, height, columns, width).permute(1, 3, 0, 2, 4).flatten(0, 1)
    tiles = tiles[torch.randperm(len(tiles), generator=torch.Generator().manual_seed(seed))]
    grid = tiles.reshape(rows, columns, 3, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(3, rows * height, columns * width)


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "itself": lambda image: image,
    "shifted": lambda image: image.roll((17, 23), (1, 2)),
    "shifted by one": lambda image: image.roll((1, 1), (1, 2)),
    "mirrored": lambda image: image.flip(-1),
    "upside down": lambda image: image.flip(-2),
    "16 tiles": lambda image: shuffled(image, image.shape[1] // 4, image.shape[2] // 4),
    "crop": lambda image: image[:, 11 : 11 + image.shape[1] // 2, 14 : 14 + image.shape[2] // 2],
    "strip": lambda image: image[:, -40:],
    "with grain": lambda image: image + 0.03 * noise(*image.shape).float(),
}


NEW: dict[str, Callable[[Tensor], Tensor]] = {
    "another texture": lambda image: dead_leaves(77, *image.shape[1:]),
    "noise": lambda image: noise(*image.shape).float().clamp(-1, 1),
    "its colors only": lambda image: shuffled(image, 1, 1),
    "6 pixels": lambda image: shuffled(image, 6, 6),
}


def test_a_copy_is_called_one(photo: Tensor, search: PatchSearch) -> None:
    for kind, copy in COPIES.items():
        field = search.field(copy(photo))
        assert COPY < field.continuing() <= 1, kind
        assert 0 <= field.compression() < 0.65, kind
        if kind == "itself":
            assert field.continuing() > 0.99
            assert not field.mirrored.any() or field.mirrored.float().mean() < 0.02


def test_what_is_new_is_not_called_a_copy(photo: Tensor, search: PatchSearch) -> None:
    for kind, new in NEW.items():
        field = search.field(new(photo))
        assert 0 <= field.continuing() < 0.6 * COPY, kind
        assert 0.75 < field.compression() <= 1, kind


def test_a_field_says_where_a_patch_is_from(photo: Tensor, search: PatchSearch) -> None:
    """The photo, and its two mirror images: one shift for nearly all patches each."""
    for view, image in enumerate((photo, photo.flip(-1), photo.flip(-2))):
        field = search.field(image)
        rows, columns = (torch.arange(n) * PATCH for n in field.top.shape)
        right = (field.top == rows[:, None]) & (field.left == columns) & (field.mirrored == view)
        assert right.float().mean() > 0.98


@pytest.mark.parametrize(("components", "slack"), [(192, 1e-3), (48, 0.25)])
def test_matches_are_the_nearest_of_all_patches(
    components: int, slack: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by brute force: exactly with all components, and nearly with those that are used."""
    assert copying.COMPONENTS == 48
    monkeypatch.setattr(copying, "COMPONENTS", components)
    photo, sample = dead_leaves(0, 20, 21), dead_leaves(1, 24, 17)
    field = PatchSearch(photo).field(sample, step=3)
    assert field.photo == (20, 21)
    views = [photo, photo.flip(-1), photo.flip(-2)]
    corners = list(itertools.product(range(13), range(14)))
    table = torch.stack([v[:, y : y + 8, x : x + 8].flatten() for v in views for y, x in corners])
    assert field.top.shape == field.left.shape == field.mirrored.shape == (6, 4)
    for row, column in itertools.product(range(6), range(4)):
        patch = sample[:, 3 * row : 3 * row + 8, 3 * column : 3 * column + 8].flatten()
        distances = (table - patch).square().sum(dim=1)
        place = (field.top[row, column], field.left[row, column])
        found = 182 * int(field.mirrored[row, column]) + 14 * int(place[0]) + int(place[1])
        assert distances[found] < (1 + slack) * distances.min()


def test_a_pasted_half_counts_by_half() -> None:
    photo, other = dead_leaves(0), dead_leaves(5)
    field = PatchSearch(photo).field(torch.cat([photo[:, :48], other[:, 48:]], dim=1))
    assert field.continuing() == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow
def test_samples_need_not_have_the_size_of_the_photo() -> None:
    search = PatchSearch(dead_leaves(0, 188, 250))
    large = dead_leaves(3, 300, 200)
    large[:, :188, :] = dead_leaves(0, 188, 250)[:, :, :200]
    assert COPY < search.field(large).continuing() < 0.8
    small = search.field(dead_leaves(4, 40, 60))
    assert small.top.shape == (2, 4)


@pytest.mark.slow
def test_scores_of_a_field_lie_between_0_and_1() -> None:
    """Also of the smallest, whose compressed size is mostly that of an empty one."""
    search = PatchSearch(dead_leaves(0, 30, 40))
    for step, size in itertools.product((1, 2, 4, 8), ((16, 16), (16, 40), (33, 24))):
        for image in (dead_leaves(0, *size), noise(3, *size, seed=0).float()):
            field = search.field(image, step=step)
            assert 0 <= field.continuing() <= 1
            assert 0 < field.compression() <= 1
        assert search.field(dead_leaves(0, 30, 40), step=step).continuing() > 0.99


def test_the_picture_of_a_field_shows_rows_columns_and_mirrors() -> None:
    photo = dead_leaves(0, 40, 64)
    search = PatchSearch(photo)
    picture = search.field(photo).picture()
    assert picture.shape == (3, 5, 8)
    assert picture.dtype == torch.float32
    assert torch.allclose(picture[0], torch.linspace(-1, 1, 5)[:, None].expand(5, 8))
    assert torch.allclose(picture[1], torch.linspace(-1, 1, 8).expand(5, 8))
    assert (picture[2] == -1).all()
    assert (search.field(photo.flip(-1)).picture()[2] == 1).float().mean() > 0.9
    dense = search.field(noise(3, 23, 20), step=2).picture()
    assert dense.shape == (3, 8, 7)
    assert dense.abs().max() <= 1
    even = PatchSearch(dead_leaves(0, 16, 16)).field(dead_leaves(1, 16, 16), step=8)
    assert even.picture().isfinite().all()


@pytest.mark.parametrize(("size", "limit"), [((15, 90), 16), ((20, 8), 16), ((25, 4000), 40)])
def test_a_photo_narrower_than_two_patches_is_refused(size: tuple[int, int], limit: int) -> None:
    with pytest.raises(SizeError, match=f"too small to seek patches in.* {limit} pixels or more"):
        PatchSearch(torch.zeros(3, *size))


def test_a_sample_narrower_than_two_patches_is_refused() -> None:
    search = PatchSearch(dead_leaves(0, 160, 400))  # reduced by half
    assert 4 * AREA == 160 * 400
    with pytest.raises(SizeError, match=r"20x90 is too small.* a side must be 32 pixels or more"):
        search.field(dead_leaves(0, 20, 90))
    assert search.field(dead_leaves(0, 32, 90)).top.shape == (2, 5)
