"""Meta Internal Learning in plain PyTorch, written from the paper and its published code.

It shares no code with the package. Weights are tensors by the names that torchvision gives them,
all randomness is an argument, primary networks run by one grouped convolution over the batch, and
the gradient penalty by autograd's double backward. Every rule that a test may break is in `Rules`.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
"""A residual network by torchvision's names, with `linear.weight` and `linear.bias` behind it."""
Projection = list[tuple[Tensor, Tensor]]
"""Weight (n, features) and bias (n,) of one linear layer for each tensor of a primary network:
weight, bias, weight, bias, ... in the order of PyTorch's convolutions."""
Convs = list[tuple[Tensor, Tensor]]
"""Weights and biases of an ordinary network."""
Numbers = list[Tensor]
"""Predicted tensors, flat: (B, n) each."""
Score = Callable[[Tensor], Tensor]
Sizes = Sequence[tuple[int, int]]

State = dict[str, list[Tensor]]
"""All that a training changes, by kind."""

MARGIN = 5
EPS = 1e-5
MOMENTUM = 0.1
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Rules:
    """What the method says; the tests change one at a time to see that it is noticed."""

    slope: float = 0.02
    classic_slope: float = 0.2
    classic_padding: int = 1
    tanh_gain: float = 5 / 3
    scaled_weights: bool = True
    scaled_biases: bool = True
    noisy_border: bool = True
    aligned: bool = True
    """Corners, when images are enlarged."""
    residual: bool = True
    penalty: float = 0.1
    norm_per_pixel: bool = True
    weight: float = 50.0
    accumulate: bool = False
    clip_generator: float = 1.0
    clip_critic: float = 1.0
    amplitude: float = 1.0
    """Times the error."""
    follow: bool = True
    """The amplitude is that of the last step, not of the first."""
    through: bool = True
    """Gradients pass through frozen projections to the embedding."""
    frozen: bool = True
    """Projections of finished levels stand still."""
    fresh_moments: bool = True
    decay: float = 0.1
    decay_at: float = 0.8
    betas: tuple[float, float] = (0.5, 0.999)


IMAGE_FLAWS: dict[str, dict[str, Any]] = {
    "slope": {"slope": 0.2},
    "gain of tanh": {"tanh_gain": 1.0},
    "scale of weights": {"scaled_weights": False},
    "scale of biases": {"scaled_biases": False},
    "border without noise": {"noisy_border": False},
    "enlarging": {"aligned": False},
    "no residual": {"residual": False},
}


# The embedding -----------------------------------------------------------------------------------


@lru_cache
def nearest_two(count: int, view: int) -> Tensor:
    """(view, count): weights of the pixels of a line, by pixel centers."""
    rows = torch.zeros(view, count, dtype=torch.float64)
    for i in range(view):
        place = min(max((i + 0.5) * count / view - 0.5, 0.0), count - 1.0)
        low = int(place)
        rows[i, low] += 1 - (place - low)
        rows[i, min(low + 1, count - 1)] += place - low
    return rows


def seen(images: Tensor, view: int) -> Tensor:
    """Images at `view` pixels a side: between the nearest pixels, not antialiased."""
    height, width = images.shape[-2:]
    return nearest_two(height, view) @ images.clamp(-1, 1) @ nearest_two(width, view).T


def batch_norm(weights: Weights, name: str, x: Tensor, *, train: bool) -> Tensor:
    """In train mode by the statistics of the batch, of which the running ones take note.

    The published code is never in eval mode; the running variance is that of the batch.
    """
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    if train:
        dims = (0, 2, 3)
        now = x.mean(dims)
        spread = (x - now[:, None, None]).square().mean(dims)
        weights[f"{name}.running_mean"] = (1 - MOMENTUM) * mean + MOMENTUM * now.detach()
        weights[f"{name}.running_var"] = (1 - MOMENTUM) * variance + MOMENTUM * spread.detach()
        weights[f"{name}.num_batches_tracked"] = weights[f"{name}.num_batches_tracked"] + 1
        mean, variance = now, spread
    scale = weights[f"{name}.weight"] / (variance + EPS).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + weights[f"{name}.bias"][:, None, None]


def residual_block(weights: Weights, name: str, x: Tensor, *, stride: int, train: bool) -> Tensor:
    y = F.conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
    y = F.relu(batch_norm(weights, f"{name}.bn1", y, train=train))
    y = F.conv2d(y, weights[f"{name}.conv2.weight"], padding=1)
    y = batch_norm(weights, f"{name}.bn2", y, train=train)
    if f"{name}.downsample.0.weight" in weights:
        x = F.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=stride)
        x = batch_norm(weights, f"{name}.downsample.1", x, train=train)
    return F.relu(y + x)


