"""Image pyramids: how many levels, and of which sizes. Level 0 is the coarsest, everywhere.

Each paper has its own law. A law is a frozen value with one method, `plan`, from the size of a
photo to a `Ladder` of sizes; nothing else in the package computes a scale factor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol

import msgspec
import torch
from torch import Tensor

from singleimage.errors import ArgumentError, SizeError
from singleimage.multiscale.geometry import PIXEL_LIMIT, Size, size_of
from singleimage.multiscale.resample import bilinear, resize, scaled, truncate

SMALLEST_LEVEL = 4
"""A level with a side under this many pixels holds no layout; sampling refuses such sizes."""

SMALLEST_PATCHED = 10
"""Where levels are made of patches, these must fit in: narrower levels are made as wide as this."""

Side = Annotated[int, msgspec.Meta(ge=4, le=65536)]


@dataclass(frozen=True)
class Ladder:
    """The sizes of a pyramid, coarsest first, and how one level is enlarged to the next."""

    sizes: tuple[Size, ...]
    scales: tuple[float, ...]
    """Exact scale of each level against the finest, before rounding; the last is 1."""
    reduction: float
    """Scale of the finest level against the photo; 1 for a photo that was not resized."""
    ratio: float
    """r in the papers: the factor to which neighboring levels are related."""
    rounding: Literal["nearest", "down"]
    """How a level's size is rounded when the output has another size than the training image."""
    strides: tuple[int, ...] = ()
    """Frames from one shown to the next at each level of a clip; empty: of photos."""
    span: int = 0
    """Frames of a clip from the first to the last that levels show, at full rate."""
    exact: bool = True
    """Whether levels show the photo at their exact scale, so that what it lacks of a rounded size
    is mirrored; else each shows all of it."""
    floor: int = 0
    """No level of an output has a side under this, pixels, whatever its scale."""

    @property
    def moving(self) -> bool:
        """Whether this is the ladder of a clip."""
        return bool(self.strides)

    def frames(self, level: int) -> int | None:
        """Frames of a level of a clip; None: of a photo."""
        return self.span // self.strides[level] + 1 if self.moving else None

    def shape(self, level: int) -> tuple[int, ...]:
        """(H, W) of a level, or (T, H, W) of a clip's."""
        frames = self.frames(level)
        return (() if frames is None else (frames,)) + self.sizes[level]

    @property
    def finest(self) -> Size:
        """Size of the finest level."""
        return self.sizes[-1]

    def sizes_for(self, finest: Size) -> tuple[Size, ...]:
        """Sizes of all levels when the output is `finest` (retargeting; SinGAN, section 3).

        Raises:
            SizeError: a level would have a side under `SMALLEST_LEVEL` pixels, or the output one
                under `floor`.
        """
        if finest.height * finest.width > PIXEL_LIMIT:
            raise SizeError(
                f"{finest} is too large; ask for up to {PIXEL_LIMIT // 10**6} megapixels."
            )
        if finest == self.finest:
            return self.sizes
        tall = finest.height / self.finest.height
        wide = finest.width / self.finest.width
        lower = [Size(self._round(h * tall), self._round(w * wide)) for h, w in self.sizes[:-1]]
        if min(min(size) for size in (*lower, finest)) < self._least:
            raise SizeError(
                f"{finest} is too small for this model's pyramid; the smallest size it can draw "
                f"is {self.minimum()}. Ask for that or more."
            )
        return (*lower, finest)

    def minimum(self) -> Size:
        """The smallest output whose levels all have the sides that `sizes_for` asks for."""

        def side(lower: list[int], finest: int) -> int:
            sides = range(self._least, finest)
            least = (min(self._round(s * (n / finest)) for s in lower) for n in sides)
            fits = (n for n, side in zip(sides, least, strict=True) if side >= self._least)
            return next(fits, finest)

        heights, widths = zip(*self.sizes, strict=True)
        return Size(side(list(heights), self.finest.height), side(list(widths), self.finest.width))

    def require_level(self, start: int) -> None:
        """Raises `ArgumentError` unless `start` is a level of this ladder."""
        last = len(self.sizes) - 1
        if not 0 <= start <= last:
            raise ArgumentError(
                f"start level {start} is not one of this model's levels; use 0 to {last}."
            )

    def lasting(self, frames: int) -> "Ladder":
        """Return the ladder of clips of `frames` frames at the finest level.

        Raises:
            ArgumentError: this is no ladder of clips, or they are too few.
        """
        if not self.moving:
            raise ArgumentError("a model of a photo draws no clips; train one with --for video.")
        if frames <= max(self.strides):
            raise ArgumentError(
                f"{frames} frames are too few for this model; ask for {max(self.strides) + 1} or "
                f"more."
            )
        return replace(self, span=frames - 1)

    def _round(self, side: float) -> int:
        rounded = round(side) if self.rounding == "nearest" else math.floor(side)
        return max(rounded, self.floor)

    @property
    def _least(self) -> int:
        return max(SMALLEST_LEVEL, self.floor)

    def truncated(self, levels: int) -> "Ladder":
        """Return the ladder of the `levels` coarsest levels."""
        return replace(
            self,
            sizes=self.sizes[:levels],
            scales=self.scales[:levels],
            strides=self.strides[:levels],
        )


