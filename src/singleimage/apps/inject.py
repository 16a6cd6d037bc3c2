"""A picture enters the generator at a level, and comes out in the style of the photo.

Harmonizing, editing, painting and restyling are this one step with differently prepared pictures
(SinGAN, section 4; ConSinGAN, section 3.3).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from singleimage.errors import UnsupportedEntry
from singleimage.generators.base import Generator, Injection
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.latent import Latent, gaussian, seed_for, splice
from singleimage.multiscale.resample import resize


def inject(
    generator: Generator,
    image: Tensor,
    *,
    level: int,
    seeds: Sequence[int] = (0,),
    noise: float = 0.0,
) -> Tensor:
    """The photo's rendering of a picture, images (len(seeds), C, H, W) about [-1, 1].

    Arguments and errors are those of `entering`.
    """
    return generator.decode(*entering(generator, image, level=level, seeds=seeds, noise=noise))


def entering(
    generator: Generator,
    image: Tensor,
    *,
    level: int,
    seeds: Sequence[int] = (0,),
    noise: float = 0.0,
) -> tuple[Latent, Injection]:
    """What the photo's rendering of a picture is decoded from, one a seed.

    What is finer than the level is the photo's, what is coarser the picture's. At level 0 of a
    picture of the photo's size the noise of the reconstruction is kept, as ConSinGAN's code does;
    else all noise is fresh, as SinGAN's does.

    Args:
        image: (1, C, H, W) in [-1, 1], at the size that is wanted.
        level: one of the generator's `entry_levels`.
        noise: how much is added to what enters (ConSinGAN's `editing`: 0.1).

    Raises:
        UnsupportedEntry: it is not.
        SizeError: the picture is too small for the pyramid.
    """
    ladder = generator.ladder
    sizes = ladder.sizes_for(size_of(image))
    below = min(max(level - 1, 0), len(sizes) - 1)  # the generator refuses other levels
    # The published scale, where the sizes are those of training.
    published = ladder.exact and sizes == ladder.sizes
    scale = ladder.scales[below] / ladder.scales[-1] if published else None
    small = resize(image, sizes[below], scale=scale)
    images = small.expand(len(seeds), -1, -1, -1)
    if noise:
        grains = [gaussian(small.shape[1:], seed_for(seed, "entry"), like=small) for seed in seeds]
        images = images + noise * torch.stack(grains)
    latent = generator.draw(sizes, seeds)
    if level == 0 and sizes == ladder.sizes:
        latent = splice(generator.anchor(), latent, len(sizes))
    return latent, Injection(level, images)


def suggested_level(generator: Generator, share: float) -> int:
    """The entry level nearest to that share of the pyramid, from 0 (coarsest) to 1.

    Raises:
        UnsupportedEntry: the generator takes no pictures at all.
    """
    if not generator.entry_levels:
        raise UnsupportedEntry("this model takes no pictures; train with another preset.")
    wanted = share * (len(generator.ladder.sizes) - 1)
    return min(generator.entry_levels, key=lambda level: (abs(level - wanted), level))


def working_size(generator: Generator, size: Size) -> Size:
    """Return the size at which a picture meets the model: its long side is the photo's.

    Args:
        generator: of the photo.
        size: of the picture, pixels.
    """
    factor = max(generator.ladder.finest) / max(size)
    return Size(*(max(round(side * factor), 1) for side in size))
