"""Do many jobs. An engine says where: `LocalPool` in processes of this machine.

Jobs that are done are not repeated; those that fail do not stop the rest. Whatever happens to who
asked for them, nobody goes on writing, and the same call continues.
"""

import contextlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from singleimage.errors import ImageError, SingleImageError
from singleimage.jobs.job import Job, JobResult, result_of
from singleimage.machine.files import make_folder, write_atomically
from singleimage.metrics.samples import digest_of

ERROR = "error.txt"
"""In the folder of a job that failed: what it said."""
MARK = b"singleimage could not do this job:\n"
"""How that file begins."""
KEPT = 1_000_000
"""Bytes kept of what it said."""
BEAT = 0.5
"""Seconds after which an event is yielded even if there is no news, so that callers can act."""


class Event(msgspec.Struct, frozen=True):
    """News of a job."""

    job: str
    """Name of the job."""
    state: Literal["skipped", "running", "done", "failed"]
    """skipped: was done before."""
    fraction: float = 0.0
    """How much of it is done, from 0 to 1."""
    text: str = ""
    """The level it is at; of a failed job the reason, in one line."""


class Engine(Protocol):
    """A place to do jobs."""

    def run(self, jobs: Sequence[Job], folder: Path) -> Iterator[Event]:
        """Do the jobs in their folders under `folder`, and tell what happens.

        Every job ends with one event that is not `running`. While jobs run, an event comes at
        least every second, if only the last one again. Leaving the iterator stops what runs after
        the step it is in; the state is saved.

        Raises:
            RunError: another process works in the folder.
            OutputError, OSError: the folder cannot be written.
        """
        ...


def finished(job: Job, folder: Path) -> JobResult | None:
    """The result of a job that is done, with these settings, photo and samples; else None.

    A job whose folder holds the result of another one is not done: doing it says what differs.
    """
    result = result_of(job, folder)
    if result is None:
        return None
    digest = job.recipe.digest() if job.recipe else ""
    trained = job.recipe is not None and job.recipe.direct is None
    if trained and job.precision not in ("auto", result.precision):
        return None
    found = (result.recipe_digest, result.seed, result.measure)
    if found != (digest, job.seed, job.measure):
        return None
    try:
        files = [Path(path).read_bytes() for path in (job.photo, *job.company)]
        digests = tuple(sha256(data).hexdigest() for data in files)
        same = result.photos == digests and result.samples_sha256 == _samples_digest(job)
    except OSError:  # the photo is gone, or the samples, the result is not
        same = True
    return result if same else None


def _samples_digest(job: Job) -> str:
    """Of the published samples of a job; empty where it trains."""
    if not job.published:
        return ""
    try:
        paths = job.samples()
    except ImageError:
        Path(job.published).stat()  # raises `OSError` where the folder is gone
        paths = []
    return digest_of(paths)


def split_done(jobs: Sequence[Job], folder: Path) -> tuple[list[Event], list[Job]]:
    """Split `jobs` into the events of those that are done in `folder`, and those that are not."""
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names), "two jobs with one name would share a folder"
    done, left = [], []
    for job in jobs:
        if finished(job, folder):
            done.append(Event(job.name, "skipped", 1.0))
        else:
            left.append(job)
    return done, left


def keep_error(home: Path, words: bytes) -> None:
    """Write `words`, what a failed job said, into its folder `home`, if that is possible."""
    with contextlib.suppress(SingleImageError):
        if not (path := make_folder(home) / ERROR).exists() or _is_ours(path):
            write_atomically(path, lambda stream: stream.write(MARK + words[-KEPT:]))


def forget_error(home: Path) -> None:
    """Remove the words of an earlier try from `home`; a training begins in an empty folder."""
    with contextlib.suppress(OSError):
        if _is_ours(path := home / ERROR):
            path.unlink()


def _is_ours(path: Path) -> bool:
    """Whether this program wrote it, not the user."""
    with path.open("rb") as stream:
        return stream.read(len(MARK)) == MARK
