"""New pictures from noise, and the picture that reproduces the photo."""

from collections.abc import Sequence

from torch import Tensor

from singleimage.errors import SizeError
from singleimage.generators.base import Generator
from singleimage.latent import splice
from singleimage.resample import Size


def sample(
    generator: Generator, seeds: Sequence[int], *, size: Size | None = None, start_level: int = 0
) -> Tensor:
    """One random sample a seed (SinGAN, section 3), images (len(seeds), C, H, W) about [-1, 1].

    Args:
        size: size of the samples; None: that of the training image.
        start_level: levels under it keep the noise of the reconstruction, so the layout of the
            photo stays and only finer structure is new. 0: everything is new.

    Raises:
        SizeError: `size` is too small for the pyramid, `start_level` is no level of the model, or
            both are given: a kept layout has the size of the photo.
    """
    ladder = generator.ladder
    levels = len(ladder.sizes)
    if not 0 <= start_level < levels:
        raise SizeError(
            f"start level {start_level} is not one of this model's levels; use 0 to {levels - 1}."
        )
    sizes = ladder.sizes_for(size or ladder.finest)
    if start_level and sizes != ladder.sizes:
        raise SizeError(
            f"a start level of {start_level} keeps the photo's layout and so its size "
            f"{ladder.finest}, not {size}; drop one of the two."
        )
    latent = generator.draw(sizes, seeds)
    if start_level:
        latent = splice(generator.anchor(), latent, start_level)
    return generator.decode(latent)


def reconstruct(generator: Generator) -> Tensor:
    """The image (1, C, H, W) that the model makes of its anchor noise: its memory of the photo."""
    return generator.decode(generator.anchor())
