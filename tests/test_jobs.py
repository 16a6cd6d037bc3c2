"""Many jobs: what is done stays done, what fails stops nothing, and whatever dies, it continues.

Run as a script, this file plays a small Ray cluster in a process of its own.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from singleimage import preset, with_overrides
from singleimage.commands import job_view as overview
from singleimage.commands.place import names_of
from singleimage.errors import RunError, SingleImageError
from singleimage.jobs import engine as engines
from singleimage.jobs import local
from singleimage.jobs.engine import Event
from singleimage.jobs.job import Job, perform, result_of
from singleimage.jobs.local import LocalPool
from singleimage.machine.lock import LOCK, claimed
from singleimage.models.model import Model
from singleimage.recipes.recipe import Recipe
from tiny import Command

TINY = {
    "pyramid.max_size": "32",
    "pyramid.levels": "3",
    "generator.width": "4",
    "critic.width.base": "4",
}
FLAGS = " ".join(f"--set {path}={value}" for path, value in TINY.items())
LONG = 24
"""Steps of a level that take long enough to be interrupted."""


def tiny(steps: int) -> Recipe:
    return with_overrides(preset("preview"), {**TINY, "training.steps": str(steps)})


def draw_photo(path: Path, kind: int) -> Path:
    y, x = np.indices((32, 40))
    waves = np.stack([np.sin(x / (3 + kind)), np.cos(y / 4), np.sin((x + y) / 3)], axis=-1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((waves * 100 + 128).astype(np.uint8)).save(path)
    return path


def job_of(photo: Path, steps: int = 2) -> Job:
    return Job(name=f"tiny/{photo.stem}", method="tiny", photo=str(photo), recipe=tiny(steps))


def weights(folder: Path) -> bytes:
    state = Model.load(folder).generator.state_dict()
    return b"".join(name.encode() + t.numpy().tobytes() for name, t in sorted(state.items()))


def ends(events: Iterator[Event]) -> dict[str, Event]:
    return {event.job: event for event in events if event.state != "running"}


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_ino


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process numbers of the workers that are started."""
    found: list[int] = []
    start = subprocess.Popen

    def spy(*words: Any, **options: Any) -> Any:
        process = start(*words, **options)
        found.append(process.pid)
        return process

    monkeypatch.setattr(local.subprocess, "Popen", spy)
    return found


# Processes of this machine -----------------------------------------------------------------------


def test_done_jobs_are_skipped_and_a_failing_one_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    jobs = [job_of(tmp_path / "bad.png"), job_of(draw_photo(tmp_path / "0.png", 0))]
    out = tmp_path / "out"
    seen = list(LocalPool(2).run(jobs, out))
    ended = ends(iter(seen))
    assert {e.job: e.state for e in ended.values()} == {"tiny/bad": "failed", "tiny/0": "done"}
    assert all(0 <= event.fraction <= 1 for event in seen)
    assert "level 3/3" in {event.text for event in seen}
    assert "bad.png is not an image" in ended["tiny/bad"].text
    assert ended["tiny/bad"].text in (out / "tiny" / "bad" / "error.txt").read_text()
    before = stamp(out / "tiny" / "0" / "result.json")
    (again,) = LocalPool(2).run(jobs[1:], out)
    assert again == Event("tiny/0", "skipped", 1.0)
    assert stamp(out / "tiny" / "0" / "result.json") == before


def test_a_result_of_other_settings_is_not_taken_for_this_one(tmp_path: Path, threads: int) -> None:
    job = job_of(draw_photo(tmp_path / "a.png", 0), steps=1)
    perform(job, tmp_path, lambda fraction, text: None)
    assert engines.finished(job, tmp_path)
    assert engines.finished(job_of(tmp_path / "a.png", steps=2), tmp_path) is None
    draw_photo(tmp_path / "a.png", 1)
    assert engines.finished(job, tmp_path) is None
    (tmp_path / "a.png").unlink()
    assert engines.finished(job, tmp_path)


