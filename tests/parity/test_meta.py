"""Meta Internal Learning: equal to its transcription, in images, losses, trainings and models.

The transcription was written from the paper and its published code, apart from this package.
Everything runs in float64, where the two differ by rounding alone; every comparison is also made
with one rule broken, which it must see.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reference import meta as paper
from reference.compare import F64, TOLERANCE, copied, difference, noise, uniform
from reference.translate import embedding_of
from singleimage.generators.hyper import HyperCascade, HyperSpec
from singleimage.images.channels import Channels
from singleimage.images.photo import Photo
from singleimage.models.hypermodel import HyperModel
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import gaussian, seed_for
from singleimage.multiscale.pyramid import Pyramid
from singleimage.nn.blocks import Conv
from singleimage.nn.hyper import HyperCritic, HyperCriticSpec, PrimaryShape, WeightHead
from singleimage.objectives.view import StepView
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import META, META_SINGLE
from singleimage.recipes.recipe import Recipe
from singleimage.training.trainer import Trainer

VIEW = 64
AMPLITUDES = [1.0, 0.625, 0.375]
SEEN = 1e-6
"""A difference that is no rounding."""
Flaw = dict[str, Any]
"""Rules of the transcription that are broken."""


def small(recipe: Recipe, **more: str) -> Recipe:
    """Three levels, 23x28 to 38x46, and networks of four channels."""
    changes = {"pyramid.width": "46", "pyramid.min_width": "28", "pyramid.view": "null"}
    for part in ("generator", "critic"):
        changes |= {f"training.lr_{part}": "0.001", f"{part}.width": "4"}
    for part in ["generator"] + ["critic"] * isinstance(recipe.critic, HyperCriticSpec):
        for name, value in (("view", str(VIEW)), ("blocks", "[1, 1, 1, 1]"), ("width", "4")):
            changes[f"{part}.embedding.{name}"] = value
    return with_overrides(recipe, changes | more)


SMALL = small(META, **{"training.steps": "4", "training.batch": "2"})
SINGLE = small(META_SINGLE, **{"training.steps": "3"})
SHORT = {"training.steps": "2", "training.batch": "2"}
ACCUMULATING = small(META, **SHORT, **{"phases.0.objective.accumulate": "true"})
FACTORISED = with_overrides(SMALL, {"generator.rank": "5", "critic.rank": "3"})
EITHER = pytest.mark.parametrize("recipe", [SMALL, FACTORISED], ids=["full", "factorised"])


def picture(index: int) -> Photo:
    """Sines; the second photo is a little larger than the others."""
    more = index % 2
    y, x = torch.meshgrid(torch.arange(38.0 + more), torch.arange(46.0 + more), indexing="ij")
    angles = [x / (3 + index) + c + y / (5 - index) for c in range(3)]
    return Photo(torch.stack(angles).sin() * (0.9 - 0.2 * index), Channels(mode="RGB"))


PICTURES = [picture(index) for index in range(3)]


def pyramid(photos: Sequence[Photo], recipe: Recipe) -> Pyramid:
    """Photos on the levels of the first one."""
    pixels = [photo.pixels[None].to(F64) for photo in photos]
    ladder = recipe.pyramid.plan(PICTURES[0].size)
    return Pyramid.stacked([Pyramid.build(x, recipe.pyramid, ladder) for x in pixels])


def grown(recipe: Recipe, levels: int = 3) -> tuple[HyperCascade, HyperCritic, Pyramid]:
    """A hypernetwork with random weights, other ones at each level, and critics; its example."""
    example = pyramid(PICTURES, recipe)
    assert isinstance(recipe.generator, HyperSpec)
    hyper = recipe.generator.build(channels=3, ladder=example.ladder).to(F64)
    for _ in range(levels):
        hyper.extend(None)
    critic = recipe.critic.build(level=0, channels=3, generator=None).to(F64)
    assert isinstance(critic, HyperCritic)
    paper.enlarge(hyper, seed=1)
    paper.enlarge(critic, seed=2)
    hyper.amplitudes.copy_(torch.tensor(AMPLITUDES))
    hyper.anchor_noise.copy_(noise(*hyper.anchor_noise.shape, seed=5))
    return hyper, critic, example


def noise_maps(sizes: Sequence[Size], seeds: Sequence[int]) -> list[Tensor]:
    """Of every level, each image by its own seed; over level 0 with a border of 5 pixels."""
    maps = []
    for level, (height, width) in enumerate(sizes):
        border = 10 if level else 0
        shape, like = (3, height + border, width + border), torch.zeros(0, dtype=F64)
        drawn = [gaussian(shape, seed_for(seed, "noise", level), like=like) for seed in seeds]
        maps.append(torch.stack(drawn))
    return maps


def projection_of(head: WeightHead, form: PrimaryShape) -> paper.Projection:
    """One linear layer for each tensor: ours predicts (out, 3, 3, in), then the bias."""
    weight, bias = head.numbers.weight.detach(), head.numbers.bias.detach()
    if head.code is not None:
        bias = bias + weight @ head.code.bias.detach()
        weight = weight @ head.code.weight.detach()
    found, place = [], 0
    for c_out, c_in in form.shapes:
        order = torch.arange(9 * c_out * c_in).view(c_out, 3, 3, c_in).permute(0, 3, 1, 2).flatten()
        for rows in (place + order, place + 9 * c_out * c_in + torch.arange(c_out)):
            found.append(copied(weight[rows], bias[rows]))
        place += (9 * c_in + 1) * c_out
    return found


def networks_of(hyper: nn.Module, critic: nn.Module) -> tuple[list[paper.Weights], list[Any]]:
    """Embeddings; and projections, the critic's as the last, or none and a critic for one photo."""
    assert isinstance(hyper, HyperCascade)
    heads = [head for head in hyper.heads if isinstance(head, WeightHead)]
    nets: list[Any] = [projection_of(head, hyper.form) for head in heads]
    embedding = embedding_of(hyper.embedding)
    if isinstance(critic, HyperCritic):
        embeddings = [embedding, embedding_of(critic.embedding)]
        return embeddings, [*nets, projection_of(critic.head, critic.form)]
    convs = [part for part in critic.modules() if isinstance(part, Conv)]
    return [embedding], [*nets, [], [copied(conv.weight, conv.bias) for conv in convs]]


