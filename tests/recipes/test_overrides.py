"""Fields are changed by dotted path, and what is not known is refused in one line."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusals import assert_refused
from singleimage import PRESETS, Recipe, preset, with_overrides
from singleimage.errors import RecipeError
from singleimage.generators.finished import FinishSpec
from singleimage.recipes.overrides import differences, fields_of
from tiny import Command

TRANSCRIPT = """
unknown field
$ train {photo} --set training.stps=9 -o {out}
no recipe field training.stps. Did you mean training.steps? `train --dry-run` lists them all.

unknown group
$ train {photo} --set trainer.steps=9 -o {out}
no recipe field trainer.steps. Did you mean training.steps? `train --dry-run` lists them all.

type of a group
$ train {photo} --set generator.type=cascade -o {out}
no recipe field generator.type. Did you mean generator.slope? `train --dry-run` lists them all.

phase that is not there
$ train {photo} --set phases.1.from_level=2 -o {out}
no recipe field phases.1.from_level. Did you mean phases.0.from_level? `train --dry-run` lists
them all.

no field
$ train {photo} --set =3 -o {out}
--set =3 is no assignment; write --set PATH=VALUE.

no value
$ train {photo} --set generator.width -o {out}
--set generator.width is no assignment; write --set PATH=VALUE.

group as field
$ train {photo} --set generator=3 -o {out}
generator is a group of fields; set one of them: body, width, norm, entry_norm, slope, edge,
train_depth, lr_scale, noise_amplitude, anchor, anchor_noise, walk_step, head_room.

list as field
$ train {photo} --set phases=3 -o {out}
phases: expected `array`, got `int`; 3 was given.

mistyped value
$ train {photo} --set generator.width=wide -o {out}
generator.width: expected `int`, got `str`; wide was given.

mistyped word
$ train {photo} --set generator.edge=zeros -o {out}
generator.edge: invalid enum value 'zeros'; use stretch or zero.

value too small
$ train {photo} --set generator.width=0 -o {out}
generator.width: expected `int` >= 1; 0 was given.

value too large
$ train {photo} --set generator.width=5000 -o {out}
generator.width: expected `int` <= 1024; 5000 was given.

rate that is not a number
$ train {photo} --set training.lr_critic=NaN -o {out}
training.lr_critic: expected `float`, got `str`; NaN was given.

field of a list
$ train {photo} --set training.betas.0=9 -o {out}
training.betas.0: expected `float` < 1.0; 9 was given.

phases without a first
$ train {photo} --set phases.0.from_level=1 -o {out}
recipe: the first phase must start at level 0.

no steps
$ train {photo} --steps 0 -o {out}
training.steps: expected `int` >= 1; 0 was given.

no room between the levels
$ train {photo} --set pyramid.min_size=40 -o {out}
the image is 44x52, too narrow: reduced to 40 pixels on the long side, its short side must stay
over 40. Crop it, or set pyramid.max_size=49 or more.

coarsest level below a critic's view
$ train {photo} --set pyramid.min_size=8 -o {out}
the coarsest level is 8x10, but critics need 11 pixels a side; set pyramid.min_size=11 or more.
"""

INVOLUTION = {"type": "involution", "kernel": 4}


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


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("consingan", {"training.steps": "0", "nope": "1"}, "no recipe field nope"),
        ("singan", {"generator": {"type": "growing", "body": INVOLUTION}}, "body.kernel"),
        ("flow", {"critic": {"type": "patch", "decoders": {"window": "x"}}}, "'x'; x was given"),
        ("flow", {"phases": [{"objective": {"type": "x"}}]}, "objective.type: invalid"),
    ],
)
def test_a_wrong_value_beside_or_in_a_new_group_is_refused(
    name: str, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        with_overrides(preset(name), fields)


def test_differences_name_the_fields() -> None:
    recipe = preset("consingan")
    changed = with_overrides(recipe, {"training.steps": "5"})
    assert differences(recipe, changed) == ["training.steps: 2000, now 5"]
    assert differences(recipe, recipe) == []


def test_a_bad_assignment_is_one_line_and_leaves_no_trace(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    assert_refused(TRANSCRIPT, command, tmp_path, photo=photo_file)


def test_a_group_that_may_be_missing_is_taken_away_and_given() -> None:
    quick, consingan = PRESETS["quick"], PRESETS["consingan"]
    assert with_overrides(quick, {"finish": "null"}).finish is None
    assert with_overrides(quick, {"finish": None}).finish is None
    assert with_overrides(consingan, {"finish": "{}"}).finish == FinishSpec()
    with pytest.raises(RecipeError, match="generator: expected `object`, got `null`"):
        with_overrides(quick, {"generator": "null"})
