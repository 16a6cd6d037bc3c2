"""Recipes: what their phases may be, and recipes of earlier versions."""

import json

import msgspec
import pytest

from reference.compare import photo
from singleimage import Trainer, with_overrides
from singleimage.errors import RecipeError
from singleimage.recipes.base_input import AugmentedInput
from singleimage.recipes.presets import CONSINGAN, HP_VAE_GAN, SINGAN, preset
from singleimage.recipes.recipe import Recipe
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
    digests = {name: preset(name).digest() for name in ("consingan", "singan", "preview")}
    assert digests == {
        "consingan": "d3304974383d46ad",
        "singan": "15b62017d240a4ae",
        "preview": "6b3ac0712301865a",
    }
    larger = with_overrides(SINGAN, {"training.batch": "2"})
    assert larger.digest() != SINGAN.digest()
