"""Layers whose gradient is differentiated again."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from reference.compare import apart, difference, noise
from reference.hp_vae_gan import plain_conv
from singleimage.nn.second_order import bend, convolve, normalize
from tiny import slow_but


@pytest.mark.parametrize("frames", slow_but([(), (3,)], ()))
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


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 3, 4, 3), (2, 2, 3, 4, 5, 3), (1, 3, 1, 5, 3, 3), (2, 2, 2, 3, 3, 1)],
    ids=str,
)
def test_a_convolution_can_be_differentiated_twice(shape: tuple[int, ...]) -> None:
    """By its input, its weights and its bias; batch, channels in and out, height, width, kernel."""
    batch, c_in, c_out, height, width, kernel = shape
    x = noise(batch, c_in, height, width).requires_grad_()
    weight = noise(c_out, c_in, kernel, kernel, seed=1).requires_grad_()
    bias = noise(c_out, seed=2).requires_grad_()
    assert difference(convolve(x, weight, bias), F.conv2d(x, weight, bias)) < 1e-12
    assert gradcheck(convolve, (x, weight, bias))
    assert gradgradcheck(convolve, (x, weight, bias))


def test_a_convolution_can_be_differentiated_three_times() -> None:
    """As often as one likes: its gradients are convolutions too."""
    x = noise(1, 2, 4, 4).requires_grad_()
    weight, bias = noise(2, 2, 3, 3, seed=1).requires_grad_(), noise(2, seed=2).requires_grad_()

    def third(convolution: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        value = convolution(x, weight, bias).pow(4).sum()
        for _ in range(2):
            (slope,) = torch.autograd.grad(value, x, create_graph=True)
            value = slope.square().sum()
        return torch.autograd.grad(value, (x, weight, bias))

    for found, expected in zip(third(convolve), third(F.conv2d), strict=True):
        assert apart(found, expected) < 1e-10


def gradient_by_input(layer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What a critic with norm is penalized for, as a function of its own."""

    def gradient(x: Tensor, pull: Tensor, *parameters: Tensor) -> Tensor:
        total = (layer(x, *parameters) * pull).sum()
        return torch.autograd.grad(total, x, create_graph=True)[0]

    return gradient


@pytest.mark.parametrize("batch", [1, 3])
def test_a_norm_has_the_gradients_of_finite_differences_twice(batch: int) -> None:
    x, pull = (noise(batch, 2, 3, 4, seed=s).requires_grad_() for s in (1, 2))
    weight, bias = (noise(2, seed=s).requires_grad_() for s in (3, 4))

    def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normalize(x, weight, bias, 1e-5)

    assert gradcheck(norm, (x, weight, bias))
    assert gradcheck(
        gradient_by_input(norm), (x, pull, weight, bias.detach()), check_undefined_grad=False
    )


@pytest.mark.parametrize("slope", [0.0, 0.05, 0.2])
def test_a_bend_has_the_gradients_of_finite_differences_twice(slope: float) -> None:
    x, pull = (noise(2, 3, 4, 2, seed=s).requires_grad_() for s in (1, 2))
    assert torch.equal(bend(x, slope), F.leaky_relu(x, slope))
    assert gradcheck(lambda x: bend(x, slope), (x,))
    assert gradgradcheck(lambda x: bend(x, slope), (x,))
    assert gradcheck(gradient_by_input(lambda x: bend(x, slope)), (x, pull))
