"""Where every pixel of a picture comes from in its photo: as a picture, and put to use (ours)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from singleimage.errors import ArgumentError
from singleimage.generators.base import Copier, Generator, Known
from singleimage.generators.field import together
from singleimage.multiscale.geometry import OPEN, Size
from singleimage.multiscale.latent import Latent

ELSEWHERE = -1
"""The place of a pixel that does not come from the photo."""


@dataclass(frozen=True, eq=False)
class Rearrangement:
    """A rearrangement of the pixels of a photo."""

    places: Tensor
    """(H, W) integers: row times width plus column in the photo, or `ELSEWHERE`."""
    photo: Size
    """Size of the photo."""

    @property
    def together(self) -> float:
        """Share of neighboring pieces that are neighbors in the photo, too: 1 for a copy."""
        return together(self.places // self.photo.width, self.places % self.photo.width, self.photo)

    def applied(self, image: Tensor) -> Tensor:
        """Rearrange an image of the photo's size (C, h, w): (C, H, W); black where from elsewhere.

        Any map of the same scene can be rearranged alike: labels, heights, normals.
        """
        found = image.flatten(1)[:, self.places.clamp(min=0)]
        return torch.where(self.places == ELSEWHERE, -1.0, found)

    def shown(self) -> Tensor:
        """Show the places as colors, (3, H, W) in [-1, 1].

        Red is the column over that of the photo's last, green the row alike; blue is full where a
        pixel does not come from the photo. On 16 bits `read` gives the places back.
        """
        known = self.places != ELSEWHERE
        places = self.places.clamp(min=0)
        across = (places % self.photo.width) / max(self.photo.width - 1, 1)
        down = (places // self.photo.width) / max(self.photo.height - 1, 1)
        planes = [across * known, down * known, (~known).float()]
        return torch.stack(planes) * 2 - 1

    @classmethod
    def read(cls, colors: Tensor, photo: Size) -> "Rearrangement":
        """Read places from colors that `shown` made.

        Args:
            colors: (3, H, W) in [-1, 1].
            photo: size of the image to rearrange; if it is another than that of the photo the
                places were told of, they are taken in proportion.
        """
        across, down = (
            ((plane.double() + 1) / 2 * (side - 1)).round().long()
            for plane, side in zip(colors[:2], (photo.width, photo.height), strict=True)
        )
        places = down * photo.width + across
        return cls(torch.where(colors[2] > 0, ELSEWHERE, places), photo)


def rearrangements(
    generator: Generator, copier: Copier, latent: Latent, keep: Tensor | None = None
) -> list[Rearrangement]:
    """Where every pixel of pictures comes from.

    Args:
        generator: of the photo.
        copier: the same as one that copies.
        latent: noise of the pictures.
        keep: (1, 1, H, W) of zeros and ones, of the photo's size: 1 where the photo stays.

    Raises:
        ArgumentError: part of the photo is to stay in a picture of another size, or that wraps.
    """
    photo, first = copier.photo, generator.ladder.finest
    if keep is None:
        return [Rearrangement(places, photo) for places in copier.sources(latent)]
    if latent.sizes[-1] != first or latent.wrap != OPEN:
        raise ArgumentError(
            f"what stays has its place in a picture of the photo's size {first} that is no tile; "
            f"drop the size or the tile."
        )
    itself = torch.arange(photo.height * photo.width).view(1, *photo)[..., : first.width]
    known = Known(copier.copied(itself).to(generator.device), 1 - keep, corner=(0, 0))
    places = torch.where(keep[0] > 0, itself, copier.sources(latent, known=known))
    return [Rearrangement(one, photo) for one in places]
