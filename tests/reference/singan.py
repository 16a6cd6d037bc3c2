"""Plain transcription of SinGAN and ConSinGAN as pure functions on tensors.

Shaham, Dekel, Michaeli: SinGAN, ICCV 2019. Hinz, Fisher, Wang, Wermter: Improved Techniques for
Training Single-Image GANs (ConSinGAN), WACV 2021. Section numbers are theirs; details that the
papers leave open are those of their published code.

Written apart from the package, for reading and to check the package against, not for speed:
nothing is cached, fused or reused, and every random draw is an argument. Arithmetic follows the
dtype of the tensors given; compare numbers in float64.

Images are (B, C, H, W) in [-1, 1]. Index 0 is the coarsest scale or stage.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Conv = tuple[Tensor, ...]
"""Weight and bias; with a norm behind it, also that norm's scale and shift."""
Size = tuple[int, int]
Critic = Callable[[Tensor], Tensor]
AdamState = dict[str, Any]
Terms = dict[str, Tensor]
Losses = dict[str, list[Terms]]
Array = NDArray[np.float64]


# ------------------------------------------------------------------------------------------------
# Reference resize
# ------------------------------------------------------------------------------------------------


def _keys_cubic(distance: Array) -> Array:
    """Keys' cubic convolution kernel with a = -1/2, support [-2, 2]."""
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1.0
    far = -0.5 * d**3 + 2.5 * d**2 - 4.0 * d + 2.0
    weight: Array = np.where(d <= 1.0, near, np.where(d <= 2.0, far, 0.0))
    return weight


def _resize_rows(values: Array, length: int, scale: float, antialias: bool) -> Array:
    """Resample the first axis of (n, m) to `length`, output i centred at (i + 1/2) / scale - 1/2.

    Taps before the first sample are dropped and the rest renormalised; taps after the last one
    are mirrored with the edge sample repeated.
    """
    count = len(values)
    stretch = scale if antialias else 1.0
    radius = 2.0 / stretch
    centre = (np.arange(length) + 0.5) / scale - 0.5
    first = np.floor(centre - radius).astype(np.int64)

    weighted = np.zeros((length, values.shape[1]))
    total = np.zeros((length, 1))
    for tap in range(math.ceil(2.0 * radius) + 1):
        index = first + tap
        weight = stretch * _keys_cubic(stretch * (centre - index))
        weight = np.where(index < 0, 0.0, weight)[:, None]
        folded = index % (2 * count)
        folded = np.where(folded >= count, 2 * count - 1 - folded, folded)
        weighted += weight * values[folded]
        total += weight
    result: Array = weighted / total
    return result


def resize_reference(
    x: Tensor,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    quantise: bool = True,
) -> Tensor:
    """MATLAB-style bicubic resize of SinGAN and ConSinGAN, by a factor or to a size.

    The input is clamped and, with `quantise`, truncated to 8-bit levels. Both axes are
    antialiased exactly when the height shrinks. The result is clamped; no gradient flows.
    """
    height, width = x.shape[-2:]
    if (scale is None) == (size is None):
        raise ValueError("give exactly one of scale and size")
    if scale is not None:
        scales = (scale, scale)
        size = (math.ceil(height * scale), math.ceil(width * scale))
    else:
        assert size is not None
        scales = (size[0] / height, size[1] / width)

    levels = 255.0 * ((x.detach() + 1.0) / 2.0).clamp(0.0, 1.0)
    if quantise:
        levels = levels.trunc()
    values: Array = levels.cpu().numpy().astype(np.float64)

    antialias = scales[0] < 1.0
    batch, channels = x.shape[:2]
    values = values.transpose(2, 0, 1, 3).reshape(height, -1)
    values = _resize_rows(values, size[0], scales[0], antialias)
    values = values.reshape(size[0], batch, channels, width)
    values = values.transpose(3, 1, 2, 0).reshape(width, -1)
    values = _resize_rows(values, size[1], scales[1], antialias)
    values = values.reshape(size[1], batch, channels, size[0]).transpose(1, 2, 3, 0)

    unit = torch.from_numpy(values / 255.0).to(dtype=x.dtype, device=x.device).contiguous()
    return (2.0 * unit - 1.0).clamp(-1.0, 1.0)


