"""HP-VAE-GAN's generator: a variational autoencoder of patches, refined level by level.

Gur, Benaim, Wolf: Hierarchical Patch VAE-GAN, NeurIPS 2020, section 3; details from the published
code. Of photos, or of clips: then all images here are (B, C, T, H, W), and every layer looks along
time too.
"""

from collections.abc import Sequence
from copy import copy, deepcopy
from functools import cached_property, partial
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from singleimage.generators.base import (
    ALL,
    Encoded,
    Injection,
    Intermediate,
    Learner,
    TrainingView,
    check_injection,
    evaluating,
)
from singleimage.generators.tiles import decode_images
from singleimage.multiscale.geometry import OPEN, Part, Size, Window, Wrap, framed, size_of
from singleimage.multiscale.latent import Latent, Noise, drawn, seed_for
from singleimage.multiscale.pyramid import Ladder, Pyramid
from singleimage.multiscale.resample import enlarge, enlarge_source, retimed
from singleimage.nn.blocks import Axes, Channels, Conv, Slope
from singleimage.nn.spectral import SpectralStack, init_uniform

MOMENTUM = 0.1
"""Weight of a pass in the running statistics of batch norm, PyTorch's default."""
Rounds = Annotated[int, msgspec.Meta(ge=1, le=32)]


class PatchVAESpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="patch-vae"
):
    """How a patch VAE is built and trained."""

    trained: ClassVar[Literal[True]] = True
    learns_several: ClassVar[bool] = False

    width: Channels = 64
    """Features of encoder, decoder and blocks."""
    latent: Channels = 128
    """Channels of the map of level 0."""
    encoder_depth: Rounds = 3
    """Convolutions of the encoder before those of mean and variance."""
    depth: Rounds = 6
    """Convolutions with norm of the decoder and of every block; a plain one follows."""
    slope: Slope = 0.2
    """Negative slope of the leaky ReLU."""
    vae_levels: Annotated[int, msgspec.Meta(ge=1)] = 3
    """How many levels, from the coarsest on, the autoencoder learns with the newest block; above,
    what these levels make is frozen. The objectives change there too, see `Recipe.phases`."""
    lr_scale: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.2
    """Learning rate of encoder and decoder at a level over that at the level below."""
    noise_from: Annotated[int, msgspec.Meta(ge=1)] = 1
    """The first level, of those above the coarsest, that adds noise; in the published code for
    clips the first one with a critic."""
    noise_amplitude: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    """Noise of a level over the error of its reconstruction before training."""
    amplitude_over_batch: bool = True
    """Divide the noise by the number of images in a batch, as the published code does: it takes
    the mean error of a batch for a sum."""
    decode_norm: Literal["image", "running"] = "image"
    """Statistics of batch norm outside of training. image: those of each image alone, as the
    published evaluation, which leaves the networks in training mode; large images are then decoded
    in one piece. running: averages over the training, so that they are decoded in tiles."""
    detach_finished: bool = False
    """Whether blocks that no longer learn get no gradients. The published code computes them, so
    that they count when gradients are clipped; without them, steps are faster."""

    def build(self, *, channels: int, ladder: Ladder) -> "PatchVAE":
        return PatchVAE(self, channels=channels, ladder=ladder)


class ExampleNorm(nn.Module):
    """Batch norm without memory: statistics of the batch in training, else of each image alone."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` (B, C, H, W), or clips (B, C, T, H, W); shape and type stay."""
        if torch.compiler.is_compiling():  # recorded for another program, for any batch
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        groups = [x] if self.training else torch.split(x, 1)
        found = [
            F.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps)
            for part in groups
        ]
        return found[0] if len(found) == 1 else torch.cat(found)


