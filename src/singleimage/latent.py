"""Noise as a value: a latent holds one map per level, and all arithmetic on it is here.

Randomness is an argument everywhere. A seed is an integer; `seed_for` derives the seed of a part
(a level, a step, a use) from the seed of the whole, so that nothing depends on what was drawn
before.
"""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from singleimage.resample import Size, Window


def seed_for(seed: int, *parts: int | str) -> int:
    """A 63-bit seed for a named part of what `seed` stands for; stable across platforms."""
    text = ":".join(str(part) for part in (seed, *parts))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


BLOCK = 128
"""Noise is drawn in blocks of so many pixels a side, each from a seed of its own, so that a part of
a large map can be drawn without the rest."""


def gaussian(
    shape: Sequence[int], seed: int, *, like: Tensor, window: Window | None = None
) -> Tensor:
    """Standard normal noise (C, H, W), on the device and in the type of `like`, channels last.

    Args:
        shape: of the whole map, (C, H, W).
        window: the part of it to draw; None: all of it.
    """
    channels, height, width = shape
    part = window or Window.whole(Size(height, width))
    size = part.height, part.width, channels
    blocks = [
        (y, x, (min(BLOCK, height - y), min(BLOCK, width - x), channels))
        for y in range(part.top // BLOCK * BLOCK, part.rows.stop, BLOCK)
        for x in range(part.left // BLOCK * BLOCK, part.columns.stop, BLOCK)
    ]
    on_cpu = like.device.type == "cpu"
    out: Any = np.empty(size, np.int32) if on_cpu else like.new_empty(size)

    def fill(block: tuple[int, int, tuple[int, int, int]]) -> None:
        y, x, size = block
        block_seed = seed_for(seed, y // BLOCK, x // BLOCK)
        values = _bits(size, block_seed) if on_cpu else _device_normal(size, block_seed, like)
        values = values[
            max(part.top - y, 0) : part.rows.stop - y,
            max(part.left - x, 0) : part.columns.stop - x,
        ]
        y, x = max(y - part.top, 0), max(x - part.left, 0)
        out[y : y + values.shape[0], x : x + values.shape[1]] = values

    if on_cpu and len(blocks) > 1:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(fill, blocks))
    else:
        for block in blocks:
            fill(block)
    normal = _normal(out, like) if on_cpu else out
    return normal.permute(2, 0, 1)


def _bits(size: tuple[int, int, int], seed: int) -> NDArray[np.int32]:
    count = math.prod(size)
    source = np.random.Generator(np.random.SFC64(seed))
    words = source.integers(0, 2**64 - 1, -(-count // 2), dtype=np.uint64, endpoint=True)
    return words.view(np.int32)[:count].reshape(size)


def _normal(bits: NDArray[np.int32], like: Tensor) -> Tensor:
    """Bits -> uniform in (-1, 1) -> normal, up to 5.3 sigma; half the time of `normal_`."""
    uniform = torch.from_numpy(bits).to(like.dtype).mul_(2.0**-31 * (1 - 2.0**-23))
    return uniform.erfinv_().mul_(math.sqrt(2))


def _device_normal(size: tuple[int, int, int], seed: int, like: Tensor) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seed)
    values = torch.empty(size, dtype=like.dtype, device=like.device)
    return values.normal_(generator=generator)


@dataclass(frozen=True, eq=False)
class Noise:
    """Standard normal noise that is not drawn before it is needed, and then in part if wished."""

    seeds: tuple[int, ...]
    """One an image of the batch; each decides its image alone."""
    channels: int
    size: Size
    like: Tensor
    """Its device and type are those of the noise."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.seeds), self.channels, *self.size)

    def drawn(self, window: Window | None = None) -> Tensor:
        """(B, C, H, W), channels last; `window`: this part of it."""
        shape = (self.channels, *self.size)
        maps = [
            gaussian(shape, seed, like=self.like, window=window).permute(1, 2, 0)[None]
            for seed in self.seeds
        ]
        batch = maps[0] if len(maps) == 1 else torch.cat(maps)
        return batch.permute(0, 3, 1, 2)


Map = Tensor | Noise
"""The noise of a level: (B, C, H, W), drawn or not."""


def drawn(values: Map, window: Window | None = None) -> Tensor:
    """The values of a map; `window`: this part of it."""
    if isinstance(values, Noise):
        return values.drawn(window)
    return values if window is None else window.cut(values)


@dataclass(frozen=True)
class Latent:
    """The noise of one batch of samples."""

    maps: tuple[Map, ...]
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

    def tensors(self) -> tuple[Tensor, ...]:
        """All maps, drawn."""
        return tuple(drawn(values) for values in self.maps)


def mix(a: Latent, b: Latent, t: float) -> Latent:
    """`(1 - t) a + t b`, map by map."""
    pairs = zip(a.tensors(), b.tensors(), strict=True)
    return Latent(tuple(torch.lerp(x, y, t) for x, y in pairs), a.sizes)


def splice(below: Latent, above: Latent, level: int) -> Latent:
    """`below` under `level`, `above` from it on: the generation start scale of the papers."""
    kept = (
        x.expand(above.batch, *x.shape[1:]) if isinstance(x, Tensor) else x
        for x in below.maps[:level]
    )
    return Latent((*kept, *above.maps[level:]), above.sizes)
