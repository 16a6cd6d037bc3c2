"""Masks: found, softened, and used to lay a new picture over an old one.

A mask is (1, 1, H, W) with values in [0, 1]: 1 where the picture is to be new.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.errors import MaskError
from singleimage.images.channels import HIDDEN
from singleimage.images.photo import Photo

TOLERANCE = 12 / 127.5
"""Difference of a channel, in [-1, 1], that JPEG makes: less is no difference."""
SPECK = 1
"""Radius of lone pixels that do not count as a difference."""
GAP = 3
"""Radius of gaps in paint that are painted, too."""
SHOWN = 0.3
"""Share of a painted mask that shows the picture itself, at least."""
COLORFUL = 0.1
"""Standard deviation of the colors of what is no single paint, at least, in [-1, 1]."""
SIGMA = 5.0
"""Standard deviation of the blur, pixels (published code of SinGAN and ConSinGAN)."""


class Marks(NamedTuple):
    """What a mask marks."""

    part: Tensor
    """(1, 1, H, W) of zeros and ones."""
    how: str
    """What of the mask was taken for the mark, for people."""


def marked(mask: Photo, under: Photo, name: str = "the mask") -> Marks:
    """Find what a mask marks, however it was painted.

    Where its alpha varies, that tells: what is opaque, or of the picture with parts erased what is
    transparent. Where it shows the picture itself with paint on it, the paint does. Else it is what
    is brighter than half way from the darkest to the brightest.

    Args:
        mask: of the picture's size.
        under: the picture; its masks do not count.
        name: of the mask, for messages.

    Raises:
        MaskError: it has another size, is empty, or covers everything.
    """
    if mask.size != under.size:
        raise MaskError(f"{name} is {mask.size}, the picture {under.size}; give one of that size.")
    shown = under.pixels[: under.channels.colors]
    alpha, colors = mask.channels.alpha, mask.pixels[: mask.channels.colors]
    if alpha is not None:
        opaque = mask.pixels[alpha] >= 0
        erased = _is_erased(colors, opaque, shown)
        how = "what is transparent" if erased else "what is opaque"
        return Marks(require_part((opaque != erased).float()[None, None], name), how)
    same = _alike(colors, shown)
    if not _is_plain(colors) and float(same.float().mean()) > SHOWN:
        part = _closed(_without_specks(~same))
        return Marks(require_part(part, name), "the paint on the picture")
    value = colors.amax(0)
    low, high = float(value.min()), float(value.max())
    middle = (low + high) / 2 if low < high else 0.0
    return Marks(require_part((value > middle).float()[None, None], name), "what is bright")


def _is_erased(colors: Tensor, opaque: Tensor, under: Tensor) -> bool:
    """Whether what is opaque shows the picture, so that the rest was erased; else it is paint."""
    visible = colors[:, opaque]
    if not visible.numel():
        return False
    if float(_alike(colors, under)[opaque].float().mean()) > SHOWN:
        return True
    many = float(opaque.float().mean()) > 0.5
    return many and float(visible.std(1).mean()) > COLORFUL


def _alike(colors: Tensor, under: Tensor) -> Tensor:
    """Where colors (1 or 3, H, W) are those of a picture, but for what JPEG makes: (H, W)."""
    return (colors - under).abs().amax(0) <= 2 * TOLERANCE


def _is_plain(colors: Tensor) -> bool:
    """Whether nearly all is of two grays, as masks are and photos are not."""
    gray = colors.amax(0) - colors.amin(0) <= 2 * TOLERANCE
    if float(gray.float().mean()) < 0.99:
        return False
    value = colors.mean(0)
    near = torch.minimum(value - value.min(), value.max() - value) <= 2 * TOLERANCE
    return float(near.float().mean()) > 0.9


def difference(picture: Tensor, background: Tensor, alpha: int | None = None) -> Tensor:
    """Find where two pictures differ by more than JPEG makes, without specks.

    Args:
        picture: (1, C, H, W) in [-1, 1].
        background: of the same shape.
        alpha: index of the channel of alpha; what is transparent in both does not differ.

    Returns:
        A mask (1, 1, H, W) of zeros and ones.

    Raises:
        MaskError: they differ nowhere, or everywhere.
    """
    apart = ((picture - background).abs().amax(dim=1, keepdim=True) > TOLERANCE).float()
    if alpha is not None:
        hidden = torch.maximum(picture[:, alpha], background[:, alpha]) <= HIDDEN
        apart = apart.masked_fill(hidden[:, None], 0.0)
    found = _without_specks(apart[0, 0] > 0).float()[None, None]
    return require_part(found, "the difference of picture and background")


def _closed(part: Tensor) -> Tensor:
    """A part (H, W) with its small gaps, where paint has the picture's own color: (1, 1, H, W)."""
    kernel = 2 * GAP + 1
    grown = F.max_pool2d(F.pad(part.float()[None, None], [GAP] * 4), kernel, 1, GAP)
    shrunk = -F.max_pool2d(-grown, kernel, 1, GAP)
    return torch.maximum(shrunk[..., GAP:-GAP, GAP:-GAP], part.float()[None, None])


def _without_specks(apart: Tensor) -> Tensor:
    """A difference (H, W) without lone pixels."""
    kernel, wide = 2 * SPECK + 1, apart.float()[None, None]
    inner = -F.max_pool2d(-wide, kernel, 1, SPECK)  # what is left of specks is nothing
    return (F.max_pool2d(inner, kernel, 1, SPECK)[0, 0] > 0) & apart


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
