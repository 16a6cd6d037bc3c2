"""A part of an image filled smoothly from around it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize


def filled(pixels: Tensor, part: Tensor) -> Tensor:
    """Fill a part smoothly from around it: with means of what is known, at ever coarser sizes.

    Args:
        pixels: (B, C, H, W) in [-1, 1].
        part: (1, 1, H, W) of zeros and ones, 1 where it is filled.
    """
    known = 1 - part
    size = size_of(pixels)
    if max(size) == 1 or bool(known.all()):
        return pixels
    half = Size((size.height + 1) // 2, (size.width + 1) // 2)
    weight = F.adaptive_avg_pool2d(known, half)
    mean = F.adaptive_avg_pool2d(pixels * known, half)
    coarse = mean / weight.clamp(min=1e-6)
    below = filled(torch.where(weight > 0, coarse, 0.0), (weight == 0).float())
    return torch.where(part > 0, resize(below, size), pixels)
