"""Pictures in, pictures out: harmonize, edit, paint, restyle, fill and extend with a model.

Each prepares a picture and a mask, lets the picture enter the model (`apps.inject`), and lays the
result over the background where the mask says so.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.apps.inject import inject, suggested_level, working_size
from singleimage.apps.masks import SIGMA, binary, blend, difference, soften
from singleimage.apps.upscale import STRENGTH, bicubic, upscale
from singleimage.errors import ImageError, MaskError
from singleimage.feed import ShuffledFeed
from singleimage.image import MODE_CHANNELS, Channels, Photo
from singleimage.model import Model
from singleimage.resample import Size, resize, size_of


@dataclass(frozen=True)
class Task:
    """What differs between the uses of one picture that enters a model."""

    radius: float = 0.0
    """By which the mask grows, pixels of the model's long side at 250 (published codes)."""
    share: float = 0.5
    """Where in the pyramid the picture enters unless a level is given; 0 is the coarsest."""


HARMONIZE = Task(radius=7, share=0.75)
EDIT = Task(radius=20, share=0.6)
PAINT = Task(share=0.15)
RESTYLE = Task(share=0.45)
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R BT.601)."""
GRAIN = 6
"""Pixels of the level that is entered: structure of a sample up to this size fills a part."""
FILL = Task(radius=4, share=0.3)


def harmonize(
    model: Model,
    composite: Photo,
    *,
    background: Photo | None = None,
    mask: Photo | None = None,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """A pasted object in the style of the photo (SinGAN, section 4; ConSinGAN, section 3.3).

    Args:
        composite: the photo with something pasted in; of any size.
        background: what lies under it. Default: the training image if it has the composite's size,
            else the composite.
        mask: white where the object is. Default: the composite's alpha if it has one, else where
            composite and background differ.
        level: at which the composite enters; None: a suggestion.
        seeds: one result each.

    Raises:
        MaskError: no mask is given or can be found, or it marks nothing or everything.
        ImageError: the channels do not fit the model.
        UnsupportedEntry, SizeError: the level or the size do not do.
    """
    return _retouch(model, HARMONIZE, composite, background, mask, level, seeds)


def edit(
    model: Model,
    composite: Photo,
    *,
    background: Photo | None = None,
    mask: Photo | None = None,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """A photo whose parts were moved or copied by hand, made whole; arguments as `harmonize`."""
    return _retouch(model, EDIT, composite, background, mask, level, seeds)


def paint(
    model: Model, picture: Photo, *, level: int | None = None, seeds: Sequence[int] = (0,)
) -> list[Photo]:
    """A clip art or a sketch in the photo's colors and textures (SinGAN, section 4).

    Results have the picture's aspect, their long side is the model's.

    Raises:
        ImageError, UnsupportedEntry, SizeError: as `harmonize`.
    """
    return _render(model, PAINT, picture, level, seeds)


def restyle(
    model: Model, picture: Photo, *, level: int | None = None, seeds: Sequence[int] = (0,)
) -> list[Photo]:
    """Another photo's structure in this photo's style; arguments as `paint`."""
    return _render(model, RESTYLE, picture, level, seeds)


def fill(
    model: Model,
    picture: Photo,
    mask: Photo,
    *,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """The marked part replaced by what the photo has elsewhere (inpainting; ours).

    The part first takes the colors around it and the structure of a sample; then it enters at
    `level` and at every finer entry level, each time laid into the untouched rest.

    Raises:
        MaskError, ImageError, UnsupportedEntry, SizeError: as `harmonize`.
    """
    pixels = _fitted(model, picture)
    part = binary(mask.pixels, picture.size)
    return _filled(model, pixels, part, level, seeds)


def extend(
    model: Model,
    picture: Photo,
    *,
    top: int = 0,
    bottom: int = 0,
    left: int = 0,
    right: int = 0,
    level: int | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Photo]:
    """The picture on a larger canvas, continued in its own texture (outpainting; ours).

    Args:
        top, bottom, left, right: pixels to add on each side, 0 or more.

    Raises:
        ImageError: nothing is to be added, or a side is negative; else as `fill`.
    """
    sides = (top, bottom, left, right)
    if min(sides) < 0 or not any(sides):
        raise ImageError("nothing to add; give one side or more a number of pixels over 0.")
    pixels = _fitted(model, picture)
    height, width = picture.size
    canvas = pixels.new_zeros(1, pixels.shape[1], height + top + bottom, width + left + right)
    part = torch.ones_like(canvas[:, :1])
    canvas[..., top : top + height, left : left + width] = pixels
    part[..., top : top + height, left : left + width] = 0
    return _filled(model, canvas, part, level, seeds)


def enlarge(
    model: Model,
    factor: float,
    *,
    picture: Photo | None = None,
    seed: int = 0,
    strength: float = STRENGTH,
    consistent: bool = True,
) -> Photo:
    """The photo, or one like it, enlarged with its own textures (SinGAN, section 4).

    Args:
        factor: over 1, up to 16; models trained with `for_upscaling` of that factor do best.
        picture: None: the training image.
        strength: the part of the model's change that is kept, in [0, 1]; 1: as published.
        consistent: correct the result until it reduces to the picture again; False: as published.

    Raises:
        SizeError: the factor or the strength is out of range.
        UnsupportedEntry: the model takes no images at its finest level.
        ImageError: there is no picture, or its channels do not fit the model.
    """
    device = next(model.generator.parameters()).device
    pixels = _to_enlarge(model, picture).to(device)
    image = upscale(
        model.generator, pixels, factor, seed=seed, strength=strength, consistent=consistent
    )
    return _photo(model, image.cpu())


def compare_enlarged(
    model: Model, factor: float, image: Photo, truth: Photo, *, picture: Photo | None = None
) -> dict[str, float]:
    """PSNR (decibels) and SSIM of an enlarged picture, and of bicubic enlargement, on 8 bits.

    The truth may be a few pixels larger than the result; its top left corner counts, as the
    published code crops.

    Raises:
        ImageError: the truth is smaller than the result or much larger, or SSIM's library is not
            installed.
    """
    height, width = image.size
    known = truth.colors()[:, :height, :width]
    if size_of(known) != image.size or max(truth.size) > max(image.size) * 1.05:
        raise ImageError(f"the truth is {truth.size}, the result {image.size}; crop it to that.")
    plain = Photo(bicubic(_to_enlarge(model, picture), factor)[0], model.channels)
    found: dict[str, float] = {}
    for name, other in (("ours", image), ("bicubic", plain)):
        error = float((other.colors() - known).square().mean())
        found[f"psnr_{name}"] = 10 * math.log10(4 / max(error, 1e-12))
        found[f"ssim_{name}"] = _ssim(other.colors(), known)
    return found


def _to_enlarge(model: Model, picture: Photo | None) -> Tensor:
    """(1, C, H, W): the picture, or the training image with its masks."""
    if picture is not None:
        return _fitted(model, picture)
    if model.image is None:
        raise ImageError("the model does not hold its photo; give the picture to enlarge.")
    return model.image[None]


def _ssim(a: Tensor, b: Tensor) -> float:
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        raise ImageError(
            "SSIM needs scikit-image; run: pip install 'singleimage[metrics]'."
        ) from None
    compare: Callable[..., float] = structural_similarity
    return float(compare(a.numpy(), b.numpy(), data_range=2.0, channel_axis=0))


# Shared steps ------------------------------------------------------------------------------------


def _retouch(
    model: Model,
    task: Task,
    composite: Photo,
    background: Photo | None,
    mask: Photo | None,
    level: int | None,
    seeds: Sequence[int],
) -> list[Photo]:
    under = background or model.training_image()
    if under is not None and under.size != composite.size:
        if background is not None:
            raise ImageError(
                f"the background is {background.size}, the composite {composite.size}; "
                f"crop or resize one to the other."
            )
        under = None
    part, flat = _mask_and_colors(composite, under, mask)
    pixels = _fitted(model, flat)
    base = pixels if under is None else _fitted(model, under)
    scale = max(composite.size) / max(model.size)
    soft = soften(part, task.radius * scale, SIGMA * scale)
    fine = _fine_detail(model, pixels, part, scale)
    new = _rendered(model, task, pixels, level, seeds) + fine
    return [_photo(model, blend(base, image[None], soft)) for image in new]


def _mask_and_colors(
    composite: Photo, under: Photo | None, mask: Photo | None
) -> tuple[Tensor, Photo]:
    """The mask of what was pasted, and the composite without alpha."""
    mode = composite.channels.mode
    pasted = mode in ("LA", "RGBA") and (under is None or under.channels.mode != mode)
    flat = _flat(composite, under) if pasted else composite
    if mask is not None:
        return binary(mask.pixels, composite.size), flat
    if pasted:
        return binary(_split(composite)[1], composite.size, "the alpha of the composite"), flat
    if under is None:
        raise MaskError(
            "no mask, and none can be found: the training image has another size than the "
            "composite; give --mask, or the --background that something was pasted on."
        )
    base = _as_channels(under.pixels, len(composite.pixels), under)
    return difference(composite.pixels[None], base[None]), flat


def _split(picture: Photo) -> tuple[Tensor, Tensor]:
    """Colors and alpha of a picture that has alpha."""
    count = MODE_CHANNELS[picture.channels.mode]
    return picture.pixels[: count - 1], picture.pixels[count - 1 : count]


def _flat(picture: Photo, under: Photo | None) -> Photo:
    """The colors of a picture with alpha, laid over `under` of the same size if there is one."""
    colors, alpha = _split(picture)
    if under is not None:
        base = _as_channels(under.pixels, len(colors), under)
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
        picture = _flat(picture, under)
    count = MODE_CHANNELS[under.channels.mode]
    pixels = _as_channels(picture.pixels, count, picture)
    return Photo(pixels, Channels(mode=under.channels.mode), picture.sha256)


def _render(
    model: Model, task: Task, picture: Photo, level: int | None, seeds: Sequence[int]
) -> list[Photo]:
    pixels = _fitted(model, picture)
    small = resize(pixels, working_size(model.generator, picture.size))
    return [_photo(model, image[None]) for image in _rendered(model, task, small, level, seeds)]


def _rendered(
    model: Model, task: Task, pixels: Tensor, level: int | None, seeds: Sequence[int]
) -> Tensor:
    """What the model makes of a picture (1, C, H, W), at its size."""
    size = size_of(pixels)
    inner = working_size(model.generator, size)
    small = resize(pixels, inner)
    if level is None:
        level = suggested_level(model.generator, task.share)
    feed = model.recipe.feed
    noise = feed.noise if isinstance(feed, ShuffledFeed) else 0.0
    device = next(model.generator.parameters()).device
    new = inject(model.generator, small.to(device), level=level, seeds=seeds, noise=noise)
    return resize(new.float().cpu(), size)


def _filled(
    model: Model, pixels: Tensor, part: Tensor, level: int | None, seeds: Sequence[int]
) -> list[Photo]:
    size = size_of(pixels)
    scale = max(size) / max(model.size)
    soft = soften(part, FILL.radius * scale, 2.0 * scale)
    if level is None:
        level = suggested_level(model.generator, FILL.share)
    fine = _fine_detail(model, pixels, part, scale)
    results = []
    for seed in seeds:
        current = _begun(model, pixels, part, level, seed)
        for step in sorted(n for n in model.generator.entry_levels if n >= level):
            new = _rendered(model, FILL, current, step, [seed]) + fine
            current = blend(pixels, new, torch.maximum(soft, part))
        results.append(_photo(model, current))
    return results


def _fine_detail(model: Model, pixels: Tensor, part: Tensor, scale: float) -> Tensor:
    """What the model is too small to see of a picture: it stays, but for a part and its seams."""
    if scale <= 1:
        return torch.zeros_like(pixels)
    size = size_of(pixels)
    seen = resize(resize(pixels, working_size(model.generator, size)), size)
    return (1 - soften(part, 3 * scale, scale)) * (pixels - seen)


def _begun(model: Model, pixels: Tensor, part: Tensor, level: int, seed: int) -> Tensor:
    """The marked part filled with the colors around it and the structure of a sample."""
    size = size_of(pixels)
    generator = model.generator
    inner = working_size(generator, size)
    sizes = generator.ladder.sizes_for(inner)
    texture = generator.decode(generator.draw(sizes, [seed])).float().cpu()
    entering = sizes[max(level - 1, 0)]
    coarse = Size(max(entering.height // GRAIN, 1), max(entering.width // GRAIN, 1))
    fine = resize((texture - resize(resize(texture, coarse), inner)) / 2, size) * 2
    filled = _smooth(pixels, part)
    return torch.where(part > 0, (filled + fine).clamp(-1, 1), pixels)


def _smooth(pixels: Tensor, part: Tensor) -> Tensor:
    """The marked part filled from around it: means of what is known, at ever coarser sizes."""
    known = 1 - part
    size = size_of(pixels)
    if min(size) <= 2 or bool(known.all()):
        return pixels
    half = Size((size.height + 1) // 2, (size.width + 1) // 2)
    weight = F.adaptive_avg_pool2d(known, half)
    mean = F.adaptive_avg_pool2d(pixels * known, half)
    coarse = mean / weight.clamp(min=1e-6)
    below = _smooth(torch.where(weight > 0, coarse, 0.0), (weight == 0).float())
    return torch.where(part > 0, resize(below, size), pixels)


def _fitted(model: Model, picture: Photo) -> Tensor:
    """The picture (1, C, H, W) with the channels that the model has."""
    wanted = model.channels
    if wanted.masks:
        raise ImageError(
            "the model learned masks with its photo, which other pictures do not have; "
            "train one without --mask."
        )
    return _as_channels(picture.pixels, MODE_CHANNELS[wanted.mode], picture)[None]


def _as_channels(pixels: Tensor, count: int, picture: Photo) -> Tensor:
    """(C, H, W) with `count` channels: gray is repeated, color made gray, full alpha added."""
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


def _photo(model: Model, image: Tensor) -> Photo:
    return Photo(image[0].clamp(-1, 1), model.channels)
