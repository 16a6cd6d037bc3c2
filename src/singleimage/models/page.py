"""A photo as a page of one file that draws new pictures of it in a browser, by itself."""

import base64
from pathlib import Path

from singleimage import __version__
from singleimage.errors import ArgumentError, SizeError, UnsupportedEntry
from singleimage.images.channels import Channels
from singleimage.images.photo import Photo
from singleimage.images.sheet import png_bytes
from singleimage.images.values import MODES
from singleimage.models.model import Model

SIDE = 250
"""Long side to which a photo is reduced, pixels: a picture then takes seconds."""
LEAST = 24
"""Short side of the photo from which on patches are found in it, pixels."""


def page(model: Model) -> bytes:
    """The bytes of an HTML page that draws new pictures of a photo by patch flow, in JavaScript.

    The page holds the photo, at most `SIDE` pixels long and without alpha, masks and further bands;
    it loads nothing.

    Args:
        model: of a photo, without training.

    Raises:
        UnsupportedEntry: the model was trained.
        ArgumentError: it is of several photos.
        SizeError: reduced to `SIDE` pixels, the photo's short side is under `LEAST`.
    """
    photo = model.training_image()
    if model.recipe.direct is None or photo is None:
        raise UnsupportedEntry(
            "a page draws from a photo, and networks are no part of it; give the photo itself, or "
            "a name that ends in .onnx."
        )
    if model.provenance.photos > 1:
        raise ArgumentError("a page draws from one photo; drop the others.")
    colors = photo.channels.colors
    shown = Photo(photo.pixels[:colors], Channels(mode=MODES[colors])).preview(SIDE)
    if min(shown.size) < LEAST:
        narrow = SIDE * min(photo.size) < LEAST * max(photo.size)
        way = "crop" if narrow else "enlarge"
        raise SizeError(
            f"the photo is {shown.height}x{shown.width} on the page, whose short side must be "
            f"{LEAST} pixels or more; {way} it."
        )
    data = base64.b64encode(png_bytes(shown)).decode()
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    words = {"{{photo}}": f"data:image/png;base64,{data}", "{{version}}": __version__}
    for mark, value in words.items():
        text = text.replace(mark, value)
    return text.encode()
