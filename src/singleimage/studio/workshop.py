"""Where orders are carried out: one process that draws, one at a time that trains.

Both run command lines of the package. The one that draws stays warm between orders; the one that
trains is `singleimage train`, which continues whatever was stopped. Orders are taken in turn.
"""

import asyncio
import io
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec

from singleimage.errors import ArgumentError, in_words
from singleimage.machine.files import clear_parts
from singleimage.machine.lock import owner_of
from singleimage.studio.orders import TRAINING, as_python, as_shell, flags_of, lines_of
from singleimage.studio.shelf import REST, Order, RunCard, Shelf

GLANCE = 0.5
"""Seconds between two looks at a training."""
BEHIND = 1000
"""Events that a page may be behind; one that is further asks for all anew."""
STOPPED = [128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM]
"""How a training ends that was asked to stop."""
if sys.platform == "win32":  # by Ctrl-Break: after its step, or at once where it has not begun
    STOPPED += [128 + signal.SIGBREAK, 0xC000013A]
ORPHAN_SECONDS = 30.0
"""Seconds for the training of a killed server to end."""
ESTIMATE_LIMIT = 60.0
"""Seconds for the estimate of a training."""


def draw_forever(connection: Connection) -> None:
    """Run command lines as they arrive; the process that draws.

    Args:
        connection: gives a line at a time, and takes its exit code and what it said.
    """
    main = import_module("singleimage.cli").main  # the program as a whole, as a shell would run it
    import_module("singleimage.models.flow")  # so that the first order need not wait for torch
    release = import_module("singleimage.machine.device").release_memory  # trainings need it too
    while True:
        try:
            line: list[str] = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        said = io.StringIO()
        try:
            with redirect_stderr(said), redirect_stdout(io.StringIO()):
                code = main(line)
                release()
        except BaseException as error:  # whatever it is, the page goes on
            code = 1
            said.write(f"error: {type(error).__name__}: {error}")
        with suppress(OSError):  # the server was stopped meanwhile
            connection.send((code, said.getvalue()))


@dataclass
class Training:
    """A training that runs."""

    run: RunCard
    process: asyncio.subprocess.Process
    asked: bool = False
    """Whether it was asked to stop."""

    def stop(self) -> None:
        """Ask it to end after its step; once, since the second signal would not wait for that."""
        if not self.asked and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))
            self.asked = True


