"""What is known of a picture, put back in while the rest of it is made."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from singleimage.generators.base import Known
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.resample import resize

NEW = 0.3
"""Share of a pixel of a level that is new, from which on all of it is."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What is known of a picture at a level."""

    image: Tensor
    """(C, H, W)."""
    new: Tensor
    """(H, W): where it is not known."""

    @classmethod
    def at(cls, known: Known, size: Size) -> Self:
        """Reduce what is known to a level of that size."""
        return cls(resize(known.image, size)[0], resize(known.part, size)[0, 0] > NEW)

    def over(self, x: Tensor, time: float = 1.0, noise: Tensor | None = None) -> Tensor:
        """Put what is known into `x` (C, H, W).

        Args:
            x: the picture at the level, mixed with noise or not.
            time: share of the image in the mixture.
            noise: (C, H, W), mixed with what is known as it is in `x`; None: nothing is mixed.
        """
        image = self.image if noise is None else torch.lerp(noise, self.image, time)
        return torch.where(self.new, x, image)
