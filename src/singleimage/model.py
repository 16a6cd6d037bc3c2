"""A trained model: its generator, its recipe and where it came from, in one file.

The file is `safetensors`: tensors, and metadata as text. Nothing in it is executed. See
docs/file-format.md.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from singleimage.apps.sample import Tile, reconstruct, sample
from singleimage.clip import Clip
from singleimage.errors import ModelFileError, SizeError
from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.generators.hyper import HyperSpec
from singleimage.generators.patch_vae import PatchVAE
from singleimage.image import Channels, Photo, png_of, refuse_existing, sheet, write_atomically
from singleimage.memory import kept_heap
from singleimage.modelfile import (
    Provenance,
    compare_tensors,
    damaged,
    from_stored,
    metadata_of,
    model_path,
    read_metadata,
    read_tensors,
    to_stored,
)
from singleimage.nn.blocks import restore_order
from singleimage.nn.precision import Precision, resolve_precision, use_precision
from singleimage.recipe import Recipe
from singleimage.resample import Size

BATCH_PIXELS = 1_000_000
"""Samples are decoded in batches of about this many pixels; pictures do not depend on it."""


@dataclass(frozen=True, eq=False)
class Model:
    """A generator of one photo. `Model.load(path)`, then `model.sample(seeds)`."""

    generator: Cascade | Growing | PatchVAE
    recipe: Recipe
    channels: Channels
    provenance: Provenance
    image: Tensor | None
    """The photo at the finest trained level, (C, H, W) in [-1, 1], or the clip, (C, T, H, W); None
    if it was not embedded."""

    @property
    def size(self) -> Size:
        """Size of the training image at the finest trained level, and of samples by default."""
        return self.generator.ladder.finest

    @property
    def suffix(self) -> str:
        """Of the files of samples: a lossless format, or of clips that of a GIF."""
        return ".gif" if self.generator.ladder.moving else self.channels.suffix

    def sample(
        self,
        seeds: Sequence[int],
        *,
        size: tuple[int, int] | None = None,
        start_level: int = 0,
        tile: Tile = None,
        frames: int | None = None,
    ) -> list[Photo]:
        """One new picture a seed, or clip; picture i depends on `seeds[i]` alone.

        Args:
            size: (height, width) of the pictures; None: that of the training image.
            start_level: keep the photo's layout below this level; 0 keeps nothing.
            tile: pictures without a seam when repeated: "x" side by side, "y" over each other,
                "xy" both.
            frames: of clips; None: as many as in training.

        Raises:
            SizeError: the size is too small for the pyramid, the level does not exist, frames are
                too few or those of a photo, or what is asked for does not go together.
        """
        generator = self.generator if frames is None else self._lasting(frames, start_level)
        target = Size(*size) if size else self.size
        pixels = (generator.ladder.frames(-1) or 1) * target.height * target.width
        batch = max(1, BATCH_PIXELS // pixels)
        pictures: list[Photo] = []
        large = pixels > BATCH_PIXELS
        with contextlib.nullcontext() if large else kept_heap():  # which would keep the peak
            for first in range(0, len(seeds), batch):
                part = seeds[first : first + batch]
                images = sample(generator, part, size=target, start_level=start_level, tile=tile)
                pictures.extend(self._photo(image) for image in images)
        return pictures

    def _lasting(self, frames: int, start_level: int) -> PatchVAE:
        if start_level:
            raise SizeError(
                f"a start level of {start_level} keeps the clip's layout and so its length, not "
                f"{frames} frames; drop one of the two."
            )
        self.generator.ladder.lasting(frames)  # refuses models of photos
        assert isinstance(self.generator, PatchVAE)
        return self.generator.lasting(frames)

    def reconstruct(self) -> Photo:
        """The picture the model makes of its anchor noise: how well it knows the photo."""
        return self._photo(reconstruct(self.generator)[0])

    def training_image(self) -> Photo | None:
        """The photo at the finest trained level, if it is embedded."""
        return None if self.image is None else self._picture(self.image)

    def sheet(self, seeds: Sequence[int] = range(5)) -> Image.Image:
        """The training image, where it is embedded, then samples, on one page."""
        photo = self.training_image()
        return sheet([p.preview() for p in ([photo] if photo else []) + self.sample(seeds)])

    @torch.inference_mode()
    def _photo(self, image: Tensor) -> Photo:
        """`image` belongs to nobody else: it may be as large as memory allows."""
        return self._picture(image.float().clamp_(-1, 1).cpu())

    def _picture(self, pixels: Tensor) -> Photo:
        if self.provenance.fps is None:
            return Photo(pixels, self.channels)
        return Clip(pixels, self.channels, fps=self.provenance.fps)

    def _repr_png_(self) -> bytes:
        return png_of(self.sheet())

    def save(self, path: str | Path, *, embed_image: bool = True, overwrite: bool = False) -> None:
        """Write the model to one file, atomically.

        Args:
            embed_image: store the training image too; without it, a few uses need the photo again.

        Raises:
            OutputError: the file exists and `overwrite` is false, or it cannot be written.
        """
        path = Path(path)
        refuse_existing(path, overwrite=overwrite)
        state = self.generator.state_dict()
        tensors = {f"generator.{name}": t.contiguous().cpu() for name, t in state.items()}
        if embed_image and self.image is not None:
            tensors["image"] = to_stored(self.image, self.channels.bits)
        metadata = metadata_of(self.recipe, self.channels, self.provenance)
        data = safetensors.torch.save(tensors, metadata)
        write_atomically(path, lambda stream: stream.write(data))

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
            precision: in which type it will draw; auto: bf16 where the device is fast at it.

        Raises:
            ModelFileError: the file is missing, damaged, no model, of another format, or its
                tensors are not those of its recipe; the first wrong one is named.
        """
        path = model_path(Path(path))
        metadata, tensors = read_tensors(path)
        recipe, channels, provenance = read_metadata(path, metadata)
        if isinstance(recipe.generator, HyperSpec):
            raise ModelFileError(
                f"{path} is a hypernetwork, which has no pictures of its own; make a model of a "
                f"photo with: singleimage model {path} PHOTO -o MODEL.safetensors"
            )
        photo = Size(*provenance.photo)
        try:
            ladder = recipe.pyramid.plan(photo)
        except SizeError:
            raise damaged(path, f"a photo of {photo} does not fit its recipe") from None
        if provenance.levels > len(ladder.sizes):
            raise damaged(
                path, f"its recipe makes {len(ladder.sizes)} levels, not {provenance.levels}"
            )
        with torch.device("meta"):
            generator = recipe.generator.build(channels=channels.count, ladder=ladder)
            for _ in range(provenance.levels):
                generator.extend(None)
        stored = tensors.pop("image", None)
        likes = {f"generator.{name}": like for name, like in generator.state_dict().items()}
        compare_tensors(path, likes, tensors)
        weights = {name.removeprefix("generator."): t for name, t in tensors.items()}
        generator.load_state_dict(weights, assign=True)
        restore_order(generator.to(device))
        use_precision(generator, resolve_precision(precision, torch.device(device)))
        generator.requires_grad_(False).eval()
        image = None
        if stored is not None:
            expected = (channels.count, *generator.ladder.shape(-1))
            if tuple(stored.shape) != expected or stored.dtype not in (torch.uint8, torch.uint16):
                raise damaged(path, f"tensor image is not {expected} integers")
            image = from_stored(stored)
        return cls(generator, recipe, channels, provenance, image)
