"""Folders of photos: which files are pictures, and photos that are learned together.

Photos that are learned together are brought to the same channels and cropped to one aspect.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import overload

import msgspec

from singleimage.errors import ImageError
from singleimage.images.channels import Channels, same_masks
from singleimage.images.decode import high_efficiency_formats
from singleimage.images.decoded import Notes
from singleimage.images.palette import COLORS
from singleimage.images.photo import Photo
from singleimage.images.reader import read_photo
from singleimage.images.values import Mode
from singleimage.multiscale.geometry import Size

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".avif",
}  # fmt: skip
"""Suffixes of pictures."""
OTHERS = {".jp2", ".jxl", ".psd", ".svg", ".raw", ".dng", ".cr2", ".nef", ".arw", ".exr", ".hdr"}
"""Suffixes of pictures that are not read."""
PLUGGED = {".heic": "HEIF", ".heif": "HEIF", ".avif": "AVIF"}
"""Formats that are read where Pillow can, by their suffixes."""
NEARLY = 0.02
"""Aspects that differ by less are not worth a note."""


def pictures_in(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their numbers, without masks, maps and sheets.

    Raises:
        ImageError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise ImageError(f"there is no folder {folder}; check the path.")
    found = [path for path in folder.iterdir() if _is_picture(path)]
    if not found:
        raise ImageError(f"{folder} holds no pictures; give a folder of image files.")
    return sorted(found, key=_by_number)


def skipped_in(folder: Path) -> list[str]:
    """What `pictures_in` leaves out of a folder though it may be meant: a line for each kind."""
    kinds: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or _is_picture(path):
            continue
        if not _can_read(path):
            kinds.setdefault('which pip install "singleimage[heic]" reads', []).append(path.name)
        elif path.suffix.lower() in SUFFIXES:
            sheet = path.name == "sheet.png"
            kind = "sheets" if sheet else "masks or maps, by their names"
            kinds.setdefault(kind, []).append(path.name)
        elif path.suffix.lower() in OTHERS:
            kinds.setdefault("in a format that is not read", []).append(path.name)
    return [
        f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''} skipped: "
        f"{kind}."
        for kind, names in kinds.items()
    ]


def _can_read(path: Path) -> bool:
    kind = PLUGGED.get(path.suffix.lower())
    return kind is None or kind in high_efficiency_formats()


def _is_picture(path: Path) -> bool:
    hidden = path.name.startswith(".") or path.name == "sheet.png"
    named = re.fullmatch(r"(.+)_(mask\d*|map)", path.stem)
    beside = named is not None and any(
        path.with_name(named[1] + suffix).exists()
        for name in SUFFIXES
        for suffix in (name, name.upper())
    )
    known = path.suffix.lower() in SUFFIXES and _can_read(path)
    return known and not hidden and not beside and path.is_file()


def _by_number(path: Path) -> list[tuple[int, str]]:
    """2 before 10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


