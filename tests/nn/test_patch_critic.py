"""The SinGAN family's critic, as its settings build it."""

import torch

from reference.compare import noise
from singleimage.nn.decoding import DecodingCritic
from singleimage.nn.patch_critic import CriticSpec
from singleimage.recipes.presets import CONSINGAN, SINGAN


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
