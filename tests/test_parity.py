"""Generators, losses and training steps equal those transcribed from the papers.

`transcription` was written from the papers and their published code, apart from this package.
Everything runs in float64, where the two differ by rounding alone: by 1e-16 to 2e-14 as measured.
Every comparison is also made against a copy with a small error, which it must see.
"""

from copy import deepcopy
from itertools import islice

import msgspec
import pytest
import torch
from torch import Tensor, nn

from reference import singan as paper
from reference.compare import (
    F64,
    SMALL_CONSINGAN,
    SMALL_SINGAN,
    TOLERANCE,
    Arguments,
    Differences,
    Flaw,
    Watched,
    conv_of,
    convs_of,
    copied,
    difference,
    flat,
    flawed,
    grown,
    noise,
    nothing,
    nudged,
    photo,
    randomize,
    rates,
    uniform,
)
from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.latent import Latent, gaussian, seed_for
from singleimage.nn.blocks import PatchNet
from singleimage.objectives.view import StepView
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.recipe import Recipe

# From the package's modules to the transcription's plain tensors


def consingan_of(g: Growing) -> paper.ConSinGAN:
    bodies = [convs_of(block) for block in g.blocks]
    return paper.ConSinGAN(convs_of(g.head)[0], bodies, conv_of(g.tail), g.spec.slope)


def critic_of(critic: nn.Module) -> list[paper.Conv]:
    assert isinstance(critic, PatchNet)
    return [*convs_of(critic.trunk), conv_of(critic.last)]


def level_of(net: nn.Module) -> paper.SinGANLevel:
    """A network of SinGAN; norms without running statistics get those of a fresh norm."""
    assert isinstance(net, PatchNet)
    blocks = []
    for convolved, norm in zip(convs_of(net.trunk), net.trunk.norms, strict=True):
        weight, bias, gamma, beta = convolved
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, variance = copied(norm.running_mean, norm.running_var)
        else:
            mean, variance = torch.zeros_like(bias), torch.ones_like(bias)
        blocks.append(paper.NormConv(weight, bias, gamma, beta, mean, variance))
    return paper.SinGANLevel(blocks, (conv_of(net.last)[0], conv_of(net.last)[1]))


# Untrained generators of both methods -----------------------------------------------------------


# Images


OTHER_SIZES = [Size(26, 30), Size(39, 30), Size(22, 47)]


def consingan_image(g: Growing, latent: Latent) -> Tensor:
    amplitudes, sizes = g.amplitudes.tolist(), list(latent.sizes)
    maps = list(latent.tensors())
    return paper.consingan_generate(consingan_of(g), maps, amplitudes, sizes, edge=g.spec.edge)


def singan_image(g: Cascade, latent: Latent, *, training_top: bool = False) -> Tensor:
    return paper.singan_generate(
        [level_of(net) for net in g.levels],
        list(latent.tensors()),
        g.amplitudes[: len(g.levels)].tolist(),
        list(latent.sizes),
        g.ladder.ratio,
        training_top=training_top,
        quantise=g.spec.quantize,
    )


@pytest.mark.parametrize("edge", ["stretch", "zero"])
@pytest.mark.parametrize("norm", ["none", "image"])
@pytest.mark.parametrize("size", OTHER_SIZES, ids=str)
def test_consingan_draws_what_its_transcription_draws(edge: str, norm: str, size: Size) -> None:
    recipe = with_overrides(SMALL_CONSINGAN, {"generator.edge": edge, "generator.norm": norm})
    g, example = grown(recipe)
    latent = g.draw(example.ladder.sizes_for(size), [5])
    found = g.decode(latent)
    assert size_of(found) == size
    assert difference(found, consingan_image(g, latent)) < TOLERANCE
    assert difference(found, consingan_image(g, flawed(latent))) > TOLERANCE


