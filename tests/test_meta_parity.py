"""Meta Internal Learning: equal to its transcription, in sizes, images, losses and trainings.

`meta_transcription` was written from the paper and its published code, apart from this package.
Everything runs in float64, where the two differ by rounding alone; every comparison is also made
with one rule broken, which it must see.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import meta_transcription as paper
from singleimage.generators.cascade import Cascade
from singleimage.generators.hyper import HyperCascade, HyperSpec
from singleimage.hypermodel import HyperModel
from singleimage.image import Channels, Photo
from singleimage.latent import Latent, gaussian, seed_for
from singleimage.methods import META, META_SINGLE
from singleimage.nn.blocks import PatchNet
from singleimage.nn.embedding import Embedding, EmbeddingSpec, init_embedding
from singleimage.nn.hyper import LINEAR, TANH, Form, GivenNets, HyperCritic, HyperCriticSpec
from singleimage.nn.hyper import WeightHead
from singleimage.nn.spectral import SpectralCritic
from singleimage.objectives.adversarial import AdversarialSpec
from singleimage.objectives.base import StepView
from singleimage.pyramid import Pyramid
from singleimage.recipe import Recipe, with_overrides
from singleimage.resample import Size
from singleimage.trainer import Trainer
from test_metrics import torchvision_models
from test_parity import F64, TOLERANCE, difference, noise, uniform

VIEW = 64
AMPLITUDES = [1.0, 0.625, 0.375]
ACCUMULATE = {"phases.0.objective.accumulate": "true"}


def small(recipe: Recipe, steps: int) -> Recipe:
    """Three levels, 23x28 to 38x46, and networks of four channels."""
    changes = {
        "pyramid.width": "46",
        "pyramid.min_width": "28",
        "generator.width": "4",
        "critic.width": "4",
        "training.steps": str(steps),
        "training.lr_generator": "0.002",
        "training.lr_critic": "0.002",
    }
    embeddings = ["generator"] + ["critic"] * isinstance(recipe.critic, HyperCriticSpec)
    for part in embeddings:
        changes[f"{part}.embedding.view"] = str(VIEW)
        changes[f"{part}.embedding.blocks"] = "[1, 1, 1, 1]"
        changes[f"{part}.embedding.width"] = "4"
    return with_overrides(recipe, changes)


SMALL = with_overrides(small(META, 4), {"training.batch": "2"})
SINGLE = small(META_SINGLE, 3)


def picture(index: int) -> Photo:
    """Sines; the photos of an index over 0 are a little larger."""
    y, x = torch.meshgrid(torch.arange(38.0 + index), torch.arange(46.0 + index), indexing="ij")
    angles = [x / (3 + index) + c + y / (5 - index) for c in range(3)]
    return Photo(torch.stack(angles).sin() * (0.9 - 0.2 * index), Channels(mode="RGB"))


PICTURES = [picture(index) for index in range(3)]


def enlarge(module: nn.Module, seed: int) -> None:
    """Weights so large that every layer matters, and statistics unlike those of the start."""
    for i, (name, value) in enumerate([*module.named_parameters(), *module.named_buffers()]):
        if not value.is_floating_point() or name.endswith(("amplitudes", "anchor_noise")):
            continue
        drawn = noise(*value.shape, seed=1000 * seed + i)
        if value.ndim == 4:
            value.data.copy_(drawn / (value[0].numel() / 2) ** 0.5)
        elif name.endswith("running_var") or ("bn" in name and name.endswith("weight")):
            value.data.copy_(1 + 0.2 * drawn.tanh())
        elif value.ndim == 2:
            value.data.copy_(drawn / value.shape[1] ** 0.5)
        else:
            value.data.copy_(drawn * (1 if "numbers" in name else 0.2))


def grown(recipe: Recipe = SMALL, levels: int = 3) -> tuple[HyperCascade, Pyramid]:
    """A hypernetwork with random weights, other ones at each level, and its example."""
    example = Pyramid.joined([p.pixels[None].to(F64) for p in PICTURES], recipe.pyramid)
    assert isinstance(recipe.generator, HyperSpec)
    hyper = recipe.generator.build(channels=3, ladder=example.ladder).to(F64)
    for _ in range(levels):
        hyper.extend(torch.Generator().manual_seed(0))
    enlarge(hyper, seed=1)
    hyper.amplitudes.copy_(torch.tensor(AMPLITUDES))
    hyper.anchor_noise.copy_(noise(*hyper.anchor_noise.shape, seed=5))
    return hyper, example


# From the package's modules to the transcription's plain tensors ---------------------------------


def embedding_of(embedding: Embedding) -> paper.Weights:
    found = {}
    for name, value in embedding.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "stages":
            stage, _, rest = rest.partition(".")
            part = f"layer{int(stage) + 1}"
        found[f"{part}.{rest}"] = value.detach().clone()
    return found


def projection_of(head: WeightHead, form: Form) -> paper.Projection:
    """One linear layer for each tensor: ours predicts (out, 3, 3, in), then the bias."""
    weight, bias = head.numbers.weight.detach(), head.numbers.bias.detach()
    if head.code is not None:
        bias = bias + weight @ head.code.bias.detach()
        weight = weight @ head.code.weight.detach()
    found, place = [], 0
    for c_out, c_in in form.shapes:
        order = torch.arange(9 * c_out * c_in).view(c_out, 3, 3, c_in).permute(0, 3, 1, 2).flatten()
        for rows in (place + order, place + 9 * c_out * c_in + torch.arange(c_out)):
            found.append((weight[rows].clone(), bias[rows].clone()))
        place += (9 * c_in + 1) * c_out
    return found


def projections_of(hyper: HyperCascade) -> list[paper.Projection]:
    heads = (head for head in hyper.heads if isinstance(head, WeightHead))
    return [projection_of(head, hyper.form) for head in heads]


def classic_of(critic: SpectralCritic) -> paper.Convs:
    convs = [part for part in critic.modules() if hasattr(part, "link")]
    return [(c.weight.detach().clone(), c.bias.detach().clone()) for c in convs]  # type: ignore[operator,union-attr]


def numbers_of(cascade: Cascade) -> list[paper.Numbers]:
    """Of a cascade with weights of its own; these are scaled already, which is undone."""
    found = []
    for net in cascade.levels:
        tensors = [value.detach().clone() for value in net.parameters()]
        for i in range(0, len(tensors), 2):
            last, c_in = i == len(tensors) - 2, tensors[i].shape[1]
            gain = TANH if last else (2 / (1 + 0.02**2)) ** 0.5
            tensors[i] = tensors[i] * (9 * c_in) ** 0.5 / gain
            tensors[i + 1] = tensors[i + 1] * c_in**0.5
        found.append([value.flatten()[None] for value in tensors])
    return found


def sizes_of(example: Pyramid) -> list[tuple[int, int]]:
    return [(size.height, size.width) for size in example.ladder.sizes]


# Sizes and counts --------------------------------------------------------------------------------


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_as_many_as_in_the_published_code() -> None:
    with torch.device("meta"):
        hyper = HyperSpec().build(channels=3, ladder=META.pyramid.plan(Size(188, 250)))
        hyper.extend(None)
        critic = HyperCriticSpec().build(level=0, channels=3, generator=None)
        net = PatchNet(3, 64, 3, norm="none", slope=0.02)
        classic = META_SINGLE.critic.build(level=0, channels=3, generator=None)
    assert META.generator == HyperSpec()
    assert META.critic == HyperCriticSpec()
    assert (hyper.form.numbers, count(net), critic.form.numbers) == (114_307, 114_307, 113_153)
    assert count(hyper.heads[0]) == 58_639_491
    assert count(critic.head) == 58_047_489
    for embedding in (hyper.embedding, critic.embedding):
        assert embedding.linear is not None
        assert count(embedding.linear) == 262_656
        assert count(embedding) - 262_656 == 21_284_672
    assert 7 * 58_639_491 + count(hyper.embedding) == pytest.approx(432.0e6, rel=2e-3)
    assert count(classic) == 113_153
    assert isinstance(classic, SpectralCritic)
    assert [w.shape for w, _ in classic_of(classic)] == [
        (64, 3, 3, 3),
        *[(64, 64, 3, 3)] * 3,
        (1, 64, 3, 3),
    ]


@pytest.mark.parametrize(
    ("min_width", "expected"),
    [
        (25, "19x26 27x37 40x54 60x80 87x117 128x171 188x250"),
        (28, "21x28 30x41 44x59 63x84 90x121 130x174 188x250"),
    ],
)
def test_sizes_are_those_of_the_published_code(min_width: int, expected: str) -> None:
    recipe = with_overrides(META, {"pyramid.min_width": str(min_width)})
    sizes = recipe.pyramid.plan(Size(188, 250)).sizes
    assert " ".join(f"{height}x{width}" for height, width in sizes) == expected


# The embedding -----------------------------------------------------------------------------------


def test_the_embedding_is_the_residual_network_of_torchvision() -> None:
    """And that of the transcription, in both modes, running statistics included."""
    spec = EmbeddingSpec(view=VIEW)
    embedding = spec.build(channels=3).to(F64)
    init_embedding(embedding, torch.Generator().manual_seed(0))
    for name, value in [*embedding.named_parameters(), *embedding.named_buffers()]:
        if value.ndim == 1 and value.is_floating_point():
            value.data += 0.1 * noise(*value.shape, seed=len(name)).tanh()
    theirs: nn.Module = torchvision_models().resnet34(weights=None).to(F64)
    weights = embedding_of(embedding)
    trunk = {name: value for name, value in weights.items() if not name.startswith("linear")}
    missing, unexpected = theirs.load_state_dict(trunk, strict=False)
    assert not unexpected
    assert missing == ["fc.weight", "fc.bias"]
    setattr(theirs, "fc", nn.Identity())  # noqa: B010
    images = noise(3, 3, VIEW, VIEW, seed=3).mul(0.5).clamp(-1, 1)
    assert embedding.linear is not None
    with torch.no_grad():
        for train in (False, True):
            expected = embedding.linear(theirs.train(train)(images))
            transcribed = paper.embed(weights, images, view=VIEW, train=train)
            found = embedding.train(train)(images)
            assert difference(found, expected) < TOLERANCE
            assert difference(found, transcribed) < TOLERANCE
    after, state = embedding_of(embedding), theirs.state_dict()
    for name, value in after.items():
        assert difference(value.to(F64), weights[name].to(F64)) < TOLERANCE, name
        if not name.startswith("linear"):
            assert difference(value.to(F64), state[name].to(F64)) < TOLERANCE, name


@pytest.mark.parametrize("train", [False, True])
def test_images_of_any_size_are_embedded_as_in_the_transcription(train: bool) -> None:
    hyper, example = grown()
    weights = embedding_of(hyper.embedding)
    images = example.images[-1] * 1.3  # beyond [-1, 1] in part: clamped
    with torch.no_grad():
        found = hyper.embedding.train(train)(images)
    assert difference(found, paper.embed(weights, images, view=VIEW, train=train)) < TOLERANCE
    other = paper.embed(weights, images, view=VIEW, train=not train)
    assert difference(found, other) > TOLERANCE


# Images of predicted cascades --------------------------------------------------------------------


def predicted_images(
    hyper: HyperCascade, example: Pyramid, maps: list[Tensor], rules: paper.Rules
) -> list[Tensor]:
    """By the transcription: random ones, and reconstructions."""
    weights, projections = embedding_of(hyper.embedding), projections_of(hyper)
    features = paper.embed(weights, example.images[-1], view=VIEW, train=hyper.training)
    anchor = hyper.anchor_noise.expand(len(features), -1, -1, -1)
    still = [anchor, *[None] * (len(projections) - 1)]
    amplitudes, sizes = hyper.amplitudes.tolist(), sizes_of(example)
    return [
        paper.generate(features, projections, z, amplitudes, sizes, rules)[-1]
        for z in (maps, still)
    ]


IMAGE_FLAWS = {
    "slope": {"slope": 0.2},
    "gain of tanh": {"tanh_gain": 1.0},
    "weights": {"scaled_weights": False},
    "biases": {"scaled_biases": False},
    "border": {"noisy_border": False},
    "enlarging": {"aligned": False},
    "residual": {"residual": False},
}
FINER = {"border", "enlarging", "residual"}
"""What only finer levels show."""


@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_predicted_cascades_draw_what_the_transcription_draws(
    levels: int, rank: int | None
) -> None:
    recipe = with_overrides(SMALL, {"generator.rank": "null" if rank is None else str(rank)})
    hyper, example = grown(recipe, levels)
    seeds, sizes = [3, 4, 5], example.ladder.sizes[:levels]
    trainee = hyper.bind(example)
    latent, anchor = trainee.draw(sizes, seeds), trainee.anchor()
    maps = noise_maps(sizes, seeds)
    for drawn, expected in zip(latent.tensors(), maps, strict=True):
        assert difference(drawn, expected) == 0
    expected = predicted_images(hyper, example, maps, paper.Rules())
    paths = [(trainee.approach(z), z) for z in (latent, anchor)]
    found = trainee.refine(paths)
    for image, wanted in zip(found, expected, strict=True):
        assert difference(image, wanted) < TOLERANCE
    for name, flaw in IMAGE_FLAWS.items():
        wrong = predicted_images(hyper, example, maps, paper.Rules(**flaw))
        if levels > 1 or name not in FINER:
            assert difference(found[0], wrong[0]) > 1e-6, name


def noise_maps(sizes: Any, seeds: list[int]) -> list[Tensor]:
    """Of every level, each image by its own seed; over level 0 with a border of 5 pixels."""
    maps = []
    for level, (height, width) in enumerate(sizes):
        border = 10 if level else 0
        shape = (3, height + border, width + border)
        drawn = [
            gaussian(shape, seed_for(seed, "noise", level), like=torch.zeros(0, dtype=F64))
            for seed in seeds
        ]
        maps.append(torch.stack(drawn))
    return maps


# Losses ------------------------------------------------------------------------------------------


LOSS_FLAWS = {
    "weight of the reconstruction": ({"weight": 50.001}, "reconstruction"),
    "weight of the penalty": ({"penalty": 0.1001}, "penalty"),
    "norm over the image": ({"norm_per_pixel": False}, "penalty"),
    "slope": ({"slope": 0.2}, "critic_real"),
    "biases": ({"scaled_biases": False}, "critic_fake"),
}


@pytest.mark.parametrize("accumulate", [False, True])
def test_losses_of_both_players_equal_the_transcription(accumulate: bool) -> None:
    recipe = with_overrides(SMALL, ACCUMULATE) if accumulate else SMALL
    hyper, example = grown(recipe)
    critic = recipe.critic.build(level=0, channels=3, generator=torch.Generator()).to(F64)
    assert isinstance(critic, HyperCritic)
    enlarge(critic, seed=2)
    embeddings = embedding_of(hyper.embedding), embedding_of(critic.embedding)
    sizes, photos = example.ladder.sizes, list(example.images)
    seeds = [seed_for(11, "latent", *i) for i in ((), (1,), (2,))]

    def expected(epsilon: float | Tensor, rules: paper.Rules) -> tuple[list[Tensor], Tensor]:
        features, judged = (
            paper.embed(dict(weights), photos[-1], view=VIEW, train=True) for weights in embeddings
        )
        anchor = hyper.anchor_noise.expand(3, -1, -1, -1)
        random, rebuilt = (
            paper.generate(features, projections_of(hyper), z, AMPLITUDES, sizes, rules)
            for z in (noise_maps(sizes, seeds), [anchor, None, None])
        )
        numbers = paper.project(projection_of(critic.head, critic.form), judged)
        score = paper.predicted_critic(numbers, rules)
        error = paper.reconstruction_error(rebuilt, photos, rules)
        ours = paper.critic_terms(score, photos[-1], random[-1], epsilon, rules)
        return ours + paper.generator_terms(score, random[-1], error, rules), error

    trainee = hyper.bind(example)
    view = StepView(
        trainee=trainee,
        critic=critic,
        example=photos,
        level=2,
        sizes=sizes,
        seed=11,
        anchor_approach=trainee.approach(trainee.anchor()),
        feed=lambda seed: None,
    )
    objective = recipe.objective_at(2)
    assert isinstance(objective, AdversarialSpec)
    found = {**objective.terms("critic", view), **objective.terms("generator", view)}
    rules, epsilon = paper.Rules(accumulate=accumulate), uniform(11, 1)
    assert 0 < epsilon < 1
    terms, error = expected(epsilon, rules)
    for (name, value), term in zip(found.items(), terms, strict=True):
        assert difference(value, term) < TOLERANCE, name
    assert difference(hyper.amplitudes[2], error.sqrt()) < TOLERANCE

    def wrong(name: str, terms: list[Tensor]) -> float:
        return difference(found[name], terms[list(found).index(name)])

    for flaw, name in LOSS_FLAWS.values():
        assert wrong(name, expected(epsilon, replace(rules, **flaw))[0]) > 1e-6, flaw
    other = replace(rules, accumulate=not accumulate)
    assert wrong("reconstruction", expected(epsilon, other)[0]) > 1e-6
    each = torch.tensor([epsilon, 0.3, 0.6], dtype=F64).view(3, 1, 1, 1)
    assert wrong("penalty", expected(each, rules)[0]) > 1e-6
