"""Fast-Stabilized: equal to its transcription, in images, losses and trainings.

The transcription in `reference` was written from the paper and its published code, apart from this
package. Everything runs in float64, where the two differ by rounding alone: by 1e-16 to 2e-14 as
measured. Every comparison is also made against a copy with a small error, which it must see.
"""

from copy import deepcopy
from typing import Any

import pytest
from torch import Tensor

from reference import fast_stabilized as fast
from reference import singan as paper
from reference.compare import (
    F64,
    SMALL_FAST_STABILIZED,
    TOLERANCE,
    Arguments,
    Differences,
    Flaw,
    Watched,
    difference,
    flat,
    flawed,
    losses_of_both,
    nothing,
    nudged,
    randomize,
    rates,
    tame,
    tame_and_grown,
    uniform,
)
from reference.translate import decoding_critic_of, fast_generator_of
from singleimage.generators.growing import Growing
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.latent import Latent, seed_for
from singleimage.nn.decoding import DecodingCritic, random_window
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.recipe import Recipe
from tiny import slow_but


def transcribed(g: Growing, latent: Latent) -> Tensor:
    amplitudes, sizes = g.amplitudes.tolist(), list(latent.sizes)
    return fast.generate(
        fast_generator_of(g), latent.tensors(), amplitudes, sizes, edge=g.spec.edge
    )


# Images ------------------------------------------------------------------------------------------


BOTH_SIZES = [Size(21, 24), Size(22, 47)]
DRAWN: list[tuple[dict[str, str], str, list[Size]]] = [
    ({}, "stretch", BOTH_SIZES),
    ({}, "zero", BOTH_SIZES),
    ({"dilation": "1"}, "stretch", BOTH_SIZES[1:]),
    ({"dilation": "5"}, "zero", BOTH_SIZES),
    ({"groups": "2", "reduction": "1"}, "stretch", BOTH_SIZES[:1]),
    ({"groups": "1", "kernel": "5", "dilation": "2"}, "zero", BOTH_SIZES[1:]),
    ({"groups": "1", "kernel": "5", "dilation": "2"}, "stretch", BOTH_SIZES[:1]),
]


@pytest.mark.parametrize(("settings", "edge", "sizes"), DRAWN, ids=str)
def test_images_are_those_of_the_transcription(
    settings: dict[str, str], edge: str, sizes: list[Size]
) -> None:
    fields = {f"generator.body.{name}": value for name, value in settings.items()}
    recipe = with_overrides(SMALL_FAST_STABILIZED, {"generator.edge": edge, **fields})
    g, example = tame_and_grown(recipe)
    for size in sizes:
        latent = g.draw(example.ladder.sizes_for(size), [5])
        found = g.decode(latent)
        assert size_of(found) == size
        assert 0.05 < found.std() < 0.95
        assert difference(found, transcribed(g, latent)) < TOLERANCE
        assert difference(found, transcribed(g, flawed(latent))) > TOLERANCE
        (trained,) = g.run_trained([(g.run_frozen(latent), latent)])
        if size == example.ladder.finest:
            assert difference(trained, found) < TOLERANCE


def other_dilation(g: fast.Generator) -> None:
    g.dilation += 1


def other_order(g: fast.Generator) -> None:
    weight, bias = g.bodies[2][1].expand
    g.bodies[2][1].expand = (weight.flip(0), bias.flip(0))


def other_norm(g: fast.Generator) -> None:
    g.bodies[2][1].norm[1][0] += 1e-3


@pytest.mark.parametrize("flaw", [other_dilation, other_order, other_norm])
def test_the_comparison_of_images_sees(flaw: Any) -> None:
    g, example = tame_and_grown(SMALL_FAST_STABILIZED)
    latent = g.draw(example.ladder.sizes, [5])
    wrong = fast_generator_of(g)
    flaw(wrong)
    image = fast.generate(wrong, latent.tensors(), g.amplitudes.tolist(), list(latent.sizes))
    assert difference(g.decode(latent), image) > TOLERANCE