@pytest.mark.parametrize("edge", ["stretch", "zero"])
@pytest.mark.parametrize("norm", ["none", "image"])
@pytest.mark.parametrize("anchor", ["image", "noise"])
def test_consingan_reproduces_the_photo_as_its_transcription_does(
    edge: str, norm: str, anchor: str
) -> None:
    settings = {"generator.edge": edge, "generator.norm": norm, "generator.anchor": anchor}
    g, example = grown(with_overrides(SMALL_CONSINGAN, settings))
    latent = g.anchor()
    assert torch.equal(latent.maps[0], example.images[0]) == (anchor == "image")
    found = g.decode(latent)
    assert difference(found, consingan_image(g, latent)) < TOLERANCE
    assert difference(found, consingan_image(g, flawed(latent))) > TOLERANCE
    (trained,) = g.run_trained(
        [(g.run_frozen(latent), latent)]
    )  # training computes it in two parts
    assert difference(trained, found) < TOLERANCE


def test_consingan_draws_each_image_of_a_batch_as_if_alone() -> None:
    g, example = grown(with_overrides(SMALL_CONSINGAN, {"generator.norm": "image"}))
    together = g.decode(g.draw(example.ladder.sizes, [5, 6]))
    for i, seed in enumerate([5, 6]):
        alone = consingan_image(g, g.draw(example.ladder.sizes, [seed]))
        assert difference(together[i : i + 1], alone) < TOLERANCE


@pytest.mark.parametrize("size", OTHER_SIZES, ids=str)
def test_singan_draws_what_its_transcription_draws(size: Size) -> None:
    g, example = grown(SMALL_SINGAN)
    latent = g.draw(example.ladder.sizes_for(size), [5, 6])
    found = g.decode(latent)
    assert size_of(found) == size
    assert difference(found, singan_image(g, latent)) < TOLERANCE
    assert difference(found, singan_image(g, flawed(latent))) > TOLERANCE


def test_singan_reproduces_the_photo_as_its_transcription_does() -> None:
    g, _ = grown(SMALL_SINGAN)
    latent = g.anchor()
    found = g.decode(latent)
    assert latent.maps[0].any()
    assert not any(noise.any() for noise in latent.maps[1:])
    assert difference(found, singan_image(g, latent)) < TOLERANCE
    assert difference(found, singan_image(g, flawed(latent))) > TOLERANCE


@pytest.mark.parametrize("use", ["random", "anchor"])
def test_singan_in_training_sees_what_its_transcription_sees(use: str) -> None:
    """The newest level by the statistics of its image, those below by their running ones."""
    g, example = grown(SMALL_SINGAN)
    g.train()
    latent = g.draw(example.ladder.sizes, [5]) if use == "random" else g.anchor()
    expected = singan_image(g, latent, training_top=True)
    (found,) = g.run_trained([(g.run_frozen(latent), latent)])
    assert difference(found, expected) < TOLERANCE
    assert difference(found, singan_image(g, latent, training_top=False)) > TOLERANCE


def test_singan_with_8_bit_images_between_levels_draws_what_its_transcription_draws() -> None:
    """For noise that leaves no image within a thousandth under an 8-bit level.

    There plain truncation goes by chance of rounding; ours counts such a value as that level.
    """
    settings = {"pyramid.factor": "0.5", "pyramid.quantize": "true", "generator.quantize": "true"}
    g, example = grown(with_overrides(SMALL_SINGAN, settings))
    assert len(g.levels) == 3
    for net in g.levels:
        net.get_parameter("last.weight").data.mul_(8)  # images that leave [-1, 1] in part
    draws = (g.draw(example.ladder.sizes, [seed]) for seed in range(300))
    clear = [*islice((latent for latent in draws if clear_of_levels(g, latent)), 3)]
    assert len(clear) == 3
    exact = deepcopy(g)
    exact.spec = msgspec.structs.replace(g.spec, quantize=False)
    for latent in clear:
        assert 0.2 < (images_below(g, latent)[1].abs() > 1).double().mean() < 0.8
        found = g.decode(latent)
        assert difference(found, singan_image(g, latent)) < TOLERANCE
        assert difference(found, singan_image(g, flawed(latent, level=2))) > TOLERANCE
        assert difference(found, exact.decode(latent)) > 1e-4


