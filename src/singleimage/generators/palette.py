"""A photo's few main colors, and images in them alone (SinGAN's quantized paint-to-image)."""

import torch
from torch import Tensor

ROUNDS = 50
"""Rounds of k-means, which settles in fewer."""


def main_colors(image: Tensor, count: int, seed: int) -> Tensor:
    """The centers (count, C) of k-means over the pixels of an image (1, C, H, W).

    Whole pixels are clustered, once; the published code's reshape mixed neighboring values of one
    channel instead. Centers begin far apart (k-means++), drawn from `seed`.
    """
    pixels = image[0].flatten(1).T.cpu().double()
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(pixels), (1,), generator=generator)
    centers = pixels[first]
    for _ in range(count - 1):
        apart = torch.cdist(pixels, centers).amin(dim=1).square()
        if not bool(apart.any()):  # fewer colors than asked for
            apart = torch.ones_like(apart)
        pick = torch.multinomial(apart / apart.sum(), 1, generator=generator)
        centers = torch.cat([centers, pixels[pick]])
    for _ in range(ROUNDS):
        nearest = torch.cdist(pixels, centers).argmin(dim=1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, pixels)
        counts = torch.bincount(nearest, minlength=count)[:, None]
        moved = torch.where(counts > 0, sums / counts.clamp(min=1), centers)
        if torch.equal(moved, centers):
            break
        centers = moved
    return centers.to(image)


def in_colors(image: Tensor, colors: Tensor) -> Tensor:
    """Replace each pixel by the nearest of some colors.

    Args:
        image: (B, C, H, W).
        colors: (count, C).
    """
    pixels = image.permute(0, 2, 3, 1)
    nearest = torch.cdist(pixels.flatten(0, 2), colors.to(image)).argmin(dim=1)
    return colors.to(image)[nearest].reshape(pixels.shape).permute(0, 3, 1, 2)
