"""ConSinGAN: equal to its transcription, in images, losses and trainings.

The transcription in `reference` was written from the paper and its published code, apart from this
package. Everything runs in float64, where the two differ by rounding alone: by 1e-16 to 2e-14 as
measured. Every comparison is also made against a copy with a small error, which it must see.
"""

import pytest
import torch
from torch import Tensor

from reference import singan as paper
from reference.compare import (
    F64,
    FLAWS,
    SMALL_CONSINGAN,
    TOLERANCE,
    Differences,
    Flaw,
    Watched,
    difference,
    flat,
    flawed,
    grown,
    losses_of_both,
    nothing,
    nudged,
    randomize,
    rates,
    uniform,
)
from reference.translate import consingan_of, patch_critic_of
from singleimage.generators.growing import Growing
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.latent import Latent, seed_for
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.recipe import Recipe
from tiny import slow_but

# Images ------------------------------------------------------------------------------------------


OTHER_SIZES = [Size(26, 30), Size(39, 30), Size(22, 47)]
EDGES_AND_NORMS = pytest.mark.parametrize(
    ("edge", "norm"),
    [("stretch", "none"), ("stretch", "image"), ("zero", "none"), ("zero", "image")],
)


def consingan_image(g: Growing, latent: Latent) -> Tensor:
    amplitudes, sizes = g.amplitudes.tolist(), list(latent.sizes)
    maps = list(latent.tensors())
    return paper.consingan_generate(consingan_of(g), maps, amplitudes, sizes, edge=g.spec.edge)


@EDGES_AND_NORMS
def test_images_are_those_of_the_transcription(edge: str, norm: str) -> None:
    """Of the photo's size and of others."""
    settings = {"generator.edge": edge, "generator.norm": norm}
    g, example = grown(with_overrides(SMALL_CONSINGAN, settings))
    for size in OTHER_SIZES:
        latent = g.draw(example.ladder.sizes_for(size), [5])
        found = g.decode(latent)
        assert size_of(found) == size
        assert difference(found, consingan_image(g, latent)) < TOLERANCE
        assert difference(found, consingan_image(g, flawed(latent))) > TOLERANCE


@EDGES_AND_NORMS
def test_reconstructions_are_those_of_the_transcription(edge: str, norm: str) -> None:
    """From the photo at level 0, and from noise; and in training, which makes two parts of it."""
    for anchor in ("image", "noise"):
        settings = {"generator.edge": edge, "generator.norm": norm, "generator.anchor": anchor}
        g, example = grown(with_overrides(SMALL_CONSINGAN, settings))
        latent = g.anchor()
        assert torch.equal(latent.maps[0], example.images[0]) == (anchor == "image")
        found = g.decode(latent)
        assert difference(found, consingan_image(g, latent)) < TOLERANCE
        assert difference(found, consingan_image(g, flawed(latent))) > TOLERANCE
        (trained,) = g.run_trained([(g.run_frozen(latent), latent)])
        assert difference(trained, found) < TOLERANCE


def test_each_image_of_a_batch_is_drawn_as_if_alone() -> None:
    g, example = grown(with_overrides(SMALL_CONSINGAN, {"generator.norm": "image"}))
    together = g.decode(g.draw(example.ladder.sizes, [5, 6]))
    for i, seed in enumerate([5, 6]):
        alone = consingan_image(g, g.draw(example.ladder.sizes, [seed]))
        assert difference(together[i : i + 1], alone) < TOLERANCE


# Losses and trainings ----------------------------------------------------------------------------


def test_losses_of_both_players_are_those_of_the_transcription() -> None:
    g, example = grown(SMALL_CONSINGAN)
    critic = SMALL_CONSINGAN.critic.build(level=4, channels=3, generator=None).to(F64)
    randomize(critic, seed=9)
    latent, epsilon = g.draw(example.ladder.sizes, [seed_for(11, "latent")]), uniform(11, 1)
    assert 0 < epsilon < 1
    real, fake = example.images[-1], consingan_image(g, latent)

    def expected(rebuilt: Tensor) -> list[Tensor]:
        convs = patch_critic_of(critic)
        score = lambda x: paper.patch_critic(convs, x, slope=0.05)  # noqa: E731
        terms = paper.critic_loss(score, real, fake, epsilon)
        return [*terms.values(), *paper.generator_loss(score, fake, rebuilt, real).values()]

    losses = losses_of_both(SMALL_CONSINGAN, g, critic, example, 11).values()
    rebuilt = consingan_image(g, g.anchor())
    for found, term in zip(losses, expected(rebuilt), strict=True):
        assert difference(found, term) < TOLERANCE
    weight = critic.get_parameter("trunk.convs.0.weight")
    weight.data = nudged(weight)
    for found, term in zip(losses, expected(nudged(rebuilt)), strict=True):
        assert difference(found, term) > TOLERANCE


def consingan_tensors(g: paper.ConSinGAN) -> list[Tensor]:
    return flat([g.head, *(conv for body in g.bodies for conv in body), g.tail])