class PaddedNet(nn.Module):
    """Convolutions with norm and leaky ReLU, then a plain one; sizes stay.

    Every layer sees zeros around its input, or where an axis wraps, the opposite edge.
    """

    def __init__(self, c_in: int, c_out: int, spec: PatchVAESpec, axes: Axes) -> None:
        super().__init__()
        pairs = pairwise((c_in, *[spec.width] * spec.depth))
        remembering = nn.BatchNorm3d if axes == 3 else nn.BatchNorm2d
        norm = remembering if spec.decode_norm == "running" else ExampleNorm
        self.convs = nn.ModuleList(Conv(a, b, padding=1, axes=axes) for a, b in pairs)
        self.norms = nn.ModuleList(norm(spec.width) for _ in self.convs)
        self.last = Conv(spec.width, c_out, padding=1, axes=axes)
        self.slope = spec.slope

    def forward(self, x: Tensor, wrap: Wrap = OPEN) -> Tensor:
        """Map `x` (B, C, H, W) to (B, C', H, W), or clips (B, C, T, H, W) likewise.

        Args:
            x: features; the result is in the type the convolutions compute in.
            wrap: whether rows, and columns, continue at the opposite edge.
        """
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu_(norm(_around(conv, x, wrap)), self.slope)
        return _around(self.last, x, wrap)


class Encoder(nn.Module):
    """From an image to mean and logarithm of the variance of every value of a map of its size."""

    def __init__(self, channels: int, spec: PatchVAESpec, axes: Axes) -> None:
        super().__init__()
        widths = (channels, *[spec.width] * spec.encoder_depth)
        self.trunk = SpectralStack(widths, slope=spec.slope, axes=axes)
        self.mean = Conv(spec.width, spec.latent, padding=1, axes=axes)
        self.log_variance = Conv(spec.width, spec.latent, padding=1, axes=axes)

    def forward(self, image: Tensor) -> Encoded:
        """Encode `image` (B, C, H, W) in [-1, 1], or clips; the two maps have its size and type."""
        features = self.trunk(image)
        mean, log_variance = self.mean(features), self.log_variance(features)
        return Encoded(image, mean.to(image.dtype), log_variance.to(image.dtype))


