"""Fixtures that many test files share: the command line, a photo, and three tiny trained runs."""

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from singleimage import PRESETS, Run, with_overrides
from singleimage.errors import RunError
from singleimage.images.folder import read_album
from singleimage.machine.lock import claimed
from singleimage.metrics import features as features_module
from singleimage.metrics.features import Features, load_features
from tiny import QUICK_FLOW, TRAIN_FLAGS, TRAIN_STEPS, Command, album_recipe, call, draw, slow_but

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: one thread each
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
gc.set_threshold(50_000, 20, 100)  # steps make many objects: saves a tenth


@pytest.fixture(scope="session")
def command() -> Command:
    return call


@pytest.fixture(autouse=True)
def threads() -> Iterator[int]:
    """The number of PyTorch's threads, restored after every test: rounding depends on it."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.fixture
def quick_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of a photo draw in a few steps: for tests of what is around them."""
    recipe = with_overrides(PRESETS["flow"], QUICK_FLOW)
    monkeypatch.setattr("singleimage.models.flow.FLOW", recipe)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this test session that all its processes share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Within, no other process of this test session is here; waits until it is so."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(claimed(folder))
                break
            except RunError:  # another process holds it
                time.sleep(0.1)
        yield


@pytest.fixture(scope="session")
def alone() -> Callable[[Path], AbstractContextManager[None]]:
    """A context for a folder; see `_alone`."""
    return _alone


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
def tiny_runs(shared: Path, photo_file: Path) -> dict[str, Path]:
    """A run of each family, trained for a few steps a level. Not to be changed by a test."""
    runs = {name: shared / name for name in TRAIN_FLAGS}
    with _alone(shared):  # one process of the session trains them, the others wait
        for name, folder in runs.items():
            line = f"train {photo_file} -o {folder} {TRAIN_FLAGS[name]} --steps {TRAIN_STEPS[name]}"
            done = call(line)
            assert done.code == 0, done.err
    return runs


@pytest.fixture(params=slow_but(sorted(TRAIN_FLAGS), "consingan", "hp-vae-gan"))
def tiny_run(request: pytest.FixtureRequest, tiny_runs: dict[str, Path]) -> Path:
    """One of the tiny runs; tests that ask for it run once for each."""
    return tiny_runs[request.param]


@pytest.fixture(scope="session")
def album(shared: Path) -> Path:
    """A folder of three photos of one size. Not to be changed by a test."""
    folder = shared / "album"
    with _alone(shared):
        for i in range(3):
            if not (folder / f"{i}.png").exists():
                draw(folder / f"{i}.png", i)
    return folder


@pytest.fixture(scope="session")
def hyper_run(shared: Path, album: Path) -> Path:
    """A run of a hypernetwork of `album`, `album_recipe`, seed 3. Not to be changed by a test."""
    folder = shared / "hyper"
    with _alone(shared):
        run = Run(folder, read_album(album), album_recipe(), seed=3, device="cpu", precision="fp32")
        for _ in run:  # nothing, where another process of the session has trained it
            pass
    return folder


@pytest.fixture(scope="session")
def features() -> Features:
    """What evaluations measure with unless told otherwise."""
    return load_features("efficientnet-lite0")


READ = features_module._read
kept = cache(READ)


@pytest.fixture
def weights_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of the usual features are read once, for tests that measure again and again."""
    usual = features_module._packaged()
    monkeypatch.setattr(
        features_module, "_read", lambda path: kept(path) if path == usual else READ(path)
    )


@pytest.fixture(scope="session")
def good_run(tiny_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run of consingan that is this process's own. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("good") / "run"
    unlike = shutil.ignore_patterns("tensorboard", ".*")
    return Path(shutil.copytree(tiny_runs["consingan"], folder, ignore=unlike))