def consingan_differences(
    recipe: Recipe = SMALL_CONSINGAN,
    *,
    levels: int = 5,
    flaw: Flaw = nothing,
    dtype: torch.dtype = F64,
    plain: torch.dtype = F64,
) -> dict[str, float]:
    """Train with the package and, from the same first weights, with the transcription.

    Args:
        dtype, plain: of the package and of the transcription.
    """
    edge = recipe.generator.edge
    trainer, differences = Watched(recipe, dtype), Differences()
    pyramid = paper.consingan_pyramid(
        trainer.photo.pixels[None].to(plain), stages=5, min_size=13, max_size=30, quantise=False
    )
    sizes = paper.consingan_sizes(26, 30, stages=5, min_size=13, max_size=30)
    amplitudes, g, critic = [1.0], None, None
    for progress in trainer:
        level, step = progress.level, progress.step - 1
        if level == levels:
            break
        anchor = [pyramid[0], *(part.to(plain) for part in trainer.learner.anchor().tensors()[1:])]
        if step == 0:
            if g is None or critic is None:
                opening, opening_critic = (
                    trainer.opening.to(plain),
                    trainer.opening_critic.to(plain),
                )
                g, critic = consingan_of(opening), patch_critic_of(opening_critic)
            else:
                g = paper.consingan_grow(g)
                silent = paper.consingan_generate(
                    g, anchor, [*amplitudes, 0.0], sizes[: level + 1], edge=edge
                )
                amplitudes.append(paper.noise_amplitude(pyramid[level], silent))
            state: dict[str, paper.AdamState] = {}  # optimizers start afresh at every level
        seed = seed_for(3, level, step)
        arguments = {
            "g": g,
            "critic": critic,
            "real": pyramid[level],
            "noises": [part.to(plain) for part in trainer.latent(seed, "latent").tensors()],
            "reconstruction_noises": anchor,
            "amplitudes": amplitudes,
            "sizes": sizes[: level + 1],
            "epsilons": [uniform(seed, repeat) for repeat in (1, 2, 3)],
            "state": state,
            "edge": edge,
            **rates(step, recipe.training.decay_at),
        }
        losses = paper.consingan_iteration(**(arguments | flaw(arguments)))
        differences.note_losses(progress.losses, losses)
        differences.note("anchors", trainer.learner.anchor().maps[0], pyramid[0])
        differences.note("amplitudes", trainer.learner.amplitudes[level], amplitudes[level])
        kind = f"weights after {step + 1}"
        ours = consingan_tensors(consingan_of(trainer.learner))
        differences.note_all(kind, ours, consingan_tensors(g))
        differences.note_all(kind, flat(patch_critic_of(trainer.critic)), flat(critic))
    return differences.largest


@pytest.mark.parametrize(
    ("edge", "norm"),
    [
        ("stretch", "none"),
        ("zero", "image"),
        pytest.param("zero", "none", marks=pytest.mark.slow),
    ],
)
def test_training_equals_its_transcription(edge: str, norm: str) -> None:
    """All levels from one start; three critic steps and one gradient, applied thrice, a step."""
    settings = {"generator.edge": edge, "generator.norm": norm}
    recipe = with_overrides(SMALL_CONSINGAN, settings)
    differences = consingan_differences(recipe)
    kinds = ["losses", "anchors", "amplitudes", *(f"weights after {n}" for n in (1, 2, 3))]
    assert list(differences) == kinds
    assert max(differences.values()) < TOLERANCE, differences


LONG = {
    "generator.width": "8",
    "critic.width.base": "8",
    "training.steps": "50",
    "training.decay_at": "40",
}


@pytest.mark.slow
def test_a_long_training_equals_its_transcription() -> None:
    """Fifty steps at each of two levels, with losses about 20."""
    differences = consingan_differences(with_overrides(SMALL_CONSINGAN, LONG), levels=2)
    assert "weights after 50" in differences
    assert max(differences.values()) < 1e-8, differences


@pytest.mark.parametrize("width", slow_but(["8", "16"], "8"))
def test_training_in_float32_is_near_its_transcription_in_float64(width: str) -> None:
    """Ten steps, after which rounding has grown to 4e-7 where the transcription is in float32."""
    widths = {"generator.width": width, "critic.width.base": width, "training.steps": "10"}
    recipe = with_overrides(SMALL_CONSINGAN, LONG | widths)
    differences = consingan_differences(recipe, levels=1, dtype=torch.float32)
    assert differences["losses"] < 1e-5, differences
    plain = consingan_differences(recipe, levels=1, plain=torch.float32)
    assert differences["losses"] < 20 * plain["losses"]


FLAWS_AT_LEVEL_0: dict[str, Flaw] = {
    **FLAWS,
    "critic steps": lambda a: {"epsilons": a["epsilons"][:2]},
    "noise": lambda a: {"noises": [nudged(a["noises"][0]), *a["noises"][1:]]},
    "anchor": lambda a: {"reconstruction_noises": [a["noises"][0], *a["noises"][1:]]},
}


FINE_FLAWS: dict[str, Flaw] = {
    "rate of older blocks": lambda a: {"lr_scale": 0.1001},
    "depth of training": lambda a: {"train_depth": 2},
    "amplitude": lambda a: {"amplitudes": [*a["amplitudes"][:-1], 1.001 * a["amplitudes"][-1]]},
}


@pytest.mark.parametrize("flaw", slow_but(FLAWS_AT_LEVEL_0, "rate of the critic", "noise"))
def test_the_comparison_of_trainings_sees(flaw: str) -> None:
    differences = consingan_differences(levels=1, flaw=FLAWS_AT_LEVEL_0[flaw])
    assert differences["weights after 3"] > TOLERANCE


@pytest.mark.parametrize("flaw", slow_but(FINE_FLAWS, "depth of training"))
def test_the_comparison_of_trainings_sees_at_fine_levels(flaw: str) -> None:
    differences = consingan_differences(levels=3, flaw=FINE_FLAWS[flaw])
    assert differences["weights after 3"] > TOLERANCE