def test_the_images_of_a_batch_do_not_see_each_other() -> None:
    g, example = tame_and_grown(SMALL_FAST_STABILIZED)
    together = g.decode(g.draw(example.ladder.sizes, [5, 6]))
    for i, seed in enumerate([5, 6]):
        alone = transcribed(g, g.draw(example.ladder.sizes, [seed]))
        assert difference(together[i : i + 1], alone) < TOLERANCE


# Losses and trainings ----------------------------------------------------------------------------


def boxes(size: Size, seed: int, count: int = 3) -> list[fast.Box]:
    """Of the critic's steps."""
    squares = [
        random_window(size, seed_for(seed, "decoding", repeat)) for repeat in range(1, count + 1)
    ]
    return [(box.top, box.left, box.height) for box in squares]


def test_losses_of_both_players_are_those_of_the_transcription() -> None:
    g, example = tame_and_grown(SMALL_FAST_STABILIZED)
    made = SMALL_FAST_STABILIZED.critic.build(level=4, channels=3, generator=None).to(F64)
    assert isinstance(made, DecodingCritic)
    randomize(made, 9)
    real, latent = example.images[-1], g.draw(example.ladder.sizes, [seed_for(11, "latent")])
    fake, rebuilt = transcribed(g, latent), transcribed(g, g.anchor())
    epsilon, (box,) = uniform(11, 1), boxes(size_of(real), 11, 1)

    def expected(rebuilt: Tensor) -> list[Tensor]:
        ours = decoding_critic_of(made)
        score = lambda x: fast.scores(ours, x)  # noqa: E731
        terms = paper.critic_loss(score, real, fake, epsilon)
        terms |= fast.decoding_terms(ours, real, box, beta=5.0)
        return [*terms.values(), *paper.generator_loss(score, fake, rebuilt, real).values()]

    losses = losses_of_both(SMALL_FAST_STABILIZED, g, made, example, 11)
    assert list(losses) == [
        *("critic_real", "critic_fake", "penalty", "decoded", "decoded_crop"),
        *("adversarial", "reconstruction"),
    ]
    for found, term in zip(losses.values(), expected(rebuilt), strict=True):
        assert difference(found, term) < TOLERANCE
    made.net.get_parameter("trunk.convs.0.weight").data.add_(1e-4)
    for found, term in zip(losses.values(), expected(nudged(rebuilt)), strict=True):
        assert difference(found, term) > TOLERANCE


class Tame(Watched):
    """With kernels that do not explode."""

    def _begin_level(self) -> None:
        super()._begin_level()
        if self.level == 0:
            tame(self.learner)
            self.opening = deepcopy(self.learner)


def generator_tensors(g: fast.Generator) -> list[Tensor]:
    layers = [tensor for body in g.bodies for layer in body for tensor in layer.tensors]
    return [*flat([g.head]), *layers, *flat([g.tail])]


