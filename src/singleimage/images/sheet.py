"""Contact sheets: several pictures on one page."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from singleimage.machine.files import followed, refuse_existing, write_atomically


def sheet(tiles: Sequence[Image.Image], *, columns: int | None = None, gap: int = 4) -> Image.Image:
    """Lay out pictures in reading order on white.

    Args:
        tiles: 8-bit RGB pictures.
        columns: in a row; None: so that the sheet is about square.
        gap: pixels between pictures.
    """
    columns = columns or min(len(tiles), math.ceil(math.sqrt(len(tiles))))
    width, height = max(t.width for t in tiles) + gap, max(t.height for t in tiles) + gap
    rows = math.ceil(len(tiles) / columns)
    page = Image.new("RGB", (columns * width + gap, rows * height + gap), "white")
    for i, tile in enumerate(tiles):
        page.paste(tile, (gap + i % columns * width, gap + i // columns * height))
    return page


def save_sheet(page: Image.Image, path: Path, *, overwrite: bool) -> None:
    """Write a contact sheet as PNG.

    Args:
        page: the sheet.
        path: of the file.
        overwrite: replace a file that exists.

    Raises:
        OutputError: as `Photo.save`.
    """
    refuse_existing(path, overwrite=overwrite)
    write_atomically(followed(path), lambda stream: page.save(stream, "PNG"))


def png_bytes(picture: Image.Image) -> bytes:
    """Encode `picture` as PNG and return the bytes of the file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
