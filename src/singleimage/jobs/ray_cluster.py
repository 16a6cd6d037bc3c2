"""An engine that does jobs on a Ray cluster.

Every task gets its photo as bytes. Where it sees the caller's folder, told by a token in it, it
works there, so a task that is repeated elsewhere continues; otherwise it works in a folder of its
own, and sends the files back, also where it fails or is stopped.
"""

import contextlib
import os
import secrets
import socket
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from singleimage.errors import SingleImageError
from singleimage.images.decode import read_bytes
from singleimage.jobs.engine import BEAT, Event, finished, forget_error, keep_error, split_done
from singleimage.jobs.job import RESULT, Job, Stopped, perform
from singleimage.jobs.worker import GRACE, Watch, in_one_line
from singleimage.machine.files import make_folder, write_atomically
from singleimage.machine.lock import claimed

TOKEN = ".token"
RETRIES = 3
"""How often a job is done again that lost its worker or its node."""
CONNECT_SECONDS = 40.0
LOST_SECONDS = 15.0
"""A cluster that does not answer for so long is lost."""


FETCH_SECONDS = 60.0
"""For the files of all tasks that were stopped."""


class ClusterError(SingleImageError):
    """A cluster cannot be reached."""


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it travels, with the bytes of the files it needs."""

    job: bytes
    """JSON."""
    folder: str
    token: str
    """What the token file in `folder` says; empty: do not look."""
    photos: tuple[bytes, ...]
    """Of the photo, and of those that are learned with it."""
    samples: dict[str, bytes]
    """Published samples, by their names."""
    files: dict[str, bytes]
    """What is in the job's folder already, by relative paths."""


class Outcome(msgspec.Struct, frozen=True):
    """What a job on a node returns."""

    error: str = ""
    """Error in one line; empty: the job is done."""
    words: str = ""
    """The traceback of the error."""
    files: dict[str, bytes] = {}
    """The job's folder, unless it is the caller's."""


@dataclass(frozen=True)
class RayCluster:
    """The Ray cluster at an address: HOST:PORT, or `auto` for the one of this machine.

    The package must be installed on its nodes.
    """

    address: str
    share: bool = True
    """False: do not work in the caller's folder even where it can be seen."""

    def run(self, jobs: Sequence[Job], folder: Path) -> Generator[Event]:
        """Do `jobs` on the nodes of a cluster and gather their files in `folder`; see `Engine`.

        Raises:
            SingleImageError: ray is not installed.
            ClusterError: nobody answers at the address, or not any more.
        """
        _require_ray()
        folder = make_folder(folder).absolute()
        with claimed(folder):
            done, left = split_done(jobs, folder)
            yield from done
            if not left:
                return
            token = secrets.token_hex(16)
            write_atomically(folder / TOKEN, lambda stream: stream.write(token.encode()))
            try:
                with _connected(self.address) as address:
                    fleet = _Fleet(folder, token if self.share else "", address)
                    yield from fleet.run(left)
            finally:
                (folder / TOKEN).unlink(missing_ok=True)


# At the driver -----------------------------------------------------------------------------------


def _require_ray() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it writes over the progress
    try:
        import ray  # noqa: F401
    except ImportError:
        raise SingleImageError(
            'ray is not installed; install it with: pip install "singleimage[ray]"'
        ) from None


@contextlib.contextmanager
def _connected(address: str) -> Iterator[str]:
    """Connected to a cluster; gives the address that tells whether it still lives."""
    import ray

    if address not in ("auto", "local") and not _answers(address):
        raise ClusterError(
            f"no cluster answers at {address}; check the address, as HOST:PORT, and the network."
        )

    def connect() -> None:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        # It would still print on standard output that a node was lost; no public switch for that.
        ray._private.worker._worker_logs_enabled = False

    failure = _within(CONNECT_SECONDS, connect)
    if failure:
        raise ClusterError(f"cannot connect to a cluster at {address}: {failure}; check it.")
    try:
        yield str(ray.get_runtime_context().gcs_address)
    finally:
        _within(10.0, ray.shutdown)


def _within(seconds: float, act: Any) -> str:
    """Call something that may hang, in a thread that can be left; returns why it failed, or ''."""
    failures = [f"no answer in {seconds:.0f} s"]

    def run() -> None:
        try:
            act()
            failures[0] = ""
        except Exception as error:
            failures[0] = " ".join(str(error).split())[:200] or type(error).__name__

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return failures[0]


def _answers(address: str) -> bool:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return False
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return True
    except (OSError, OverflowError):
        return False


