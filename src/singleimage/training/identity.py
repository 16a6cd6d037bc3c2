"""What a run folder belongs to: run.json says recipe, photo and seed."""

import operator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from singleimage.errors import OutputError, RunError
from singleimage.machine.files import make_folder, read_whole, write_atomically
from singleimage.machine.lock import LOCK, claimed
from singleimage.recipes.overrides import differences
from singleimage.recipes.recipe import Recipe, read_json


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
    """Digest of the hypernetwork's file that the first networks came from; empty: from none."""

    @classmethod
    def read(cls, folder: Path) -> "Identity":
        """Read the identity of the run in `folder`.

        Raises:
            RunError: there is no run, or its file is damaged.
        """
        path = folder / "run.json"
        try:
            return read_json(read_whole(path), cls)
        except FileNotFoundError:
            raise RunError(f"{folder} holds no run; train one first.") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged: {error}; use another folder.") from None


def claim(folder: Path, identity: Identity) -> bool:
    """Make a folder that of a run.

    Args:
        folder: created if it is not there.
        identity: of the run.

    Returns:
        True if the folder is new, False if it is that run's already.

    Raises:
        RunError: the folder holds something else, or another run.
        OutputError: it cannot be written.
    """
    make_folder(folder)
    if _held(folder, identity):  # what is refused is left as it is, without a lock
        return False
    with claimed(folder):  # of two that begin at once, one finds the other's
        try:
            return not _held(folder, identity) and _written(folder, identity)
        except OutputError:
            if all(file.name == LOCK for file in folder.iterdir()):  # as it was
                with suppress(OSError):  # on Windows it is open, and stays
                    (folder / LOCK).unlink(missing_ok=True)
            raise


def _held(folder: Path, identity: Identity) -> bool:
    """Whether the folder is that run's already; raises `RunError` if it is anything else's."""
    if (folder / "run.json").exists():
        _require_same(folder, identity)
        return True
    if any(not file.name.startswith(".") for file in folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no run; use another folder.")
    return False


def restore_identity(folder: Path, identity: Identity) -> None:
    """Write `run.json` again where someone has removed it while the run is at work."""
    if not (folder / "run.json").exists():
        make_folder(folder)
        _written(folder, identity)


def _written(folder: Path, identity: Identity) -> bool:
    text = msgspec.json.format(msgspec.json.encode(identity), indent=2)
    write_atomically(folder / "run.json", lambda file: file.write(text))
    return True


def _require_same(folder: Path, identity: Identity) -> None:
    earlier = Identity.read(folder)
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
            f"{folder} holds a run with other settings ({'; '.join(changed[:3])}); "
            f"use another folder."
        )


def require_start(start: Identity, identity: Identity, folder: Path) -> None:
    """Refuse a tuning that cannot go on where another one ended.

    Args:
        start: of the run that ended.
        identity: of the one that is to go on.
        folder: of the first, for messages.

    Raises:
        RunError: they do not go together.
    """
    parts = ("recipe.pyramid", "recipe.generator", "recipe.critic", "image_sha256", "precision")
    for part in parts:
        get = operator.attrgetter(part)
        if get(start) != get(identity):
            what = "photo" if part == "image_sha256" else part
            raise RunError(f"{folder} was trained with another {what}; tune it with its own.")
