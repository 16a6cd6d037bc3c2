"""The presets have the sizes, the numbers of parameters and the settings that were published."""

import re
from itertools import pairwise

import pytest
import torch
from torch import nn

from reference.compare import photo
from singleimage.errors import RecipeError
from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.generators.patch_vae import PatchVAE
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent
from singleimage.recipes.overrides import fields_of, with_overrides
from singleimage.recipes.presets import (
    CONSINGAN,
    FAST_STABILIZED,
    HP_VAE_GAN,
    META,
    PRESETS,
    SINGAN,
    fast_ablations,
    preset,
)
from singleimage.recipes.recipe import Recipe
from singleimage.training.planning import count_parameters
from singleimage.training.trainer import Trainer
from tiny import tiny

SINGAN_WIDTHS = [32] * 4 + [64] * 4 + [128] * 2
SINGAN_GENERATOR = {32: 29_763, 64: 114_819, 128: 450_819}
SINGAN_CRITIC = {32: 29_185, 64: 113_665, 128: 448_513}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def grown(recipe: Recipe) -> Cascade | Growing:
    """The generator of a 188x250 photo with all its levels, and no memory behind its weights."""
    ladder = recipe.pyramid.plan(Size(188, 250))
    with torch.device("meta"):
        generator = recipe.generator.build(channels=3, ladder=ladder)
        for _ in ladder.sizes:
            generator.extend(None)
    return generator


def critics(recipe: Recipe) -> list[nn.Module]:
    with torch.device("meta"):
        return [
            recipe.critic.build(level=level, channels=3, generator=None)
            for level in range(len(recipe.pyramid.plan(Size(188, 250)).sizes))
        ]


def test_singan_has_the_published_number_of_parameters() -> None:
    generator = grown(SINGAN)
    assert isinstance(generator, Cascade)
    found = [count(level) for level in generator.levels]
    assert found == [SINGAN_GENERATOR[width] for width in SINGAN_WIDTHS]
    assert sum(found) == count(generator) == 1_479_966
    assert sum(found[:9]) == 1_029_147

    found = [count(critic) for critic in critics(SINGAN)]
    assert found == [SINGAN_CRITIC[width] for width in SINGAN_WIDTHS]
    assert sum(found) == 1_468_426


def test_consingan_has_the_published_number_of_parameters() -> None:
    generator = grown(CONSINGAN)
    assert isinstance(generator, Growing)
    assert count(generator.head) == 1_792
    assert [count(block) for block in generator.blocks] == [110_784] * 6
    assert count(generator.tail) == 1_731
    assert count(generator) == 668_227
    assert [count(critic) for critic in critics(CONSINGAN)] == [113_153] * 6


def test_generators_draw_the_size_of_the_photo() -> None:
    for recipe in (SINGAN, CONSINGAN):
        generator = grown(recipe)
        maps = [torch.empty_like(m) for m in generator.anchor().tensors()]
        latent = Latent(tuple(maps), generator.ladder.sizes)
        (image,) = generator.run_trained([(generator.run_frozen(latent), latent)])
        assert image.shape == (1, 3, 188, 250)


def test_hp_vae_gan_has_the_published_numbers_of_parameters() -> None:
    ladder = HP_VAE_GAN.pyramid.plan(Size(188, 250))
    assert count_parameters(HP_VAE_GAN, ladder) == (2_184_670, 187_009)
    assert count_parameters(HP_VAE_GAN, ladder.truncated(3))[1] == 0  # no critic there
    with torch.device("meta"):
        g = HP_VAE_GAN.generator.build(channels=3, ladder=ladder)
        for _ in range(3):
            g.extend(None)
    assert isinstance(g, PatchVAE)
    assert [count(g.encoder), *map(count, g.levels)] == [223_360, 260_931, 188_931, 188_931]


def test_sizes_of_meta_are_those_of_the_published_code() -> None:
    for min_width, expected in (
        (25, "19x26 27x37 40x54 60x80 87x117 128x171 188x250"),
        (28, "21x28 30x41 44x59 63x84 90x121 130x174 188x250"),
    ):
        recipe = with_overrides(META, {"pyramid.min_width": str(min_width)})
        sizes = recipe.pyramid.plan(Size(188, 250)).sizes
        assert " ".join(f"{height}x{width}" for height, width in sizes) == expected


