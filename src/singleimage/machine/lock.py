"""One process at a time that trains in a folder, of one run or of many."""

import os
import platform
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from singleimage.errors import RunError

LOCK = ".lock"
PATIENCE = 60.0
"""Seconds to wait for the workers of a driver that died: they end after the step they are in."""
FAR = 1 << 30
"""The byte that is locked on Windows, where no other process can read what is locked."""


@contextmanager
def claimed(folder: Path, *, patience: float = PATIENCE) -> Iterator[int | None]:
    """Hold the lock of a folder; gives its descriptor, or None where no worker can inherit it.

    The system drops the lock with the last process that has the descriptor, so a file that a dead
    process left behind does not block. Workers inherit it: the next driver starts when they, too,
    have stopped writing; not so on Windows, where a lock is that of one process.

    Args:
        folder: that must exist.
        patience: seconds to wait for a process that holds it.

    Raises:
        RunError: another process works in the folder.
        OSError: the lock file cannot be written.
    """
    descriptor = _open(folder / LOCK)
    try:
        deadline = time.monotonic() + patience
        while (locked := _lock(descriptor)) is False:
            owner = _owner(descriptor)
            if not _is_dead(owner) or time.monotonic() > deadline:
                raise RunError(
                    f"{folder} is in use by another process ({owner or 'unknown'}); wait until it "
                    f"is done, stop it, or use another folder."
                )
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{os.getpid()} on {platform.node()}".encode())
        yield descriptor if locked and sys.platform != "win32" else None
    finally:
        os.close(descriptor)


def owner_of(folder: Path) -> int | None:
    """Find the process of this machine that holds the lock of a folder; None: none does."""
    if not (folder / LOCK).exists():
        return None
    descriptor = _open(folder / LOCK)
    try:
        if _lock(descriptor) is not False:
            return None
        pid, _, node = (_owner(descriptor) or "").partition(" on ")
        return int(pid) if pid.isdecimal() and node == platform.node() else None
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock file, which is never a link to another file or a pipe."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise _no_lock(path) from None
        raise
    if path.is_symlink() or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_lock(path)
    return descriptor


def _no_lock(path: Path) -> RunError:
    return RunError(f"{path} is a link or a pipe, not a lock; remove it, or use another folder.")


def _lock(descriptor: int) -> bool | None:
    """True: it is ours; False: another has it; None: there are no locks here."""
    held = PermissionError if sys.platform == "win32" else BlockingIOError
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except held:
        return False
    except OSError:  # some network file systems
        return None
    return True


def _owner(descriptor: int) -> str:
    """Who wrote the lock file, such as `4711 on myhost`."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, 200).decode(errors="replace")


def _is_dead(owner: str) -> bool:
    """Whether the owner was a process of this machine that is no more."""
    number, _, host = owner.partition(" on ")
    if host != platform.node() or not number.isdecimal() or sys.platform == "win32":
        return False  # on Windows a lock ends with its owner
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives and is another user's
        return False
    return False