def clear_of_levels(g: Cascade, latent: Latent) -> bool:
    """Whether no value of a coarser image is within a thousandth under an 8-bit level."""
    for image in images_below(g, latent):
        levels = image[image.abs() < 1].add(1).mul(127.5)
        if bool(((levels + 1.1e-3).frac() < 1.2e-3).any()):
            return False
    return True


def images_below(g: Cascade, latent: Latent) -> list[Tensor]:
    """What the levels under the newest draw."""
    images = []
    for level in range(1, len(g.levels)):
        coarse = deepcopy(g)
        del coarse.levels[level:]
        images.append(singan_image(coarse, Latent(latent.maps[:level], latent.sizes[:level])))
    return images


def test_noise_of_singan_is_gray_at_level_0_and_colored_above() -> None:
    """Drawn at the size of each level; the border around it is zero."""
    g, example = grown(SMALL_SINGAN)
    latent = g.draw(example.ladder.sizes, [5, 6])
    coarsest, *finer = latent.maps
    assert coarsest.shape == (2, 1, *example.ladder.sizes[0])
    for drawn, size in zip(finer, example.ladder.sizes[1:], strict=True):
        assert drawn.shape == (2, 3, *size)


@pytest.mark.parametrize(("edge", "border"), [("stretch", 6), ("zero", 0)])
def test_noise_of_consingan_is_colored_at_level_0_and_of_features_above(
    edge: str, border: int
) -> None:
    """With stretched features it covers the 6 pixels by which they exceed their level."""
    g, example = grown(with_overrides(SMALL_CONSINGAN, {"generator.edge": edge}))
    latent = g.draw(example.ladder.sizes, [5, 6])
    coarsest, *finer = latent.maps
    assert coarsest.shape == (2, 3, *example.ladder.sizes[0])
    for drawn, (height, width) in zip(finer, example.ladder.sizes[1:], strict=True):
        assert drawn.shape == (2, 4, height + border, width + border)


# Losses


def score_of(critic: nn.Module, recipe: Recipe) -> paper.Critic:
    if recipe.critic.norm == "none":
        convs = critic_of(critic)
        return lambda x: paper.patch_critic(convs, x, slope=recipe.critic.slope)
    level = level_of(critic)
    return lambda x: paper.singan_critic(level, x)


@pytest.mark.parametrize("recipe", [SMALL_CONSINGAN, SMALL_SINGAN], ids=lambda r: r.name)
def test_losses_of_both_players_equal_the_transcription(recipe: Recipe) -> None:
    g, example = grown(recipe)
    g.train()
    level = len(example.images) - 1
    critic = recipe.critic.build(level=level, channels=3, generator=None).to(F64)
    randomize(critic, seed=9)
    real, sizes = example.images[level], example.ladder.sizes
    latent, anchor, epsilon = g.draw(sizes, [seed_for(11, "latent")]), g.anchor(), uniform(11, 1)
    assert 0 < epsilon < 1
    if isinstance(g, Growing):
        fake, rebuilt = consingan_image(g, latent), consingan_image(g, anchor)
    else:
        fake, rebuilt = (singan_image(g, z, training_top=True) for z in (latent, anchor))

    def expected(score: paper.Critic, rebuilt: Tensor) -> list[Tensor]:
        critic_terms = paper.critic_loss(score, real, fake, epsilon)
        generator_terms = paper.generator_loss(score, fake, rebuilt, real)
        return [*critic_terms.values(), *generator_terms.values()]

    view = StepView(
        generator=g,
        critic=critic,
        example=[real] * (level + 1),
        level=level,
        sizes=sizes,
        seed=11,
        base_input=lambda seed: None,
        anchor_frozen=g.run_frozen(anchor),
    )
    objective = recipe.schedule.objective_at(level)
    losses = [*objective.terms("critic", view).values()]
    losses += [*objective.terms("generator", view).values()]
    for found, term in zip(losses, expected(score_of(critic, recipe), rebuilt), strict=True):
        assert difference(found, term) < TOLERANCE

    weight = critic.get_parameter("trunk.convs.0.weight")
    weight.data = nudged(weight)
    wrong = expected(score_of(critic, recipe), nudged(rebuilt))
    for found, term in zip(losses, wrong, strict=True):
        assert difference(found, term) > TOLERANCE