def game_of(hyper: HyperCascade, critic: nn.Module, **more: Any) -> paper.Game:
    (embedding, *judging), (*nets, last) = networks_of(hyper, critic)
    levels = len(hyper.heads)
    return paper.Game(
        embedding,
        nets[:levels],
        critic=judging[0] if judging else last,
        critic_projection=last if judging else [],
        anchor=hyper.anchor_noise.clone(),
        amplitudes=hyper.amplitudes[:levels].tolist(),
        view=VIEW,
        **{"lr": 0.001, "steps": 1} | more,
    )


# Images and losses -------------------------------------------------------------------------------


@EITHER
def test_predicted_cascades_draw_what_the_transcription_draws(recipe: Recipe) -> None:
    """With one level, two and three."""
    for levels in (1, 2, 3):
        hyper, critic, example = grown(recipe, levels)
        seeds, sizes, photos = [3, 4, 5], example.ladder.sizes[:levels], list(example.images)
        trainee, maps = hyper.bind(example), noise_maps(sizes, seeds)
        latent, anchor = trainee.draw(sizes, seeds), trainee.anchor()
        for drawn, expected in zip(latent.tensors(), maps, strict=True):
            assert difference(drawn, expected) == 0
        game = game_of(hyper, critic)
        made = trainee.run_trained([(trainee.run_frozen(z), z) for z in (latent, anchor)])
        for found, images in zip(made, game.draw(photos, maps), strict=True):
            assert difference(found, images[-1]) < TOLERANCE
        for name, flaw in paper.IMAGE_FLAWS.items() if levels == 2 else ():
            fake, _ = game.under(paper.Rules(**flaw)).draw(photos, maps)
            assert difference(made[0], fake[-1]) > SEEN, name


