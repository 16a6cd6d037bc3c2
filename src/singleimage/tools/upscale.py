"""Upscale: super-resolution of the photo, and how good it is."""

import importlib.util
import math
from collections.abc import Callable, Sequence

import torch
from msgspec.structs import replace
from torch import Tensor

from singleimage.apps import upscale as app
from singleimage.errors import ImageError, UnsupportedEntry
from singleimage.images.photo import Photo
from singleimage.models.model import Model
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize
from singleimage.tools.channels import as_channels, photo_of, to_work_on, worked_on


def upscale(
    model: Model,
    picture: Photo | None = None,
    *,
    factor: float = 4.0,
    strength: float | None = None,
    consistent: bool = True,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """Enlarge the photo, or one like it, with its own textures (SinGAN, section 4).

    Args:
        model: of the photo; best trained with `for_upscaling` of this factor.
        picture: what to enlarge; None: the training image.
        factor: over 1, up to 16.
        strength: the part of the model's change that is kept, in [0, 1]; 1: as published. None: 0.7
            of a trained model, 1 of a photo.
        consistent: correct the result until it reduces to the picture again; False: as published.
        seeds: one result is made for each.

    Returns:
        One picture a seed, `factor` times the size, rounded down.

    Raises:
        ArgumentError: the factor or the strength is out of range.
        SizeError: the result would be over `PIXEL_LIMIT`.
        UnsupportedEntry: the model takes no images at its finest level.
        ImageError: there is no picture, or its channels do not fit the model.
    """
    top = len(model.generator.ladder.sizes) - 1
    if model.generator.copier is None and top not in model.generator.entry_levels:
        raise UnsupportedEntry(
            f"a {model.recipe.name} model takes no images at its finest level, so it cannot "
            f"enlarge; give the photo itself, or train one with --preset singan "
            f"--for upscale:{factor:g}."
        )
    pixels = to_work_on(model, picture).to(model.generator.device)

    base = worked_on(model, picture)
    masks = base.pixels[None, pixels.shape[1] :].cpu() if model.channels.masks else None

    def enlarged(seed: int) -> Tensor:
        image = app.upscale(
            model.generator, pixels, factor, seed=seed, strength=strength, consistent=consistent
        ).cpu()
        if masks is None or not masks.shape[1]:  # a model that was trained enlarges them itself
            return image
        return torch.cat([image, resize(masks, size_of(image))], 1)

    found = [photo_of(model, enlarged(seed)) for seed in seeds]
    return [_like(base, photo) for photo in found]


def _like(base: Photo, photo: Photo) -> Photo:
    """A photo in the channels, bits and colors of another, and its own masks."""
    channels, own = base.channels.plain, photo.channels
    if own.alpha is not None and channels.alpha is None:
        return photo
    pixels = torch.cat([as_channels(photo, channels), photo.pixels[own.picture :]])
    return Photo(pixels, replace(channels, masks=own.masks), original=base.original)


def require_truth(truth: Photo, size: Size) -> None:
    """Refuse what a result of some `size` cannot be compared with.

    Raises:
        ImageError: the truth is smaller, or much larger; or SSIM's library is not installed.
    """
    if importlib.util.find_spec("skimage") is None:
        raise ImageError('SSIM needs scikit-image; run: pip install "singleimage[metrics]".')
    small = any(side < wanted for side, wanted in zip(truth.size, size, strict=True))
    if small or max(truth.size) > max(size) * 1.05:
        raise ImageError(f"the truth is {truth.size}, the result {size}; crop it to that.")


def compare_upscaled(
    model: Model, factor: float, image: Photo, truth: Photo, *, picture: Photo | None = None
) -> dict[str, float]:
    """PSNR and SSIM of an enlarged picture, and of bicubic enlargement beside it, on 8 bits.

    Args:
        model, factor, picture: what `upscale` was given.
        image: its result.
        truth: the picture as it should be. It may be a few pixels larger than the result; its top
            left corner counts, as the published code crops.

    Returns:
        `psnr_ours` and `psnr_bicubic` in decibels, `ssim_ours` and `ssim_bicubic`, at most 1.

    Raises:
        ImageError: as `require_truth`.
    """
    require_truth(truth, image.size)
    height, width = image.size
    known = truth.colors()[:, :height, :width]
    plain = Photo(app.bicubic(to_work_on(model, picture), factor)[0], model.channels)
    found: dict[str, float] = {}
    for name, other in (("ours", image), ("bicubic", plain)):
        error = float((other.colors() - known).square().mean())
        found[f"psnr_{name}"] = 10 * math.log10(4 / max(error, 1e-12))
        found[f"ssim_{name}"] = _ssim(other.colors(), known)
    return found


def _ssim(a: Tensor, b: Tensor) -> float:
    from skimage.metrics import structural_similarity

    compare: Callable[..., float] = structural_similarity
    return float(compare(a.numpy(), b.numpy(), data_range=2.0, channel_axis=0))
