"""A run can be stopped at any moment, and continues to the same weights, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from singleimage import Run, preset, read_photo
from singleimage.commands import console
from singleimage.errors import Diverged, OutputError, RunError
from singleimage.models.model import Model
from singleimage.nn.precision import Precision
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.recipe import Recipe
from singleimage.training.identity import Identity, restore_identity
from small_jobs import wait_until, weights
from tiny import ONE_TURN, Command, slow_but

SMALL = {
    "consingan": {
        "pyramid.max_size": "36",
        "pyramid.levels": "3",
        "generator.width": "4",
        "critic.width.base": "4",
    },
    "hp-vae-gan": {
        "pyramid.width": "48",
        "pyramid.min_width": "37",
        "generator.width": "4",
        "generator.latent": "4",
        "critic.width": "4",
    },
    "singan": {
        "pyramid.max_size": "40",
        "generator.width.base": "4",
        "critic.width.base": "4",
    },
}


def small(name: str, steps: int = 3) -> Recipe:
    """Of three levels."""
    fields = SMALL[name] | ({} if name == "hp-vae-gan" else ONE_TURN)
    return with_overrides(preset(name), {**fields, "training.steps": str(steps)})


def run_in(
    folder: Path, photo: Path, recipe: Recipe, seed: int = 3, precision: Precision = "auto"
) -> Run:
    return Run(folder, read_photo(photo), recipe, seed=seed, device="cpu", precision=precision)


def finish(folder: Path, recipe: Recipe, photo: Path, precision: Precision = "auto") -> bytes:
    for _ in run_in(folder, photo, recipe, precision=precision):
        pass
    return weights(folder)


def untimed(folder: Path) -> list[dict[str, float]]:
    """The lines of the log but for their times."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


def require_same_end(
    folder: Path, photo: Path, recipe: Recipe, precision: Precision, stops: tuple[int, ...]
) -> None:
    """Stopped after so many steps, a run ends as one that is not stopped."""
    whole = finish(folder / "whole", recipe, photo, precision)
    for stop_after in stops:
        parts = folder / f"parts-{stop_after}"
        stopped = run_in(parts, photo, recipe, precision=precision)
        for i, _ in enumerate(stopped, start=1):
            if i == stop_after:
                stopped.save()
                break
        assert finish(parts, recipe, photo, precision) == whole
        assert untimed(parts) == untimed(folder / "whole")


@pytest.mark.parametrize("name", slow_but(sorted(SMALL), "consingan"))
def test_a_stopped_run_ends_with_the_weights_of_an_unstopped_one(
    name: str, tmp_path: Path, photo_file: Path
) -> None:
    """Stopped at the end of a level, and within one."""
    require_same_end(tmp_path, photo_file, small(name, steps=2), "fp32", (2, 3))


@pytest.mark.parametrize("name", slow_but(sorted(SMALL), "hp-vae-gan"))
def test_bfloat16_runs_resume_to_the_same_weights(
    name: str, tmp_path: Path, photo_file: Path
) -> None:
    require_same_end(tmp_path, photo_file, small(name, steps=2), "bf16", (3,))


# Processes that are ended ------------------------------------------------------------------------


def words(folder: Path, photo: Path) -> list[str]:
    sets = [f"--set={path}={value}" for path, value in SMALL["consingan"].items()]
    flags = ["--preset=consingan", "--steps=12", "--device=cpu:1", *sets]
    return ["train", str(photo), "-o", str(folder), *flags]