# Whole trainings --------------------------------------------------------------------------------


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
                g, critic = consingan_of(opening), critic_of(opening_critic)
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
        differences.note_all(kind, flat(critic_of(trainer.critic)), flat(critic))
    return differences.largest


@pytest.mark.parametrize(
    ("edge", "norm"), [("stretch", "none"), ("zero", "none"), ("zero", "image")]
)
def test_training_of_consingan_equals_its_transcription(edge: str, norm: str) -> None:
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


def test_a_long_training_of_consingan_equals_its_transcription() -> None:
    """Fifty steps at each of two levels, with losses about 20."""
    differences = consingan_differences(with_overrides(SMALL_CONSINGAN, LONG), levels=2)
    assert "weights after 50" in differences
    assert max(differences.values()) < 1e-8, differences


@pytest.mark.parametrize("width", ["8", "16"])
def test_training_of_consingan_in_float32_is_near_its_transcription_in_float64(width: str) -> None:
    """Ten steps, after which rounding has grown to 4e-7 where the transcription is in float32."""
    widths = {"generator.width": width, "critic.width.base": width, "training.steps": "10"}
    recipe = with_overrides(SMALL_CONSINGAN, LONG | widths)
    differences = consingan_differences(recipe, levels=1, dtype=torch.float32)
    assert differences["losses"] < 1e-5, differences
    plain = consingan_differences(recipe, levels=1, plain=torch.float32)
    assert differences["losses"] < 20 * plain["losses"]


def other_epsilon(arguments: Arguments) -> Arguments:
    """By enough to bend a leaky ReLU: between its bends, a critic without norm is linear."""
    first, *others = arguments["epsilons"]
    return {"epsilons": [first + 0.03, *others]}


def other_weight(arguments: Arguments) -> Arguments:
    """Each step begins with the same weight off by a thousandth."""
    critic = arguments["critic"]
    weight = critic[0][0] if isinstance(critic, list) else critic.blocks[0].weight
    weight.data = nudged(weight)
    return {}


FLAWS: dict[str, Flaw] = {
    "weight": other_weight,
    "rate of the generator": lambda a: {"lr_generator": 1.001 * a["lr_generator"]},
    "rate of the critic": lambda a: {"lr_critic": 1.001 * a["lr_critic"]},
    "no decay": lambda a: {"lr_generator": 5e-4, "lr_critic": 5e-4},
    "generator steps": lambda a: {"generator_steps": 2},
    "share of the real image": other_epsilon,
    "weight of the reconstruction": lambda a: {"alpha": 10.001},
    "photo": lambda a: {"real": nudged(a["real"])},
    "moments that are forgotten": lambda a: {"state": {}},
}
CONSINGAN_FLAWS: dict[str, Flaw] = {
    **FLAWS,
    "critic steps": lambda a: {"epsilons": a["epsilons"][:2]},
    "noise": lambda a: {"noises": [nudged(a["noises"][0]), *a["noises"][1:]]},
    "anchor": lambda a: {"reconstruction_noises": [a["noises"][0], *a["noises"][1:]]},
}
FINE_CONSINGAN_FLAWS: dict[str, Flaw] = {
    "rate of older blocks": lambda a: {"lr_scale": 0.1001},
    "depth of training": lambda a: {"train_depth": 2},
    "amplitude": lambda a: {"amplitudes": [*a["amplitudes"][:-1], 1.001 * a["amplitudes"][-1]]},
}