def test_stopped_and_killed_a_job_continues_to_the_same_weights(
    tmp_path: Path,
    threads: int,
    pids: list[int],
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw_photo(tmp_path / "in" / "a.png", 0)
    out = tmp_path / "out"
    line = f"train {tmp_path}/in --each -o {out} --steps {LONG} --device cpu:1 {FLAGS}"
    show = overview._View.__call__
    actions: Iterator[Callable[[], None]] = iter(
        [
            lambda: signal.raise_signal(signal.SIGINT),
            lambda: os.kill(pids[-1], signal.SIGKILL),
        ]
    )
    acted: list[int] = []

    def act(self: overview._View, event: Event, ended: int) -> None:
        show(self, event, ended)
        if event.fraction > 0 and len(acted) < len(pids) <= 2:
            acted.append(pids[-1])
            next(actions)()

    monkeypatch.setattr(overview._View, "__call__", act)
    outcome = command(line)
    assert outcome.code == 128 + signal.SIGINT
    assert "stopped with 0 of 1 ended; the same command continues the rest." in outcome.err
    assert (out / "a" / "state.pt").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[-1], 0)
    outcome = command(line)
    assert outcome.code == 1
    assert "  a: its process was ended by SIGKILL" in outcome.err
    assert (out / "a" / "error.txt").exists()
    outcome = command(line)
    assert (outcome.code, outcome.err) == (0, "1/1 a: done\n")
    assert not (out / "a" / "error.txt").exists()
    whole = job_of(tmp_path / "in" / "a.png", LONG)
    perform(whole, tmp_path / "whole", lambda fraction, text: None)
    assert weights(out / "a") == weights(tmp_path / "whole" / whole.name)


def test_a_killed_driver_leaves_nobody_behind_and_the_next_one_continues(
    tmp_path: Path, command: Command
) -> None:
    for i, name in enumerate(("0.png", "1.png")):
        draw_photo(tmp_path / "in" / name, i)
    out = tmp_path / "out"
    words = f"train {tmp_path}/in --each -o {out} --workers 1 --steps 60 --device cpu:1 {FLAGS}"
    line = [sys.executable, "-m", "singleimage", *words.split()]
    driver = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    log = out / "1" / "log.jsonl"
    wait_until(lambda: driver.poll() is not None or (log.exists() and log.stat().st_size > 0))
    assert driver.poll() is None
    with pytest.raises(RunError, match=rf"in use by another process \({driver.pid} on .*wait"):
        next(LocalPool(1).run([], out))
    before = stamp(out / "0" / "result.json")
    driver.kill()
    driver.wait()
    assert driver.stderr is not None
    with driver.stderr, claimed(out):  # as soon as the worker has ended
        assert not (out / "1" / "result.json").exists()
        assert (out / "1" / "state.pt").exists()
        quiet = stamp(log)
        time.sleep(0.3)
        assert stamp(log) == quiet
    outcome = command(f"{words} --json")
    assert outcome.err == ""
    assert json.loads(outcome.out) == {"runs": [f"{out}/0", f"{out}/1"], "failed": []}
    assert stamp(out / "0" / "result.json") == before


def test_a_lock_of_a_dead_process_does_not_block(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("999999999 on elsewhere")
    busy = pytest.raises(RunError, match=f"{os.getpid()} on ")
    with claimed(tmp_path), busy, claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass


# train --each ------------------------------------------------------------------------------------


def test_what_each_cannot_do_is_one_clear_error(tmp_path: Path, command: Command) -> None:
    photo = draw_photo(tmp_path / "in" / "a.png", 0)
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


def test_photos_of_one_stem_get_folders_of_their_own() -> None:
    photos = [Path(name) for name in ("a.jpg", "a.png", "A.webp", "a.png.jpg", "b.png")]
    assert names_of(photos) == ["a", "a.png", "A.webp", "a.png.jpg", "b"]


def test_a_terminal_is_shown_a_line_for_each_running_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "80")
    news = [
        Event("a", "skipped", 1.0),
        Event("b", "running", 0.5, "level 2/3"),
        Event("c", "running", 0.1, "level 1/3"),
        Event("b", "done", 1.0),
        Event("c", "failed", 0.1, "no [luck]"),
    ]
    ended = overview.show_events(iter(news), 3, quiet=False)
    assert [event.job for event in ended] == ["a", "b", "c"]
    err = capsys.readouterr().err
    for words in ("level 2/3", "level 1/3", "2/3 b: done", "3/3 c: failed: no [luck]"):
        assert words in err
    assert overview.tell_failures(ended) == 1
    assert "  c: no [luck]\n" in capsys.readouterr().err


