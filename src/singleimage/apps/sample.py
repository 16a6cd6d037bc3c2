"""New pictures from noise, and the picture that reproduces the photo."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from singleimage.errors import ArgumentError
from singleimage.generators.base import Generator
from singleimage.multiscale.geometry import Size, Wrap
from singleimage.multiscale.latent import Latent, splice

Tile = Literal["x", "y", "xy"] | None
"""Directions in which a sample can be repeated without a seam: side by side, over each other."""


def sample(
    generator: Generator,
    seeds: Sequence[int],
    *,
    size: Size | None = None,
    start_level: int = 0,
    tile: Tile = None,
) -> Tensor:
    """One random sample a seed (SinGAN, section 3), images (len(seeds), C, H, W) about [-1, 1].

    Arguments and errors are those of `sampled_latent`. Samples of one batch may differ in rounding
    from those of another; `Model.sample` draws them one by one.
    """
    latent = sampled_latent(generator, seeds, size=size, start_level=start_level, tile=tile)
    return generator.decode(latent)


def sampled_latent(
    generator: Generator,
    seeds: Sequence[int],
    *,
    size: Size | None = None,
    start_level: int = 0,
    tile: Tile = None,
) -> Latent:
    """The noise of one random sample a seed; it is not drawn before it is decoded.

    Args:
        generator: a model of one photo.
        seeds: sample i depends on `seeds[i]` alone.
        size: size of the samples; None: that of the training image.
        start_level: levels under it keep the noise of the reconstruction, so the layout of the
            photo stays and only finer structure is new. 0: everything is new.
        tile: make samples that have no seam where they are repeated in this direction.

    Raises:
        SizeError: `size` is too small for the pyramid.
        ArgumentError: `start_level` is no level of the model, or it is given with `size` or `tile`:
            a kept layout has the size and borders of the photo; or `tile` is no direction.
    """
    ladder = generator.ladder
    ladder.require_level(start_level)
    wrap = _wrap(tile)
    if start_level and tile:
        raise ArgumentError(
            f"a start level of {start_level} keeps the photo's layout, which cannot be tiled along "
            f"{tile}; drop one of the two."
        )
    sizes = ladder.sizes_for(size or ladder.finest)
    if start_level and sizes != ladder.sizes:
        raise ArgumentError(
            f"a start level of {start_level} keeps the photo's layout and so its size "
            f"{ladder.finest}, not {size}; drop one of the two."
        )
    latent = generator.draw(sizes, seeds, wrap)
    return splice(generator.anchor(), latent, start_level) if start_level else latent


def reconstruct(generator: Generator) -> Tensor:
    """Decode the anchor noise of `generator`: its memory of the photo, (1, C, H, W)."""
    return generator.decode(generator.anchor())


class Seam(NamedTuple):
    """How much neighbors differ where pictures meet, over how much they do inside: 1 is no seam."""

    x: float
    """From the last column to the first of the next picture."""
    y: float
    """From the last row to the first of the next picture."""


def seam(images: Tensor) -> Seam:
    """The seams of images (..., H, W), all together, when they are repeated.

    The mean absolute difference across the border over that of neighbors inside. Of one picture it
    scatters about 1 with what happens to lie at the border; of several less, but as much as columns
    inside differ from each other: they lie differently between the pixels of coarser levels. Where
    neighbors inside do not differ at all, nor does the border: 1.
    """
    return Seam(_seam(images, -1), _seam(images, -2))


def _seam(images: Tensor, dim: int) -> float:
    inside = images.diff(dim=dim).abs()
    if not inside.any():
        return 1.0
    across = images.select(dim, 0) - images.select(dim, -1)
    return float(across.abs().mean() / inside.mean())


def _wrap(tile: Tile) -> Wrap:
    if tile not in (None, "x", "y", "xy"):
        raise ArgumentError(f"a picture cannot be tiled along {tile}; use x, y or xy.")
    return "y" in (tile or ""), "x" in (tile or "")