# ------------------------------------------------------------------------------------------------
# Pyramids
# ------------------------------------------------------------------------------------------------


def _finest(height: int, width: int, max_size: int) -> tuple[float, Size]:
    """Factor from the input to the finest scale, and the finest size."""
    scale = min(max_size / max(height, width), 1)
    return scale, (math.ceil(height * scale), math.ceil(width * scale))


def _sizes(finest: Size, factors: list[float]) -> list[Size]:
    """Size ceil(n * factor) per axis, in float64: 25.000000000000004 really becomes 26."""
    coarser = [(math.ceil(finest[0] * f), math.ceil(finest[1] * f)) for f in factors]
    return [*coarser, finest]


def consingan_factors(
    finest: Size, *, stages: int = 6, min_size: int = 25, old_rescaling: bool = False
) -> list[float]:
    """Factors from the finest stage to every coarser one (ConSinGAN, section 3).

    The published spacing is denser at coarse stages; `old_rescaling` is the geometric one, used
    for harmonization.
    """
    last = stages - 1
    if last < (1 if old_rescaling else 2):
        raise ValueError(f"{stages} stages are too few")
    if min(finest) <= min_size:
        raise ValueError(f"finest size {finest} does not exceed the minimum size {min_size}")
    r = math.pow(min_size / min(finest), 1 / last)
    if old_rescaling:
        return [math.pow(r, last - i) for i in range(last)]
    spread = (last - 1) / math.log(last)
    return [math.pow(r, spread * math.log(last - i) + 1) for i in range(last)]


def consingan_sizes(
    height: int,
    width: int,
    *,
    stages: int = 6,
    min_size: int = 25,
    max_size: int = 250,
    old_rescaling: bool = False,
) -> list[tuple[int, int]]:
    """Stage sizes, coarsest first (ConSinGAN, section 3)."""
    _, finest = _finest(height, width, max_size)
    factors = consingan_factors(
        finest, stages=stages, min_size=min_size, old_rescaling=old_rescaling
    )
    return _sizes(finest, factors)


def consingan_pyramid(
    image: Tensor,
    *,
    stages: int = 6,
    min_size: int = 25,
    max_size: int = 250,
    old_rescaling: bool = False,
    quantise: bool = True,
) -> list[Tensor]:
    """Training images, coarsest first; all are made from the finest one (ConSinGAN, section 3)."""
    scale, size = _finest(image.shape[-2], image.shape[-1], max_size)
    finest = resize_reference(image, scale=scale, quantise=quantise)
    factors = consingan_factors(size, stages=stages, min_size=min_size, old_rescaling=old_rescaling)
    coarser = [resize_reference(finest, scale=f, quantise=quantise) for f in factors]
    return [*coarser, finest]


def singan_ratio(
    height: int, width: int, *, factor: float = 0.75, min_size: int = 25, max_size: int = 250
) -> tuple[int, float]:
    """Index N of the finest scale, and the factor r between scales (SinGAN, section 2)."""
    short, long = min(height, width), max(height, width)
    coarse = math.ceil(math.log(min_size / short, factor)) + 1
    fine = math.ceil(math.log(min(max_size, long) / long, factor))
    last = coarse - fine
    _, finest = _finest(height, width, max_size)
    if last < 1 or min(finest) <= min_size:
        raise ValueError(f"no pyramid for a {height} x {width} image with minimum {min_size}")
    return last, math.pow(min_size / min(finest), 1 / last)


