"""Reads movie files, for tests of what is in them."""

from pathlib import Path

import av
from PIL import Image, ImageSequence


def opened(path: Path) -> list[Image.Image]:
    """The frames of a file: of video color, of others as they are."""
    if path.suffix in (".mp4", ".webm"):
        with av.open(path) as container:
            frames = container.decode(video=0)
            return [Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in frames]
    with Image.open(path) as picture:
        return [frame.copy() for frame in ImageSequence.Iterator(picture)]