class PatchVAE(Learner, TrainingView):
    """A decoder makes the coarsest image of a map of noise; each block adds detail, in images.

    Level k > 0 makes `tanh(block(u + noise) + u)` of the enlarged image u of the level below.
    """

    together = False
    steady = False

    def __init__(self, spec: PatchVAESpec, *, channels: int, ladder: Ladder) -> None:
        super().__init__()
        self.spec = spec
        self.channels = channels
        self.full_ladder = ladder
        self.axes: Axes = 3 if ladder.moving else 2
        self.encoder = Encoder(channels, spec, self.axes)
        self.levels = nn.ModuleList()  # the decoder, then the blocks
        self.register_buffer("amplitudes", torch.ones(len(ladder.sizes)))
        self.register_buffer("anchor_image", torch.zeros(1, channels, *ladder.shape(0)))
        self.amplitudes: Tensor
        self.anchor_image: Tensor
        """The photo at level 0."""
        self._seed = 0

    # Generator

    @property
    def ladder(self) -> Ladder:
        return self.full_ladder.truncated(len(self.levels))

    @property
    def entry_levels(self) -> frozenset[int]:
        return frozenset() if self.ladder.moving else frozenset(range(1, len(self.levels)))

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        maps = []
        for level, size in enumerate(sizes):
            channels = self.spec.latent if level == 0 else self.channels
            level_seeds = tuple(seed_for(seed, "noise", level) for seed in seeds)
            frames = self.full_ladder.frames(level)
            maps.append(Noise(level_seeds, channels, size, self.amplitudes, frames))
        return Latent(tuple(maps), tuple(sizes), wrap)

    @torch.no_grad()
    def anchor(self) -> Latent:
        """The mean of what the encoder makes of the photo, and no noise above."""
        with evaluating(self):
            return self.silent(self.encoder(self.anchor_image).mean)

    @torch.inference_mode()
    def decode(self, latent: Latent, entry: Injection | None = None) -> Tensor:
        if entry is not None:
            check_injection(entry, self.entry_levels, latent.sizes)

        def run(first: int, image: Tensor | None, windows: Sequence[Window]) -> Tensor:
            return self._run(first, len(self.levels), image, latent, windows=windows)

        with evaluating(self):
            local = self.spec.decode_norm == "running"
            return decode_images(run, partial(self._source, latent), latent, entry, local=local)

    def lasting(self, frames: int) -> "PatchVAE":
        """Return the same networks for clips of `frames` frames; raises as `Ladder.lasting`."""
        other = copy(self)
        other.full_ladder = self.full_ladder.lasting(frames)
        return other

    # TrainingView

    def run_frozen(self, latent: Latent) -> Tensor | None:
        moving = self._first_moving()
        with self.encoding():
            return self._run(0, moving, None, latent)

    def run_trained(self, inputs: Sequence[Intermediate], *, observe: bool = True) -> list[Tensor]:
        first = self._first_moving()
        norms = [part for part in self.levels.modules() if isinstance(part, _BatchNorm)]
        for norm in norms:
            norm.momentum = MOMENTUM if observe else 0.0
        images = [self._run(first, len(self.levels), frozen, latent) for frozen, latent in inputs]
        for norm in norms:  # those of the frozen levels see each pass
            norm.momentum = MOMENTUM
        return images

    # Learner

    def extend(self, generator: torch.Generator | None) -> None:
        level = len(self.levels)
        if level > 1:
            net: nn.Module = deepcopy(self.levels[-1])
        else:
            c_in = self.spec.latent if level == 0 else self.channels
            net = PaddedNet(c_in, self.channels, self.spec, self.axes)
            if generator is not None:
                init_uniform(net, generator)
                if level == 0:
                    init_uniform(self.encoder, generator)
        self.levels.append(net.to(self.amplitudes.device, self.amplitudes.dtype))
        self.train(self.training)
        self.requires_grad_(False)
        for part, _ in self._learners():
            part.requires_grad_(True)

    def grow(self, example: Pyramid, seed: int) -> None:
        level = len(self.levels)
        self.extend(torch.Generator().manual_seed(seed_for(seed, "weights", level)))
        if level == 0:
            self.anchor_image.copy_(example.images[0][:1])
            return
        training = self.training
        self.refresh(seed)
        with torch.no_grad():
            trainee = self.train().bind(example)
            latent = trainee.anchor()
            (image,) = trainee.run_trained([(trainee.run_frozen(latent), latent)])
        self.train(training)
        photo = example.images[level]
        share = len(photo) if self.spec.amplitude_over_batch else 1
        error = F.mse_loss(image, photo).sqrt()
        self.amplitudes[level] = self.spec.noise_amplitude * error / share

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the groups of parameters for an optimizer of rate `lr`.

        Groups of rate 0 stand still; their gradients count when gradients are clipped.
        """
        return [
            {"params": list(part.parameters()), "lr": lr * share}
            for part, share in self._learners()
        ]

    def refresh(self, seed: int) -> None:
        """What `bind` gives next draws its sample of the photo's map from this seed."""
        self._seed = seed_for(seed, "posterior")

    def bind(self, example: Pyramid, share: slice = ALL) -> TrainingView:
        return EncodedView(self, example.images[0], self._seed)

    def generator_of(self, example: Pyramid) -> "PatchVAE":
        return self

    def _learners(self) -> list[tuple[nn.Module, float]]:
        """What gets gradients at the newest level, and its share of the learning rate."""
        top, spec = len(self.levels) - 1, self.spec
        found: list[tuple[nn.Module, float]] = []
        if self._learns_to_encode:
            found = [(part, spec.lr_scale**top) for part in (self.encoder, self.levels[0])]
        first = top if spec.detach_finished else self._first_moving()
        blocks = enumerate(self.levels)
        return found + [(x, float(i == top)) for i, x in blocks if i >= max(first, 1)]

    def encoding(self) -> torch.set_grad_enabled:
        """The context of encoder and decoder: without a graph once they are frozen."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and self._learns_to_encode)

    @property
    def _learns_to_encode(self) -> bool:
        return len(self.levels) <= self.spec.vae_levels

    def _first_moving(self) -> int:
        """The first level above what `run_frozen` computes."""
        if self._learns_to_encode:
            return 1
        return len(self.levels) - 1 if self.spec.detach_finished else self.spec.vae_levels

    # One coarse-to-fine loop

    def silent(self, coarsest: Tensor) -> Latent:
        """Return the latent with the map `coarsest` at level 0 and no noise above it."""
        ladder, batch = self.ladder, (len(coarsest), self.channels)
        above = range(1, len(ladder.sizes))
        silence = (coarsest.new_zeros(1).expand(*batch, *ladder.shape(level)) for level in above)
        return Latent((coarsest, *silence), ladder.sizes)

    def _run(
        self,
        first: int,
        stop: int,
        image: Tensor | None,
        latent: Latent,
        *,
        windows: Sequence[Window] = (),
    ) -> Tensor:
        """Levels `first` to `stop - 1`, from the image of the level below.

        `windows`: the part of every level to compute; none: all of it.
        """
        windows = windows or [Window.whole(size) for size in latent.sizes]
        for level in range(first, stop):
            below = None if level == 0 else windows[level - 1]
            image = self._level(level, image, below, latent, windows[level])
        assert image is not None
        return image

    def _level(
        self, level: int, image: Tensor | None, below: Window | None, latent: Latent, window: Window
    ) -> Tensor:
        """`window` of a level, from the window `below` of the image of the level below."""
        net, sizes, wrap = self.levels[level], latent.sizes, latent.wrap
        size, noise = sizes[level], latent.maps[level]
        seen = self._seen(window, latent, level)
        if image is None or below is None:
            x, base = drawn(noise, seen), None
        else:
            base = enlarge(image, size, part=Part(seen, below, sizes[level - 1]), wrap=wrap)
            if (frames := self.full_ladder.frames(level)) is not None:
                base = retimed(base, frames)
            x = base
            if level >= self.spec.noise_from:
                x = base + drawn(noise, seen, scale=self.amplitudes[level])
        # Where not all of an axis is seen, the zeros around reach `window` nowhere.
        rows, columns = (
            around and len(side) == length
            for side, length, around in zip((seen.rows, seen.columns), size, wrap, strict=True)
        )
        y = net(x, (rows, columns)).to(x.dtype)
        y = torch.tanh(y if base is None else y + base)
        return framed(y, seen, window, wrap)

    def _seen(self, window: Window, latent: Latent, level: int) -> Window:
        """What a level sees of its input to make `window`."""
        size, wrap = latent.sizes[level], latent.wrap
        return window.grown(self.spec.depth + 1, size, wrap).folded(size, wrap)

    def _source(self, latent: Latent, level: int, window: Window) -> Window:
        """What of the level below must be known for a window of a level."""
        below, size = latent.sizes[level - 1 : level + 1]
        return enlarge_source(below, size, self._seen(window, latent, level), wrap=latent.wrap)


class EncodedView(TrainingView):
    """A patch VAE in one step of training: its anchor is a sample of what the encoder finds."""

    together = False
    steady = False

    def __init__(self, vae: PatchVAE, photo: Tensor, seed: int) -> None:
        """`photo`: at level 0, (B, C, H, W): each of the batch gets a sample of its own."""
        self.vae = vae
        self._photo = photo
        self._seed = seed

    @cached_property
    def encoded(self) -> Encoded:
        with self.vae.encoding():
            found: Encoded = self.vae.encoder(self._photo)
        return found

    @cached_property
    def _anchor(self) -> Latent:
        like = self.encoded.mean
        seeds = tuple(seed_for(self._seed, i) for i in range(len(like)))
        frames = like.shape[2] if like.dim() == 5 else None
        noise = Noise(seeds, like.shape[1], size_of(like), like, frames).drawn()
        return self.vae.silent(self.encoded.sampled(noise))

    def anchor(self) -> Latent:
        return self._anchor

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        return self.vae.draw(sizes, seeds, wrap)

    def run_frozen(self, latent: Latent) -> Tensor | None:
        return self.vae.run_frozen(latent)

    def run_trained(self, inputs: Sequence[Intermediate], *, observe: bool = True) -> list[Tensor]:
        return self.vae.run_trained(inputs, observe=observe)


def _around(conv: nn.Module, x: Tensor, wrap: Wrap) -> Tensor:
    """A padded convolution of x (..., H, W), whose axes may wrap."""
    if wrap == OPEN:
        result: Tensor = conv(x)
        return result
    whole = Window.whole(size_of(x))
    rows, columns = wrap
    wide = Window(-rows, -columns, whole.height + 2 * rows, whole.width + 2 * columns)
    return framed(conv(framed(x, whole, wide, wrap)), wide, whole)
