"""How much memory is free: on a machine, and in a container that has less."""

from pathlib import Path

import pytest

from singleimage.machine import memory
from singleimage.machine.memory import available_bytes

GROUPS = {
    "none": {},
    "v2": {"memory.max": "3000", "memory.current": "2500", "memory.stat": "inactive_file 100"},
    "v2, no limit": {"memory.max": "max", "memory.current": "2500"},
    "v2, all used": {"memory.max": "3000", "memory.current": "3001"},
    "v1": {
        "memory/memory.limit_in_bytes": "3000",
        "memory/memory.usage_in_bytes": "2500",
        "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 100",
    },
    "v1, no limit": {
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/memory.usage_in_bytes": "2500",
    },
}


@pytest.mark.parametrize(
    ("group", "free"),
    [
        ("none", 8192),
        ("v2", 600),
        ("v2, no limit", 8192),
        ("v2, all used", 0),
        ("v1", 600),
        ("v1, no limit", 8192),
    ],
)
def test_a_container_has_what_its_group_leaves(group: str, free: int, tmp_path: Path) -> None:
    files = {f"sys/fs/cgroup/{name}": text for name, text in GROUPS[group].items()}
    files["proc/meminfo"] = "MemTotal: 16 kB\nMemAvailable:    8 kB\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert available_bytes(tmp_path) == free


def test_a_system_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None


def test_only_linux_is_asked_for_its_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, some programs cannot open their own file, in which the answer is sought."""
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("platform.libc_ver", lambda: pytest.fail("asked"))
    assert memory._glibc.__wrapped__() is None
