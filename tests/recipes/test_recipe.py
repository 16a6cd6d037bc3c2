"""Recipes are values: they read back equal, refuse contradictions, and keep their digests."""

import json

import msgspec
import pytest

from reference.compare import photo
from singleimage import PRESETS, Trainer, with_overrides
from singleimage.errors import RecipeError
from singleimage.recipes.base_input import AugmentedInput, NoiseInput, ShuffledInput
from singleimage.recipes.overrides import fields_of
from singleimage.recipes.presets import CONSINGAN, HP_VAE_GAN, SINGAN, preset
from singleimage.recipes.recipe import Recipe, TrainingSpec
from tiny import tiny


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"generator.vae_levels": "2"}, "here these are the first 2"),
        ({"phases.1.from_level": "4"}, "here these are the first 3"),
        ({"training.batch": "0"}, "training.batch: expected `int` >= 1"),
        ({"generator.decode_norm": "batch"}, "use image or running"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(
    overrides: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        with_overrides(HP_VAE_GAN, overrides)


def test_the_hand_over_moves_in_one_piece() -> None:
    moved = {"generator.vae_levels": "2", "phases.1.from_level": "2"}
    recipe = tiny(HP_VAE_GAN, **moved, **{"training.steps": "1"})
    levels = [
        p.level for p in Trainer(photo(), recipe, seed=0, device="cpu") if "adversarial" in p.losses
    ]
    assert min(levels) == 2


def test_steps_of_every_level_are_those_of_all_phases() -> None:
    recipe = with_overrides(HP_VAE_GAN, {"phases.0.steps": 7}).with_steps(5)
    assert [recipe.schedule.steps_at(level) for level in (0, 9)] == [5, 5]


def test_other_generators_take_no_variational_objective() -> None:
    with pytest.raises(ValueError, match="here these are the first 0"):
        msgspec.structs.replace(SINGAN, phases=HP_VAE_GAN.phases)
    with pytest.raises(ValueError, match="fed with noise"):
        msgspec.structs.replace(HP_VAE_GAN, base_input=AugmentedInput())


def test_recipes_of_earlier_versions_are_read_and_keep_their_digests() -> None:
    """They had one kind of critic and of body, no batches, clipping, decoders or restarts."""
    for recipe in (SINGAN, CONSINGAN):
        tree = json.loads(recipe.to_json())
        assert tree["critic"].pop("type") == "patch"
        for field in ("batch", "clip_generator", "restarts"):
            del tree["training"][field]
        assert tree["phases"][0]["objective"].pop("decoding_weight") == 0.0
        if recipe == CONSINGAN:
            assert tree["generator"].pop("body") == {"type": "convolution"}
        assert Recipe.from_json(json.dumps(tree)) == recipe
    unobserved = msgspec.structs.replace(SINGAN.generator, observed_every=None)
    earlier = msgspec.structs.replace(SINGAN, generator=unobserved)
    digests = {name: preset(name).digest() for name in ("consingan", "preview")}
    digests["singan"] = earlier.digest()
    assert digests == {
        "consingan": "d3304974383d46ad",
        "singan": "15b62017d240a4ae",
        "preview": "e03bab424df94a9c",
    }
    larger = with_overrides(SINGAN, {"training.batch": "2"})
    assert larger.digest() != SINGAN.digest()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_recipe_reads_back_equal(name: str) -> None:
    assert Recipe.from_json(PRESETS[name].to_json()) == PRESETS[name]


def test_text_that_is_no_recipe_is_refused() -> None:
    for text in ("{", "[]", '{"name": "x"}', b"\xff"):
        with pytest.raises(RecipeError, match="not a recipe"):
            Recipe.from_json(text)


def test_the_rate_decays_at_a_fraction_or_at_a_step() -> None:
    fraction = TrainingSpec(decay_at=0.8)
    assert [fraction.rate_factor(s, 1001) for s in (0, 799, 800, 1000)] == [1, 1, 0.1, 0.1]
    step = TrainingSpec(decay_at=1600, decay=0.5)
    assert [step.rate_factor(s, 2000) for s in (1599, 1600)] == [1, 0.5]
    assert TrainingSpec(decay_at=1600).rate_factor(99, 100) == 1


def test_a_phase_may_have_steps_of_its_own() -> None:
    recipe = with_overrides(preset("hp-vae-gan"), {"phases.0.steps": "7", "training.steps": "5"})
    assert [recipe.schedule.steps_at(level) for level in range(5)] == [7, 7, 7, 5, 5]
    assert [recipe.schedule.steps_before(level) for level in (0, 1, 3, 5)] == [0, 7, 21, 31]
    assert preset("hp-vae-gan").schedule.steps_before(2) == 10_000


def test_digests_ignore_the_texts_for_people() -> None:
    recipe = preset("consingan")
    assert msgspec.structs.replace(recipe, expects="fast").digest() == recipe.digest()
    assert with_overrides(recipe, {"training.steps": "5"}).digest() != recipe.digest()


def test_a_recipe_with_an_unknown_group_or_field_is_refused_in_one_line() -> None:
    """Also with the name of an attribute that files call otherwise, and with kinds to come."""
    for path in ("mood", "base_input", "training.stps", "generator.body.mood", "phases.0.mood"):
        tree = json.loads(CONSINGAN.to_json())
        *parents, last = path.split(".")
        node = tree
        for part in parents:
            node = node[int(part) if isinstance(node, list) else part]
        node[last] = {}
        with pytest.raises(RecipeError) as refused:
            Recipe.from_json(json.dumps(tree))
        found = str(refused.value)
        assert found.startswith(f"not a recipe: Object contains unknown field `{last}`"), found
        assert "\n" not in found
    for group in ("pyramid", "generator", "critic", "feed"):
        tree = json.loads(CONSINGAN.to_json())
        tree[group] = {"type": "tarot"}
        with pytest.raises(RecipeError, match=f"not a recipe: Invalid value 'tarot' .*{group}"):
            Recipe.from_json(json.dumps(tree))


def test_the_schedule_is_the_training_part() -> None:
    recipe = preset("hp-vae-gan")
    schedule = recipe.schedule
    for name in ("generator", "critic", "base_input", "training", "phases"):
        assert getattr(schedule, name) is getattr(recipe, name)
    first, second = recipe.phases
    assert (first.from_level, second.from_level) == (0, 3)
    phases = [first, first, first, second, second]
    assert [schedule.phase_at(level) for level in range(5)] == phases
    assert [schedule.objective_at(level) for level in range(5)] == [p.objective for p in phases]
    assert [schedule.has_critic(level) for level in range(5)] == [False] * 3 + [True] * 2
    backwards = msgspec.structs.replace(recipe, phases=(second, first)).schedule
    assert [backwards.phase_at(level) for level in range(5)] == phases


def test_the_base_input_is_called_feed_in_files() -> None:
    """Models and runs of earlier versions have that name."""
    for base_input in (NoiseInput(), AugmentedInput(change=0.25), ShuffledInput(noise=0.5)):
        recipe = msgspec.structs.replace(CONSINGAN, base_input=base_input)
        tree = json.loads(recipe.to_json())
        assert tree["feed"] == msgspec.to_builtins(base_input)
        assert "base_input" not in tree
        again = Recipe.from_json(json.dumps(tree))
        assert again == recipe
        assert again.base_input == base_input
        assert again.digest() == recipe.digest()
        for name in tree["feed"].keys() - {"type"}:
            assert f"feed.{name}" in fields_of(recipe)
    feed = {"feed": '{"type":"shuffled","noise":0.5}'}
    assert with_overrides(CONSINGAN, feed).base_input == ShuffledInput(noise=0.5)
    with pytest.raises(RecipeError, match="no recipe field base_input"):
        with_overrides(CONSINGAN, {"base_input": "{}"})
