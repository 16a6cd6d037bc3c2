"""Orders and trainings are carried out in turn, and one that fails holds up no other."""

import asyncio
import signal
import subprocess
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from singleimage.errors import OutputError
from singleimage.studio.shelf import Order, PhotoCard, RunCard, Shelf
from singleimage.studio.workshop import BEHIND, Training, Workshop, _started, draw_forever


class Quick(Workshop):
    """Draws at once, by writing a file; notes what it was asked for."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.drawn: list[str] = []

    async def _run(self, order: Order, line: list[str]) -> tuple[int, str]:
        await asyncio.sleep(0)
        seed = int(line[line.index("--seed") + 1])
        assert line[-1] == "--overwrite"
        self.drawn.append(f"{order.id[0]}{seed}")
        if order.settings.get("variety") == 1:
            raise OSError(28, "No space left on device")
        (self.shelf.pictures(order) / f"{seed:04}.png").write_bytes(b"picture")
        return 0, ""


def order(key: str, **more: Any) -> Order:
    return Order(id=key * 16, kind="vary", photo="0" * 16, created=1.0, **more)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path / "s")
    shelf.keep(
        PhotoCard(id="0" * 16, name="a", suffix=".png", height=9, width=9, words="", deep=False)
    )
    return shelf


async def until(workshop: Workshop, *orders: Order) -> None:
    """Work until these have ended."""
    work = asyncio.create_task(workshop.working())
    for _ in range(2000):
        if all(one.state in ("done", "failed", "stopped") for one in orders):
            break
        await asyncio.sleep(0.005)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleimage.studio.workshop._begin", lambda: None)


def test_orders_are_drawn_in_turn_and_one_that_breaks_stops_no_other(shelf: Shelf) -> None:
    async def scene() -> None:
        workshop = Quick(shelf)
        broken, fine = order("a", settings={"variety": 1}), order("b", count=2)
        workshop.take(broken)
        workshop.take(fine)
        await until(workshop, broken, fine)
        assert (broken.state, broken.made) == ("failed", [])
        assert "No space left on device" in broken.error
        assert (fine.state, fine.made) == ("done", ["0000.png", "0001.png"])
        assert workshop.drawn == ["a0", "b0", "b1"]

    asyncio.run(scene())


def test_what_was_stopped_goes_on_with_what_is_missing(shelf: Shelf) -> None:
    async def scene() -> None:
        workshop = Quick(shelf)
        half = order("a", count=3, seed=4, made=["0004.png"], state="stopped", seconds=100.0)
        workshop.take(half)
        waiting = order("b")
        workshop.take(waiting)
        workshop.cancel(waiting)
        await until(workshop, half, waiting)
        assert half.made == ["0004.png", "0005.png", "0006.png"]
        assert 100 < half.seconds < 110  # those of all three
        assert waiting.state == "stopped"
        assert workshop.drawn == ["a5", "a6"]
        assert len(workshop.shown(half)["shell"]) == 3

    asyncio.run(scene())


def test_a_picture_that_was_written_when_its_order_was_stopped_is_taken(shelf: Shelf) -> None:
    async def scene() -> None:
        workshop = Quick(shelf)
        half = order("a", count=3, seed=9999, made=["9999.png", "10000.png"], state="stopped")
        folder = workshop.shelf.pictures(half)
        folder.mkdir(parents=True)
        for name in ("9999.png", "10000.png", "10001.png", "10001_mask.png"):
            (folder / name).write_bytes(b"earlier")
        (folder / ".10001.png.0123abcd.part").write_bytes(b"half")
        workshop.take(half)
        await until(workshop, half)
        assert half.made == ["9999.png", "10000.png", "10001.png"]
        assert workshop.drawn == ["a10001"]
        assert not list(folder.glob(".*"))

    asyncio.run(scene())


class Process:
    """Draws nothing until it is killed, or answers at once."""

    def __init__(self, end: Any, answer: tuple[int, str] | None) -> None:
        self.end, self.killed = end, False
        if answer is not None:
            end.send(answer)

    def is_alive(self) -> bool:
        return True  # for a moment after it was killed, too

    def terminate(self) -> None: ...  # a wish to stop after this picture

    def kill(self) -> None:
        self.killed = True
        self.end.close()

    def join(self, seconds: float) -> None: ...


def test_a_drawing_that_is_stopped_is_killed_and_the_next_has_a_process_of_its_own(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Process] = []

    def begin() -> tuple[Process, Any]:
        ours, theirs = Pipe()
        begun.append(Process(theirs, (1, "error: of its own") if begun else None))
        return begun[-1], ours

    monkeypatch.setattr("singleimage.studio.workshop._begin", begin)

    async def scene() -> None:
        workshop = Workshop(shelf)
        long, next_one = order("a"), order("b")
        workshop.take(long)
        workshop.take(next_one)
        work = asyncio.create_task(workshop.working())
        await asyncio.sleep(0.05)
        workshop.cancel(long)
        await asyncio.sleep(0.05)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        for process in begun:
            process.end.close()
        assert (long.state, long.error) == ("stopped", "")
        assert (next_one.state, next_one.error) == ("failed", "of its own")
        assert [process.killed for process in begun] == [True, True]

    asyncio.run(scene())


def test_a_page_that_is_too_far_behind_is_let_go_and_the_others_are_not(shelf: Shelf) -> None:
    async def scene() -> None:
        workshop = Workshop(shelf)
        slow, quick = workshop.events(), workshop.events()
        first = asyncio.ensure_future(anext(slow)), asyncio.ensure_future(anext(quick))
        await asyncio.sleep(0)
        workshop.tell("photo", n=0)
        assert [await one for one in first] == [{"type": "photo", "n": 0}] * 2
        for n in range(1, BEHIND + 2):
            workshop.tell("photo", n=n)
            assert (await anext(quick))["n"] == n
        seen = [event["n"] async for event in slow]
        assert seen == list(range(1, BEHIND + 1))

    asyncio.run(scene())


class Trains:
    """A process that trains, and ends a step after it is asked to."""

    stderr = None

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.signals: list[int] = []
        self.ended = asyncio.Event()

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        asyncio.get_running_loop().call_later(0.05, self._end, -number)

    def _end(self, code: int) -> None:
        self.returncode = code
        self.ended.set()

    async def wait(self) -> None:
        await self.ended.wait()


def training() -> RunCard:
    return RunCard(id="c" * 16, photo="0" * 16, settings={"preset": "preview"})


Act = Callable[[Workshop, RunCard], None]


def pauses(workshop: Workshop, run: RunCard) -> None:
    for _ in range(2):
        workshop.pause(run)


def fills_the_disk(workshop: Workshop, run: RunCard) -> None:
    def full(card: Any) -> None:
        raise OutputError("the disk is full")

    workshop.shelf.keep = full  # type: ignore[method-assign]
    workshop.shelf.run_folder(run.id).mkdir(parents=True)
    (workshop.shelf.run_folder(run.id) / "model.safetensors").touch()  # a level is done


def breaks(workshop: Workshop, run: RunCard) -> None:
    del workshop.shelf.photos[run.photo]


@pytest.mark.parametrize(
    ("acts", "signals", "state"),
    [
        ([], [], "running"),
        ([pauses], [signal.SIGINT], "paused"),
        ([fills_the_disk], [], "running"),
        ([fills_the_disk, pauses], [signal.SIGINT], "failed"),
        ([breaks], [signal.SIGINT], "failed"),
    ],
    ids=["goes on", "paused twice", "full disk", "paused on a full disk", "breaks"],
)
def test_a_training_is_watched_until_it_ends_and_asked_once_to_stop(
    acts: list[Act],
    signals: list[int],
    state: str,
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("singleimage.studio.workshop.GLANCE", 0.01)

    async def scene() -> None:
        process, workshop, run = Trains(), Workshop(shelf), training()

        async def started(line: list[str]) -> Trains:
            return process

        monkeypatch.setattr("singleimage.studio.workshop._started", started)
        work = asyncio.create_task(workshop.working())
        workshop.train(run)
        await asyncio.sleep(0.03)
        for act in acts:
            act(workshop, run)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        assert (run.state, process.signals) == (state, signals)
        assert (process.returncode is None) == (state == "running")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert process.signals == [signal.SIGINT]
        assert process.returncode is not None

    asyncio.run(scene())


def test_a_training_that_is_being_paused_is_not_hurried_by_the_end_of_the_studio(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        process, workshop, run = Trains(), Workshop(shelf), training()

        async def started(line: list[str]) -> Trains:
            workshop.pause(run)  # while it begins
            return process

        monkeypatch.setattr("singleimage.studio.workshop._started", started)
        work = asyncio.create_task(workshop.working())
        workshop.train(run)
        await asyncio.sleep(0.03)
        assert (run.state, process.signals) == ("running", [signal.SIGINT])
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert (process.signals, process.returncode) == ([signal.SIGINT], -signal.SIGINT)

    asyncio.run(scene())


def test_a_training_is_paused_before_it_has_begun(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        workshop, run = Workshop(shelf), training()

        def ends_late(folder: Path) -> None:  # another training, that a killed server left
            workshop.pause(run)

        monkeypatch.setattr("singleimage.studio.workshop.end_orphan", ends_late)
        work = asyncio.create_task(workshop.working())
        workshop.train(run)
        while run.state in ("waiting", "running"):
            await asyncio.sleep(0.005)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert run.state == "paused"
        assert not workshop.shelf.run_folder(run.id).exists()

    asyncio.run(scene())


def test_the_process_that_draws_ends_quietly_where_its_server_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = Pipe()
    ours.send(["--version"])
    told: list[Any] = []

    class Gone:
        """A connection whose other end is closed while a line runs."""

        def recv(self) -> Any:
            return theirs.recv()

        def send(self, answer: Any) -> None:
            told.append(answer)
            ours.close()
            theirs.send(answer)

    released: list[None] = []
    monkeypatch.setattr("singleimage.machine.device.release_memory", lambda: released.append(None))
    draw_forever(Gone())  # type: ignore[arg-type]
    assert [code for code, _ in told] == [0]
    assert len(released) == 1


@pytest.mark.parametrize("name", ["SIGINT", "CTRL_BREAK_EVENT"])
def test_a_training_is_asked_by_the_signal_that_its_system_has(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again where that failed."""
    monkeypatch.setattr(signal, name, 1, raising=False)
    sent: list[int] = []

    class Process:
        returncode = None

        def send_signal(self, number: int) -> None:
            sent.append(number)
            if len(sent) == 1:
                raise ValueError("Unsupported signal")

    one = Training(training(), Process())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Unsupported"):
        one.stop()
    for _ in range(2):
        one.stop()
    assert sent == [1, 1]


def test_a_training_is_started_apart_from_the_console(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)  # of Windows
    seen: list[dict[str, Any]] = []

    async def start(*words: str, **options: Any) -> None:
        seen.append(options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    asyncio.run(_started(["train"]))
    (options,) = seen
    assert (options["start_new_session"], options["creationflags"]) == (True, 512)
    assert options["env"]["PYTHONIOENCODING"] == "utf-8"
