"""What the studio keeps, in folders that outlive it: photos, orders with their pictures, runs.

A folder for each, with a JSON file in it, written whole. There is no database: what is in the
folder is what there is, a user can look at it, copy it, or delete it with any tool, and a server
that is killed loses nothing that was finished.
"""

import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from singleimage.errors import OutputError
from singleimage.machine.files import make_folder, write_atomically
from singleimage.studio.orders import ID

State = Literal["waiting", "running", "done", "failed", "stopped", "paused"]


class PhotoCard(msgspec.Struct, kw_only=True):
    """A photo on the shelf."""

    id: str
    name: str
    """Of the file that was given, for people."""
    suffix: str
    height: int
    width: int
    words: str
    """What its channels are."""
    deep: bool
    """Whether it has more than PNG of 8 bits holds in every viewer."""
    plain: bool = False
    """Whether browsers show its file as the reader sees it: of known white, without bands."""
    notes: tuple[str, ...] = ()
    created: float = 0.0


class Order(msgspec.Struct, kw_only=True):
    """Something to be drawn, or that was."""

    id: str
    kind: str
    photo: str
    run: str | None = None
    settings: dict[str, Any] = {}
    layers: tuple[str, ...] = ()
    seed: int = 0
    count: int = 1
    state: State = "waiting"
    made: list[str] = []
    """Names of the pictures, as they arrive."""
    favorites: list[str] = []
    dropped: list[str] = []
    """Pictures that were deleted, as `hidden`; `REST` for those that were not drawn."""
    error: str = ""
    seconds: float = 0.0
    created: float = 0.0
    hidden: bool = False
    """Deleted, and to be had back until the studio is next begun."""


class RunCard(msgspec.Struct, kw_only=True):
    """A training."""

    id: str
    photo: str
    settings: dict[str, Any] = {}
    state: State = "waiting"
    error: str = ""
    created: float = 0.0
    hidden: bool = False


REST = "rest"
"""In place of a picture's name: those of an order that were not drawn."""
Card = TypeVar("Card", PhotoCard, Order, RunCard)
_FOLDERS: dict[type, str] = {PhotoCard: "photos", Order: "orders", RunCard: "runs"}


def new_id() -> str:
    """A name that nobody guesses."""
    return secrets.token_hex(8)


class Shelf:
    """The folder of a studio."""

    def __init__(self, folder: Path) -> None:
        """Open the `folder`, or make it; raises `OutputError` where that fails."""
        self.folder = make_folder(folder)
        for name in _FOLDERS.values():
            make_folder(folder / name)
        self.photos = self._all(PhotoCard)
        self.orders = self._all(Order)
        self.runs = self._all(RunCard)
        for order in list(self.orders.values()):
            for name in set(order.dropped) & set(order.made):
                file = self.pictures(order) / name
                file.unlink(missing_ok=True)
                preview_of(file).unlink(missing_ok=True)
            ended = order.state == "done" or REST in order.dropped
            none_left = order.dropped and set(order.made) <= set(order.dropped)
            if order.hidden or (ended and none_left):
                self._remove(self.orders, order)
        for order in self.orders.values():
            if order.state in ("waiting", "running"):  # it was interrupted
                order.state = "stopped"
        for run in [run for run in self.runs.values() if run.hidden]:
            self._remove(self.runs, run)
        for run in self.runs.values():
            if run.state in ("waiting", "running"):
                run.state = "paused"
        # Where a photo's folder was removed by hand, what was made of it stays on the disk alone.
        self.orders = {key: o for key, o in self.orders.items() if o.photo in self.photos}
        self.runs = {key: r for key, r in self.runs.items() if r.photo in self.photos}

    def place(self, kind: type, key: str) -> Path:
        """The folder of a photo, an order or a run.

        Args:
            kind: which of these.
            key: its id, from here or from a client.

        Raises:
            KeyError: it is no id.
        """
        if not ID.fullmatch(key):
            raise KeyError(key)
        return self.folder / _FOLDERS[kind] / key

    def keep(self, card: PhotoCard | Order | RunCard) -> None:
        """Write a card; raises `OutputError` where the disk is full."""
        known: Mapping[type, dict[str, Any]] = {
            PhotoCard: self.photos,
            Order: self.orders,
            RunCard: self.runs,
        }
        folder = make_folder(self.place(type(card), card.id))
        data = msgspec.json.format(msgspec.json.encode(card), indent=1)
        write_atomically(folder / "card.json", lambda file: file.write(data))
        known[type(card)][card.id] = card

    def photo_file(self, card: PhotoCard) -> Path:
        """The file of a photo, as it was given."""
        return self.place(PhotoCard, card.id) / f"photo{card.suffix}"

    def preview_file(self, card: PhotoCard) -> Path:
        """What browsers show of a photo."""
        return self.place(PhotoCard, card.id) / "preview.png"

    def full_file(self, card: PhotoCard) -> Path:
        """The whole of a photo, for browsers that cannot decode its file."""
        return self.place(PhotoCard, card.id) / "full.png"

    def layer_file(self, order: Order, name: str) -> Path:
        """A picture that goes along with an order."""
        return self.place(Order, order.id) / f"{name}.png"

    def run_folder(self, key: str) -> Path:
        """The run folder of a training."""
        return self.place(RunCard, key) / "run"

    def pictures(self, order: Order) -> Path:
        """The folder of what an order makes."""
        return self.place(Order, order.id) / "pictures"

    def _all(self, kind: type[Card]) -> dict[str, Card]:
        found: dict[str, Card] = {}
        for path in (self.folder / _FOLDERS[kind]).iterdir():
            try:
                card = msgspec.json.decode((path / "card.json").read_bytes(), type=kind)
            except (OSError, msgspec.DecodeError):
                continue  # half made, or a user's own
            if ID.fullmatch(path.name) and card.id == path.name:
                found[card.id] = card
        return dict(sorted(found.items(), key=lambda item: item[1].created))

    def _remove(self, known: dict[str, Any], card: Order | RunCard) -> None:
        del known[card.id]
        shutil.rmtree(self.place(type(card), card.id), ignore_errors=True)


def preview_of(picture: Path) -> Path:
    """What browsers show of a `picture` that they cannot decode."""
    return picture.with_name(f".{picture.stem}.preview.png")


def now() -> float:
    """Seconds since 1970."""
    return time.time()


def require_space(folder: Path, needed: int) -> None:
    """Raise `OutputError` unless the disk of a folder has room for so many bytes."""
    if shutil.disk_usage(folder).free < 2 * needed + 50_000_000:
        raise OutputError("the disk is nearly full; make room, then try again.")
