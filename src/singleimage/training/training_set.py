"""The photos of a training at every level, and which of them, or of a clip, a step looks at."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from singleimage.errors import ImageError, RecipeError, RunError
from singleimage.images.photo import Photo, require_texture
from singleimage.machine.processes import processes
from singleimage.multiscale.pyramid import Ladder, Pyramid
from singleimage.recipes.recipe import Recipe


class TrainingSet:
    """One photo, of which a batch has copies, or several, which are taken in turn; or a clip."""

    def __init__(self, photos: Sequence[Photo], recipe: Recipe, like: Tensor) -> None:
        """Put the photos on all levels of the recipe's pyramid.

        Args:
            photos: one, or several of the same channels; or one clip.
            recipe: how they are learned.
            like: its device and type are those of the images.

        Raises:
            RecipeError: several photos for a method that learns one.
            ImageError: all pixels of a photo are equal, or photos have different channels; or a
                clip is given for a photo or the other way around, or is too short.
            SizeError: a photo does not fit the recipe's pyramid.
        """
        training = recipe.schedule.training
        require_alike([require_texture(photo) for photo in photos], recipe)
        pixels = [photo.pixels[None].to(like) for photo in photos]
        if training.mirror:
            pixels += [photo.flip(-1) for photo in pixels]
        reel = Pyramid.joined(pixels, recipe.pyramid)
        self._clip = reel if reel.ladder.moving else None
        self._starts = _starts(photos[0], reel.ladder, recipe.name)
        self.pyramid = reel if self._clip is None else reel.excerpt(0)
        """All photos; or a clip, from its first frame on."""
        several = recipe.learns_several
        self.batch_size = min(training.batch, len(pixels)) if several else training.batch
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


def require_alike(photos: Sequence[Photo], recipe: Recipe) -> None:
    """Check that the recipe can learn all these photos together.

    Raises:
        RecipeError: they are several, and the method learns one.
        ImageError: they have different channels.
        RunError: several processes were started for one photo.
    """
    if len(photos) > 1 and not recipe.learns_several:
        raise RecipeError(
            f"{recipe.name} learns one photo at a time; use meta or meta-small for several, or "
            f"--each for a model of each."
        )
    if any(photo.channels != photos[0].channels for photo in photos):
        raise ImageError("the photos have different channels; convert them to the same.")
    if processes() > 1 and len(photos) == 1:
        raise RunError("several processes share a batch of several photos; start one process.")
