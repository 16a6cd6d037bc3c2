"""What a training would be, before it is begun."""

from clips import TINY, clip
from singleimage import Channels, Photo
from singleimage.recipes.presets import HP_VAE_GAN
from singleimage.training.planning import plan_training
from tiny import pattern, tiny

SHAPES = "3x10x13 3x13x16 4x15x18 4x17x21 7x20x24"


def test_levels_of_a_phase_are_planned_with_its_steps() -> None:
    fields = {"pyramid.min_width": "23", "phases.0.steps": "4"}
    photo = Photo(pattern(3), Channels(mode="RGB"))
    planned = plan_training(photo, tiny(HP_VAE_GAN, **fields), seed=0, device="cpu")
    assert [level.steps for level in planned] == [4, 4, 4, 2, 2]


def test_a_plan_tells_frames() -> None:
    levels = plan_training(clip(), TINY, seed=0, device="cpu")
    assert [level.text for level in levels] == SHAPES.split()
