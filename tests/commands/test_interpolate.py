"""`singleimage interpolate`: from the model of one photo to that of another."""

import json
from pathlib import Path

import pytest
from PIL import Image

from singleimage import read_photo
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
