"""Commands that are killed at any moment and begun again end as if they had never been."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small_jobs import draw_photo

SMALL = (
    "--steps 30 --set pyramid.max_size=48 --set generator.width=8 --set critic.width.base=8 "
    "--device cpu:1"
)


def started(line: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "singleimage", *line.split()]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ended(folder: Path) -> bool:
    """Whether a command that may not write twice has written what it is for."""
    return any(folder.joinpath(name).exists() for name in ("sheet.png", "moving.gif"))


def killed_and_ended(line: str, kills: int, longest: float, folder: Path) -> None:
    """Kill the command so many times, each at another moment; then let it end."""
    numbers = random.Random(kills)
    for _ in range(kills):
        process = started(line)
        try:
            process.wait(numbers.uniform(1.5, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.3)  # workers notice
        else:
            break
    code = 2
    for _ in range(40):  # workers of a dead driver may still hold the lock
        process = started(line)
        code = process.wait()
        if code == 0 or ended(folder):
            break
        time.sleep(0.5)
    assert code == 0 or ended(folder)


def files_of(folder: Path, *endings: str) -> dict[str, bytes]:
    found = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    assert not [name for name in found if name.endswith(".part")]
    return {name: path.read_bytes() for name, path in found.items() if name.endswith(endings)}


@pytest.mark.slow
def test_killed_trainings_end_with_the_same_weights(tmp_path: Path) -> None:
    photo = draw_photo(tmp_path / "a.png")
    line = f"train {photo} --preset preview -o {{}} {SMALL}"
    assert started(line.format(tmp_path / "whole")).wait() == 0
    killed_and_ended(line.format(tmp_path / "killed"), 20, 7.0, tmp_path / "killed")
    from singleimage import Model

    one, other = (
        Model.load(tmp_path / name).generator.state_dict() for name in ("whole", "killed")
    )
    assert one.keys() == other.keys()
    assert all(bool((one[name] == other[name]).all()) for name in one)
    files_of(tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["each", "sample", "flow", "animate"])
def test_killed_commands_leave_the_same_pictures(kind: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photos = [draw_photo(tmp_path / "in" / f"{i}.png", i) for i in range(3)]
    if kind == "each":
        line, endings = (
            f"train {tmp_path}/in --each --preset preview -o {{}} --workers 1 {SMALL}",
            ("previews/level-4.png",),
        )
    elif kind == "sample":
        assert started(f"train {photos[0]} --preset preview -o {tmp_path}/run {SMALL}").wait() == 0
        line, endings = f"sample {tmp_path}/run -o {{}} -n 60 --size 300x300", (".png",)
    elif kind == "animate":
        assert started(f"train {photos[0]} --preset preview -o {tmp_path}/run {SMALL}").wait() == 0
        line = f"animate {tmp_path}/run -o {{}}/moving.gif --frames 40 --size 160x160"
        endings = (".gif",)
        for name in ("whole", "killed"):
            (tmp_path / name).mkdir()
    else:
        line, endings = f"sample {photos[0]} -o {{}} -n 12 --size 200x200 --map", (".png", ".tiff")
    assert started(line.format(tmp_path / "whole")).wait() == 0
    killed_and_ended(line.format(tmp_path / "killed"), 5, 8.0, tmp_path / "killed")
    whole, killed = (files_of(tmp_path / name, *endings) for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert whole == killed


@pytest.mark.slow
def test_a_killed_benchmark_measures_the_same(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(2):
        draw_photo(tmp_path / "in" / f"{i}.png", i)
    line = f"bench {tmp_path}/in -o {{}} --presets preview --seeds 1 -n 2 --workers 1 {SMALL}"
    assert started(line.format(tmp_path / "whole")).wait() == 0
    killed_and_ended(line.format(tmp_path / "killed"), 5, 12.0, tmp_path / "killed")
    found = []
    for name in ("whole", "killed"):
        lines = (tmp_path / name / "results.jsonl").read_text().splitlines()
        results = [json.loads(text) for text in lines]
        found.append([{k: v for k, v in r.items() if k != "seconds"} for r in results])
    assert len(found[0]) == 2
    assert found[0] == found[1]
    files_of(tmp_path / "killed")


@pytest.mark.slow
def test_a_run_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    """What is computed is not lost, and nothing but what training says is printed."""
    photo, folder = draw_photo(tmp_path / "a.png"), tmp_path / "run"
    line = (
        f"train {photo} --preset preview -o {folder} {SMALL.replace('--steps 30', '--steps 100')}"
    )
    command = [sys.executable, "-m", "singleimage", *line.split()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and not (folder / "previews").exists():
        time.sleep(0.1)
    shutil.rmtree(folder.rename(tmp_path / "gone"))  # at once, whatever is written meanwhile
    errors = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "complete" in again.stdout + again.stderr