def embed(weights: Weights, images: Tensor, *, view: int, train: bool) -> Tensor:
    """(B, 3, H, W) -> (B, features)."""
    x = F.conv2d(seen(images, view), weights["conv1.weight"], stride=2, padding=3)
    x = F.relu(batch_norm(weights, "bn1", x, train=train))
    x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    for stage in range(1, 5):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in weights:
            stride = 2 if stage > 1 and block == 0 else 1
            name = f"layer{stage}.{block}"
            x = residual_block(weights, name, x, stride=stride, train=train)
            block += 1
    pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
    return pooled @ weights["linear.weight"].T + weights["linear.bias"]


# Primary networks --------------------------------------------------------------------------------


def project(projection: Projection, features: Tensor) -> Numbers:
    return [features @ weight.T + bias for weight, bias in projection]


def primary(x: Tensor, numbers: Numbers, *, last_gain: float, rules: Rules) -> Tensor:
    """Image b through the network of the numbers b: all layers but the last with a leaky ReLU."""
    batch, layers = len(x), len(numbers) // 2
    leaky = math.sqrt(2 / (1 + rules.slope**2))
    c_in = x.shape[1]
    x = x.reshape(1, batch * c_in, *x.shape[2:])
    for layer in range(layers):
        last = layer == layers - 1
        weight, bias = numbers[2 * layer], numbers[2 * layer + 1]
        c_out = bias.shape[1]
        weight = weight.reshape(batch * c_out, c_in, 3, 3) * (last_gain if last else leaky)
        if rules.scaled_weights:
            weight = weight / math.sqrt(c_in * 9)
        bias = bias.reshape(batch * c_out)
        if rules.scaled_biases:
            bias = bias / math.sqrt(c_in)
        x = F.conv2d(x, weight, bias, groups=batch)
        x = x if last else F.leaky_relu(x, rules.slope)
        c_in = c_out
    return x.reshape(batch, c_in, *x.shape[2:])


def draw_level(
    numbers: Numbers, u: Tensor | None, z: Tensor | None, amplitude: float, rules: Rules
) -> Tensor:
    """The image of a level: from noise `z` alone, or from `u`, what the level below has made.

    `z` is of the size of the padded `u`; None: no noise.
    """
    margins = (MARGIN,) * 4
    if u is None:
        assert z is not None
        return torch.tanh(
            primary(F.pad(z, margins), numbers, last_gain=rules.tanh_gain, rules=rules)
        )
    x = F.pad(u, margins)
    if z is not None and rules.noisy_border:
        x = x + amplitude * z
    elif z is not None:
        x = x + amplitude * F.pad(z[..., MARGIN:-MARGIN, MARGIN:-MARGIN], margins)
    change = torch.tanh(primary(x, numbers, last_gain=rules.tanh_gain, rules=rules))
    return u + change if rules.residual else change


def generate(
    numbers: Sequence[Numbers],
    maps: Sequence[Tensor | None],
    amplitudes: Sequence[float],
    sizes: Sizes,
    rules: Rules,
) -> list[Tensor]:
    """The images of all levels; `maps`: one a level, None for no noise."""
    images: list[Tensor] = []
    for level, known in enumerate(numbers):
        u = None
        if images:
            align = rules.aligned
            u = F.interpolate(images[-1], sizes[level], mode="bilinear", align_corners=align)
        images.append(draw_level(known, u, maps[level], amplitudes[level], rules))
    return images


# Critics -----------------------------------------------------------------------------------------


def predicted_critic(numbers: Numbers, rules: Rules) -> Score:
    return lambda images: primary(images, numbers, last_gain=1.0, rules=rules)


def classic_critic(convs: Convs, rules: Rules) -> Score:
    def score(x: Tensor) -> Tensor:
        for weight, bias in convs[:-1]:
            x = F.conv2d(x, weight, bias, padding=rules.classic_padding)
            x = F.leaky_relu(x, rules.classic_slope)
        return F.conv2d(x, *convs[-1], padding=rules.classic_padding)

    return score


# Losses ------------------------------------------------------------------------------------------


