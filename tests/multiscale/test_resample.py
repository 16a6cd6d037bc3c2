"""Reducing and enlarging images."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from reference.compare import difference, noise
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.resample import bilinear, enlarge


def plain_bilinear(row: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    """OpenCV's rule for one axis: pixel centers, edges repeated."""
    places = (np.arange(length) + 0.5) * len(row) / length - 0.5
    return np.interp(places, np.arange(len(row)), row)


def test_levels_are_made_by_plain_bilinear_interpolation() -> None:
    for here, there in ((20, 13), (13, 20), (40, 5)):
        rows = noise(1, 1, 1, here).clamp(-1, 1)
        found = bilinear(rows, Size(1, there))[0, 0, 0]
        expected = plain_bilinear(rows[0, 0, 0].numpy(), there)
        assert np.abs(found.numpy() - expected).max() < 1e-12
        levels = bilinear(rows, Size(1, there), quantize=True).add(1).mul(127.5)
        assert difference(levels, levels.round()) < 1e-9
        assert np.abs(levels[0, 0, 0].numpy() / 127.5 - 1 - expected).max() <= 0.5 / 127.5 + 1e-9


def test_between_levels_images_are_enlarged_with_aligned_corners() -> None:
    x = noise(2, 3, 9, 11).requires_grad_()
    found = enlarge(x, Size(14, 18))
    expected = F.interpolate(x, (14, 18), mode="bilinear", align_corners=True)
    assert difference(found, expected) < 1e-12
    weights = noise(*found.shape, seed=1)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected))
    assert difference(ours, theirs) < 1e-12
