"""Photos: a tensor, and what its channels mean.

Inside the package an image is a float32 tensor (C, H, W), or (B, C, H, W) in batches, with values
in [-1, 1]: -1 is black, transparent or no label; 1 is white, opaque or a label. Colors are sRGB.
The wing `images` is the only place that knows file formats, integers and [-1, 1].
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from singleimage.errors import ImageError
from singleimage.images.channels import Channels, Mask
from singleimage.images.decoded import Notes
from singleimage.images.encode import NOTHING, About, write_indices, write_picture
from singleimage.images.original import Original
from singleimage.images.rearrangement import Rearrangement
from singleimage.images.sheet import png_bytes
from singleimage.images.values import (
    MODE_CHANNELS,
    checkerboard,
    from_integers,
    to_integers,
    to_labels,
    to_pil,
)
from singleimage.machine.files import refuse_existing
from singleimage.multiscale.geometry import Size, size_of

ROUNDING = 1e-3
"""How far pixels may lie beyond their range."""


@dataclass(frozen=True, eq=False)
class Photo:
    """An image and the meaning of its channels."""

    pixels: Tensor
    """(C, H, W) float32 in [-1, 1]."""
    channels: Channels
    sha256: str = ""
    """Digest of the file's bytes, with masks of theirs too; empty for what was not read."""
    notes: Notes = ()
    """What the reader changed or left out, in words for the user."""
    rearrangement: Rearrangement | None = None
    """Where every pixel comes from, of a picture by a model that copies."""
    original: Original | None = None
    """The file that it was read from, or made of: a saved picture has its colors, bits and words,
    and its very integers where its pixels are the same."""

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return size_of(self.pixels)

    @property
    def about(self) -> About:
        """What a saved picture says of itself; TIFF holds no EXIF of it."""
        return NOTHING if self.original is None else self.original.about

    def integers(self) -> NDArray[Any]:
        """Return (H, W, C) uint8 or uint16 of the picture as its file has them, without masks."""
        count = self.channels.picture
        if self.original is not None and self.original.channels == self.channels.plain:
            return self.original.integers(self.pixels[:count])
        return to_integers(self.pixels[:count], self.channels.bits, self.channels.white)

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write the picture, and each mask beside it as `NAME_mask.png`; returns the paths.

        Raises:
            OutputError: a file exists and `overwrite` is false, the folder cannot be written, the
                disk is full, or the format cannot hold these channels.
        """
        files = self.channels.files(Path(path))
        for file in files:
            refuse_existing(file, overwrite=overwrite)
        write_picture(files[0], self.integers(), mode=self.channels.mode, about=self.about)
        planes = self.channels.of_masks(self.pixels)
        for file, plane, mask in zip(files[1:], planes, self.channels.masks, strict=True):
            values = _mask_integers(plane, mask)
            if mask.palette:
                write_indices(file, values[..., 0], mask.palette)
            else:
                write_picture(file, values)
        return files

    def colors(self, *, jpeg: int | None = None) -> Tensor:
        """(3, H, W) in [-1, 1]: the picture as an 8-bit file gives it back, to be measured.

        Gray is repeated, alpha lies over middle gray, masks are left out.

        `jpeg`: through a JPEG file of this quality; None: without loss.
        """
        picture = to_pil(to_integers(self.pixels[: MODE_CHANNELS[self.channels.mode]]))
        if picture.mode in ("LA", "RGBA"):
            gray = Image.new("RGBA", picture.size, (128, 128, 128, 255))
            picture = Image.alpha_composite(gray, picture.convert("RGBA"))
        picture = picture.convert("RGB")
        if jpeg is not None:
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=jpeg)
            picture = Image.open(stream)
        return from_integers(np.asarray(picture))

    def preview(self, limit: int | None = None) -> Image.Image:
        """An 8-bit RGB picture to look at: alpha over a checkerboard, masks below the picture.

        `limit`: the longest side allowed, pixels; a larger picture is reduced to it.
        """
        count = MODE_CHANNELS[self.channels.mode]
        picture = to_pil(to_integers(self.pixels[:count]))
        if limit is not None:  # before anything else copies a large picture
            picture.thumbnail((limit, limit))
        if picture.mode in ("LA", "RGBA"):
            picture = Image.alpha_composite(checkerboard(picture.size), picture.convert("RGBA"))
        tiles = [picture.convert("RGB")]
        planes = self.channels.of_masks(self.pixels)
        for plane, mask in zip(planes, self.channels.masks, strict=True):
            tile = _mask_shown(plane, mask)
            tiles.append(tile if tile.size == picture.size else tile.resize(picture.size))
        column = Image.new("RGB", (picture.width, picture.height * len(tiles)))
        for i, tile in enumerate(tiles):
            column.paste(tile, (0, i * picture.height))
        if limit is not None:
            column.thumbnail((limit, limit))
        return column

    def _repr_png_(self) -> bytes:
        return png_bytes(self.preview())


def _mask_integers(planes: Tensor, mask: Mask) -> NDArray[Any]:
    """The values (H, W, 1) of a mask in its file, from its channels (n, H, W)."""
    if mask.labels:
        return to_labels(planes, mask.labels, bits=mask.bits, ranks=mask.ranks)
    return to_integers(planes, mask.bits)


def _mask_shown(planes: Tensor, mask: Mask) -> Image.Image:
    """A mask to look at: in the colors of its palette, or labels as evenly spaced grays."""
    values = _mask_integers(planes, mask)[..., 0]
    if mask.palette:
        colors = np.zeros((256, 3), np.uint8)
        colors[: len(mask.palette)] = mask.palette
        return Image.fromarray(colors[values])
    if not mask.labels:
        return to_pil(to_integers(planes)).convert("RGB")
    ranks = np.searchsorted(mask.labels, values) * 255 / max(len(mask.labels) - 1, 1)
    return Image.fromarray(ranks.round().astype(np.uint8)).convert("RGB")


def joined_digest(digests: Sequence[str]) -> str:
    """Return one digest for several photos, given theirs as `digests`; of a single one its own."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def require_texture(photo: Photo) -> Photo:
    """Return the photo; raises `ImageError` if it is none, or has one color: nothing to learn."""
    low, high = float(photo.pixels.min()), float(photo.pixels.max())
    if not -1 - ROUNDING <= low <= high <= 1 + ROUNDING:
        raise ImageError(
            f"the pixels of a photo are from -1 (black) to 1 (white), these from {low:g} to "
            f"{high:g}; scale them, or use read_photo."
        )
    if len(photo.pixels) != photo.channels.count:
        raise ImageError(
            f"the photo has {len(photo.pixels)} channels, and {photo.channels.count} are said; its "
            f"pixels are (C, H, W)."
        )
    values = photo.pixels[: photo.channels.picture].flatten(1)
    if bool((values.amax(1) == values.amin(1)).all()):
        raise ImageError(
            "every pixel of the image has the same color, so there is nothing to learn; "
            "choose an image with some texture."
        )
    return photo
