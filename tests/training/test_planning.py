"""What a training would be, before it is begun."""

from pathlib import Path

import pytest
import torch

from clips import TINY, clip
from singleimage import Channels, Photo, preset, read_photo, with_overrides
from singleimage.machine.memory import tensor_bytes
from singleimage.multiscale.geometry import Size
from singleimage.recipes.presets import HP_VAE_GAN
from singleimage.training import planning
from singleimage.training.planning import plan_training
from singleimage.training.progress import Pace
from tiny import ONE_TURN, Command, pattern, tiny

SHAPES = "3x10x13 3x13x16 4x15x18 4x17x21 7x20x24"


def test_levels_of_a_phase_are_planned_with_its_steps() -> None:
    fields = {"pyramid.min_width": "23", "phases.0.steps": "4"}
    photo = Photo(pattern(3), Channels(mode="RGB"))
    planned = plan_training(photo, tiny(HP_VAE_GAN, **fields), seed=0, device="cpu")
    assert [level.steps for level in planned] == [4, 4, 4, 2, 2]


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
    work = [p.size.height * p.size.width + Pace.OVERHEAD_PIXELS for p in plans]
    for plan, pixels in zip(plans[tried:], work[tried:], strict=True):
        expected = plans[tried - 1].seconds_per_step * pixels / work[tried - 1]
        assert plan.seconds_per_step == pytest.approx(expected)
    needed = [plan.bytes for plan in plans]
    assert needed == sorted(needed, key=lambda number: number or 0)
    assert (needed[-1] or 0) > planning.OWN


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
    small = "--set pyramid.max_size=40 --set generator.width=4 --set critic.width.base=4"
    for line in (
        f"train {photo_file} --dry-run {small}",
        f"train {photo_file} -o {tmp_path}/r {small}",
    ):
        done = command(line)
        assert done.code == 2
        assert "needs about 0 GB of memory, 0 GB are free; set pyramid.max_size=" in done.err
    assert not (tmp_path / "r").exists()


def test_tensors_that_are_held_at_once_are_counted() -> None:
    def work() -> None:
        first = torch.ones(1000, 1000)
        del first
        second = torch.ones(1000, 1000)
        third = second + 1
        del second, third

    assert 8e6 <= tensor_bytes(work) < 8.2e6