def critic_terms(
    score: Score, real: Tensor, fake: Tensor, epsilon: float | Tensor, rules: Rules
) -> list[Tensor]:
    """Of the real image, of the generated one, and the penalty of slopes between the two."""
    fake = fake.detach()
    between = (epsilon * real + (1 - epsilon) * fake).detach().requires_grad_()
    scores = score(between)
    ones = torch.ones_like(scores)
    (slopes,) = torch.autograd.grad(scores, between, ones, create_graph=True)
    norms = slopes.norm(dim=1) if rules.norm_per_pixel else slopes.flatten(1).norm(dim=1)
    penalty = rules.penalty * ((norms - 1) ** 2).mean()
    return [-score(real).mean(), score(fake).mean(), penalty]


def reconstruction_error(made: Sequence[Tensor], reals: Sequence[Tensor], rules: Rules) -> Tensor:
    errors = [((a - b) ** 2).mean() for a, b in zip(made, reals, strict=True)]
    return torch.stack(errors).mean() if rules.accumulate else errors[-1]


def generator_terms(score: Score, fake: Tensor, error: Tensor, rules: Rules) -> list[Tensor]:
    return [-score(fake).mean(), rules.weight * error]


# Training ----------------------------------------------------------------------------------------


class Adam:
    """Kingma and Ba's, with the gradients shortened together before each step."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
        self.count = 0

    def descend(self, loss: Tensor, lr: float, clip: float, betas: tuple[float, float]) -> None:
        gradients = torch.autograd.grad(loss, self.parameters)
        length = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        shorter = min(1.0, clip / (length + 1e-6))
        self.count += 1
        first, second = betas
        triples = zip(self.parameters, gradients, self.moments, strict=True)
        for parameter, gradient, (mean, square) in triples:
            gradient = gradient * shorter
            mean.mul_(first).add_(gradient, alpha=1 - first)
            square.mul_(second).add_(gradient**2, alpha=1 - second)
            scale = (square / (1 - second**self.count)).sqrt() + 1e-8
            parameter.data -= lr * mean / (1 - first**self.count) / scale


@dataclass
class Batch:
    """What a step is given: the photos at all levels, and everything random."""

    photos: list[Tensor]
    maps: list[Tensor]
    """Noise of the levels so far; over level 0 of the padded size."""
    epsilon: float | Tensor


@dataclass
class Game:
    """A training, level by level."""

    embedding: Weights
    projections: list[Projection]
    critic: Weights | Convs
    """An embedding of its own, or a network for one photo."""
    critic_projection: Projection
    """Empty for a network for one photo."""
    anchor: Tensor
    """Noise (1, 3, h, w) of level 0 for the reconstruction of all photos."""
    view: int
    lr: float
    steps: int
    rules: Rules = field(default_factory=Rules)
    amplitudes: list[float] = field(default_factory=lambda: [1.0])
    step: int = 0
    train: bool = True
    """Of the embeddings."""

    def __post_init__(self) -> None:
        """Begin level 0."""
        self._new_optimizers()

    @property
    def level(self) -> int:
        return len(self.projections) - 1

    def under(self, rules: Rules) -> "Game":
        """A copy that goes on by other rules."""
        copy = deepcopy(self)
        copy.rules = rules
        return copy

    def begin_level(self, photos: list[Tensor]) -> None:
        """A new level starts as a copy of the newest; its noise as large as its error."""
        self.projections.append(deepcopy(self.projections[-1]))
        self.amplitudes.append(0.0)
        self.step = 0
        with torch.no_grad():
            _, made = self.draw(photos, None)
            error = ((made[-1] - photos[self.level]) ** 2).mean()
        self.amplitudes[-1] = self.rules.amplitude * math.sqrt(float(error))
        before = self.optimizers
        self._new_optimizers()
        if not self.rules.fresh_moments:
            for new, old in zip(self.optimizers, before, strict=True):
                new.moments, new.count = old.moments, old.count

    def play(self, batch: Batch) -> list[Tensor]:
        """One step of the critic and one of the generator; the terms of both losses."""
        late = self.step >= int(self.rules.decay_at * self.steps)
        lr, betas = self.lr * (self.rules.decay if late else 1.0), self.rules.betas
        for_generator, for_critic = self.optimizers
        reals = batch.photos[: self.level + 1]
        fake, rebuilt = self.draw(batch.photos, batch.maps)
        ours = critic_terms(
            self.score(batch.photos), reals[-1], fake[-1], batch.epsilon, self.rules
        )
        for_critic.descend(torch.stack(ours).sum(), lr, self.rules.clip_critic, betas)

        error = reconstruction_error(rebuilt, reals, self.rules)
        theirs = generator_terms(self.score(batch.photos), fake[-1], error, self.rules)
        for_generator.descend(torch.stack(theirs).sum(), lr, self.rules.clip_generator, betas)
        if self.level > 0 and self.rules.follow:
            self.amplitudes[-1] = self.rules.amplitude * math.sqrt(float(error.detach()))
        self.step += 1
        return [term.detach() for term in (*ours, *theirs)]

    def draw(
        self, photos: list[Tensor], maps: list[Tensor] | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Random images of all levels, none without `maps`; and reconstructions."""
        features = embed(self.embedding, photos[-1], view=self.view, train=self.train)
        below = features if self.rules.through else features.detach()
        numbers = [project(projection, below) for projection in self.projections[:-1]]
        numbers.append(project(self.projections[-1], features))
        anchor = self.anchor.expand(len(features), -1, -1, -1)
        still = [anchor, *[None] * self.level]
        sizes = [(photo.shape[-2], photo.shape[-1]) for photo in photos]
        amplitudes, rules = self.amplitudes, self.rules
        rebuilt = generate(numbers, still, amplitudes, sizes, rules)
        return generate(numbers, maps, amplitudes, sizes, rules) if maps else [], rebuilt

    def score(self, photos: list[Tensor]) -> Score:
        """The critics of photos."""
        if isinstance(self.critic, list):
            return classic_critic(self.critic, self.rules)
        features = embed(self.critic, photos[-1], view=self.view, train=self.train)
        return predicted_critic(project(self.critic_projection, features), self.rules)

    def state(self) -> State:
        embeddings, nets = [self.embedding], [*self.projections, self.critic_projection]
        if isinstance(self.critic, dict):
            embeddings.append(self.critic)
        else:
            nets.append(self.critic)
        return state_of(embeddings, nets, self.amplitudes)

    def _new_optimizers(self) -> None:
        moving = self.projections[-1:] if self.rules.frozen else self.projections
        ours = learned(self.embedding) + [t for p in moving for pair in p for t in pair]
        theirs = learned(self.critic) + [t for pair in self.critic_projection for t in pair]
        for tensor in (*ours, *theirs):
            tensor.requires_grad_()
        self.optimizers = Adam(ours), Adam(theirs)


