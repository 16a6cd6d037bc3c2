"""Contact sheets: several pictures on one page."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from singleimage.machine.files import refuse_existing, write_atomically


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


def png_bytes(picture: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
