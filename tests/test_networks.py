"""Networks: their sizes, first weights, norms, and the gradient penalty in closed form."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transcription
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.images.photo import Channels, Photo
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent
from singleimage.multiscale.pyramid import Pyramid
from singleimage.nn import blocks
from singleimage.nn.blocks import Conv, ConvStack, ImageNorm, Norm, PatchNet, Width, init_normal
from singleimage.nn.critic import inherit
from singleimage.nn.patch_critic import CriticSpec
from singleimage.objectives.adversarial import gradient_penalty
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import CONSINGAN, SINGAN
from singleimage.recipes.recipe import Recipe
from singleimage.training.trainer import Trainer

quick = settings(max_examples=25, deadline=None, derandomize=True)

SINGAN_WIDTHS = [32] * 4 + [64] * 4 + [128] * 2
SINGAN_GENERATOR = {32: 29_763, 64: 114_819, 128: 450_819}
SINGAN_CRITIC = {32: 29_185, 64: 113_665, 128: 448_513}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


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


def randomized(critic: PatchNet, seed: int, scale: float = 0.5) -> PatchNet:
    """Weights so large that a gradient of 1 is within reach, in float64."""
    critic.double()
    with torch.no_grad():
        for i, parameter in enumerate(critic.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=1000 * seed + i))
            if parameter.ndim == 4:
                parameter.mul_(scale / math.sqrt(parameter[0].numel() / 9))
    return critic


def as_function(critic: PatchNet) -> transcription.Critic:
    """The same critic, transcribed from the papers."""
    convs = [
        (conv.weight, conv.bias, *(p for p in norm.parameters()))
        for conv, norm in zip(critic.trunk.convs, critic.trunk.norms, strict=True)
    ]
    convs.append((critic.last.weight, critic.last.bias))
    return lambda x: transcription.patch_critic(convs, x, slope=critic.trunk.slope)


# Sizes


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


def test_width_doubles_every_four_levels_up_to_128() -> None:
    width = Width(base=32, double_every=4, limit=128)
    assert [width.at(level) for level in range(10)] == SINGAN_WIDTHS
    assert [width.at(level) for level in range(100)] == [
        transcription.singan_width(level) for level in range(100)
    ]
    assert Width(base=64).at(99) == 64


@pytest.mark.parametrize("recipe", [SINGAN, CONSINGAN], ids=lambda recipe: recipe.name)
def test_critic_scores_178x240_patches_of_a_188x250_image(recipe: Recipe) -> None:
    image = torch.empty(2, 3, 188, 250, device="meta")
    for critic in critics(recipe):
        assert critic(image).shape == (2, 1, 178, 240)


@pytest.mark.parametrize("recipe", [SINGAN, CONSINGAN], ids=lambda recipe: recipe.name)
def test_generator_draws_the_size_of_the_photo(recipe: Recipe) -> None:
    generator = grown(recipe)
    maps = [torch.empty_like(m) for m in generator.anchor().tensors()]
    latent = Latent(tuple(maps), generator.ladder.sizes)
    (image,) = generator.run_trained([(generator.run_frozen(latent), latent)])
    assert image.shape == (1, 3, 188, 250)


def test_critic_sees_patches_of_11_pixels() -> None:
    critic = randomized(PatchNet(3, 4, 1, norm="none", slope=0.2), seed=0)
    x = noise(1, 3, 25, 27).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x)[0, 0, 7, 9], x)
    seen = gradient[0].abs().sum(dim=0) > 0
    expected = torch.zeros_like(seen)
    expected[7:18, 9:20] = True
    assert torch.equal(seen, expected)


# First weights


@pytest.mark.parametrize("norm", ["batch", "image"])
def test_first_weights_are_normal_and_conv_biases_uniform(norm: Norm) -> None:
    """DCGAN's initialization, which leaves conv biases at PyTorch's default, as published."""
    net = PatchNet(3, 64, 64, norm=norm, slope=0.2)
    init_normal(net, torch.Generator().manual_seed(1))
    convs = [part for part in net.modules() if isinstance(part, Conv)]
    assert len(convs) == 5
    for conv in convs:
        fan_in = conv.weight[0].numel()
        tolerance = 5 * 0.02 / math.sqrt(conv.weight.numel())
        assert abs(conv.weight.mean().item()) < tolerance
        assert abs(conv.weight.std().item() - 0.02) < tolerance
        bound = 1 / math.sqrt(fan_in)
        assert conv.bias.abs().max() <= bound
        assert abs(conv.bias.std().item() - bound / math.sqrt(3)) < 0.2 * bound
    assert len(net.trunk.norms) == 4
    scales = torch.cat([part.get_parameter("weight") for part in net.trunk.norms])
    assert abs(scales.mean().item() - 1) < 5 * 0.02 / math.sqrt(256)
    assert abs(scales.std().item() - 0.02) < 5 * 0.02 / math.sqrt(2 * 256)
    for part in net.trunk.norms:
        assert not part.get_parameter("bias").any()


def test_first_weights_depend_on_the_generator_alone() -> None:
    torch.manual_seed(0)
    a = CriticSpec().build(level=0, channels=3, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    b = CriticSpec().build(level=0, channels=3, generator=torch.Generator().manual_seed(5))
    c = CriticSpec().build(level=0, channels=3, generator=torch.Generator().manual_seed(6))
    for x, y, z in zip(a.parameters(), b.parameters(), c.parameters(), strict=True):
        assert torch.equal(x, y)
        assert not torch.equal(x, z)


# Warm starts


def test_a_network_of_equal_shape_inherits_all_weights_and_statistics() -> None:
    old = PatchNet(3, 8, 3, norm="batch", slope=0.2)
    init_normal(old, torch.Generator().manual_seed(0))
    old(noise(1, 3, 20, 20, dtype=torch.float32))  # moves the running statistics
    new = PatchNet(3, 8, 3, norm="batch", slope=0.2)
    init_normal(new, torch.Generator().manual_seed(1))
    inherit(new, old)
    assert all(torch.equal(a, b) for a, b in pairs(new, old))
    assert old.get_buffer("trunk.norms.0.running_mean").any()
    new.last.weight.data.add_(1)
    assert not torch.equal(new.last.weight, old.last.weight)  # a copy, not the same memory


def test_a_network_of_another_width_starts_afresh() -> None:
    old, new = (PatchNet(3, width, 1, norm="image", slope=0.2) for width in (8, 16))
    for i, net in enumerate((old, new)):
        init_normal(net, torch.Generator().manual_seed(i))
    before = {name: value.clone() for name, value in new.state_dict().items()}
    inherit(new, old)
    assert all(torch.equal(value, before[name]) for name, value in new.state_dict().items())


def pairs(a: nn.Module, b: nn.Module) -> list[tuple[Tensor, Tensor]]:
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys()
    return [(ours[name], theirs[name]) for name in ours]


def test_levels_4_and_8_of_singan_start_afresh_and_the_others_from_the_level_below() -> None:
    photo = torch.rand(1, 3, 188, 250, generator=torch.Generator().manual_seed(0)) * 2 - 1
    example = Pyramid.build(photo, SINGAN.pyramid)
    generator = SINGAN.generator.build(channels=3, ladder=example.ladder)
    rng = torch.Generator().manual_seed(0)
    for _ in range(10):
        generator.extend(rng)
    warm = [
        level
        for level, (below, above) in enumerate(pairwise(generator.levels), start=1)
        if [p.shape for p in below.parameters()] == [p.shape for p in above.parameters()]
        and all(torch.equal(a, b) for a, b in pairs(below, above))
    ]
    assert warm == [1, 2, 3, 5, 6, 7, 9]


class Opened(Trainer):
    """Notes the weights with which every level begins."""

    def __init__(self, recipe: Recipe, photo: Photo) -> None:
        self.openings: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        super().__init__(photo, recipe, seed=0, device="cpu", precision="fp32")

    def _begin_level(self) -> None:
        super()._begin_level()
        assert self.players.critic is not None
        networks: tuple[nn.Module, nn.Module] = (self.learner, self.players.critic)
        learner, critic = (
            {name: value.clone() for name, value in network.state_dict().items()}
            for network in networks
        )
        self.openings.append((learner, critic))


def opened(recipe: Recipe) -> tuple[Opened, list[dict[str, Tensor]]]:
    """A training of one step a level, and the critics that each level ended with."""
    pixels = noise(3, 26, 31, dtype=torch.float32).clamp(-1, 1)
    trainer = Opened(recipe, Photo(pixels, Channels(mode="RGB")))
    closings = []
    for _ in trainer:
        assert trainer.players.critic is not None
        critic = trainer.players.critic.state_dict()
        closings.append({name: value.clone() for name, value in critic.items()})
    return trainer, closings


def test_critic_of_singan_is_carried_over_while_its_width_stays() -> None:
    small = {"pyramid.min_size": "13", "training.steps": "1"}
    for part in ("generator", "critic"):
        small |= {f"{part}.width.base": "2", f"{part}.width.double_every": "2"}
    trainer, closings = opened(with_overrides(SINGAN, small))
    assert len(closings) == 5
    carried = [
        all(torch.equal(value, new[name]) for name, value in old.items() if name in new)
        for old, (_, new) in zip(closings, trainer.openings[1:], strict=False)
        if [v.shape for v in old.values()] == [v.shape for v in new.values()]
    ]
    assert carried == [True, True]  # into levels 1 and 3; 2 and 4 have another width
    widths = [new["last.weight"].shape[1] for _, new in trainer.openings]
    assert widths == [2, 2, 4, 4, 8]


def test_consingan_carries_its_critic_always_and_copies_its_newest_block() -> None:
    small = {"pyramid.min_size": "13", "pyramid.levels": "4", "training.steps": "1"}
    small |= {"generator.width": "3", "critic.width.base": "3"}
    trainer, closings = opened(with_overrides(CONSINGAN, small))
    for old, (_, new) in zip(closings, trainer.openings[1:], strict=False):
        assert all(torch.equal(value, new[name]) for name, value in old.items())
    for level in range(1, 4):
        learner, _ = trainer.openings[level]
        for part in ("convs.0.weight", "convs.2.bias"):
            newest = learner[f"blocks.{level}.{part}"]
            assert torch.equal(newest, learner[f"blocks.{level - 1}.{part}"])


# Norms


def test_image_norm_is_batch_norm_in_train_mode_at_batch_one() -> None:
    ours, theirs = ImageNorm(5).double(), nn.BatchNorm2d(5).double().train()
    for norm in (ours, theirs):
        norm.weight.data.copy_(noise(5, seed=1))
        norm.bias.data.copy_(noise(5, seed=2))
    for mode in (True, False):
        x = (3 * noise(1, 5, 7, 8) + 1).requires_grad_()
        a, b = ours.train(mode)(x), theirs(x)
        assert (a - b).abs().max() < 1e-12
        weights = noise(*a.shape, seed=3)
        (da,), (db,) = (torch.autograd.grad((y * weights).sum(), x) for y in (a, b))
        assert (da - db).abs().max() < 1e-12


def test_image_norm_of_an_image_does_not_depend_on_the_others() -> None:
    norm = ImageNorm(4).double()
    norm.weight.data.copy_(noise(4, seed=1))
    x = noise(3, 4, 6, 5) * torch.tensor([1.0, 10.0, 0.1]).view(3, 1, 1, 1)
    together = norm(x)
    for i in range(3):
        assert (together[i : i + 1] - norm(x[i : i + 1])).abs().max() < 1e-12


def test_a_stack_is_convolution_norm_and_leaky_relu_in_turn() -> None:
    stack = ConvStack((3, 4, 5), norm="image", slope=0.3).double()
    for i, parameter in enumerate(stack.parameters()):
        parameter.data.copy_(noise(*parameter.shape, seed=i))
    x = y = noise(1, 3, 9, 9)
    for conv, norm in zip(stack.convs, stack.norms, strict=True):
        y = F.conv2d(y, conv.get_parameter("weight"), conv.get_parameter("bias"))
        mean, variance = y.mean((2, 3), keepdim=True), y.var((2, 3), keepdim=True, correction=0)
        y = (y - mean) / (variance + 1e-5).sqrt()
        y = y * norm.get_parameter("weight").view(1, -1, 1, 1)
        y = y + norm.get_parameter("bias").view(1, -1, 1, 1)
        y = torch.where(y > 0, y, 0.3 * y)
    assert (stack(x) - y).abs().max() < 1e-12


# Gradient penalty


def penalty_of(critic: PatchNet, real: Tensor, fake: Tensor, epsilon: float) -> Tensor:
    said = critic.judge(real, fake, torch.lerp(fake, real, epsilon), 0)
    return gradient_penalty(said.gradient)


def penalty_and_gradients(penalty: Tensor, critic: PatchNet) -> tuple[float, dict[str, Tensor]]:
    """Biases of a piecewise linear critic do not move its gradient: zero."""
    names = [name for name, _ in critic.named_parameters()]
    parameters = list(critic.parameters())
    gradients = torch.autograd.grad(penalty, parameters, allow_unused=True, materialize_grads=True)
    return penalty.item(), dict(zip(names, gradients, strict=True))


@quick
@given(
    width=st.integers(1, 9),
    channels=st.integers(1, 4),
    batch=st.integers(1, 3),
    height=st.integers(11, 19),
    breadth=st.integers(11, 19),
    slope=st.floats(0, 0.9),
    epsilon=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_penalty_in_closed_form_is_that_of_a_double_backward_pass(
    width: int,
    channels: int,
    batch: int,
    height: int,
    breadth: int,
    slope: float,
    epsilon: float,
    seed: int,
) -> None:
    critic = randomized(PatchNet(channels, width, 1, norm="none", slope=slope), seed)
    real, fake = (noise(batch, channels, height, breadth, seed=s) for s in (seed + 1, seed + 2))
    x = torch.lerp(fake, real, epsilon).requires_grad_()
    (expected,) = torch.autograd.grad(critic(x).sum(), x)
    _, gradient, _ = critic.examine(real, x.detach())
    assert (gradient - expected).abs().max() < 1e-10

    found, ours = penalty_and_gradients(penalty_of(critic, real, fake, epsilon), critic)
    reference = transcription.gradient_penalty(as_function(critic), real, fake, epsilon, weight=1.0)
    value, theirs = penalty_and_gradients(reference, critic)
    assert found == pytest.approx(value, rel=1e-10)
    for name, gradient in theirs.items():
        scale = max(1.0, gradient.abs().max().item())
        assert (ours[name] - gradient).abs().max() < 1e-10 * scale, name


def test_the_comparison_of_penalties_sees_a_wrong_slope() -> None:
    critic = randomized(PatchNet(3, 4, 1, norm="none", slope=0.2), seed=0)
    real, fake = noise(1, 3, 14, 15, seed=1), noise(1, 3, 14, 15, seed=2)
    reference = transcription.gradient_penalty(as_function(critic), real, fake, 0.4, weight=1.0)
    critic.trunk.slope += 1e-4
    found = penalty_of(critic, real, fake, 0.4)
    assert abs(found.item() - reference.item()) > 1e-6


@pytest.mark.parametrize(("length", "penalty"), [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0)])
def test_penalty_is_by_how_much_the_gradient_of_a_pixel_misses_one(
    length: float, penalty: float
) -> None:
    """Whatever its direction, which varies from pixel to pixel."""
    found = gradient_penalty(length * F.normalize(noise(2, 3, 9, 8), dim=1))
    assert found.item() == pytest.approx(penalty, abs=1e-12)


@pytest.mark.parametrize("norm", ["none", "image"])
def test_only_a_critic_without_norm_takes_the_closed_form(
    norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    closed_form = blocks.judge

    def noted(*arguments: Any) -> tuple[Tensor, Tensor]:
        calls.append(norm)
        return closed_form(*arguments)

    monkeypatch.setattr(blocks, "judge", noted)
    critic = randomized(PatchNet(3, 4, 1, norm=norm, slope=0.2), seed=0)
    assert critic.piecewise_linear == (norm == "none")
    penalty_of(critic, noise(1, 3, 12, 12, seed=1), noise(1, 3, 12, 12, seed=2), 0.5)
    assert calls == (["none"] if norm == "none" else [])


@quick
@given(
    width=st.integers(1, 6),
    height=st.integers(13, 19),
    slope=st.floats(0.01, 0.9),
    epsilon=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_penalty_of_a_critic_with_norm_equals_the_transcription(
    width: int, height: int, slope: float, epsilon: float, seed: int
) -> None:
    critic = randomized(PatchNet(3, width, 1, norm="image", slope=slope), seed)
    real, fake = noise(1, 3, height, 15, seed=seed + 1), noise(1, 3, height, 15, seed=seed + 2)
    found, ours = penalty_and_gradients(penalty_of(critic, real, fake, epsilon), critic)
    reference = transcription.gradient_penalty(as_function(critic), real, fake, epsilon, weight=1.0)
    value, theirs = penalty_and_gradients(reference, critic)
    assert found == pytest.approx(value, rel=1e-9)
    for name, gradient in theirs.items():
        scale = max(1.0, gradient.abs().max().item())
        assert (ours[name] - gradient).abs().max() < 1e-8 * scale, name


@pytest.mark.parametrize("norm", ["none", "image"])
def test_penalty_moves_the_critic_and_not_the_images(norm: Norm) -> None:
    critic = randomized(PatchNet(3, 4, 1, norm=norm, slope=0.2), seed=0)
    real, fake = (noise(1, 3, 12, 13, seed=s).requires_grad_() for s in (1, 2))
    penalty = penalty_of(critic, real, fake, 0.5)
    gradients = torch.autograd.grad(penalty, [real, fake, critic.last.weight], allow_unused=True)
    assert gradients[0] is None
    assert gradients[1] is None
    assert gradients[2] is not None
    assert gradients[2].any()
