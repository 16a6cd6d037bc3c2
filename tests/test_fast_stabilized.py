"""Fast-Stabilized: equal to its transcription, its sizes and counts, and what it can be used for.

`fast_transcription` was written from the paper and its published code, apart from this package.
Everything runs in float64, where the two differ by rounding alone, and is compared with a copy with
a small error too, which must be seen.
"""

from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference import fast_stabilized as fast
from reference import singan as paper
from reference.compare import (
    F64,
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
from singleimage.generators import tiles
from singleimage.generators.growing import Growing, GrowingSpec
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.latent import Latent, seed_for
from singleimage.multiscale.pyramid import Ladder
from singleimage.multiscale.resample import stretch
from singleimage.nn.blocks import Conv, Norm, PatchNet, Width, init_normal
from singleimage.nn.decoding import DecodersSpec, DecodingCritic, gate, in_box, random_square
from singleimage.nn.involution import Involution, InvolutionBody, InvolutionStack
from singleimage.nn.patch_critic import CriticSpec
from singleimage.nn.precision import use_precision
from singleimage.objectives.view import StepView
from singleimage.recipes.overrides import fields_of, with_overrides
from singleimage.recipes.presets import FAST_STABILIZED, fast_ablations, preset
from singleimage.recipes.recipe import Recipe
from singleimage.training.planning import count_parameters
from singleimage.training.trainer import Trainer
from tiny import Command
from wrapping import EVEN, ODD, WRAPS, rolled, tiled
from wrapping import grown as enlarged

SMALL = with_overrides(
    FAST_STABILIZED,
    {
        "pyramid.levels": "5",  # the oldest two blocks get frozen
        "pyramid.min_size": "13",
        "pyramid.max_size": "30",
        "pyramid.quantize": "false",
        "generator.width": "4",
        "generator.body.reduction": "2",
        "critic.width.base": "8",
        "training.steps": "3",
        "training.decay_at": "2",
    },
)


# From the package's modules to the transcription's plain tensors ---------------------------------


def layer_of(involution: nn.Module, conv: nn.Module) -> fast.Layer:
    """Ours has all groups of a tap together; the transcription all taps of a group."""
    assert isinstance(involution, Involution)
    weight, bias = conv_of(involution.expand)
    taps = len(bias) // involution.groups
    order = torch.arange(len(bias)).view(taps, involution.groups).t().flatten()
    scale, shift = copied(*involution.norm.parameters())
    squeeze = involution.squeeze.weight.detach().clone()
    return fast.Layer(squeeze, (scale, shift), (weight[order], bias[order]), conv_of(conv))


def generator_of(g: Growing) -> fast.Generator:
    assert isinstance(g.spec.body, InvolutionBody)
    bodies = []
    for block in g.blocks:
        assert isinstance(block, InvolutionStack)
        pairs = zip(block.involutions, block.convs, strict=True)
        bodies.append([layer_of(*pair) for pair in pairs])
    (head,) = convs_of(g.head)
    return fast.Generator(head, bodies, conv_of(g.tail), g.spec.body.dilation, g.spec.slope)


def decoder_of(decoder: nn.Module | None) -> fast.Decoder | None:
    if decoder is None:
        return None
    convs, norms = decoder.get_submodule("convs"), decoder.get_submodule("norms")
    assert isinstance(convs, nn.ModuleList)
    assert isinstance(norms, nn.ModuleList)
    found = []
    for conv, norm in zip(convs, norms, strict=True):
        weight, bias = conv_of(conv)
        scale, shift = copied(*norm.parameters())
        found.append((weight, bias, scale, shift))
    return fast.Decoder(found, conv_of(decoder.get_submodule("last")))


def critic_of(critic: nn.Module) -> fast.Critic:
    assert isinstance(critic, DecodingCritic)
    convs = [*convs_of(critic.net.trunk), conv_of(critic.net.last)]
    slope = critic.net.trunk.slope
    return fast.Critic(convs, decoder_of(critic.full), decoder_of(critic.crop), slope)


def tame(g: nn.Module) -> None:
    """Random kernels of nine taps would make features grow from layer to layer."""
    for part in g.modules():
        if isinstance(part, Involution):
            part.expand.weight.data.mul_(0.4)
            part.expand.bias.data.mul_(2)


def tame_and_grown(recipe: Recipe) -> tuple[Growing, Any]:
    g, example = grown(recipe)
    assert isinstance(g, Growing)
    tame(g)
    return g, example


def transcribed(g: Growing, latent: Latent) -> Tensor:
    amplitudes, sizes = g.amplitudes.tolist(), list(latent.sizes)
    return fast.generate(generator_of(g), latent.tensors(), amplitudes, sizes, edge=g.spec.edge)


# Images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", ["stretch", "zero"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dilation": "1"},
        {"dilation": "5"},
        {"groups": "2", "reduction": "1"},
        {"groups": "1", "kernel": "5", "dilation": "2"},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [Size(26, 30), Size(22, 47)], ids=str)
