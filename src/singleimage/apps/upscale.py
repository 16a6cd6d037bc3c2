"""Super-resolution: the finest level applied again and again, each time to a larger image."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from singleimage.errors import ArgumentError, SizeError
from singleimage.generators.base import Generator, Injection
from singleimage.multiscale.geometry import PIXEL_LIMIT, Size, size_of
from singleimage.multiscale.latent import Latent, seed_for
from singleimage.multiscale.pyramid import upscaling_passes, upscaling_ratio
from singleimage.multiscale.resample import resize

FACTOR_LIMIT = 16
ROUNDS = 8
"""Rounds of back-projection."""
STRENGTH = 0.7
"""Part of a pass that is kept by default: what a pass adds, the next one amplifies."""


def upscale(
    generator: Generator,
    image: Tensor,
    factor: float,
    *,
    seed: int = 0,
    strength: float | None = None,
    consistent: bool = True,
) -> Tensor:
    """Enlarge an image with the photo's textures (SinGAN, section 4; its code).

    The finest level is applied so often that each pass enlarges by about the cube root of 2, which
    is what the published code trains it for; to a photo itself, as often as its pyramid's own ratio
    goes into the factor.

    Args:
        generator: of the photo.
        image: (1, C, H, W) in [-1, 1]: the photo, or one like it.
        factor: over 1, up to `FACTOR_LIMIT`.
        seed: decides the noise of all passes.
        strength: the part of a pass's change that is kept, in [0, 1]; 1: as published. What is left
            out is plain enlargement. None: `STRENGTH`, and 1 of a generator that copies.
        consistent: correct the result until it reduces to the photo again (iterated
            back-projection; ours). Colors drift a little in every pass; this takes it back. False:
            as published.

    Returns:
        (1, C, int(H * factor), int(W * factor)) about [-1, 1].

    Raises:
        ArgumentError: the factor or the strength is out of range.
        SizeError: the result would be over `PIXEL_LIMIT`.
        UnsupportedEntry: the generator takes no images at its finest level.
    """
    if not 1 < factor <= FACTOR_LIMIT:
        raise ArgumentError(
            f"a factor of {factor:g} is out of range; use one over 1, up to {FACTOR_LIMIT}."
        )
    if strength is None:
        strength = STRENGTH if generator.copier is None else 1.0
    if not 0 <= strength <= 1:
        raise ArgumentError(f"a strength of {strength:g} is out of range; use one from 0 to 1.")
    photo, here = image, size_of(image)
    large = Size(int(here.height * factor), int(here.width * factor))
    if math.prod(large) > PIXEL_LIMIT:
        raise SizeError(
            f"{large} is too large; use a smaller factor, for up to {PIXEL_LIMIT // 10**6} "
            f"megapixels."
        )
    for size, scale, finer in _passes(generator, image, factor, seed):
        plain, new = resize(image, size, scale=scale), finer(image).to(image.dtype)
        image = torch.lerp(plain, new, strength).clamp(-1, 1)
    image = image[..., : large.height, : large.width]
    for _ in range(ROUNDS if consistent else 0):
        missing = photo - resize(image, here)
        image = (image + _spread(missing, size_of(image))).clamp(-1, 1)
    return image


def _passes(
    generator: Generator, image: Tensor, factor: float, seed: int
) -> Iterator[tuple[Size, float | None, Callable[[Tensor], Tensor]]]:
    """The size that each pass leads to, its exact scale, and what enlarges an image to it."""
    ladder, here = generator.ladder, size_of(image)
    if (copier := generator.copier) is not None:
        count = max(round(math.log(factor) / math.log(1 / ladder.ratio)), 1)
        for index in range(1, count + 1):
            scale = factor ** (index / count)
            size = Size(math.ceil(here.height * scale), math.ceil(here.width * scale))
            yield size, None, partial(copier.finer, size=size)
        return
    ratio, top = upscaling_ratio(factor), len(ladder.sizes) - 1
    count, first = upscaling_passes(factor), here
    scale = ratio if ladder.exact else None
    for index in range(1, count + 1):
        if ladder.exact:
            size = Size(math.ceil(here.height * ratio), math.ceil(here.width * ratio))
        else:  # a pass shows all of what it enlarges
            size = Size(*(int(side * factor ** (index / count)) for side in first))
        latent = generator.draw((*ladder.sizes[:-2], here, size), [seed_for(seed, "pass", index)])
        if index == 1:  # the published code draws the first noise of any image as that of level 0
            latent = latent.like_level_0(top)
        yield size, scale, partial(_refined, generator, replace(latent, ratio=ratio))
        here = size


def _refined(generator: Generator, latent: Latent, image: Tensor) -> Tensor:
    return generator.decode(latent, Injection(len(latent.sizes) - 1, image))


def _spread(difference: Tensor, size: Size) -> Tensor:
    """A difference of images, in [-2, 2], enlarged."""
    return 2 * resize(difference / 2, size)


def bicubic(image: Tensor, factor: float) -> Tensor:
    """Enlarge `image` (B, C, H, W) in [-1, 1] by `factor`, plainly, to compare with."""
    here = size_of(image)
    return resize(image, Size(int(here.height * factor), int(here.width * factor)))
