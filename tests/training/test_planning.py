"""What a training would be, before it is begun."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clips import TINY, clip
from singleimage import Channels, Photo, preset, read_photo, with_overrides
from singleimage.errors import SizeError
from singleimage.machine.memory import tensor_bytes
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import ConSinGANPyramid
from singleimage.recipes.presets import HP_VAE_GAN
from singleimage.recipes.recipe import Recipe
from singleimage.training import planning
from singleimage.training.planning import LevelPlan, plan_training
from singleimage.training.progress import OVERHEAD, Pace, Progress, step_seconds
from small_jobs import Inline
from tiny import ONE_TURN, TRAIN_FLAGS, Command, pattern, tiny

SHAPES = "3x10x13 3x13x16 4x15x18 4x17x21 7x20x24"


@pytest.mark.slow
def test_levels_of_a_phase_are_planned_with_its_steps() -> None:
    fields = {"pyramid.min_width": "23", "phases.0.steps": "4"}
    photo = Photo(pattern(3), Channels(mode="RGB"))
    planned = plan_training(photo, tiny(HP_VAE_GAN, **fields), seed=0, device="cpu")
    assert [level.steps for level in planned] == [4, 4, 4, 2, 2]


@pytest.mark.slow
def test_a_plan_tells_frames() -> None:
    levels = plan_training(clip(), TINY, seed=0, device="cpu")
    assert [level.text for level in levels] == SHAPES.split()


def test_memory_and_time_of_fine_levels_follow_from_coarse_ones(
    photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = read_photo(photo_file)
    fields = {"pyramid.max_size": "40", "generator.width": "4", "critic.width.base": "4"}
    recipe = with_overrides(preset("preview"), fields)
    monkeypatch.setattr(planning, "BUDGET", 0.0)
    plans = plan_training(photo, recipe, seed=0, device="cpu")
    tried = planning.PROBE + 1
    work = [p.size.height * p.size.width for p in plans]
    known = [(n, p.seconds_per_step) for n, p in zip(work[:tried], plans, strict=False)]
    for plan, pixels in zip(plans[tried:], work[tried:], strict=True):
        assert plan.seconds_per_step == pytest.approx(step_seconds(known, pixels))
    needed = [plan.bytes for plan in plans]
    assert needed == sorted(needed, key=lambda number: number or 0)
    assert (needed[-1] or 0) > planning.OWN


def test_a_process_tries_no_level_without_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is one of all processes, and their clocks differ."""
    asked: list[bool] = []

    def others_are_late(here: bool) -> bool:
        asked.append(here)
        return True

    monkeypatch.setattr(planning, "BUDGET", 1000.0)
    monkeypatch.setattr(planning, "anywhere", others_are_late)
    plan_training(clip(), TINY, seed=0, device="cpu")
    assert asked == [False]


@pytest.mark.slow
def test_levels_of_more_channels_need_more(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"generator.width.base": 4, "generator.width.limit": 8, "critic.width.base": 4}
    recipe = with_overrides(preset("singan"), {"pyramid.max_size": 64, **fields, **ONE_TURN})
    monkeypatch.setattr(planning, "BUDGET", 0.0)
    photo = Photo(pattern(3, Size(60, 64)), Channels(mode="RGB"))
    plans = plan_training(photo, recipe, seed=0, device="cpu")
    pixels = [plan.size.height * plan.size.width for plan in plans]
    held = [((plan.bytes or 0) - planning.OWN) / n for plan, n in zip(plans, pixels, strict=True)]
    assert held[3] == pytest.approx(held[0], rel=1e-3)
    assert held[4] > 1.7 * held[3]  # where the width doubles


