"""Convolutions of spectral norm one, and the critic made of them."""

import pytest
import torch
import torch.nn.functional as F

from reference.compare import difference, noise
from reference.hp_vae_gan import critic_map
from singleimage.nn.spectral import SpectralConv, SpectralCriticSpec


def test_spectral_norm_tends_to_the_largest_singular_value() -> None:
    layer = SpectralConv(3, 7).double()
    layer.conv.weight.data = noise(7, 3, 3, 3)
    layer.direction.copy_(F.normalize(noise(7, seed=2), dim=0))
    layer.train()
    first, later = (
        float(torch.linalg.matrix_norm(layer.normalized(passes).detach().flatten(1), ord=2))
        for passes in (1, 200)
    )
    assert first > 1.0001
    assert abs(later - 1) < 1e-6
    before = layer.direction.clone()
    layer.eval()
    layer.normalized(5)
    assert torch.equal(layer.direction, before)


@pytest.mark.parametrize("frames", [(), (4,)])
def test_the_critic_judges_as_plain_autograd_does(frames: tuple[int, ...]) -> None:
    critic = SpectralCriticSpec(width=4, depth=3, axes=3 if frames else 2).build(
        level=0, channels=3, generator=torch.Generator().manual_seed(1)
    )
    critic.double().eval()
    images, between = noise(3, 3, *frames, 8, 9), noise(2, 3, *frames, 8, 9, seed=1)
    assert critic(images).shape == (3, 1, *frames, 8, 9)
    said = critic.judge(images[:2], images[2:], between, 0)
    means = critic(images).flatten(1).mean(1)
    assert difference(torch.cat([said.real, said.fake]), means) < 1e-12
    state = {name: value.detach() for name, value in critic.state_dict().items()}
    point = between.clone().requires_grad_()
    (expected,) = torch.autograd.grad(critic_map(state, point, 1).sum(), point)
    assert difference(said.gradient, expected) < 1e-12
