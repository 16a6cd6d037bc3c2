"""Jobs travel to a cluster and back, go on where a lost node was, and fail in one line.

Run as a script, this file plays a small Ray cluster in a process of its own.
"""

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from measuring import write
from singleimage.errors import SingleImageError
from singleimage.jobs import ray_cluster
from singleimage.jobs.engine import Event
from singleimage.jobs.job import Job, Stopped, perform, result_of
from singleimage.jobs.ray_cluster import TOKEN, Parcel, RayCluster, work
from singleimage.machine.lock import LOCK
from singleimage.models.model import Model
from small_jobs import FLAGS, draw_photo, ends, job_of, nobody, stop_at, weights
from tiny import Command

needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is not installed")

# On a node, without a cluster --------------------------------------------------------------------


def parcel(job: Job, folder: Path, *, token: str = "", said: str = "") -> Parcel:
    """As the driver sends it, whose folder has the token that is `said`."""
    folder.mkdir(exist_ok=True)
    (folder / TOKEN).write_text(said)
    return ray_cluster._Fleet._parcel(_Sender(folder, token), job)  # type: ignore[arg-type]


class _Sender:
    """What a parcel is made from."""

    def __init__(self, folder: Path, token: str) -> None:
        self._folder = folder
        self._token = token


def begun(job: Job, folder: Path) -> Path:
    """The folder of a job that was stopped at its last level."""
    with pytest.raises(Stopped):
        perform(job, folder, stop_at(3))
    return folder / job.name


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, threads: int) -> list[str]:
    """The words that tasks post on a board."""
    found: list[str] = []

    def post(self: ray_cluster._Post, fraction: float, text: str) -> None:
        found.append(text)

    monkeypatch.setattr(ray_cluster._Post, "_report", post)
    return found


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return job_of(draw_photo(tmp_path / "there" / "a.png"))


def test_a_task_goes_on_in_the_folder_of_the_caller_where_it_sees_it(
    tmp_path: Path, job: Job, told: list[str]
) -> None:
    """So does one that is done again because its node was lost."""
    home = begun(job, tmp_path / "out")
    sent = parcel(job, tmp_path / "out", token="abc", said="abc")
    Path(job.photo).unlink()  # it travels as bytes
    outcome = work(sent, None)
    assert outcome == ray_cluster.Outcome()
    assert told[0] == "level 3/3"
    result = result_of(job, tmp_path / "out")
    assert result is not None
    assert (result.photo, result.levels) == ("a.png", 3)
    draw_photo(Path(job.photo))
    perform(job, tmp_path / "whole", nobody)
    assert weights(home) == weights(tmp_path / "whole" / job.name)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("abc", "abd"),
        pytest.param("", "", marks=pytest.mark.slow),
        pytest.param("abc", None, marks=pytest.mark.slow),
    ],
)
def test_elsewhere_it_goes_on_in_a_folder_of_its_own_and_sends_the_files(
    token: str, said: str | None, tmp_path: Path, job: Job, told: list[str]
) -> None:
    home = begun(job, tmp_path / "out")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    sent = parcel(job, tmp_path / "out", token=token, said=said or "")
    if said is None:
        (tmp_path / "out" / TOKEN).unlink()
    outcome = work(sent, None)
    assert outcome.error == ""
    assert told[0] == "level 3/3"
    assert {path: path.read_bytes() for path in before} == before
    names = {"model.safetensors", "run.json", "result.json", "log.jsonl", "state.pt"}
    assert names == {name for name in outcome.files if "/" not in name}
    ray_cluster._unpack(outcome.files, home)
    result = result_of(job, tmp_path / "out")
    assert result is not None
    assert result.photo == "a.png"
    assert Model.load(home).provenance.levels == 3


def test_the_error_of_a_user_comes_back_with_his_path(
    tmp_path: Path, job: Job, told: list[str]
) -> None:
    Path(job.photo).write_text("no picture")
    outcome = work(parcel(job, tmp_path / "out"), None)
    assert outcome.error.startswith(f"{job.photo} is not an image")
    assert "\n" not in outcome.error
    assert outcome.words.startswith("Traceback")
    assert outcome.files == {}