def test_it_draws_what_its_transcription_draws(
    edge: str, settings: dict[str, str], size: Size
) -> None:
    fields = {f"generator.body.{name}": value for name, value in settings.items()}
    g, example = tame_and_grown(with_overrides(SMALL, {"generator.edge": edge, **fields}))
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
    g, example = tame_and_grown(SMALL)
    latent = g.draw(example.ladder.sizes, [5])
    wrong = generator_of(g)
    flaw(wrong)
    image = fast.generate(wrong, latent.tensors(), g.amplitudes.tolist(), list(latent.sizes))
    assert difference(g.decode(latent), image) > TOLERANCE


def test_the_images_of_a_batch_do_not_see_each_other() -> None:
    g, example = tame_and_grown(SMALL)
    together = g.decode(g.draw(example.ladder.sizes, [5, 6]))
    for i, seed in enumerate([5, 6]):
        alone = transcribed(g, g.draw(example.ladder.sizes, [seed]))
        assert difference(together[i : i + 1], alone) < TOLERANCE


def test_large_images_are_decoded_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """The norm in the kernels' branch looks at the whole image."""
    g, example = tame_and_grown(SMALL)
    latent = g.draw(example.ladder.sizes_for(Size(41, 30)), [5])
    whole = g.decode(latent)
    monkeypatch.setattr(tiles, "TILE", 16)
    monkeypatch.setattr(tiles, "WHOLE", 100)
    assert torch.equal(g.decode(latent), whole)


# On a torus


def periodic(spec: GrowingSpec, sizes: tuple[Size, ...]) -> Growing:
    scales = tuple(size.height / sizes[-1].height for size in sizes)
    ladder = Ladder(sizes, scales, 1.0, 0.5, "nearest")
    g = spec.build(channels=3, ladder=ladder).to(F64)
    for _ in sizes:
        g.extend(torch.Generator().manual_seed(0))
    randomize(g, seed=5)
    tame(g)
    g.amplitudes.copy_(torch.tensor([1.0, 0.1, 0.03]))
    return g.requires_grad_(False).eval()


BODIES = {
    "dilation 3": GrowingSpec(width=4, body=InvolutionBody(reduction=2)),
    "wide, zero edges": GrowingSpec(
        width=4, edge="zero", body=InvolutionBody(dilation=5, kernel=5, groups=2)
    ),
}


@pytest.mark.parametrize("wrap", WRAPS, ids=str)
@pytest.mark.parametrize("name", BODIES)
def test_pictures_that_wrap_have_no_seam(name: str, wrap: tuple[bool, bool]) -> None:
    """Moved noise moves the picture; repeated noise repeats it."""
    g = periodic(BODIES[name], EVEN)
    latent = g.draw(EVEN, [3, 4], wrap)
    image = g.decode(latent)
    moved = torch.roll(image, [4 * around for around in wrap], (2, 3))
    assert difference(g.decode(rolled(latent, 1)), moved) < 1e-10
    assert difference(image, moved) > 1e-2

    g = periodic(BODIES[name], ODD)
    latent = g.draw(ODD, [3], wrap)
    maps = tuple(tiled(x, wrap) for x in latent.tensors())
    more = Latent(maps, tuple(enlarged(size, wrap) for size in ODD), wrap)
    assert difference(g.decode(more), tiled(g.decode(latent), wrap)) < 1e-10


