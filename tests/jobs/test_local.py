"""Processes of this machine do jobs: what fails stops nothing, and whatever dies, it continues."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from singleimage.commands import job_view
from singleimage.errors import RunError
from singleimage.jobs import local
from singleimage.jobs.engine import MARK, Event
from singleimage.jobs.job import Stopped, perform
from singleimage.jobs.local import LocalPool
from singleimage.machine.device import VISIBLE
from singleimage.machine.lock import LOCK, claimed
from small_jobs import FLAGS, draw_photo, ends, job_of, nobody, stamp, wait_until, weights
from tiny import Command

LONG = 24
"""Steps of a level that take long enough to be interrupted."""


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


@pytest.mark.slow
def test_leaving_the_pool_ends_its_workers_and_what_they_did_is_continued(
    tmp_path: Path, threads: int, pids: list[int]
) -> None:
    """With a real worker; shell scripts play them below."""
    job = job_of(draw_photo(tmp_path / "a.png"), 20 * LONG)
    events = LocalPool(1).run([job], tmp_path)
    while (last := next(events)).fraction == 0:
        assert last.state == "running"
    assert (last.state, last.text) == ("running", "level 1/3")
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert (tmp_path / job.name / "state.pt").exists()
    assert not (tmp_path / job.name / "result.json").exists()
    told: list[float] = []

    def stop(fraction: float, text: str) -> None:
        told.append(fraction)
        raise Stopped

    with claimed(tmp_path), pytest.raises(Stopped):
        perform(job, tmp_path, stop)
    assert last.fraction < told[0] < 1


# Workers that only play one ----------------------------------------------------------------------


Started = list[dict[str, Any]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Started]:
    """Has a shell script take the place of workers; gives the options they are started with."""
    start = subprocess.Popen

    def replace(script: str) -> Started:
        started: Started = []

        def shell(words: list[str], **options: Any) -> Any:
            started.append({**options, "words": words})
            return start(["sh", "-c", script], **{**options, "creationflags": 0})

        monkeypatch.setattr(local.subprocess, "Popen", shell)
        return started

    return replace


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "kill -9 $$",
            "its process was ended by SIGKILL, perhaps for want of memory: use fewer workers; "
            "the same command continues it.",
        ),
        ("kill -15 $$", "its process was ended by SIGTERM; the same command continues it."),
        ("echo first >&2; echo last >&2; exit 3", "its process ended with code 3: last"),
        ("exit 0", "its process ended with code 0: no words"),
        ("""echo no report; echo '{"error": "no luck"}'; echo more >&2; exit 2""", "no luck"),
    ],
)
def test_how_a_worker_ended_without_a_result_is_said(
    script: str, reason: str, tmp_path: Path, play: Callable[[str], Started]
) -> None:
    play(script)
    job = job_of(tmp_path / "a.png")
    *_, last = LocalPool(1).run([job], tmp_path)
    assert last == Event("tiny/a", "failed", 0.0, reason)
    words = {"first": "first\nlast\n", "no luck": "more\n"}
    kept = next((said for word, said in words.items() if word in script), reason)
    assert (tmp_path / "tiny" / "a" / "error.txt").read_text() == MARK.decode() + kept


def test_a_failing_job_stops_nothing_and_is_tried_again(
    tmp_path: Path, threads: int, play: Callable[[str], Started]
) -> None:
    """Where the worker leaves a result of the job, it is done."""
    good, bad = job_of(draw_photo(tmp_path / "good.png"), 1), job_of(tmp_path / "bad.png", 1)
    perform(good, tmp_path / "ready", nobody)
    ready, out = tmp_path / "ready" / "tiny", tmp_path / "out"
    play(f"case $(head -n 1) in *bad.png*) exit 3;; *) cp -r {ready} {out}/;; esac")
    assert ends(LocalPool(1).run([bad, good], out)) == {"tiny/bad": "failed", "tiny/good": "done"}
    before = stamp(out / "tiny" / "good" / "result.json")
    seen = ends(LocalPool(1).run([bad, good], out))
    assert seen == {"tiny/bad": "failed", "tiny/good": "skipped"}
    assert stamp(out / "tiny" / "good" / "result.json") == before
    draw_photo(tmp_path / "bad.png")
    perform(bad, tmp_path / "ready", nobody)
    play(f"test -e {out}/tiny/bad/error.txt && exit 4; cp -r {ready} {out}/")
    assert ends(LocalPool(1).run([bad], out)) == {"tiny/bad": "done"}


@pytest.mark.parametrize(
    ("visible", "device", "expected"),
    [("", "auto", {"0", "1"}), ("5,7", "cuda", {"5", "7"}), ("5,7", "cuda:1", {"5,7"})],
)
def test_jobs_at_a_time_have_a_gpu_each(
    visible: str,
    device: str,
    expected: set[str],
    tmp_path: Path,
    play: Callable[[str], Started],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv(VISIBLE, visible)
    started = play("exit 3")
    jobs = [msgspec.structs.replace(job_of(tmp_path / f"{i}.png"), device=device) for i in "ab"]
    ends(LocalPool(2).run(jobs, tmp_path))
    assert {options["env"][VISIBLE] for options in started} == expected


def test_so_many_jobs_are_done_at_a_time_each_with_its_threads(
    tmp_path: Path, play: Callable[[str], Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the workers inherit the lock, but not the Ctrl-C, of the driver."""
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)  # of Windows
    started = play("sleep 0.1")
    jobs = [msgspec.structs.replace(job_of(tmp_path / f"{i}.png"), threads=3) for i in range(4)]
    most, events = 0, []
    for event in LocalPool(2).run(jobs, tmp_path):
        events.append(event)
        most = max(most, len(started) - len(ends(events)))
    assert (len(started), len(ends(events)), most) == (4, 4, 2)
    for options in started:
        assert options["words"] == [sys.executable, "-m", "singleimage.jobs.worker"]
        assert options["env"]["OMP_NUM_THREADS"] == options["env"]["MKL_NUM_THREADS"] == "3"
        assert len(options["pass_fds"]) == 1
        assert (options["start_new_session"], options["creationflags"]) == (True, 512)


