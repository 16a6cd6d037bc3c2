"""Levels that collapse to one color are begun again, or are an error."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from singleimage import Photo, Recipe, Run, Trainer, preset, read_photo, with_overrides
from singleimage.errors import Diverged
from singleimage.training import collapse as module
from singleimage.training.progress import Progress
from tiny import ONE_TURN, slow_but

STEPS = 12
SMALL = {
    "training.steps": str(STEPS),
    "pyramid.levels": "4",
    "pyramid.max_size": "40",
    "generator.width": "4",
    "critic.width.base": "4",
} | ONE_TURN


BEGUN: dict[str, dict[str, Any]] = {}
"""The states of trainings at the beginning of level 2, by recipe."""


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_APART", 2)
    monkeypatch.setattr(module, "LOOKS", STEPS // 2)


@pytest.fixture(scope="module")
def photo(photo_file: Path) -> Photo:
    return read_photo(photo_file)


def recipe(**fields: str) -> Recipe:
    return with_overrides(
        preset("preview"), SMALL | {k.replace("_", "."): v for k, v in fields.items()}
    )


def begun(photo: Photo, recipe: Recipe) -> Trainer:
    """A training that stands at the beginning of level 2, which level 0 and 1 do not disturb."""
    trainer = Trainer(photo, recipe, seed=0, device="cpu", precision="fp32")
    if recipe.digest() in BEGUN:
        trainer.load_state_dict(deepcopy(BEGUN[recipe.digest()]))
        return trainer
    for progress in trainer:
        if progress.level == 1 and progress.level_done:
            break
    BEGUN[recipe.digest()] = deepcopy(trainer.state_dict())
    return trainer


def break_it(trainer: Trainer) -> None:
    """Push all that is made into the flat end of tanh."""
    with torch.no_grad():
        trainer.learner.tail.bias.fill_(-100)  # type: ignore[union-attr]


def broken_at(trainer: Trainer, breaks: int) -> Iterator[Progress]:
    """The steps of level 2, whose first `breaks` attempts are broken after the third step."""
    for progress in trainer:
        if progress.step == 3 and progress.attempt < breaks:
            break_it(trainer)
        yield progress
        if progress.level_done and trainer.level > 2:
            return


def test_a_level_that_collapsed_is_begun_again_with_other_noise(photo: Photo) -> None:
    trainer = begun(photo, recipe())
    before = {name: t.clone() for name, t in trainer.learner.state_dict().items()}
    again = []
    for progress in broken_at(trainer, 2):
        if progress.attempt and progress.step == 1:
            beginning = trainer._beginning
            assert beginning is not None
            assert all(torch.equal(beginning["learner"][name], t) for name, t in before.items())
        again.append((progress.attempt, progress.step))
    broken = [(attempt, step) for attempt in (0, 1) for step in range(1, 7)]  # looks at 4 and 6
    assert again == [*broken, *((2, step) for step in range(1, STEPS + 1))]
    assert trainer.position == (3, 0, 0)


def lose_it(trainer: Trainer) -> None:
    """Throw the reconstruction far off, but not to one color."""
    with torch.no_grad():
        trainer.learner.tail.weight.mul_(-30)  # type: ignore[union-attr]


@pytest.mark.parametrize("restarts", slow_but([1, 0], 1))
def test_a_level_that_lost_the_photo_is_begun_again_while_it_may(
    photo: Photo, monkeypatch: pytest.MonkeyPatch, restarts: int
) -> None:
    monkeypatch.setattr(module, "LOST", 3.0)
    trainer = begun(photo, recipe(training_restarts=str(restarts)))
    seen = []
    for progress in trainer:
        if progress.level > 2:
            break
        seen.append((progress.attempt, progress.step))
        if progress.step == 5:
            lose_it(trainer)
    lost = [(0, step) for step in range(1, 9)]  # looks at 6 and 8
    assert seen == (lost if restarts else []) + [(restarts, step) for step in range(1, STEPS + 1)]
    assert trainer.position[0] == 3


def test_a_level_that_finds_the_photo_again_goes_on(
    photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST", 3.0)
    trainer = begun(photo, recipe())
    for progress in trainer:
        if progress.level > 2:
            break
        assert progress.attempt == 0
        if progress.step == 5:
            kept = deepcopy(trainer.learner.state_dict())
            lose_it(trainer)
        if progress.step == 6:  # after a look
            trainer.learner.load_state_dict(kept)
    assert trainer.position[0] == 3


@pytest.mark.slow
def test_one_gray_is_no_collapse(photo: Photo) -> None:
    """Levels of little contrast begin so, and learn."""
    trainer = begun(photo, recipe(training_restarts="0"))
    for progress in trainer:
        if progress.level > 2:
            break
        with torch.no_grad():
            for parameter in trainer.learner.tail.parameters():  # type: ignore[union-attr]
                parameter.zero_()
    assert trainer.position[0] == 3


@pytest.mark.slow
def test_attempts_differ_in_weights_and_noise(photo: Photo) -> None:
    trainer = begun(photo, recipe())
    losses = {p.attempt: p.losses for p in broken_at(trainer, 1) if p.step == 1}
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_a_level_that_collapses_in_its_last_steps_is_begun_again_too(photo: Photo) -> None:
    trainer, seen = begun(photo, recipe()), []
    for progress in trainer:
        if progress.level > 2:
            break
        seen.append((progress.attempt, progress.step))
        if seen[-1] == (0, STEPS - 1):
            break_it(trainer)
    assert seen == [(attempt, step) for attempt in (0, 1) for step in range(1, STEPS + 1)]


@pytest.mark.parametrize("restarts", slow_but([0, 2], 0))
def test_a_level_that_collapses_always_is_an_error(photo: Photo, restarts: int) -> None:
    trainer = begun(photo, recipe(training_restarts=str(restarts)))
    with pytest.raises(Diverged, match=r"level 2 has collapsed to one color, step 6; try another"):
        list(broken_at(trainer, 99))
    assert trainer.position == (2, restarts, 6)


def test_restarts_change_nothing_where_none_is_needed(photo: Photo) -> None:
    a, b = (begun(photo, recipe(training_restarts=n)) for n in "03")
    for name, tensor in a.learner.state_dict().items():
        assert torch.equal(tensor, b.learner.state_dict()[name])


@pytest.mark.slow
def test_a_second_attempt_continues_after_a_stop(photo: Photo, tmp_path: Path) -> None:
    """To the same weights, and with the log of both attempts."""
    three = recipe(pyramid_levels="3")

    def run(name: str, stop: int) -> Run:
        run = Run(tmp_path / name, photo, three, seed=0, device="cpu")
        for progress in run:
            if progress.level == 2 and progress.step == 3 and progress.attempt < 1:
                break_it(run.trainer)
            if progress.attempt == 1 and progress.step == stop:
                run.save()
                break
        return run

    whole = run("whole", 0)
    run("parts", 4)
    parts = run("parts", 0)
    assert parts.trainer.finished
    for name, tensor in whole.trainer.learner.state_dict().items():
        assert torch.equal(tensor, parts.trainer.learner.state_dict()[name])
    log = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "parts")]
    assert log[0].count('"attempt": 1') == log[1].count('"attempt": 1') == 2
    assert log[0].count("level") == log[1].count("level")
