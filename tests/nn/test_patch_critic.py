"""The SinGAN family's critic: as its settings build it, and its fast judgement against autograd."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.compare import apart, difference, noise
from singleimage.nn import convolution
from singleimage.nn.blocks import Norm, PatchNet, init_normal
from singleimage.nn.decoding import DecodingCritic
from singleimage.nn.patch_critic import CriticSpec
from singleimage.nn.precision import use_precision
from singleimage.recipes.presets import CONSINGAN, SINGAN

F32 = torch.float32


def test_the_published_critics_score_178x240_patches_of_a_188x250_image() -> None:
    image = torch.empty(2, 3, 188, 250, device="meta")
    for spec in (SINGAN.critic, CONSINGAN.critic):
        for level in range(10):
            with torch.device("meta"):
                critic = spec.build(level=level, channels=3, generator=None)
            assert critic(image).shape == (2, 1, 178, 240)


def test_first_weights_depend_on_the_generator_alone() -> None:
    torch.manual_seed(0)
    a = CriticSpec().build(level=0, channels=3, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    b = CriticSpec().build(level=0, channels=3, generator=torch.Generator().manual_seed(5))
    c = CriticSpec().build(level=0, channels=3, generator=torch.Generator().manual_seed(6))
    for x, y, z in zip(a.parameters(), b.parameters(), c.parameters(), strict=True):
        assert torch.equal(x, y)
        assert not torch.equal(x, z)


def test_a_critic_without_decoders_redraws_nothing() -> None:
    made = CriticSpec().build(level=0, channels=3, generator=None)
    assert not isinstance(made, DecodingCritic)
    real = noise(1, 3, 14, 15).float()
    assert made.judge(real, -real, real / 2, 0).errors == {}


def random_critic(norm: Norm, *, slope: float = 0.2, seed: int = 0) -> PatchNet:
    """Weights so large that a gradient of 1 is within reach."""
    critic = PatchNet(3, 5, 1, norm=norm, slope=slope).double()
    for i, parameter in enumerate(critic.parameters()):
        drawn = noise(*parameter.shape, seed=100 * seed + i)
        gain = 2 / parameter[0].numel() ** 0.5 if parameter.ndim == 4 else 0.5
        parameter.data.copy_(drawn.mul_(gain))
    return critic


def plain_map(critic: PatchNet, x: Tensor) -> Tensor:
    """The critic's output, by PyTorch's own operations, one image after the other."""
    maps = []
    for image in x.split(1):
        y = image
        for conv, norm in zip(critic.trunk.layers, critic.trunk.norms, strict=True):
            y = F.conv2d(y, conv.weight, conv.bias)
            if isinstance(norm, nn.Module) and list(norm.parameters()):
                variance, mean = torch.var_mean(y, (2, 3), keepdim=True, correction=0)
                scale, shift = (p.view(1, -1, 1, 1) for p in norm.parameters())
                y = (y - mean) / (variance + 1e-5).sqrt() * scale + shift
            y = F.leaky_relu(y, critic.trunk.slope)
        maps.append(F.conv2d(y, critic.last.weight, critic.last.bias))
    return torch.cat(maps)


def plain_judge(critic: PatchNet, images: Tensor, between: Tensor) -> tuple[Tensor, Tensor]:
    between = between.detach().requires_grad_()
    total = plain_map(critic, between).sum()
    (gradient,) = torch.autograd.grad(total, between, create_graph=True)
    return plain_map(critic, images).mean((1, 2, 3)), gradient


def examine(critic: PatchNet) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return lambda images, between: critic.examine(images, between)[:2]


def judged(
    judge: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    critic: PatchNet,
    images: Tensor,
    between: Tensor,
) -> dict[str, Tensor]:
    """Scores, gradient, and what a loss of both makes of the weights and the images."""
    images = images.clone().requires_grad_()
    scores, gradient = judge(images, between)
    weights = torch.linspace(-1, 2, len(scores), dtype=scores.dtype)  # images count differently
    loss = (weights * scores).sum() + (gradient.norm(2, dim=1) - 1).square().mean()
    names = [name for name, _ in critic.named_parameters()]
    wanted = [*critic.parameters(), images]
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return {
        "scores": scores,
        "gradient": gradient,
        **dict(zip([*names, "images"], found, strict=True)),
    }


def farthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest relative difference of all; of values that are zero but for rounding, the
    absolute one."""
    assert found.keys() == expected.keys()
    return max(min(apart(found[k], expected[k]), difference(found[k], expected[k])) for k in found)


