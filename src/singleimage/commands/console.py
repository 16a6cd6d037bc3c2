"""What the command line shows and how it is stopped: messages, progress, signals."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from singleimage.training.progress import Progress


Item = TypeVar("Item")
LONGEST = 1000
"""Characters of a message at most."""
TELL_EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""


@dataclass
class Stop:
    """A request to stop."""

    by: int | None = None
    """The signal that asked to stop."""


@contextmanager
def catch_stop(what: str = "step") -> Iterator[Stop]:
    """Turn Ctrl-C, Ctrl-Break and SIGTERM into a request that is met after `what` is done."""
    stop = Stop()

    def request(number: int, frame: FrameType | None) -> None:
        if stop.by is not None:
            raise KeyboardInterrupt
        stop.by = number
        say(f"stopping after this {what} ...")

    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, request) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def until_stopped(items: Iterable[Item], stop: Stop) -> Iterator[Item]:
    """The items until somebody asks to stop, one at least."""
    for item in items:
        yield item
        if stop.by is not None:
            return


class Show:
    """Shows progress: a bar on a terminal, else a line a level."""

    def __init__(self, bar: "Bar | None", *, quiet: bool) -> None:
        self._bar = bar
        self._quiet = quiet
        self._losses: dict[str, float] = {}
        self._task = bar.add_task("", total=None, left="", losses="") if bar is not None else None

    def __call__(self, progress: "Progress") -> None:
        before = self._losses if progress.step > 1 else {}
        self._losses = before | dict(progress.losses)  # a step may lack a term
        losses = "  ".join(f"{name} {value:.3f}" for name, value in self._losses.items())
        level = f"level {progress.level + 1}/{progress.levels}"
        if progress.attempt:
            level += f", attempt {progress.attempt + 1}"
        left = f"{duration(progress.remaining)} left"
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description=level,
                completed=progress.step,
                total=progress.steps,
                losses=losses,
                left=left,
            )
        elif progress.level_done and not self._quiet:
            say(f"{level}  step {progress.step}/{progress.steps}  {losses}  {left}")


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Show]:
    """A function that shows the progress it is given."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Show(None, quiet=quiet)
        return
    rest = Column(ratio=1, no_wrap=True)  # gives way where the terminal is narrow
    with Progress(
        "{task.description}",
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        "{task.fields[left]}",
        TextColumn("{task.fields[losses]}", style="dim", table_column=rest),
        console=console,
        expand=True,
    ) as bar:
        yield Show(bar, quiet=False)


@contextmanager
def counted(total: int, what: str, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A function to call for each of many things done: shows how many, and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_terminal and not quiet:
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)
        return
    began = last = time.monotonic()
    done = 0

    def count() -> None:
        nonlocal last, done
        done, now = done + 1, time.monotonic()
        if now - last > TELL_EVERY and done < total and not quiet:
            last = now
            left = duration((now - began) / done * (total - done))
            say(f"{done} of {total} {what}, {left} left")

    yield count


def duration(seconds: float) -> str:
    """Such as 1 h 05 min, 2 min 30 s or 7 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def print_result(facts: dict[str, Any], text: str, as_json: bool) -> None:
    """A command's result, on standard output: one JSON object, or words."""
    print(json.dumps(facts) if as_json else plain(text))


def plain(text: str) -> str:
    """Text without what would steer a terminal, such as its escapes."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def say(text: str) -> None:
    """A message on standard error, where there is one."""
    if sys.stderr is not None:
        print(plain(text), file=sys.stderr, flush=True)


def fail(text: str) -> int:
    """An error in one line; returns the exit code."""
    words = " ".join(text.split())
    say("error: " + (words if len(words) <= LONGEST else f"{words[:400]} ... {words[-400:]}"))
    return 2


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output, numbers to the right; without a header if it is empty."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=any(header), pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(header):
        numbers = all(_is_number(row[i]) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", no_wrap=numbers or i == 0)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:  # a file or a pipe has no edge
        console.width = 200
    console.print(table)


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "-+"
