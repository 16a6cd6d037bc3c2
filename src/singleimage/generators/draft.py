"""A picture of patch flow that is not finished: its levels so far, and how much is in one piece."""

from dataclasses import dataclass, replace

from torch import Tensor

from singleimage.generators.field import Field
from singleimage.images.rearrangement import together
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent, Noise, seed_for


@dataclass(frozen=True, eq=False)
class Draft:
    """A picture up to some level."""

    latent: Latent
    levels: int
    """How many are made."""
    image: Tensor | None
    """(C, H, W) of the last of them, or of what enters; not of the finest that copies."""
    field: Field | None

    def together(self, photo: Size) -> float:
        """Tell how much of the picture moved in one piece, as `images.rearrangement.together`.

        Args:
            photo: its size at the last level that is made.
        """
        assert self.field is not None
        return together(*self.field.sources(), photo)


def again(latent: Latent, count: int) -> Latent:
    """Return other noise in place of that of a latent, the same for the same `count`."""
    maps = (
        replace(x, seeds=tuple(seed_for(seed, "again", count) for seed in x.seeds))
        for x in latent.maps
        if isinstance(x, Noise)
    )
    return Latent(tuple(maps), latent.sizes, latent.wrap)