# The critic --------------------------------------------------------------------------------------


def critic(width: int = 8, *, seed: int = 9, **decoders: bool) -> DecodingCritic:
    spec = CriticSpec(
        width=Width(base=width),
        slope=0.05,
        decoders=DecodersSpec(**(decoders or {"full": True, "crop": True})),
    )
    made = spec.build(level=0, channels=3, generator=None).to(F64)
    assert isinstance(made, DecodingCritic)
    randomize(made, seed)
    return made


def errors_of(made: PatchNet | DecodingCritic, real: Tensor, seed: int) -> Mapping[str, Tensor]:
    return made.judge(real, -real, real / 2, seed).errors


@pytest.mark.parametrize("size", [(11, 11), (20, 31), (27, 18)], ids=str)
def test_the_critic_is_its_transcription(size: tuple[int, int]) -> None:
    made = critic()
    ours, real = critic_of(made), noise(1, 3, *size).mul(0.4).clamp(-1, 1)
    assert difference(made(real), fast.scores(ours, real)) < TOLERANCE
    assert difference(made.mean_scores(real), fast.scores(ours, real).mean((1, 2, 3))) < TOLERANCE
    box = random_square(Size(*size), 3)
    found = errors_of(made, real, 3)
    place = (box.top, box.left, box.height)
    expected = fast.decoding_terms(ours, real, place, beta=1.0)
    assert list(found) == ["decoded", "decoded_crop"]
    for a, b in zip(found.values(), expected.values(), strict=True):
        assert difference(a, b) < TOLERANCE
    moved = (place[0], place[1] + 1, place[2])
    other = fast.decoding_terms(ours, real, moved, beta=1.0)
    assert difference(found["decoded_crop"], other["crop"]) > TOLERANCE


def test_decoders_teach_the_trunk_and_not_the_scores() -> None:
    """The full one reaches four layers, the one of the crop three."""
    made, real = critic(), noise(1, 3, 20, 20).clamp(-1, 1)
    depth = {"decoded": 4, "decoded_crop": 3}
    for name, error in errors_of(made, real, 0).items():
        weights = [*(conv.weight for conv in made.net.trunk.layers), made.net.last.weight]
        found = torch.autograd.grad(error, weights, retain_graph=True)
        assert [bool(gradient.any()) for gradient in found] == [i < depth[name] for i in range(5)]


