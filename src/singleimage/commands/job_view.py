"""Many jobs in one view, and how they are stopped."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from singleimage.commands.console import catch_stop, say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from singleimage.jobs.engine import Event


class Halted(KeyboardInterrupt):
    """A signal stopped the jobs; their state is saved."""

    def __init__(self, by: int) -> None:
        super().__init__(by)
        self.code = 128 + by
        """The exit code that says so."""


def show_events(events: "Iterator[Event]", total: int, *, quiet: bool) -> "list[Event]":
    """Show the news of jobs until all have ended; returns the last event of each.

    On a terminal there is a line for each running job and one for all, elsewhere a line when a job
    ends. Ctrl-C and SIGTERM stop the jobs after the step they are in.

    Args:
        events: of an engine; closed at the end.
        total: how many jobs there are.
        quiet: show nothing but that it was stopped.

    Raises:
        Halted: a signal stopped them before all had ended.
    """
    ended: list[Event] = []
    with catch_stop() as stop:
        try:
            with _view(total, quiet=quiet) as show:
                for event in events:
                    if event.state != "running":
                        ended.append(event)
                    show(event, len(ended))
                    if stop.by is not None:
                        break
        finally:
            if isinstance(events, Generator):
                events.close()
    if stop.by is not None and len(ended) < total:
        say(f"stopped with {len(ended)} of {total} ended; the same command continues the rest.")
        raise Halted(stop.by)
    return ended


def tell_failures(ended: "Sequence[Event]") -> int:
    """List the jobs that failed on standard error; returns the exit code, 1 if there are any."""
    failed = [event for event in ended if event.state == "failed"]
    if not failed:
        return 0
    say(f"{len(failed)} of {len(ended)} failed:")
    for event in failed:
        say(f"  {event.job}: {event.text}")
    say("error.txt in their folders has more; mend the cause, the same command does only these.")
    return 1


class _View:
    """Shows events: bars where there is a terminal, else a line a job that ended."""

    def __init__(self, bar: "Bar | None", total: int, *, quiet: bool) -> None:
        self._bar = bar
        self._total = total
        self._quiet = quiet
        self._lines: dict[str, TaskID] = {}
        if bar is not None:
            self._all = bar.add_task("all", total=total, text="")

    def __call__(self, event: "Event", ended: int) -> None:
        if self._bar is None:
            if event.state != "running" and not self._quiet:
                say(_in_words(event, ended, self._total))
            return
        if event.state == "running":
            new = event.job not in self._lines
            if new:
                self._lines[event.job] = self._bar.add_task(event.job, total=1.0, text="")
            line = self._lines[event.job]
            self._bar.update(line, completed=event.fraction, text=event.text, refresh=new)
            return
        if event.job in self._lines:
            self._bar.remove_task(self._lines.pop(event.job))
        if event.state != "skipped":
            words = _in_words(event, ended, self._total)
            self._bar.console.print(words, highlight=False, markup=False)
        self._bar.update(self._all, completed=ended, text=f"{ended}/{self._total}")


def _in_words(event: "Event", ended: int, total: int) -> str:
    words = {"skipped": "was done before", "done": "done", "failed": f"failed: {event.text}"}
    return f"{ended}/{total} {event.job}: {words[event.state]}"


@contextmanager
def _view(total: int, *, quiet: bool) -> Iterator[_View]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _View(None, total, quiet=quiet)
        return
    rest = Column(ratio=1, no_wrap=True)  # gives way where the terminal is narrow
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[text]}", markup=False, style="dim", table_column=rest),
        console=console,
        expand=True,
    ) as bar:
        yield _View(bar, total, quiet=False)
