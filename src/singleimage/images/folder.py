"""Folders of photos: which files are pictures, and photos that are learned together.

Photos that are learned together are brought to the same channels and cropped to one aspect.
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import median

import msgspec

from singleimage.errors import ImageError
from singleimage.images.channels import Channels
from singleimage.images.decode import high_efficiency_formats
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
    """The image files of a folder in the order of their numbers, without masks and sheets.

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
            kinds.setdefault("which pip install 'singleimage[heic]' reads", []).append(path.name)
        elif path.suffix.lower() in SUFFIXES:
            sheet = path.name == "sheet.png"
            kinds.setdefault("sheets" if sheet else "masks, by their names", []).append(path.name)
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
    named = re.fullmatch(r"(.+)_mask\d*", path.stem)
    mask = named is not None and any(
        path.with_name(named[1] + suffix).exists() for suffix in SUFFIXES
    )
    known = path.suffix.lower() in SUFFIXES and _can_read(path)
    return known and not hidden and not mask and path.is_file()


def _by_number(path: Path) -> list[tuple[int, str]]:
    """2 before 10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_album(folder: Path, *, crop: bool = True) -> list[Photo]:
    """All photos of a folder, cropped about their middle to the median aspect, with a note of it.

    Gray photos among colored ones become colored.

    Args:
        folder: of the photos.
        crop: false, for a recipe that stretches them: they stay as they are.

    Raises:
        ImageError: the folder holds no photos, or a file is damaged, or has alpha where others
            have none.
    """
    photos = [(path.name, replace(read_photo(path), original=None)) for path in pictures_in(folder)]
    modes = Counter(photo.channels.mode for _, photo in photos)
    mode = "RGB" if set(modes) == {"L", "RGB"} else modes.most_common(1)[0][0]
    first = photos[0][1].channels
    bits = first.bits
    whites = [_white(photo.channels) for _, photo in photos if photo.channels.bits == bits]
    white = max(whites) if max(whites) < 2**bits - 1 else None
    channels = Channels(mode=mode, bits=bits, bands=first.bands, white=white)
    aspect = median(photo.size.height / photo.size.width for _, photo in photos)
    album = []
    for name, photo in photos:
        photo = _darkened(_colored(photo, mode), channels)
        if len(photo.pixels) != channels.count:
            raise ImageError(
                f"{name} is {photo.channels.words}, most photos are {channels.words}; convert it, "
                f"or leave it out."
            )
        photo = _cropped(photo, aspect, name) if crop else photo
        album.append(replace(photo, channels=channels))
    return album


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
    photo = _darkened(_colored(photo, channels.mode), channels)
    if len(photo.pixels) != channels.count:
        raise ImageError(
            f"the photo is {photo.channels.words}, the model was trained on {channels.words}; "
            f"convert it."
        )
    photo = replace(photo, channels=channels, original=None)
    return photo if size is None else _cropped(photo, size.height / size.width, name)


def _white(channels: Channels) -> int:
    return channels.white or 2**channels.bits - 1


def _darkened(photo: Photo, channels: Channels) -> Photo:
    """A photo whose white is that of others, so that the same integers are the same values."""
    here, wanted = _white(photo.channels), _white(channels)
    if photo.channels.bits != channels.bits or here == wanted:
        return photo
    return replace(photo, pixels=((photo.pixels + 1) * (here / wanted) - 1).clamp(-1, 1))


def _colored(photo: Photo, mode: Mode) -> Photo:
    """A gray photo in color, where that is the mode; any other as it is."""
    gray = photo.channels.mode == "L" and not photo.channels.masks and not photo.channels.bands
    if not gray or mode != "RGB":
        return photo
    colors = msgspec.structs.replace(photo.channels, mode=mode, palette=())
    return replace(photo, pixels=photo.pixels.expand(3, -1, -1), channels=colors)


def _cropped(photo: Photo, aspect: float, name: str) -> Photo:
    """The middle of a photo, of height over width `aspect`, as large as can be; with a note."""
    size = photo.size
    height, width = size
    if abs(height - width * aspect) <= 0.5 or abs(width - height / aspect) <= 0.5:
        return photo  # so what was cropped before stays as it is
    if height > width * aspect:
        height = max(round(width * aspect), 1)
    else:
        width = max(round(height / aspect), 1)
    top, left = (size.height - height) // 2, (size.width - width) // 2
    notes, lost = photo.notes, 1 - height * width / (size.height * size.width)
    if lost > NEARLY:
        notes += (f"{name} is cropped to the aspect of the others, {lost:.0%} are left out.",)
    pixels = photo.pixels[:, top : top + height, left : left + width]
    return replace(photo, pixels=pixels, notes=notes)
