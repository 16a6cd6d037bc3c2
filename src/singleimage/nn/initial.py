"""Weights drawn where their random numbers come from: a seed gives the same ones on any device."""

from collections.abc import Callable

import torch
from torch import Tensor


def draw(
    parameter: Tensor, fill: Callable[..., object], *how: float, generator: torch.Generator
) -> None:
    """Fill a parameter with random values.

    They are drawn on the device of the generator, which need not be that of the parameter, and in
    the parameter's memory order.

    Args:
        parameter: changed in place, without a graph.
        fill: fills a tensor in place, such as `Tensor.normal_`.
        how: the arguments of `fill`.
        generator: source of all randomness.
    """
    with torch.no_grad():
        values = torch.empty_like(parameter, device=generator.device)
        fill(values, *how, generator=generator)
        parameter.copy_(values)
