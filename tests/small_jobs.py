"""Jobs that take a second, an engine that does them in this process, and what they leave behind."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from singleimage import PRESETS, with_overrides
from singleimage.errors import SingleImageError
from singleimage.jobs.engine import Event, forget_error, keep_error, split_done
from singleimage.jobs.job import Job, Stopped, perform
from singleimage.jobs.worker import in_one_line
from singleimage.machine.files import make_folder
from singleimage.models.model import Model
from tiny import draw

SMALL = {
    "pyramid.max_size": "32",
    "pyramid.levels": "3",
    "generator.width": "4",
    "critic.width.base": "4",
}
FLAGS = " ".join(f"--set {path}={value}" for path, value in SMALL.items())
"""Of `train`, for the recipe of `job_of`."""


def draw_photo(path: Path, kind: int = 0) -> Path:
    return draw(path, kind, (32, 40))


def job_of(photo: Path, steps: int = 2) -> Job:
    """A training of three levels."""
    recipe = with_overrides(PRESETS["preview"], {**SMALL, "training.steps": str(steps)})
    return Job(name=f"tiny/{photo.stem}", method="tiny", photo=str(photo), recipe=recipe)


def nobody(fraction: float, text: str) -> None:
    """Is told how far a job is."""


def stop_at(level: int) -> Callable[[float, str], None]:
    """Stops a training of three levels after its first step of one."""

    def tell(fraction: float, text: str) -> None:
        if text == f"level {level}/3":
            raise Stopped

    return tell


@dataclass(frozen=True)
class Inline:
    """An engine without other processes; takes the place of `LocalPool`."""

    workers: int = 1

    def run(self, jobs: Sequence[Job], folder: Path) -> Iterator[Event]:
        folder = make_folder(folder)
        done, left = split_done(jobs, folder)
        yield from done
        for job in left:
            forget_error(folder / job.name)
            yield Event(job.name, "running")
            try:
                perform(job, folder, nobody)
            except SingleImageError as error:
                keep_error(folder / job.name, str(error).encode())
                yield Event(job.name, "failed", 0.0, in_one_line(error))
            else:
                yield Event(job.name, "done", 1.0)


def ends(events: Iterable[Event]) -> dict[str, str]:
    """How each job ended."""
    return {event.job: event.state for event in events if event.state != "running"}


def weights(folder: Path) -> bytes:
    """Of the model of a run."""
    state = Model.load(folder).generator.state_dict()
    return b"".join(name.encode() + t.numpy().tobytes() for name, t in sorted(state.items()))


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is written again."""
    return path.stat().st_mtime_ns, path.stat().st_ino


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)
