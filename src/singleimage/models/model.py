"""A model: its generator, its recipe and where it came from, in one file.

The file is `safetensors`: tensors, and metadata as text. Nothing in it is executed. See
docs/file-format.md.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import msgspec
import torch
from PIL import Image
from torch import Tensor

from singleimage.apps.masks import marked
from singleimage.apps.rearrange import rearrangements
from singleimage.apps.sample import Tile, reconstruct, sample, sampled_latent
from singleimage.errors import ArgumentError, ModelFileError, RecipeError
from singleimage.generators.base import Copier, Generator, no_copier
from singleimage.generators.draft import at_once
from singleimage.generators.finished import Finished, finished
from singleimage.images.channels import Channels
from singleimage.images.clip import Clip
from singleimage.images.original import Original
from singleimage.images.palette import cleared, snapped
from singleimage.images.photo import Photo, require_texture
from singleimage.images.rearrangement import Rearrangement
from singleimage.images.sheet import png_bytes, sheet
from singleimage.machine.device import find_device, require_clips
from singleimage.machine.files import followed, refuse_existing, write_atomically
from singleimage.machine.memory import kept_heap, returned_heap
from singleimage.models.modelfile import (
    Provenance,
    compare_tensors,
    damaged,
    file_of,
    fill_networks,
    from_stored,
    made_at_once,
    metadata_of,
    model_path,
    read_learner,
    read_metadata,
    read_tensors,
    to_stored,
)
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import Pyramid
from singleimage.multiscale.resample import resize
from singleimage.nn.precision import Precision, resolve_precision
from singleimage.recipes.recipe import Recipe

LARGE = 1_000_000
"""Pixels of a picture from which on its freed memory goes back to the system."""


@dataclass(frozen=True, eq=False)
class Model:
    """A generator of one photo. `Model.load(path)`, then `model.sample(seeds)`."""

    generator: Generator
    recipe: Recipe
    channels: Channels
    provenance: Provenance
    image: Tensor | None
    """The photo at the finest trained level, (C, H, W) in [-1, 1], or the clip, (C, T, H, W); None
    if it was not embedded."""
    original: Original | None = None
    """The file of the photo, of a model that was made of it in this process."""

    @property
    def size(self) -> Size:
        """Size of the training image at the finest trained level, and of samples by default."""
        return self.generator.ladder.finest

    @property
    def planned_levels(self) -> int:
        """Levels that its training has at the end; while it goes on, more than the model has."""
        return len(self.recipe.pyramid.plan(Size(*self.provenance.photo)).sizes)

    @property
    def suffix(self) -> str:
        """Suffix of the files of samples: of a lossless format; of clips, .gif."""
        return ".gif" if self.generator.ladder.moving else self.channels.suffix

    def sample(
        self,
        seeds: Sequence[int],
        *,
        size: tuple[int, int] | None = None,
        start_level: int = 0,
        tile: Tile = None,
        frames: int | None = None,
        keep: Photo | None = None,
    ) -> Iterator[Photo]:
        """Draw one new picture, or clip, for each seed (SinGAN, section 3).

        Picture i depends on `seeds[i]` alone, bit for bit. What cannot be drawn is refused at once.

        Args:
            seeds: any integers.
            size: (height, width) of the pictures; None: that of the training image.
            start_level: keep the photo's layout below this level; 0 keeps nothing.
            tile: pictures without a seam when repeated: "x" side by side, "y" over each other,
                "xy" both.
            frames: of clips; None: as many as in training.
            keep: what of the photo stays, of its size, see `apps.masks.marked`; only of a model
                that copies.

        Returns:
            The pictures, drawn one by one as they are asked for. Those of a model that copies tell
            where their pixels come from.

        Raises:
            SizeError: the size is too small for the pyramid.
            ArgumentError: the level does not exist, frames are too few or those of a photo, or what
                is asked for does not go together.
            MaskError: `keep` has another size, or marks nothing or everything.
            UnsupportedEntry: `keep` is given to a model that was trained.
        """
        if self.generator.copier is not None:
            if frames is not None:
                self.generator.lasting(frames)
            return self._rearranging(self.generator.copier, seeds, size, start_level, tile, keep)
        if keep is not None:
            raise no_copier()
        generator = self.generator if frames is None else self._lasting(frames, start_level)
        target = Size(*size) if size else self.size
        sampled_latent(generator, seeds[:0], size=target, start_level=start_level, tile=tile)
        pixels = (generator.ladder.frames(-1) or 1) * target.height * target.width

        def pictures() -> Iterator[Photo]:
            # Large pictures would keep their peak of memory.
            with returned_heap() if pixels > LARGE else kept_heap():
                for seed in seeds:
                    (image,) = sample(
                        generator, [seed], size=target, start_level=start_level, tile=tile
                    )
                    yield self._photo(image)

        return pictures()

    def _rearranging(
        self,
        copier: Copier,
        seeds: Sequence[int],
        size: tuple[int, int] | None,
        start_level: int,
        tile: Tile,
        keep: Photo | None,
    ) -> Iterator[Photo]:
        """What `sample` does where the generator copies."""
        generator = self.generator
        target = Size(*size) if size else self.size
        sampled_latent(generator, seeds[:0], size=target, start_level=start_level, tile=tile)
        part: Tensor | None = None
        if keep is not None:
            photo = self.first_photo()
            assert photo is not None  # it is all there is of such a model
            part = marked(keep, photo, "the mask of what stays").part
        # A picture that is large, or of a large photo, is made by all threads.
        small = max(math.prod(target), math.prod(copier.photo)) < LARGE
        threads = torch.get_num_threads() if small else 1
        later = range(threads, len(seeds), threads * at_once(target, copier.photo))
        bounds = [0, *later, len(seeds)] if seeds else []  # the first ones come soon

        def pictures() -> Iterator[Photo]:
            for first, last in pairwise(bounds):
                some = seeds[first:last]
                latent = sampled_latent(
                    generator, some, size=target, start_level=start_level, tile=tile
                )
                yield from map(self.rearranged, rearrangements(generator, copier, latent, part))

        return pictures()

    def rearranged(self, how: Rearrangement) -> Photo:
        """Rearrange the training image."""
        assert self.image is not None  # it is all there is of such a model
        pixels = cleared(how.applied(self.image.cpu()), self.channels)
        return replace(self._picture(pixels), rearrangement=how)

    def _lasting(self, frames: int, start_level: int) -> Generator:
        if start_level:
            raise ArgumentError(
                f"a start level of {start_level} keeps the clip's layout and so its length, not "
                f"{frames} frames; drop one of the two."
            )
        return self.generator.lasting(frames)

    def of_any_colors(self) -> "Model":
        """The same model, which does not keep to the colors of a photo of few."""
        return replace(self, channels=msgspec.structs.replace(self.channels, palette=()))

    def reconstruct(self) -> Photo:
        """Draw the picture of the anchor noise, which shows how well the model knows the photo."""
        copier = self.generator.copier
        if copier is None:
            return self._photo(reconstruct(self.generator)[0])
        (found,) = rearrangements(self.generator, copier, self.generator.anchor(), None)
        return self.rearranged(found)

    def unfinished(self) -> "Model":
        """What its network alone draws, where the photo's patches finish its pictures."""
        if not isinstance(self.generator, Finished) or self.image is None:
            return self
        network, recipe = self.generator.network, msgspec.structs.replace(self.recipe, finish=None)
        image = resize(self.image[None].cpu(), network.ladder.finest)[0].clamp(-1, 1)
        return replace(self, generator=network, recipe=recipe, image=image, original=None)

    def training_image(self) -> Photo | None:
        """Return the photo at the finest trained level, or None if it is not embedded."""
        if self.image is None:
            return None
        return replace(self._picture(self.image), original=self.original)

    def first_photo(self) -> Photo | None:
        """The training image; of several photos side by side the first, whose layout samples have.

        None if it is not embedded.
        """
        photo = self.training_image()
        if photo is None or photo.size == self.size:
            return photo
        height, width = self.size
        return replace(photo, pixels=photo.pixels[..., :height, :width])

    def sheet(self, seeds: Sequence[int] = range(5)) -> Image.Image:
        """Lay out the training image, where it is embedded, and one sample for each of `seeds`."""
        photo = self.training_image()
        shown = [*([photo] if photo else []), *self.sample(seeds)]
        return sheet([picture.preview() for picture in shown])

    @torch.inference_mode()
    def _photo(self, image: Tensor) -> Photo:
        """`image` belongs to nobody else: it may be as large as memory allows."""
        image = image.float()
        if not math.isfinite(float(image.amin()) + float(image.amax())):  # without a copy
            raise ModelFileError(
                "the model draws values that are not finite; it is damaged, train it again."
            )
        return self._picture(snapped(image.clamp_(-1, 1).cpu(), self.channels))

    def _picture(self, pixels: Tensor) -> Photo:
        if self.provenance.fps is None:
            return Photo(pixels, self.channels)
        return Clip(pixels, self.channels, fps=self.provenance.fps)

    def _repr_png_(self) -> bytes:
        return png_bytes(self.sheet())

    def save(self, path: str | Path, *, embed_image: bool = True, overwrite: bool = False) -> None:
        """Write the model to one file, atomically.

        Args:
            path: of the file, `.safetensors`.
            embed_image: store the training image too; without it, a few uses need the photo again.
            overwrite: replace a file that exists.

        Raises:
            OutputError: the file exists and `overwrite` is false, or it cannot be written.
            ArgumentError: the model needs no training, and without its photo nothing is left of it;
                or it is of several photos.
        """
        path = Path(path)
        refuse_existing(path, overwrite=overwrite)
        if self.recipe.draws_from_photo and not embed_image:
            raise ArgumentError(
                f"a {self.recipe.name} model draws from its photo; it cannot be saved without it."
            )
        if self.recipe.direct is not None and self.provenance.photos > 1:
            raise ArgumentError(
                "a model of several photos cannot be saved; make it from them again, in an instant."
            )
        state = self.generator.state_dict()
        tensors = {f"generator.{name}": t.contiguous().cpu() for name, t in state.items()}
        if embed_image and self.image is not None:
            tensors["image"] = to_stored(self.image, self.channels)
        metadata = metadata_of(self.recipe, self.channels, self.provenance)
        data = file_of(tensors, metadata)
        write_atomically(followed(path), lambda stream: stream.write(data))

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "auto",
    ) -> "Model":
        """Read a model file, or the model in a run folder.

        Args:
            path: of the file or the folder.
            device: where it will draw: a device, or a name as for `find_device`.
            precision: in which type it will draw; auto: bf16 where the device is fast at it.

        Raises:
            ModelFileError: the file is missing, damaged, no model, of another format, or its
                tensors are not those of its recipe; the first wrong one is named.
            DeviceError: the device is not available, or computes no clips.
        """
        path = model_path(Path(path))
        device = find_device(device) if isinstance(device, str) else device
        metadata, tensors = read_tensors(path)
        recipe, channels, provenance = read_metadata(path, metadata)
        if recipe.learns_several:
            raise ModelFileError(
                f"{path} is a hypernetwork, which has no pictures of its own; make a model of a "
                f"photo with: singleimage model {path} PHOTO -o MODEL.safetensors"
            )
        stored = tensors.pop("image", None)
        if stored is not None and (stored.ndim < 3 or len(stored) != channels.count):
            raise damaged(path, f"tensor image is not of {channels.count} channels")
        image = None if stored is None else from_stored(stored, channels)
        generator: Generator
        if recipe.direct is None:
            learner = read_learner(path, recipe, channels, provenance)
            if learner.ladder.moving:
                require_clips(torch.device(device))
            chosen = resolve_precision(precision, torch.device(device))
            fill_networks(path, {"generator": learner}, tensors, device, chosen)
            generator = cast(Generator, learner)  # so are all that learn one photo
            if recipe.finish is not None and image is None:
                raise damaged(path, "it holds no photo, whose patches finish its pictures")
            if image is not None:
                generator = finished(generator, recipe.finish, image[: channels.picture])
        else:
            compare_tensors(path, {}, tensors)
            if image is None:
                raise damaged(path, "it holds no photo, and without training there is nothing else")
            generator = _direct(recipe, image[: channels.picture].to(device))
        if stored is not None:
            expected = (channels.count, *generator.ladder.shape(-1))
            if tuple(stored.shape) != expected or stored.dtype not in (torch.uint8, torch.uint16):
                raise damaged(path, f"tensor image is not {expected} integers")
        return cls(generator, recipe, channels, provenance, image)

    @classmethod
    def of_network(
        cls,
        network: Generator,
        recipe: Recipe,
        channels: Channels,
        provenance: Provenance,
        image: Tensor,
        photo: Photo,
    ) -> "Model":
        """The model of a network that has learned a photo, up to some level.

        Args:
            network: draws pictures of its finest level.
            recipe: by which it was trained.
            channels: of the photo.
            provenance: where it comes from.
            image: the photo at the network's finest level, (C, H, W) in [-1, 1].
            photo: the photo as it is, from which the recipe may finish pictures.
        """
        if recipe.finish is None:
            return cls(network, recipe, channels, provenance, image)
        # As a file gives it back, so that the saved model draws the same pictures.
        large = recipe.finish.reduced(photo.pixels)
        whole = from_stored(to_stored(large, channels), channels)
        generator = finished(network, recipe.finish, whole[: channels.picture])
        done = generator is not network
        return cls(generator, recipe, channels, provenance, whole if done else image)

    @classmethod
    def of_photo(
        cls, photo: Photo, recipe: Recipe, *, seed: int = 0, device: str | torch.device = "cpu"
    ) -> "Model":
        """Make the model of a photo with a recipe that needs no training.

        Args:
            photo: what to draw from.
            recipe: whose generator needs no training.
            seed: kept in the provenance; there is nothing random in such a model.
            device: where it will draw.

        Raises:
            RecipeError: the recipe must be trained.
            SizeError: the photo does not fit the recipe's pyramid.
            ImageError: all its pixels are equal.
        """
        if recipe.direct is None:
            raise RecipeError(f"{recipe.name} must be trained; use singleimage.train.")
        finest = require_texture(photo).pixels
        if recipe.pyramid.plan(photo.size).reduction < 1:
            finest = Pyramid.build(finest[None], recipe.pyramid).images[-1][0]
        # As a file gives it back, so that the saved model draws the same pictures.
        image = from_stored(to_stored(finest, photo.channels), photo.channels)
        generator = _direct(recipe, image[: photo.channels.picture].to(device))
        provenance = made_at_once(photo, len(generator.ladder.sizes), str(device), seed=seed)
        return cls(generator, recipe, photo.channels, provenance, image, photo.original)


def _direct(recipe: Recipe, image: Tensor) -> Generator:
    """The generator of an image (C, H, W), without masks, that needs no training."""
    assert recipe.direct is not None
    return recipe.direct.generator_of(Pyramid.build(image[None], recipe.pyramid))