class _Fleet:
    """The tasks of one run."""

    def __init__(self, folder: Path, token: str, address: str) -> None:
        import ray

        self._folder = folder
        self._token = token
        self._address = address
        self._answered = time.monotonic()
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()
        self._news: Any = None
        self._tasks: dict[Any, Job] = {}
        self._last: dict[str, Event] = {}

    def run(self, jobs: Sequence[Job]) -> Generator[Event]:
        """Submit jobs, a few ahead of the processors, and tell what becomes of them."""
        import ray

        waiting = deque(jobs)
        try:
            while waiting or self._tasks:
                ahead = max(8, 2 * int(ray.cluster_resources().get("CPU", 0)))
                while waiting and len(self._tasks) < ahead:
                    if failed := self._submit(waiting.popleft()):
                        yield failed
                if not self._tasks:
                    continue
                ready, _ = ray.wait(list(self._tasks), timeout=BEAT)
                ends = [self._end(task) for task in ready]
                yield from ends or self._progress() or [self._beat()]
                self._require_answer()
        finally:
            self._stop()

    def _submit(self, job: Job) -> Event | None:
        """Send a job; or why it cannot be sent."""
        import ray

        try:
            parcel = self._parcel(job)
        except (SingleImageError, OSError) as error:
            keep_error(self._folder / job.name, f"error: {error}\n".encode())
            return Event(job.name, "failed", 0.0, in_one_line(error))
        gpus = ray.cluster_resources().get("GPU", 0)
        on_gpu = job.device == "cuda" or (job.device == "auto" and gpus >= 1)
        remote = ray.remote(work).options(
            name=job.name,
            num_cpus=job.threads,
            num_gpus=int(on_gpu),
            max_retries=RETRIES,
        )
        self._tasks[remote.remote(parcel, self._board)] = job
        return None

    def _parcel(self, job: Job) -> Parcel:
        home = self._folder / job.name
        forget_error(home)
        samples = job.samples() if job.published else []
        return Parcel(
            job=msgspec.json.encode(job),
            folder=str(self._folder),
            token=self._token,
            photos=tuple(read_bytes(Path(path)) for path in (job.photo, *job.company)),
            samples={path.name: read_bytes(path) for path in samples},
            files=_pack(home),
        )

    def _end(self, task: Any) -> Event:
        """What became of a task."""
        import ray

        job = self._tasks.pop(task)
        self._last.pop(job.name, None)
        home = self._folder / job.name
        try:
            outcome: Outcome = ray.get(task)
            _unpack(outcome.files, home)
        except Exception as error:  # a node too many was lost, or what came cannot be written
            lines = in_one_line(error).split(". ")
            outcome = Outcome(f"the cluster gave up: {lines[0][:300]}", traceback.format_exc())
        if not outcome.error and not finished(job, self._folder):
            outcome = Outcome("its result did not arrive; the same command does it again.")
        if outcome.error:
            keep_error(home, (outcome.words or outcome.error).encode())
            return Event(job.name, "failed", 0.0, outcome.error)
        return Event(job.name, "done", 1.0)

    def _progress(self) -> list[Event]:
        """What the board has heard since it was last asked; the board may be lost."""
        import ray

        told: dict[str, tuple[float, str]] = {}
        with contextlib.suppress(ray.exceptions.RayError):
            if self._news is None:
                self._news = self._board.take.remote()
            elif ray.wait([self._news], timeout=0)[0]:
                news, self._news = self._news, self._board.take.remote()
                told = ray.get(news)
        running = {job.name for job in self._tasks.values()}
        events = {n: Event(n, "running", *news) for n, news in told.items() if n in running}
        self._last |= events
        return list(events.values())

    def _beat(self) -> Event:
        for event in self._last.values():
            return event
        job = next(iter(self._tasks.values()))
        return Event(job.name, "running", 0.0, "waiting for the cluster")

    def _require_answer(self) -> None:
        """Raises `ClusterError` if nobody has answered for long; ray itself would just wait."""
        now = time.monotonic()
        if now < self._answered + LOST_SECONDS / 5:
            return
        if _answers(self._address):
            self._answered = time.monotonic()
        elif now > self._answered + LOST_SECONDS:
            self._tasks.clear()
            raise ClusterError(
                f"lost the cluster at {self._address}; when it is back, the same command continues."
            )

    def _stop(self) -> None:
        """Have running tasks save and end, and cancel those that do not or have not begun."""
        import ray

        begun = [task for task, job in self._tasks.items() if job.name in self._last]
        try:
            for task in self._tasks.keys() - begun:
                ray.cancel(task, force=True)
            if begun:
                self._board.halt.remote()
                count = len(begun)
                ended, _ = ray.wait(begun, num_returns=count, timeout=GRACE, fetch_local=False)
                self._fetch(ended)
        finally:
            for task in begun:
                ray.cancel(task, force=True)

    def _fetch(self, tasks: Sequence[Any]) -> None:
        """Keep what tasks that were stopped send back in time, so that they can be continued."""
        import ray

        deadline = time.monotonic() + FETCH_SECONDS
        for task in tasks:
            with contextlib.suppress(Exception):  # its node is lost, or the folder is not writable
                outcome: Outcome = ray.get(task, timeout=max(0.0, deadline - time.monotonic()))
                _unpack(outcome.files, self._folder / self._tasks[task].name)