@pytest.mark.parametrize("flaw", CONSINGAN_FLAWS)
def test_the_comparison_of_trainings_of_consingan_sees(flaw: str) -> None:
    differences = consingan_differences(levels=1, flaw=CONSINGAN_FLAWS[flaw])
    assert differences["weights after 3"] > TOLERANCE


@pytest.mark.parametrize("flaw", FINE_CONSINGAN_FLAWS)
def test_the_comparison_of_trainings_of_consingan_sees_at_fine_levels(flaw: str) -> None:
    differences = consingan_differences(levels=3, flaw=FINE_CONSINGAN_FLAWS[flaw])
    assert differences["weights after 3"] > TOLERANCE


def singan_tensors(level: paper.SinGANLevel) -> list[Tensor]:
    blocks = [(block.weight, block.bias, block.gamma, block.beta) for block in level.blocks]
    return flat([*blocks, level.last])


def singan_differences(*, levels: int = 5, flaw: Flaw = nothing) -> dict[str, float]:
    """Train with the package and with the transcription.

    The transcription takes over fresh networks and, of finished levels, running statistics and the
    biases before norms: the rule of the first has a test of its own, the second are arbitrary.
    """
    trainer, differences = Watched(SMALL_SINGAN), Differences()
    pixels = trainer.photo.pixels[None]
    options = {"min_size": 13, "max_size": 30}
    pyramid = paper.singan_pyramid(pixels, quantise=False, **options)
    sizes = paper.singan_sizes(26, 30, **options)
    _, r = paper.singan_ratio(26, 30, **options)
    amplitudes = [1.0]
    players: tuple[paper.SinGANLevel, ...] = ()
    for progress in trainer:
        level, step = progress.level, progress.step - 1
        if level == levels:
            break
        learner = trainer.learner
        assert isinstance(learner, Cascade)
        anchor = learner.anchor().maps[0]
        if step == 0:
            before = players
            networks = [level_of(net) for net in trainer.opening.levels]
            players = networks[-1], level_of(trainer.opening_critic)
            if level % 2 == 1:  # the width stays: a warm start of both networks
                for now, then in zip(players, before, strict=True):
                    differences.note_all("warm starts", singan_tensors(now), singan_tensors(then))
            previous = torch.zeros_like(pyramid[0])
            if level > 0:
                silence = [torch.zeros(1, 1, *size, dtype=F64) for size in sizes[1:level]]
                previous = paper.singan_previous(
                    networks[:-1],
                    [anchor, *silence],
                    amplitudes,
                    sizes[: level + 1],
                    r,
                    quantise=False,
                )
                amplitudes.append(paper.noise_amplitude(pyramid[level], previous))
            state: dict[str, paper.AdamState] = {}  # optimizers start afresh at every level
        seed = seed_for(3, level, step)
        uses: list[tuple[int | str, ...]] = [("latent",), ("coarser", 1), ("coarser", 2)]
        latents = [trainer.latent(seed, *use).tensors() for use in uses]
        arguments = {
            "levels": networks,
            "critic": players[1],
            "real": pyramid[level],
            "noise": latents[0][-1],
            "prefix_noises": [list(maps[:-1]) for maps in latents],
            "reconstruction_noise": anchor if level == 0 else torch.zeros_like(previous),
            "reconstruction_previous": previous,
            "amplitudes": amplitudes,
            "sizes": sizes[: level + 1],
            "r": r,
            "epsilons": [uniform(seed, repeat) for repeat in (1, 2, 3)],
            "state": state,
            "quantise": False,
            **rates(step),
        }
        losses = paper.singan_iteration(**(arguments | flaw(arguments)))
        differences.note_losses(progress.losses, losses)
        differences.note("amplitudes", learner.amplitudes[level], amplitudes[level])
        kind = f"weights after {step + 1}"
        ours = [level_of(learner.levels[-1]), level_of(trainer.critic)]
        for found, expected in zip(ours, players, strict=True):
            differences.note_all(kind, singan_tensors(found), singan_tensors(expected))
        # What the level draws now, by the statistics of the image: as in the next step.
        moved = deepcopy(learner)
        drawn = Latent(latents[0], learner.ladder.sizes)
        (image,) = moved.train().run_trained([(moved.run_frozen(drawn), drawn)])
        expected_image = paper.singan_generate(
            networks,
            list(latents[0]),
            amplitudes,
            sizes[: level + 1],
            r,
            training_top=True,
            quantise=False,
        )
        differences.note("images in training", image, expected_image)
    return differences.largest