@pytest.mark.parametrize("token", ["abc", ""])
def test_a_task_that_is_told_to_stop_saves_and_says_so(
    token: str, tmp_path: Path, job: Job, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than in the folder of the caller it sends what it has saved."""

    def halt(self: ray_cluster._Post, fraction: float, text: str) -> None:
        self.watch.stopping.set()

    monkeypatch.setattr(ray_cluster._Post, "_report", halt)
    outcome = work(parcel(job, tmp_path / "out", token=token, said="abc"), None)
    assert outcome.error == "stopped; the same command continues it."
    assert (tmp_path / "out" / job.name / "state.pt").exists() == bool(token)
    assert ("state.pt" in outcome.files) == (not token)


def test_what_is_trained_comes_back_where_the_rest_fails(
    tmp_path: Path, job: Job, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SingleImageError("no features")

    monkeypatch.setattr("singleimage.jobs.job._measure_model", fail)
    outcome = work(parcel(job, tmp_path / "out"), None)
    assert outcome.error == "no features"
    assert {"run.json", "state.pt", "model.safetensors"} <= outcome.files.keys()
    assert "result.json" not in outcome.files


def test_published_samples_travel_too(tmp_path: Path, told: list[str]) -> None:
    photo, files = write(tmp_path)
    for file in files:
        file.rename(file.with_name(f"real_{file.name}"))
    job = Job(name="x", method="x", photo=str(photo), published=str(files[0].parent))
    sent = parcel(job, tmp_path / "out")
    assert sorted(sent.samples) == [f"real_{i}.png" for i in range(3)]
    for file in files[0].parent.iterdir():
        file.unlink()
    outcome = work(sent, None)
    assert (outcome.error, sorted(outcome.files)) == ("", ["job.json", "result.json"])


def test_a_board_keeps_the_last_news_until_they_are_taken() -> None:
    board = ray_cluster.Board()
    assert not board.post("a", 0.1, "level 1/3")
    board.post("a", 0.2, "level 2/3")
    board.post("b", 0.3, "level 1/3")
    assert board.take() == {"a": (0.2, "level 2/3"), "b": (0.3, "level 1/3")}
    assert board.take() == {}
    board.halt()
    assert board.post("a", 0.3, "level 2/3")


def test_files_travel_but_for_hidden_ones_and_those_of_tensorboard(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    names = ["result.json", "model", "previews/level-0.png", "previews/deep/er"]
    for name in [*names, ".lock", "previews/.hidden", "tensorboard/events"]:
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text(name)
    files = ray_cluster._pack(there)
    assert sorted(files) == sorted(names)
    ray_cluster._unpack(files, here)
    assert {str(p.relative_to(here)) for p in here.rglob("*") if p.is_file()} == set(names)
    assert all((here / name).read_text() == name for name in names)
    assert ray_cluster._pack(tmp_path / "nowhere") == {}


def test_the_result_is_the_last_file_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that the rest is there."""
    order: list[str] = []
    monkeypatch.setattr(ray_cluster, "write_atomically", lambda path, _: order.append(path.name))
    ray_cluster._unpack({"a": b"", "result.json": b"", "z": b""}, tmp_path)
    assert order == ["a", "z", "result.json"]


# The driver --------------------------------------------------------------------------------------


class StandIn:
    """Of what is used of Ray: tasks are threads, and an actor answers at once."""

    def __init__(self) -> None:
        self.exceptions = SimpleNamespace(RayError=ConnectionError)
        self.cancelled: list[Any] = []

    def remote(self, function: Any = None, **_: object) -> Any:
        if function is None:
            return lambda actor: SimpleNamespace(remote=lambda: _Actor(actor()))
        return SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=partial(self._start, function))
        )

    def _start(self, function: Any, *given: object) -> "Future[Any]":
        task: Future[Any] = Future()
        thread = threading.Thread(target=lambda: task.set_result(function(*given)), daemon=True)
        thread.start()
        return task

    def wait(
        self, tasks: list[Any], *, num_returns: int = 1, timeout: float, fetch_local: bool = True
    ) -> tuple[list[Any], list[Any]]:
        end = time.monotonic() + timeout
        while sum(task.done() for task in tasks) < num_returns and time.monotonic() < end:
            time.sleep(0.01)
        return [t for t in tasks if t.done()], [t for t in tasks if not t.done()]

    def get(self, task: Any, timeout: float | None = None) -> Any:
        return task.result(timeout)

    def cancel(self, task: Any, *, force: bool) -> None:
        self.cancelled.append(task)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}


class _Actor:
    def __init__(self, actor: object) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        def call(*given: object) -> "Future[Any]":
            answer: Future[Any] = Future()
            answer.set_result(getattr(self._actor, name)(*given))
            return answer

        return SimpleNamespace(remote=call)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, threads: int) -> StandIn:
    ray = StandIn()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ray_cluster, "_connected", lambda address: nullcontext(address))
    monkeypatch.setattr(ray_cluster, "_answers", lambda _: True)
    monkeypatch.setattr("singleimage.jobs.worker.PAUSE", 0.0)
    monkeypatch.setattr(ray_cluster, "BEAT", 0.05)
    return ray


