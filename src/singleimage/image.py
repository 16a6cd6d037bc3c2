"""Image files in, image files out: with `imagefile`, all that knows PNG, uint8 and [-1, 1].

Inside the package an image is a float32 tensor (C, H, W), or (B, C, H, W) in batches, with values
in [-1, 1]: -1 is black, transparent or the lowest label; 1 is white, opaque or the highest label,
and the labels between are evenly spaced, whatever their values.
A `Photo` is such a tensor together with what its channels mean.
"""

import contextlib
import hashlib
import io
import math
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from singleimage.errors import ImageError, OutputError
from singleimage.imagefile import PIXEL_LIMIT as PIXEL_LIMIT
from singleimage.imagefile import Notes, decode, read_bytes
from singleimage.resample import Size, size_of

Mode = Literal["L", "LA", "RGB", "RGBA"]
MODE_CHANNELS: dict[Mode, int] = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_MODES: dict[int, Mode] = {count: mode for mode, count in MODE_CHANNELS.items()}
LABEL_LIMIT = 32
"""A mask with at most this many distinct values is a label map; samples keep to those values."""

Level = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Channels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the channels of an image mean: those of `mode`, then one for each mask."""

    mode: Mode
    bits: Literal[8, 16] = 8
    """Bits per channel of the file it came from and of the files that are written."""
    masks: Annotated[tuple[tuple[Level, ...], ...], msgspec.Meta(max_length=64)] = ()
    """The label values of each mask, ascending; empty for a mask of continuous values."""

    @property
    def count(self) -> int:
        return MODE_CHANNELS[self.mode] + len(self.masks)

    @property
    def suffix(self) -> str:
        """The suffix of the lossless format that holds such pictures."""
        return ".tiff" if self.bits == 16 and self.mode != "L" else ".png"

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

    @property
    def size(self) -> Size:
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
        _write_picture(files[0], _to_integers(self.pixels[:count], self.channels.bits))
        for file, plane, labels in zip(
            files[1:], self.pixels[count:], self.channels.masks, strict=True
        ):
            _write_picture(file, _to_labels(plane, labels) if labels else _to_integers(plane[None]))
        return files

    def colors(self, *, jpeg: int | None = None) -> Tensor:
        """(3, H, W) in [-1, 1]: the picture as an 8-bit file gives it back, to be measured.

        Gray is repeated, alpha lies over middle gray, masks are left out.

        `jpeg`: through a JPEG file of this quality; None: without loss.
        """
        picture = _pil(_to_integers(self.pixels[: MODE_CHANNELS[self.channels.mode]]))
        if picture.mode in ("LA", "RGBA"):
            gray = Image.new("RGBA", picture.size, (128, 128, 128, 255))
            picture = Image.alpha_composite(gray, picture.convert("RGBA"))
        picture = picture.convert("RGB")
        if jpeg is not None:
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=jpeg)
            picture = Image.open(stream)
        return _from_integers(np.asarray(picture))

    def preview(self, limit: int | None = None) -> Image.Image:
        """An 8-bit RGB picture to look at: alpha over a checkerboard, masks below the picture.

        `limit`: reduced so that no side is over so many pixels.
        """
        count = MODE_CHANNELS[self.channels.mode]
        picture = _pil(_to_integers(self.pixels[:count]))
        if limit is not None:  # before anything else copies a large picture
            picture.thumbnail((limit, limit))
        if picture.mode in ("LA", "RGBA"):
            picture = Image.alpha_composite(_checkerboard(picture.size), picture.convert("RGBA"))
        tiles = [picture.convert("RGB")]
        for plane, labels in zip(self.pixels[count:], self.channels.masks, strict=True):
            if labels:  # as evenly spaced grays: the values themselves may all be dark
                plane = _from_labels(_to_labels(plane, labels)[..., 0], labels)
            tile = _pil(_to_integers(plane[None])).convert("RGB")
            tiles.append(tile if tile.size == picture.size else tile.resize(picture.size))
        column = Image.new("RGB", (picture.width, picture.height * len(tiles)))
        for i, tile in enumerate(tiles):
            column.paste(tile, (0, i * picture.height))
        if limit is not None:
            column.thumbnail((limit, limit))
        return column

    def _repr_png_(self) -> bytes:
        return _png_bytes(self.preview())


def read_photo(path: str | Path, *, masks: Sequence[str | Path] = ()) -> Photo:
    """Read an image file, and masks of the same size as further channels.

    JPEG, PNG, WebP, TIFF, GIF, BMP and PPM; grayscale, RGB, alpha, palette and CMYK, 8 or 16 bits;
    EXIF orientation is applied. Palette and CMYK become RGB. Wholly opaque alpha is left out.

    A mask is gray, or has a palette, whose indices then are the labels. One with at most
    `LABEL_LIMIT` distinct values is a label map; any other is continuous and written with 8 bits.

    Raises:
        ImageError: a file is missing, empty, damaged, no image, too large, holds values that are
            not finite, or a mask has another size or has colors.
    """
    path = Path(path)
    data = read_bytes(path)
    values, notes = decode(path, data)
    if values.shape[2] in (2, 4) and (values[..., -1] == np.iinfo(values.dtype).max).all():
        values = values[..., :-1]
        notes += (f"the alpha of {path.name} is opaque everywhere; it is left out.",)
    digests = [hashlib.sha256(data)]
    planes = [_from_integers(values)]
    labels: list[tuple[int, ...]] = []
    for mask_path in map(Path, masks):
        data = read_bytes(mask_path)
        digests.append(hashlib.sha256(data))
        mask, more = _decode_mask(mask_path, data, Size(*values.shape[:2]))
        distinct = tuple(int(v) for v in np.unique(mask)[: LABEL_LIMIT + 1])
        labels.append(distinct if len(distinct) <= LABEL_LIMIT else ())
        if labels[-1]:
            planes.append(_from_labels(mask, labels[-1])[None])
        else:
            planes.append(_from_integers(mask[..., None]))
        notes += more
    bits: Literal[8, 16] = 16 if values.dtype == np.uint16 else 8
    channels = Channels(mode=_MODES[values.shape[2]], bits=bits, masks=tuple(labels))
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
    """One digest for several photos; of a single one its own."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def require_texture(photo: Photo) -> Photo:
    """Return the photo; raises `ImageError` if it has one color, so nothing to learn from."""
    picture = photo.pixels[: MODE_CHANNELS[photo.channels.mode]]
    values = picture.flatten(1)
    if bool((values.amax(1) == values.amin(1)).all()):
        raise ImageError(
            "every pixel of the image has the same color, so there is nothing to learn; "
            "choose an image with some texture."
        )
    return photo


