"""The photos of a training at every level, and which of them, or of a clip, a step looks at."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from singleimage.errors import ImageError, RecipeError, RunError
from singleimage.generators.hyper import HyperSpec
from singleimage.image import Photo, require_texture
from singleimage.parallel import processes
from singleimage.pyramid import Ladder, Pyramid
from singleimage.recipe import Recipe


class Examples:
    """One photo, of which a batch has copies, or several, which are taken in turn; or a clip."""

    def __init__(self, photos: Sequence[Photo], recipe: Recipe, like: Tensor) -> None:
        """`like`: its device and type are those of the images.

        Raises:
            RecipeError: several photos for a method that learns one.
            ImageError: all pixels of a photo are equal, or photos have different channels; or a
                clip is given for a photo or the other way around, or is too short.
            SizeError: a photo does not fit the recipe's pyramid.
        """
        hyper = isinstance(recipe.generator, HyperSpec)
        _require_alike([require_texture(photo) for photo in photos], recipe.name, hyper=hyper)
        pixels = [photo.pixels[None].to(like) for photo in photos]
        if recipe.training.mirror:
            pixels += [photo.flip(-1) for photo in pixels]
        reel = Pyramid.joined(pixels, recipe.pyramid)
        self._clip = reel if reel.ladder.moving else None
        self._starts = _starts(photos[0], reel.ladder, recipe.name)
        self.pyramid = reel if self._clip is None else reel.excerpt(0)
        """All photos; or a clip, from its first frame on."""
        batch = recipe.training.batch
        self.batch_size = min(batch, len(pixels)) if hyper else batch
        self._copies = self.pyramid.repeated(self.batch_size) if len(pixels) == 1 else None

    @property
    def first(self) -> Pyramid:
        """The first photo."""
        return self.pyramid.chosen([0])

    def batch(self, step: int, seed: Callable[[int], int]) -> Pyramid:
        """What a step looks at. Of several photos, some may be left out of an epoch.

        Of a clip with more frames than levels show, any part; the first step sees its beginning.

        Args:
            seed: of the order of the photos in an epoch, or of the part of a clip.
        """
        if self._clip is not None and step and self._starts > 1:
            dice = torch.Generator().manual_seed(seed(step))
            start = int(torch.randint(self._starts, (), generator=dice))
            return self._clip.excerpt(start).repeated(self.batch_size)
        if self._copies is not None:
            return self._copies
        count, size = len(self.pyramid.images[0]), self.batch_size
        epoch, part = divmod(step, count // size)
        order = torch.Generator().manual_seed(seed(epoch))
        indices: list[int] = torch.randperm(count, generator=order).tolist()
        return self.pyramid.chosen(indices[part * size : (part + 1) * size])


def _starts(photo: Photo, ladder: Ladder, name: str) -> int:
    """At how many frames an excerpt can begin; raises `ImageError` if the photo does not fit."""
    moving = photo.pixels.dim() == 4
    frames = photo.pixels.shape[1] if moving else 1
    if moving and not ladder.moving:
        raise ImageError(f"{name} learns photos; give one, or add --for video to hp-vae-gan.")
    if frames <= ladder.span:
        raise ImageError(
            f"a clip of {ladder.span + 1} frames or more is needed, not {frames}; give a longer "
            f"one, or set pyramid.strides to numbers with a smaller common multiple."
        )
    return frames - ladder.span


def _require_alike(photos: Sequence[Photo], name: str, *, hyper: bool) -> None:
    """Raises an error unless the recipe can learn all these photos together."""
    if len(photos) > 1 and not hyper:
        raise RecipeError(
            f"{name} learns one photo at a time; use meta or meta-small for several, or "
            f"--each for a model of each."
        )
    if any(photo.channels != photos[0].channels for photo in photos):
        raise ImageError("the photos have different channels; convert them to the same.")
    if processes() > 1 and len(photos) == 1:
        raise RunError("several processes share a batch of several photos; start one process.")
