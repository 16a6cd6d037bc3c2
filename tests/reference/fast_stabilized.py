"""Plain transcription of Fast-Stabilized as pure functions on tensors.

"Fast Learning a Stabilized Generative Model from a Single Image"; details that the paper leaves
open are those of its published code. What it takes over from ConSinGAN is in `reference.singan`.

Written apart from the package, for reading and to check the package against, not for speed. Images
are (B, C, H, W) in [-1, 1]. Index 0 is the coarsest stage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import singan as paper
from reference.singan import Size

Box = tuple[int, int, int]
"""Top, left and side of a square."""


@dataclass
class Layer:
    """One involution and the 1x1 convolution behind it."""

    squeeze: Tensor
    """(hidden, C, 1, 1), without bias."""
    norm: tuple[Tensor, Tensor]
    """Scale and shift of the instance norm."""
    expand: paper.Conv
    """Channel g * K * K + t is tap t of group g."""
    conv: paper.Conv

    @property
    def tensors(self) -> list[Tensor]:
        return [self.squeeze, *self.norm, *self.expand, *self.conv]


@dataclass
class Generator:
    """The growing generator: ConSinGAN's, with other bodies."""

    head: paper.Conv
    bodies: list[list[Layer]]
    tail: paper.Conv
    dilation: int = 3
    slope: float = 0.05


@dataclass
class Decoder:
    """Two 3x3 convolutions, each with the scale and shift of its group norm, and a 1x1 one."""

    convs: list[tuple[Tensor, Tensor, Tensor, Tensor]]
    last: paper.Conv

    @property
    def tensors(self) -> list[Tensor]:
        return [*(tensor for conv in self.convs for tensor in conv), *self.last]


@dataclass
class Critic:
    """Five convolutions to a map of scores, and the decoders of their features."""

    convs: list[paper.Conv]
    full: Decoder | None
    crop: Decoder | None
    slope: float = 0.05

    @property
    def tensors(self) -> list[Tensor]:
        decoders = [decoder for decoder in (self.full, self.crop) if decoder is not None]
        trunk = [tensor for conv in self.convs for tensor in conv]
        return trunk + [tensor for decoder in decoders for tensor in decoder.tensors]