def sheet(tiles: Sequence[Image.Image], *, columns: int | None = None, gap: int = 4) -> Image.Image:
    """A contact sheet, 8-bit RGB, of pictures in reading order on white."""
    columns = columns or min(len(tiles), math.ceil(math.sqrt(len(tiles))))
    width, height = max(t.width for t in tiles) + gap, max(t.height for t in tiles) + gap
    rows = math.ceil(len(tiles) / columns)
    page = Image.new("RGB", (columns * width + gap, rows * height + gap), "white")
    for i, tile in enumerate(tiles):
        page.paste(tile, (gap + i % columns * width, gap + i // columns * height))
    return page


def save_sheet(page: Image.Image, path: Path, *, overwrite: bool) -> None:
    """Write a contact sheet as PNG; raises `OutputError` as `Photo.save` does."""
    refuse_existing(path, overwrite=overwrite)
    write_atomically(path, lambda stream: page.save(stream, "PNG"))


def png_of(page: Image.Image) -> bytes:
    """The bytes of a PNG file, for a notebook."""
    return _png_bytes(page)


# Writing files -----------------------------------------------------------------------------------


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raises `OutputError` if `path` exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists and would be replaced; choose another output or pass --overwrite."
        )


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; raises `OutputError` where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{path} is a file, not a folder; choose another output.") from None
    except OSError as error:
        raise OutputError(
            f"cannot create {path}: {error.strerror}; choose another output."
        ) from None
    return path


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write` on a temporary file beside `path`, flush it to disk, then rename it.

    Raises:
        OutputError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        if path.exists() and not path.is_file():  # renaming would replace even a device
            raise OutputError(f"{path} is not a regular file; choose another output.")
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; choose another output.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_picture(path: Path, values: NDArray[Any]) -> None:
    """Write (H, W, C) uint8 or uint16 in the format of the suffix, losslessly but for JPEG."""
    mode = _MODES[values.shape[2]] + (";16" if values.dtype == np.uint16 else "")
    suffix = path.suffix.lower()
    if suffix not in _HOLDS:
        raise OutputError(f"{path} has no suffix of an image; use .png, .jpg, .webp or .tiff.")
    kind, modes = _HOLDS[suffix]
    if mode not in modes:
        raise OutputError(
            f"{path}: {kind} cannot hold {_in_words(mode)}; write "
            f"{' or '.join(s for s in ('.png', '.tiff') if mode in _HOLDS[s][1])}."
        )
    try:
        encoded = _encoded(values, kind)
    except (OSError, ValueError) as error:  # such as a side over the limit of the format
        raise OutputError(f"cannot write {path}: {error}; write .png.") from None
    write_atomically(path, lambda stream: stream.write(encoded))


_EIGHT = ("L", "LA", "RGB", "RGBA")
_SIXTEEN = ("L;16", "LA;16", "RGB;16", "RGBA;16")
_HOLDS: dict[str, tuple[str, tuple[str, ...]]] = {
    ".png": ("PNG", (*_EIGHT, "L;16")),
    ".jpg": ("JPEG", ("L", "RGB")),
    ".jpeg": ("JPEG", ("L", "RGB")),
    ".webp": ("WEBP", _EIGHT),
    ".tif": ("TIFF", (*_EIGHT, *_SIXTEEN)),
    ".tiff": ("TIFF", (*_EIGHT, *_SIXTEEN)),
}
"""Suffixes that are written: the format, and what it holds."""


def _in_words(mode: str) -> str:
    kind, deep, _ = mode.partition(";")
    colors = {"L": "gray", "LA": "gray with alpha", "RGB": "color", "RGBA": "color with alpha"}
    return f"{'16-bit ' if deep else ''}{colors[kind]}"


def _encoded(values: NDArray[Any], kind: str) -> memoryview:
    stream = io.BytesIO()
    if kind == "TIFF":
        import tifffile

        tifffile.imwrite(
            stream,
            values if values.shape[2] > 1 else values[..., 0],
            photometric="rgb" if values.shape[2] > 2 else "minisblack",
            planarconfig="contig" if values.shape[2] > 1 else None,
            extrasamples=["unassalpha"] if values.shape[2] in (2, 4) else None,
            compression="zlib",
            metadata=None,
        )
        return stream.getbuffer()
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 95},
        "WEBP": {"lossless": True, "exact": True},  # exact: colors under full transparency too
    }
    _pil(values).save(stream, kind, **options.get(kind, {}))
    return stream.getbuffer()


def _png_bytes(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


# Integers and floats -----------------------------------------------------------------------------


def _from_integers(values: NDArray[Any]) -> Tensor:
    """(H, W, C) uint8 or uint16 to (C, H, W) float32 in [-1, 1]."""
    top = np.float32(np.iinfo(values.dtype).max)
    scaled = values.astype(np.float32) / top * 2 - 1
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def _to_integers(pixels: Tensor, bits: int = 8) -> NDArray[Any]:
    """(C, H, W) in [-1, 1] to (H, W, C) uint8 or uint16, rounded; out of range is clamped."""
    top = 255 if bits == 8 else 65535
    channels, height, width = pixels.shape
    values = np.empty((height, width, channels), np.uint8 if bits == 8 else np.uint16)
    for rows in _strips(height):
        unit = ((pixels[:, rows].detach().cpu().double() + 1) / 2).clamp(0, 1)
        values[rows] = unit.mul(top).round().permute(1, 2, 0).numpy()
    return values


def _strips(height: int) -> Iterator[slice]:
    """Rows a few at a time: what is done in float64 must not take the memory of large pictures."""
    return (slice(top, top + 256) for top in range(0, height, 256))


def _from_labels(values: NDArray[Any], labels: Sequence[int]) -> Tensor:
    """(H, W) of label values to (H, W) float32: the lowest label is -1, the highest 1."""
    ranks = np.searchsorted(labels, values).astype(np.float32)
    return torch.from_numpy(ranks * 2 / max(len(labels) - 1, 1) - 1)


def _to_labels(plane: Tensor, labels: Sequence[int]) -> NDArray[Any]:
    """(H, W) in [-1, 1] to (H, W, 1), each the label that is nearest."""
    known = np.asarray(labels, dtype=np.uint8 if max(labels) < 256 else np.uint16)
    values = np.empty((*plane.shape, 1), known.dtype)
    for rows in _strips(len(plane)):
        ranks = (plane[rows].detach().cpu().double() + 1) / 2 * (len(labels) - 1)
        nearest = ranks.round().clamp(0, len(labels) - 1).numpy().astype(np.int64)
        values[rows, :, 0] = known[nearest]
    return values


def _pil(values: NDArray[Any]) -> Image.Image:
    squeezed = values[..., 0] if values.shape[2] == 1 else values
    return Image.fromarray(squeezed)


def _checkerboard(size: tuple[int, int]) -> Image.Image:
    y, x = np.indices((size[1], size[0])) // 8
    gray = np.where((x + y) % 2 == 0, 255, 205).astype(np.uint8)
    return Image.fromarray(gray).convert("RGBA")
