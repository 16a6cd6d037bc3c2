"""A run can be stopped at any moment, and continues to the same weights, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from singleimage import Run, preset, read_photo, with_overrides
from singleimage.cli import main
from singleimage.errors import Diverged, OutputError, RunError
from singleimage.models.model import Model
from singleimage.recipes.recipe import Recipe
from singleimage.training.trainer import Trainer

SMALL = {
    "consingan": {
        "pyramid.max_size": "40",
        "pyramid.levels": "4",
        "generator.width": "6",
        "critic.width.base": "6",
    },
    "hp-vae-gan": {
        "pyramid.width": "46",
        "generator.width": "6",
        "generator.latent": "6",
        "critic.width": "6",
    },
    "singan": {
        "pyramid.max_size": "44",
        "generator.width.base": "6",
        "critic.width.base": "6",
    },
}


def small(name: str, steps: int = 4) -> Recipe:
    return with_overrides(preset(name), {**SMALL[name], "training.steps": str(steps)})


@pytest.fixture
def photo_path(tmp_path: Path) -> Path:
    y, x = np.indices((40, 46)) / 8
    pixels = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=-1) * 100 + 128
    path = tmp_path / "photo.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def finish(folder: Path, recipe: Recipe, photo_path: Path) -> bytes:
    run = Run(folder, read_photo(photo_path), recipe, seed=3, device="cpu")
    for _ in run:
        pass
    return weights(folder)


def weights(folder: Path) -> bytes:
    state = Model.load(folder).generator.state_dict()
    return b"".join(name.encode() + t.numpy().tobytes() for name, t in sorted(state.items()))


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("stop_after", [4, 6])
def test_a_stopped_run_ends_with_the_weights_of_an_unstopped_one(
    name: str, stop_after: int, tmp_path: Path, photo_path: Path
) -> None:
    recipe = small(name)
    whole = finish(tmp_path / "whole", recipe, photo_path)
    stopped = Run(tmp_path / "parts", read_photo(photo_path), recipe, seed=3, device="cpu")
    for i, _ in enumerate(stopped, start=1):
        if i == stop_after:
            stopped.save()
            break
    assert finish(tmp_path / "parts", recipe, photo_path) == whole
    logs = [(tmp_path / f / "log.jsonl").read_text() for f in ("whole", "parts")]
    untimed = [[{**json.loads(line), "seconds": 0} for line in log.splitlines()] for log in logs]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_bfloat16_runs_resume_to_the_same_weights(
    name: str, tmp_path: Path, photo_path: Path
) -> None:
    photo, recipe = read_photo(photo_path), small(name, steps=2)
    whole = Trainer(photo, recipe, seed=1, device="cpu", precision="bf16")
    for _ in whole:
        pass
    first = Trainer(photo, recipe, seed=1, device="cpu", precision="bf16")
    steps = iter(first)
    for _ in range(3):
        next(steps)
    second = Trainer(photo, recipe, seed=1, device="cpu", precision="bf16")
    second.load_state_dict(first.state_dict())
    for _ in second:
        pass
    ours, theirs = second.learner.state_dict(), whole.learner.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def command(folder: Path, photo_path: Path) -> list[str]:
    sets = [f"--set={path}={value}" for path, value in SMALL["consingan"].items()]
    flags = ["--preset=consingan", "--steps=12", "--device=cpu:1", *sets]
    return [
        sys.executable,
        "-m",
        "singleimage",
        "train",
        str(photo_path),
        "-o",
        str(folder),
        *flags,
    ]


def start(folder: Path, photo_path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command(folder, photo_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(
    tmp_path: Path, photo_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole, photo_path), check=True, capture_output=True)
    moments = random.Random(5)
    for _ in range(2):
        process = start(killed, photo_path)
        wait_until((killed / "run.json").exists, process)
        time.sleep(moments.uniform(0.0, 0.6))
        process.kill()
        process.wait()
    subprocess.run(command(killed, photo_path), check=True, capture_output=True)
    assert weights(killed) == weights(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_tells_the_code(
    number: signal.Signals, tmp_path: Path, photo_path: Path
) -> None:
    folder = tmp_path / "run"
    process = start(folder, photo_path)
    wait_until(lambda: (folder / "log.jsonl").exists() and _lines(folder) > 0, process)
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    assert (folder / "state.pt").exists()
    run = Run(folder, read_photo(photo_path), _recipe_of(folder), seed=0, device="cpu")
    assert run.resumed


def _lines(folder: Path) -> int:
    return len((folder / "log.jsonl").read_text().splitlines())


def _recipe_of(folder: Path) -> Recipe:
    return Recipe.from_json(json.dumps(json.loads((folder / "run.json").read_text())["recipe"]))


def test_a_folder_in_which_another_process_trains_is_refused(
    tmp_path: Path, photo_path: Path
) -> None:
    """Without touching its log; and taken when that one is done or gone."""
    runs = [
        Run(tmp_path / "run", read_photo(photo_path), small("consingan"), seed=3, device="cpu")
        for _ in range(2)
    ]
    steps = iter(runs[0])
    for _ in range(5):
        next(steps)
    log = (tmp_path / "run" / "log.jsonl").read_text()
    with pytest.raises(RunError, match="is in use by another process"):
        next(iter(runs[1]))
    assert log
    assert (tmp_path / "run" / "log.jsonl").read_text() == log
    del steps
    with pytest.raises(RunError, match=r"has trained in .* meanwhile; start again"):
        next(iter(runs[1]))
    finish(tmp_path / "run", small("consingan"), photo_path)


def test_a_run_folder_describes_itself(tmp_path: Path, photo_path: Path) -> None:
    recipe = small("consingan", steps=2)
    finish(tmp_path / "run", recipe, photo_path)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        *("run.json", "model.safetensors", "state.pt", "log.jsonl", "previews", "tensorboard"),
        ".lock",
    }  # fmt: skip
    sheets = sorted(path.name for path in (tmp_path / "run" / "previews").iterdir())
    assert sheets == [f"level-{i}.png" for i in range(4)]
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["level"] == 3
    assert last["step"] == 2
    assert {"critic_real", "critic_fake", "penalty", "adversarial", "reconstruction"} < set(last)


def test_a_half_trained_run_can_be_sampled(tmp_path: Path, photo_path: Path) -> None:
    run = Run(tmp_path / "run", read_photo(photo_path), small("singan"), seed=0, device="cpu")
    for progress in run:
        if progress.level == 1 and progress.level_done:
            break
    model = Model.load(tmp_path / "run")
    assert model.provenance.levels == 2
    assert next(model.sample([0])).size == model.size == run.trainer.example.ladder.sizes[1]


def test_a_run_of_other_settings_is_not_continued(tmp_path: Path, photo_path: Path) -> None:
    recipe = small("consingan", steps=1)
    finish(tmp_path / "run", recipe, photo_path)
    other = with_overrides(recipe, {"training.steps": "2"})
    with pytest.raises(RunError, match=r"training.steps: 1, now 2.*another folder"):
        Run(tmp_path / "run", read_photo(photo_path), other, seed=3, device="cpu")
    with pytest.raises(RunError, match=r"seed: 3, now 4"):
        Run(tmp_path / "run", read_photo(photo_path), recipe, seed=4, device="cpu")


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, photo_path: Path) -> None:
    recipe = small("consingan", steps=1)
    first = finish(tmp_path / "run", recipe, photo_path)
    stamp = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    assert finish(tmp_path / "run", recipe, photo_path) == first
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == stamp


def test_a_damaged_state_is_one_clear_error(tmp_path: Path, photo_path: Path) -> None:
    recipe = small("consingan", steps=1)
    finish(tmp_path / "run", recipe, photo_path)
    (tmp_path / "run" / "state.pt").write_bytes(b"not a state")
    with pytest.raises(RunError, match=r"state\.pt is damaged"):
        Run(tmp_path / "run", read_photo(photo_path), recipe, seed=3, device="cpu")


def test_divergence_stops_with_the_last_good_state_kept(tmp_path: Path, photo_path: Path) -> None:
    recipe = small("consingan", steps=30)
    run = Run(tmp_path / "run", read_photo(photo_path), recipe, seed=0, device="cpu")
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
    tmp_path: Path, photo_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", read_photo(photo_path), small("consingan"), seed=0, device="cpu")
    steps = iter(run)
    for _ in range(7):
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


def test_exploding_losses_stop_the_training(photo_path: Path) -> None:
    recipe = with_overrides(
        small("consingan", steps=200),
        {"training.lr_generator": "0.9", "training.lr_critic": "0.9"},
    )
    with pytest.raises(Diverged):
        for _ in Trainer(read_photo(photo_path), recipe, seed=0, device="cpu"):
            pass


def test_a_full_disk_is_one_line_and_leaves_the_old_state(
    tmp_path: Path, photo_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small("consingan", steps=3)
    run = Run(tmp_path / "run", read_photo(photo_path), recipe, seed=0, device="cpu")
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


def test_the_command_continues_and_says_so(
    tmp_path: Path, photo_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(tmp_path / "run", photo_path)[3:]
    arguments[arguments.index("--steps=12")] = "--steps=2"
    arguments = [a for a in arguments if a != "--device=cpu:1"]
    assert main(arguments) == 0
    assert main(arguments) == 0
    assert "is complete" in capsys.readouterr().err