# Ray ---------------------------------------------------------------------------------------------

needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is not installed")


@needs_ray
def test_jobs_on_a_cluster_survive_the_loss_of_a_node(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    line = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "(raylet)" not in done.stdout
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["lost"] == {f"tiny/{i}": "done" for i in range(4)}
    assert told["again"] == {f"tiny/{i}": "skipped" for i in range(4)}
    assert told["apart"] == {"tiny/0": "done", "tiny/bad": "failed"}
    names = {path.name for path in (tmp_path / "apart" / "tiny" / "0").iterdir()}
    assert {"model.safetensors", "run.json", "result.json", "log.jsonl", "previews"} <= names
    assert f"{tmp_path}/bad.png is not an image" in told["reason"]
    assert (tmp_path / "apart" / "tiny" / "bad" / "error.txt").exists()
    assert Model.load(tmp_path / "apart" / "tiny" / "0").provenance.levels == 3
    for i in range(4):
        result = result_of(job_of(tmp_path / f"{i}.png"), tmp_path / "out")
        assert result is not None
        assert result.levels == 3
    assert not (tmp_path / "out" / ".token").exists()


@needs_ray
def test_an_address_that_nobody_answers_at_is_one_line(tmp_path: Path, command: Command) -> None:
    draw_photo(tmp_path / "a.png", 0)
    for address in ("127.0.0.1:1", "nonsense"):
        outcome = command(f"train {tmp_path} --each -o {tmp_path}/out --ray {address} {FLAGS}")
        assert outcome.code == 2
        assert outcome.err.startswith(f"error: no cluster answers at {address}; check the address")


def test_without_ray_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from singleimage.jobs.ray_cluster import RayCluster

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SingleImageError, match=r"pip install 'singleimage\[ray\]'"):
        next(RayCluster("auto").run([], tmp_path))


def play_on_ray(folder: Path) -> None:
    """Four jobs on a cluster of two nodes, one of which is killed; then jobs without sharing."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    from singleimage.jobs.ray_cluster import RayCluster

    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        second = cluster.add_node(**node)
        photos = [draw_photo(folder / f"{i}.png", i) for i in range(4)]
        jobs = [*(job_of(photo, 60) for photo in photos[:2]), *map(job_of, photos[2:])]
        events, running = [], set()
        for event in RayCluster(cluster.address).run(jobs, folder / "out"):
            events.append(event)
            if event.state == "running" and event.fraction > 1 / 3:  # a level is saved
                running.add(event.job)
            if len(running) == 2 and second is not None:
                cluster.remove_node(second, allow_graceful=False)
                second = None
                lost = len(events)
        assert second is None, "no node was lost while both had a job"
        assert all(e.fraction >= 1 / 3 for e in events[lost:] if e.job in running), "begun anew"
        told = {"lost": {e.job: e.state for e in ends(iter(events)).values()}}
        again = ends(RayCluster(cluster.address).run(jobs, folder / "out"))
        told["again"] = {e.job: e.state for e in again.values()}
        few = [job_of(photos[0]), job_of(folder / "bad.png")]
        apart = ends(RayCluster(cluster.address, share=False).run(few, folder / "apart"))
        told["apart"] = {e.job: e.state for e in apart.values()}
        print(json.dumps({**told, "reason": apart["tiny/bad"].text}))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    play_on_ray(Path(sys.argv[1]))
