"""A picture as its file has it: what an edited copy gives back where nothing was changed.

Everything computes on float32 in sRGB; colors of a wider space, values under full transparency and
what a file says of itself would be lost on the way.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from singleimage.images.channels import HIDDEN, Channels
from singleimage.images.encode import NOTHING, About
from singleimage.images.profile import Profile, profile_of
from singleimage.images.values import from_integers, strips, to_integers
from singleimage.multiscale.filling import filled
from singleimage.multiscale.geometry import Size, size_of

ROUNDING = 5e-6
"""Pixels that differ by less are the same: a sixth of the step of 16 bits, many of float32."""


@dataclass(frozen=True, eq=False)
class Original:
    """The integers of a file."""

    values: NDArray[Any]
    """(H, W, C) uint8 or uint16, of the picture's channels."""
    channels: Channels
    """What they mean; without masks."""
    about: About = NOTHING

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return Size(*self.values.shape[:2])

    @cached_property
    def _profile(self) -> Profile | None:
        try:
            return profile_of(self.about.profile, self.channels.colors)
        except ValueError:
            return None

    def pixels(self) -> Tensor:
        """Return (C, H, W) float32 in [-1, 1], in sRGB, as integers of as many bits would be.

        What is hidden has the colors around it.
        """
        found = from_integers(self.values, self.channels.white)
        count = self.channels.colors
        if self._profile is not None:
            scale = _whole(self.values.dtype) / (self.channels.white or _whole(self.values.dtype))
            for rows in strips(len(self.values)):
                given = self.values[rows, :, :count]
                wide = (given * scale).round().astype(given.dtype) if scale != 1 else given
                colors = self._profile.to_srgb(wide).astype(np.float32)
                found[:count, rows] = torch.from_numpy(colors.transpose(2, 0, 1)) * 2 - 1
        found, bits = _bled(found, self.channels), self.channels.bits
        return from_integers(to_integers(found, bits, self.channels.white), self.channels.white)

    def integers(self, pixels: Tensor) -> NDArray[Any]:
        """Convert an image to the file's integers: bit for bit the file's own where it equals them.

        Args:
            pixels: (C, H, W) in [-1, 1], in sRGB.
        """
        white = self.channels.white
        values = np.empty((*pixels.shape[1:], pixels.shape[0]), self.values.dtype)
        count, top = self.channels.colors, white or _whole(self.values.dtype)
        for rows in strips(len(values)):
            part = pixels[:, rows]
            values[rows] = to_integers(part, self.channels.bits, white)
            if self._profile is not None:
                unit = ((part[:count].detach().cpu().float() + 1) / 2).clamp(0, 1)
                own = self._profile.from_srgb(unit.permute(1, 2, 0).numpy())
                values[rows, :, :count] = (own * top).round()
        if size_of(pixels) == self.size:
            values = np.where(self._same(pixels.detach().cpu())[..., None], self.values, values)
        return values

    def _same(self, pixels: Tensor) -> NDArray[np.bool_]:
        """Where an image is the file's; what is hidden in both is."""
        equal = (self.pixels() - pixels).abs() < ROUNDING
        if (alpha := self.channels.alpha) is not None:
            equal[: self.channels.colors] |= (pixels[alpha] <= HIDDEN) & equal[alpha]
        return np.asarray(equal.all(0).numpy())

    def placed(self, top: int, left: int, size: Size) -> Self:
        """The same on a canvas of `size`, `top` and `left` pixels from its corner; 0 elsewhere."""
        canvas = np.zeros((*size, self.values.shape[2]), self.values.dtype)
        height, width = self.size
        canvas[top : top + height, left : left + width] = self.values
        return replace(self, values=canvas)


def _whole(kind: Any) -> int:
    return int(np.iinfo(kind).max)


def _bled(pixels: Tensor, channels: Channels) -> Tensor:
    """The colors under full transparency replaced by those around them.

    What a file has there, mostly black, would darken every edge when the picture is resized.
    """
    if channels.alpha is None:
        return pixels
    hidden = pixels[channels.alpha] <= HIDDEN
    if not bool(hidden.any()) or bool(hidden.all()):
        return pixels
    colors = pixels[None, : channels.colors]
    found = filled(colors, hidden[None, None].float())
    pixels[: channels.colors] = found[0].clamp(-1, 1)
    return pixels
