"""Weights drawn where their random numbers come from: a seed gives the same ones on any device."""

from collections.abc import Callable

import torch
from torch import Tensor

from singleimage.machine.device import channels_last


def draw(
    parameter: Tensor, fill: Callable[..., object], *how: float, generator: torch.Generator
) -> None:
    """Fill a parameter with random values.

    They are drawn on the device of the generator, which need not be that of the parameter: weights
    of convolutions in channels-last order, whatever that of the parameter is.

    Args:
        parameter: changed in place, without a graph.
        fill: fills a tensor in place, such as `Tensor.normal_`.
        how: the arguments of `fill`.
        generator: source of all randomness.
    """
    with torch.no_grad():
        like = torch.empty(parameter.shape, dtype=parameter.dtype, device=generator.device)
        values = channels_last(like) if like.dim() >= 4 else like
        fill(values, *how, generator=generator)
        parameter.copy_(values)
