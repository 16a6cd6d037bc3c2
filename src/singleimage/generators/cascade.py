"""SinGAN's generator: a cascade of independent residual levels in image space.

Shaham, Dekel, Michaeli: SinGAN, ICCV 2019, section 2; details from the published code.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singleimage.errors import RecipeError
from singleimage.generators.base import (
    ALL,
    Generator,
    Injection,
    Intermediate,
    Learner,
    TrainingView,
    check_injection,
    evaluating,
)
from singleimage.generators.palette import in_colors, main_colors
from singleimage.generators.tiles import decode_images
from singleimage.multiscale.geometry import OPEN, Part, Size, Window, Wrap, framed, size_of
from singleimage.multiscale.latent import Latent, Noise, drawn, gaussian, seed_for
from singleimage.multiscale.pyramid import Ladder, Pyramid
from singleimage.multiscale.resample import enlarge, enlarge_source, resize, resize_source
from singleimage.nn.blocks import HeadRoom, Norm, PatchNet, Slope, Width, init_normal
from singleimage.nn.critic import inherit

MOMENTUM = 0.1
"""Weight of a pass in the running statistics of batch norm, PyTorch's default."""


class CascadeSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cascade"
):
    """How a cascade is built and trained."""

    trained: ClassVar[Literal[True]] = True
    learns_several: ClassVar[bool] = False

    width: Width = Width(base=32, double_every=4, limit=128)
    norm: Norm = "batch"
    slope: Slope = 0.2
    """Negative slope of the leaky ReLU."""
    noise_amplitude: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    """Noise of a level over the error of the reconstruction that reaches it (code: noise_amp)."""
    anchor: Literal["redrawn", "fixed"] = "redrawn"
    """z* of level 0. fixed: drawn once, as the paper says; redrawn: at every step of level 0, the
    last one is kept, as the published code does."""
    noise_border: Literal["zero", "drawn", "finer"] = "zero"
    """What noise is beyond the border of a level: zero; drawn too (the code's `animation`); or zero
    at level 0 and drawn above (Meta Internal Learning)."""
    base_noise: Literal["gray", "color"] = "gray"
    """Noise of level 0: one map for all channels (SinGAN's code), or one each."""
    enlarging: Literal["bicubic", "bilinear"] = "bicubic"
    """How a level's image is enlarged for the next: as pyramids are made, or, in Meta Internal
    Learning, linearly from corner to corner."""
    quantize: bool = True
    """Truncate images to 8 bits between levels, as the published code does."""
    palette_level: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """A level that sees what reaches it in the photo's main colors alone, so that it takes flat
    paint for its input (the code's quantized paint-to-image)."""
    palette_colors: Annotated[int, msgspec.Meta(ge=2, le=64)] = 5
    entry_noise: bool = True
    """Noise is added to an image that enters, as in SinGAN; Meta Internal Learning's code adds
    none, there and above."""
    observed_every: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Every so many steps, and at the last, running statistics see the reconstruction once more:
    the published code makes a picture of it for its log, in train mode."""
    head_room: HeadRoom = 0.0
    """How far beyond black and white the image of level 0 may go; finer levels add to it."""

    def build(self, *, channels: int, ladder: Ladder) -> "Cascade":
        return Cascade(self, channels=channels, ladder=ladder)


class Cascade(Learner, TrainingView):
    """Level i turns the enlarged image of level i - 1 and noise into a finer image."""

    together = False
    steady = True

    def __init__(self, spec: CascadeSpec, *, channels: int, ladder: Ladder) -> None:
        super().__init__()
        self.spec = spec
        self.channels = channels
        self.full_ladder = ladder
        self.levels = nn.ModuleList()
        self.register_buffer("amplitudes", torch.ones(len(ladder.sizes)))
        base = channels if spec.base_noise == "color" else 1
        frame = self._frame(0, ladder.sizes[0])
        self.register_buffer("anchor_noise", torch.zeros(1, base, *frame))
        if spec.palette_level is not None:
            self.register_buffer("palette", torch.zeros(spec.palette_colors, channels))
        self.amplitudes: Tensor
        self.anchor_noise: Tensor
        self.palette: Tensor
        self._initial: tuple[Cascade, ...] = ()  # in a tuple it is no part of this module

    @property
    def limit(self) -> float:
        """Largest value of the image of level 0, where tanh has no slope."""
        return 1 + self.spec.head_room

    # Generator

    @property
    def ladder(self) -> Ladder:
        return self.full_ladder.truncated(len(self.levels))

    @property
    def entry_levels(self) -> frozenset[int]:
        return frozenset(range(1, len(self.levels)))

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        maps = []
        for level, size in enumerate(sizes):
            channels = self.anchor_noise.shape[1] if level == 0 else self.channels
            level_seeds = tuple(seed_for(seed, "noise", level) for seed in seeds)
            frame = self._frame(level, size, wrap)
            maps.append(Noise(level_seeds, channels, frame, self.amplitudes))
        return Latent(tuple(maps), tuple(sizes), wrap)

    def anchor(self) -> Latent:
        sizes = self.ladder.sizes
        frames = (self._frame(level, size) for level, size in enumerate(sizes))
        zeros = [self.anchor_noise.new_zeros(1, 1, *frame) for frame in frames]
        return Latent((self.anchor_noise, *zeros[1:]), sizes)

    @torch.inference_mode()
    def decode(self, latent: Latent, entry: Injection | None = None) -> Tensor:
        if entry is not None:
            check_injection(entry, self.entry_levels, latent.sizes)
            if not self.spec.entry_noise:
                latent = latent.silent()

        def run(first: int, image: Tensor | None, windows: Sequence[Window]) -> Tensor:
            return self.image(first, len(self.levels), image, latent, windows=windows)

        with evaluating(self):
            local = self.spec.norm != "image"
            return decode_images(run, partial(self._source, latent), latent, entry, local=local)

    # TrainingView

    def run_frozen(self, latent: Latent) -> Tensor | None:
        top = len(self.levels) - 1
        if top == 0:
            return None
        with torch.no_grad():
            return self.enlarged(self.image(0, top, None, latent), latent, top)

    def run_trained(self, inputs: Sequence[Intermediate], *, observe: bool = True) -> list[Tensor]:
        for part in self.levels[-1].modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = MOMENTUM if observe else 0.0
        top = len(self.levels) - 1
        return [self.refined(top, enlarged, latent) for enlarged, latent in inputs]

    # Learner

    def extend(self, generator: torch.Generator | None) -> None:
        level = len(self.levels)
        width = self.spec.width.at(level)
        net = PatchNet(
            self.channels, width, self.channels, norm=self.spec.norm, slope=self.spec.slope
        )
        net.to(self.amplitudes.device, self.amplitudes.dtype)
        if generator is not None:
            init_normal(net, generator)
            inherit(net, self.levels[-1] if level else None)
        self.levels.requires_grad_(False)
        self.levels.append(net)
        self.train(self.training)

    def grow(self, example: Pyramid, seed: int) -> None:
        level = len(self.levels)
        self.extend(torch.Generator().manual_seed(seed_for(seed, "weights", level)))
        self._calibrate(level, example, seed)
        for source in self._initial:
            self._adopt(level, source)

    def _calibrate(self, level: int, example: Pyramid, seed: int) -> None:
        """Set the noise of a new level, and the palette if it has one."""
        if level == 0:
            self.refresh(seed)
            return
        if level == self.spec.palette_level:
            colors = main_colors(
                example.images[level], len(self.palette), seed_for(seed, "palette")
            )
            self.palette.copy_(colors)
        enlarged = self.run_frozen(self.anchor())
        error = F.mse_loss(torch.as_tensor(enlarged), example.images[level][:1]).sqrt()
        self.amplitudes[level] = self.spec.noise_amplitude * error

    def begin_from(self, source: Generator) -> None:
        if not isinstance(source, Cascade):
            raise RecipeError(
                "a cascade begins from a cascade; use the recipe of the model it is to begin from."
            )
        self._initial = (source,)

    def _adopt(self, level: int, source: "Cascade") -> None:
        """Give a new level the weights and the noise that another cascade has there."""
        self.levels[level].load_state_dict(source.levels[level].state_dict())
        self.amplitudes[level] = source.amplitudes[level]
        self.anchor_noise.copy_(source.anchor_noise)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [{"params": list(self.levels[-1].parameters()), "lr": lr}]

    def refresh(self, seed: int) -> None:
        if len(self.levels) == 1 and (self.spec.anchor == "redrawn" or not self.anchor_noise.any()):
            shape = self.anchor_noise.shape[1:]
            noise = gaussian(shape, seed_for(seed, "anchor"), like=self.anchor_noise)
            self.anchor_noise.copy_(noise)

    def looks_back(self, step: int, steps: int) -> bool:
        every = self.spec.observed_every
        return every is not None and (step % every == 0 or step == steps - 1)

    def bind(self, example: Pyramid, share: slice = ALL) -> TrainingView:
        return self

    def generator_of(self, example: Pyramid) -> "Cascade":
        return self

    def train(self, mode: bool = True) -> "Cascade":
        """Train mode for the newest level only: finished levels keep their running statistics."""
        self.training = mode
        for i, level in enumerate(self.levels):
            level.train(mode and i == len(self.levels) - 1)
        return self

    # One coarse-to-fine loop

    def image(
        self,
        first: int,
        stop: int,
        image: Tensor | None,
        latent: Latent,
        *,
        windows: Sequence[Window] = (),
    ) -> Tensor:
        """Run levels from the image of the level below.

        Args:
            first: the first level to run.
            stop: the level before which to stop.
            image: of level `first - 1`, (B, C, h, w); None where `first` is 0.
            latent: the noise of all levels.
            windows: the part of every level to compute; none: all of it.

        Returns:
            The image (B, C, H, W) of level `stop - 1`, or its window.
        """
        sizes = latent.sizes
        for level in range(first, stop):
            if not windows:
                enlarged = None if image is None else self.enlarged(image, latent, level)
                image = self.refined(level, enlarged, latent)
                continue
            window, enlarged = windows[level], None
            if image is not None:
                inner = _seen(window, latent, level)
                part = Part(inner, windows[level - 1], sizes[level - 1])
                enlarged = self.enlarged(image, latent, level, part)
            image = self.refined(level, enlarged, latent, window)
        assert image is not None
        return image

    def refined(
        self, level: int, enlarged: Tensor | None, latent: Latent, window: Window | None = None
    ) -> Tensor:
        """Compute the image of a level.

        Args:
            level: to compute.
            enlarged: the image of the level below at this size, (B, C, H, W), for `window` and the
                margin around it; None at level 0.
            latent: the noise of all levels.
            window: the part to compute; None: all of it.
        """
        reach, wrap = PatchNet.margin, latent.wrap
        window = window or Window.whole(latent.sizes[level])
        inner, frame = _seen(window, latent, level), window.grown(reach)
        if self._noisy_border(level):
            top, left = (0 if around else reach for around in wrap)  # of the level, in its map
            shown = frame._replace(top=frame.top + top, left=frame.left + left)
            x = drawn(latent.maps[level], shown, scale=self.amplitudes[level])
            x = x.expand(-1, self.channels, -1, -1)
            x = x if enlarged is None else framed(enlarged, inner, frame, wrap) + x
        else:
            x = drawn(latent.maps[level], inner, scale=self.amplitudes[level])
            x = x.expand(-1, self.channels, -1, -1)
            x = framed(x if enlarged is None else enlarged + x, inner, frame, wrap)
        change = torch.tanh(self.levels[level](x))
        if enlarged is None:
            return change * self.limit if self.spec.head_room else change
        return framed(enlarged, inner, window, wrap) + change

    def enlarged(
        self, image: Tensor, latent: Latent, level: int, part: Part | None = None
    ) -> Tensor:
        """Enlarge the image of the level below to the size of `level`.

        Args:
            image: of the level below, (B, C, h, w).
            latent: whose sizes and wrap count.
            level: whose size is wanted.
            part: of the result, and what of `image` is given; None: all.
        """
        size, wrap = latent.sizes[level], latent.wrap
        if self.spec.enlarging == "bilinear":
            image = enlarge(image, size, part=part, wrap=wrap)
        else:
            scale = self._up(latent, part.whole if part else size_of(image), size)
            quantize = self.spec.quantize
            image = resize(image, size, scale=scale, quantize=quantize, part=part, wrap=wrap)
        return in_colors(image, self.palette) if level == self.spec.palette_level else image

    def _source(self, latent: Latent, level: int, window: Window) -> Window:
        """What of the level below must be known for a window of a level."""
        below, size = latent.sizes[level - 1 : level + 1]
        inner, scale = _seen(window, latent, level), self._up(latent, below, size)
        if self.spec.enlarging == "bilinear":
            return enlarge_source(below, size, inner, wrap=latent.wrap)
        return resize_source(below, size, inner, scale=scale, wrap=latent.wrap)

    def _up(self, latent: Latent, below: Size, size: Size) -> float | None:
        """The scale from a level to the next: that of training, where it leads to `size`."""
        up = latent.ratio or 1 / self.full_ladder.ratio
        near = (abs(m - n * up) <= 2 for n, m in zip(below, size, strict=True))
        return up if all(near) else None

    def _noisy_border(self, level: int) -> bool:
        return self.spec.noise_border == "drawn" or (
            self.spec.noise_border == "finer" and level > 0
        )

    def _frame(self, level: int, size: Size, wrap: Wrap = OPEN) -> Size:
        """Size of the noise of a level."""
        border = 2 * PatchNet.margin if self._noisy_border(level) else 0
        height, width = (n if around else n + border for n, around in zip(size, wrap, strict=True))
        return Size(height, width)


def _seen(window: Window, latent: Latent, level: int) -> Window:
    """What a level sees of its input to make `window`."""
    size, wrap = latent.sizes[level], latent.wrap
    return window.grown(PatchNet.margin, size, wrap).folded(size, wrap)
