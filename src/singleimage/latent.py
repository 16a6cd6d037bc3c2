"""Noise as a value: a latent holds one map per level, and all arithmetic on it is here.

Randomness is an argument everywhere. A seed is an integer; `seed_for` derives the seed of a part
(a level, a step, a use) from the seed of the whole, so that nothing depends on what was drawn
before.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from singleimage.resample import Size


@dataclass(frozen=True)
class Latent:
    """The noise of one batch of samples."""

    maps: tuple[Tensor, ...]
    """One map (B, channels, h, w) a level, coarsest first. Channels and borders are the
    generator's affair; at level 0 some generators take an image here."""
    sizes: tuple[Size, ...]
    """The image sizes of the levels that the maps stand for."""

    def __post_init__(self) -> None:
        if len(self.maps) != len(self.sizes):
            raise ValueError(f"{len(self.maps)} maps for {len(self.sizes)} sizes")

    @property
    def batch(self) -> int:
        return self.maps[0].shape[0]


def seed_for(seed: int, *parts: int | str) -> int:
    """A 63-bit seed for a named part of what `seed` stands for; stable across platforms."""
    text = ":".join(str(part) for part in (seed, *parts))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def gaussian(shape: Sequence[int], seed: int, *, like: Tensor) -> Tensor:
    """Standard normal noise of `shape`, drawn on the device and in the type of `like`."""
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.empty(*shape, dtype=like.dtype, device=like.device).normal_(generator=generator)


def gaussian_batch(shape: Sequence[int], seeds: Sequence[int], *, like: Tensor) -> Tensor:
    """Noise (B, *shape); item i depends on `seeds[i]` alone."""
    return torch.stack([gaussian(shape, seed, like=like) for seed in seeds])


def mix(a: Latent, b: Latent, t: float) -> Latent:
    """`(1 - t) a + t b`, map by map."""
    return Latent(tuple(torch.lerp(x, y, t) for x, y in zip(a.maps, b.maps, strict=True)), a.sizes)


def splice(below: Latent, above: Latent, level: int) -> Latent:
    """`below` under `level`, `above` from it on: the generation start scale of the papers."""
    maps = (
        tuple(x.expand(above.batch, *x.shape[1:]) for x in below.maps[:level]) + above.maps[level:]
    )
    return Latent(maps, above.sizes)
