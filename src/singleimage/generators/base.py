"""What applications and the trainer may ask of a generator, whatever its method."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from singleimage.errors import UnsupportedEntry
from singleimage.latent import Latent
from singleimage.pyramid import Ladder, Pyramid
from singleimage.resample import OPEN, Size, Window, Wrap, framed

ALL = slice(None)
"""The whole of a batch."""


@dataclass(frozen=True)
class Entry:
    """An image that enters at a level, instead of what the level below would have sent.

    At level n > 0 it is what level n - 1 would have produced: images (B, C, h, w) in [-1, 1] of
    that level's size, which the generator enlarges as it enlarges its own. At level 0 it is the
    base input, at the size of level 0.
    """

    level: int
    image: Tensor


class Generator(Protocol):
    """A trained model of one image. Applications use these members and no others."""

    @property
    def ladder(self) -> Ladder:
        """The sizes the generator was trained at, so far."""
        ...

    @property
    def entry_levels(self) -> frozenset[int]:
        """Levels at which an image may enter; the rest raise `UnsupportedEntry`."""
        ...

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        """Fresh noise for samples of these level sizes; sample i depends on `seeds[i]` alone.

        `wrap`: axes on which the samples will go on at the opposite edge (see `Latent.wrap`).
        """
        ...

    def anchor(self) -> Latent:
        """The noise that reproduces the training image, batch 1."""
        ...

    def decode(self, latent: Latent, entry: Entry | None = None) -> Tensor:
        """Images (B, C, *finest) from noise, and from an image that enters; nothing is changed.

        Where the latent wraps, so do the images, in one piece or in tiles; one that enters is taken
        to wrap too.

        Values can leave [-1, 1] a little, as in the papers; files and resizes clamp.

        Raises:
            UnsupportedEntry: `entry.level` is not in `entry_levels`.
        """
        ...


class Trainee(Protocol):
    """A generator in training, as the objective sees it: the frozen part and the moving part."""

    def approach(self, latent: Latent) -> Tensor | None:
        """What the frozen levels make of `latent`, without a graph; None if nothing is frozen.

        Of an `Encoding` whose decoder learns, it is what that decoder makes, with its graph.
        """
        ...

    steady: bool
    """Whether the anchor's approach stays the same during a level."""

    together: bool
    """Whether images refined in one call share a batch: no layer mixes or remembers images."""

    def refine(
        self, paths: Sequence[tuple[Tensor | None, Latent]], *, observe: bool = True
    ) -> list[Tensor]:
        """The images of the newest level from `(approach(latent), latent)`, by the moving part.

        `observe`: running statistics, where a method has them, take this pass into account.
        """
        ...

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int]) -> Latent: ...

    def anchor(self) -> Latent:
        """The noise whose image is to be the photo, batch 1 or that of the example."""
        ...


@dataclass(frozen=True)
class Encoded:
    """An image as an encoder sees it: normal distributions of the values of a map of level 0."""

    image: Tensor
    """(B, C, *sizes[0]) in [-1, 1]."""
    mean: Tensor
    """(B, channels of the map, *sizes[0])."""
    log_variance: Tensor

    def sampled(self, noise: Tensor) -> Tensor:
        """Values of these distributions, for standard normal noise of their shape."""
        return self.mean + self.log_variance.mul(0.5).exp() * noise


@runtime_checkable
class Encoding(Protocol):
    """A trainee that finds the noise of the photo by an encoder, anew in every step."""

    encoded: Encoded
    """The photo; the anchor is a sample of it."""


@runtime_checkable
class Layered(Protocol):
    """A trainee that shows what the anchor becomes at every level, and follows how well.

    Its noise is as strong as the reconstruction is wrong, step by step (Meta Internal Learning).
    """

    reconstructions: list[Tensor]
    """Images of the anchor at all levels so far, with their graph, of the last `refine`."""

    def renew(self) -> None:
        """Predict again: what predicts has moved."""
        ...

    def follow(self, error: Tensor) -> None:
        """Take `error`, the mean squared error of the reconstruction, for the next step's noise."""
        ...


class Learner(Protocol):
    """A model that grows, as the trainer sees it. An `nn.Module` on top of these members."""

    def grow(self, example: Pyramid, seed: int) -> None:
        """Add the next level, freeze what no longer moves, and calibrate the noise on `example`."""
        ...

    def extend(self, generator: torch.Generator | None) -> None:
        """Add the next level's parameters: drawn from `generator`, or, with None, left as they
        are for a state that is loaded afterwards.
        """
        ...

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """What may move at the newest level, and at which rates, for an optimizer."""
        ...

    def refresh(self, seed: int) -> None:
        """Called before each step: redraw what the method redraws, if anything."""
        ...

    def bind(self, example: Pyramid, share: slice = ALL) -> Trainee:
        """The generator of this example: itself, or one whose weights or anchor depend on it.

        Args:
            example: the photo at every level, (B, C, H, W) for training in batches of B; or B
                photos, where the generator depends on them.
            share: the part of the batch whose images the trainee makes; of those of several photos.
        """
        ...

    def generator_of(self, example: Pyramid) -> Generator:
        """What draws pictures of the first photo of the example: itself, or what it predicts."""
        ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Any: ...


def check_entry(entry: Entry, levels: frozenset[int], sizes: Sequence[Size]) -> None:
    """Raises `UnsupportedEntry` unless `entry` may enter a generator of these sizes."""
    if entry.level not in levels:
        accepted = ", ".join(map(str, sorted(levels))) or "none"
        raise UnsupportedEntry(
            f"level {entry.level} cannot take an image; this model accepts {accepted}. "
            f"`singleimage info MODEL` lists its levels."
        )
    expected = sizes[max(entry.level - 1, 0)]
    found = tuple(entry.image.shape[-2:])
    if found != expected:
        raise UnsupportedEntry(
            f"the image that enters level {entry.level} must be {expected}, "
            f"not {found[0]}x{found[1]}; resize it first."
        )


TILE = 512
"""Pixels a side of the parts in which large images are decoded."""
WHOLE = 768 * 768
"""Pixels up to which an image is decoded in one piece."""


def in_tiles(size: Size) -> Iterator[Window]:
    """Windows that cover an image: one, or where it is large, tiles of about `TILE` pixels."""
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

    `local`: a pixel depends on those near it alone. Else the image is decoded in one piece.
    """
    size = sizes[-1]
    windows = list(in_tiles(size)) if local else [Window.whole(size)]
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


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, the module is in eval mode; afterwards as it was."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def decode_images(
    run: Callable[[int, Tensor | None, Sequence[Window]], Tensor],
    source: Callable[[int, Window], Window],
    latent: Latent,
    entry: Entry | None,
    *,
    local: bool,
) -> Tensor:
    """Decode level by level, in tiles, where images pass between levels.

    Args:
        run: makes the finest image from a first level on, given the image below it and the window
            of every level to compute.
        source: what of the level below must be known for a window of a level.
        local: as for `decode_tiles`.
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
