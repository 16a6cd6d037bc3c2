"""Chains of convolutions and leaky ReLUs, and their gradients."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from reference.compare import F64, apart, noise
from singleimage.nn.blocks import Conv, run_chain
from singleimage.nn.convolution import Link, chain

F32 = torch.float32


def links_of(
    parameters: Sequence[Tensor], slopes: Sequence[float | None], padding: int
) -> list[Link]:
    pairs = zip(parameters[::2], parameters[1::2], slopes, strict=True)
    return [Link(w.detach(), b.detach(), slope, padding) for w, b, slope in pairs]


def random_chain(widths: Sequence[int], seed: int = 0) -> list[Tensor]:
    parameters = []
    for i, (c_in, c_out) in enumerate(pairwise(widths)):
        parameters += [
            noise(c_out, c_in, 3, 3, seed=seed + 2 * i),
            noise(c_out, seed=seed + 50 + i),
        ]
    return [parameter.requires_grad_() for parameter in parameters]


CHAINS: list[tuple[list[int], list[float | None]]] = [
    ([2, 3], [None]),
    ([2, 1], [0.2]),
    ([1, 2, 2], [0.05, None]),
    ([2, 3, 2, 2], [0.2, 0.2, 0.2]),
]


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("widths", "slopes"), CHAINS, ids=[str(w) for w, _ in CHAINS])
def test_a_chain_has_the_gradients_of_finite_differences(
    widths: list[int], slopes: list[float | None], padding: int
) -> None:
    parameters = random_chain(widths)
    x = noise(2, widths[0], 7, 8, seed=9).requires_grad_()

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return chain(x, links_of(parameters, slopes, padding), parameters)

    assert gradcheck(run, (x, *parameters))


@pytest.mark.parametrize("dtype", [F64, F32], ids=["f64", "f32"])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("frozen", [(), (0,), (1, 2), (0, 1, 2, 3, 4)], ids=str)
def test_a_chain_is_convolutions_and_leaky_relus_in_turn(
    frozen: tuple[int, ...], padding: int, dtype: torch.dtype
) -> None:
    """Also where some of its input and weights need no gradient."""
    convs = [Conv(c_in, c_out, padding=padding) for c_in, c_out in ((3, 4), (4, 2), (2, 3))]
    slopes = [0.2, 0.05, None]
    for i, conv in enumerate(convs):
        conv.to(dtype)
        conv.weight.data.copy_(noise(*conv.weight.shape, seed=i))
        conv.bias.data.copy_(noise(*conv.bias.shape, seed=i + 9))
    x = noise(2, 3, 9, 8, seed=20, dtype=dtype)
    inputs = [x, *(p for conv in convs for p in (conv.weight, conv.bias))]
    wanted = [t.requires_grad_(i not in frozen) for i, t in enumerate(inputs)]
    wanted = [t for t in wanted if t.requires_grad]

    def plain() -> Tensor:
        y = x
        for conv, slope in zip(convs, slopes, strict=True):
            y = F.conv2d(y, conv.weight, conv.bias, padding=padding)
            y = y if slope is None else F.leaky_relu(y, slope)
        return y

    found, expected = run_chain(x, convs, slopes), plain()
    tolerance = 1e-12 if dtype == F64 else 1e-4
    assert apart(found, expected) < tolerance
    pull = noise(*found.shape, seed=30, dtype=dtype)
    ours, theirs = (torch.autograd.grad((y * pull).sum(), wanted) for y in (found, expected))
    assert all(apart(a, b) < tolerance for a, b in zip(ours, theirs, strict=True))
    with torch.no_grad():
        assert torch.equal(run_chain(x, convs, slopes), found)
