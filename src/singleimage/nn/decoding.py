"""A critic that must also be able to redraw the photo from its features.

From "Fast Learning a Stabilized Generative Model from a Single Image"; details from its published
code. Decoders see the real image only, and only while the critic learns.
"""

from typing import Any, Literal, Self

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from singleimage.machine.device import channels_last
from singleimage.multiscale.geometry import Part, Size, Window, size_of
from singleimage.multiscale.resample import stretch, stretch_source
from singleimage.nn.blocks import Conv, PatchNet
from singleimage.nn.convolution import Shown
from singleimage.nn.critic import Critic, CriticOutputs

CROP_TAP, FULL_TAP = 3, 4
"""After how many layers of the critic each decoder takes its features."""


class DecodersSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which decoders a critic has."""

    full: bool = False
    """Redraws the image from the features behind the last hidden layer."""
    crop: bool = False
    """Redraws a part of it, at a random place, from the features of the layer before."""
    window: Literal["square", "half"] = "square"
    """That part: a square, half as long as the short side (the code), or half the height and half
    the width (the paper)."""
    error: Literal["mse", "norm"] = "mse"
    """How far a decoder is off: the mean of squares (the code), or the norm of all differences (the
    paper, which writes no square)."""


class Decoder(nn.Module):
    """Features (B, F, h, w) to images (B, C, *size) in [-1, 1].

    Stretched by four pixels more than the image has, then twice a 3x3 convolution, group norm with
    one group and gated linear unit, which halves the channels; a 1x1 convolution and tanh.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        half, quarter = max(width // 2, 1), max(width // 4, 1)
        self.convs = nn.ModuleList([Conv(width, 2 * half), Conv(half, 2 * quarter)])
        self.norms = nn.ModuleList([nn.GroupNorm(1, 2 * half), nn.GroupNorm(1, 2 * quarter)])
        self.last = Conv(quarter, channels, kernel=1)

    def forward(self, features: Tensor, size: Size) -> Tensor:
        """Draw images of `features` (B, F, h, w): (B, C, size.height, size.width) in [-1, 1]."""
        x = stretch(features, Size(size.height + 4, size.width + 4))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = gate(_normalized(conv(x), norm))
        image: Tensor = self.last(x).to(self.last.weight.dtype)
        return image.tanh()


def _normalized(x: Tensor, norm: nn.Module) -> Tensor:
    """A group norm of `x`, in its type; only processors take it beside weights in float32."""
    assert isinstance(norm, nn.GroupNorm)
    known = x if x.device.type == "cpu" else x.to(norm.weight.dtype)
    y: Tensor = norm(known)
    return y.to(x.dtype)


def gate(x: Tensor) -> Tensor:
    """Multiply half of the channels by the sigmoid of the other half, differentiable once.

    It is PyTorch's gated linear unit, whose own gradient of images in channels-last order takes ten
    times as long and comes in another order.

    Args:
        x: (B, 2 C, H, W).

    Returns:
        (B, C, H, W).
    """
    gated: Tensor = _Gate.apply(x)
    return gated


class _Gate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        passing, by = x.chunk(2, 1)
        return passing * by.sigmoid()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        passing, by = x.chunk(2, 1)
        share = by.sigmoid()
        of_passing = channels_last(g) * share
        of_by = of_passing * (1 - share) * passing
        return torch.cat([of_passing, of_by], 1)


class DecodingCritic(Critic):
    """A patch critic with decoders of its features."""

    def __init__(self, net: PatchNet, decoders: DecodersSpec, *, width: int, channels: int) -> None:
        """`width`, `channels`: of the features and of the images that `net` takes."""
        super().__init__()
        self.net = net
        self.spec = decoders
        self.full = Decoder(width, channels) if decoders.full else None
        self.crop = Decoder(width, channels) if decoders.crop else None

    def forward(self, images: Tensor) -> Tensor:
        """Score every patch of `images` (B, C, H, W): (B, 1, H - 10, W - 10), unbounded."""
        scores: Tensor = self.net(images)
        return scores

    def mean_scores(self, images: Tensor) -> Tensor:
        """Score `images` as `PatchNet.mean_scores` does."""
        return self.net.mean_scores(images)

    def bind(self, photos: Tensor, share: slice) -> Self:
        return self

    def judge(self, real: Tensor, fake: Tensor, between: Tensor, seed: int) -> CriticOutputs:
        """See `Scorer`; the errors are `decoded` and `decoded_crop`, of the decoders there are.

        Args:
            real, fake, between: images (B, C, H, W) in [-1, 1]; decoders see the first alone.
            seed: decides which square the crop decoder redraws.
        """
        decoders = ((CROP_TAP, self.crop), (FULL_TAP, self.full))
        taps = tuple(tap for tap, decoder in decoders if decoder is not None)
        shown = Shown(len(real), taps)
        scores, gradient, found = self.net.examine(torch.cat([real, fake]), between, shown)
        features = dict(zip(taps, found, strict=True))
        errors: dict[str, Tensor] = {}
        if self.full is not None:
            redrawn = self.full(features[FULL_TAP], size_of(real))
            errors["decoded"] = self._off(redrawn, real)
        if self.crop is not None:
            box = random_window(size_of(real), seed, square=self.spec.window == "square")
            near = in_box(features[CROP_TAP], size_of(real), box)
            redrawn = self.crop(near, Size(box.height, box.width))
            errors["decoded_crop"] = self._off(redrawn, box.cut(real))
        return CriticOutputs(scores[: len(real)], scores[len(real) :], gradient, errors)

    def _off(self, redrawn: Tensor, real: Tensor) -> Tensor:
        if self.spec.error == "mse":
            return F.mse_loss(redrawn, real)
        distance: Tensor = torch.linalg.vector_norm(redrawn - real)
        return distance


def in_box(features: Tensor, size: Size, box: Window) -> Tensor:
    """The window `box` of features stretched to `size`, without the rest of them."""
    here = size_of(features)
    source = stretch_source(here, size, box)
    return stretch(source.cut(features), size, part=Part(box, source, here))


def random_window(size: Size, seed: int, *, square: bool = True) -> Window:
    """Choose a square with half the short side of an image, or a part with half of both sides.

    It never touches the last row or column: the upper end of the published code's range is left
    out.

    Args:
        size: of the image, pixels.
        seed: decides where it is.
        square: the first of the two.
    """
    sides = (min(size) // 2,) * 2 if square else (size.height // 2, size.width // 2)
    dice = torch.Generator().manual_seed(seed)
    pairs = zip(size, sides, strict=True)
    top, left = (int(torch.randint(n - side, (), generator=dice)) for n, side in pairs)
    return Window(top, left, *sides)
