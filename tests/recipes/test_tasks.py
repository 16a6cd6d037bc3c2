"""Recipes for tasks: what they change, which presets they go with, and that they train."""

import pytest

from singleimage import PRESETS, Channels, Model, Photo, Recipe, Trainer
from singleimage.errors import ImageError, RecipeError
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import upscaling_passes, upscaling_ratio
from singleimage.recipes.base_input import AugmentedInput, ShuffledInput
from singleimage.recipes.overrides import fields_of
from singleimage.recipes.presets import preset
from singleimage.recipes.tasks import for_task
from tiny import FEWER, pattern, slow_but, tiny

TASKS = ["harmonize", "edit", "paint", "animate", "video", "upscale:2"]
NEEDED = {"upscale:2": "singan", "video": "hp-vae-gan"}
"""Tasks that one method alone is trained for."""


@pytest.mark.parametrize(
    "name", slow_but(sorted(PRESETS.keys() - {"meta-single", "meta-small"}), "quick", "hp-vae-gan")
)
def test_every_preset_trains_for_every_task_or_says_why_not(name: str) -> None:
    """Tasks that leave a recipe as it is train as it does: each recipe is trained once."""
    base = tiny(preset(name), **FEWER)
    recipes = {}
    for task in TASKS:
        needed = NEEDED.get(task, name)
        if needed != name:
            with pytest.raises(RecipeError, match=f"use --preset {needed}"):
                for_task(base, task)
            continue
        recipe = for_task(base, task)
        assert Recipe.from_json(recipe.to_json()) == recipe
        recipes[recipe.digest()] = recipe
    for recipe in recipes.values():
        learned = Photo(pattern(3, Size(44, 52)), Channels(mode="RGB"))
        if recipe.learns_clips:
            with pytest.raises(ImageError, match="a clip of 13 frames or more is needed, not 1"):
                Trainer(learned, recipe, seed=0, device="cpu")
            continue
        if recipe.direct is not None:
            model = Model.of_photo(learned, recipe)
            assert next(model.sample([0])).size == model.size
            continue
        trainer = Trainer(learned, recipe, seed=0, device="cpu", precision="fp32")
        for _ in trainer:
            pass
        assert next(trainer.model().sample([0])).size == trainer.model().size


def test_the_published_modes_of_consingan() -> None:
    harmonize = for_task(preset("consingan"), "harmonize")
    assert harmonize.pyramid.plan(Size(188, 250)).sizes[0] == Size(120, 160)
    assert len(harmonize.pyramid.plan(Size(188, 250)).sizes) == 3
    assert fields_of(harmonize)["generator.slope"] == fields_of(harmonize)["critic.slope"] == 0.3
    assert harmonize.training.steps == 1000
    assert isinstance(harmonize.base_input, AugmentedInput)
    edit = for_task(preset("consingan"), "edit")
    assert fields_of(edit)["generator.anchor_noise"] == 0.1
    assert isinstance(edit.base_input, ShuffledInput)
    assert fields_of(edit)["generator.edge"] == "zero"
    assert fields_of(for_task(preset("consingan"), "animate"))["generator.anchor"] == "noise"
    assert for_task(preset("singan"), "harmonize") == preset("singan")


@pytest.mark.parametrize("task", ["harmonize", "edit", "paint"])
def test_fast_stabilized_redraws_the_photo_for_samples_alone(task: str) -> None:
    made = fields_of(for_task(preset("fast-stabilized"), task))
    assert not made["critic.decoders.full"]
    assert not made["critic.decoders.crop"]
    assert made["phases.0.objective.decoding_weight"] == 0
    moving = fields_of(for_task(preset("fast-stabilized"), "animate"))
    assert moving["critic.decoders.full"]


@pytest.mark.parametrize(
    ("factor", "passes", "ratio"),
    [(2, 3, 2 ** (1 / 3)), (3, 5, 1.2457), (4, 6, 1.2599), (8, 9, 1.26)],
)
def test_the_published_passes_of_super_resolution(factor: float, passes: int, ratio: float) -> None:
    assert upscaling_passes(factor) == passes
    assert upscaling_ratio(factor) == pytest.approx(ratio, abs=1e-4)
    recipe = for_task(preset("singan"), f"upscale:{factor}")
    assert fields_of(recipe)["pyramid.factor"] == pytest.approx(1 / ratio, abs=1e-4)
    assert fields_of(recipe)["phases.0.objective.reconstruction_weight"] == 100
    assert fields_of(recipe)["pyramid.min_size"] == 18


def test_tasks_that_there_are_not() -> None:
    for task in ("nonsense", "upscale:1", "upscale:0.5", "upscale:x", "upscale:99"):
        with pytest.raises(RecipeError, match=r"no task|out of range|no factor"):
            for_task(preset("singan"), task)