def involution(x: Tensor, layer: Layer, dilation: int) -> Tensor:
    """(B, C, H, W) -> (B, C, H - 2, W - 2), by an unfolded image.

    Kernels come from a 1x1 convolution, instance norm, ReLU and another 1x1 convolution; of their
    map the outermost pixels are cut off. Beyond the image the value branch sees zeros.
    """
    batch, channels, height, width = x.shape
    hidden = F.conv2d(x, layer.squeeze)
    hidden = F.instance_norm(hidden, weight=layer.norm[0], bias=layer.norm[1], eps=1e-5)
    kernels = F.conv2d(F.relu(hidden), *layer.expand)
    side = next(k for k in (3, 5, 7) if len(layer.expand[1]) % (k * k) == 0)
    groups = len(layer.expand[1]) // side**2
    kernels = kernels.view(batch, groups, 1, side**2, height, width)[..., 1:-1, 1:-1]
    reach = dilation * (side // 2)
    taps = F.unfold(x, side, dilation=dilation, padding=reach - 1)
    taps = taps.view(batch, groups, channels // groups, side**2, height - 2, width - 2)
    return (kernels * taps).sum(3).view(batch, channels, height - 2, width - 2)


def body(x: Tensor, layers: list[Layer], dilation: int, slope: float) -> Tensor:
    """Involution, leaky ReLU, 1x1 convolution, leaky ReLU, as often as there are layers."""
    for layer in layers:
        x = F.leaky_relu(involution(x, layer, dilation), slope)
        x = F.leaky_relu(F.conv2d(x, *layer.conv), slope)
    return x


def generate(
    g: Generator,
    noises: Sequence[Tensor],
    amplitudes: Sequence[float],
    sizes: Sequence[Size],
    *,
    edge: str = "stretch",
) -> Tensor:
    """Image of the newest stage from one input per stage, as ConSinGAN makes it."""
    margin = 2 if edge == "stretch" else 0
    padded = F.pad(noises[0], (1, 1, 1, 1))
    x = F.leaky_relu(F.conv2d(padded, *g.head), g.slope)
    for stage, (layers, (height, width)) in enumerate(zip(g.bodies, sizes, strict=True)):
        if stage == 0:
            x = _bicubic(x, (height + margin, width + margin)) if margin else x
            rest = (6 - margin) // 2
            x = body(F.pad(x, (rest, rest, rest, rest)), layers, g.dilation, g.slope)
            continue
        noise = amplitudes[stage] * noises[stage]
        skip = _bicubic(x, (height, width))
        if edge == "stretch":
            inside = _bicubic(x, (height + 6, width + 6)) + noise
        else:
            inside = F.pad(skip + noise, (3, 3, 3, 3))
        x = skip + body(inside, layers, g.dilation, g.slope)
    return torch.tanh(F.conv2d(F.pad(x, (1, 1, 1, 1)), *g.tail))


def grow(g: Generator) -> Generator:
    """The generator with its newest body copied once more."""

    def copied(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.detach().clone() for tensor in tensors)

    newest = []
    for layer in g.bodies[-1]:
        scale, shift = copied(layer.norm)
        (squeeze,) = copied((layer.squeeze,))
        newest.append(Layer(squeeze, (scale, shift), copied(layer.expand), copied(layer.conv)))
    return Generator(g.head, [*g.bodies, newest], g.tail, g.dilation, g.slope)


def groups(
    g: Generator, *, lr: float, lr_scale: float, train_depth: int
) -> list[tuple[list[Tensor], float]]:
    """Trained parameters and their rates: ConSinGAN's rule."""
    newest = len(g.bodies) - 1
    found = [(list(g.tail), lr)]
    for age in range(min(train_depth, newest + 1)):
        tensors = [tensor for layer in g.bodies[newest - age] for tensor in layer.tensors]
        found.append((tensors, lr * lr_scale**age))
    if newest < train_depth:
        found.append((list(g.head), lr * lr_scale**newest))
    return found


def features(critic: Critic, x: Tensor, layers: int) -> Tensor:
    """What the first convolutions make of an image."""
    for conv in critic.convs[:layers]:
        x = F.leaky_relu(F.conv2d(x, *conv), critic.slope)
    return x


def scores(critic: Critic, x: Tensor) -> Tensor:
    """The critic's map, (B, 1, H - 10, W - 10)."""
    return F.conv2d(features(critic, x, 4), *critic.convs[4])


def decode(decoder: Decoder, x: Tensor, size: Size) -> Tensor:
    """The image of that size which a decoder makes of features."""
    x = _bicubic(x, (size[0] + 4, size[1] + 4))
    for weight, bias, scale, shift in decoder.convs:
        x = F.glu(F.group_norm(F.conv2d(x, weight, bias), 1, scale, shift), dim=1)
    return torch.tanh(F.conv2d(x, *decoder.last))


def decoding_terms(critic: Critic, real: Tensor, box: Box, *, beta: float) -> paper.Terms:
    """Weighted errors of the decoders: of the image, and of the square `box` of it."""
    height, width = real.shape[-2:]
    top, left, side = box
    terms = {}
    if critic.full is not None:
        image = decode(critic.full, features(critic, real, 4), (height, width))
        terms["full"] = beta * (image - real).square().mean()
    if critic.crop is not None:
        stretched = _bicubic(features(critic, real, 3), (height, width))
        rows, columns = slice(top, top + side), slice(left, left + side)
        image = decode(critic.crop, stretched[..., rows, columns], (side, side))
        terms["crop"] = beta * (image - real[..., rows, columns]).square().mean()
    return terms


def iteration(
    g: Generator,
    critic: Critic,
    real: Tensor,
    *,
    noises: Sequence[Tensor],
    reconstruction_noises: Sequence[Tensor],
    amplitudes: Sequence[float],
    sizes: Sequence[Size],
    epsilons: Sequence[float],
    boxes: Sequence[Box],
    state: dict[str, paper.AdamState],
    lr_generator: float = 5e-4,
    lr_critic: float = 5e-4,
    lr_scale: float = 0.1,
    train_depth: int = 3,
    generator_steps: int = 3,
    alpha: float = 10.0,
    beta: float = 5.0,
    edge: str = "stretch",
) -> paper.Losses:
    """One training iteration of the newest stage, in place: ConSinGAN's, and the decoders' errors.

    One critic step per element of `epsilons` and `boxes`; then one gradient of the generator,
    applied by Adam `generator_steps` times. Start a stage with an empty `state`.
    """
    score: Callable[[Tensor], Tensor] = lambda x: scores(critic, x)  # noqa: E731
    critic_params = [tensor.requires_grad_() for tensor in critic.tensors]
    parts = groups(g, lr=lr_generator, lr_scale=lr_scale, train_depth=train_depth)
    generator_params = [tensor.requires_grad_() for tensors, _ in parts for tensor in tensors]
    losses: paper.Losses = {"critic": [], "generator": []}
    for epsilon, box in zip(epsilons, boxes, strict=True):
        fake = generate(g, noises, amplitudes, sizes, edge=edge)
        terms = paper.critic_loss(score, real, fake, epsilon)
        terms |= decoding_terms(critic, real, box, beta=beta)
        gradients = torch.autograd.grad(sum(terms.values()), critic_params)
        paper.adam(critic_params, gradients, state.setdefault("critic", {}), lr=lr_critic)
        losses["critic"].append({name: term.detach() for name, term in terms.items()})
    fake = generate(g, noises, amplitudes, sizes, edge=edge)
    rebuilt = generate(g, reconstruction_noises, amplitudes, sizes, edge=edge)
    terms = paper.generator_loss(score, fake, rebuilt, real, alpha=alpha)
    gradients = torch.autograd.grad(sum(terms.values()), generator_params)
    losses["generator"].append({name: term.detach() for name, term in terms.items()})
    for _ in range(generator_steps):
        rest = list(gradients)
        for index, (tensors, lr) in enumerate(parts):
            mine, rest = rest[: len(tensors)], rest[len(tensors) :]
            paper.adam(tensors, mine, state.setdefault(f"part {index}", {}), lr=lr)
    return losses


def _bicubic(x: Tensor, size: Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bicubic", align_corners=True)