@pytest.mark.parametrize("accumulate", [False, True])
def test_losses_of_both_players_equal_the_transcription(accumulate: bool) -> None:
    recipe = ACCUMULATING if accumulate else SMALL
    hyper, critic, example = grown(recipe)
    sizes, photos = example.ladder.sizes, list(example.images)
    game = game_of(hyper, critic)
    maps = noise_maps(sizes, [seed_for(11, "latent", *i) for i in ((), (1,), (2,))])
    trainee, objective = hyper.bind(example), recipe.schedule.objective_at(2)
    view = StepView(
        **{"generator": trainee, "critic": critic, "example": photos, "level": 2, "sizes": sizes},
        anchor_frozen=trainee.run_frozen(trainee.anchor()),
        base_input=lambda seed: None,
        seed=11,
        step=0,
    )
    found = {**objective.terms("critic", view), **objective.terms("generator", view)}

    def expected(flaw: Flaw) -> tuple[dict[str, Tensor], Tensor]:
        rules = paper.Rules(**{"accumulate": accumulate} | flaw)
        (*_, fake), rebuilt = game.under(rules).draw(photos, maps)
        score = game.under(rules).score(photos)
        error = paper.reconstruction_error(rebuilt, photos, rules)
        terms = paper.critic_terms(score, photos[-1], fake, uniform(11, 1), rules)
        terms += paper.generator_terms(score, fake, error, rules)
        return dict(zip(found, terms, strict=True)), error

    terms, error = expected({})
    for name, value in found.items():
        assert difference(value, terms[name]) < TOLERANCE, name
    assert difference(hyper.amplitudes[2], error.sqrt()) < TOLERANCE
    for flaw, name in (("norm_per_pixel", "penalty"), ("scaled_biases", "critic_fake")):
        assert difference(found[name], expected({flaw: False})[0][name]) > SEEN, name
    other, _ = expected({"accumulate": not accumulate})
    assert difference(found["reconstruction"], other["reconstruction"]) > SEEN


# Trainings ---------------------------------------------------------------------------------------


Event = tuple[list[Tensor] | paper.Batch, paper.State]
"""A level that begins with photos, or a step; and what is so afterwards."""


class Compared(Trainer):
    """A training beside that of the transcription, which is given the same randomness."""

    def __init__(self, recipe: Recipe, *, photos: int) -> None:
        chosen = PICTURES[:photos]
        super().__init__(chosen, recipe, seed=3, device="cpu", precision="fp32", dtype=F64)
        self.found: dict[str, float] = {}  # the largest difference of each kind
        self.openings: list[paper.Game] = []  # the transcription as it was before each level
        self.events: list[list[Event]] = []  # of each level

    def _begin_level(self) -> None:
        super()._begin_level()
        self.events.append([])
        if self.level > 0:
            self.openings.append(deepcopy(self.game))
            photos = list(self._batch(0).images)
            self.game.begin_level(photos)
            self.compare("at the start of a level", photos)
            return
        assert isinstance(self.learner, HyperCascade)
        assert self.players.critic is not None
        paper.enlarge(self.learner, seed=1)
        paper.enlarge(self.players.critic, seed=2)
        training, rules = self.recipe.training, paper.Rules(accumulate=self.recipe is ACCUMULATING)
        more = {"lr": training.lr_generator, "steps": training.steps, "rules": rules}
        self.game = game_of(self.learner, self.players.critic, **more)
        self.openings.append(deepcopy(self.game))

    def _train_step(self) -> dict[str, float]:
        seed, chosen = self._seed(self.step), self._batch(self.step)
        others = [(i,) for i in range(1, len(chosen.images[0]))]
        seeds = [seed_for(seed, "latent", *i) for i in [(), *others]]
        maps = noise_maps(chosen.ladder.sizes[: self.level + 1], seeds)
        batch = paper.Batch(list(chosen.images), maps, uniform(seed, 1))
        terms = torch.stack(self.game.play(batch))
        losses = super()._train_step()
        values = torch.tensor([*losses.values()], dtype=F64)
        self.found["losses"] = max(self.found.get("losses", 0.0), difference(values, terms))
        self.compare("after a step", batch)
        return losses

    def compare(self, when: str, event: list[Tensor] | paper.Batch) -> None:
        assert self.players.critic is not None
        amplitudes = self.learner.amplitudes[: self.level + 1].tolist()
        state = paper.state_of(*networks_of(self.learner, self.players.critic), amplitudes)
        self.events[-1].append((event, state))
        for kind, apart in paper.largest_differences(state, self.game.state()).items():
            name = f"{kind} {when}"
            self.found[name] = max(self.found.get(name, 0.0), apart)


def trained(recipe: Recipe, *, levels: int, photos: int = 3) -> Compared:
    trainer = Compared(recipe, photos=photos)
    for progress in trainer:
        if progress.level_done and progress.level == levels - 1:
            break
    assert len(trainer.found) == 9  # losses, and four kinds at two times
    return trainer


@pytest.fixture(scope="module")
def meta() -> Compared:
    """Three levels of four steps, with two of three photos each."""
    return trained(SMALL, levels=3)


@pytest.fixture(scope="module")
def single() -> Compared:
    """Two levels of three steps, with one photo."""
    return trained(SINGLE, levels=2, photos=1)


