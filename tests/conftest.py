"""What several test files share: a way to call the command line, and two tiny trained runs."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from singleimage.cli import main

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: one thread each
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"

TINY = {
    "consingan": "--preset consingan --set pyramid.max_size=40 --set pyramid.levels=3 "
    "--set generator.width=4 --set critic.width.base=4 --set training.lr_generator=0.01",
    "hp-vae-gan": "--preset hp-vae-gan --set pyramid.width=48 --set pyramid.min_width=37 "
    "--set generator.vae_levels=2 --set phases.1.from_level=2 --set generator.width=4 "
    "--set generator.latent=4 --set critic.width=4 --set training.lr_generator=0.01",
    "singan": "--preset singan --set pyramid.max_size=48 "
    "--set generator.width.base=4 --set critic.width.base=4 --set training.lr_generator=0.01",
}
"""Flags of `train` for models of three levels, small enough for tests; without the steps."""
TINY_STEPS = {"consingan": 10, "hp-vae-gan": 10, "singan": 10}
"""Steps after which pictures of two seeds differ."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Command = Callable[[str], Outcome]


def call(line: str) -> Outcome:
    """Run a command line, split at spaces, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line.split())
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def command() -> Command:
    return call


@pytest.fixture
def threads() -> Iterator[int]:
    """The number of PyTorch's threads, restored afterwards."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def photo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 44x52 RGB photo with some texture."""
    y, x = np.indices((44, 52))
    waves = [np.sin(x / 4), np.cos(y / 5), np.sin((x + y) / 3)]
    noise = np.random.default_rng(0).normal(0, 0.05, (44, 52, 3))
    values = (np.stack(waves, axis=-1) * 0.8 + noise).clip(-1, 1) * 127.5 + 127.5
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory, photo_file: Path) -> dict[str, Path]:
    """A run of each family, trained for a few steps a level. Not to be changed by a test."""
    runs = {name: tmp_path_factory.mktemp("runs") / name for name in TINY}
    for name, folder in runs.items():
        done = call(f"train {photo_file} -o {folder} {TINY[name]} --steps {TINY_STEPS[name]}")
        assert done.code == 0, done.err
    return runs


@pytest.fixture(params=sorted(TINY))
def tiny_run(request: pytest.FixtureRequest, tiny_runs: dict[str, Path]) -> Path:
    """One of the tiny runs; tests that ask for it run once for each."""
    return tiny_runs[request.param]
