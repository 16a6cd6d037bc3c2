"""What a run writes down while it trains: log.jsonl, and TensorBoard's files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from singleimage.machine.files import write_atomically
from singleimage.training.progress import Progress
from singleimage.training.trainer import Trainer

LOG_EVERY = 10
"""Steps between two lines of the log."""


class BoardWriter(Protocol):
    """What is used of TensorBoard's writer."""

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add a `value` at a `step` to the curve `tag`."""
        ...

    def add_image(self, tag: str, image: Any, step: int, *, dataformats: str) -> None:
        """Add an `image` at a `step` to those called `tag`; `dataformats` names its axes."""
        ...

    def close(self) -> None:
        """Write what is left and close the files."""
        ...


class Log:
    """log.jsonl, and TensorBoard's files where its package is installed."""

    def __init__(self, folder: Path, trainer: Trainer) -> None:
        self._schedule = trainer.recipe.schedule
        path = folder / "log.jsonl"
        done = self._schedule.steps_before(trainer.level) + trainer.step
        kept = _lines_until(path, trainer.position) if path.is_file() else b""
        write_atomically(path, lambda file: file.write(kept))
        self._file = path.open("a", encoding="utf-8")
        self._board = _open_board(folder / "tensorboard", done)

    def write(self, progress: Progress) -> None:
        """Write a line of `progress`."""
        if progress.step % LOG_EVERY and not progress.level_done:
            return
        record = {
            "level": progress.level,
            **({"attempt": progress.attempt} if progress.attempt else {}),
            "step": progress.step,
            **{name: float(f"{value:.6g}") for name, value in progress.losses.items()},
            "seconds": round(progress.seconds, 4),
        }
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        done = self._schedule.steps_before(progress.level) + progress.step

        def show(board: BoardWriter) -> None:
            for name, value in progress.losses.items():
                board.add_scalar(name, value, done)

        self._show(show)

    def picture(self, level: int, page: Any) -> None:
        """Show the samples of a finished `level`, a contact sheet `page`."""
        import numpy as np

        step, image = self._schedule.steps_before(level + 1), np.asarray(page)
        self._show(lambda board: board.add_image("preview", image, step, dataformats="HWC"))

    def close(self) -> None:
        """Write what is left and close the files."""
        self._file.close()
        self._show(lambda board: board.close())

    def _show(self, do: Callable[[BoardWriter], None]) -> None:
        """Do something with TensorBoard's files; once they are taken away, nothing more."""
        if self._board is None:
            return
        try:
            do(self._board)
        except OSError:
            self._board = None


def _lines_until(path: Path, position: tuple[int, int, int]) -> bytes:
    """The lines of a log up to the state that training continues from."""
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            record = json.loads(line)
            here = record["level"], record.get("attempt", 0), record["step"]
            if here > position:
                break
        except (ValueError, KeyError, TypeError, AttributeError):  # cut short by a crash, or worse
            break
        kept.append(line)
    return b"".join(kept)


def _open_board(folder: Path, done: int) -> BoardWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    try:
        writer: BoardWriter = SummaryWriter(str(folder), purge_step=done + 1)
    except UnicodeError:  # it takes no folder whose name is not text
        return None
    return writer