@pytest.mark.parametrize("norm", ["none", "image"])
def test_one_pass_teaches_what_two_do(norm: Norm) -> None:
    """Scores and decoders share the pass of the photo and its gradient."""
    spec = CriticSpec(width=Width(base=4), norm=norm, decoders=DecodersSpec(full=True, crop=True))
    made = spec.build(level=0, channels=3, generator=None).to(F64)
    assert isinstance(made, DecodingCritic)
    randomize(made, 3)
    real, fake, between = noise(3, 3, 19, 14, seed=2).clamp(-1, 1).split(1)
    said = made.judge(real, fake, between, 5)

    layers = [real]
    for conv, by in zip(made.net.trunk.layers, made.net.trunk.norms, strict=True):
        layers.append(F.leaky_relu(by(F.conv2d(layers[-1], conv.weight, conv.bias)), spec.slope))
    size, box = size_of(real), random_square(size_of(real), 5)
    assert made.full is not None
    assert made.crop is not None
    full = made.full(layers[4], size)
    crop = made.crop(in_box(layers[3], size, box), Size(box.height, box.width))
    errors = {"decoded": (full - real).square(), "decoded_crop": (crop - box.cut(real)).square()}
    plain = {name: error.mean() for name, error in errors.items()}
    assert difference(made(real).mean((1, 2, 3)), said.real) < TOLERANCE
    assert difference(made(fake).mean((1, 2, 3)), said.fake) < TOLERANCE
    for weights in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 3, 4)):
        terms = [said.real - said.fake, *said.errors.values()]
        expected = [(made(real) - made(fake)).mean(), *plain.values()]
        ours, theirs = (
            torch.autograd.grad(
                sum((w * t.sum() for w, t in zip(weights, losses, strict=True)), torch.zeros(())),
                list(made.parameters()),
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            for losses in (terms, expected)
        )
        for a, b in zip(ours, theirs, strict=True):
            assert difference(a, b) < TOLERANCE


def test_the_gate_is_that_of_gated_linear_units() -> None:
    x = noise(2, 6, 5, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    g = noise(2, 3, 5, 4, seed=1)
    assert difference(gate(x), F.glu(x, 1)) < 1e-15
    found, expected = (torch.autograd.grad(y, x, g)[0] for y in (gate(x), F.glu(x, 1)))
    assert difference(found, expected) < 1e-15
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("full", "crop", "names"),
    [
        (True, False, ["decoded"]),
        (False, True, ["decoded_crop"]),
        (True, True, ["decoded", "decoded_crop"]),
    ],
)
def test_each_decoder_can_be_left_out(full: bool, crop: bool, names: list[str]) -> None:
    made = critic(full=full, crop=crop)
    errors = errors_of(made, noise(1, 3, 14, 15), 0)
    assert list(errors) == names
    both = critic(seed=1)
    assert all(name in dict(both.named_parameters()) for name, _ in made.named_parameters())


def test_a_critic_without_decoders_redraws_nothing() -> None:
    made = CriticSpec().build(level=0, channels=3, generator=None)
    assert not isinstance(made, DecodingCritic)
    assert errors_of(made, noise(1, 3, 14, 15), 0) == {}


@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_decoders_take_any_number_of_channels(width: int) -> None:
    errors = errors_of(critic(width), noise(1, 3, 12, 13), 0)
    assert all(bool(torch.isfinite(error)) for error in errors.values())


def test_features_of_a_square_are_those_of_the_whole() -> None:
    x, size = noise(1, 4, 14, 17), Size(20, 23)
    whole = stretch(x, size)
    plain = F.interpolate(x, size=size, mode="bicubic", align_corners=True)
    for seed in range(20):
        box = random_square(size, seed)
        assert difference(in_box(x, size, box), box.cut(whole)) < 1e-13
        assert difference(in_box(x, size, box), box.cut(plain)) < 1e-13


def test_squares_have_half_the_short_side_and_lie_anywhere() -> None:
    """But at the last row and column, which the published range leaves out."""
    boxes = [random_square(Size(11, 14), seed) for seed in range(400)]
    assert {(box.height, box.width) for box in boxes} == {(5, 5)}
    assert {box.top for box in boxes} == set(range(11 - 5))
    assert {box.left for box in boxes} == set(range(14 - 5))
    assert boxes[7] == random_square(Size(11, 14), 7)


def test_the_critic_in_bfloat16_is_close() -> None:
    made = critic(16).float()
    init_normal(made, torch.Generator().manual_seed(0))
    real = noise(1, 3, 24, 25).clamp(-1, 1).float()
    expected = errors_of(made, real, 0)
    use_precision(made, "bf16")
    for name, error in errors_of(made, real, 0).items():
        assert error.dtype == torch.float32
        assert error.item() == pytest.approx(expected[name].item(), rel=0.02)


def test_decoders_start_as_the_other_layers_do() -> None:
    made = FAST_STABILIZED.critic.build(
        level=0, channels=3, generator=torch.Generator().manual_seed(0)
    )
    assert isinstance(made, DecodingCritic)
    assert made.full is not None
    for part in made.full.modules():
        if isinstance(part, nn.GroupNorm):
            assert 0.01 < part.weight.std() < 0.03
            assert abs(part.weight.mean() - 1) < 0.02
            assert not part.bias.any()
        elif isinstance(part, Conv):
            assert part.get_parameter("weight").std().item() == pytest.approx(0.02, rel=0.3)


# Losses and trainings ----------------------------------------------------------------------------


def boxes(size: Size, seed: int, count: int = 3) -> list[fast.Box]:
    """Of the critic's steps."""
    squares = [
        random_square(size, seed_for(seed, "decoding", repeat)) for repeat in range(1, count + 1)
    ]
    return [(box.top, box.left, box.height) for box in squares]


def test_losses_of_both_players_equal_the_transcription() -> None:
    g, example = tame_and_grown(SMALL)
    level = len(example.images) - 1
    made = critic()
    real, sizes = example.images[level], example.ladder.sizes
    latent, anchor = g.draw(sizes, [seed_for(11, "latent")]), g.anchor()
    fake, rebuilt = transcribed(g, latent), transcribed(g, anchor)
    ours, epsilon = critic_of(made), uniform(11, 1)
    (box,) = boxes(size_of(real), 11, 1)

    def expected(ours: fast.Critic, rebuilt: Tensor) -> list[Tensor]:
        score = lambda x: fast.scores(ours, x)  # noqa: E731
        terms = paper.critic_loss(score, real, fake, epsilon)
        terms |= fast.decoding_terms(ours, real, box, beta=5.0)
        return [
            *terms.values(),
            *paper.generator_loss(score, fake, rebuilt, real).values(),
        ]

    view = StepView(
        generator=g,
        critic=made,
        example=[real] * (level + 1),
        level=level,
        sizes=sizes,
        seed=11,
        base_input=lambda seed: None,
        anchor_frozen=g.run_frozen(anchor),
    )
    objective = SMALL.schedule.objective_at(level)
    losses = objective.terms("critic", view) | objective.terms("generator", view)  # type: ignore[operator]
    assert list(losses) == [
        *("critic_real", "critic_fake", "penalty", "decoded", "decoded_crop"),
        *("adversarial", "reconstruction"),
    ]
    for found, term in zip(losses.values(), expected(ours, rebuilt), strict=True):
        assert difference(found, term) < TOLERANCE
    made.net.get_parameter("trunk.convs.0.weight").data.add_(1e-4)
    wrong = expected(critic_of(made), nudged(rebuilt))
    for found, term in zip(losses.values(), wrong, strict=True):
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
    recipe: Recipe = SMALL, *, levels: int = 5, flaw: Flaw = nothing
) -> dict[str, float]:
    """Train with the package and, from the same first weights, with the transcription."""
    trainer, found = Tame(recipe), Differences()
    pixels = trainer.photo.pixels[None]
    options = {"stages": 5, "min_size": 13, "max_size": 30}
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
                g, judge = generator_of(trainer.opening), critic_of(trainer.opening_critic)
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
        ours = generator_tensors(generator_of(trainer.learner))
        found.note_all(kind, ours, generator_tensors(g))
        found.note_all(kind, critic_of(trainer.critic).tensors, judge.tensors)
    return found.largest