@pytest.mark.slow
def test_what_is_stopped_without_a_shared_folder_comes_back_and_is_continued(
    stand_in: StandIn, tmp_path: Path
) -> None:
    job = job_of(draw_photo(tmp_path / "a.png"), 24)
    cluster = RayCluster("there", share=False)
    events = cluster.run([job], tmp_path / "out")
    stopped = next(event for event in events if event.fraction > 1 / 3)
    events.close()
    home = tmp_path / "out" / job.name
    assert {"run.json", "state.pt", "model.safetensors"} <= {path.name for path in home.iterdir()}
    assert not (home / "result.json").exists()
    again = list(cluster.run([job], tmp_path / "out"))
    assert ends(again) == {job.name: "done"}
    found = [event.fraction for event in again if event.state == "running" and event.fraction]
    assert all(fraction >= stopped.fraction for fraction in found)


@pytest.mark.parametrize(
    ("device", "there", "expected"),
    [("cuda", 0.0, 1), ("auto", 2.0, 1), ("auto", 0.0, 0), ("cpu", 2.0, 0)],
)
def test_a_job_asks_for_a_gpu_where_it_can_have_one(
    device: str,
    there: float,
    expected: int,
    stand_in: StandIn,
    tmp_path: Path,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    fleet = ray_cluster._Fleet(tmp_path, "", "there")

    def options(num_gpus: int, **_: object) -> Any:
        asked.append(num_gpus)
        return SimpleNamespace(remote=lambda *_: Future())

    monkeypatch.setattr(stand_in, "remote", lambda _: SimpleNamespace(options=options))
    monkeypatch.setattr(stand_in, "cluster_resources", lambda: {"CPU": 2.0, "GPU": there})
    fleet._submit(msgspec.structs.replace(job, device=device))
    assert asked == [expected]


def test_a_stop_does_not_wait_long_for_files(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a node that is lost; those of others are kept."""
    monkeypatch.setattr(ray_cluster, "FETCH_SECONDS", 0.2)
    jobs = [job_of(tmp_path / f"{name}.png") for name in ("lost", "odd", "here")]
    tasks = [Future[ray_cluster.Outcome]() for _ in jobs]
    tasks[1].set_exception(ConnectionError())
    tasks[2].set_result(ray_cluster.Outcome("stopped", files={"state.pt": b"all"}))
    fleet = ray_cluster._Fleet(tmp_path, "", "there")
    fleet._tasks = dict(zip(tasks, jobs, strict=True))
    fleet._last = {job.name: Event(job.name, "running") for job in jobs}
    monkeypatch.setattr(stand_in, "wait", lambda found, **_: (found, []))
    began = time.monotonic()
    fleet._stop()
    assert time.monotonic() - began < 5
    assert (tmp_path / jobs[2].name / "state.pt").read_bytes() == b"all"
    assert not (tmp_path / jobs[0].name).exists()
    assert stand_in.cancelled == tasks


@needs_ray
def test_done_jobs_are_skipped_and_need_no_cluster(tmp_path: Path, job: Job, threads: int) -> None:
    perform(job, tmp_path, nobody)
    assert list(RayCluster("nowhere:1").run([job], tmp_path)) == [Event(job.name, "skipped", 1.0)]
    assert not (tmp_path / TOKEN).exists()


@needs_ray
def test_an_address_that_nobody_answers_at_is_one_line(tmp_path: Path, command: Command) -> None:
    draw_photo(tmp_path / "a.png")
    for address in ("127.0.0.1:1", "nonsense"):
        outcome = command(
            f"train {tmp_path} --each --preset preview -o {tmp_path}/out --ray {address} {FLAGS}"
        )
        assert outcome.code == 2
        assert outcome.err.startswith(f"error: no cluster answers at {address}; check the address")
        assert outcome.err.count("\n") == 1
        assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]


def test_without_ray_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SingleImageError, match=r'pip install "singleimage\[ray\]"'):
        next(RayCluster("auto").run([], tmp_path))


@needs_ray
@pytest.mark.slow
def test_jobs_on_a_cluster_survive_the_loss_of_a_node(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    line = [sys.executable, __file__, str(tmp_path)]
    paths = os.pathsep.join(sys.path)  # which has the folder of `small_jobs`
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=400, check=False, env=environment
    )
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


def play_on_ray(folder: Path) -> None:
    """Four jobs on a cluster of two nodes, one of which is killed; then jobs without sharing."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

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
        told: dict[str, object] = {"lost": ends(events)}
        told["again"] = ends(RayCluster(cluster.address).run(jobs, folder / "out"))
        few = [job_of(photos[0]), job_of(folder / "bad.png")]
        apart = list(RayCluster(cluster.address, share=False).run(few, folder / "apart"))
        told["apart"] = ends(apart)
        (told["reason"],) = (event.text for event in apart if event.state == "failed")
        print(json.dumps(told))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    play_on_ray(Path(sys.argv[1]))
