"""`python -m singleimage.jobs.worker`: one job in a process of its own.

An `Order` comes as a line of JSON on standard input, which then stays open: its end means that who
gave the order is gone. The job is then stopped after the step it is in. Reports go to standard
output as lines of JSON, words for people to standard error.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from singleimage.errors import SingleImageError, in_words

PAUSE = 0.5
"""Seconds between two reports."""
GRACE = 20.0
"""Seconds until a worker that was told to stop is ended even in the middle of a step."""


class Order(msgspec.Struct, frozen=True):
    """A job, as JSON, and the folder of all jobs."""

    job: msgspec.Raw
    folder: str


class News(msgspec.Struct, frozen=True):
    """How far a job is; or why it failed."""

    fraction: float = 0.0
    text: str = ""
    error: str = ""
    """Error in one line; empty: there is none."""


class Watch:
    """A `Tell` that reports now and then, and stops the job when it is asked to."""

    def __init__(self, report: Callable[[float, str], None]) -> None:
        self._report = report
        self._next = 0.0
        self.stopping = threading.Event()
        self.saved = threading.Event()
        """What is trained is kept; only measuring is left."""

    def __call__(self, fraction: float, text: str) -> None:
        from singleimage.jobs.job import Stopped

        if fraction >= 1.0 or time.monotonic() >= self._next:
            self._report(fraction, text)
            self._next = time.monotonic() + PAUSE
        if self.stopping.is_set():
            raise Stopped
        if fraction >= 1.0:  # what is trained is kept before that is told
            self.saved.set()


def main() -> int:
    """Do the job that is asked for on standard input."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no report

    def report(fraction: float, text: str) -> None:
        _send(out, News(fraction=fraction, text=text))

    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    watch = Watch(report)
    orders = _set_aside_input()
    threading.Thread(target=_stop_at_end_of_input, args=[watch, orders], daemon=True).start()
    try:
        _do(order, watch)
    except Exception as error:
        _send(out, News(error=in_one_line(error)))
        if isinstance(error, SingleImageError):
            print(f"error: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        return 2
    return 0


def _do(order: Order, watch: Watch) -> None:
    from singleimage.jobs.job import Job, Stopped, perform

    job = msgspec.json.decode(order.job, type=Job)
    if job.recipe is None:
        watch.saved.set()
    try:
        perform(job, Path(order.folder), watch)
    except Stopped:
        print("stopped", file=sys.stderr)


def _set_aside_input() -> int:
    """Another number for standard input, which is empty from now on.

    On Windows, libraries that look at it as they are loaded would wait for what reads it.
    """
    orders = os.dup(0)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return orders


def _stop_at_end_of_input(watch: Watch, orders: int) -> None:
    while os.read(orders, 1024):  # not through sys.stdin, whose lock would trouble the exit
        pass
    watch.stopping.set()
    watch.saved.wait(GRACE)
    os._exit(1)  # whatever it was doing, files are complete: they are written atomically


def _send(out: BinaryIO, news: News) -> None:
    try:
        out.write(msgspec.json.encode(news) + b"\n")
    except OSError:  # nobody listens: the end of input will say the same
        return


def in_one_line(error: BaseException) -> str:
    """Say why a job failed with `error`, for a table; the traceback has the rest."""
    less = "use fewer workers, or a smaller pyramid (`train --dry-run` lists it)"
    found = in_words(error, less_memory=less)
    return found or f"{type(error).__name__}: {' '.join(str(error).split())}"


if __name__ == "__main__":
    sys.exit(main())
