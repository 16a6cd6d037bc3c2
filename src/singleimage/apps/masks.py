"""Masks: found, softened, and used to lay a new picture over an old one.

A mask is (1, 1, H, W) with values in [0, 1]: 1 where the picture is to be new.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.errors import MaskError
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize

TOLERANCE = 12 / 127.5
"""Difference of a channel, in [-1, 1], that JPEG makes: less is no difference."""
SPECK = 1
"""Radius of lone pixels that do not count as a difference."""
SIGMA = 5.0
"""Standard deviation of the blur, pixels (published code of SinGAN and ConSinGAN)."""


def binary(mask: Tensor, size: Size, name: str = "the mask") -> Tensor:
    """Make a mask of zeros and ones from a picture: 1 wherever it is not black.

    Args:
        mask: channels (C, H, W) in [-1, 1], of which the first counts.
        size: that the mask must have.
        name: of the mask, for messages.

    Returns:
        (1, 1, H, W).

    Raises:
        MaskError: it has another size, is empty, or covers everything.
    """
    if size_of(mask) != size:
        raise MaskError(f"{name} is {size_of(mask)}, the picture {size}; give one of that size.")
    found = (mask[None, :1] > -1).float()
    return require_part(found, name)


def difference(picture: Tensor, background: Tensor) -> Tensor:
    """Find where two pictures differ by more than JPEG makes, without specks.

    Args:
        picture: (1, C, H, W) in [-1, 1].
        background: of the same shape.

    Returns:
        A mask (1, 1, H, W) of zeros and ones.

    Raises:
        MaskError: they differ nowhere, or everywhere.
    """
    apart = ((picture - background).abs().amax(dim=1, keepdim=True) > TOLERANCE).float()
    kernel = 2 * SPECK + 1
    inner = -F.max_pool2d(-apart, kernel, 1, SPECK)  # what is left of specks is nothing
    found = torch.minimum(F.max_pool2d(inner, kernel, 1, SPECK), apart)
    return require_part(found, "the difference of picture and background")


def require_part(mask: Tensor, name: str) -> Tensor:
    """Return `mask`, a mask (1, 1, H, W) called `name`.

    Raises:
        MaskError: it is empty or covers everything.
    """
    if not bool(mask.any()):
        raise MaskError(f"{name} is empty; mark the part that is to be new with white.")
    if bool(mask.all()):
        raise MaskError(f"{name} covers the whole picture; leave the part that stays black.")
    return mask


def dilated(mask: Tensor, radius: float) -> Tensor:
    """A mask of zeros and ones, 1 wherever it is 1 within `radius` pixels.

    A disk is a stack of rows, and whether a row of pixels meets the mask is a difference of sums.
    """
    grown, height, width = mask.clone(), *mask.shape[2:]
    sums = F.pad(mask.cumsum(3, dtype=torch.float64), (1, 0))
    columns = torch.arange(width)
    for dy in range(min(math.floor(radius), height - 1) + 1):
        half = math.floor(math.sqrt(radius**2 - dy**2))
        ends, starts = (columns + half + 1).clamp(max=width), (columns - half).clamp(min=0)
        met = (sums[..., ends] > sums[..., starts]).to(mask.dtype)
        for target, source in (
            (grown[..., dy:, :], met[..., : height - dy, :]),
            (grown[..., : height - dy, :], met[..., dy:, :]),
        ):
            torch.maximum(target, source, out=target)
    return grown


def soften(mask: Tensor, radius: float, sigma: float = SIGMA) -> Tensor:
    """Dilated by a disk, blurred, and stretched to [0, 1]: the published mask.

    Exactly 0 farther than `radius` + 4 `sigma` pixels from the mask.
    """
    grown = dilated(mask, radius)
    tail = int(4 * sigma + 0.5)
    bell = torch.exp(-torch.arange(-tail, tail + 1.0).square() / (2 * sigma**2))
    bell = bell / bell.sum()
    padded = F.pad(grown, [tail] * 4, mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, bell[None, None, :, None]), bell[None, None, None])
    low, high = blurred.amin(), blurred.amax()
    # Where everything is covered softly, there is nothing to stretch.
    return (blurred - low) / (high - low) if bool(high > low) else grown


def blend(background: Tensor, new: Tensor, mask: Tensor) -> Tensor:
    """`new` over `background` (B, C, H, W); bit for bit the background where the mask is 0."""
    return torch.where(mask > 0, torch.lerp(background, new, mask), background)


def filled(pixels: Tensor, part: Tensor) -> Tensor:
    """Fill a part smoothly from around it: with means of what is known, at ever coarser sizes.

    Args:
        pixels: (B, C, H, W) in [-1, 1].
        part: (1, 1, H, W) of zeros and ones, 1 where it is filled.
    """
    known = 1 - part
    size = size_of(pixels)
    if min(size) <= 2 or bool(known.all()):
        return pixels
    half = Size((size.height + 1) // 2, (size.width + 1) // 2)
    weight = F.adaptive_avg_pool2d(known, half)
    mean = F.adaptive_avg_pool2d(pixels * known, half)
    coarse = mean / weight.clamp(min=1e-6)
    below = filled(torch.where(weight > 0, coarse, 0.0), (weight == 0).float())
    return torch.where(part > 0, resize(below, size), pixels)
