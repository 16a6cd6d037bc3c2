"""Image files in, image files out: the only module that knows PNG, uint8 and [-1, 1].

Inside the package an image is a float32 tensor (C, H, W), or (B, C, H, W) in batches, with values
in [-1, 1]: -1 is black, transparent or the lowest label; 1 is white, opaque or the highest.
A `Photo` is such a tensor together with what its channels mean.
"""

import hashlib
import io
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from singleimage.errors import ImageError, OutputError
from singleimage.resample import Size, size_of

Mode = Literal["L", "LA", "RGB", "RGBA"]
MODE_CHANNELS: dict[Mode, int] = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
PIXEL_LIMIT = 80_000_000
"""Larger images are refused before they are decoded: a small file can unpack to many gigabytes."""
LABEL_LIMIT = 32
"""A mask with at most this many distinct values is a label map; samples keep to those values."""

Level = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Channels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the channels of an image mean: those of `mode`, then one for each mask."""

    mode: Mode
    bits: Literal[8, 16] = 8
    """Bits per channel of the file it came from and of the files that are written."""
    masks: Annotated[tuple[tuple[Level, ...], ...], msgspec.Meta(max_length=64)] = ()
    """The label values of each mask, 0 to 255; empty for a mask of continuous values."""

    @property
    def count(self) -> int:
        return MODE_CHANNELS[self.mode] + len(self.masks)


@dataclass(frozen=True, eq=False)
class Photo:
    """An image and the meaning of its channels."""

    pixels: Tensor
    """(C, H, W) float32 in [-1, 1]."""
    channels: Channels
    sha256: str = ""
    """Digest of the file's bytes; empty for a picture that was not read from a file."""
    notes: tuple[str, ...] = ()
    """What the reader changed or left out, in words for the user."""

    @property
    def size(self) -> Size:
        return size_of(self.pixels)

    @property
    def suffix(self) -> str:
        """The suffix of the lossless format that holds this picture."""
        return ".tiff" if self.channels.bits == 16 and self.channels.mode != "L" else ".png"

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write the picture, and each mask beside it as `NAME_mask.png`; returns the paths.

        Raises:
            OutputError: a file exists and `overwrite` is false, the folder cannot be written, the
                disk is full, or the format cannot hold these channels.
        """
        path = Path(path)
        wanted = [path, *(_mask_path(path, i) for i in range(len(self.channels.masks)))]
        for target in wanted:
            refuse_existing(target, overwrite=overwrite)
        count = MODE_CHANNELS[self.channels.mode]
        _write_picture(path, _to_integers(self.pixels[:count], self.channels.bits))
        for target, plane, labels in zip(
            wanted[1:], self.pixels[count:], self.channels.masks, strict=True
        ):
            values = _to_integers(plane[None], 8)
            _write_picture(target, _nearest_label(values, labels) if labels else values)
        return wanted

    def preview(self) -> Image.Image:
        """An 8-bit RGB picture to look at: alpha over a checkerboard, masks below the picture."""
        count = MODE_CHANNELS[self.channels.mode]
        picture = _pil(_to_integers(self.pixels[:count], 8))
        if picture.mode in ("LA", "RGBA"):
            picture = Image.alpha_composite(_checkerboard(picture.size), picture.convert("RGBA"))
        tiles = [picture.convert("RGB")]
        for plane, labels in zip(self.pixels[count:], self.channels.masks, strict=True):
            values = _to_integers(plane[None], 8)
            shown = _nearest_label(values, labels) if labels else values
            tiles.append(_pil(shown).convert("RGB"))
        column = Image.new("RGB", (picture.width, picture.height * len(tiles)))
        for i, tile in enumerate(tiles):
            column.paste(tile, (0, i * picture.height))
        return column

    def _repr_png_(self) -> bytes:
        return _png_bytes(self.preview())


def read_photo(path: str | Path, *, masks: Sequence[str | Path] = ()) -> Photo:
    """Read an image file, and masks of the same size as further channels.

    JPEG, PNG, WebP, TIFF, GIF and what else Pillow opens; grayscale, RGB, alpha, palette and CMYK,
    8 or 16 bits; EXIF orientation is applied. Palette and CMYK become RGB.

    Raises:
        ImageError: the file is missing, empty, damaged, no image, over `PIXEL_LIMIT` pixels, holds
            values that are not finite, or a mask has another size.
    """
    path = Path(path)
    data = _read_bytes(path)
    values, notes = _decode(path, data)
    mode = _mode_of(path, values)
    bits: Literal[8, 16] = 16 if values.dtype == np.uint16 else 8
    planes = [_from_integers(values)]
    labels: list[tuple[int, ...]] = []
    for mask_path in masks:
        mask, more = _read_mask(Path(mask_path), Size(*values.shape[:2]))
        distinct = np.unique(mask)
        labels.append(tuple(int(v) for v in distinct) if len(distinct) <= LABEL_LIMIT else ())
        planes.append(_from_integers(mask[..., None]))
        notes += more
    channels = Channels(mode=mode, bits=bits, masks=tuple(labels))
    return Photo(torch.cat(planes), channels, hashlib.sha256(data).hexdigest(), notes)


def require_texture(photo: Photo) -> Photo:
    """Return the photo; raises `ImageError` where there is nothing to learn from."""
    if bool((photo.pixels.amax(dim=(1, 2)) == photo.pixels.amin(dim=(1, 2))).all()):
        raise ImageError(
            "every pixel of the image has the same color, so there is nothing to learn; "
            "choose an image with some texture."
        )
    return photo


def sheet(photos: Sequence[Photo], *, columns: int | None = None, gap: int = 4) -> Image.Image:
    """A contact sheet, 8-bit RGB, of pictures in reading order on white."""
    tiles = [photo.preview() for photo in photos]
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
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        ) as stream:
            temporary = Path(stream.name)
            write(stream)  # type: ignore[arg-type]
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; choose another output.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_picture(path: Path, values: NDArray[Any]) -> None:
    suffix = path.suffix.lower()
    if values.dtype == np.uint16 and values.shape[2] > 1:
        if suffix not in (".tif", ".tiff"):
            raise OutputError(
                f"{path.name} cannot hold 16-bit color; write .tiff, or set the model to 8 bits."
            )
        import tifffile

        write_atomically(path, lambda stream: tifffile.imwrite(stream, values))
        return
    picture = _pil(values)
    if suffix not in Image.registered_extensions():
        raise OutputError(f"{path.name} has no known image suffix; use .png, .jpg, .webp or .tiff.")
    kind = Image.registered_extensions()[suffix]
    if kind == "JPEG" and picture.mode not in ("L", "RGB"):
        raise OutputError(f"{path.name}: JPEG cannot hold {picture.mode}; write .png or .webp.")
    options: dict[str, Any] = {"quality": 95} if kind == "JPEG" else {}
    if kind == "WEBP":
        options = {"lossless": True}
    write_atomically(path, lambda stream: picture.save(stream, kind, **options))


def _mask_path(path: Path, index: int) -> Path:
    return path.with_name(f"{path.stem}_mask{index + 1 if index else ''}.png")


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


def _to_integers(pixels: Tensor, bits: int) -> NDArray[Any]:
    """(C, H, W) in [-1, 1] to (H, W, C) uint8 or uint16, rounded; out of range is clamped."""
    top = 255 if bits == 8 else 65535
    unit = ((pixels.detach().cpu().double() + 1) / 2).clamp(0, 1)
    dtype = np.uint8 if bits == 8 else np.uint16
    return unit.mul(top).round().permute(1, 2, 0).numpy().astype(dtype)


def _nearest_label(values: NDArray[Any], labels: Sequence[int]) -> NDArray[Any]:
    known = np.asarray(labels, dtype=np.int64)
    gaps = np.abs(values.astype(np.int64)[..., None] - known)
    nearest: NDArray[Any] = known[gaps.argmin(axis=-1)]
    return nearest.astype(values.dtype)


def _pil(values: NDArray[Any]) -> Image.Image:
    squeezed = values[..., 0] if values.shape[2] == 1 else values
    return Image.fromarray(squeezed)


def _checkerboard(size: tuple[int, int]) -> Image.Image:
    y, x = np.indices((size[1], size[0])) // 8
    gray = np.where((x + y) % 2 == 0, 255, 205).astype(np.uint8)
    return Image.fromarray(gray).convert("RGBA")


# Reading files -----------------------------------------------------------------------------------


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give one image file.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check the path.") from None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}.") from None
    if not data:
        raise ImageError(f"{path} is empty (0 bytes); export the image again.")
    if path.suffix == ".safetensors":
        raise ImageError(
            f"{path} is a model, not an image; draw from it with: "
            f"singleimage sample {path} -o FOLDER"
        )
    return data


def _decode(path: Path, data: bytes) -> tuple[NDArray[Any], tuple[str, ...]]:
    """(H, W, C) uint8 or uint16 with C in 1..4, and notes."""
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        values = _decode_tiff(path, data)
        if values is not None:
            return values, ()
    return _decode_pillow(path, data)


def _decode_tiff(path: Path, data: bytes) -> NDArray[Any] | None:
    """First page of a TIFF that Pillow would reduce or refuse; None to leave it to Pillow."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page: Any = tiff.pages[0]
            deep = page.dtype is not None and page.dtype.itemsize > 1
            if not deep or page.photometric not in (0, 1, 2):
                return None
            _check_pixels(path, Size(page.shape[0], page.shape[1]))
            values = page.asarray()
            inverted = page.photometric == 0
    except ImageError:
        raise
    except Exception:  # a damaged file or a compression it lacks; Pillow tries, and reports
        return None
    if values.dtype.kind == "f":
        values = _unit_floats(path, values)
    elif values.dtype != np.uint16:
        raise ImageError(
            f"{path} stores {values.dtype} samples; save it with 8 or 16 bits, or floats in 0..1."
        )
    if inverted:
        values = np.iinfo(np.uint16).max - values
    planes: NDArray[Any] = values[..., None] if values.ndim == 2 else values
    return planes


