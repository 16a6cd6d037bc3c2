"""Photos that come in: kept as they are, and made to be shown."""

from pathlib import Path

from singleimage.images.folder import SUFFIXES
from singleimage.images.photo import Photo
from singleimage.images.reader import photo_from
from singleimage.images.values import MODE_CHANNELS, to_integers, to_pil
from singleimage.machine.files import write_atomically
from singleimage.studio.shelf import PhotoCard, Shelf, new_id, now

PREVIEW_SIDE = 2048
"""Long side of what browsers show, pixels."""


def keep_photo(shelf: Shelf, data: bytes, name: str) -> PhotoCard:
    """Put a photo on a shelf: its file as it is, and what browsers show of it.

    Args:
        shelf: where to.
        data: bytes of the file.
        name: of the file, for people and for its suffix.

    Raises:
        ImageError: it is no image, or too large.
        OutputError: the disk is full.
    """
    photo = photo_from(data, name)
    suffix = Path(name).suffix.lower()
    card = PhotoCard(
        id=new_id(),
        name=name,
        suffix=suffix if suffix in SUFFIXES else ".png",
        height=photo.size.height,
        width=photo.size.width,
        words=photo.channels.words,
        deep=photo.channels.suffix == ".tiff",
        plain=photo.channels.white is None and not photo.channels.bands,
        notes=photo.notes,
        created=now(),
    )
    place = shelf.place(PhotoCard, card.id)
    place.mkdir(parents=True)
    write_atomically(shelf.photo_file(card), lambda file: file.write(data))
    save_preview(photo, shelf.preview_file(card))
    shelf.keep(card)
    return card


def save_full(photo: Photo, path: Path) -> None:
    """Write a `photo` to a `path` as browsers show it: of 8 bits, with alpha, without bands."""
    values = to_integers(photo.pixels[: MODE_CHANNELS[photo.channels.mode]])
    write_atomically(path, lambda file: to_pil(values).save(file, "PNG", compress_level=1))


def save_preview(photo: Photo, path: Path) -> None:
    """Write what browsers show of a `photo` to a `path`."""
    count = photo.channels.picture
    shown = Photo(photo.pixels[:count], photo.channels.plain).preview(PREVIEW_SIDE)
    write_atomically(path, lambda file: shown.save(file, "PNG", compress_level=1))
