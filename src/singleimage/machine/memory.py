"""How much memory there is and is used; and memory that stays while tensors come and go.

Every training step frees and allocates the same large tensors. The C library hands each back to
the system and takes fresh pages, which the system must fill with zeros: a sixth of the time of a
step on two cores.
"""

import ctypes
import itertools
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from singleimage.machine.files import quiet_libraries

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # <malloc.h>
_depth = [0]
"""How many uses are open; they nest."""


@contextmanager
def kept_heap() -> Iterator[None]:
    """Keep freed memory in the process, and give it back to the system at the outermost end.

    Only where the C library is glibc; elsewhere it does nothing.
    """
    libc = _glibc()
    if libc is None or _depth[0]:
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    _depth[0] += 1
    try:
        yield
    finally:  # to where glibc's own adaption ends up in a process with large tensors
        _depth[0] -= 1
        libc.mallopt(_MMAP_MAX, 65536)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 64 << 20)
        libc.malloc_trim(0)


@contextmanager
def returned_heap() -> Iterator[None]:
    """Give each large tensor back to the system as soon as it is freed.

    Where tensors of many sizes come and go, the C library would keep most of their memory, in
    pieces that fit nothing. Only where it is glibc, and not within `kept_heap`.
    """
    libc = _glibc()
    if libc is None or _depth[0]:
        yield
        return
    libc.malloc_trim(0)
    libc.mallopt(_MMAP_THRESHOLD, 1 << 20)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.malloc_trim(0)


def tensor_bytes(work: Callable[[], Any]) -> int:
    """Do some work on the processor, and tell the most bytes of tensors that it held at once."""
    with quiet_libraries(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    results = seen.profiler.kineto_results if seen.profiler is not None else None
    events = [] if results is None else [e for e in results.events() if e.name() == "[memory]"]
    held = itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    return max(held, default=0)


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that a program can still have; None: this system does not tell.

    In a container the least of the machine's and its own.

    Args:
        root: of the file system.
    """
    kilobytes = _field(root / "proc/meminfo", "MemAvailable:")
    told = [_left(root / "sys/fs/cgroup" / group, *names) for group, names in GROUPS.items()]
    told.append(None if kilobytes is None else kilobytes * 1024)
    return min((number for number in told if number is not None), default=None)


GROUPS = {
    ".": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Where control groups of version 2 and 1 tell a container's memory: limit, used, of files."""


def _left(group: Path, limit: str, used: str, files: str) -> int | None:
    """What a control group has left, with the pages of files that the system can drop."""
    try:
        most, now = (int((group / name).read_text()) for name in (limit, used))
    except (OSError, ValueError):  # it is none, or has no limit
        return None
    return max(most - now + (_field(group / "memory.stat", files) or 0), 0)


def _field(file: Path, name: str) -> int | None:
    """The number that follows a name in a file of names and numbers."""
    try:
        lines = map(str.split, file.read_text().splitlines())
        return next(int(words[1]) for words in lines if words[0] == name)
    except (OSError, StopIteration, ValueError, IndexError):
        return None


@lru_cache
def _glibc() -> Any:
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
