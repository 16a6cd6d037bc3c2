"""Damage of files is noticed, wherever it is; and what is not ours is left alone."""

import contextlib
import os
import random
import shutil
from pathlib import Path

import pytest
import torch

from singleimage import Model, Run, preset, read_photo, with_overrides
from singleimage.errors import ModelFileError, RunError, SingleImageError
from singleimage.jobs.job import RESULT, perform, result_of
from singleimage.machine.lock import claimed
from small_jobs import draw_photo, job_of, nobody
from tiny import Command

SMALL = {"training.steps": "2", "pyramid.max_size": "40", "generator.width": "4"}


def run_in(folder: Path, photo_file: Path, seed: int = 0) -> Run:
    recipe = with_overrides(preset("preview"), SMALL | {"critic.width.base": "4"})
    return Run(folder, read_photo(photo_file), recipe, seed=seed, precision="fp32", device="cpu")


def flips(data: bytes, count: int) -> list[bytes]:
    """The same bytes with one bit changed, each time another."""
    numbers = random.Random(0)
    results = []
    for _ in range(count):
        changed = bytearray(data)
        changed[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
        results.append(bytes(changed))
    return results


def test_no_bit_of_a_model_changes_unnoticed(tiny_run: Path, tmp_path: Path) -> None:
    whole = (tiny_run / "model.safetensors").read_bytes()
    for data in flips(whole, 40):
        (tmp_path / "m.safetensors").write_bytes(data)
        with pytest.raises(ModelFileError):
            Model.load(tmp_path / "m.safetensors")


def test_no_bit_of_a_state_changes_unnoticed(photo_file: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path / "run", photo_file)
    next(iter(run))
    run.save()
    state = tmp_path / "run" / "state.pt"
    whole = state.read_bytes()
    for data in flips(whole, 15):
        state.write_bytes(data)
        with pytest.raises(RunError, match="damaged"):
            run_in(tmp_path / "run", photo_file)
    state.write_bytes(whole)
    assert run_in(tmp_path / "run", photo_file).position == (0, 0, 1)


@pytest.mark.parametrize(
    "change",
    [{"step": -1}, {"step": 10**9}, {"level": 99}, {"step": 1.5}, {"attempt": "1"},
     {"seconds": float("nan")}, {"critic": {}}],
    ids=str,
)  # fmt: skip
def test_a_state_that_cannot_be_is_refused(
    change: dict[str, object], photo_file: Path, tmp_path: Path
) -> None:
    run = run_in(tmp_path / "run", photo_file)
    next(iter(run))
    run.save()
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    torch.save(state | change, tmp_path / "run" / "state.pt")
    with pytest.raises(RunError, match="damaged"):
        run_in(tmp_path / "run", photo_file)


def test_no_digit_of_a_result_changes_unnoticed(tmp_path: Path) -> None:
    job = job_of(draw_photo(tmp_path / "a.png"), 1)
    perform(job, tmp_path, nobody)
    path = tmp_path / job.name / RESULT
    text = path.read_text()
    assert result_of(job, tmp_path) is not None
    path.write_text(text.replace('"parameters": ', '"parameters": 1'))
    assert result_of(job, tmp_path) is None
    path.write_bytes(b"\xff" + text.encode())
    assert result_of(job, tmp_path) is None


def test_a_lock_follows_no_link(command: Command, photo_file: Path, tmp_path: Path) -> None:
    (tmp_path / "victim.txt").write_text("precious")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").symlink_to("../victim.txt")
    done = command(f"train {photo_file} -o {run} --steps 1")
    assert done.code == 2
    assert "is a link or a pipe, not a lock" in done.err
    assert (tmp_path / "victim.txt").read_text() == "precious"
    (run / ".lock").unlink()
    os.mkfifo(run / ".lock")
    done = command(f"train {photo_file} -o {run} --steps 1")
    assert "is a link or a pipe, not a lock" in done.err


@pytest.mark.parametrize("name", ["run.json", "state.pt", "log.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "bytes", "types"])
def test_odd_files_of_a_run_neither_hang_nor_trace(
    name: str, kind: str, photo_file: Path, tmp_path: Path, command: Command
) -> None:
    run = run_in(tmp_path / "run", photo_file)
    next(iter(run))
    run.save()
    path = tmp_path / "run" / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"\xff\xfe{}" if kind == "bytes" else b'{"level": "x", "step": []}\n')
    harmless = name == "log.jsonl" and kind != "pipe"  # it is begun anew
    with contextlib.nullcontext() if harmless else pytest.raises(SingleImageError) as caught:
        next(iter(run_in(tmp_path / "run", photo_file)))
    assert caught is None or "\n" not in str(caught.value)


def test_what_killed_runs_left_half_written_is_cleared(photo_file: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path / "run", photo_file)
    left = tmp_path / "run" / ".state.pt.0123abcd.part"
    other = tmp_path / "run" / ".mine.part"
    left.touch()
    other.touch()
    next(iter(run))
    assert not left.exists()
    assert other.exists()


def test_two_runs_that_begin_at_once_are_one_run(photo_file: Path, tmp_path: Path) -> None:
    """The folder is claimed under its lock, so the second finds what the first wrote."""
    run_in(tmp_path / "run", photo_file, seed=1)
    with pytest.raises(RunError, match="other settings"):
        run_in(tmp_path / "run", photo_file, seed=2)
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").mkdir()
    with claimed(tmp_path / "run"), pytest.raises(RunError, match="in use"):
        run_in(tmp_path / "run", photo_file, seed=2)
    assert not (tmp_path / "run" / "run.json").exists()
