"""`singleimage interpolate`: from the model of one photo to that of another."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from singleimage import read_photo
from singleimage.commands.interpolate import grid, tour
from singleimage.models.hypermodel import HyperModel
from tiny import Command


def test_interpolation_writes_a_sheet_and_movies(
    hyper_run: Path, album: Path, tmp_path: Path, command: Command
) -> None:
    line = f"interpolate {hyper_run} {album}/0.png {album}/1.png -o {tmp_path}/o --frames 4"
    outcome = command(f"{line} --steps 3 --levels 0,2 --json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["levels"] == [0, 2]
    height, width = HyperModel.load(hyper_run).model(read_photo(album / "0.png")).size
    with Image.open(tmp_path / "o" / "sheet.png") as page:
        assert page.size == (3 * (width + 4) + 4, 2 * (height + 4) + 4)
    with Image.open(tmp_path / "o" / "level-2.gif") as movie:
        assert movie.size == (width, height)
    assert command(line).code == 2  # nothing is overwritten


@pytest.mark.parametrize("count", [3, 4])
def test_among_several_photos_there_is_a_grid(
    count: int, hyper_run: Path, album: Path, tmp_path: Path, command: Command
) -> None:
    photos = [album / f"{i % 2}.png" for i in range(count)]
    given = " ".join(map(str, photos))
    line = f"interpolate {hyper_run} {given} -o {tmp_path}/o --steps 3 --levels 0 --frames 2"
    outcome = command(line)
    assert outcome.code == 0, outcome.err
    meta = HyperModel.load(hyper_run)
    height, width = meta.model(read_photo(photos[0])).size
    with Image.open(tmp_path / "o" / "sheet.png") as page:
        assert page.size == (3 * (width + 4) + 4, 3 * (height + 4) + 4)
        last = np.asarray(page.crop((2 * (width + 4) + 4, 2 * (height + 4) + 4, *page.size)))
        corner = np.asarray(page)[4 : 4 + height, 4 : 4 + width]
    assert bool((last == 255).all()) == (count == 3)  # the third corner of a triangle is below
    (alone,) = meta.model(read_photo(photos[0])).sample([0])
    np.testing.assert_array_equal(corner, np.asarray(alone.preview()))
    with Image.open(tmp_path / "o" / "level-0.gif") as movie:
        assert movie.n_frames == count


def test_weights_of_grids_and_tours_sum_to_one() -> None:
    for count in (2, 3, 4):
        cells = [weights for weights in grid(count, 5) if weights]
        assert len(cells) == {2: 5, 3: 15, 4: 25}[count]
        for weights in [*cells, *tour(count, 5)]:
            assert sum(weights) == pytest.approx(1)
            assert min(weights) > -1e-9
        ends = [[float(i == j) for j in range(count)] for i in range(count)]
        assert all(end in cells for end in ends)
        assert tour(count, 5)[::4] == ends


def test_five_are_too_many(hyper_run: Path, album: Path, tmp_path: Path, command: Command) -> None:
    photos = " ".join([f"{album}/0.png"] * 5)
    outcome = command(f"interpolate {hyper_run} {photos} -o {tmp_path}/o")
    assert (outcome.code, "give two to four" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--levels 0,9", "write numbers from 0 to 2."),
        ("--steps 1", "use 2 or more."),
        ("--frames -1", "use 0 or more."),
    ],
)
def test_mistakes_are_one_line(
    flags: str, message: str, hyper_run: Path, album: Path, tmp_path: Path, command: Command
) -> None:
    photo = album / "0.png"
    outcome = command(f"interpolate {hyper_run} {photo} {photo} -o {tmp_path}/out {flags}")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