def singan_sizes(
    height: int, width: int, *, factor: float = 0.75, min_size: int = 25, max_size: int = 250
) -> list[tuple[int, int]]:
    """Scale sizes, coarsest first (SinGAN, section 2)."""
    last, r = singan_ratio(height, width, factor=factor, min_size=min_size, max_size=max_size)
    _, finest = _finest(height, width, max_size)
    # The finest image also passes through the resize, with factor r ** 0 = 1.
    return _sizes(finest, [math.pow(r, last - i) for i in range(last)])


def singan_pyramid(
    image: Tensor,
    *,
    factor: float = 0.75,
    min_size: int = 25,
    max_size: int = 250,
    quantise: bool = True,
) -> list[Tensor]:
    """Training images, coarsest first; all are resized from the finest one (SinGAN, section 2)."""
    height, width = image.shape[-2:]
    last, r = singan_ratio(height, width, factor=factor, min_size=min_size, max_size=max_size)
    scale, _ = _finest(height, width, max_size)
    finest = resize_reference(image, scale=scale, quantise=quantise)
    return [
        resize_reference(finest, scale=math.pow(r, last - i), quantise=quantise)
        for i in range(last + 1)
    ]


# ------------------------------------------------------------------------------------------------
# Losses on patch maps
# ------------------------------------------------------------------------------------------------


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    epsilon: float,
    *,
    weight: float = 0.1,
) -> Tensor:
    """Gradient penalty of both papers, differentiable in the critic only.

    The norm runs over channels, per pixel, and the critic's map is summed, not averaged.
    """
    mixed = (epsilon * real + (1.0 - epsilon) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    norm = torch.linalg.vector_norm(gradient, dim=1)
    deviation: Tensor = norm - 1.0
    return weight * deviation.square().mean()


def critic_loss(critic: Critic, real: Tensor, fake: Tensor, epsilon: float) -> dict[str, Tensor]:
    """Terms of the critic's Wasserstein loss (SinGAN, section 2; ConSinGAN, section 3)."""
    return {
        "real": -critic(real).mean(),
        "fake": critic(fake.detach()).mean(),
        "penalty": gradient_penalty(critic, real, fake, epsilon),
    }


def generator_loss(
    critic: Critic, fake: Tensor, reconstruction: Tensor, real: Tensor, *, alpha: float = 10.0
) -> dict[str, Tensor]:
    """Terms of the generator's loss (SinGAN, section 2; ConSinGAN, section 3)."""
    return {
        "adversarial": -critic(fake).mean(),
        "reconstruction": alpha * (reconstruction - real).square().mean(),
    }


def noise_amplitude(real: Tensor, prediction: Tensor) -> float:
    """Noise amplitude of a new scale, a tenth of the RMSE of the prediction without its noise.

    SinGAN predicts with the upsampled reconstruction of the scale below, ConSinGAN with the
    reconstruction of the grown generator at amplitude 0.
    """
    return 0.1 * math.sqrt((prediction - real).square().mean().item())


# ------------------------------------------------------------------------------------------------
# Adam
# ------------------------------------------------------------------------------------------------


def adam(
    params: list[Tensor],
    grads: list[Tensor],
    state: AdamState,
    *,
    lr: float,
    betas: tuple[float, float] = (0.5, 0.999),
    eps: float = 1e-8,
) -> None:
    """One Adam step in place; an empty `state` is filled with zero moments."""
    if not state:
        state["step"] = 0
        state["first"] = [torch.zeros_like(p) for p in params]
        state["second"] = [torch.zeros_like(p) for p in params]
    state["step"] += 1
    correction1 = 1.0 - betas[0] ** state["step"]
    correction2 = 1.0 - betas[1] ** state["step"]
    with torch.no_grad():
        for p, g, m, v in zip(params, grads, state["first"], state["second"], strict=True):
            m.mul_(betas[0]).add_((1.0 - betas[0]) * g)
            v.mul_(betas[1]).add_((1.0 - betas[1]) * g * g)
            p.sub_(lr * (m / correction1) / ((v / correction2).sqrt() + eps))


def _gradients(terms: Terms, params: list[Tensor]) -> list[Tensor]:
    """Gradient of the sum of the terms with respect to the parameters, and to nothing else."""
    return list(torch.autograd.grad(torch.stack(list(terms.values())).sum(), params))


def _detached(terms: Terms) -> Terms:
    return {name: value.detach() for name, value in terms.items()}


# ------------------------------------------------------------------------------------------------
# ConSinGAN
# ------------------------------------------------------------------------------------------------


@dataclass
class ConSinGAN:
    """The one growing generator (ConSinGAN, section 3): one body per stage."""

    head: Conv
    bodies: list[list[Conv]]
    tail: Conv
    slope: float = 0.05


def _conv(x: Tensor, conv: Conv) -> Tensor:
    """Convolution without padding; a norm behind it takes the statistics of `x` itself.

    The published code never puts its optional batch norm in evaluation mode.
    """
    weight, bias, *norm = conv
    x = F.conv2d(x, weight, bias)
    if norm:
        scale, shift = norm
        x = F.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)
    return x


