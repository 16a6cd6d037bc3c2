"""New pictures of a generator that copies, as rearrangements of its photo (ours)."""

import torch
from torch import Tensor

from singleimage.errors import ArgumentError
from singleimage.generators.base import Copier, Generator, Known
from singleimage.images.rearrangement import Rearrangement
from singleimage.multiscale.geometry import OPEN
from singleimage.multiscale.latent import Latent


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
    known = Known(copier.copied(itself).to(generator.device), 1 - keep, corner=(0, 0), evenly=True)
    places = torch.where(keep[0] > 0, itself, copier.sources(latent, known=known))
    return [Rearrangement(one, photo) for one in places]
