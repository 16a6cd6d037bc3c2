"""Large images are decoded in tiles.

Each tile goes through all levels on windows just wide enough for what the next level looks at, so
that it equals the part of the whole but for rounding.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from singleimage.generators.base import Injection
from singleimage.multiscale.geometry import Size, Window, framed
from singleimage.multiscale.latent import Latent

TILE = 512
"""Pixels a side of the parts in which large images are decoded."""
WHOLE = 768 * 768
"""Pixels up to which an image is decoded in one piece."""


def in_tiles(size: Size) -> Iterator[Window]:
    """Yield windows that cover an image of `size`: one, or tiles of about `TILE` pixels a side."""
    if size.height * size.width <= WHOLE:
        yield Window.whole(size)
        return
    for top in range(0, size.height, TILE):
        for left in range(0, size.width, TILE):
            height, width = min(TILE, size.height - top), min(TILE, size.width - left)
            yield Window(top, left, height, width)


def decode_tiles(
    decode: Callable[[Window], Tensor], sizes: Sequence[Size], *, local: bool
) -> Tensor:
    """Join the windows that `decode` makes of the finest of `sizes`.

    `local`: a pixel depends on those near it alone. Else the image is decoded in one piece, and so
    where the levels are exported for another program.
    """
    size = sizes[-1]
    tiled = local and not torch.compiler.is_compiling()
    windows = list(in_tiles(size)) if tiled else [Window.whole(size)]
    if len(windows) == 1:
        return decode(windows[0])
    image: Tensor | None = None
    for window in windows:
        part = decode(window)
        if image is None:
            image = part.new_empty(*part.shape[:-2], *size)
        window.cut(image).copy_(part)
    assert image is not None
    return image


def decode_images(
    run: Callable[[int, Tensor | None, Sequence[Window]], Tensor],
    source: Callable[[int, Window], Window],
    latent: Latent,
    entry: Injection | None,
    *,
    local: bool,
) -> Tensor:
    """Decode level by level, in tiles, where images pass between levels.

    Args:
        run: makes the finest image from a first level on, given the image below it and the window
            of every level to compute.
        source: what of the level below must be known for a window of a level.
        latent: the noise of all levels.
        entry: an image that enters; None: none does.
        local: as for `decode_tiles`.

    Returns:
        Images (B, C, *finest).
    """
    first = 0 if entry is None else entry.level
    sizes = latent.sizes

    def decode(window: Window) -> Tensor:
        windows = [window]
        for level in range(len(sizes) - 1, 0, -1):
            known = level < first  # what is below the image that enters is not computed
            below = Window.whole(sizes[level - 1]) if known else source(level, windows[0])
            windows.insert(0, below)
        image = None
        if entry is not None:
            whole = Window.whole(sizes[first - 1])
            image = framed(entry.image, whole, windows[first - 1], latent.wrap)
        return run(first, image, windows)

    return decode_tiles(decode, sizes, local=local)
