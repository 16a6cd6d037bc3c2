"""Recipes are values: they print, read back, and refuse what they do not know."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleimage import PRESETS, Recipe, preset, with_overrides
from singleimage.errors import RecipeError
from singleimage.recipes.overrides import differences, fields_of
from singleimage.recipes.recipe import TrainingSpec


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_recipe_reads_back_equal(name: str) -> None:
    assert Recipe.from_json(PRESETS[name].to_json()) == PRESETS[name]


@given(
    steps=st.integers(1, 10_000_000),
    rate=st.floats(1e-8, 0.5),
    factor=st.floats(0.2, 0.9),
    norm=st.sampled_from(["none", "image"]),
)
def test_overrides_round_trip(steps: int, rate: float, factor: float, norm: str) -> None:
    changed = with_overrides(
        preset("singan"),
        {
            "training.steps": str(steps),
            "training.lr_generator": repr(rate),
            "pyramid.factor": repr(factor),
            "critic.norm": norm,
        },
    )
    assert (changed.training.steps, changed.training.lr_generator) == (steps, rate)
    assert Recipe.from_json(changed.to_json()) == changed


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_field_can_be_set_to_what_it_is(name: str) -> None:
    recipe = PRESETS[name]
    texts = {path: msgspec.json.encode(value).decode() for path, value in fields_of(recipe).items()}
    assert with_overrides(recipe, texts) == recipe


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.step", "3", r"no recipe field training.step. Did you mean training.steps\?"),
        ("nonsense", "3", "no recipe field nonsense"),
        ("training.steps", "many", "training.steps: expected `int`, got `str`"),
        ("training.steps", "0", "training.steps: expected `int` >= 1"),
        ("generator.edge", "mirror", "generator.edge: invalid enum value 'mirror'"),
        ("training", "3", "training is a group of fields; set one of them: steps"),
        ("phases.1.from_level", "3", "no recipe field phases.1.from_level"),
        ("phases.0.from_level", "3", "the first phase must start at level 0"),
        ("generator.type", "cascade", "no recipe field generator.type"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(path: str, value: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_overrides(preset("consingan"), {path: value})


def test_an_unknown_preset_names_the_known() -> None:
    known = "consingan, fast-stabilized, hp-vae-gan, meta, meta-single, meta-small, preview, singan"
    with pytest.raises(RecipeError, match=f"no preset 'gan'; there are {known}"):
        preset("gan")


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


def test_differences_name_the_fields() -> None:
    recipe = preset("consingan")
    changed = with_overrides(recipe, {"training.steps": "5"})
    assert differences(recipe, changed) == ["training.steps: 2000, now 5"]
    assert differences(recipe, recipe) == []
