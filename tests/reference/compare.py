"""What comparisons with the transcriptions share: small recipes, random weights, recordings."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from reference import singan as paper
from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.images.channels import Channels
from singleimage.images.clip import Clip
from singleimage.images.photo import Photo
from singleimage.multiscale.latent import Latent, seed_for
from singleimage.multiscale.pyramid import Pyramid
from singleimage.nn.blocks import Conv, ConvStack
from singleimage.nn.involution import Involution
from singleimage.nn.precision import Precision
from singleimage.objectives.view import StepView
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import CONSINGAN, FAST_STABILIZED, HP_VAE_GAN, SINGAN
from singleimage.recipes.recipe import Recipe
from singleimage.recipes.tasks import for_video
from singleimage.training.trainer import Trainer

TOLERANCE = 1e-10
"""Of images and losses, and of weights after training: far over rounding, far under an error."""


F64 = torch.float64


SMALL_CONSINGAN = with_overrides(
    CONSINGAN,
    {
        "pyramid.levels": "5",  # the oldest two blocks get frozen
        "pyramid.min_size": "13",
        "pyramid.max_size": "30",
        "pyramid.quantize": "false",
        "generator.width": "4",
        "critic.width.base": "4",
        "training.steps": "3",
        "training.decay_at": "2",
    },
)


SMALL_SINGAN = with_overrides(
    SINGAN,
    {
        "pyramid.min_size": "13",
        "pyramid.max_size": "30",
        "pyramid.quantize": "false",
        "generator.quantize": "false",
        "generator.width.base": "3",
        "generator.width.double_every": "2",
        "critic.width.base": "3",
        "critic.width.double_every": "2",
        "training.steps": "3",
        "training.decay_at": "2",
    },
)


SMALL_FAST_STABILIZED = with_overrides(
    FAST_STABILIZED,
    {
        "pyramid.levels": "5",  # the oldest two blocks get frozen
        "pyramid.min_size": "13",
        "pyramid.max_size": "24",
        "pyramid.quantize": "false",
        "generator.width": "4",
        "generator.body.reduction": "2",
        "critic.width.base": "8",
        "training.steps": "3",
        "training.decay_at": "2",
    },
)


_HP_VAE_GAN = {
    "pyramid.width": "30",
    "pyramid.min_width": "13",
    "pyramid.quantize": "false",
    "generator.width": "4",
    "generator.latent": "5",
    "generator.depth": "3",
    "critic.width": "4",
    "critic.depth": "3",
    "training.steps": "2",
    "training.clip_generator": "0.5",  # so low that it always acts
}


SMALL_HP_VAE_GAN = with_overrides(HP_VAE_GAN, _HP_VAE_GAN)
"""Five levels: three variational, and two with a critic."""


MOVING_HP_VAE_GAN = with_overrides(
    for_video(HP_VAE_GAN), _HP_VAE_GAN | {"pyramid.strides": "[3, 2, 1]"}
)
"""The same for clips of seven frames; the levels have 3, 3, 4, 4 and 7."""


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)


def photo(height: int = 26, width: int = 30) -> Photo:
    return Photo(noise(3, height, width, seed=77).mul(0.6).clamp(-1, 1), Channels(mode="RGB"))


def clip_of(frames: int) -> Clip:
    pixels = noise(3, frames, 26, 30, seed=77).mul(0.6).clamp(-1, 1)
    return Clip(pixels, Channels(mode="RGB"), fps=12.0)


def randomize(module: nn.Module, seed: int) -> None:
    """Weights large enough that every layer matters, and running statistics unlike the start.

    The last layer of a generator is small, so that images stay within [-1, 1].
    """
    for i, (name, value) in enumerate([*module.named_parameters(), *module.named_buffers()]):
        if not value.is_floating_point() or "anchor" in name:
            continue
        drawn = noise(*value.shape, seed=1000 * seed + i)
        if value.ndim == 4:
            drawn /= value[0].numel() ** 0.5
        elif name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            drawn = 1 + 0.2 * drawn.tanh()
        else:
            drawn *= 0.2
        if name.startswith(("last", "tail")) or ".last" in name:
            drawn *= 0.2 if len(value) == 3 else 1
        value.data.copy_(drawn)


def copied(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone() for tensor in tensors)


def conv_of(conv: nn.Module) -> paper.Conv:
    assert isinstance(conv, Conv)
    return copied(conv.weight, conv.bias)


def convs_of(stack: nn.Module) -> list[paper.Conv]:
    assert isinstance(stack, ConvStack)
    return [
        (*conv_of(conv), *copied(*norm.parameters()))
        for conv, norm in zip(stack.convs, stack.norms, strict=True)
    ]


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a.detach() - b.detach()).abs().max().item()


def nudged(image: Tensor) -> Tensor:
    """A copy in which one value in the middle is off by a thousandth."""
    values = image.detach().flatten().clone()
    values[len(values) // 2] += 1e-3
    return values.view(image.shape)


def grown(recipe: Recipe, *, seed: int = 0) -> tuple[Any, Pyramid]:
    """A generator with all its levels, all weights and amplitudes random, and its example."""
    example = Pyramid.build(photo().pixels[None], recipe.pyramid)
    learner = recipe.generator.build(channels=3, ladder=example.ladder).to(F64)
    for level in range(len(example.ladder.sizes)):
        learner.grow(example, seed_for(seed, level))
    randomize(learner, seed)
    if isinstance(learner, Growing):
        learner.amplitudes[0] = 1.0
    return learner, example


def tame(g: nn.Module) -> None:
    """Random kernels of nine taps would make features grow from layer to layer."""
    for part in g.modules():
        if isinstance(part, Involution):
            part.expand.weight.data.mul_(0.4)
            part.expand.bias.data.mul_(2)


def tame_and_grown(recipe: Recipe) -> tuple[Growing, Pyramid]:
    """As `grown`, of a recipe with involutions."""
    g, example = grown(recipe)
    assert isinstance(g, Growing)
    tame(g)
    return g, example


def flawed(latent: Latent, level: int = 1) -> Latent:
    """The same noise, but for one value."""
    maps = list(latent.tensors())
    maps[level] = nudged(maps[level])
    return Latent(tuple(maps), latent.sizes)


def uniform(seed: int, repeat: int) -> float:
    """The share of the real image in the gradient penalty of a critic step, from 1."""
    generator = torch.Generator().manual_seed(seed_for(seed, "uniform", repeat))
    return torch.rand((), generator=generator, dtype=F64).item()


class Watched(Trainer):
    """A trainer whose fresh networks start large, and that keeps each level as it began.

    At the published start, a standard deviation of 0.02, most of a small network is silent.
    """

    def __init__(self, recipe: Recipe, dtype: torch.dtype = F64) -> None:
        super().__init__(photo(), recipe, seed=3, device="cpu", precision="fp32", dtype=dtype)

    def _begin_level(self) -> None:
        super()._begin_level()
        assert self.players.critic is not None
        if isinstance(self.learner, Cascade):
            newest, fresh = self.learner.levels[-1], self.level % 2 == 0  # where the width changes
        else:
            newest, fresh = self.learner, self.level == 0
        if fresh:
            for i, network in enumerate((newest, self.players.critic)):
                amplitudes = self.learner.amplitudes.clone()
                randomize(network, seed=10 * self.level + i)
                self.learner.amplitudes.copy_(amplitudes)
        self.opening: Any = deepcopy(self.learner)
        self.opening_critic = deepcopy(self.players.critic)

    @property
    def critic(self) -> nn.Module:
        assert self.players.critic is not None
        return self.players.critic

    def latent(self, seed: int, *use: int | str) -> Latent:
        """The noise of a step at the level that was trained last."""
        ladder = self.learner.ladder
        return self.learner.draw(ladder.sizes, [seed_for(seed, *use)])


@dataclass
class Differences:
    """The largest difference of each kind that a training has shown."""

    largest: dict[str, float] = field(default_factory=dict)

    def note(self, kind: str, found: Tensor | float, expected: Tensor | float) -> None:
        a, b = (torch.as_tensor(value, dtype=F64) for value in (found, expected))
        self.largest[kind] = max(self.largest.get(kind, 0.0), difference(a, b))

    def note_all(self, kind: str, found: list[Tensor], expected: list[Tensor]) -> None:
        for a, b in zip(found, expected, strict=True):
            self.note(kind, a, b)

    def note_losses(self, found: Mapping[str, float], expected: paper.Losses) -> None:
        terms = [*expected["critic"][-1].values(), *expected["generator"][-1].values()]
        for a, b in zip(found.values(), terms, strict=True):
            self.note("losses", a, b)


Arguments = dict[str, Any]


Flaw = Callable[[Arguments], Arguments]
"""What to change in the arguments of the transcription's step."""


