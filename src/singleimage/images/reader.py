"""Photos from files, bytes, pictures of Pillow and arrays."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from singleimage.errors import ImageError
from singleimage.images.channels import CHANNEL_LIMIT, MASK_LIMIT, Channels
from singleimage.images.decode import CONVERTED, decode, decode_picture, read_bytes
from singleimage.images.decoded import Decoded, Notes
from singleimage.images.labels import decode_mask
from singleimage.images.original import Original
from singleimage.images.palette import palette_of
from singleimage.images.photo import Photo
from singleimage.images.profile import profile_of
from singleimage.images.values import MODE_CHANNELS, MODES

FEWER_BITS = 14
"""A file of 16 bits that uses at most so many is stretched."""


def read_photo(path: str | Path, *, masks: Sequence[str | Path] = ()) -> Photo:
    """Read an image file, and masks of the same size as further channels.

    JPEG, PNG, WebP, TIFF, GIF, BMP, PPM, and HEIC and AVIF where Pillow can; grayscale, RGB, alpha,
    palette and CMYK, 8 or 16 bits; EXIF orientation is applied. Palette and CMYK become RGB. Wholly
    opaque alpha is left out.

    Colors are converted to sRGB by the file's profile. Further bands of a TIFF become channels.

    A mask is gray, or has a palette, whose indices then are the labels. One with at most
    `LABEL_LIMIT` distinct values is a label map; any other is continuous. See `images.labels`.

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
        given = _upright(given)
        deep = given.mode.startswith(("I", "F")) and given.mode != "I;16"  # as PNG keeps it
        if deep or given.mode in CONVERTED:
            found, notes = _picture(Path("the picture"), decode_picture(given))
            return Photo(found.pixels(), _few(found), _digest(found.values), notes, original=found)
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
    found, notes = _picture(Path("the array"), Decoded(values, MODES[values.shape[2]]))
    return Photo(found.pixels(), _few(found), _digest(values), notes, original=found)


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF says; one that cannot be read says nothing."""
    try:
        orientation: Any = picture.getexif().get(ExifTags.Base.Orientation)
        return ImageOps.exif_transpose(picture) if orientation in range(2, 9) else picture
    except Exception:  # any bytes may be there
        return picture


def _few(original: Original) -> Channels:
    """The channels of a picture, with its colors where they are few."""
    palette = palette_of(original.values, original.channels)
    return msgspec.structs.replace(original.channels, palette=palette)


def _photo(files: Sequence[tuple[Path, bytes]]) -> Photo:
    """The photo in the first file with the masks in the others; paths are for messages."""
    (path, data), *masks = files
    original, notes = _picture(path, decode(path, data))
    if len(masks) > MASK_LIMIT:
        raise ImageError(f"{len(masks)} masks are given; a photo has {MASK_LIMIT} at most.")
    read = [decode_mask(mask, found, original.size) for mask, found in masks]
    channels = msgspec.structs.replace(_few(original), masks=tuple(mask for _, mask, _ in read))
    if channels.count > CHANNEL_LIMIT:
        raise ImageError(
            f"{path} and its masks have {channels.count} channels, one for each label; the limit "
            f"is {CHANNEL_LIMIT}. Leave some out."
        )
    pixels = torch.cat([original.pixels(), *(planes for planes, _, _ in read)])
    notes += tuple(note for _, _, more in read for note in more)
    digests = [hashlib.sha256(data) for _, data in files]
    return Photo(pixels, channels, _joined(digests), notes, original=original)


def _picture(path: Path, decoded: Decoded) -> tuple[Original, Notes]:
    """A decoded picture and what its channels mean; `path` is for notes."""
    values, mode, notes, about = decoded.values, decoded.mode, decoded.notes, decoded.about
    whole = int(np.iinfo(values.dtype).max)
    alpha = MODE_CHANNELS[mode] - 1
    if mode in ("LA", "RGBA") and (values[..., alpha] == whole).all():
        values = np.delete(values, alpha, axis=2)
        mode = "L" if mode == "LA" else "RGB"
        notes += (f"the alpha of {path.name} is opaque everywhere; it is left out.",)
    white = None
    if values.dtype == np.uint16 and not decoded.scaled:
        used = int(values.max()).bit_length()
        if 0 < used <= FEWER_BITS:
            white = 2**used - 1
            notes += (f"{path.name} uses {used} of its 16 bits; {white} is taken for white.",)
    bits: Literal[8, 16] = 16 if values.dtype == np.uint16 else 8
    bands = values.shape[2] - MODE_CHANNELS[mode]
    channels = Channels(mode=mode, bits=bits, bands=bands, white=white)
    try:
        profile_of(about.profile, channels.colors)
    except ValueError as error:
        notes += (f"the color profile of {path.name} cannot be used ({error}); it is left out.",)
        about = replace(about, profile=b"")
    return Original(values, channels, about), notes


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _joined(digests: Sequence[Any]) -> str:
    """The digest of one file as it is; of several, a digest of theirs."""
    if len(digests) == 1:
        return str(digests[0].hexdigest())
    return hashlib.sha256(b"".join(d.digest() for d in digests)).hexdigest()
