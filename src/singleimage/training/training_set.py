"""The photos of a training at every level, and which of them, or of a clip, a step looks at."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import msgspec
import torch
from torch import Tensor

from singleimage.errors import ImageError, RecipeError, RunError, SizeError
from singleimage.images.channels import same_masks
from singleimage.images.photo import Photo, joined_digest, require_texture
from singleimage.machine.processes import processes
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import Ladder, Pyramid, WidthPyramid
from singleimage.recipes.recipe import Recipe

KEPT = 512_000_000
"""Bytes of photos that are kept on all levels, in all processes together."""


class TrainingSet:
    """One photo, of which a batch has copies, or several, which are taken in turn; or a clip.

    Of several, as many as fit are kept in memory, on all levels. The others are read and reduced
    again whenever their turn comes, while the step before is computed.
    """

    def __init__(self, photos: Sequence[Photo], recipe: Recipe, like: Tensor) -> None:
        """Look at each photo once, and put the first ones on all levels of the recipe's pyramid.

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
        require_few(photos, recipe)
        self._photos = photos
        self._like = like
        self._law = recipe.pyramid
        self.count = len(photos) * (2 if training.mirror else 1)
        """Photos, mirrored ones too."""
        first = require_texture(photos[0])
        self.ladder = recipe.pyramid.plan(first.size)
        reel = self._made(0, first)
        room = KEPT // processes() // reel.bytes if self.count > 1 else 0
        self._kept = _Shelf(reel, min(self.count, room))
        digests, same = [], True
        for i, photo in enumerate(photos):
            here, there = photo.channels, first.channels
            if here.plain != there.plain or not same_masks(here.masks, there.masks):
                raise ImageError("the photos have different channels; convert them to the same.")
            same = same and here.palette == there.palette
            digests.append(require_texture(photo).sha256)
            for index in range(i, self.count, len(photos)):
                if not self._kept.full:
                    self._kept.put(index, self._made(index, photo))
        plain = msgspec.structs.replace(first.channels, palette=())
        self.photo = first if same else replace(first, channels=plain)
        """The first photo; where each has few colors of its own, it keeps to none."""
        self.sha256 = joined_digest(digests)
        """Digest of the photos' files."""
        self._clip = reel if reel.ladder.moving else None
        self._starts = _starts(first, reel.ladder, recipe.name)
        self.first = reel if self._clip is None else reel.excerpt(0)
        """The first photo; or a clip, from its first frame on."""
        several = recipe.learns_several
        self.batch_size = min(training.batch, self.count) if several else training.batch
        self._copies = self.first.repeated(self.batch_size) if self.count == 1 else None
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[list[int], Future[Pyramid]] | None = None

    def batch(self, step: int, seed: Callable[[int], int]) -> Pyramid:
        """What a step looks at. Of several photos, some may be left out of an epoch.

        Of a clip with more frames than levels show, any part; the first step sees its beginning.

        Args:
            step: of the level.
            seed: of the order of the photos in an epoch, or of the part of a clip.

        Raises:
            ImageError: the file of a photo has been changed or removed.
        """
        if self._clip is not None and step and self._starts > 1:
            dice = torch.Generator().manual_seed(seed(step))
            start = int(torch.randint(self._starts, (), generator=dice))
            return self._clip.excerpt(start).repeated(self.batch_size)
        if self._copies is not None:
            return self._copies
        return self._stacked(self._turn(step, seed), self._turn(step + 1, seed))

    def _turn(self, step: int, seed: Callable[[int], int]) -> list[int]:
        """Which photos a step looks at."""
        epoch, part = divmod(step, self.count // self.batch_size)
        order = torch.Generator().manual_seed(seed(epoch))
        indices: list[int] = torch.randperm(self.count, generator=order).tolist()
        return indices[part * self.batch_size : (part + 1) * self.batch_size]

    def _stacked(self, wanted: list[int], later: list[int]) -> Pyramid:
        """The photos that are wanted now; those that will be later are begun to be read."""
        if len(self._kept) == self.count:
            return self._of(wanted)
        if self._ahead is None or self._ahead[0] != wanted:
            self._ahead = wanted, self._reader.submit(self._of, wanted)
        found = self._ahead[1].result()
        self._ahead = later, self._reader.submit(self._of, later)
        return found

    def _of(self, indices: list[int]) -> Pyramid:
        with torch.no_grad():
            return Pyramid.stacked([self._kept.get(i) or self._made(i) for i in indices])

    def _made(self, index: int, photo: Photo | None = None) -> Pyramid:
        """A photo at all levels; with an index of its own mirrored."""
        count = len(self._photos)
        pixels = (photo or self._photos[index % count]).pixels[None].to(self._like)
        pixels = pixels if index < count else pixels.flip(-1)
        return Pyramid.build(pixels, self._law, self.ladder)


class _Shelf:
    """Some photos on all levels, in memory that is asked for at once.

    Asked for photo by photo, as much again would be lost between what reading them takes.
    """

    def __init__(self, like: Pyramid, room: int) -> None:
        """Keep nothing yet.

        Args:
            like: a photo on all levels.
            room: photos at most.
        """
        self._room = room
        self._places: dict[int, int] = {}
        self._images = [image.new_empty(room, *image.shape[1:]) for image in _all(like)]
        self._like = like

    def __len__(self) -> int:
        return len(self._places)

    @property
    def full(self) -> bool:
        """Whether there is room for no more."""
        return len(self) == self._room

    def put(self, index: int, photo: Pyramid) -> None:
        """Keep a photo."""
        place = self._places[index] = len(self)
        for images, image in zip(self._images, _all(photo), strict=True):
            images[place] = image[0]

    def get(self, index: int) -> Pyramid | None:
        """A photo, if it is kept."""
        if (place := self._places.get(index)) is None:
            return None
        *images, last = (images[place : place + 1] for images in self._images)
        if self._like.view is None:
            return replace(self._like, images=(*images, last))
        return replace(self._like, images=tuple(images), view=last)


def _all(photo: Pyramid) -> list[Tensor]:
    """Its levels, and what a hypernetwork sees of it."""
    return [*photo.images, *([] if photo.view is None else [photo.view])]


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


def require_few(photos: Sequence[Photo], recipe: Recipe) -> None:
    """Check that the recipe can learn as many photos together.

    Raises:
        RecipeError: they are several, and the method learns one.
        RunError: several processes were started for one photo.
    """
    if len(photos) > 1 and not recipe.learns_several:
        raise RecipeError(
            f"{recipe.name} learns one photo at a time; use meta or meta-small for several, or "
            f"--each for a model of each."
        )
    if processes() > 1 and len(photos) == 1:
        raise RunError("several processes share a batch of several photos; start one process.")


def require_seen(photo: Size, coarsest: Size, recipe: Recipe) -> None:
    """Check that critics see some patch of the coarsest level whole.

    Args:
        photo: size of the photo.
        coarsest: that of the level.
        recipe: of both.

    Raises:
        SizeError: the level is too small.
    """
    smallest = recipe.schedule.critic.smallest_image
    if min(coarsest) >= smallest:
        return
    field = f"pyramid.min_size={smallest}"
    if isinstance(recipe.pyramid, WidthPyramid):
        aspect = recipe.pyramid.aspect or photo.height / photo.width
        field = f"pyramid.min_width={math.ceil(smallest / min(aspect, 1))}"
    raise SizeError(
        f"the coarsest level is {coarsest}, but critics need {smallest} pixels a side; "
        f"set {field} or more."
    )