# Fast-Stabilized and its ablations ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo_size", "sizes"),
    [
        (Size(188, 250), ["25x34", "32x42", "42x56", "63x84", "126x167", "188x250"]),
        (Size(480, 640), ["25x34", "32x43", "44x59", "69x91", "145x194", "225x300"]),
    ],
    ids=str,
)
def test_fast_stabilized_has_the_published_sizes_and_counts(
    photo_size: Size, sizes: list[str]
) -> None:
    ladder = FAST_STABILIZED.pyramid.plan(photo_size)
    assert [str(size) for size in ladder.sizes] == sizes
    assert count_parameters(FAST_STABILIZED, ladder) == (181_219, 817_479)


def test_fast_stabilized_has_the_published_settings() -> None:
    found = fields_of(preset("fast-stabilized"))
    assert {
        "training.steps": 500,
        "training.lr_generator": 5e-4,
        "generator.body.dilation": 3,
        "generator.body.reduction": 8,
        "generator.slope": 0.05,
        "generator.train_depth": 3,
        "critic.width.base": 128,
        "phases.0.objective.decoding_weight": 5.0,
        "phases.0.objective.reconstruction_weight": 10.0,
        "phases.0.objective.penalty_weight": 0.1,
        "phases.0.objective.critic_steps": 3,
    }.items() <= found.items()
    factors = [FAST_STABILIZED.training.rate_factor(step, 500) for step in (399, 400)]
    assert factors == [1.0, 0.1]


ROWS = {
    **{f"dilation-{d}": (181_219, 817_479) for d in range(1, 6)},
    "no-decoders": (181_219, 447_489),
    "decoders-only": (668_227, 817_479),
    "neither": (668_227, 447_489),
}


def test_the_rows_of_the_ablations() -> None:
    for row, counts in ROWS.items():
        recipe = fast_ablations()[row]
        assert recipe.name == f"fast-stabilized-{row}"
        assert count_parameters(recipe, recipe.pyramid.plan(Size(188, 250))) == counts, row
        if row.startswith("dilation"):
            assert fields_of(recipe)["generator.body.dilation"] == int(row[-1])
        assert Recipe.from_json(recipe.to_json()) == recipe
    assert len({recipe.digest() for recipe in fast_ablations().values()}) == len(ROWS)


def test_ablations_are_the_overrides_of_the_page() -> None:
    rows = fast_ablations()
    convolution = {"generator.body": '{"type": "convolution"}'}
    bare = {"critic.decoders.full": "false", "critic.decoders.crop": "false"}
    for row, overrides in (
        ("dilation-5", {"generator.body.dilation": "5"}),
        ("no-decoders", bare),
        ("decoders-only", convolution),
        ("neither", convolution | bare),
    ):
        name = {"name": f"fast-stabilized-{row}"}
        assert with_overrides(FAST_STABILIZED, overrides | name) == rows[row]
    dilations = [fields_of(rows[f"dilation-{d}"])["generator.body.dilation"] for d in range(1, 6)]
    assert all(a < b for a, b in pairwise(dilations))


@pytest.mark.parametrize(
    "row", ["dilation-1", "dilation-5", "no-decoders", "decoders-only", "neither"]
)
def test_every_ablation_trains(row: str) -> None:
    """Those between are as their neighbors."""
    fields = {"training.steps": "1", "pyramid.levels": "3", "pyramid.max_size": "30"}
    recipe = tiny(fast_ablations()[row], **fields, **{"pyramid.min_size": "13"})
    trainer = Trainer(photo(), recipe, seed=0, device="cpu", precision="fp32")
    names = [*dict.fromkeys(name for progress in trainer for name in progress.losses)]
    assert ("decoded" in names) == (row not in ("no-decoders", "neither"))
    assert next(trainer.model().sample([0])).size == trainer.model().size


def test_an_unknown_preset_names_the_known() -> None:
    known = ", ".join(sorted(PRESETS))
    with pytest.raises(RecipeError, match=f"no preset 'gan'; there are {known}"):
        preset("gan")


def test_every_preset_says_what_to_expect_with_a_time_or_that_it_was_never_trained() -> None:
    for name, recipe in PRESETS.items():
        assert re.search(r"\d ?(s|min|h)\b.* 20\d\d-\d\d|[Nn]ever trained", recipe.expects), name
