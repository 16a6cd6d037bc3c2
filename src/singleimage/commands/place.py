"""What commands with many jobs share: where the jobs are done, and what they are called."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from singleimage.commands.arguments import Whole
from singleimage.errors import ArgumentError, RecipeError

if TYPE_CHECKING:
    from singleimage.jobs.engine import Engine


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where many jobs are done."""

    workers: Whole | None = None
    """How many jobs at a time. Default: one for each processor core, or for each GPU."""
    ray: str | None = None
    """Address of a Ray cluster to do the jobs on: HOST:PORT, or auto."""

    def engine(self, device: str) -> "tuple[Engine, int]":
        """The engine, and the threads of each job."""
        return choose_engine(self.workers, self.ray, device)

    def refuse(self) -> None:
        """Raises `RecipeError` if a flag was given, where there is one job."""
        flags = {"--workers": self.workers, "--ray": self.ray}
        given = [flag for flag, value in flags.items() if value is not None]
        refuse(given, "needs --each and a folder of photos")


def names_of(photos: Sequence[Path]) -> list[str]:
    """A folder name for each photo: its stem, or all of its name where the stem is taken."""
    taken: set[str] = set()
    names = []
    for photo in photos:
        stem = photo.stem
        if sys.platform == "win32":  # whose folders end in neither
            stem = stem.rstrip(" .") or photo.name
        choices = chain([stem, photo.name], (f"{photo.name}-{i}" for i in count(2)))
        name = next(c for c in choices if c.casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def choose_engine(workers: int | None, ray: str | None, device: str) -> "tuple[Engine, int]":
    """Where to do the jobs, and the threads of each."""
    from singleimage.jobs.local import LocalPool
    from singleimage.machine.device import find_device, gpus, threads_of

    given = threads_of(device)
    if ray is not None:
        from singleimage.jobs.ray_cluster import RayCluster

        refuse(["--workers"] if workers is not None else [], "does not go with --ray")
        if device.startswith("cuda:"):
            raise ArgumentError(f"--device {device} does not go with --ray; use --device cuda.")
        return RayCluster(ray), given or 1
    if workers is not None and workers < 1:
        raise ArgumentError(f"--workers {workers} does no work; use 1 or more.")
    cores = _cores()
    if workers is None:
        found = find_device(device)
        each_gpu = len(gpus()) if found.index is None else 1
        workers = cores // (given or 1) if found.type == "cpu" else each_gpu
    return LocalPool(max(1, workers)), given or (cores if workers <= 1 else 1)


def _cores() -> int:
    """Processor cores that this process may use; two threads of one core are counted once."""
    if sys.platform != "linux":
        import torch

        return torch.get_num_threads()  # which is one for each core
    usable = len(os.sched_getaffinity(0))
    with suppress(OSError):
        if Path("/sys/devices/system/cpu/smt/active").read_text().strip() == "1":
            usable //= 2
    return max(1, usable)


def refuse(flags: Sequence[str], why: str) -> None:
    """Raises `RecipeError` if there are such flags."""
    if flags:
        raise RecipeError(f"{flags[0]} {why}; leave it out.")
