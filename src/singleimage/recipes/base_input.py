"""What level 0 is given in training: noise, or the photo changed at random.

ConSinGAN trains for harmonization and editing on changed copies of the photo, so that the model
learns to bring a changed picture back (Hinz et al., WACV 2021, section 3; published code, modes
`harmonization` and `editing`). Each class here makes such a base input, given the photo at level 0.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
import torch
from torch import Tensor

from singleimage.multiscale.latent import gaussian, seed_for

Strength = Annotated[float, msgspec.Meta(ge=0, le=10)]


class NoiseInput(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="noise"
):
    """What the generator draws: noise."""

    noise: ClassVar[float] = 0.0
    """Strength of the noise on a picture that enters, in standard deviations."""

    def base(self, photo: Tensor, seed: int, colors: int) -> Tensor | None:
        """Return None, whatever is given: what the generator draws is kept."""
        return None


class AugmentedInput(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="augmented"
):
    """The photo with other colors or noise at times, and with holes of one color nearly always."""

    change: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.25
    """Probability of a change of the whole image."""
    holes: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    """Probability of one hole of 30 to 60 pixels a side, or two of 15 to 30."""
    noise: ClassVar[float] = 0.0
    """Standard deviation of the noise that is added, as `NoiseInput.noise`."""

    def base(self, photo: Tensor, seed: int, colors: int) -> Tensor | None:
        """Augment a photo; channels other than color stay.

        Args:
            photo: (1, C, H, W) in [-1, 1].
            seed: decides the change.
            colors: how many of the channels, from the first on, are color or gray.
        """
        dice = _Dice(seed_for(seed, "augment"))
        image = photo.cpu().clone()
        shown = image[:, :colors]
        if dice.chance(self.change):
            shown.copy_(_changed(shown, dice))
        if dice.chance(self.holes):
            _cut_holes(shown, dice)
        return image.to(photo.device)


class ShuffledInput(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="shuffled"
):
    """The photo with a few of its tiles moved, and noise."""

    noise: Strength = 0.1
    """Strength of the noise on it and, later, on a picture that enters; in standard deviations."""

    def base(self, photo: Tensor, seed: int, colors: int) -> Tensor | None:
        """Copy 1 to 5 tiles of a photo to nearby places; those at the far borders are cut.

        Args:
            photo: (1, C, H, W) in [-1, 1].
            seed: decides which and where.
            colors: of no matter; all channels move.
        """
        dice = _Dice(seed_for(seed, "shuffle"))
        image = photo.clone()
        height, width = photo.shape[-2:]
        tiles = dice.whole(1, 5)
        low, high = {1: (0.2, 0.5), 2: (0.15, 0.3), 3: (0.1, 0.2)}.get(tiles, (0.1, 0.15))
        for _ in range(tiles):
            sign = 1 if dice.chance(0.5) else -1
            places = []
            for side in (height, width):  # whole numbers as the code draws them
                start = dice.whole(0, side)
                length = min(dice.whole(int(side * low), int(side * high)), side - start)
                far = 0.15 if tiles == 1 else 0.1
                shift = sign * dice.whole(int(side * 0.05), int(side * far))
                places.append((start, min(max(start + shift, 0), side - length), length))
            (y, to_y, h), (x, to_x, w) = places
            image[..., to_y : to_y + h, to_x : to_x + w] = photo[..., y : y + h, x : x + w]
        noise = gaussian(photo.shape[1:], seed_for(seed, "feed noise"), like=photo)
        return image + self.noise * noise


@dataclass(frozen=True)
class GivenInput:
    """One picture every time, with noise: for fine-tuning on it."""

    image: Tensor
    """(1, C, H, W) of level 0."""
    noise: float

    def base(self, photo: Tensor, seed: int, colors: int) -> Tensor | None:
        noise = gaussian(self.image.shape[1:], seed_for(seed, "feed noise"), like=self.image)
        return self.image + self.noise * noise


BaseInput = NoiseInput | AugmentedInput | ShuffledInput


class _Dice:
    """Random numbers of one seed."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self._generator))

    def chance(self, probability: float) -> bool:
        return self.between(0, 1) < probability

    def one_of(self, weights: list[float]) -> int:
        return int(torch.multinomial(torch.tensor(weights), 1, generator=self._generator))

    def like(self, image: Tensor, *, normal: bool = False) -> Tensor:
        draw = torch.randn if normal else torch.rand
        return draw(image.shape, generator=self._generator).to(image.dtype)


def _changed(image: Tensor, dice: _Dice) -> Tensor:
    """Apply one of the published changes; on gray images one of those that need no color."""
    color = image.shape[1] == 3
    kind = dice.one_of([0.5, 0.5, 0.5, 0.1] if color else [0.5, 0.5])
    if kind == 0:
        return _noisy(image, dice)
    if kind == 1:
        return -image if not color or dice.chance(0.5) else _sepia(image)
    if kind == 2:
        if dice.chance(0.5):
            image = image.clone()
            image[:, dice.whole(0, 2)] = -1
            return image
        order = torch.randperm(3, generator=dice._generator)
        return image[:, order]
    return _shifted_hue(image, *(dice.between(-s, s) for s in (40 / 360, 30 / 255, 20 / 255)))


def _noisy(image: Tensor, dice: _Dice) -> Tensor:
    """The three noises: a factor for each value, or normal noise of two strengths."""
    kind = dice.one_of([0.2, 0.5, 0.5])
    if kind == 0:
        return ((image + 1) * (0.5 + dice.like(image)) - 1).clamp(-1, 1)
    low, high = ((2.55, 12.75), (10**0.5, 50**0.5))[kind - 1]
    sigma = dice.between(low, high) / 127.5
    return (image + sigma * dice.like(image, normal=True)).clamp(-1, 1)


def _sepia(image: Tensor) -> Tensor:
    rows = [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]
    mixed = torch.einsum("oc,bchw->bohw", torch.tensor(rows, dtype=image.dtype), image + 1) - 1
    return mixed.clamp(-1, 1)


def _shifted_hue(image: Tensor, hue: float, saturation: float, value: float) -> Tensor:
    """Shifted by parts of the circle and of the full range."""
    unit = (image + 1) / 2
    top, bottom = unit.amax(dim=1), unit.amin(dim=1)
    span = (top - bottom).clamp(min=1e-6)
    r, g, b = unit.unbind(dim=1)
    sector = torch.where(
        top == r, (g - b) / span % 6, torch.where(top == g, (b - r) / span + 2, (r - g) / span + 4)
    )
    h = (sector / 6 + hue) % 1
    s = ((top - bottom) / top.clamp(min=1e-6) + saturation).clamp(0, 1)
    v = (top + value).clamp(0, 1)
    turns = [(n + h * 6) % 6 for n in (5, 3, 1)]
    planes = [v - v * s * torch.minimum(k, 4 - k).clamp(0, 1) for k in turns]
    return torch.stack(planes, dim=1) * 2 - 1


def _cut_holes(image: Tensor, dice: _Dice) -> None:
    """Fill one large or two small rectangles of (1, C, H, W) with one random color, in place."""
    height, width = image.shape[-2:]
    color = torch.tensor([dice.between(-1, 1) for _ in range(image.shape[1])], dtype=image.dtype)
    count = dice.whole(1, 2)
    low, high = (30, 60) if count == 1 else (15, 30)
    for _ in range(count):
        h, w = (min(dice.whole(low, high), side) for side in (height, width))
        y, x = dice.whole(0, height - h), dice.whole(0, width - w)
        image[..., y : y + h, x : x + w] = color[:, None, None]
