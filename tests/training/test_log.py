"""The log has a line every few steps, and goes on where the state of its run is."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from singleimage import PRESETS, Run, read_photo
from singleimage.training.log import LOG_EVERY, Log
from singleimage.training.progress import Progress
from singleimage.training.trainer import Trainer
from tiny import tiny


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def trainer(photo_file: Path) -> Trainer:
    recipe = tiny(PRESETS["consingan"], **{"training.steps": "25"})
    return Trainer(read_photo(photo_file), recipe, seed=0, device="cpu", precision="fp32")


def news(level: int, step: int, attempt: int = 0) -> Progress:
    """Of a training of four levels of 25 steps."""
    return Progress(
        level=level,
        levels=4,
        step=step,
        steps=25,
        losses={"penalty": 0.123456789},
        seconds=1.23456,
        remaining=9.0,
        attempt=attempt,
    )


def test_a_line_tells_the_step_its_losses_and_the_time(tmp_path: Path, photo_file: Path) -> None:
    recipe = tiny(PRESETS["consingan"], **{"training.steps": "2"})
    run = Run(tmp_path, read_photo(photo_file), recipe, seed=3, device="cpu")
    losses = {progress.level: progress.losses for progress in run if progress.level_done}
    found = lines(tmp_path)
    assert [(line["level"], line["step"]) for line in found] == [(i, 2) for i in range(4)]
    terms = {"critic_real", "critic_fake", "penalty", "adversarial", "reconstruction"}
    for line in found:
        assert line.keys() == terms | {"level", "step", "seconds"}
        assert {t: line[t] for t in terms} == pytest.approx(losses[line["level"]], rel=1e-5)
        assert line["seconds"] > 0


def test_there_is_a_line_every_few_steps_and_at_the_end_of_a_level(
    tmp_path: Path, trainer: Trainer
) -> None:
    assert LOG_EVERY == 10
    log = Log(tmp_path, trainer)
    for step in range(1, 26):
        log.write(news(0, step))
    log.write(news(0, 10, attempt=1))
    log.close()
    *found, again = lines(tmp_path)
    assert [line["step"] for line in found] == [10, 20, 25]
    assert found[0] == {"level": 0, "step": 10, "penalty": 0.123457, "seconds": 1.2346}
    assert again == {**found[0], "attempt": 1}


def test_lines_after_the_state_and_a_cut_one_are_left_out(tmp_path: Path, trainer: Trainer) -> None:
    written = [{"level": 0, "step": 10}, {"level": 0, "step": 20}, {"level": 0, "step": 25}]
    whole = [json.dumps(line) + "\n" for line in written]
    path = tmp_path / "log.jsonl"
    for done, text, kept in (
        (0, whole, 0),
        (9, whole, 0),
        (10, whole, 1),
        (19, whole, 1),
        (24, whole, 2),
        (24, [*whole[:1], whole[1][:-5]], 1),
        (24, ["\n", *whole], 0),
    ):
        path.write_text("".join(text))
        trainer.step = done
        log = Log(tmp_path, trainer)
        assert lines(tmp_path) == written[:kept], (done, text)
        log.write(news(0, 25))
        log.close()
        assert [line["step"] for line in lines(tmp_path)][kept:] == [25]


def test_a_log_needs_no_tensorboard(
    tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = Log(tmp_path, trainer)
    log.write(news(0, 25))
    log.picture(0, None)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