# At the nodes ------------------------------------------------------------------------------------


class Board:
    """An actor that hears from all tasks and tells them when to stop."""

    def __init__(self) -> None:
        self._news: dict[str, tuple[float, str]] = {}
        self._stopping = False

    def post(self, job: str, fraction: float, text: str) -> bool:
        """Take news of a job.

        Args:
            job: its name.
            fraction: of its work that is done, in [0, 1].
            text: what it is at, for people.

        Returns:
            Whether it is to stop.
        """
        self._news[job] = (fraction, text)
        return self._stopping

    def take(self) -> dict[str, tuple[float, str]]:
        """The news since this was last asked, by job."""
        news, self._news = self._news, {}
        return news

    def halt(self) -> None:
        """Tell all jobs to stop when they post again."""
        self._stopping = True


def work(parcel: Parcel, board: Any) -> Outcome:
    """Do a job on a node. The errors of users come back as values: trying again would not help.

    Args:
        parcel: the job and the files it needs.
        board: the actor that takes its news.
    """
    given = msgspec.json.decode(parcel.job, type=Job)
    with tempfile.TemporaryDirectory(prefix="singleimage-") as temporary:
        paths = [
            Path(temporary) / f"photo-{i}" / Path(path).name
            for i, path in enumerate((given.photo, *given.company))
        ]
        for path, data in zip(paths, parcel.photos, strict=True):
            _unpack({path.name: data}, path.parent)
        photo, *company = map(str, paths)
        samples = Path(temporary) / "samples"
        _unpack(parcel.samples, samples)
        job = msgspec.structs.replace(
            given,
            photo=photo,
            company=tuple(company),
            published=str(samples) if given.published else "",
        )
        in_place = _sees(parcel)
        folder = Path(parcel.folder) if in_place else Path(temporary) / "results"
        if not in_place:
            _unpack(parcel.files, folder / job.name)
        error, words = "", ""
        try:
            perform(job, folder, _Post(board, job.name).watch)
        except Stopped:
            error = "stopped; the same command continues it."
        except Exception as failure:
            error, words = in_one_line(failure).replace(photo, given.photo), traceback.format_exc()
        return Outcome(error, words, {} if in_place else _pack(folder / job.name))


class _Post:
    """Posts on the board, without ever waiting for it: it may be lost."""

    def __init__(self, board: Any, job: str) -> None:
        self._board = board
        self._job = job
        self._answer: Any = None
        self.watch = Watch(self._report)

    def _report(self, fraction: float, text: str) -> None:
        import ray

        with contextlib.suppress(Exception):
            if self._answer is not None:
                if not ray.wait([self._answer], timeout=0)[0]:
                    return
                answer, self._answer = self._answer, None
                if ray.get(answer):
                    self.watch.stopping.set()
            self._answer = self._board.post.remote(self._job, fraction, text)


def _sees(parcel: Parcel) -> bool:
    """Whether the caller's folder is the one of that path here."""
    try:
        return bool(parcel.token) and (Path(parcel.folder) / TOKEN).read_text() == parcel.token
    except OSError:
        return False


def _pack(home: Path) -> dict[str, bytes]:
    """The files of a job's folder, by relative paths; not those for TensorBoard."""
    paths = (path for path in home.rglob("*") if path.is_file())
    relative = {path.relative_to(home): path for path in paths}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in relative.items()
        if not path.name.startswith(".") and name.parts[0] != "tensorboard"
    }


def _unpack(files: dict[str, bytes], home: Path) -> None:
    """Write files into a folder, the result last: it says that the rest is there."""
    for name in sorted(files, key=lambda name: name == RESULT):
        path = home / name
        make_folder(path.parent)
        write_atomically(path, lambda stream, data=files[name]: stream.write(data))  # type: ignore[misc]
