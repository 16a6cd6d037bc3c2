"""The gradient penalty, in closed form and by autograd, is that of the papers."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from torch import Tensor

from reference import singan as paper
from reference.compare import noise
from singleimage.nn import blocks
from singleimage.nn.blocks import Norm, PatchNet, Width
from singleimage.nn.decoding import DecodersSpec
from singleimage.nn.patch_critic import CriticSpec
from singleimage.nn.spectral import SpectralCriticSpec
from singleimage.objectives.adversarial import AdversarialSpec, gradient_penalty

quick = settings(max_examples=25, deadline=None, derandomize=True)


def randomized(critic: PatchNet, seed: int, scale: float = 0.5) -> PatchNet:
    """Weights so large that a gradient of 1 is within reach, in float64."""
    critic.double()
    with torch.no_grad():
        for i, parameter in enumerate(critic.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=1000 * seed + i))
            if parameter.ndim == 4:
                parameter.mul_(scale / math.sqrt(parameter[0].numel() / 9))
    return critic


def as_function(critic: PatchNet) -> paper.Critic:
    """The same critic, transcribed from the papers."""
    convs = [
        (conv.weight, conv.bias, *(p for p in norm.parameters()))
        for conv, norm in zip(critic.trunk.convs, critic.trunk.norms, strict=True)
    ]
    convs.append((critic.last.weight, critic.last.bias))
    return lambda x: paper.patch_critic(convs, x, slope=critic.trunk.slope)


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
    reference = paper.gradient_penalty(as_function(critic), real, fake, epsilon, weight=1.0)
    value, theirs = penalty_and_gradients(reference, critic)
    assert found == pytest.approx(value, rel=1e-10)
    for name, gradient in theirs.items():
        scale = max(1.0, gradient.abs().max().item())
        assert (ours[name] - gradient).abs().max() < 1e-10 * scale, name


@pytest.mark.parametrize("norm", ["none", "image"])
def test_the_zero_centred_penalty_is_at_the_photo(norm: Norm) -> None:
    """Meta Internal Learning, equations 4 and 14: the mean squared norm there, in float64."""
    critic = randomized(PatchNet(3, 5, 1, norm=norm, slope=0.1), 3)
    real, fake = noise(2, 3, 14, 15, seed=1), noise(2, 3, 14, 15, seed=2)
    view: Any = SimpleNamespace(
        critic=critic,
        shown=fake,
        real=real,
        fresh_seed=lambda name: 0,
        uniform=None,
        step=0,
        critic_moves=0,
    )
    terms = AdversarialSpec(penalty="real", penalty_weight=0.7).terms("critic", view)
    x = real.clone().requires_grad_()
    scores = torch.stack([as_function(critic)(one[None]).sum() for one in x]).sum()
    (gradient,) = torch.autograd.grad(scores, x, create_graph=True)
    expected = 0.7 * gradient.square().sum(1).mean()
    ours = penalty_and_gradients(terms["penalty"], critic)
    theirs = penalty_and_gradients(expected, critic)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    for name, found in ours[1].items():
        torch.testing.assert_close(found, theirs[1][name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "spec",
    [
        CriticSpec(width=Width(base=4)),
        CriticSpec(width=Width(base=4), norm="image"),
        CriticSpec(width=Width(base=4), decoders=DecodersSpec(full=True, crop=True)),
        SpectralCriticSpec(width=4, depth=3),
    ],
    ids=["plain", "norm", "decoders", "spectral"],
)
def test_a_critic_s_step_without_a_penalty_has_all_other_terms(
    spec: CriticSpec | SpectralCriticSpec,
) -> None:
    """In every third of two steps each: the third, the sixth; three times as heavy."""
    dice = torch.Generator().manual_seed(1)
    critic = spec.build(level=0, channels=3, generator=dice).double().eval()
    real, fake = noise(1, 3, 14, 15, seed=1).clamp(-1, 1), noise(1, 3, 14, 15, seed=2)

    def terms(objective: AdversarialSpec, step: int, moves: int) -> dict[str, Tensor]:
        view: Any = SimpleNamespace(
            critic=critic,
            shown=fake,
            real=real,
            fresh_seed=lambda name: 0,
            uniform=lambda: 0.3,
            step=step,
            critic_moves=moves,
        )
        return dict(objective.terms("critic", view))

    lazy = AdversarialSpec(critic_steps=2, penalty_every=3, decoding_weight=5.0)
    always = replace(lazy, penalty_every=1)
    for step, moves in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)):
        found, usual = terms(lazy, step, moves), terms(always, step, moves)
        penalty = usual.pop("penalty")
        if (2 * step + moves + 1) % 3 == 0:
            torch.testing.assert_close(found.pop("penalty"), 3 * penalty)
        assert found.keys() == usual.keys()
        weights = list(critic.parameters())
        for name, term in found.items():
            assert torch.equal(term, usual[name])
            one, other = (
                torch.autograd.grad(x, weights, allow_unused=True, retain_graph=True)
                for x in (term, usual[name])
            )
            for a, b in zip(one, other, strict=True):
                assert (a is None and b is None) or torch.allclose(a, b, rtol=1e-12, atol=1e-15)  # type: ignore[arg-type]


def test_the_comparison_of_penalties_sees_a_wrong_slope() -> None:
    critic = randomized(PatchNet(3, 4, 1, norm="none", slope=0.2), seed=0)
    real, fake = noise(1, 3, 14, 15, seed=1), noise(1, 3, 14, 15, seed=2)
    reference = paper.gradient_penalty(as_function(critic), real, fake, 0.4, weight=1.0)
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
    reference = paper.gradient_penalty(as_function(critic), real, fake, epsilon, weight=1.0)
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
