"""`singleimage tune`: a finished run learns one picture more, or it is said why not."""

import json
import shutil
from pathlib import Path

import torch

from pasting import with_square
from singleimage import Channels, Model, Photo, read_photo
from tiny import Command

TUNABLE = (
    "--preset consingan --for harmonize --steps 3 --set pyramid.min_size=25 "
    "--set pyramid.max_size=48 --set generator.width=4 --set critic.width.base=4"
)


def test_a_finished_run_is_tuned_on_a_picture_and_the_tuning_continues(
    command: Command, photo_file: Path, tmp_path: Path
) -> None:
    photo = read_photo(photo_file)
    alpha = torch.full_like(photo.pixels[:1], -1)
    alpha[:, 10:20, 10:20] = 1
    red = torch.cat([torch.ones_like(alpha), -torch.ones_like(alpha).repeat(2, 1, 1), alpha])
    Photo(red, Channels(mode="RGBA")).save(tmp_path / "pasted.png")
    assert command(f"train {photo_file} -o {tmp_path}/run {TUNABLE}").code == 0
    line = f"tune {tmp_path}/run {photo_file} {tmp_path}/pasted.png --steps 4 -o"
    done = command(f"{line} {tmp_path}/tuned")
    assert done.code == 0, done.err
    start, tuned = (Model.load(tmp_path / name) for name in ("run", "tuned"))
    weights, moved = start.generator.state_dict(), tuned.generator.state_dict()
    assert tuned.recipe.training.steps == 4
    assert any(not torch.equal(moved[name], weights[name]) for name in weights)
    again = command(f"{line} {tmp_path}/tuned")
    assert "is complete" in again.err
    lines = (tmp_path / "tuned" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["level"] for line in lines] == [2]
    other = command(f"tune {tmp_path}/run {photo_file} {photo_file} --steps 4 -o {tmp_path}/tuned")
    assert other.code == 2
    assert "another picture to tune on" in other.err


def test_what_a_tuning_cannot_start_from_is_said_in_one_line(
    command: Command, photo_file: Path, tiny_runs: dict[str, Path], tmp_path: Path
) -> None:
    run = tiny_runs["consingan"]
    with_square(read_photo(photo_file))[0].save(tmp_path / "other.png")
    shutil.copytree(run, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "state.pt").unlink()
    (tmp_path / "quick").mkdir()
    described = json.loads((run / "run.json").read_text())
    described["recipe"]["finish"] = {}
    (tmp_path / "quick" / "run.json").write_text(json.dumps(described))
    for line, words in (
        (f"tune {tmp_path}/quick {photo_file} {photo_file} -o {tmp_path}/t", "the photo's patches"),
        (f"tune {tmp_path}/none {photo_file} {photo_file} -o {tmp_path}/t", "holds no run"),
        (f"tune {run} {tmp_path}/other.png {photo_file} -o {tmp_path}/t", "another photo"),
        (f"tune {tmp_path}/unfinished {photo_file} {photo_file} -o {tmp_path}/t", "not finished"),
        (f"tune {tiny_runs['singan']} {photo_file} {photo_file} -o {tmp_path}/t", "at level 0"),
    ):
        done = command(line)
        assert done.code == 2, line
        assert len(done.err.strip().splitlines()) == 1
        assert words in done.err