class PyramidLaw(Protocol):
    """A law from the size of a photo to the sizes of its pyramid."""

    def plan(self, size: Size) -> Ladder: ...

    def images(self, photo: Tensor, ladder: Ladder) -> tuple[Tensor, ...]:
        """The photo (B, C, H, W) in [-1, 1] at every level of its ladder, coarsest first.

        Of clips (B, C, T, H, W) all frames, see `Pyramid.excerpt`.
        """
        ...


def upscaling_passes(factor: float) -> int:
    """How often the finest level is applied to enlarge by `factor` (SinGAN's code)."""
    return max(round(math.log(factor) / math.log(2 ** (1 / 3))), 1)


def upscaling_ratio(factor: float) -> float:
    """Return the ratio by which each pass enlarges, of all that make up `factor`."""
    return math.pow(factor, 1 / upscaling_passes(factor))


class SinGANPyramid(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="singan"
):
    """As many levels as the ratio asks for (SinGAN, section 2.1 and its published code)."""

    min_size: Side = 25
    """Short side of the coarsest level, pixels."""
    max_size: Side = 250
    """Long side of the finest level, pixels; larger photos are reduced to it, smaller are kept."""
    factor: Annotated[float, msgspec.Meta(gt=0.1, lt=0.98)] = 0.75
    """Nominal ratio of sides between a level and the next; the true one ends at `min_size`."""
    counting: Literal["up", "down"] = "up"
    """How the number of levels is rounded; the published code rounds down for super-resolution."""
    counted_side: Literal["long", "width"] = "long"
    """Against which side over `max_size` the levels that are left out are counted; width: as the
    published code does for super-resolution, which learns more levels of tall photos."""
    quantize: bool = True
    """Truncate to 8 bits before every resize, as the published code does."""

    def plan(self, size: Size) -> Ladder:
        reduction, finest = _finest(size, self.min_size, self.max_size)
        long, short = max(size), min(size)
        whole = math.ceil if self.counting == "up" else int
        up = whole(math.log(self.min_size / short) / math.log(self.factor)) + 1
        counted = long if self.counted_side == "long" else size.width
        over = whole(math.log(min(self.max_size, long) / counted) / math.log(self.factor))
        last = up - over
        if last < 1:
            raise _too_narrow(size, self.min_size, self.max_size)
        ratio = math.pow(self.min_size / min(finest), 1 / last)
        scales = (*(math.pow(ratio, last - i) for i in range(last)), 1.0)
        return Ladder(_sizes(finest, scales), scales, reduction, ratio, "nearest")

    def images(self, photo: Tensor, ladder: Ladder) -> tuple[Tensor, ...]:
        *lower, finest = _reduced(photo, ladder, quantize=self.quantize)
        return (*lower, truncate(finest) if self.quantize else finest)


