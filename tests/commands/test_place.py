"""Commands of many jobs: where the jobs are done, what they are called, and `train --each`."""

import json
from pathlib import Path

import pytest
import torch

from singleimage.commands.place import choose_engine, names_of
from singleimage.errors import ArgumentError, RecipeError
from singleimage.jobs.job import perform
from singleimage.jobs.local import LocalPool
from singleimage.jobs.ray_cluster import RayCluster
from small_jobs import FLAGS, Inline, draw_photo, job_of, nobody, stamp, weights
from tiny import Command


def test_jobs_are_done_where_the_flags_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker for each core, unless jobs have several threads; all cores for a single worker."""
    monkeypatch.setattr("singleimage.commands.place._cores", lambda: 8)
    for given, expected in {
        (None, None, "cpu"): (LocalPool(8), 1),
        (None, None, "cpu:3"): (LocalPool(2), 3),
        (None, None, "cpu:9"): (LocalPool(1), 9),
        (3, None, "cpu"): (LocalPool(3), 1),
        (3, None, "cpu:2"): (LocalPool(3), 2),
        (1, None, "cpu"): (LocalPool(1), 8),
        (None, "host:1", "cpu"): (RayCluster("host:1"), 1),
        (None, "auto", "cpu:4"): (RayCluster("auto"), 4),
    }.items():
        assert choose_engine(*given) == expected, given
    with pytest.raises(ArgumentError, match="--workers 0 does no work"):
        choose_engine(0, None, "cpu")
    with pytest.raises(RecipeError, match="--workers does not go with --ray"):
        choose_engine(2, "host:1", "cpu")
    with pytest.raises(ArgumentError, match="cuda:1 does not go with --ray; use"):
        choose_engine(None, "host:1", "cuda:1")


@pytest.mark.parametrize(("device", "workers"), [("cuda", 3), ("cuda:1", 1), ("mps", 1)])
def test_each_gpu_has_a_worker(device: str, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleimage.machine.device._computes", lambda _: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0 if device == "mps" else 3)
    engine, _ = choose_engine(None, None, device)
    assert engine == LocalPool(workers)


def test_photos_of_one_stem_get_folders_of_their_own() -> None:
    photos = [Path(name) for name in ("a.jpg", "a.png", "A.webp", "a.png.jpg", "b.png")]
    assert names_of(photos) == ["a", "a.png", "A.webp", "a.png.jpg", "b"]


def test_folders_end_as_those_of_the_system_can(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [Path(name) for name in ("a .jpg", "a.png", "wait....jpg", " ..png")]
    assert names_of(photos) == ["a ", "a", "wait...", " ."]
    monkeypatch.setattr("sys.platform", "win32")
    assert names_of(photos) == ["a", "a.png", "wait", " ..png"]


def test_cores_are_counted_where_the_system_tells_threads_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert choose_engine(None, None, "cpu") == (LocalPool(8), 1)


def test_what_each_cannot_do_is_one_clear_error(tmp_path: Path, command: Command) -> None:
    photo = draw_photo(tmp_path / "in" / "a.png")
    folder, out = photo.parent, tmp_path / "out"
    for line, message in {
        f"{folder} -o {out}": f"{folder} is a folder; add --each to learn every photo in it, or "
        "--preset meta-small for one model of all.",
        f"{folder} -o {out} --each --mask m.png": "--mask does not go with --each; leave it out.",
        f"{folder} --each --dry-run": "--dry-run does not go with --each; leave it out.",
        f"{folder} --each": "no folder for the runs; add -o RUNS.",
        f"{folder} -o {out} --each --workers 0": "--workers 0 does no work; use 1 or more.",
        f"{photo} -o {out} --workers 2": "--workers needs --each and a folder of photos",
        f"{folder} --each --no-embed-image": "--no-embed-image does not go with --each",
        f"{folder} -o {out} --each --ray x:1 --workers 2": "--workers does not go with --ray",
        f"{photo} -o {out} --each": f"there is no folder {photo}",
    }.items():
        outcome = command(f"train {line}")
        assert outcome.code == 2, line
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
    assert not out.exists()


def test_each_photo_of_a_folder_gets_a_run_and_a_bad_one_stops_nothing(
    tmp_path: Path, command: Command, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("singleimage.jobs.local.LocalPool", Inline)
    photo = draw_photo(tmp_path / "in" / "b.png")
    bad = photo.with_name("a.png")
    bad.write_text("no picture")
    out = tmp_path / "out"
    line = f"train {photo.parent} --each --preset preview -o {out} --steps 2 --device cpu:1 {FLAGS}"
    outcome = command(line)
    assert (outcome.code, outcome.out) == (1, f"1 of 2 models in {out}\n")
    assert "2/2 b: done" in outcome.err
    assert "1 of 2 failed:\n  a: " in outcome.err
    assert "a.png is not an image" in outcome.err
    job = job_of(photo)
    perform(job, tmp_path / "own", nobody)
    assert weights(out / "b") == weights(tmp_path / "own" / job.name)
    before = stamp(out / "b" / "result.json")
    outcome = command(f"{line} --json")
    assert outcome.code == 1
    told = json.loads(outcome.out)
    assert told["runs"] == [f"{out}/b"]
    assert [failed["job"] for failed in told["failed"]] == ["a"]
    assert "a.png is not an image" in told["failed"][0]["reason"]
    draw_photo(bad, 1)
    outcome = command(f"{line} --json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == {"runs": [f"{out}/b", f"{out}/a"], "failed": []}
    assert stamp(out / "b" / "result.json") == before
