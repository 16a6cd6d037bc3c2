"""Fields of matches: enlarged, improved, and what pixels they put where."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from reference.compare import noise
from singleimage.errors import MaskError
from singleimage.generators.field import Corners, Field, Search
from singleimage.generators.patches import PatchGrid
from singleimage.machine.blocks import Blocks, in_blocks
from singleimage.multiscale.geometry import Size, size_of

PHOTO = noise(3, 40, 52, seed=4, dtype=torch.float32)


SIZE = size_of(PHOTO)
ALL = Corners(SIZE, 7)


def search() -> Search:
    return Search(PHOTO, 7, 24)


@pytest.fixture
def run() -> Iterator[Blocks]:
    with in_blocks(torch.device("cpu")) as blocks:
        yield blocks


def itself(size: Size, stride: int = 2) -> Field:
    grid = PatchGrid(size, 7, stride)
    return Field(grid, grid.corners)


def test_the_field_of_the_photo_puts_every_pixel_where_it_is() -> None:
    rows, columns = itself(SIZE).sources()
    assert torch.equal(PHOTO[:, rows, columns], PHOTO)
    larger = itself(SIZE).on(PatchGrid(Size(80, 104), 7, 2), (2.0, 2.0))
    assert torch.equal(larger.matches, itself(Size(80, 104)).matches)


def test_a_picture_that_is_the_photo_stretched_begins_at_its_corners() -> None:
    matches = Field.spread(PatchGrid(Size(20, 100), 7, 2), SIZE).matches
    assert matches[0, 0].tolist() == [0, 0]
    assert matches[-1, -1].tolist() == [33, 45]


def test_good_matches_spread_from_patch_to_patch(run: Blocks) -> None:
    """Of noise, a patch resembles nothing but itself, so that matches nearby are no help."""
    picture = PHOTO.roll((-4, -3), (1, 2))[:, :36, :49]
    start = itself(size_of(picture))
    start.matches[6:8, 6:8] += torch.tensor([4, 3])
    finder = search()
    keys = finder.components(PHOTO)
    found = finder.improved(start, finder.queries(picture, start.grid), keys, ALL, 6, run)
    offsets = found.matches - found.grid.corners
    assert float((offsets == torch.tensor([4, 3])).all(-1).float().mean()) > 0.95


@pytest.mark.parametrize("axis", [0, 1])
def test_good_matches_spread_across_the_seam_of_a_tile(axis: int, run: Blocks) -> None:
    """In a photo that shows it twice; the patches of the last line know theirs."""
    tile = noise(3, 40, 40, seed=4, dtype=torch.float32)
    finder = Search(torch.cat([tile, tile], axis + 1), 7, 24)
    grid = PatchGrid(Size(40, 40), 7, 2, (axis == 0, axis == 1))
    start = Field(grid, torch.full((*grid.shape, 2), 26))
    start.matches.select(axis, -1)[:] = grid.corners.select(axis, -1)
    keys = finder.components(finder.image)
    found = finder.improved(
        start, finder.queries(tile, grid), keys, Corners(finder.size, 7), 1, run
    )
    apart = (found.matches - grid.corners).select(axis, 0)
    assert bool((apart == torch.tensor([40 * (axis == 0), 40 * (axis == 1)])).all())


def test_no_search_makes_a_match_worse_or_leaves_the_photo(run: Blocks) -> None:
    picture = noise(3, 33, 61, seed=5, dtype=torch.float32)
    grid = PatchGrid(Size(33, 61), 7, 2)
    start = Field.spread(grid, SIZE)
    finder = search()
    keys = finder.components(PHOTO)
    ours = finder.components(picture)[grid.rows[:, None], grid.columns]

    def error(field: Field) -> torch.Tensor:
        return (ours - keys[field.matches[..., 0], field.matches[..., 1]]).float().square().sum(-1)

    queries = finder.queries(picture, start.grid)
    before, after = error(start), error(finder.improved(start, queries, keys, ALL, 1, run))
    assert bool((after <= before + 1e-3).all())
    assert float(after.mean()) < 0.9 * float(before.mean())
    again = finder.improved(start, queries, keys, ALL, 4, run).matches
    assert bool((again >= 0).all())
    assert bool((again <= torch.tensor([33, 45])).all())


def test_components_in_bands_are_components(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = search()
    whole = finder.components(PHOTO, (2, 3))
    monkeypatch.setattr("singleimage.generators.field.BAND", 3)
    assert float((finder.components(PHOTO, (2, 3)) - whole).abs().max()) < 0.02
    assert whole.shape == (17, 16, 24)


def test_votes_of_patches_that_agree_are_the_photo(run: Blocks) -> None:
    voted = search().voted(itself(SIZE), 0.6, run)
    assert float((voted - PHOTO).abs().max()) < 1e-5


def test_all_patches_vote_in_larger_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as devices get that like much at once: blocks are then several parts of the patches."""
    monkeypatch.setattr("singleimage.generators.field.VOTES", 1)
    found = [search().voted(itself(SIZE, 1), 0.6, Blocks(None, larger)) for larger in (1, 2, 64)]
    assert float((found[0] - PHOTO).abs().max()) < 1e-5
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_no_match_touches_what_is_barred() -> None:
    barred = torch.zeros(40, 52, dtype=torch.bool)
    barred[10:30, 15:52] = True
    corners = Corners(SIZE, 7, barred)
    places = torch.stack(torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij"), -1)
    found = corners.within(places)
    assert torch.equal(found, corners.within(found))
    cut = torch.nn.functional.max_pool2d(barred.float()[None], 7, 1)[0]
    assert not cut[found[..., 0], found[..., 1]].any()
    free = places[:34, :46][cut == 0]
    assert torch.equal(corners.within(free), free)
    assert found[12, 12].tolist() == [12, 8]


def test_a_photo_that_is_barred_everywhere_has_no_corners() -> None:
    with pytest.raises(MaskError, match="leaves no 7x7 pixels"):
        Corners(SIZE, 7, torch.ones(40, 52, dtype=torch.bool))


def test_several_pictures_are_searched_as_each_alone(run: Blocks) -> None:
    pictures = torch.stack([noise(3, 33, 61, seed=i, dtype=torch.float32) for i in range(3)])
    finder = search()
    keys = finder.components(PHOTO)
    spread = Field.spread(PatchGrid(Size(33, 61), 7, 3), SIZE)
    start = Field.joined([spread] * 3)

    def found(pictures: Tensor, field: Field) -> tuple[Tensor, ...]:
        queries = finder.queries(pictures, field.grid)
        first = finder.improved(field, queries, keys, ALL, 1, run)
        crowding = finder.crowding(first)
        better = finder.improved(first, queries, keys, ALL, 1, run, crowding)
        return better.matches, crowding, finder.voted(better, 0.6, run)

    batch = found(pictures, start)
    assert not torch.equal(batch[1][0], batch[1][1])
    for number, picture in enumerate(pictures):
        for ours, alone in zip(batch, found(picture, spread), strict=True):
            assert torch.equal(ours[number], alone)
    assert torch.equal(start.items([2, 0]).matches, start.matches[[2, 0]])


def test_the_use_of_places_is_that_of_nine_pixels_about_them(run: Blocks) -> None:
    field = itself(SIZE, stride=1)
    field.matches[:] = torch.tensor([10, 20])  # all in one place
    crowding = search().crowding(field)
    near = torch.zeros(34, 46)
    near[6:15, 16:25] = 1 / 81
    expected = (near * 34 * 46).clamp(min=0.1).log()
    torch.testing.assert_close(crowding, expected)


def test_all_patches_vote_where_blocks_are_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleimage.generators.field.VOTES", 1)
    small, large = (search().voted(itself(SIZE, 1), 0.6, Blocks(None, x)) for x in (1, 64))
    assert torch.equal(small, large)


def test_votes_do_not_depend_on_the_batch(run: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pictures are so large that blocks of rows are voted."""
    monkeypatch.setattr("singleimage.generators.field.VOTES", 20 * 46)
    grid = PatchGrid(SIZE, 7, 1)
    some = torch.Generator().manual_seed(0)
    matches = torch.stack([torch.randint(n, (4, *grid.shape), generator=some) for n in (34, 46)], 3)
    batch = search().voted(Field(grid, matches), 0.6, run)
    for picture, alone in zip(batch, matches, strict=True):
        assert torch.equal(picture, search().voted(Field(grid, alone), 0.6, run))