def start(folder: Path, photo: Path) -> "subprocess.Popen[bytes]":
    """In a process of its own."""
    line = [sys.executable, "-m", "singleimage", *words(folder, photo)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(
    tmp_path: Path, photo_file: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, photo_file).wait(60) == 0
    moments = random.Random(5)
    for _ in range(2):
        process = start(killed, photo_file)
        wait_until((killed / "run.json").exists)
        time.sleep(moments.uniform(0.0, 0.6))
        process.kill()
        process.wait()
    assert start(killed, photo_file).wait(60) == 0
    assert weights(killed) == weights(whole)


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@SIGNALS
def test_a_signal_saves_the_state_and_tells_the_code(
    number: signal.Signals,
    tmp_path: Path,
    photo_file: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console.Show, "__call__", lambda *_: signal.raise_signal(number))
    folder = tmp_path / "run"
    assert command(" ".join(words(folder, photo_file))).code == 128 + number
    run = run_in(folder, photo_file, Identity.read(folder).recipe, seed=0)
    assert (run.resumed, run.position) == (True, (0, 0, 1))


@pytest.mark.slow
@SIGNALS
def test_a_signal_to_a_process_saves_the_state_and_tells_the_code(
    number: signal.Signals, tmp_path: Path, photo_file: Path
) -> None:
    folder = tmp_path / "run"
    process = start(folder, photo_file)
    log = folder / "log.jsonl"
    wait_until(lambda: process.poll() is not None or (log.exists() and log.stat().st_size > 0))
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    assert (folder / "state.pt").exists()
    run = run_in(folder, photo_file, Identity.read(folder).recipe, seed=0)
    assert run.resumed


def test_cut_off_before_a_state_is_kept_a_run_begins_anew(tmp_path: Path, photo_file: Path) -> None:
    """As one that a kill hits between two writes: with run.json and half a line alone."""
    recipe = small("consingan", steps=2)
    cut = run_in(tmp_path / "cut", photo_file, recipe)
    next(iter(cut))
    names = {path.name for path in (tmp_path / "cut").iterdir() if path.suffix}
    assert names == {"run.json", "log.jsonl"}
    (tmp_path / "cut" / "log.jsonl").write_text('{"level": 0, "st')
    assert not run_in(tmp_path / "cut", photo_file, recipe).resumed
    whole = finish(tmp_path / "whole", recipe, photo_file)
    assert finish(tmp_path / "cut", recipe, photo_file) == whole
    assert untimed(tmp_path / "cut") == untimed(tmp_path / "whole")


# What is in the folder ---------------------------------------------------------------------------


def test_a_folder_in_which_another_process_trains_is_refused(
    tmp_path: Path, photo_file: Path
) -> None:
    """Without touching its log; and taken when that one is done or gone."""
    recipe = small("consingan")
    runs = [run_in(tmp_path / "run", photo_file, recipe) for _ in range(2)]
    steps = iter(runs[0])
    for _ in range(4):
        next(steps)
    log = (tmp_path / "run" / "log.jsonl").read_text()
    with pytest.raises(RunError, match="is in use by another process"):
        next(iter(runs[1]))
    assert log
    assert (tmp_path / "run" / "log.jsonl").read_text() == log
    del steps
    with pytest.raises(RunError, match=r"has trained in .* meanwhile; start again"):
        next(iter(runs[1]))
    finish(tmp_path / "run", recipe, photo_file)


def test_a_run_folder_describes_itself(tmp_path: Path, photo_file: Path) -> None:
    finish(tmp_path / "run", small("consingan", steps=1), photo_file)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        *("run.json", "model.safetensors", "state.pt", "log.jsonl", "previews", "tensorboard"),
        ".lock",
    }  # fmt: skip
    sheets = sorted(path.name for path in (tmp_path / "run" / "previews").iterdir())
    assert sheets == [f"level-{i}.png" for i in range(3)]


def test_a_folder_that_is_removed_while_it_is_written_is_made_again(
    tmp_path: Path, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(tmp_path / "run", photo_file, small("singan", steps=2))
    restored = 0

    def restore_and_remove(folder: Path, identity: Identity) -> None:
        nonlocal restored
        restore_identity(folder, identity)
        restored += 1
        if restored in (1, 3):  # while a model is written, and a state
            shutil.rmtree(folder)

    monkeypatch.setattr("singleimage.training.run.restore_identity", restore_and_remove)
    monkeypatch.setattr("singleimage.training.log._open_board", lambda *_: None)  # has a thread
    for _ in run:
        pass
    assert restored > 4
    for name in ("run.json", "state.pt", "model.safetensors"):
        assert (tmp_path / "run" / name).exists(), name


def test_a_half_trained_run_can_be_sampled(tmp_path: Path, photo_file: Path) -> None:
    run = run_in(tmp_path / "run", photo_file, small("singan", steps=1))
    for progress in run:
        if progress.level == 1 and progress.level_done:
            break
    model = Model.load(tmp_path / "run")
    assert model.provenance.levels == 2
    assert next(model.sample([0])).size == model.size == run.trainer.example.ladder.sizes[1]


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, photo_file: Path) -> None:
    recipe = small("consingan", steps=1)
    first = finish(tmp_path / "run", recipe, photo_file)
    stamp = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    assert finish(tmp_path / "run", recipe, photo_file) == first
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == stamp


