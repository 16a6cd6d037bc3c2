"""A photo with something pasted in, for tests of tools, commands and tuning."""

from dataclasses import replace

import torch

from singleimage import Channels, Photo


def with_square(photo: Photo, size: int = 8) -> tuple[Photo, Photo]:
    """The photo with a white square pasted in, and the mask of the square."""
    pixels, mask = photo.pixels.clone(), torch.full((1, *photo.size), -1.0)
    pixels[:, 10 : 10 + size, 14 : 14 + size] = 1
    mask[:, 10 : 10 + size, 14 : 14 + size] = 1
    return replace(photo, pixels=pixels, sha256="pasted"), Photo(mask, Channels(mode="L"))
