"""A run folder: one training with its settings, state, log, previews and model.

run.json            recipe, photo and seed: what this run is
model.safetensors   the levels that are finished, ready to sample
state.pt            everything needed to continue
log.jsonl           losses
previews/level-N.png  photo, reconstruction, samples after each level; the network's, until the
                      last one
tensorboard/        the same for TensorBoard, where it is installed
.lock               held while a process trains here
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import torch
from PIL.Image import Image

from singleimage.errors import ImageError, OutputError, RunError, in_words
from singleimage.images.photo import Photo
from singleimage.images.sheet import save_sheet, sheet
from singleimage.machine.files import clear_parts, make_folder, read_whole, write_atomically
from singleimage.machine.lock import claimed
from singleimage.machine.processes import in_turn, leading
from singleimage.models.hypermodel import Start
from singleimage.models.model import Model
from singleimage.nn.precision import Precision
from singleimage.recipes.recipe import Recipe
from singleimage.training.identity import Identity, claim, require_start, restore_identity
from singleimage.training.log import Log
from singleimage.training.progress import Progress
from singleimage.training.trainer import Trainer

Kept = TypeVar("Kept")

SEAL = b"singleimage sha256 "
SEALED = len(SEAL) + 32
"""What stands behind a state: these words, and the digest of it."""
PREVIEW_SEEDS = range(4)
PREVIEW_PHOTOS = 6
"""Photos that a preview shows where several are learned."""


@dataclass(frozen=True)
class Tuning:
    """A run that goes on where another one ended: with its finest level, on one picture."""

    start: Path
    """Folder of a finished run of the same photo, seed and precision."""
    picture: Photo
    """The photo changed: with something pasted in, or parts moved."""


class Run:
    """A training that keeps itself in a folder. Iterating it trains and saves.

    Stopped at any moment, even by a crash, a run of the same folder, recipe, photo and seed
    continues, and ends with the same weights as one that was never stopped, on the same machine and
    number of threads (`cpu:THREADS`): more threads round sums in another order, and so may a GPU
    each time.
    """

    def __init__(
        self,
        folder: str | Path,
        photo: Photo | Sequence[Photo],
        recipe: Recipe,
        *,
        seed: int,
        name: str = "",
        device: str = "auto",
        precision: Precision = "auto",
        embed_image: bool = True,
        save_seconds: float = 60.0,
        tuning: Tuning | None = None,
        start: Start | None = None,
    ) -> None:
        """Prepare a run, or the rest of one that was stopped.

        Args:
            folder: made if missing; must be empty or hold this very run.
            photo, recipe, seed, device, precision: as `Trainer`.
            name: of the photo, for people.
            embed_image: store the training image in the model.
            save_seconds: at most this much work is lost in a crash.
            tuning: start from the end of another run; see `Trainer.tune`.
            start: networks that every level begins with; see `Trainer`.

        Raises:
            RunError: the folder holds something else, or another run; or the run to start from is
                not finished, or another photo's.
            SizeError, ImageError, DeviceError, UnsupportedEntry: as `Trainer`.
            OutputError: the folder cannot be written.
        """
        self.folder = Path(folder)
        given = None if tuning is None else tuning.picture
        self.trainer = Trainer(
            photo, recipe, seed=seed, device=device, precision=precision, given=given, start=start
        )
        self._photos = [photo] if isinstance(photo, Photo) else photo
        self._embed_image = embed_image
        self._save_seconds = save_seconds
        self._identity = identity = Identity(
            recipe=recipe,
            image=name.encode(errors="backslashreplace").decode(),  # any name is a file's
            image_sha256=self.trainer.sha256,
            seed=seed,
            embed_image=embed_image,
            precision=self.trainer.precision,
            given_sha256="" if given is None else given.sha256,
            start_sha256="" if start is None else start.sha256,
        )
        if tuning is not None:
            require_start(Identity.read(tuning.start), identity, tuning.start)
        self._known = self._stamp()
        self.resumed = in_turn(lambda: self._claim(identity))
        if tuning is not None and not self.resumed:
            if not self._restore(tuning.start, ended=True):
                raise RunError(f"{tuning.start} is not finished; continue it first.")
            self.trainer.tune()

    @property
    def photos(self) -> int:
        """How many photos are learned together."""
        return len(self._photos)

    @property
    def model_path(self) -> Path:
        """Where the model of the finished levels is."""
        return self.folder / "model.safetensors"

    @property
    def levels(self) -> int:
        """How many levels there are to train."""
        return self.trainer.levels

    @property
    def position(self) -> tuple[int, int, int]:
        """Level, attempt at it, and steps of it that are done."""
        return self.trainer.position

    @property
    def finished(self) -> bool:
        """Whether all levels are trained."""
        return self.trainer.finished

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return self.trainer.seconds

    def __iter__(self) -> Iterator[Progress]:
        """Train. Raises `RunError` if another process trains in the folder, or has meanwhile."""
        if not leading():  # that process writes for all
            yield from self.trainer
            return
        with claimed(self.folder):
            clear_parts(self.folder)
            clear_parts(self.folder / "previews")
            if self._stamp() != self._known:
                raise RunError(
                    f"another process has trained in {self.folder} meanwhile; start again, to "
                    f"continue from there."
                )
            with closing(Log(self.folder, self.trainer)) as log:
                yield from self._logged(log)
            if self.finished and not self.model_path.exists():  # it was moved away
                self._finish_level(self.levels - 1)

    def _logged(self, log: Log) -> Iterator[Progress]:
        saved = time.monotonic()
        for progress in self._steps():
            log.write(progress)
            if progress.level_done:
                log.picture(progress.level, self._finish_level(progress.level))
            if progress.level_done or time.monotonic() - saved > self._save_seconds:
                self.save()
                saved = time.monotonic()
            yield progress

    def _steps(self) -> Iterator[Progress]:
        """Train; what is done is kept when a photo that is read again has been changed."""
        try:
            yield from self.trainer
        except ImageError:
            self.save()
            raise

    def save(self) -> None:
        """Write the state, so that the run can be continued from here.

        Raises:
            Diverged: a weight is not finite; the state before is kept.
            OutputError: the folder cannot be written or the disk is full.
        """
        if not leading():
            return
        stream = io.BytesIO()
        torch.save(self.trainer.state_dict(), stream)
        path = self.folder / "state.pt"
        with stream.getbuffer() as data:
            seal = SEAL + hashlib.sha256(data).digest()
            self._kept(lambda: write_atomically(path, lambda file: _write_all(file, data, seal)))
        self._known = self._stamp()

    def _kept(self, write: Callable[[], Kept]) -> Kept:
        """Write into the folder, and once more if someone removes it meanwhile."""
        restore_identity(self.folder, self._identity)
        try:
            return write()
        except OutputError:
            if self.folder.exists():
                raise
        restore_identity(self.folder, self._identity)
        return write()

    def _stamp(self) -> tuple[int, int] | None:
        """What tells one state in the folder from another; None: there is none."""
        path = self.folder / "state.pt"
        if not path.exists():
            return None
        facts = path.stat()
        return facts.st_mtime_ns, facts.st_ino

    def _claim(self, identity: Identity) -> bool:
        """Make the folder this run's; True if it holds a state to continue from."""
        return not claim(self.folder, identity) and self._restore(self.folder)

    def _restore(self, folder: Path, *, ended: bool = False) -> bool:
        """Continue from the state in `folder`; False if there is none, or not the `ended` one."""
        path = folder / "state.pt"
        if not path.exists():
            return False
        try:
            data = memoryview(read_whole(path))
            if data[-SEALED : -SEALED + len(SEAL)] == SEAL:
                data, seal = data[:-SEALED], data[-32:]
                if hashlib.sha256(data).digest() != seal:
                    raise ValueError("another digest")
            stream = io.BytesIO(data)
            state = torch.load(stream, weights_only=True, map_location=self.trainer.device)
            if ended and state["level"] < self.levels:  # its steps are not ours
                return False
            self.trainer.load_state_dict(state)
        except Exception as error:  # torch.load raises many kinds, and advises against safety
            if in_words(error) is not None and not isinstance(error, FileNotFoundError):
                raise  # want of memory or of rights; the state may be good
            raise RunError(
                f"{path} is damaged, the run cannot be continued; use another folder."
            ) from None
        return True

    def _finish_level(self, level: int) -> Image:
        """Keep the model and a page of pictures, and return that."""
        self.trainer.state_dict()  # raises before a broken model could replace a good one
        return self._kept(lambda: self._write_level(level))

    def _write_level(self, level: int) -> Image:
        if len(self._photos) > 1:
            hyper = self.trainer.hyper_model()
            hyper.save(self.model_path, overwrite=True)
            models = [hyper.model(photo) for photo in self._photos[:PREVIEW_PHOTOS]]
            page = _preview(models, PREVIEW_SEEDS[:2], columns=4)
        else:
            model = self.trainer.model()
            model.save(self.model_path, embed_image=self._embed_image, overwrite=True)
            shown = model if self.finished else model.unfinished()  # finishing takes too long
            page = _preview([shown], PREVIEW_SEEDS, columns=3)
        folder = make_folder(self.folder / "previews")
        save_sheet(page, folder / f"level-{level}.png", overwrite=True)
        return page


def _write_all(file: BinaryIO, *parts: bytes | memoryview) -> None:
    for part in parts:
        file.write(part)


def _preview(models: Sequence[Model], seeds: Sequence[int], *, columns: int) -> Image:
    """Lay out the photo of each model, its reconstruction and samples."""
    pictures: list[Photo] = []
    for model in models:
        photo = model.training_image()
        assert photo is not None
        pictures += [photo, model.reconstruct(), *model.sample(seeds)]
    return sheet([picture.preview() for picture in pictures], columns=columns)
