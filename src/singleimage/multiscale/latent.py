"""Noise as a value: a latent holds one map per level, and all arithmetic on it is here.

Randomness is an argument everywhere. A seed is an integer; `seed_for` derives the seed of a part
(a level, a step, a use) from the seed of the whole, so that nothing depends on what was drawn
before.
"""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from singleimage.multiscale.geometry import OPEN, Size, Window, Wrap, wrapped_pieces


def seed_for(seed: int, *parts: int | str) -> int:
    """A 63-bit seed for a named part of what `seed` stands for; stable across platforms."""
    text = ":".join(str(part) for part in (seed, *parts))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


BLOCK = 128
"""Side of the blocks in which noise is drawn, pixels. Each has its own seed, so that a part of a
large map can be drawn without the rest."""
MANY = 200_000
"""Values up to which one thread draws them sooner than several are started."""


def gaussian(shape: Sequence[int], seed: int, *, like: Tensor) -> Tensor:
    """Draw standard normal noise.

    Args:
        shape: channels, height and width.
        seed: decides the noise.
        like: the noise is on its device and of its type.

    Returns:
        (C, H, W), channels last in memory.
    """
    channels, height, width = shape
    return Noise((seed,), channels, Size(height, width), like).drawn()[0]


@dataclass(frozen=True, eq=False)
class Noise:
    """Standard normal noise that is not drawn before it is needed, and then in part if wished."""

    seeds: tuple[int, ...]
    """One an image of the batch; each decides its image alone."""
    channels: int
    size: Size
    like: Tensor
    """Tensor whose device and type are those of the noise."""
    frames: int | None = None
    """Frames of a clip; None: of an image."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the noise when it is drawn, (B, C, H, W), or of clips (B, C, T, H, W)."""
        time = () if self.frames is None else (self.frames,)
        return (len(self.seeds), self.channels, *time, *self.size)

    def drawn(
        self,
        window: Window | None = None,
        *,
        scale: Tensor | float = 1.0,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """`scale` times the noise (B, C, H, W), channels last; of clips (B, C, T, H, W).

        Args:
            window: this part of it.
            dtype: in this type, rounded at the end; None: that of `like`.
        """
        part = window or Window.whole(self.size)
        on_cpu = self.like.device.type == "cpu"
        shape = len(self.seeds), part.height, part.width, self._depth
        out: Any = np.empty(shape, np.int16) if on_cpu else self.like.new_empty(shape)
        blocks = [
            (index, y, x)
            for index in range(len(self.seeds))
            for y in range(part.top // BLOCK * BLOCK, part.rows.stop, BLOCK)
            for x in range(part.left // BLOCK * BLOCK, part.columns.stop, BLOCK)
        ]

        def fill(block: tuple[int, int, int]) -> None:
            index, y, x = block
            values = self._block(index, y, x)[
                max(part.top - y, 0) : part.rows.stop - y,
                max(part.left - x, 0) : part.columns.stop - x,
            ]
            y, x = max(y - part.top, 0), max(x - part.left, 0)
            out[index, y : y + values.shape[0], x : x + values.shape[1]] = values

        threads = torch.get_num_threads()
        if on_cpu and threads > 1 and len(blocks) > 1 and out.size > MANY:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill, blocks))
        else:
            for block in blocks:
                fill(block)
        values = _normal(out, self.like.dtype, scale) if on_cpu else out.mul_(scale)
        noise: Tensor = values.to(dtype or self.like.dtype)
        if self.frames is None:
            return noise.permute(0, 3, 1, 2)
        return noise.view(*shape[:3], self.frames, self.channels).permute(0, 4, 3, 1, 2)

    @property
    def _depth(self) -> int:
        """Values of a pixel in all frames."""
        return self.channels * (self.frames or 1)

    def _block(self, index: int, y: int, x: int) -> Any:
        """(h, w, C) of the block whose corner is there: bits, or noise where it is drawn there."""
        size = min(BLOCK, self.size.height - y), min(BLOCK, self.size.width - x), self._depth
        seed = seed_for(self.seeds[index], y // BLOCK, x // BLOCK)
        if self.like.device.type == "cpu":
            return _bits(size, seed)
        generator = torch.Generator(self.like.device).manual_seed(seed)
        return self.like.new_empty(size).normal_(generator=generator)


def _bits(size: tuple[int, int, int], seed: int) -> NDArray[np.int16]:
    count = math.prod(size)
    source = np.random.Generator(np.random.SFC64(seed))
    words = source.integers(0, 2**64 - 1, -(-count // 4), dtype=np.uint64, endpoint=True)
    return words.view(np.int16)[:count].reshape(size)


def _normal(bits: NDArray[np.int16], dtype: torch.dtype, scale: Tensor | float) -> Tensor:
    """The 65,536 quantiles of the normal distribution, up to 4.2 sigma, all equally likely."""
    values = torch.from_numpy(bits).to(dtype)
    values = torch.add(values.new_full((), 2.0**-16), values, alpha=2.0**-15, out=values)
    return values.erfinv_().mul_(scale * math.sqrt(2))


Map = Tensor | Noise
"""The noise of a level: (B, C, H, W), drawn or not."""


def drawn(
    values: Map,
    window: Window | None = None,
    *,
    scale: Tensor | float = 1.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Draw a map of noise, or return it where it is a tensor already.

    Args:
        values: the map, (B, C, H, W).
        window: this part of it; beyond an edge of the map it continues at the opposite one.
        scale: factor on the values.
        dtype: type of the result; None: that of the map.
    """
    if window is not None and not _inside(window, values):
        rows, columns = (
            wrapped_pieces(side, length)
            for side, length in zip((window.rows, window.columns), values.shape[-2:], strict=True)
        )
        lines = [[Window.of(row, column) for column in columns] for row in rows]
        parts = ([drawn(values, x, scale=scale, dtype=dtype) for x in line] for line in lines)
        return torch.cat([torch.cat(line, -1) for line in parts], -2)
    if isinstance(values, Noise):
        return values.drawn(window, scale=scale, dtype=dtype)
    part = values if window is None else window.cut(values)
    return (part * scale).to(dtype or values.dtype)


def _inside(window: Window, values: Map) -> bool:
    height, width = values.shape[-2:]
    fits = window.rows.stop <= height and window.columns.stop <= width
    return fits and min(window.top, window.left) >= 0


@dataclass(frozen=True)
class Latent:
    """The noise of one batch of samples."""

    maps: tuple[Map, ...]
    """One map (B, channels, h, w) a level, of clips (B, channels, t, h, w), coarsest first.
    Channels and borders are the generator's affair; at level 0 some take an image here."""
    sizes: tuple[Size, ...]
    """The image sizes of the levels that the maps stand for."""
    wrap: Wrap = OPEN
    """Whether rows, and columns, go on at the opposite edge, in all levels. The maps have no border
    on such an axis: it is the noise of the other side. Who pads an image or features with zeros,
    or mirrors them, wraps them there instead, so that the picture has no seam when repeated."""
    ratio: float | None = None
    """How much larger each level is than the one below, where it is not as in training."""

    def __post_init__(self) -> None:
        if len(self.maps) != len(self.sizes):
            raise ValueError(f"{len(self.maps)} maps for {len(self.sizes)} sizes")

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self.maps[0].shape[0]

    def item(self, index: int) -> "Latent":
        """Return the sample number `index` alone, a batch of 1."""
        return self.items([index])

    def items(self, indices: Sequence[int]) -> "Latent":
        """The samples of these numbers."""
        maps = (
            replace(x, seeds=tuple(x.seeds[i] for i in indices))
            if isinstance(x, Noise)
            else x[list(indices)]
            for x in self.maps
        )
        return replace(self, maps=tuple(maps))

    def like_level_0(self, level: int) -> "Latent":
        """Return the same with noise at `level` of as many channels as that of level 0 has."""
        maps, given = list(self.maps), self.maps[level]
        if isinstance(given, Noise):
            maps[level] = replace(given, channels=min(given.channels, self.maps[0].shape[1]))
        return replace(self, maps=tuple(maps))

    def silent(self) -> "Latent":
        """Return the same without noise: zeros."""
        zeros = (
            x.like.new_zeros(1).expand(x.shape) if isinstance(x, Noise) else torch.zeros_like(x)
            for x in self.maps
        )
        return replace(self, maps=tuple(zeros))

    def tensors(self) -> tuple[Tensor, ...]:
        """All maps, drawn."""
        return tuple(drawn(values) for values in self.maps)


def mix(a: Latent, b: Latent, t: float) -> Latent:
    """`(1 - t) a + t b`, map by map; both must wrap alike."""
    wrap = _common_wrap(a, b)
    pairs = zip(a.tensors(), b.tensors(), strict=True)
    return Latent(tuple(torch.lerp(x, y, t) for x, y in pairs), a.sizes, wrap)


def combine(first: tuple[float, Latent], *others: tuple[float, Latent]) -> Latent:
    """Weighted sum, map by map; those of the first have the full shape, others are broadcast."""
    maps = []
    for level, values in enumerate(first[1].maps):
        total = drawn(values, scale=first[0])
        for weight, latent in others:
            total += drawn(latent.maps[level], scale=weight)
        maps.append(total)
    return Latent(tuple(maps), first[1].sizes, first[1].wrap)


def splice(below: Latent, above: Latent, level: int) -> Latent:
    """`below` under `level`, `above` from it on: the generation start scale of the papers.

    A batch of 1 below, such as an anchor, is repeated to that above. Both must wrap alike: what
    does not would leave its seam.
    """
    count = above.batch
    kept = (
        x.expand(count, *x.shape[1:])
        if isinstance(x, Tensor)
        else replace(x, seeds=x.seeds * count if len(x.seeds) == 1 else x.seeds)
        for x in below.maps[:level]
    )
    return Latent((*kept, *above.maps[level:]), above.sizes, _common_wrap(below, above))


def _common_wrap(a: Latent, b: Latent) -> Wrap:
    if a.wrap != b.wrap:
        raise ValueError(f"latents that wrap differently: {a.wrap} and {b.wrap}")
    return a.wrap