def learned(network: Weights | Convs) -> list[Tensor]:
    """All tensors but running statistics."""
    if isinstance(network, list):
        return [tensor for pair in network for tensor in pair]
    return [tensor for name, tensor in network.items() if not name.endswith(STATISTICS)]


def state_of(
    embeddings: list[Weights], nets: Sequence[Convs | Projection], amplitudes: list[float]
) -> State:
    """A copy."""
    named = [pair for weights in embeddings for pair in sorted(weights.items())]
    return {
        "embeddings": [t.detach().clone() for n, t in named if not n.endswith(STATISTICS)],
        "statistics": [t.double() for n, t in named if n.endswith(STATISTICS)],
        "networks": [t.detach().clone() for net in nets for pair in net for t in pair],
        "amplitudes": [torch.tensor(amplitudes, dtype=torch.float64)],
    }


def largest_differences(found: State, expected: State) -> dict[str, float]:
    """Of each kind."""
    assert found.keys() == expected.keys()
    pairs = {kind: zip(found[kind], expected[kind], strict=True) for kind in found}
    return {kind: max(float((a - b).abs().max()) for a, b in pairs[kind]) for kind in found}


def enlarge(module: torch.nn.Module, seed: int) -> None:
    """Weights so large that every layer matters, and statistics unlike those of the start."""
    for i, (name, value) in enumerate([*module.named_parameters(), *module.named_buffers()]):
        if not value.is_floating_point() or name in ("amplitudes", "anchor_noise"):
            continue
        source = torch.Generator().manual_seed(1000 * seed + i)
        drawn = torch.randn(value.shape, generator=source, dtype=value.dtype)
        if value.ndim == 4:
            value.data.copy_(drawn / (value[0].numel() / 2) ** 0.5)
        elif value.ndim == 2:
            value.data.copy_(drawn * 0.4 / value.shape[1] ** 0.5)
        elif name.endswith("running_var") or ("bn" in name and name.endswith("weight")):
            value.data.copy_(1 + 0.2 * drawn.tanh())
        else:
            value.data.copy_(drawn * (1 if "numbers" in name else 0.2))