def test_an_event_comes_even_if_there_is_no_news(
    tmp_path: Path, play: Callable[[str], Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "BEAT", 0.02)
    play("""echo '{"fraction": 0.5, "text": "half"}'; sleep 0.3""")
    events = list(LocalPool(1).run([job_of(tmp_path / "a.png")], tmp_path))
    assert events.count(Event("tiny/a", "running", 0.5, "half")) > 3


def test_a_folder_that_another_process_works_in_is_refused(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(RunError, match="in use by another process"):
        next(LocalPool(1).run([], tmp_path))
    assert list(LocalPool(1).run([], tmp_path)) == []
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


# Whole commands ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_stopped_and_killed_a_job_continues_to_the_same_weights(
    tmp_path: Path,
    threads: int,
    pids: list[int],
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw_photo(tmp_path / "in" / "a.png")
    out = tmp_path / "out"
    line = f"train {tmp_path}/in --each --preset preview -o {out} --steps {LONG} --device cpu:1"
    line += f" {FLAGS}"
    show = job_view._View.__call__
    actions: Iterator[Callable[[], None]] = iter(
        [
            lambda: signal.raise_signal(signal.SIGINT),
            lambda: os.kill(pids[-1], signal.SIGKILL),
        ]
    )
    acted: list[int] = []

    def act(self: job_view._View, event: Event, ended: int) -> None:
        show(self, event, ended)
        if event.fraction > 0 and len(acted) < len(pids) <= 2:
            acted.append(pids[-1])
            next(actions)()

    monkeypatch.setattr(job_view._View, "__call__", act)
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
    perform(whole, tmp_path / "whole", nobody)
    assert weights(out / "a") == weights(tmp_path / "whole" / whole.name)


@pytest.mark.slow
def test_a_killed_driver_leaves_nobody_behind_and_the_next_one_continues(
    tmp_path: Path, command: Command
) -> None:
    for i, name in enumerate(("0.png", "1.png")):
        draw_photo(tmp_path / "in" / name, i)
    out = tmp_path / "out"
    words = f"train {tmp_path}/in --each --preset preview -o {out} --workers 1 --steps 60"
    words += f" --device cpu:1 {FLAGS}"
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