def nothing(arguments: Arguments) -> Arguments:
    return {}


def flat(convs: list[paper.Conv]) -> list[Tensor]:
    """All weights but the biases of convolutions before a norm.

    The norm takes them out again, so that their gradient is zero but for rounding, which Adam
    magnifies: to 1e-9 in float64, to its learning rate in float32. No image in training depends on
    them.
    """
    return [tensor for weight, bias, *norm in convs for tensor in (weight, *(norm or [bias]))]


def rates(step: int, decay_at: float = 2) -> Arguments:
    factor = 0.1 if step >= decay_at else 1.0
    return {"lr_generator": 5e-4 * factor, "lr_critic": 5e-4 * factor}


def other_epsilon(arguments: Arguments) -> Arguments:
    """By enough to bend a leaky ReLU: between its bends, a critic without norm is linear."""
    first, *others = arguments["epsilons"]
    return {"epsilons": [first + 0.03, *others]}


def other_weight(arguments: Arguments) -> Arguments:
    """Each step begins with the same weight off by a thousandth."""
    critic = arguments["critic"]
    weight = critic[0][0] if isinstance(critic, list) else critic.blocks[0].weight
    weight.data = nudged(weight)
    return {}


FLAWS: dict[str, Flaw] = {
    "weight": other_weight,
    "rate of the generator": lambda a: {"lr_generator": 1.001 * a["lr_generator"]},
    "rate of the critic": lambda a: {"lr_critic": 1.001 * a["lr_critic"]},
    "no decay": lambda a: {"lr_generator": 5e-4, "lr_critic": 5e-4},
    "generator steps": lambda a: {"generator_steps": 2},
    "share of the real image": other_epsilon,
    "weight of the reconstruction": lambda a: {"alpha": 10.001},
    "photo": lambda a: {"real": nudged(a["real"])},
    "moments that are forgotten": lambda a: {"state": {}},
}
"""What can be wrong with a step of either SinGAN or ConSinGAN."""