def _unit_floats(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(values).all():
        raise ImageError(
            f"{path} holds {int((~np.isfinite(values)).sum())} values that are NaN or infinite; "
            f"replace them before training."
        )
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise ImageError(
            f"{path} holds floats from {low:g} to {high:g}; scale them to 0..1 before training."
        )
    return np.round(values * 65535).astype(np.uint16)


def _decode_pillow(path: Path, data: bytes) -> tuple[NDArray[Any], tuple[str, ...]]:
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                _check_pixels(path, Size(opened.height, opened.width))
                frames = getattr(opened, "n_frames", 1)
                if frames > 1:
                    notes.append(f"{path.name} has {frames} frames; the first is used.")
                deep = _decode_deep_png(data, opened)
                opened.load()
                picture = ImageOps.exif_transpose(opened)
                orientation = opened.getexif().get(0x0112, 1)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(_too_large(path, "more than 178 megapixels")) from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{path} is not an image in a known format; use JPEG, PNG, WebP or TIFF."
        ) from None
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ImageError(f"{path} is damaged: {error}. Export the image again.") from None
    if deep is not None and orientation == 1:
        return deep, tuple(notes)
    return _plain(picture), tuple(notes)


def _decode_deep_png(data: bytes, opened: Image.Image) -> NDArray[Any] | None:
    """(H, W, C) uint16 of a 16-bit color PNG, which Pillow alone reduces to 8 bits; else None.

    Pillow's own decoder is run twice, keeping the high bytes the first time and the low bytes the
    second.
    """
    if opened.format != "PNG" or data[24:26] not in (b"\x10\x02", b"\x10\x06"):
        return None
    halves = []
    for order in ("B", "L"):  # which byte of each sample is kept: first or second
        with Image.open(io.BytesIO(data)) as half:
            half.tile = [t._replace(args=f"{half.mode};16{order}") for t in half.tile]
            halves.append(np.asarray(half).astype(np.uint16))
    return halves[0] * 256 + halves[1]


