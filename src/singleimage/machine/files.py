"""Files are written whole or not at all, and never over another one unless that is asked for."""

import contextlib
import errno
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from singleimage.errors import OutputError

PART = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part")
"""Names of files that are being written."""
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between tries to replace a file."""


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if `path` is a folder, or exists and `overwrite` is false."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file.")
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists and would be replaced; choose another output or pass --overwrite."
        )


def followed(path: Path) -> Path:
    """The file that `path` leads to where it is a link, which then stays; else `path`."""
    return path.resolve() if path.is_symlink() else path


def require_folder(path: Path) -> None:
    """Raise `OutputError` unless the folder that the file `path` is to be in exists."""
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent}; make it, or choose another output.")


def refuse_file(folder: Path) -> None:
    """Raise `OutputError` where a file is in the place of `folder` or of a folder above it."""
    for place in (folder, *folder.parents):
        if place.is_file():
            raise OutputError(f"{place} is a file, not a folder; choose another output.")


def make_folder(path: Path) -> Path:
    """Create the folder `path` and its parents; raise `OutputError` where that fails."""
    refuse_file(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot create {path}: {error.strerror}; choose another output."
        ) from None
    return path


def read_whole(path: Path) -> bytes:
    """Read a file; raise `OSError` where it is none, so that no pipe is waited for."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "it is no file", str(path))
    return path.read_bytes()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within, what C libraries print on standard error is lost: they print beside our words.

    Not in a further thread, whose words and those of others would be lost, too.
    """
    ours = threading.current_thread() is threading.main_thread()
    if sys.stderr is None or not ours:  # without standard error, its number may be any file's
        yield
        return
    sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def clear_parts(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove what a process that was killed left half written.

    Args:
        folder: of the files.
        names: of files that nobody else writes; None: all, of a folder that is locked.
    """
    for path in folder.glob(".*.part"):
        part = PART.fullmatch(path.name)
        if part is not None and (names is None or part[1] in names):
            with contextlib.suppress(OSError):
                path.unlink()


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write` on a temporary file beside `path`, flush it to disk, then rename it.

    Raises:
        OutputError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    try:
        if path.exists() and not path.is_file():  # renaming would replace even a device
            raise OutputError(f"{path} is not a regular file; choose another output.")
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        _replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; choose another output.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _replace(file: Path, path: Path) -> None:
    """Rename a file to `path`; Windows refuses that while anyone, such as a scanner, reads it."""
    for pause in PAUSES if sys.platform == "win32" else ():
        try:
            file.replace(path)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    file.replace(path)