def differences(
    recipe: Recipe = SMALL_FAST_STABILIZED, *, levels: int = 5, flaw: Flaw = nothing
) -> dict[str, float]:
    """Train with the package and, from the same first weights, with the transcription."""
    trainer, found = Tame(recipe), Differences()
    pixels = trainer.photo.pixels[None]
    options = {"stages": 5, "min_size": 13, "max_size": 24}
    pyramid = paper.consingan_pyramid(pixels, quantise=False, **options)
    sizes = paper.consingan_sizes(26, 30, **options)
    amplitudes, g, judge = [1.0], None, None
    for progress in trainer:
        level, step = progress.level, progress.step - 1
        if level == levels:
            break
        anchor = [pyramid[0], *trainer.learner.anchor().tensors()[1:]]
        if step == 0:
            if g is None or judge is None:
                g, judge = (
                    fast_generator_of(trainer.opening),
                    decoding_critic_of(trainer.opening_critic),
                )
            else:
                g = fast.grow(g)
                silent = fast.generate(g, anchor, [*amplitudes, 0.0], sizes[: level + 1])
                amplitudes.append(paper.noise_amplitude(pyramid[level], silent))
            state: dict[str, paper.AdamState] = {}  # optimizers start afresh at every level
        seed = seed_for(3, level, step)
        arguments: Arguments = {
            "g": g,
            "critic": judge,
            "real": pyramid[level],
            "noises": trainer.latent(seed, "latent").tensors(),
            "reconstruction_noises": anchor,
            "amplitudes": amplitudes,
            "sizes": sizes[: level + 1],
            "epsilons": [uniform(seed, repeat) for repeat in (1, 2, 3)],
            "boxes": boxes(Size(*sizes[level]), seed),
            "state": state,
            **rates(step, 2),
        }
        losses = fast.iteration(**(arguments | flaw(arguments)))
        found.note_losses(progress.losses, losses)
        found.note("amplitudes", trainer.learner.amplitudes[level], amplitudes[level])
        kind = f"weights after {step + 1}"
        assert isinstance(trainer.learner, Growing)
        ours = generator_tensors(fast_generator_of(trainer.learner))
        found.note_all(kind, ours, generator_tensors(g))
        found.note_all(kind, decoding_critic_of(trainer.critic).tensors, judge.tensors)
    return found.largest


@pytest.mark.parametrize(
    ("settings", "levels"), [({}, 5), ({"critic.decoders.crop": "false"}, 2)], ids=str
)
def test_training_equals_its_transcription(settings: dict[str, str], levels: int) -> None:
    """All levels from one start; three critic steps and one gradient, applied thrice, a step."""
    found = differences(with_overrides(SMALL_FAST_STABILIZED, settings), levels=levels)
    assert list(found) == ["losses", "amplitudes", *(f"weights after {n}" for n in (1, 2, 3))]
    assert max(found.values()) < TOLERANCE, found


def without(which: str) -> Flaw:
    """The decoder is there, and learns nothing."""

    def flaw(arguments: Arguments) -> Arguments:
        setattr(arguments["critic"], which, deepcopy(getattr(arguments["critic"], which)))
        for tensor in getattr(arguments["critic"], which).tensors:
            tensor.data += 1e-3
        return {}

    return flaw


FLAWS: dict[str, Flaw] = {
    "weight of the decoders": lambda a: {"beta": 5.001},
    "place of the square": lambda a: {"boxes": [(t, x + 1, s) for t, x, s in a["boxes"]]},
    "one square a step": lambda a: {"boxes": a["boxes"][:1] * 3},
    "full decoder": without("full"),
    "crop decoder": without("crop"),
    "generator steps": lambda a: {"generator_steps": 2},
    "weight of the reconstruction": lambda a: {"alpha": 10.001},
    "no decay": lambda a: {"lr_generator": 5e-4, "lr_critic": 5e-4},
    "photo": lambda a: {"real": nudged(a["real"])},
    "anchor": lambda a: {"reconstruction_noises": [nudged(a["reconstruction_noises"][0])]},
}


FINE_FLAWS: dict[str, Flaw] = {
    "rate of older blocks": lambda a: {"lr_scale": 0.1001},
    "depth of training": lambda a: {"train_depth": 2},
}


@pytest.mark.parametrize("flaw", slow_but(FLAWS, "place of the square", "crop decoder"))
def test_the_comparison_of_trainings_sees(flaw: str) -> None:
    assert differences(levels=1, flaw=FLAWS[flaw])["weights after 3"] > TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("flaw", slow_but(FINE_FLAWS, "depth of training"))
def test_the_comparison_of_trainings_sees_at_fine_levels(flaw: str) -> None:
    assert differences(levels=3, flaw=FINE_FLAWS[flaw])["weights after 3"] > TOLERANCE
