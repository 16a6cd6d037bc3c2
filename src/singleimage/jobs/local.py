"""An engine that does jobs in processes of this machine."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from singleimage.jobs.engine import (
    BEAT,
    Event,
    finished,
    forget_error,
    keep_error,
    split_done,
)
from singleimage.jobs.job import Job
from singleimage.jobs.worker import GRACE, News, Order
from singleimage.machine.device import VISIBLE, gpus
from singleimage.machine.files import make_folder
from singleimage.machine.lock import claimed


@dataclass(frozen=True)
class LocalPool:
    """Processes of this machine, `workers` at a time, each with the threads of its job."""

    workers: int

    def run(self, jobs: Sequence[Job], folder: Path) -> Generator[Event]:
        """Do `jobs` in processes of this machine, in `folder`; see `Engine`."""
        folder = make_folder(folder).absolute()
        with claimed(folder) as lock:
            done, left = split_done(jobs, folder)
            yield from done
            crew = _Crew(folder, lock)
            waiting = deque(left)
            try:
                while waiting or crew.children:
                    while waiting and len(crew.children) < max(1, self.workers):
                        yield crew.start(waiting.popleft())
                    yield crew.news()
            finally:
                crew.stop()


@dataclass(eq=False)
class _Child:
    """A worker process, seen from the driver."""

    job: Job
    process: "subprocess.Popen[bytes]"
    words: IO[bytes]
    """What it writes to standard error."""
    last: Event
    gpu: str = ""
    """Which one it sees, of those that jobs share; empty: what this process sees."""
    error: str = ""


class _Crew:
    """The worker processes of one run; a thread reads each one's reports into a queue."""

    def __init__(self, folder: Path, lock: int | None) -> None:
        self._folder = folder
        self._lock = lock
        self._reports: queue.SimpleQueue[tuple[_Child, News | None]] = queue.SimpleQueue()
        self.children: list[_Child] = []

    def start(self, job: Job) -> Event:
        """Start a worker on a job."""
        forget_error(self._folder / job.name)
        order = msgspec.json.encode(
            Order(job=msgspec.Raw(msgspec.json.encode(job)), folder=str(self._folder))
        )
        words = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the worker has ended
        threads = str(job.threads)
        libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        gpu = self._next_gpu() if job.device in ("auto", "cuda") else ""
        process = subprocess.Popen(
            [sys.executable, "-m", "singleimage.jobs.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            env={
                **os.environ,
                **dict.fromkeys(libraries, threads),
                "PYTHONIOENCODING": "utf-8",
                **({VISIBLE: gpu} if gpu else {}),
            },
            start_new_session=True,  # Ctrl-C is for the driver, which then tells the workers
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # so on Windows
            pass_fds=() if self._lock is None else (self._lock,),
        )
        child = _Child(job, process, words, Event(job.name, "running"), gpu)
        self.children.append(child)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; its end tells
            process.stdin.write(order + b"\n")
            process.stdin.flush()
        threading.Thread(target=self._read, args=[child], daemon=True).start()
        return child.last

    def _next_gpu(self) -> str:
        """The GPU that the fewest workers use; empty: there is none."""
        busy = [child.gpu for child in self.children]
        return min(gpus(), key=busy.count, default="")

    def _read(self, child: _Child) -> None:
        assert child.process.stdout is not None
        with child.process.stdout as lines:
            for line in lines:
                with contextlib.suppress(msgspec.DecodeError):
                    self._reports.put((child, msgspec.json.decode(line, type=News)))
        child.process.wait()
        self._reports.put((child, None))

    def news(self) -> Event:
        """Wait for news, but not for long."""
        try:
            child, report = self._reports.get(timeout=BEAT)
        except queue.Empty:
            return self.children[0].last
        if report is None:
            self.children.remove(child)
            child.last = self._end(child)
        elif report.error:
            child.error = report.error
        else:
            child.last = Event(child.job.name, "running", report.fraction, report.text)
        return child.last

    def _end(self, child: _Child) -> Event:
        """What became of a job whose worker has ended."""
        with child.words:
            child.words.seek(0)
            words = child.words.read()
        _close(child)
        if child.process.returncode == 0 and finished(child.job, self._folder):
            return Event(child.job.name, "done", 1.0, child.last.text)
        reason = child.error or _why(child.process.returncode, words)
        keep_error(self._folder / child.job.name, words or reason.encode())
        return Event(child.job.name, "failed", child.last.fraction, reason)

    def stop(self) -> None:
        """Have all workers save and end; kill those that do not within the grace period."""
        for child in self.children:
            _close(child)
        deadline = time.monotonic() + GRACE + 5
        try:
            for child in self.children:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.0, deadline - time.monotonic()))
        finally:  # also when the user cannot wait
            for child in self.children:
                child.process.kill()
                child.process.wait()
                child.words.close()


def _close(child: _Child) -> None:
    """Close a worker's standard input, which tells it to stop."""
    assert child.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.process.stdin.close()


def _why(code: int, words: bytes) -> str:
    """Why a worker ended without a word of its own."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        memory = ", perhaps for want of memory: use fewer workers" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{memory}; the same command continues it."
    lines = words.decode(errors="replace").strip().splitlines()
    return f"its process ended with code {code}: {lines[-1] if lines else 'no words'}"
