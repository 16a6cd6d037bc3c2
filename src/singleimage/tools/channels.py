"""Pictures and models with different channels: gray, color, alpha."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from msgspec.structs import replace as replace_fields
from torch import Tensor

from singleimage.apps.complete import complete
from singleimage.errors import ImageError
from singleimage.generators.base import Copier, Known
from singleimage.images.channels import Channels, same_masks
from singleimage.images.palette import COLORS, snapped
from singleimage.images.photo import Photo
from singleimage.images.rearrangement import Rearrangement
from singleimage.models.model import Model

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
    return as_channels(picture, wanted)[None]


def to_work_on(model: Model, picture: Photo | None) -> Tensor:
    """The pixels (1, C, H, W) of a picture in the channels of the generator; None: the photo's.

    A model that was trained with masks works on those of its photo, too; one that copies carries
    them along.

    Raises:
        ImageError: as `fitted_to`, or the model does not hold its photo.
    """
    if picture is not None:
        return fitted_to(model, picture)
    copies = model.generator.copier is not None
    count = model.channels.picture if copies else model.channels.count
    return worked_on(model, None).pixels[None, :count].cpu()


def worked_on(model: Model, picture: Photo | None) -> Photo:
    """The picture itself, or the model's photo where none is given.

    Raises:
        ImageError: the model does not hold its photo.
    """
    found = picture or model.first_photo()
    if found is None:
        raise ImageError("the model does not hold its photo; give the picture to work on.")
    return found


def lit_channels(model: Model) -> int:
    """How many channels, from the first, may take on light: those of colors, if there are many.

    The few colors of a sprite or a drawing stay as they are, and so do alpha and masks.
    """
    if model.image is None:
        return 0
    count = model.channels.colors
    colors = model.image[:count].flatten(1)
    some = colors[:, :: max(colors.shape[1] // 50_000, 1)].T.tolist()
    return count if len({tuple(color) for color in some}) > COLORS else 0


def completed(
    model: Model,
    copier: Copier,
    known: Known,
    base: Photo,
    *,
    level: int | None,
    seeds: Sequence[int],
    exact: bool,
) -> list[Photo]:
    """The pictures of which a model that copies made a part new; see `apps.complete`.

    `base` is the picture that `known` shows, in its own channels.
    """
    lit = 0 if exact else lit_channels(model)
    images, places = complete(model.generator, copier, known, level=level, seeds=seeds, lit=lit)
    how = [Rearrangement(where, copier.photo) for where in places]
    if model.channels.masks:
        planes = worked_on(model, None).pixels[model.channels.picture :].cpu()
        images = torch.cat([images, torch.stack([one.applied(planes) for one in how])], 1)
    photos = given_back(model, images, base, known.part)
    return [replace(p, rearrangement=one) for p, one in zip(photos, how, strict=True)]


def given_back(model: Model, images: Tensor, base: Photo, part: Tensor) -> list[Photo]:
    """Pictures by the model laid into another one, in its channels, bits and colors.

    Args:
        model: that made them.
        images: (B, C, H, W) in the channels of the model.
        base: the picture, of the same size; with masks where it is the model's own photo.
        part: (1, 1, H, W), over 0 where the picture is to be new.

    Returns:
        Photos that are `base` bit for bit where the part is 0.
    """
    channels, inside = given_channels(model, base), part[0] > 0
    planes = [base.pixels[base.channels.picture :]] if channels.masks else []
    ground = torch.cat([as_channels(base, channels), *planes])
    original = base.original if channels.plain == base.channels.plain else None
    photos = []
    for image in images:
        new = photo_of(model, image[None])
        planes = [new.pixels[model.channels.picture :]] if channels.masks else []
        pixels = torch.cat([as_channels(new, channels), *planes])
        photos.append(Photo(torch.where(inside, pixels, ground), channels, original=original))
    return photos


def given_channels(model: Model, base: Photo) -> Channels:
    """The channels of `base` with a part by the model, which may be transparent.

    Masks are left out where the model knows none, or others.
    """
    known = same_masks(base.channels.masks, model.channels.masks)
    channels = replace_fields(base.channels, palette=(), masks=base.channels.masks if known else ())
    if model.channels.alpha is None or channels.alpha is not None:
        return channels
    return replace_fields(channels, mode="LA" if channels.mode == "L" else "RGBA")


def photos_of(model: Model, images: Tensor) -> list[Photo]:
    """Images (B, C, H, W) that the model made as photos, see `photo_of`."""
    return [photo_of(model, image[None]) for image in images]


def photo_of(model: Model, image: Tensor) -> Photo:
    """An image (1, C, H, W) that the model made, clamped to [-1, 1], as a photo.

    A model of a photo of few colors keeps to them.
    """
    return Photo(snapped(image[0].clamp(-1, 1), model.channels), model.channels)


def as_channels(picture: Photo, wanted: Channels) -> Tensor:
    """The pixels (C, H, W) of a picture in other channels, without masks.

    Gray is repeated, color made gray, full alpha added.

    Raises:
        ImageError: alpha or further bands would be lost, or are missing.
    """
    have = picture.channels
    pixels, bands = picture.pixels[: have.picture].tensor_split([have.picture - have.bands])
    lost = have.alpha is not None and wanted.alpha is None
    if lost or have.bands != wanted.bands:
        raise ImageError(
            f"the picture is {have.words}, the model {wanted.words}; convert the picture."
        )
    colors, alpha = pixels.tensor_split([have.colors])
    if wanted.colors == 1 < len(colors):
        colors = torch.einsum("c,chw->hw", colors.new_tensor(LUMA), colors)[None]
    colors = colors.expand(wanted.colors, -1, -1)
    if wanted.alpha is not None and have.alpha is None:  # opaque
        alpha = torch.ones_like(colors[:1])
    return torch.cat([colors, alpha, bands])


def colors_and_alpha(picture: Photo) -> tuple[Tensor, Tensor]:
    """Colors (1 or 3, H, W) and alpha (1, H, W) of a picture that has alpha."""
    count = picture.channels.colors
    return picture.pixels[:count], picture.pixels[count : count + 1]


def without_alpha(picture: Photo, under: Photo | None) -> Photo:
    """A picture with alpha as plain colors, laid over `under` of the same size if it is given."""
    colors, alpha = colors_and_alpha(picture)
    channels = Channels(mode="RGB" if len(colors) == 3 else "L")
    if under is not None:
        base = as_channels(under, replace_fields(channels, bands=under.channels.bands))
        colors = torch.lerp(base[: len(colors)], colors, (alpha + 1) / 2)
    return Photo(colors, channels, picture.sha256)


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
    channels = under.channels.plain
    return Photo(as_channels(picture, channels), channels, picture.sha256)