def test_training_on_photos_equals_its_transcription(meta: Compared) -> None:
    assert meta.finished
    assert max(meta.found.values()) < TOLERANCE, meta.found
    batches = [event for event, _ in meta.events[0] if isinstance(event, paper.Batch)]
    first, *others = [batch.photos[0] for batch in batches]
    assert any(difference(first, other) > 0.1 for other in others)


def test_training_otherwise_equals_its_transcription(single: Compared) -> None:
    """On one photo with a classic critic; and with reconstructions accumulated over levels."""
    for trainer in (single, trained(ACCUMULATING, levels=2)):
        assert max(trainer.found.values()) < TOLERANCE, trainer.found


def seen_after(on: Compared, level: int, flaw: Flaw, change: Any = None) -> int | None:
    """After how many events of a level a wrong transcription is apart; None: it is not."""
    game = on.openings[level].under(paper.Rules(**flaw))
    for index, (event, state) in enumerate(on.events[level]):
        if isinstance(event, paper.Batch):
            game.play(change(event) if change else event)
        else:
            game.begin_level(event)
        if max(paper.largest_differences(game.state(), state).values()) > SEEN:
            return index
    return None


FLAWS: dict[str, Flaw] = paper.IMAGE_FLAWS | {
    "penalty": {"penalty": 1.0},
    "norm over the image": {"norm_per_pixel": False},
    "weight": {"weight": 10.0},
    "clipping of the generator": {"clip_generator": math.inf},
    "clipping of the critic": {"clip_critic": math.inf},
    "momentum": {"betas": (0.9, 0.999)},
    "decay": {"decay": 1.0},
    "time of the decay": {"decay_at": 0.5},
    "amplitude of a tenth": {"amplitude": 0.1},
    "amplitude of the first step": {"follow": False},
    "gradients through the newest projection alone": {"through": False},
    "moving old projections": {"frozen": False},
    "optimizers that go on": {"fresh_moments": False},
    "reconstructions of all levels": {"accumulate": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("flaw", FLAWS)
def test_the_comparison_sees(flaw: str, meta: Compared) -> None:
    assert seen_after(meta, 1, FLAWS[flaw]) is not None


def test_the_comparison_sees_what_is_given(meta: Compared, single: Compared) -> None:
    """An epsilon for each photo, photos in another order; and critics of other forms."""
    more = torch.tensor([0, 0.01], dtype=F64).view(2, 1, 1, 1)
    epsilons = lambda batch: replace(batch, epsilon=batch.epsilon + more)  # noqa: E731
    order = lambda batch: replace(batch, photos=[x.flip(0) for x in batch.photos])  # noqa: E731
    assert [seen_after(meta, 0, {}, change) for change in (epsilons, order)] == [0, 0]
    for flaw in ({"classic_slope": 0.02}, {"classic_padding": 0}):
        assert seen_after(single, 0, flaw) == 0
    assert seen_after(single, 1, {}) is None  # nothing where nothing is wrong


def test_the_comparison_sees_wrong_steps(meta: Compared) -> None:
    """Two of the rules that the slow tests break one by one."""
    for flaw in ("momentum", "gradients through the newest projection alone"):
        assert seen_after(meta, 1, FLAWS[flaw]) is not None


# Models ------------------------------------------------------------------------------------------


def made(recipe: Recipe) -> tuple[HyperModel, Pyramid]:
    """A hypernetwork with random weights and statistics, and its photos."""
    hyper, critic, example = grown(recipe)
    trainer = Trainer(PICTURES, recipe, seed=0, device="cpu", dtype=F64)
    origin = trainer._provenance(3)
    return HyperModel(hyper, critic, recipe, Channels(mode="RGB"), origin), example


@EITHER
def test_the_model_of_a_photo_is_what_training_binds_to_it(recipe: Recipe) -> None:
    """In eval mode, where it depends on no other photo; and so is its critic."""
    model, example = made(recipe)
    hyper, critic, sizes = model.hyper, model.critic, example.ladder.sizes
    assert critic is not None
    vectors = hyper.embed(example)
    each = [hyper.embed(pyramid([photo], recipe)) for photo in PICTURES]
    assert difference(vectors, torch.cat(each)) < TOLERANCE
    assert difference(deepcopy(hyper.embedding)(example.images[-1]), vectors) > SEEN
    game, maps = game_of(hyper.eval(), critic, train=False), noise_maps(sizes, [3, 4, 5])
    trainee, photos = hyper.bind(example), list(example.images)
    anchor, latent = trainee.anchor(), trainee.draw(sizes, [3, 4, 5])
    bound = trainee.run_trained([(trainee.run_frozen(z), z) for z in (latent, anchor)])
    expected, scores = game.draw(photos, maps), game.score(photos)(photos[-1])
    for i, photo in enumerate(PICTURES):
        generator, start = model.model(photo).generator, model.start(photo)
        pictures = generator.decode(latent.item(i)), generator.decode(generator.anchor())
        for found, one, images in zip(pictures, bound, expected, strict=True):
            assert difference(found, one[i : i + 1]) < TOLERANCE
            assert difference(found, images[-1][i : i + 1]) < TOLERANCE
        assert difference(start.generator.decode(latent.item(i)), pictures[0]) < TOLERANCE
        assert start.critic is not None
        score = start.critic(photos[-1][i : i + 1])
        assert difference(score, scores[i : i + 1]) < TOLERANCE


@EITHER
def test_mixing_embeddings_is_mixing_weights(recipe: Recipe) -> None:
    """From the level of injection on, as the transcription mixes weights."""
    model, example = made(recipe)
    hyper, sizes, maps = model.hyper, example.ladder.sizes, noise_maps(example.ladder.sizes, [8])
    game = game_of(hyper, nn.Module(), train=False)
    features = paper.embed(game.embedding, example.images[-1], view=VIEW, train=False)
    each = [paper.project(projection, features) for projection in game.projections]
    plain = model.model(PICTURES[0]).generator
    for level in range(3):
        parts = [0.3 if i >= level else 0.0 for i in range(3)]
        mixed = [
            [torch.lerp(n[:1], n[1:2], t) for n in numbers]
            for t, numbers in zip(parts, each, strict=True)
        ]
        expected = paper.generate(mixed, maps, AMPLITUDES, sizes, paper.Rules())[-1]
        generator = model.interpolated(*PICTURES[:2], 0.3, level).generator
        found = generator.decode(generator.draw(sizes, [8]))
        assert difference(found, expected) < TOLERANCE
        assert difference(found, plain.decode(plain.draw(sizes, [8]))) > SEEN


def plain_bilinear(levels: Tensor, side: int) -> Tensor:
    """(C, H, W) of 0 to 255 to (C, side, side) between the four nearest pixels, rounded."""
    for axis in (1, 2):
        length = levels.shape[axis]
        places = ((torch.arange(side, dtype=torch.float64) + 0.5) * length / side - 0.5).clamp(
            0, length - 1
        )
        low = places.floor().long()
        share = (places - low).view(-1, 1) if axis == 1 else places - low
        high = (low + 1).clamp(max=length - 1)
        first, second = levels.index_select(axis, low), levels.index_select(axis, high)
        levels = first + (second - first) * share
    return levels.round()


@pytest.mark.parametrize("size", [(333, 500), (188, 250), (90, 120)])
def test_the_hypernetwork_sees_the_file_as_the_published_loader_shows_it(
    size: tuple[int, int],
) -> None:
    levels = torch.randint(0, 256, (1, 3, *size), generator=torch.Generator().manual_seed(0))
    example = Pyramid.build((levels / 127.5 - 1).double(), META.pyramid)
    expected = plain_bilinear(levels[0].double(), 128)
    found = (example.seen[0] + 1) * 127.5
    assert found.shape == (3, 128, 128)
    apart = (found - expected).abs()
    assert float(apart.max()) < 1 + 1e-6  # halves may be rounded either way
    assert float((apart > 1e-6).float().mean()) < 0.02
    both = Pyramid.stacked([example, example])
    assert torch.equal(both.seen[1:], example.seen)
    assert torch.equal(example.repeated(3).seen[2:], example.seen)


def test_generator_and_critic_are_predicted_from_what_is_seen() -> None:
    """A level of another photo in place of the view changes nothing."""
    hyper, critic, example = grown(SMALL)
    view = torch.rand(*example.images[0].shape[:2], VIEW, VIEW, dtype=torch.float64)
    seen = replace(example, view=view)
    other = replace(seen, images=tuple(image.flip(-1) for image in example.images))
    assert torch.equal(hyper.embed(seen), hyper.embed(other))
    assert difference(hyper.embed(seen), hyper.embed(example)) > SEEN
    found, plain = (critic.critic_of(one.seen[:1]).last.weight for one in (other, example))
    assert difference(found, plain) > SEEN