@pytest.mark.parametrize("settings", [{}, {"critic.decoders.crop": "false"}], ids=str)
def test_training_equals_its_transcription(settings: dict[str, str]) -> None:
    """All levels from one start; three critic steps and one gradient, applied thrice, a step."""
    found = differences(with_overrides(SMALL, settings))
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


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_comparison_of_trainings_sees(flaw: str) -> None:
    assert differences(levels=1, flaw=FLAWS[flaw])["weights after 3"] > TOLERANCE


@pytest.mark.parametrize("flaw", FINE_FLAWS)
def test_the_comparison_of_trainings_sees_at_fine_levels(flaw: str) -> None:
    assert differences(levels=3, flaw=FINE_FLAWS[flaw])["weights after 3"] > TOLERANCE


# The preset --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo_size", "sizes"),
    [
        (Size(188, 250), ["25x34", "32x42", "42x56", "63x84", "126x167", "188x250"]),
        (Size(480, 640), ["25x34", "32x43", "44x59", "69x91", "145x194", "225x300"]),
    ],
    ids=str,
)
def test_the_preset_has_the_published_sizes_and_counts(photo_size: Size, sizes: list[str]) -> None:
    ladder = FAST_STABILIZED.pyramid.plan(photo_size)
    assert [str(size) for size in ladder.sizes] == sizes
    assert count_parameters(FAST_STABILIZED, ladder) == (181_219, 817_479)


