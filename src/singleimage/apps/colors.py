"""Colors of one picture moved to those of another."""

import torch
from torch import Tensor

FLAT = 1e-3
"""Variance of a channel, in [-1, 1]², under which colors are not spread any further."""


def with_colors_of(pixels: Tensor, photo: Tensor, count: int, part: Tensor | None = None) -> Tensor:
    """Give a picture the mean and the covariance of a photo's colors.

    The linear map that moves colors least (Pitie, Kokaram: The linear Monge-Kantorovitch linear
    colour mapping, CVMP 2007).

    Args:
        pixels: the picture, (1, C, H, W) in [-1, 1].
        photo: (C, h, w).
        count: channels of color, the first; the others stay as they are.
        part: (1, 1, H, W) of zeros and ones: only the colors there count and change; None: all.

    Returns:
        (1, C, H, W) in [-1, 1].
    """
    here = torch.ones_like(pixels[0, 0]) > 0 if part is None else part[0, 0] > 0
    ours = pixels[0, :count, here].double()
    theirs = photo[:count].flatten(1).double()
    mean, wanted = ours.mean(1, keepdim=True), theirs.mean(1, keepdim=True)
    lone = ours.shape[1] == 1
    spread = (ours - mean).cov(correction=int(not lone)).view(count, count)
    spread += FLAT * torch.eye(count)
    target = (theirs - wanted).cov().view(count, count) + FLAT * torch.eye(count)
    root, inverse = _power(spread, 0.5), _power(spread, -0.5)
    map_ = inverse @ _power(root @ target @ root, 0.5) @ inverse
    moved = (map_ @ (ours - mean) + wanted).clamp(-1, 1)
    result = pixels.clone()
    result[0, :count, here] = moved.to(pixels.dtype)
    return result


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    found: Tensor = (vectors * values.clamp(min=1e-12) ** exponent) @ vectors.T
    return found