@pytest.mark.parametrize("norm", ["none", "image"])
@pytest.mark.parametrize("slope", [0.05, 0.2])
def test_a_critic_judges_as_plain_autograd_does(norm: Norm, slope: float) -> None:
    """Of images so small that they have one score or one line of them, and of larger ones."""
    for size, batches in (
        ((11, 11), (1, 1)),
        ((11, 11), (3, 2)),
        ((12, 11), (2, 1)),
        ((11, 13), (1, 3)),
        ((15, 15), (3, 2)),
        ((24, 17), (1, 1)),
        ((24, 17), (2, 1)),
    ):
        critic = random_critic(norm, slope=slope, seed=sum(size) + sum(batches))
        images, between = (noise(n, 3, *size, seed=n + 7) for n in batches)
        for ours, theirs in (
            (examine(critic), lambda a, b, of=critic: plain_judge(of, a, b)),
            (
                lambda a, b, of=critic: (of.mean_scores(a), b),
                lambda a, b, of=critic: (plain_map(of, a).mean((1, 2, 3)), b),
            ),
        ):
            found, expected = (judged(way, critic, images, between) for way in (ours, theirs))
            assert farthest(found, expected) < 1e-9, (size, batches)


@pytest.mark.parametrize("norm", ["none", "image"])
def test_the_comparison_of_judgements_sees_a_wrong_slope_and_a_wrong_weight(norm: Norm) -> None:
    critic, other = random_critic(norm), random_critic(norm)
    images, between = noise(2, 3, 12, 13, seed=1), noise(1, 3, 12, 13, seed=2)
    expected = judged(lambda a, b: plain_judge(other, a, b), other, images, between)
    assert farthest(judged(examine(critic), critic, images, between), expected) < 1e-9
    critic.trunk.slope += 1e-6
    assert farthest(judged(examine(critic), critic, images, between), expected) > 1e-8
    critic.trunk.slope -= 1e-6
    critic.last.weight.data[0, 0, 0, 0] += 1e-6
    found = judged(examine(critic), critic, images, between)
    assert all(apart(found[k], expected[k]) > 1e-8 for k in ("scores", "gradient", "images"))


@pytest.mark.parametrize("norm", ["none", "image"])
def test_a_critic_that_rests_still_moves_the_images(norm: Norm) -> None:
    """In the generator's turn its weights need no gradient."""
    critic = random_critic(norm).requires_grad_(False)
    images = noise(2, 3, 14, 12, seed=3).requires_grad_()
    results = [critic.mean_scores(images), plain_map(critic, images).mean((1, 2, 3))]
    found, expected = (torch.autograd.grad(scores[1], images)[0] for scores in results)
    assert found[1].any()
    assert not found[0].any()
    assert apart(found, expected) < 1e-9


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("size", [(11, 11), (23, 30)], ids=str)
def test_a_critic_judges_in_float32_as_in_float64(
    fused: bool, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the fused operation, which float64 never takes."""
    if not fused:
        monkeypatch.setattr(convolution, "_fuses", lambda dtype: False)
    exact, critic = random_critic("none"), random_critic("none").float()
    images, between = noise(2, 3, *size, seed=1), noise(1, 3, *size, seed=2)
    expected = judged(lambda a, b: plain_judge(exact, a, b), exact, images, between)
    found = judged(examine(critic), critic, images.float(), between.float())
    assert all(value.dtype == F32 for value in found.values())
    assert farthest({k: v.double() for k, v in found.items()}, expected) < 1e-4


@pytest.mark.parametrize("norm", ["none", "image"])
def test_a_critic_judges_in_bfloat16_about_as_in_float32(norm: Norm) -> None:
    critic = random_critic(norm).float()
    images, between = noise(2, 3, 40, 40, seed=1, dtype=F32), noise(1, 3, 40, 40, seed=2, dtype=F32)
    expected = judged(examine(critic), critic, images, between)
    use_precision(critic, "bf16")
    found = judged(examine(critic), critic, images, between)
    for name, value in found.items():
        assert value.dtype == F32
        assert (value - expected[name]).norm() <= 0.2 * expected[name].norm() + 0.01, name
    assert not torch.equal(found["gradient"], expected["gradient"])


@pytest.mark.parametrize("size", [(25, 34), (60, 80)], ids=str)
def test_a_bias_that_moves_all_scores_alike_has_no_gradient(size: tuple[int, int]) -> None:
    """Exactly: Adam would make a step of full length of what rounding leaves.

    Most biases of a fresh critic's fourth convolution are such: their channel is of one sign
    everywhere, so that what they add to the score of the photo they add to that of the fake.
    """
    critic = PatchNet(3, 64, 1, norm="none", slope=0.2)
    init_normal(critic, torch.Generator().manual_seed(0))
    images = noise(2, 3, *size, dtype=F32).clamp(-1, 1)
    bias = critic.trunk.layers[-1].bias
    results = [critic.mean_scores(images), plain_map(critic, images).mean((1, 2, 3))]
    found, expected = (torch.autograd.grad(real - fake, bias)[0] for real, fake in results)
    assert (expected == 0).sum() > 40
    assert not found[expected == 0].any()