def test_training_of_singan_equals_its_transcription() -> None:
    """All levels; three critic steps, each on fresh coarser images, and three generator steps.

    The first generator step here reuses the image of the last critic step, with its graph; the
    transcription computes it again.
    """
    differences = singan_differences()
    kinds = ["losses", "amplitudes", *(f"weights after {n}" for n in (1, 2, 3))]
    assert {*differences} == {*kinds, "images in training", "warm starts"}
    assert max(differences.values()) < TOLERANCE, differences


SINGAN_FLAWS: dict[str, Flaw] = {
    **FLAWS,
    "noise": lambda a: {"noise": nudged(a["noise"])},
    "anchor": lambda a: {"reconstruction_noise": nudged(a["reconstruction_noise"])},
}
FINE_SINGAN_FLAWS: dict[str, Flaw] = {
    "coarser noise drawn once": lambda a: {"prefix_noises": [a["prefix_noises"][0]] * 3},
    "anchor": lambda a: {"reconstruction_previous": nudged(a["reconstruction_previous"])},
    "amplitude": lambda a: {"amplitudes": [*a["amplitudes"][:-1], 1.001 * a["amplitudes"][-1]]},
    "ratio of levels": lambda a: {"r": 1.0001 * a["r"]},
}


@pytest.mark.parametrize("flaw", SINGAN_FLAWS)
def test_the_comparison_of_trainings_of_singan_sees(flaw: str) -> None:
    differences = singan_differences(levels=1, flaw=SINGAN_FLAWS[flaw])
    assert differences["weights after 3"] > TOLERANCE


@pytest.mark.parametrize("flaw", FINE_SINGAN_FLAWS)
def test_the_comparison_of_trainings_of_singan_sees_at_fine_levels(flaw: str) -> None:
    differences = singan_differences(levels=2, flaw=FINE_SINGAN_FLAWS[flaw])
    assert differences["weights after 3"] > TOLERANCE


# What stays between steps and levels -------------------------------------------------------------


SHORT = {"training.steps": "2", "pyramid.max_size": "22"}


def anchors(recipe: Recipe) -> list[tuple[Tensor, ...]]:
    """The anchor noise after each step of a short training."""
    trainer = Watched(with_overrides(recipe, SHORT))
    return [copied(*trainer.learner.anchor().maps) for _ in trainer]


@pytest.mark.parametrize("anchor", ["redrawn", "fixed"])
def test_anchor_of_singan_is_noise_at_level_0_and_nothing_above(anchor: str) -> None:
    """redrawn: at each step of level 0, and the last one stays (the code); fixed: once (paper)."""
    found = anchors(with_overrides(SMALL_SINGAN, {"generator.anchor": anchor}))
    coarsest = [maps[0] for maps in found]
    for step in range(2):
        source = seed_for(3, 0, step) if anchor == "redrawn" else seed_for(3, 0, "level")
        expected = gaussian(coarsest[step].shape[1:], seed_for(source, "anchor"), like=noise(1))
        assert torch.equal(coarsest[step], expected[None])
    assert all(torch.equal(later, coarsest[1]) for later in coarsest[2:])
    assert not any(part.any() for maps in found for part in maps[1:])