def losses_of_both(
    recipe: Recipe, g: Any, critic: nn.Module, example: Pyramid, seed: int
) -> dict[str, Tensor]:
    """The terms that critic and generator minimize at the finest level, by name."""
    level = len(example.images) - 1
    view = StepView(
        generator=g,
        critic=critic,  # type: ignore[arg-type]
        example=[example.images[level]] * (level + 1),
        level=level,
        step=0,
        sizes=example.ladder.sizes,
        seed=seed,
        base_input=lambda seed: None,
        anchor_frozen=g.run_frozen(g.anchor()),
    )
    objective = recipe.schedule.objective_at(level)
    return {**objective.terms("critic", view), **objective.terms("generator", view)}


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference over the largest value."""
    return difference(a, b) / max(b.detach().abs().max().item(), 1e-300)


def trained_small(
    recipe: Recipe, settings: dict[str, str], precision: Precision, dtype: torch.dtype
) -> Trainer:
    """A trainer of `photo` at the end of its training."""
    image = photo()
    pixels = Photo(image.pixels.to(dtype), image.channels)
    recipe = with_overrides(recipe, settings)
    trainer = Trainer(pixels, recipe, seed=3, device="cpu", precision=precision, dtype=dtype)
    for _ in trainer:
        pass
    return trainer