class ConSinGANPyramid(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="consingan"
):
    """A fixed number of levels, more of them coarse (ConSinGAN, section 3 and its code)."""

    levels: Annotated[int, msgspec.Meta(ge=3, le=32)] = 6
    min_size: Side = 25
    """Short side of the coarsest level, pixels."""
    max_size: Side = 250
    """Long side of the finest level, pixels; larger photos are reduced to it, smaller are kept."""
    rescaling: Literal["new", "old"] = "new"
    """new: the paper's schedule, denser at the coarse end; old: SinGAN's equal ratios."""
    quantize: bool = True
    """Truncate to 8 bits before every resize, as the published code does."""

    def plan(self, size: Size) -> Ladder:
        reduction, finest = _finest(size, self.min_size, self.max_size)
        last = self.levels - 1
        ratio = math.pow(self.min_size / min(finest), 1 / last)
        if self.rescaling == "new":
            powers = [(last - 1) / math.log(last) * math.log(last - i) + 1 for i in range(last)]
        else:
            powers = [float(last - i) for i in range(last)]
        scales = (*(math.pow(ratio, power) for power in powers), 1.0)
        return Ladder(_sizes(finest, scales), scales, reduction, ratio, "down")

    def images(self, photo: Tensor, ladder: Ladder) -> tuple[Tensor, ...]:
        return _reduced(photo, ladder, quantize=self.quantize)