class Workshop:
    """The queues of a studio."""

    def __init__(self, shelf: Shelf) -> None:
        """Begin with what is on the `shelf`; nothing runs before `working`."""
        self.shelf = shelf
        self.progress: dict[str, dict[str, Any]] = {}
        """Of trainings: level, step, drafts; `look` finds that of those before this studio."""
        self._orders: deque[Order] = deque()
        self._runs: deque[RunCard] = deque()
        self._new, self._new_run = asyncio.Event(), asyncio.Event()
        self._estimating = asyncio.Lock()
        self._pages: set[asyncio.Queue[dict[str, Any] | None]] = set()
        self._drawing: tuple[Order, BaseProcess] | None = None
        self._training: Training | None = None
        self._worker: tuple[BaseProcess, Connection] | None = None

    # What pages hear

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What happens from now on, until a page is too far behind."""
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(BEHIND + 1)
        self._pages.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._pages.discard(queue)

    def tell(self, kind: str, **facts: Any) -> None:
        """Tell all pages that something of a `kind` happened."""
        for queue in list(self._pages):
            if queue.qsize() < BEHIND:
                queue.put_nowait({"type": kind, **facts})
            else:
                self._pages.discard(queue)
                queue.put_nowait(None)

    def shown(self, order: Order) -> dict[str, Any]:
        """An order as pages see it, with the commands that make it, if there are any today."""
        lines = list[list[str]]()
        with suppress(ArgumentError):  # it is of another version, with settings of its own
            lines = self.lines(order)
        python = as_python(lines[0], self._suffix(order)) if lines else ""
        words = msgspec.to_builtins(order)
        return {**words, "shell": [as_shell(line) for line in lines], "python": python}

    def shown_run(self, run: RunCard) -> dict[str, Any]:
        """A training as pages see it."""
        return {**msgspec.to_builtins(run), "progress": self.progress.get(run.id, {})}

    async def look(self) -> None:
        """Find how far trainings are of which nothing is known, such as those of an earlier day."""
        for run in list(self.shelf.runs.values()):
            if run.id not in self.progress:
                found = await asyncio.to_thread(self._progress_of, run)
                self.progress.setdefault(run.id, found)  # what was told meanwhile is newer

    def _progress_of(self, run: RunCard) -> dict[str, Any]:
        photo = self.shelf.photos[run.photo]
        return progress_of(self.shelf.run_folder(run.id), (photo.height, photo.width))

    def tell_order(self, order: Order) -> None:
        """Tell all pages of an order, and keep it."""
        self.shelf.keep(order)
        self.tell("order", order=self.shown(order))

    def tell_run(self, run: RunCard) -> None:
        """Tell all pages of a training, and keep it."""
        self.shelf.keep(run)
        self.tell("run", run=self.shown_run(run))

    # Orders

    def lines(self, order: Order) -> list[list[str]]:
        """The command lines of an order; raises `ArgumentError` if it cannot be."""
        return lines_of(
            order.kind,
            order.settings,
            photo=self.shelf.photo_file(self.shelf.photos[order.photo]),
            run=None if order.run is None else self.shelf.run_folder(order.run),
            layers={name: self.shelf.layer_file(order, name) for name in order.layers},
            folder=self.shelf.pictures(order),
            suffix=self._suffix(order),
            seeds=range(order.seed, order.seed + order.count),
        )

    def _suffix(self, order: Order) -> str:
        return ".tiff" if self.shelf.photos[order.photo].deep else ".png"

    def take(self, order: Order) -> None:
        """Put an order at the end of the queue."""
        order.state, order.error = "waiting", ""
        order.dropped = [name for name in order.dropped if name != REST]
        self._orders.append(order)
        self.tell_order(order)
        self._new.set()

    def cancel(self, order: Order) -> None:
        """Stop an order; pictures that are done stay."""
        if order in self._orders:
            self._orders.remove(order)
            order.state = "stopped"
            self.tell_order(order)
        elif self._drawing is not None and self._drawing[0] is order:
            order.state = "stopped"
            self._drawing[1].kill()  # it would finish its picture, which may take minutes
            self._worker = None

    async def working(self) -> None:
        """Carry out orders and trainings until it is cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._draw_all())
            both.create_task(self._train_all())

    async def _draw_all(self) -> None:
        self._worker = _begin()
        try:
            while True:
                while not self._orders:
                    self._new.clear()
                    await self._new.wait()
                order = self._orders.popleft()
                try:
                    await self._draw(order)
                except Exception as error:  # such as a full disk: the next one may do better
                    order.state, order.error = "failed", _words_of(error)
                    self.tell("order", order=self.shown(order))
                self._drawing = None
        finally:
            if self._worker is not None:
                self._worker[0].kill()

    async def _draw(self, order: Order) -> None:
        order.state = "running"
        self.tell_order(order)
        folder = self.shelf.pictures(order)
        folder.mkdir(parents=True, exist_ok=True)
        clear_parts(folder)
        drawn = {Path(name).stem for name in order.made}  # before it was stopped
        for seed, line in enumerate(self.lines(order), order.seed):
            if (stem := f"{seed:04}") in drawn:
                continue
            started = time.monotonic()
            # What lies there is the order's own, written when it was stopped.
            code, said = await self._run(order, [*line, "--overwrite"])
            if order.state != "running":
                break
            if code != 0:
                order.state, order.error = "failed", _last(said)
                break
            order.made += sorted(p.name for p in folder.iterdir() if p.stem == stem)
            order.seconds += time.monotonic() - started
            self.tell_order(order)
        else:
            order.state = "done"
        self.tell_order(order)

    async def _run(self, order: Order, line: list[str]) -> tuple[int, str]:
        """Run a line in the process that draws; begins another if it is gone."""
        if self._worker is None or not self._worker[0].is_alive():
            self._worker = _begin()
        process, connection = self._worker
        self._drawing = order, process
        try:
            await asyncio.to_thread(connection.send, line)
            code, said = await asyncio.to_thread(connection.recv)
            return int(code), str(said)
        except (EOFError, OSError):
            process.join(5)
            return 1, "error: the process that draws has ended; try again, or a smaller size."

    # Trainings

    def train(self, run: RunCard) -> None:
        """Begin a training, or continue it, when those before it are done."""
        run.state, run.error = "waiting", ""
        self._runs.append(run)
        self.tell_run(run)
        self._new_run.set()

    def pause(self, run: RunCard) -> None:
        """Stop a training after the step it is at; `train` continues it."""
        if run in self._runs:
            self._runs.remove(run)
            run.state = "paused"
            self.tell_run(run)
        elif self._training is not None and self._training.run is run:
            self._training.stop()
        elif run.state == "running":  # but is not yet begun
            run.state = "paused"

    def training_line(self, photo: Path, settings: dict[str, Any], run: Path | None) -> list[str]:
        """The command line of a training; without a `run` folder, of its estimate."""
        end = ["--dry-run", "--json"] if run is None else ["-o", str(run)]
        return ["train", str(photo), *flags_of(settings, TRAINING), *end]

    async def _train_all(self) -> None:
        while True:
            while not self._runs:
                self._new_run.clear()
                await self._new_run.wait()
            run = self._runs.popleft()
            try:
                await self._train(run)
            except Exception as error:  # such as a full disk
                run.state, run.error = "failed", _words_of(error)
                self.tell("run", run=self.shown_run(run))
            self._training = None

    async def _train(self, run: RunCard) -> None:
        run.state = "running"
        self.tell_run(run)
        folder = self.shelf.run_folder(run.id)
        photo = self.shelf.photo_file(self.shelf.photos[run.photo])
        line = self.training_line(photo, run.settings, folder)
        await asyncio.to_thread(end_orphan, folder)
        if run.state != "running":
            self.tell_run(run)
            return
        process = await _started(line)
        self._training = Training(run, process)
        if run.state != "running":  # it was paused while it began, and runs until it ends
            run.state = "running"
            self._training.stop()
        try:
            await self._watch(run, process)
        finally:  # whatever went wrong, it must not go on alone
            self._training.stop()
            await process.wait()

    async def _watch(self, run: RunCard, process: asyncio.subprocess.Process) -> None:
        """Tell how far a training is, and how it ended."""
        said = asyncio.create_task(_all_of(process.stderr))
        ending = asyncio.create_task(process.wait())
        while not ending.done():
            await asyncio.wait([ending], timeout=GLANCE)
            found = await asyncio.to_thread(self._progress_of, run)
            if found != self.progress.get(run.id):
                self.progress[run.id] = found
                self.tell("run", run=self.shown_run(run))
        code = process.returncode
        run.state = "done" if code == 0 else "paused" if code in STOPPED else "failed"
        run.error = _last(await said) if run.state == "failed" else ""
        self.progress[run.id] = await asyncio.to_thread(self._progress_of, run)
        self.tell_run(run)

    async def estimate(self, photo: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Seconds, levels and memory of a training on this machine, tried for a few seconds."""
        file = self.shelf.photo_file(self.shelf.photos[photo])
        async with self._estimating:  # one at a time: each takes all cores
            process = await _started(self.training_line(file, settings, None))
            try:
                async with asyncio.timeout(ESTIMATE_LIMIT):
                    out, said = await process.communicate()
            except TimeoutError:
                return {"error": "the estimate took too long."}
            finally:
                if process.returncode is None:
                    process.kill()
        if process.returncode != 0:
            return {"error": _last(said.decode(errors="replace"))}
        plan = msgspec.json.decode(out)
        memory = max((level["bytes"] or 0 for level in plan["levels"]), default=0)
        return {"seconds": plan["seconds"], "levels": len(plan["levels"]), "bytes": memory}


def end_orphan(folder: Path) -> None:
    """End a training that a killed server left behind in a folder; it keeps what it has learned."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    pid = owner_of(folder)
    if pid is not None and sys.platform != "win32":  # where that would end it in its step
        with suppress(OSError):
            os.kill(pid, signal.SIGINT)  # once: the second would not wait for the step
    while time.monotonic() < deadline and owner_of(folder) is not None:
        time.sleep(0.2)


def progress_of(folder: Path, photo: tuple[int, int]) -> dict[str, Any]:
    """How far a training is: level, step, of how many, the share of all work, and its drafts.

    Args:
        folder: of the run.
        photo: its height and width.
    """
    drafts = sorted(path.name for path in folder.glob("previews/level-*.png"))
    found: dict[str, Any] = {"drafts": drafts, "model": (folder / "model.safetensors").exists()}
    lines: list[dict[str, Any]] = []
    with suppress(OSError):
        for text in (folder / "log.jsonl").read_bytes().splitlines():
            with suppress(msgspec.DecodeError):
                lines.append(msgspec.json.decode(text))
    if not lines:
        return found
    last = lines[-1]
    with suppress(Exception):  # the run is being begun, or is not ours
        found |= {"level": last["level"], "step": last["step"]}
        found |= _ahead(folder, photo, last["level"], last["step"])
    return found


def _ahead(folder: Path, photo: tuple[int, int], level: int, step: int) -> dict[str, Any]:
    from singleimage.multiscale.geometry import Size
    from singleimage.training.identity import Identity
    from singleimage.training.progress import Pace

    recipe = Identity.read(folder).recipe
    ladder = recipe.pyramid.plan(Size(*photo))
    steps = [recipe.schedule.steps_at(i) for i in range(len(ladder.sizes))]
    share = Pace(ladder, steps).share(level, step)
    finish = recipe.finish
    most = math.inf if finish is None or finish.max_size is None else finish.max_size
    # A mask is of the photo's size, in which large photos are not finished.
    keeps = recipe.finishes(Size(*photo)) and max(photo) <= most
    return {"levels": len(steps), "steps": steps[level], "share": share, "keeps": keeps}


def _begin() -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=draw_forever, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


async def _started(line: list[str]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "singleimage", *line),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe if "--dry-run" in line else asyncio.subprocess.DEVNULL,
        stderr=pipe,
        start_new_session=True,  # Ctrl-C is for the server, which then tells it
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # so on Windows
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},  # as its words are read
    )


async def _all_of(stream: asyncio.StreamReader | None) -> str:
    return "" if stream is None else (await stream.read()).decode(errors="replace")


def _words_of(error: Exception) -> str:
    return in_words(error) or f"{type(error).__name__}: {error}"


def _last(said: str) -> str:
    """The error in what a command said, in a line."""
    lines = [line for line in said.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "it ended without a word; try again."