def _pad(x: Tensor, margin: int) -> Tensor:
    """Zeros on all four sides."""
    return F.pad(x, (margin, margin, margin, margin))


def _bicubic(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bicubic", align_corners=True)


def _body(x: Tensor, convs: list[Conv], slope: float) -> Tensor:
    """Valid convolutions, each followed by a leaky ReLU."""
    for conv in convs:
        x = F.leaky_relu(_conv(x, conv), slope)
    return x


def consingan_generate(
    g: ConSinGAN,
    noises: list[Tensor],
    amplitudes: list[float],
    sizes: list[tuple[int, int]],
    *,
    edge: str = "stretch",
) -> Tensor:
    """Image of the newest stage from one input per stage (ConSinGAN, section 3).

    `noises[0]` is a 3-channel image, not scaled; the others are feature maps. With edge
    "stretch" (generation, animation) features are enlarged by 6 pixels so that the valid
    convolutions land on the stage's size, and their noise has that enlarged size. With edge
    "zero" (retargeting, harmonization, editing) they are padded with zeros after the noise.
    """
    if edge not in ("stretch", "zero"):
        raise ValueError(f"edge must be 'stretch' or 'zero', not {edge!r}")
    features = F.leaky_relu(_conv(_pad(noises[0], 1), g.head), g.slope)
    stages = zip(g.bodies, noises, amplitudes, sizes, strict=True)
    for stage, (body, noise, amplitude, (height, width)) in enumerate(stages):
        if stage == 0 and edge == "stretch":
            stretched = _bicubic(features, height + 2, width + 2)
            features = _body(_pad(stretched, 2), body, g.slope)
        elif stage == 0:
            features = _body(_pad(features, 3), body, g.slope)
        elif edge == "stretch":
            skip = _bicubic(features, height, width)
            stretched = _bicubic(features, height + 6, width + 6)
            features = skip + _body(stretched + amplitude * noise, body, g.slope)
        else:
            skip = _bicubic(features, height, width)
            features = skip + _body(_pad(skip + amplitude * noise, 3), body, g.slope)
    return torch.tanh(_conv(_pad(features, 1), g.tail))


def consingan_grow(g: ConSinGAN) -> ConSinGAN:
    """The generator with its newest body copied once more (ConSinGAN, section 3)."""
    copy = [tuple(tensor.detach().clone() for tensor in conv) for conv in g.bodies[-1]]
    return ConSinGAN(g.head, [*g.bodies, copy], g.tail, g.slope)


def consingan_groups(
    g: ConSinGAN, *, lr: float, lr_scale: float = 0.1, train_depth: int = 3
) -> dict[str, tuple[list[Tensor], float]]:
    """Trained parameters and learning rate per part, at the newest stage (ConSinGAN, section 3).

    The newest bodies learn at lr, lr * lr_scale, ..., the tail at lr, and the head, as long as
    the first body is trained, at the first body's rate.
    """
    stage = len(g.bodies) - 1
    groups = {}
    if stage < train_depth:
        groups["head"] = (list(g.head), lr * lr_scale**stage)
    for index in range(max(0, stage + 1 - train_depth), stage + 1):
        params = [tensor for conv in g.bodies[index] for tensor in conv]
        groups[f"body {index}"] = (params, lr * lr_scale ** (stage - index))
    groups["tail"] = (list(g.tail), lr)
    return groups


def patch_critic(convs: list[Conv], x: Tensor, *, slope: float) -> Tensor:
    """Patch critic of valid convolutions without normalisation (ConSinGAN, section 3)."""
    return _conv(_body(x, convs[:-1], slope), convs[-1])


def consingan_iteration(
    g: ConSinGAN,
    critic: list[Conv],
    real: Tensor,
    *,
    noises: list[Tensor],
    reconstruction_noises: list[Tensor],
    amplitudes: list[float],
    sizes: list[tuple[int, int]],
    epsilons: Sequence[float],
    state: dict[str, AdamState],
    lr_generator: float = 5e-4,
    lr_critic: float = 5e-4,
    lr_scale: float = 0.1,
    train_depth: int = 3,
    generator_steps: int = 3,
    alpha: float = 10.0,
    edge: str = "stretch",
) -> Losses:
    """One training iteration of the newest stage, in place (ConSinGAN, section 3).

    One critic step per element of `epsilons`, each with its own pass of the generator over the
    same noises; then one gradient of the generator, applied by Adam `generator_steps` times.
    Returns the terms of every critic step and of the one generator gradient, under "critic" and
    "generator". Start a stage with an empty `state`.
    """
    critic_params = [tensor.requires_grad_() for conv in critic for tensor in conv]
    groups = consingan_groups(g, lr=lr_generator, lr_scale=lr_scale, train_depth=train_depth)
    generator_params = [tensor.requires_grad_() for group, _ in groups.values() for tensor in group]
    losses: Losses = {"critic": [], "generator": []}

    def score(image: Tensor) -> Tensor:
        return patch_critic(critic, image, slope=g.slope)

    for epsilon in epsilons:
        fake = consingan_generate(g, noises, amplitudes, sizes, edge=edge)
        terms = critic_loss(score, real, fake, epsilon)
        grads = _gradients(terms, critic_params)
        adam(critic_params, grads, state.setdefault("critic", {}), lr=lr_critic)
        losses["critic"].append(_detached(terms))

    reconstruction = consingan_generate(g, reconstruction_noises, amplitudes, sizes, edge=edge)
    terms = generator_loss(score, fake, reconstruction, real, alpha=alpha)
    grads = _gradients(terms, generator_params)
    losses["generator"].append(_detached(terms))
    for _ in range(generator_steps):
        remaining = list(grads)
        for name, (params, lr) in groups.items():
            group_grads, remaining = remaining[: len(params)], remaining[len(params) :]
            adam(params, group_grads, state.setdefault(name, {}), lr=lr)
    return losses


# ------------------------------------------------------------------------------------------------
# SinGAN
# ------------------------------------------------------------------------------------------------


@dataclass
class NormConv:
    """A convolution followed by batch normalisation."""

    weight: Tensor
    bias: Tensor
    gamma: Tensor
    beta: Tensor
    running_mean: Tensor
    running_var: Tensor


@dataclass
class SinGANLevel:
    """The network of one scale, generator or critic (SinGAN, section 2)."""

    blocks: list[NormConv]
    last: Conv


def singan_width(scale: int) -> int:
    """Channels of a scale: 32, doubled every four scales, 128 at most."""
    return (32, 64, 128)[min(scale // 4, 2)]


def singan_level(
    level: SinGANLevel,
    x: Tensor,
    *,
    training: bool,
    slope: float = 0.2,
    momentum: float = 0.0,
) -> Tensor:
    """Five valid convolutions, the first four normalised and leaky (SinGAN, section 2).

    Training normalises with the statistics of `x`, otherwise with the running ones, which
    training moves in place by `momentum` (0.1 in the published method, 0 leaves them alone).
    """
    for block in level.blocks:
        x = F.conv2d(x, block.weight, block.bias)
        tracked = not training or momentum > 0.0
        x = F.batch_norm(
            x,
            block.running_mean if tracked else None,
            block.running_var if tracked else None,
            block.gamma,
            block.beta,
            training=training,
            momentum=momentum,
            eps=1e-5,
        )
        x = F.leaky_relu(x, slope)
    return _conv(x, level.last)


def singan_critic(
    level: SinGANLevel, x: Tensor, *, training: bool = True, momentum: float = 0.0
) -> Tensor:
    """Patch critic of one scale, on the unpadded image (SinGAN, section 2)."""
    return singan_level(level, x, training=training, momentum=momentum)


def singan_refine(
    level: SinGANLevel,
    previous: Tensor,
    noise: Tensor,
    amplitude: float,
    *,
    training: bool,
    momentum: float = 0.0,
) -> Tensor:
    """Image of one scale: the upsampled coarser image plus a residual (SinGAN, section 2)."""
    noise = noise.expand(-1, 3, -1, -1)
    x = _pad(previous, 5) + amplitude * _pad(noise, 5)
    return previous + torch.tanh(singan_level(level, x, training=training, momentum=momentum))


def singan_upsample(image: Tensor, r: float, size: Size, *, quantise: bool = True) -> Tensor:
    """Enlarge by 1 / r and keep the top left corner (SinGAN, section 2)."""
    height, width = size
    larger = resize_reference(image, scale=1 / r, quantise=quantise)
    if larger.shape[-2] < height or larger.shape[-1] < width:
        raise ValueError(f"cannot crop {tuple(larger.shape[-2:])} to {size}")
    return larger[..., :height, :width]


def singan_generate(
    levels: list[SinGANLevel],
    noises: list[Tensor],
    amplitudes: list[float],
    sizes: list[tuple[int, int]],
    r: float,
    *,
    training_top: bool,
    quantise: bool = True,
) -> Tensor:
    """Image of the finest given scale (SinGAN, section 2).

    Scales run with their running statistics, except the finest with `training_top`. A noise of
    one channel is repeated over the colours.
    """
    image = torch.zeros_like(noises[0].expand(-1, 3, -1, -1))
    scales = zip(levels, noises, amplitudes, sizes, strict=True)
    for index, (level, noise, amplitude, size) in enumerate(scales):
        if index > 0:
            image = singan_upsample(image, r, size, quantise=quantise)
        training = training_top and index == len(levels) - 1
        image = singan_refine(level, image, noise, amplitude, training=training)
    return image


def singan_enlarge(
    level: SinGANLevel,
    amplitude: float,
    image: Tensor,
    factor: int,
    noises: list[Tensor],
    *,
    quantise: bool = True,
) -> Tensor:
    """Super-resolution: the finest level again and again (SinGAN, section 4; published code).

    `noises`: one a pass, of one channel in the first.
    """
    passes = round(math.log(1 / factor) / math.log(2 ** (-1 / 3)))
    ratio = factor ** (1 / passes)
    assert len(noises) == passes
    height, width = image.shape[-2:]
    for noise in noises:
        larger = resize_reference(image, scale=ratio, quantise=quantise)
        image = singan_refine(level, larger, noise, amplitude, training=False)
    return image[..., : int(factor * height), : int(factor * width)]


def singan_sr_sizes(
    height: int, width: int, factor: int, *, min_size: int = 18, max_size: int = 250
) -> list[tuple[int, int]]:
    """Scale sizes of a model for super-resolution; one axis is mistaken, as published."""
    passes = round(math.log(1 / factor) / math.log(2 ** (-1 / 3)))
    nominal = 1 / factor ** (1 / passes)
    short, long = min(height, width), max(height, width)
    coarse = int(math.log(min_size / short, nominal)) + 1
    fine = int(math.log(min(max_size, long) / max(1, width), nominal))
    last = coarse - fine
    _, finest = _finest(height, width, max_size)
    r = math.pow(min_size / min(finest), 1 / last)
    return _sizes(finest, [math.pow(r, last - i) for i in range(last)])


def singan_previous(
    frozen: list[SinGANLevel],
    noises: list[Tensor],
    amplitudes: list[float],
    sizes: list[tuple[int, int]],
    r: float,
    *,
    quantise: bool = True,
) -> Tensor:
    """Upsampled image of the finished scales, for a scale above the coarsest (SinGAN, section 2).

    `sizes` has one entry more than the other lists, the size to upsample to.
    """
    with torch.no_grad():
        image = singan_generate(
            frozen, noises, amplitudes, sizes[:-1], r, training_top=False, quantise=quantise
        )
    return singan_upsample(image, r, sizes[-1], quantise=quantise)


def _trainable(level: SinGANLevel) -> list[Tensor]:
    """Parameters without the running statistics."""
    params = []
    for block in level.blocks:
        params += [block.weight, block.bias, block.gamma, block.beta]
    return [tensor.requires_grad_() for tensor in (*params, *level.last)]


def singan_iteration(
    levels: list[SinGANLevel],
    critic: SinGANLevel,
    real: Tensor,
    *,
    noise: Tensor,
    prefix_noises: Sequence[list[Tensor]],
    reconstruction_noise: Tensor,
    reconstruction_previous: Tensor,
    amplitudes: list[float],
    sizes: list[tuple[int, int]],
    r: float,
    epsilons: Sequence[float],
    state: dict[str, AdamState],
    lr_generator: float = 5e-4,
    lr_critic: float = 5e-4,
    generator_steps: int = 3,
    alpha: float = 10.0,
    momentum: float = 0.1,
    quantise: bool = True,
) -> Losses:
    """One training iteration of the last of `levels`, in place (SinGAN, section 2).

    One critic step per element of `epsilons`, with the matching element of `prefix_noises` for
    the finished scales (empty lists at the coarsest) and the one `noise` for this scale. Then
    `generator_steps` steps, each with a fresh pass over the last prefix and a fresh
    reconstruction. Returns the terms of every step under "critic" and "generator". Start a scale
    with an empty `state`.
    """
    level, amplitude = levels[-1], amplitudes[-1]
    generator_params = _trainable(level)
    critic_params = _trainable(critic)
    losses: Losses = {"critic": [], "generator": []}

    def score(image: Tensor) -> Tensor:
        return singan_critic(critic, image, training=True, momentum=momentum)

    def refine(previous: Tensor, z: Tensor) -> Tensor:
        return singan_refine(level, previous, z, amplitude, training=True, momentum=momentum)

    previous = torch.zeros_like(real)
    for epsilon, prefix in zip(epsilons, prefix_noises, strict=True):
        if len(levels) > 1:
            previous = singan_previous(
                levels[:-1], prefix, amplitudes[:-1], sizes, r, quantise=quantise
            )
        fake = refine(previous, noise)
        terms = critic_loss(score, real, fake, epsilon)
        grads = _gradients(terms, critic_params)
        adam(critic_params, grads, state.setdefault("critic", {}), lr=lr_critic)
        losses["critic"].append(_detached(terms))

    for _ in range(generator_steps):
        fake = refine(previous, noise)
        reconstruction = refine(reconstruction_previous, reconstruction_noise)
        terms = generator_loss(score, fake, reconstruction, real, alpha=alpha)
        grads = _gradients(terms, generator_params)
        adam(generator_params, grads, state.setdefault("generator", {}), lr=lr_generator)
        losses["generator"].append(_detached(terms))
    return losses