@dataclass(frozen=True, eq=False)
class Album(Sequence[Photo]):
    """The photos of a folder, alike. Each is read whenever it is asked for; none is kept."""

    paths: tuple[Path, ...]
    channels: Channels
    """Of all photos."""
    aspect: float | None
    """Height over width to which they are cropped about their middle; None: as they are."""
    notes: Notes
    """What is changed in them, in words for the user."""
    stamps: tuple[tuple[int, int], ...]
    """Of each file, when it was changed and its bytes, as they were first read."""

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice) -> list[Photo]: ...
    def __getitem__(self, index: int | slice) -> Photo | list[Photo]:
        """Read one or some.

        Raises:
            ImageError: a file has been changed or removed since the album was made.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        path = self.paths[index]
        if _stamp(path) != self.stamps[index]:
            raise ImageError(
                f"{path} was changed while it was in use; put it back, and the same command "
                f"continues."
            )
        photo = _like_others(replace(read_photo(path), original=None), self.channels)
        return photo if self.aspect is None else _cropped(photo, self.aspect, path.name)


def read_album(folder: Path, *, crop: bool = True) -> Album:
    """All photos of a folder, cropped about their middle to the median aspect.

    Gray photos among colored ones become colored. Every file is read once, to know that it can be.

    Args:
        folder: of the photos.
        crop: false, for a recipe that stretches them: they stay as they are.

    Raises:
        ImageError: the folder holds no photos, or a file is damaged, or has alpha where others
            have none.
    """
    return album_of(pictures_in(folder), crop=crop)


def album_of(photos: Sequence[Path], *, crop: bool = True) -> Album:
    """These `photos` as an album, as `read_album` does; `crop` and errors are the same."""
    paths = tuple(photos)
    stamps = tuple(_stamp(path) for path in paths)
    read = [(photo.channels, photo.size, photo.notes) for photo in map(read_photo, paths)]
    channels = _common([found for found, _, _ in read])
    aspect = median(size.height / size.width for _, size, _ in read) if crop else None
    notes: Notes = ()
    for path, (found, size, told) in zip(paths, read, strict=True):
        if _colored(found, channels.mode).count != channels.count:
            raise ImageError(
                f"{path.name} is {found.words}, most photos are {channels.words}; convert it, or "
                f"leave it out."
            )
        notes += told + (() if aspect is None else _note(size, aspect, path.name))
    return Album(paths, channels, aspect, notes, stamps)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return 0, -1
    return facts.st_mtime_ns, facts.st_size


def alike(photos: Sequence[Photo]) -> list[Photo]:
    """Bring photos that are one source to the same channels; gray among color becomes color.

    Args:
        photos: two or more.

    Raises:
        ImageError: one has alpha, masks or bands, and another has not.
    """
    found = [photo.channels for photo in photos]
    channels = found[0].plain
    if any(other.plain != channels for other in found):
        channels = _common(found)
    palette = _all_colors([_colored(one, channels.mode) for one in found])
    channels = msgspec.structs.replace(channels, palette=palette, masks=found[0].masks)
    for other in found:
        count = _colored(other, channels.mode).count
        if count != channels.count or not same_masks(other.masks, channels.masks):
            raise ImageError(
                f"the photos have different channels ({found[0].words}; {other.words}; or other "
                f"masks); convert them to the same."
            )
    return [replace(_like_others(photo, channels), original=None) for photo in photos]


def _all_colors(found: Sequence[Channels]) -> tuple[tuple[int, ...], ...]:
    """The colors of all photos, if each of them has few; one that is transparent comes first."""
    if not all(channels.palette for channels in found):
        return ()
    colors = dict.fromkeys(color for channels in found for color in channels.palette)
    hidden = [color for color in colors if found[0].alpha is not None and not color[-1]]
    shown = [color for color in colors if color not in hidden]
    few = (*hidden[:1], *shown)
    return few if len(few) <= COLORS else ()


def _common(found: Sequence[Channels]) -> Channels:
    """The channels that photos of these are brought to."""
    modes = Counter(channels.mode for channels in found)
    mode = "RGB" if set(modes) == {"L", "RGB"} else modes.most_common(1)[0][0]
    bits = found[0].bits
    white = max(_white(channels) for channels in found if channels.bits == bits)
    most = 2**bits - 1
    bands = found[0].bands
    return Channels(mode=mode, bits=bits, bands=bands, white=white if white < most else None)


def fitted(photo: Photo, channels: Channels, size: Size | None, name: str = "the photo") -> Photo:
    """A photo in the channels of others, and cropped to the aspect of `size`; gray becomes color.

    Args:
        photo: of any aspect.
        channels: of the others.
        size: of one of them; None: it is not cropped.
        name: of the photo, for its note.

    Raises:
        ImageError: it has other channels.
    """
    if _colored(photo.channels, channels.mode).count != channels.count:
        raise ImageError(
            f"the photo is {photo.channels.words}, the model was trained on {channels.words}; "
            f"convert it."
        )
    photo = replace(_like_others(photo, channels), original=None)
    return photo if size is None else _cropped(photo, size.height / size.width, name)


def _white(channels: Channels) -> int:
    return channels.white or 2**channels.bits - 1


def _like_others(photo: Photo, channels: Channels) -> Photo:
    """A photo in the channels of others, whose number it has or, if it is gray, may have."""
    pixels = photo.pixels
    if len(pixels) < channels.count:
        pixels = pixels.expand(channels.count, -1, -1)
    here, wanted = _white(photo.channels), _white(channels)
    if photo.channels.bits == channels.bits and here != wanted:  # the same integers, one value
        pixels = ((pixels + 1) * (here / wanted) - 1).clamp(-1, 1)
    return replace(photo, pixels=pixels, channels=channels)


def _colored(channels: Channels, mode: Mode) -> Channels:
    """Those of a gray photo in color, where that is the mode; any other as they are."""
    gray = channels.mode == "L" and not channels.masks and not channels.bands
    if not gray or mode != "RGB":
        return channels
    return msgspec.structs.replace(channels, mode=mode, palette=())


def _note(size: Size, aspect: float, name: str) -> Notes:
    """Say that a photo of this size is cropped, if much is."""
    height, width = _uncropped(size, aspect)
    lost = 1 - height * width / (size.height * size.width)
    if lost <= NEARLY:
        return ()
    return (f"{name} is cropped to the aspect of the others, {lost:.0%} are left out.",)


def _uncropped(size: Size, aspect: float) -> Size:
    """The largest size of height over width `aspect` within another."""
    height, width = size
    if abs(height - width * aspect) <= 0.5 or abs(width - height / aspect) <= 0.5:
        return size  # so what was cropped before stays as it is
    if height > width * aspect:
        return Size(max(round(width * aspect), 1), width)
    return Size(height, max(round(height / aspect), 1))


def _cropped(photo: Photo, aspect: float, name: str) -> Photo:
    """The middle of a photo, of height over width `aspect`, as large as can be; with a note."""
    height, width = _uncropped(photo.size, aspect)
    top, left = (photo.size.height - height) // 2, (photo.size.width - width) // 2
    pixels = photo.pixels[:, top : top + height, left : left + width]
    notes = photo.notes + _note(photo.size, aspect, name)
    return replace(photo, pixels=pixels, notes=notes)