class WidthPyramid(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="width"
):
    """Widths by equal ratios, heights by the photo's aspect (HP-VAE-GAN's code, and that of Meta
    Internal Learning).
    """

    width: Side = 256
    """Width of the finest level, pixels; photos are reduced or enlarged to it."""
    min_width: Side = 32
    """Width of the coarsest level, pixels."""
    factor: Annotated[float, msgspec.Meta(gt=0.1, lt=0.98)] = 0.75
    """Nominal ratio of sides between a level and the next; the true one ends at `min_width`."""
    resampling: Literal["bilinear", "bicubic"] = "bilinear"
    """How the photo is reduced to a level: between the four nearest pixels (HP-VAE-GAN's code), or
    as in SinGAN, each level from the photo (Meta Internal Learning's)."""
    quantize: bool = True
    """Round bilinear levels to 8 bits, as the published code's library does."""
    view: Side | None = None
    """Side of the square in which a hypernetwork sees the photo, of its file's pixels (Meta
    Internal Learning's code); null: the finest level."""
    aspect: Annotated[float, msgspec.Meta(gt=0.05, lt=20)] | None = None
    """Height over width to which photos are stretched (0.75 in Meta Internal Learning's code, for
    folders); null: that of the photo, and of a folder the median, to which others are cropped."""
    strides: tuple[Annotated[int, msgspec.Meta(ge=1, le=64)], ...] = ()
    """Frames from one shown to the next, from coarse to fine levels of clips; empty: photos. All
    levels begin and end with the same frame, their least common multiple apart (HP-VAE-GAN's code
    for clips: 4, 3, 2, 1, so 4 to 13 frames)."""

    def plan(self, size: Size) -> Ladder:
        if self.min_width >= self.width:
            raise SizeError(
                f"the coarsest level is to be {self.min_width} pixels wide and the finest "
                f"{self.width}; set pyramid.width to more than pyramid.min_width."
            )
        last = math.ceil(math.log(self.min_width / self.width) / math.log(self.factor)) + 1
        ratio = math.pow(self.min_width / self.width, 1 / last)
        scales = tuple(math.pow(ratio, last - i) for i in range(last + 1))
        # 256 * r**9 lands above 32 and gives 33, as it does in the published code.
        widths = [math.ceil(scale * self.width) for scale in scales]
        aspect = self.aspect or size.height / size.width
        sizes = tuple(Size(int(width * aspect), width) for width in widths)
        if sizes[0].height < SMALLEST_LEVEL:
            needed = math.ceil(SMALLEST_LEVEL * size.width / size.height)
            raise SizeError(
                f"the image is {size}, too wide: its coarsest level would be {sizes[0]}. Crop it, "
                f"or set pyramid.min_width={needed} or more."
            )
        kinds = len(self.strides)
        strides = [self.strides[i * (kinds - 1) // last] for i in range(last + 1) if kinds]
        span = math.lcm(*self.strides) if kinds else 0
        reduction = self.width / size.width
        return Ladder(sizes, scales, reduction, ratio, "down", tuple(strides), span, exact=False)

    def images(self, photo: Tensor, ladder: Ladder) -> tuple[Tensor, ...]:
        if self.resampling == "bicubic":
            return tuple(resize(photo, size) for size in ladder.sizes)
        return tuple(bilinear(photo, size, quantize=self.quantize) for size in ladder.sizes)


class OctavePyramid(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="octaves"
):
    """Octaves, then finer steps, then octaves again up to the photo as it is (patch flow; ours)."""

    min_size: Side = 24
    """Short side of the coarsest level, pixels; every octave has twice that of the one below."""
    octaves_to: Side = 96
    """Short side up to which levels are octaves, pixels."""
    factor: Annotated[float, msgspec.Meta(gt=0.1, lt=0.98)] = 0.75
    """Nominal ratio of sides between the levels above."""
    fine_from: Side = 256
    """Short side from which levels are about octaves again, pixels."""
    max_size: Side | None = None
    """Long side of the finest level, pixels; larger photos are reduced to it. None: as they are."""

    def plan(self, size: Size) -> Ladder:
        reduction = 1.0 if self.max_size is None else min(self.max_size / max(size), 1.0)
        finest = scaled(size, reduction)
        short = min(finest)
        if short < self.min_size:
            raise _too_narrow(size, self.min_size - 1, self.max_size or max(size))
        octaves = round(math.log2(min(self.octaves_to, short) / self.min_size))
        scales = [min(1.0, self.min_size * 2**i / short) for i in range(octaves + 1)]
        if octaves and short <= self.octaves_to:
            scales[-1] = 1.0  # rather than a step that is hardly one
        for end, ratio in ((min(self.fine_from / short, 1.0), self.factor), (1.0, 0.5)):
            if (last := scales[-1]) < end:
                count = max(1, round(math.log(last / end) / math.log(ratio)))
                scales += [last * (end / last) ** ((i + 1) / count) for i in range(count)]
                scales[-1] = end  # exactly: rounded, it would want another level
        sizes = [Size(round(finest.height * f), round(finest.width * f)) for f in scales]
        return Ladder(
            (*sizes[:-1], finest),
            (*scales[:-1], 1.0),
            reduction,
            self.factor,
            "nearest",
            floor=min(SMALLEST_PATCHED, self.min_size),
        )

    def images(self, photo: Tensor, ladder: Ladder) -> tuple[Tensor, ...]:
        *lower, finest = _reduced(photo, ladder, quantize=False)
        return (*lower, photo if ladder.reduction == 1 else finest)


PyramidSpec = SinGANPyramid | ConSinGANPyramid | WidthPyramid | OctavePyramid


def _finest(size: Size, min_size: int, max_size: int) -> tuple[float, Size]:
    """Scale and size of the finest level; raises `SizeError` where no pyramid fits below it."""
    reduction = min(max_size / max(size), 1.0)
    finest = scaled(size, reduction)
    if min(finest) <= min_size:
        raise _too_narrow(size, min_size, max_size)
    return reduction, finest


def _reduced(photo: Tensor, ladder: Ladder, *, quantize: bool) -> tuple[Tensor, ...]:
    """Every level is made from the finest, not from the level above and not from the original."""
    finest = resize(photo, ladder.finest, scale=ladder.reduction, quantize=quantize)
    lower = (
        resize(finest, size, scale=scale, quantize=quantize)
        for size, scale in zip(ladder.sizes[:-1], ladder.scales[:-1], strict=True)
    )
    return (*lower, finest)


def _sizes(finest: Size, scales: tuple[float, ...]) -> tuple[Size, ...]:
    return tuple(scaled(finest, scale) for scale in scales)


def _too_narrow(size: Size, min_size: int, max_size: int) -> SizeError:
    if min(size) <= min_size:
        return SizeError(
            f"the image is {size}; its short side must be over {min_size} pixels to make a "
            f"pyramid. Use a larger image, or lower pyramid.min_size."
        )
    needed = math.ceil((min_size + 1) * max(size) / min(size))
    return SizeError(
        f"the image is {size}, too narrow: reduced to {max_size} pixels on the long side, its "
        f"short side must stay over {min_size}. Crop it, or set pyramid.max_size={needed} or more."
    )


@dataclass(frozen=True)
class Pyramid:
    """A photo at every level of a ladder: `images[i]` is (B, C, *ladder.shape(i)) in [-1, 1]."""

    images: tuple[Tensor, ...]
    ladder: Ladder
    view: Tensor | None = None
    """The photos as a hypernetwork sees them, (B, C, h, w), where that is no level."""

    @property
    def seen(self) -> Tensor:
        """What a hypernetwork sees of the photos, (B, C, h, w)."""
        return self.images[-1] if self.view is None else self.view

    @classmethod
    def build(cls, image: Tensor, law: PyramidLaw, ladder: Ladder | None = None) -> "Pyramid":
        """The pyramid of images (B, C, H, W) in [-1, 1].

        Args:
            image: the images.
            law: how they are reduced.
            ladder: sizes that they are reduced to, whatever theirs is, by a `WidthPyramid`; None:
                those that the law has for them.

        Raises:
            SizeError: the image is too small or too narrow for the law.
        """
        ladder = ladder or law.plan(size_of(image))
        return cls(law.images(image, ladder), ladder, _viewed(image, law))

    @classmethod
    def stacked(cls, photos: Sequence["Pyramid"]) -> "Pyramid":
        """One pyramid of those of several photos with the same ladder."""
        images = tuple(torch.cat(level) for level in zip(*(p.images for p in photos), strict=True))
        views = [photo.view for photo in photos if photo.view is not None]
        return cls(images, photos[0].ladder, torch.cat(views) if views else None)

    @property
    def bytes(self) -> int:
        """Memory of its images."""
        views = () if self.view is None else (self.view,)
        return sum(x.numel() * x.element_size() for x in (*self.images, *views))

    def repeated(self, times: int) -> "Pyramid":
        """Return the pyramid with each level repeated to a batch of `times`, without copies."""
        images = tuple(image.expand(times, *image.shape[1:]) for image in self.images)
        view = None if self.view is None else self.view.expand(times, *self.view.shape[1:])
        return replace(self, images=images, view=view)

    def excerpt(self, start: int) -> "Pyramid":
        """Return the frames that each level has, from frame `start` of the clip on."""
        stop = start + self.ladder.span + 1
        levels = zip(self.images, self.ladder.strides, strict=True)
        return replace(self, images=tuple(x[:, :, start:stop:stride] for x, stride in levels))


def _viewed(image: Tensor, law: PyramidLaw) -> Tensor | None:
    """What a hypernetwork sees of photos, rounded to 8 bits as the code's library does."""
    side = law.view if isinstance(law, WidthPyramid) else None
    return None if side is None else bilinear(image, Size(side, side), quantize=True)
