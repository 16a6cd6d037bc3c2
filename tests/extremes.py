"""Pictures of extreme statistics, which a default must learn or copy from all the same."""

from collections.abc import Callable

import torch
from torch import Tensor

from singleimage.images.channels import Channels
from singleimage.images.photo import Photo
from singleimage.images.values import MODES

HEIGHT, WIDTH = 64, 80


def _random(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(sum(name.encode()))


def _marks(background: float, mark: float, density: float, name: str) -> Tensor:
    """Lines of marks like letters."""
    picture = torch.full((3, HEIGHT, WIDTH), background)
    ink = torch.rand(HEIGHT, WIDTH, generator=_random(name)) < density
    lines = (torch.arange(HEIGHT) % 8 < 5)[:, None]
    words = (torch.rand(HEIGHT // 8, WIDTH // 4, generator=_random(name + "w")) < 0.8).float()
    words = words.repeat_interleave(8, 0).repeat_interleave(4, 1) > 0
    picture[:, ink & lines & words] = mark
    return picture


def _night() -> Tensor:
    picture = torch.full((3, HEIGHT, WIDTH), -1.0)
    stars = torch.rand(HEIGHT, WIDTH, generator=_random("night")) < 0.006
    picture[:, stars] = 1.0
    return picture


def _sketch() -> Tensor:
    picture = torch.ones(3, HEIGHT, WIDTH)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    for i in range(5):
        slope = 0.25 * (i - 2)
        line = (y - HEIGHT / 2 - slope * (x - WIDTH / 2) - 6 * torch.sin(x / (4.0 + i))).abs() < 0.7
        picture[:, line] = -0.6
    return picture


def _ramp() -> Tensor:
    return torch.linspace(-1, 1, WIDTH).expand(3, HEIGHT, WIDTH).clone()


def _white() -> Tensor:
    picture = torch.ones(3, HEIGHT, WIDTH)
    picture[:, 40:44, 30:50] = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    return picture


def _bright_row() -> Tensor:
    picture = torch.full((3, HEIGHT, WIDTH), -1.0)
    picture[:, 20] = 1.0
    return picture


def _checks() -> Tensor:
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return (((y // 8 + x // 8) % 2).float() * 2 - 1).expand(3, -1, -1).clone()


def _noise(scale: float, channels: int = 3, name: str = "noise") -> Tensor:
    return (torch.rand(channels, HEIGHT, WIDTH, generator=_random(name)) * 2 - 1) * scale


def _saturated() -> Tensor:
    """Patches of the eight corners of the color cube."""
    corners = torch.randint(0, 2, (3, 8, 10), generator=_random("saturated")).float() * 2 - 1
    return corners.repeat_interleave(8, 1).repeat_interleave(8, 2)


def _sprite() -> Tensor:
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    inside = (y - HEIGHT / 2) ** 2 + (x - WIDTH / 2) ** 2 < 20**2
    picture = torch.full((4, HEIGHT, WIDTH), -1.0)
    picture[:3, inside] = torch.tensor([0.9, 0.4, -0.8])[:, None]
    picture[:3, inside & ((x // 5) % 2 == 0)] = torch.tensor([0.2, -0.5, -0.9])[:, None]
    picture[3, inside] = 1.0
    return picture


def _gray() -> Tensor:
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return (0.5 * torch.sin(y / 5.0) * torch.cos(x / 7.0))[None]


PIXELS: dict[str, Callable[[], Tensor]] = {
    "night sky": _night,
    "mostly white": _white,
    "text": lambda: _marks(1.0, -1.0, 0.4, "text"),
    "sketch": _sketch,
    "bright row": _bright_row,
    "tiny contrast": lambda: _noise(0.02),
    "saturated": _saturated,
    "checkerboard": _checks,
    "gradient": _ramp,
    "noise": lambda: _noise(1.0),
    "gray": _gray,
    "sprite": _sprite,
}
"""By name, (C, H, W) in [-1, 1]."""


def extreme(name: str) -> Photo:
    """The photo of that name."""
    pixels = PIXELS[name]()
    return Photo(pixels, Channels(mode=MODES[len(pixels)]), sha256=name)
