"""A run folder: one training with its settings, state, log, previews and model.

run.json            recipe, photo and seed: what this run is
model.safetensors   the levels that are finished, ready to sample
state.pt            everything needed to continue
log.jsonl           losses
previews/level-N.png  photo, reconstruction, samples after each level
tensorboard/        the same for TensorBoard, where it is installed
.lock               held while a process trains here
"""

import io
import json
import operator
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import torch
from PIL.Image import Image

from singleimage.errors import RunError, SingleImageError
from singleimage.hypermodel import Start
from singleimage.image import Photo, make_folder, save_sheet, sheet, write_atomically
from singleimage.lock import claimed
from singleimage.model import Model
from singleimage.nn.precision import Precision
from singleimage.parallel import in_turn, leading
from singleimage.progress import Progress
from singleimage.recipe import Recipe, differences, read_json
from singleimage.trainer import Trainer

LOG_EVERY = 10
"""Steps between two lines of the log."""
PREVIEW_SEEDS = range(4)
PREVIEW_PHOTOS = 6
"""Of several photos, so many are shown."""


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes two runs the same run."""

    recipe: Recipe
    image: str
    """Name of the photo's file, for people."""
    image_sha256: str
    seed: int
    embed_image: bool
    precision: Literal["fp32", "bf16"]
    given_sha256: str = ""
    """The picture that a finished run was tuned on; see `Tuning`."""
    start_sha256: str = ""
    """Of the hypernetwork's file that the first networks came from, if they did."""

    @classmethod
    def read(cls, folder: Path) -> "Identity":
        """Of the run in `folder`. Raises `RunError` if there is none, or its file is damaged."""
        path = folder / "run.json"
        try:
            return read_json(path.read_bytes(), cls)
        except FileNotFoundError:
            raise RunError(f"{folder} holds no run; train one first.") from None
        except (OSError, msgspec.DecodeError) as error:
            raise RunError(f"{path} is damaged: {error}; use another folder.") from None


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
    continues, and ends with the same weights as one that was never stopped.
    """

    def __init__(
        self,
        folder: str | Path,
        recipe: Recipe,
        photo: Photo | Sequence[Photo],
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
        """Args:
            folder: made if missing; must be empty or hold this very run.
            photo: or several, for a hypernetwork.
            name: of the photo, for people.
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
            recipe, photo, seed=seed, device=device, precision=precision, given=given, start=start
        )
        self._photos = [photo] if isinstance(photo, Photo) else list(photo)
        self._embed_image = embed_image
        self._save_seconds = save_seconds
        identity = Identity(
            recipe=recipe,
            image=name,
            image_sha256=self.trainer.sha256,
            seed=seed,
            embed_image=embed_image,
            precision=self.trainer.precision,
            given_sha256="" if given is None else given.sha256,
            start_sha256="" if start is None else start.sha256,
        )
        if tuning is not None:
            _require_start(Identity.read(tuning.start), identity, tuning.start)
        self._known = self._stamp()
        self.resumed = in_turn(lambda: self._claim(identity))
        if tuning is not None and not self.resumed:
            if not self._restore(tuning.start):
                raise RunError(f"{tuning.start} is not finished; continue it first.")
            self.trainer.tune()

    @property
    def photos(self) -> int:
        """How many photos are learned together."""
        return len(self._photos)

    @property
    def model_path(self) -> Path:
        return self.folder / "model.safetensors"

    def __iter__(self) -> Iterator[Progress]:
        """Train. Raises `RunError` if another process trains in the folder, or has meanwhile."""
        if not leading():  # that process writes for all
            yield from self.trainer
            return
        with claimed(self.folder):
            if self._stamp() != self._known:
                raise RunError(
                    f"another process has trained in {self.folder} meanwhile; start again, to "
                    f"continue from there."
                )
            with closing(_Log(self.folder, self.trainer)) as log:
                yield from self._logged(log)

    def _logged(self, log: "_Log") -> Iterator[Progress]:
        saved = time.monotonic()
        for progress in self.trainer:
            log.write(progress)
            if progress.level_done:
                log.picture(progress.level, self._finish_level(progress.level))
            if progress.level_done or time.monotonic() - saved > self._save_seconds:
                self.save()
                saved = time.monotonic()
            yield progress

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
        write_atomically(self.folder / "state.pt", lambda file: file.write(stream.getbuffer()))
        self._known = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        """What tells one state in the folder from another; None: there is none."""
        path = self.folder / "state.pt"
        if not path.exists():
            return None
        facts = path.stat()
        return facts.st_mtime_ns, facts.st_ino

    def _claim(self, identity: Identity) -> bool:
        """Make the folder this run's; True if it holds a state to continue from."""
        make_folder(self.folder)
        path = self.folder / "run.json"
        if not path.exists():
            if any(not file.name.startswith(".") for file in self.folder.iterdir()):
                raise RunError(f"{self.folder} is not empty and holds no run; use another folder.")
            text = msgspec.json.format(msgspec.json.encode(identity), indent=2)
            write_atomically(path, lambda file: file.write(text))
            return False
        self._require_same(identity)
        return self._restore(self.folder)

    def _require_same(self, identity: Identity) -> None:
        earlier = Identity.read(self.folder)
        changed = differences(earlier.recipe, identity.recipe)
        if earlier.image_sha256 != identity.image_sha256:
            changed.append("another photo or other masks")
        if earlier.given_sha256 != identity.given_sha256:
            changed.append("another picture to tune on")
        if earlier.start_sha256 != identity.start_sha256:
            changed.append("another hypernetwork to start from")
        for field in ("seed", "embed_image", "precision"):
            before, now = getattr(earlier, field), getattr(identity, field)
            if before != now:
                changed.append(f"{field}: {before}, now {now}")
        if changed:
            raise RunError(
                f"{self.folder} holds a run with other settings ({'; '.join(changed[:3])}); "
                f"use another folder."
            )

    def _restore(self, folder: Path) -> bool:
        """Continue from the state in `folder`; False if there is none."""
        path = folder / "state.pt"
        if not path.exists():
            return False
        try:
            state = torch.load(path, weights_only=True, map_location=self.trainer.device)
            self.trainer.load_state_dict(state)
        except SingleImageError:
            raise
        except Exception:  # torch.load raises many kinds, and its words advise against safety
            raise RunError(
                f"{path} is damaged, the run cannot be continued; use another folder."
            ) from None
        return True

    def _finish_level(self, level: int) -> Image:
        """Write the model and a page of pictures, and return that."""
        self.trainer.state_dict()  # raises before a broken model could replace a good one
        if len(self._photos) > 1:
            hyper = self.trainer.hyper_model()
            hyper.save(self.model_path, overwrite=True)
            models = [hyper.model(photo) for photo in self._photos[:PREVIEW_PHOTOS]]
            page = _preview(models, PREVIEW_SEEDS[:2], columns=4)
        else:
            model = self.trainer.model()
            model.save(self.model_path, embed_image=self._embed_image, overwrite=True)
            page = _preview([model], PREVIEW_SEEDS, columns=3)
        folder = make_folder(self.folder / "previews")
        save_sheet(page, folder / f"level-{level}.png", overwrite=True)
        return page


