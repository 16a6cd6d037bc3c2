"""Photos with ground and sky, a sprite of few colors, and a round mask."""

import torch
from torch import Tensor

from singleimage import Channels, Photo
from singleimage.multiscale.geometry import Size


def scene(height: int = 120, width: int = 150) -> Tensor:
    """Ground, sky and some texture, (3, H, W) in [-1, 1]: every pixel has a color of its own."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grain = torch.rand(height, width, generator=torch.Generator().manual_seed(0))
    ground = (y > height * 0.6) * (0.5 + 0.3 * torch.sin(x / 3) * torch.sin(y / 2))
    planes = [ground + 0.2 * grain, y / height, 0.5 * grain + x / width]
    return (torch.stack(planes) - 0.5).clamp(-1, 1)


def sprite(height: int = 40, width: int = 48) -> Photo:
    """A checkered sprite of five colors."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    index = (y // 5 + x // 7 + (y * x) % 3) % 5
    palette = torch.arange(0, 255, 17).view(5, 3) / 127.5 - 1
    return Photo(palette[index].permute(2, 0, 1).contiguous(), Channels(mode="RGB"))


def colors(photo: Photo) -> set[tuple[float, ...]]:
    """The colors of a photo, on 8 bits."""
    values = ((photo.pixels + 1) * 127.5).round()
    return {tuple(color) for color in values.flatten(1).T.tolist()}


def disk(size: Size) -> Photo:
    """A mask that is white in a disk in the middle, a third as wide as the photo."""
    y, x = torch.meshgrid(torch.arange(size.height), torch.arange(size.width), indexing="ij")
    far = (y - size.height / 2) ** 2 + (x - size.width / 2) ** 2 > (min(size) / 6) ** 2
    return Photo(1 - 2 * far.float()[None], Channels(mode="L"))
