"""Layers whose gradient is differentiated again."""

import pytest
import torch
from torch import Tensor

from reference.compare import difference, noise
from reference.hp_vae_gan import plain_conv
from singleimage.nn.second_order import convolve


@pytest.mark.parametrize("frames", [(), (3,)])
@pytest.mark.parametrize("padding", [0, 1])
def test_gradients_of_convolutions_can_be_differentiated_again(
    padding: int, frames: tuple[int, ...]
) -> None:
    kernel = (3,) * (2 + len(frames))
    inputs = [noise(2, 2, *frames, 3, 4), noise(2, 2, *kernel, seed=1), noise(2, seed=2)]
    arguments = tuple(x.requires_grad_() for x in inputs)

    def ours(*given: Tensor) -> Tensor:
        return convolve(*given, padding=padding)

    assert difference(ours(*arguments), plain_conv(*arguments, padding=padding)) < 1e-12
    assert torch.autograd.gradcheck(ours, arguments)
    assert torch.autograd.gradgradcheck(ours, arguments)