def test_a_training_that_does_not_fit_is_refused_before_it_begins(
    photo_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr(planning, "available_bytes", lambda: int(planning.OWN) + 100_000)
    monkeypatch.setattr(planning, "LARGE", 0)
    small = TRAIN_FLAGS["consingan"]
    monkeypatch.setattr("singleimage.jobs.local.LocalPool", Inline)
    for line, code in (
        (f"train {photo_file} --dry-run {small}", 2),
        (f"train {photo_file} -o {tmp_path}/r {small}", 2),
        (f"train {photo_file.parent} -o {tmp_path}/each --each {small}", 1),
    ):
        done = command(line)
        assert done.code == code
        assert "needs about 0 GB of memory, 0 GB are free; no size of its pyramid fits" in done.err
    assert not list(tmp_path.rglob("run.json"))


def top_of(recipe: Recipe, size: Size, *, room: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of a finest level of this size where there is `room` for a part of it."""
    beyond = int(planning.OWN + 1e9)
    monkeypatch.setattr(planning, "available_bytes", lambda: int(planning.OWN + room * 1e9))
    plan = LevelPlan(size, None, 1, 1, 1, 1.0, beyond)
    with pytest.raises(SizeError) as caught:
        planning.refuse_beyond([plan], recipe)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "size", "fits"),
    [
        ("consingan", Size(200, 400), "pyramid.max_size=200"),
        ("singan", Size(400, 200), "pyramid.max_size=200"),
        ("hp-vae-gan", Size(200, 400), "pyramid.width=200"),
        ("meta", Size(800, 400), "pyramid.width=200"),
    ],
)
def test_a_refusal_names_the_field_of_its_pyramid_and_a_value_that_it_takes(
    name: str, size: Size, fits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = preset(name)
    told = top_of(recipe, size, room=0.26, monkeypatch=monkeypatch)
    assert told.endswith(f" GB are free; set {fits} or less.")
    for room in (-0.3, 0.0, 0.001):  # less than the program needs, or than the coarsest level
        told = top_of(recipe, size, room=room, monkeypatch=monkeypatch)
        assert told.endswith(
            "no size of its pyramid fits: end other programs, or use a machine with more memory."
        )


def test_all_frames_of_a_clip_count_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "LARGE", 1000)
    monkeypatch.setattr(planning, "available_bytes", lambda: int(planning.OWN))
    with pytest.raises(SizeError, match="training at 7x20x24 needs"):
        planning.require_memory(clip(), TINY, seed=0, device="cpu")


def test_a_training_on_a_gpu_is_not_tried_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free there is not known."""
    monkeypatch.setattr(planning, "LARGE", 1000)
    monkeypatch.setattr(planning, "find_device", torch.device)
    monkeypatch.delattr(planning, "plan_training")
    planning.require_memory(clip(), TINY, seed=0, device="cuda")


@pytest.mark.parametrize(("every", "moves"), [(1, 1), (2, 1), (4, 1), (4, 2), (50, 3)])
def test_memory_is_that_of_a_step_with_a_penalty(
    every: int, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not every step has one, too."""
    objective = "phases.0.objective"
    fields = {f"{objective}.penalty_every": every, f"{objective}.critic_steps": moves}
    recipe = with_overrides(tiny(preset("quick")), fields)
    seen: list[Progress] = []

    def held(work: Callable[[], Progress]) -> int:
        seen.append(work())
        return 1

    monkeypatch.setattr(planning, "tensor_bytes", held)
    monkeypatch.setattr(planning, "BUDGET", 0.0)
    plan_training(Photo(pattern(3), Channels(mode="RGB")), recipe, seed=0, device="cpu")
    (step,) = seen
    assert "penalty" in step.losses


def test_tensors_that_are_held_at_once_are_counted() -> None:
    def work() -> None:
        first = torch.ones(1000, 1000)
        del first
        second = torch.ones(1000, 1000)
        third = second + 1
        del second, third

    assert 8e6 <= tensor_bytes(work) < 8.2e6


def test_steps_of_fine_levels_take_what_those_of_two_coarse_ones_tell() -> None:
    """ConSinGAN, 188x250: 1.8 and 4.2 s without matrix units, 0.63 and 1.29 with them."""
    pixels = [42 * 56, 63 * 84, 126 * 167, 188 * 250]
    plain = list(zip(pixels[:2], (0.236, 0.483), strict=True))
    assert step_seconds(plain, pixels[2]) == pytest.approx(1.8, rel=0.06)
    assert step_seconds(plain, pixels[3]) == pytest.approx(4.24, rel=0.07)
    units = list(zip(pixels[:2], (0.133, 0.190), strict=True))
    assert step_seconds(units, pixels[2]) == pytest.approx(0.626, rel=0.2)
    assert step_seconds(units, pixels[3]) == pytest.approx(1.285, rel=0.2)
    alone = step_seconds(plain[:1], pixels[3])
    assert alone == pytest.approx(0.236 * (pixels[3] + OVERHEAD) / (pixels[0] + OVERHEAD))


def test_the_time_left_is_that_of_steps_to_come() -> None:
    """Where a step takes 2 ms and a microsecond a pixel, from the second level on exactly."""
    ladder = ConSinGANPyramid(levels=4, min_size=16, max_size=128).plan(Size(96, 128))
    pixels = [size.height * size.width for size in ladder.sizes]
    seconds = [0.002 + 1e-6 * n for n in pixels]
    pace = Pace(ladder, [3] * 4)
    left = [[pace.after(seconds[level], level, step) for step in (1, 2, 3)] for level in range(4)]
    assert left[1][1] == pytest.approx(seconds[1] + 3 * sum(seconds[2:]))
    assert left[2][2] == pytest.approx(3 * seconds[3])
    assert left[3][2] == 0
    assert pace.share(0, 0) == 0
    assert pace.share(3, 3) == 1
