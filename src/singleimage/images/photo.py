"""Photos: a tensor, and what its channels mean.

Inside the package an image is a float32 tensor (C, H, W), or (B, C, H, W) in batches, with values
in [-1, 1]: -1 is black, transparent or the lowest label; 1 is white, opaque or the highest label,
and the labels between are evenly spaced, whatever their values.
The wing `images` is the only place that knows file formats, integers and [-1, 1].
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from singleimage.errors import ImageError
from singleimage.images.decode import Notes, decode, read_bytes
from singleimage.images.encode import format_for, write_picture
from singleimage.images.rearrangement import Rearrangement
from singleimage.images.sheet import png_bytes
from singleimage.images.values import (
    MODE_CHANNELS,
    MODES,
    Mode,
    checkerboard,
    from_integers,
    from_labels,
    to_integers,
    to_labels,
    to_pil,
)
from singleimage.machine.files import refuse_existing, require_folder
from singleimage.multiscale.geometry import Size, size_of

ROUNDING = 1e-3
"""How far pixels may lie beyond their range."""
MASK_LIMIT = 64
"""Masks of a photo at most."""
LABEL_LIMIT = 32
"""A mask with at most this many distinct values is a label map; samples keep to those values."""

LabelValue = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Channels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the channels of an image mean: those of `mode`, then one for each mask."""

    mode: Mode
    bits: Literal[8, 16] = 8
    """Bits per channel of the file it came from and of the files that are written."""
    masks: Annotated[tuple[tuple[LabelValue, ...], ...], msgspec.Meta(max_length=MASK_LIMIT)] = ()
    """The label values of each mask, ascending; empty for a mask of continuous values."""

    @property
    def count(self) -> int:
        """Number of channels, masks included."""
        return MODE_CHANNELS[self.mode] + len(self.masks)

    @property
    def suffix(self) -> str:
        """The suffix of the lossless format that holds such pictures."""
        return ".tiff" if self.bits == 16 and self.mode != "L" else ".png"

    def require_file(self, path: Path, *, overwrite: bool) -> None:
        """Refuse a file that such a picture cannot be written to, before it is made.

        Args:
            path: of the file.
            overwrite: it may exist.

        Raises:
            OutputError: it exists, its folder does not, or its format cannot hold the picture.
        """
        for file in self.files(path):
            refuse_existing(file, overwrite=overwrite)
        require_folder(path)
        format_for(path, self.mode, self.bits)

    def files(self, path: Path) -> list[Path]:
        """The files of a picture saved as `path`: itself, then `NAME_mask.png` for each mask."""
        masks = (f"{path.stem}_mask{i + 1 if i else ''}.png" for i in range(len(self.masks)))
        return [path, *(path.with_name(name) for name in masks)]


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

    @property
    def size(self) -> Size:
        """Height and width in pixels."""
        return size_of(self.pixels)

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write the picture, and each mask beside it as `NAME_mask.png`; returns the paths.

        Raises:
            OutputError: a file exists and `overwrite` is false, the folder cannot be written, the
                disk is full, or the format cannot hold these channels.
        """
        files = self.channels.files(Path(path))
        for file in files:
            refuse_existing(file, overwrite=overwrite)
        count = MODE_CHANNELS[self.channels.mode]
        write_picture(files[0], to_integers(self.pixels[:count], self.channels.bits))
        for file, plane, labels in zip(
            files[1:], self.pixels[count:], self.channels.masks, strict=True
        ):
            write_picture(file, to_labels(plane, labels) if labels else to_integers(plane[None]))
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
        for plane, labels in zip(self.pixels[count:], self.channels.masks, strict=True):
            if labels:  # as evenly spaced grays: the values themselves may all be dark
                plane = from_labels(to_labels(plane, labels)[..., 0], labels)
            tile = to_pil(to_integers(plane[None])).convert("RGB")
            tiles.append(tile if tile.size == picture.size else tile.resize(picture.size))
        column = Image.new("RGB", (picture.width, picture.height * len(tiles)))
        for i, tile in enumerate(tiles):
            column.paste(tile, (0, i * picture.height))
        if limit is not None:
            column.thumbnail((limit, limit))
        return column

    def _repr_png_(self) -> bytes:
        return png_bytes(self.preview())


def read_photo(path: str | Path, *, masks: Sequence[str | Path] = ()) -> Photo:
    """Read an image file, and masks of the same size as further channels.

    JPEG, PNG, WebP, TIFF, GIF, BMP and PPM; grayscale, RGB, alpha, palette and CMYK, 8 or 16 bits;
    EXIF orientation is applied. Palette and CMYK become RGB. Wholly opaque alpha is left out.

    A mask is gray, or has a palette, whose indices then are the labels. One with at most
    `LABEL_LIMIT` distinct values is a label map; any other is continuous and written with 8 bits.

    Args:
        path: of the image file.
        masks: paths of mask files.

    Raises:
        ImageError: a file is missing, empty, damaged, no image, too large, holds values that are
            not finite, or a mask has another size or has colors.
    """
    files = [(Path(file), read_bytes(Path(file))) for file in (path, *masks)]
    return _photo(files)


def photo_from(
    data: bytes, name: str = "the image", *, masks: Sequence[tuple[bytes, str]] = ()
) -> Photo:
    """Read an image from the bytes of its file, such as an upload; else as `read_photo`.

    Args:
        data: the bytes of the file.
        name: of the file, for messages.
        masks: bytes and name of mask files.

    Raises:
        ImageError: as `read_photo`.
    """
    return _photo([(Path(name), data), *((Path(mask), found) for found, mask in masks)])


PhotoLike = Photo | str | PathLike[str] | Image.Image | NDArray[Any]
"""What `as_photo` takes for a photo."""


def as_photo(given: PhotoLike) -> Photo:
    """Take what is meant for a photo.

    Args:
        given: a photo; the path of an image file; a picture of Pillow; or an array of uint8 or
            uint16, (H, W) or (H, W, C) of gray, gray and alpha, RGB or RGBA.

    Raises:
        ImageError: it is something else, or cannot be read.
    """
    if isinstance(given, Photo):
        return given
    if isinstance(given, str | PathLike):
        return read_photo(Path(given))
    if isinstance(given, Image.Image):
        stream = io.BytesIO()
        mode = given.mode if given.mode in MODE_CHANNELS or given.mode == "I;16" else None
        alpha = "transparency" in given.info or given.mode in ("PA", "La", "RGBa")
        picture = given if mode else given.convert("RGBA" if alpha else "RGB")
        picture.save(stream, "PNG")
        return photo_from(stream.getvalue(), "the picture")
    if not isinstance(given, np.ndarray) or given.dtype not in (np.uint8, np.uint16):
        kind = f"an array of {given.dtype}" if hasattr(given, "dtype") else type(given).__name__
        raise ImageError(
            f"{kind} is no photo; give a path, a picture of Pillow, an array (H, W, C) of uint8, "
            f"or Photo(pixels, channels) with pixels (C, H, W) in [-1, 1]."
        )
    values = given[..., None] if given.ndim == 2 else given
    if values.ndim != 3 or values.shape[2] not in MODES or not values.size:
        raise ImageError(
            f"an array {tuple(given.shape)} is no photo; give (H, W), or (H, W, C) of 1 to 4 "
            f"channels."
        )
    bits: Literal[8, 16] = 16 if values.dtype == np.uint16 else 8
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return Photo(from_integers(values), Channels(mode=MODES[values.shape[2]], bits=bits), digest)


def _photo(files: Sequence[tuple[Path, bytes]]) -> Photo:
    """The photo in the first file with the masks in the others; paths are for messages."""
    (path, data), *masks = files
    values, notes = decode(path, data)
    if values.shape[2] in (2, 4) and (values[..., -1] == np.iinfo(values.dtype).max).all():
        values = values[..., :-1]
        notes += (f"the alpha of {path.name} is opaque everywhere; it is left out.",)
    planes = [from_integers(values)]
    labels: list[tuple[int, ...]] = []
    if len(masks) > MASK_LIMIT:
        raise ImageError(f"{len(masks)} masks are given; a photo has {MASK_LIMIT} at most.")
    for mask_path, mask_data in masks:
        mask, more = _decode_mask(mask_path, mask_data, Size(*values.shape[:2]))
        distinct = tuple(int(v) for v in np.unique(mask)[: LABEL_LIMIT + 1])
        labels.append(distinct if len(distinct) <= LABEL_LIMIT else ())
        if labels[-1]:
            planes.append(from_labels(mask, labels[-1])[None])
        else:
            planes.append(from_integers(mask[..., None]))
        notes += more
    bits: Literal[8, 16] = 16 if values.dtype == np.uint16 else 8
    channels = Channels(mode=MODES[values.shape[2]], bits=bits, masks=tuple(labels))
    digests = [hashlib.sha256(data) for _, data in files]
    return Photo(torch.cat(planes), channels, _joined(digests), notes)


def _decode_mask(path: Path, data: bytes, size: Size) -> tuple[NDArray[Any], Notes]:
    """(H, W) of a mask file: its gray values, or its palette indices."""
    values, notes = decode(path, data, indices=True)
    here = Size(*values.shape[:2])
    if here != size:
        raise ImageError(
            f"the mask {path} is {here}, the image {size}; crop or resize it to that size."
        )
    if values.shape[2] in (2, 4):
        values = values[..., :-1]
        notes += (f"the alpha of the mask {path.name} is not used.",)
    gray: NDArray[Any] = values[..., 0]
    if not (values == gray[..., None]).all():
        raise ImageError(f"the mask {path} has colors; save it as grayscale or with a palette.")
    if gray.min() == gray.max():
        notes += (f"the mask {path.name} has the value {gray.min()} everywhere.",)
    return gray, notes


def _joined(digests: Sequence[Any]) -> str:
    """The digest of one file as it is; of several, a digest of theirs."""
    if len(digests) == 1:
        return str(digests[0].hexdigest())
    return hashlib.sha256(b"".join(d.digest() for d in digests)).hexdigest()


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
    picture = photo.pixels[: MODE_CHANNELS[photo.channels.mode]]
    values = picture.flatten(1)
    if bool((values.amax(1) == values.amin(1)).all()):
        raise ImageError(
            "every pixel of the image has the same color, so there is nothing to learn; "
            "choose an image with some texture."
        )
    return photo