def test_the_preset_has_the_published_settings() -> None:
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


@pytest.mark.parametrize("row", ROWS)
def test_the_rows_of_the_ablations(row: str) -> None:
    recipe = fast_ablations()[row]
    assert recipe.name == f"fast-stabilized-{row}"
    assert count_parameters(recipe, recipe.pyramid.plan(Size(188, 250))) == ROWS[row]
    if row.startswith("dilation"):
        assert fields_of(recipe)["generator.body.dilation"] == int(row[-1])
    assert Recipe.from_json(recipe.to_json()) == recipe


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


@pytest.mark.parametrize("row", [row for row in ROWS if row not in ("dilation-2", "dilation-4")])
def test_every_ablation_trains(row: str) -> None:
    small = {k: v for k, v in fields_small().items() if k in fields_of(fast_ablations()[row])}
    recipe = with_overrides(fast_ablations()[row], small)
    trainer = Trainer(photo(), recipe, seed=0, device="cpu", precision="fp32")
    names = [*dict.fromkeys(name for progress in trainer for name in progress.losses)]
    assert ("decoded" in names) == (row not in ("no-decoders", "neither"))
    assert next(trainer.model().sample([0])).size == trainer.model().size


def fields_small() -> dict[str, str]:
    return {
        "pyramid.levels": "3",
        "pyramid.min_size": "13",
        "pyramid.max_size": "30",
        "generator.width": "4",
        "critic.width.base": "4",
        "training.steps": "1",
    }


def test_old_recipes_keep_their_digests() -> None:
    """What was computed before bodies and decoders existed still counts; `preview` has restarts."""
    digests = {name: preset(name).digest() for name in ("consingan", "singan", "preview")}
    assert digests == {
        "consingan": "d3304974383d46ad",
        "singan": "15b62017d240a4ae",
        "preview": "6b3ac0712301865a",
    }
    before = preset("consingan").to_json()
    for field in ('"body":{"type":"convolution"},', '"decoding_weight":0.0,'):
        assert field in before
        before = before.replace(field, "")
    assert Recipe.from_json(before) == preset("consingan")
    assert len({recipe.digest() for recipe in fast_ablations().values()}) == len(ROWS)


def test_the_command_trains_it_and_its_ablations(
    photo_file: Any, tmp_path: Any, command: Command
) -> None:
    fields = " ".join(f"--set {k}={v}" for k, v in fields_small().items())
    line = f"train {photo_file} -o {tmp_path}/run --preset fast-stabilized {fields}"
    body = '--set generator.body={"type":"convolution"}'
    assert command(f"{line} {body}").code == 0
    assert command(f"sample {tmp_path}/run -o {tmp_path}/out -n 2 --tile xy").code == 0


def test_a_training_goes_on_where_it_stopped() -> None:
    """Bit for bit, decoders and their squares too."""

    def trainer() -> Trainer:
        recipe = with_overrides(FAST_STABILIZED, fields_small() | {"training.steps": "2"})
        return Trainer(photo(), recipe, seed=0, device="cpu", precision="bf16")

    first, second = trainer(), trainer()
    steps = iter(first)
    for _ in range(3):
        next(steps)
    second.load_state_dict(deepcopy(first.state_dict()))
    for _ in zip(steps, second, strict=True):
        pass
    assert first.finished
    assert second.finished
    for part in ("learner", "critic"):
        ours, theirs = first.state_dict()[part], second.state_dict()[part]
        assert any("decoder" in name or "crop" in name for name in ours) == (part == "critic")
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