def test_a_damaged_state_is_one_clear_error(tmp_path: Path, photo_file: Path) -> None:
    recipe = small("consingan", steps=1)
    run = run_in(tmp_path / "run", photo_file, recipe)
    next(iter(run))
    (tmp_path / "run" / "state.pt").write_bytes(b"not a state")
    with pytest.raises(RunError, match=r"state\.pt is damaged"):
        run_in(tmp_path / "run", photo_file, recipe)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        PermissionError(13, "Permission denied", "state.pt"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_state_that_cannot_be_read_now_is_not_called_damaged(
    error: Exception, tmp_path: Path, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small("consingan", steps=1)
    run = run_in(tmp_path / "run", photo_file, recipe)
    next(iter(run))
    run.save()

    def fail(*_: object, **__: object) -> None:
        raise error

    where = "read_whole" if isinstance(error, OSError) else "torch.load"
    with monkeypatch.context() as patch:
        patch.setattr(f"singleimage.training.run.{where}", fail)
        with pytest.raises(type(error)) as caught:
            run_in(tmp_path / "run", photo_file, recipe)
    assert caught.value is error
    assert run_in(tmp_path / "run", photo_file, recipe).resumed


# Trouble -----------------------------------------------------------------------------------------


def test_divergence_stops_with_the_last_good_state_kept(tmp_path: Path, photo_file: Path) -> None:
    run = run_in(tmp_path / "run", photo_file, small("consingan", steps=30), seed=0)
    steps = iter(run)
    for _ in range(5):
        next(steps)
    run.save()
    good = (tmp_path / "run" / "state.pt").read_bytes()
    with torch.no_grad():
        next(iter(run.trainer.learner.parameters())).fill_(float("nan"))
    with pytest.raises(Diverged, match=r"level 0, step 5: \w+ is nan.*lower"):
        next(steps)
    with pytest.raises(Diverged, match="not finite"):
        run.save()
    assert (tmp_path / "run" / "state.pt").read_bytes() == good


def test_a_level_that_ends_broken_does_not_replace_the_model(
    tmp_path: Path, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(tmp_path / "run", photo_file, small("consingan"), seed=0)
    steps = iter(run)
    for _ in range(5):  # the first level has ended, the next step ends the second
        next(steps)
    good = run.model_path.read_bytes()
    step_of = run.trainer._train_step

    def break_weights() -> dict[str, float]:
        losses = step_of()
        with torch.no_grad():
            next(iter(run.trainer.learner.parameters())).fill_(float("nan"))
        return losses

    monkeypatch.setattr(run.trainer, "_train_step", break_weights)
    with pytest.raises(Diverged, match="not finite"):
        next(steps)
    assert run.model_path.read_bytes() == good


def test_exploding_losses_stop_the_training(tmp_path: Path, photo_file: Path) -> None:
    rates = {"training.lr_generator": "0.9", "training.lr_critic": "0.9"}
    recipe = with_overrides(small("consingan", steps=200), rates)
    with pytest.raises(Diverged):
        finish(tmp_path / "run", recipe, photo_file)


def test_a_full_disk_is_one_line_and_leaves_the_old_state(
    tmp_path: Path, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(tmp_path / "run", photo_file, small("consingan"))
    next(iter(run))
    run.save()
    good = (tmp_path / "run" / "state.pt").read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OutputError, match="No space left on device"):
        run.save()
    assert (tmp_path / "run" / "state.pt").read_bytes() == good
    assert not [path for path in (tmp_path / "run").iterdir() if path.suffix == ".part"]
