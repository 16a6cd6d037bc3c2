"""Pictures and models with different channels: gray, color, alpha."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from singleimage.apps.complete import complete
from singleimage.errors import ImageError
from singleimage.generators.base import Copier, Known
from singleimage.images.photo import Channels, Photo
from singleimage.images.rearrangement import Rearrangement
from singleimage.images.values import MODE_CHANNELS
from singleimage.models.model import Model

PALETTE = 64
"""A photo of at most so many colors keeps to them."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R BT.601)."""


def fitted_to(model: Model, picture: Photo) -> Tensor:
    """The pixels of a picture, (1, C, H, W) in [-1, 1], in the channels of the model.

    Raises:
        ImageError: the model has masks, or alpha would be lost.
    """
    wanted = model.channels
    if wanted.masks:
        raise ImageError(
            "the model learned masks with its photo, which other pictures do not have; "
            "train one without --mask."
        )
    return as_channels(picture.pixels, MODE_CHANNELS[wanted.mode], picture)[None]


def to_work_on(model: Model, picture: Photo | None) -> Tensor:
    """The pixels (1, C, H, W) of a picture in the channels of the model; None: its photo.

    Raises:
        ImageError: as `fitted_to`, or the model does not hold its photo.
    """
    if picture is not None:
        return fitted_to(model, picture)
    if model.image is None:
        raise ImageError("the model does not hold its photo; give the picture to work on.")
    return model.image[None].cpu()


def lit_channels(model: Model) -> int:
    """How many channels, from the first, may take on light: those of colors, if there are many.

    The few colors of a sprite or a drawing stay as they are, and so do alpha and masks.
    """
    if model.image is None:
        return 0
    count = MODE_CHANNELS[model.channels.mode] - (model.channels.mode in ("LA", "RGBA"))
    colors = model.image[:count].flatten(1)
    some = colors[:, :: max(colors.shape[1] // 50_000, 1)].T.tolist()
    return count if len({tuple(color) for color in some}) > PALETTE else 0


def completed(
    model: Model,
    copier: Copier,
    known: Known,
    level: int | None,
    seeds: Sequence[int],
    exact: bool,
) -> list[Photo]:
    """The pictures of which a model that copies made a part new; see `apps.complete`."""
    lit = 0 if exact else lit_channels(model)
    images, places = complete(model.generator, copier, known, level=level, seeds=seeds, lit=lit)
    return [
        replace(photo, rearrangement=Rearrangement(where, copier.photo))
        for photo, where in zip(photos_of(model, images), places, strict=True)
    ]


def photos_of(model: Model, images: Tensor) -> list[Photo]:
    """Images (B, C, H, W) that the model made as photos, see `photo_of`."""
    return [photo_of(model, image[None]) for image in images]


def photo_of(model: Model, image: Tensor) -> Photo:
    """An image (1, C, H, W) that the model made, clamped to [-1, 1], as a photo."""
    return Photo(image[0].clamp(-1, 1), model.channels)


def as_channels(pixels: Tensor, count: int, picture: Photo) -> Tensor:
    """Pixels (C, H, W) with `count` channels: gray is repeated, color made gray, full alpha added.

    Args:
        pixels: of `picture`, or of its size and channels; masks are left out.
        count: 1 (gray), 2 (gray and alpha), 3 (color) or 4 (color and alpha).

    Raises:
        ImageError: alpha would be lost.
    """
    pixels = pixels[: MODE_CHANNELS[picture.channels.mode]]
    if len(pixels) == 3 and count < 3:
        pixels = torch.einsum("c,chw->hw", pixels.new_tensor(LUMA), pixels)[None]
    if len(pixels) == count:
        return pixels
    if len(pixels) in (1, 3) and count in (2, 4):  # opaque
        colors = pixels.expand(count - 1, -1, -1) if len(pixels) == 1 else pixels
        return torch.cat([colors, torch.ones_like(pixels[:1])])
    if len(pixels) == 1:
        return pixels.expand(count, -1, -1)
    have = {1: "gray", 2: "gray with alpha", 3: "color", 4: "color with alpha"}
    raise ImageError(
        f"the picture is {have[len(pixels)]}, the model {have[count]}; convert the picture."
    )


def colors_and_alpha(picture: Photo) -> tuple[Tensor, Tensor]:
    """Colors (1 or 3, H, W) and alpha (1, H, W) of a picture that has alpha."""
    count = MODE_CHANNELS[picture.channels.mode]
    return picture.pixels[: count - 1], picture.pixels[count - 1 : count]


def without_alpha(picture: Photo, under: Photo | None) -> Photo:
    """A picture with alpha as plain colors, laid over `under` of the same size if it is given."""
    colors, alpha = colors_and_alpha(picture)
    if under is not None:
        base = as_channels(under.pixels, len(colors), under)
        colors = torch.lerp(base, colors, (alpha + 1) / 2)
    return Photo(colors, Channels(mode="RGB" if len(colors) == 3 else "L"), picture.sha256)


def laid_over(picture: Photo, under: Photo) -> Photo:
    """The picture in the channels of `under`; where it is transparent, `under` shows.

    Raises:
        ImageError: the channels do not fit, or the picture has alpha and another size.
    """
    mode = picture.channels.mode
    if mode in ("LA", "RGBA") and under.channels.mode != mode:
        if picture.size != under.size:
            raise ImageError(
                f"the picture has alpha, but is {picture.size} and the photo {under.size}; "
                f"give it the photo's size, or flatten it."
            )
        picture = without_alpha(picture, under)
    count = MODE_CHANNELS[under.channels.mode]
    pixels = as_channels(picture.pixels, count, picture)
    return Photo(pixels, Channels(mode=under.channels.mode), picture.sha256)