def _plain(picture: Image.Image) -> NDArray[Any]:
    """(H, W, C) uint8 or uint16 of any Pillow picture."""
    if picture.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(picture).astype(np.int64)
        if picture.mode == "I" and (values.min() < 0 or values.max() > 65535):
            raise ImageError(
                f"the image holds 32-bit values from {values.min()} to {values.max()}; "
                f"save it with 8 or 16 bits."
            )
        return values.astype(np.uint16)[..., None]
    if picture.mode == "F":
        return _unit_floats(Path("the image"), np.asarray(picture))[..., None]
    if picture.mode == "1":
        picture = picture.convert("L")
    transparent = "transparency" in picture.info or picture.mode in ("PA", "La", "RGBa")
    if picture.mode in ("LA", "La"):
        picture = picture.convert("LA") if picture.mode == "LA" else picture.convert("RGBA")
    elif transparent:
        picture = picture.convert("RGBA")
    elif picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    values = np.asarray(picture)
    return values[..., None] if values.ndim == 2 else values


def _read_mask(path: Path, size: Size) -> tuple[NDArray[Any], tuple[str, ...]]:
    """(H, W) uint8 of a mask file: its gray values, or its palette indices."""
    values, notes = _decode(path, _read_bytes(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as opened:
            if opened.mode == "P":  # label maps are often palette images: the index is the label
                values = np.asarray(opened)[..., None]
    here = Size(*values.shape[:2])
    if here != size:
        raise ImageError(f"the mask {path} is {here}, the image {size}; they must be equal.")
    if values.dtype == np.uint16:
        values = (values // 257).astype(np.uint8)
    if values.shape[2] == 4:
        values = values[..., :3]
    gray = values[..., 0]
    if values.shape[2] == 3 and not (values == gray[..., None]).all():
        raise ImageError(f"the mask {path} has colors; save it as grayscale or with a palette.")
    return gray, notes


def _check_pixels(path: Path, size: Size) -> None:
    if size.height * size.width > PIXEL_LIMIT:
        raise ImageError(_too_large(path, f"{size}"))


def _too_large(path: Path, found: str) -> str:
    return f"{path} is {found}; the limit is {PIXEL_LIMIT // 10**6} megapixels. Reduce it first."


def _mode_of(path: Path, values: NDArray[Any]) -> Mode:
    for mode, count in MODE_CHANNELS.items():
        if values.shape[2] == count:
            return mode
    raise ImageError(
        f"{path} has {values.shape[2]} channels; 1 to 4 can be read, masks beside them."
    )
