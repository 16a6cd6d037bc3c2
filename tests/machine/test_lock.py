"""A folder has one process at a time, and is free when all that hold it have ended."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from singleimage.errors import RunError
from singleimage.machine.lock import FAR, LOCK, PATIENCE, claimed, owner_of


def test_a_lock_of_a_dead_process_does_not_block(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("999999999 on elsewhere")
    busy = pytest.raises(RunError, match=f"{os.getpid()} on ")
    with claimed(tmp_path), busy, claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass


DRIVER = """
import subprocess, sys
from pathlib import Path
from singleimage.machine.lock import claimed

busy = "until test -e done; do sleep 0.05; done"
with claimed(Path.cwd()) as lock:
    worker = subprocess.Popen(["sh", "-c", busy], pass_fds=[lock])
    print("holds it", flush=True)
    sys.stdin.read()
"""
"""Holds a folder, and starts a worker that inherits the lock and ends when a file is there."""


@contextmanager
def driver(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    words, pipe = [sys.executable, "-c", DRIVER], subprocess.PIPE
    with subprocess.Popen(words, cwd=folder, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds it\n"
        try:
            yield process
        finally:
            (folder / "done").touch()
            process.kill()


def test_who_holds_a_folder_is_said_at_once(tmp_path: Path) -> None:
    with driver(tmp_path) as process:
        began = time.monotonic()
        words = rf"in use by another process \({process.pid} on .*wait until it is done, stop it"
        with pytest.raises(RunError, match=words), claimed(tmp_path):
            pass
        assert time.monotonic() < began + PATIENCE / 2


def test_a_folder_is_free_when_the_workers_of_a_killed_driver_have_ended(tmp_path: Path) -> None:
    with driver(tmp_path) as process:
        process.kill()
        process.wait()
        with pytest.raises(RunError, match=f"{process.pid} on "), claimed(tmp_path, patience=0.2):
            pass
        threading.Timer(0.3, (tmp_path / "done").touch).start()
        with claimed(tmp_path):
            assert (tmp_path / "done").exists()
            assert (tmp_path / LOCK).read_text().startswith(f"{os.getpid()} on ")


def test_windows_locks_a_byte_that_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def locking(descriptor: int, mode: int, count: int) -> None:
        assert (os.lseek(descriptor, 0, os.SEEK_CUR), mode, count) == (FAR, 2, 1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(13, "Permission denied") from None

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("Ctrl-C on Windows"))
    busy = pytest.raises(RunError, match=f"{os.getpid()} on ")
    with claimed(tmp_path) as lock, busy, claimed(tmp_path):
        assert lock is None  # Windows's workers inherit none
        assert owner_of(tmp_path) == os.getpid()
    assert owner_of(tmp_path) is None
    assert (tmp_path / LOCK).stat().st_size < 200