@pytest.mark.parametrize("anchor", ["image", "noise"])
def test_anchor_of_consingan_is_fixed_noise_above_level_0(anchor: str) -> None:
    """At level 0 it is the photo of that size, or, for animation, fixed noise."""
    found = anchors(with_overrides(SMALL_CONSINGAN, {"generator.anchor": anchor}))
    last = found[-1]
    assert len(last) == 5
    for maps in found:
        assert all(torch.equal(a, b) for a, b in zip(maps, last, strict=False))
    for level, part in enumerate(last):
        if level > 0 or anchor == "noise":
            seed = seed_for(seed_for(3, level, "level"), "anchor", level)
            assert torch.equal(part, gaussian(part.shape[1:], seed, like=part)[None])
    pixels = photo().pixels[None]
    coarsest = paper.consingan_pyramid(pixels, stages=5, min_size=13, max_size=22, quantise=False)[
        0
    ]
    assert (difference(last[0], coarsest) < TOLERANCE) == (anchor == "image")


def apart(a: paper.NormConv, b: paper.NormConv) -> float:
    """The difference of two norms' running statistics."""
    means = difference(a.running_mean, b.running_mean)
    return max(means, difference(a.running_var, b.running_var))


def statistics_differences(order: str) -> list[float]:
    """How far running statistics are, at each level, from those of passes in that order.

    1, 2, 3: the images of the three critic steps; r: the reconstruction.
    """
    still = {"training.lr_generator": "1e-30", "training.steps": "1"}  # weights that do not move
    trainer = Watched(with_overrides(SMALL_SINGAN, still))
    found = []
    for progress in trainer:
        g = trainer.learner
        assert isinstance(g, Cascade)
        seed, level = seed_for(3, progress.level, 0), progress.level
        uses: list[tuple[int | str, ...]] = [("latent",), ("coarser", 1), ("coarser", 2)]
        draws = [trainer.latent(seed, *use).tensors() for use in uses]
        own = draws[0][-1]  # of the newest level, the same in all steps
        passes = {str(i): (*draw[:-1], own) for i, draw in enumerate(draws, start=1)}
        passes["r"] = g.anchor().tensors()
        transcribed = level_of(trainer.opening.levels[-1])
        for maps in (passes[name] for name in order):
            previous = g.run_frozen(Latent(maps, g.ladder.sizes))
            if previous is None:
                previous = torch.zeros(1, 3, *g.ladder.finest, dtype=F64)
            amplitude = g.amplitudes[level].item()
            paper.singan_refine(
                transcribed, previous, maps[-1], amplitude, training=True, momentum=0.1
            )
        pairs = zip(level_of(g.levels[-1]).blocks, transcribed.blocks, strict=True)
        found.append(max(apart(ours, theirs) for ours, theirs in pairs))
    assert len(found) == 5
    return found


def test_running_statistics_of_singan_follow_the_passes_of_the_published_code() -> None:
    """Three images in the critic's turn, three reconstructions in the generator's.

    The images that the second and third generator step make again do not count.
    """
    assert max(statistics_differences("123rrr")) < TOLERANCE
    assert min(statistics_differences("123rr3r3")) > TOLERANCE


def test_finished_levels_of_singan_never_change() -> None:
    """Neither by learning nor in their running statistics."""
    trainer = Watched(with_overrides(SMALL_SINGAN, SHORT))
    finished: list[dict[str, Tensor]] = []
    for progress in trainer:
        assert isinstance(trainer.learner, Cascade)
        for net, before in zip(trainer.learner.levels, finished, strict=False):
            assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        if progress.level_done:
            state = trainer.learner.levels[-1].state_dict()
            finished.append({name: value.clone() for name, value in state.items()})
    assert len(finished) == trainer.levels == 3