def _preview(models: Sequence[Model], seeds: Sequence[int], *, columns: int) -> Image:
    """Of each model the photo, its reconstruction and samples."""
    pictures: list[Photo] = []
    for model in models:
        photo = model.training_image()
        assert photo is not None
        pictures += [photo, model.reconstruct(), *model.sample(seeds)]
    return sheet([picture.preview() for picture in pictures], columns=columns)


def _require_start(start: Identity, identity: Identity, folder: Path) -> None:
    """Raises `RunError` unless a tuning with `identity` can go on where `start` ended."""
    parts = ("recipe.pyramid", "recipe.generator", "recipe.critic", "image_sha256", "precision")
    for part in parts:
        get = operator.attrgetter(part)
        if get(start) != get(identity):
            what = "photo" if part == "image_sha256" else part
            raise RunError(f"{folder} was trained with another {what}; tune it with its own.")


class _Writer(Protocol):
    """What is used of TensorBoard's writer."""

    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def add_image(self, tag: str, image: Any, step: int, *, dataformats: str) -> None: ...

    def close(self) -> None: ...


class _Log:
    """log.jsonl, and TensorBoard's files where its package is installed."""

    def __init__(self, folder: Path, trainer: Trainer) -> None:
        self._recipe = trainer.recipe
        path = folder / "log.jsonl"
        done = self._recipe.steps_before(trainer.level) + trainer.step
        kept = _lines_until(path, trainer.position) if path.exists() else b""
        write_atomically(path, lambda file: file.write(kept))
        self._file = path.open("a", encoding="utf-8")
        self._board = _open_board(folder / "tensorboard", done)

    def write(self, progress: Progress) -> None:
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
        if self._board is not None:
            done = self._recipe.steps_before(progress.level) + progress.step
            for name, value in progress.losses.items():
                self._board.add_scalar(name, value, done)

    def picture(self, level: int, page: Any) -> None:
        if self._board is not None:
            import numpy as np

            step = self._recipe.steps_before(level + 1)
            self._board.add_image("preview", np.asarray(page), step, dataformats="HWC")

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def _lines_until(path: Path, position: tuple[int, int, int]) -> bytes:
    """The lines of a log up to the state that training continues from."""
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            record = json.loads(line)
        except ValueError:  # the line that a crash cut short
            break
        if (record["level"], record.get("attempt", 0), record["step"]) > position:
            break
        kept.append(line)
    return b"".join(kept)


def _open_board(folder: Path, done: int) -> _Writer | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: _Writer = SummaryWriter(str(folder), purge_step=done + 1)
    return writer
