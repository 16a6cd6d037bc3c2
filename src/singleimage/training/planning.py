"""What a training would be, before it is begun: its levels, parameters, time and memory."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from singleimage.errors import SingleImageError, SizeError
from singleimage.images.photo import Photo
from singleimage.machine.device import find_device
from singleimage.machine.memory import available_bytes, tensor_bytes
from singleimage.machine.processes import anywhere
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import Ladder
from singleimage.nn.precision import Precision
from singleimage.recipes.overrides import fields_of, with_overrides
from singleimage.recipes.recipe import Recipe
from singleimage.training.progress import step_seconds
from singleimage.training.trainer import Trainer

BUDGET = 4.0
"""Seconds for trying levels; the times of finer ones follow from their pixels and channels."""
PROBE = 2
"""Level whose memory is measured: from here on all blocks that train together are there."""
OWN = 400e6
"""Bytes of the program itself."""
SPARE = 1.25
"""Memory that is held over that of the tensors, measured from 100x75 to 256x192 pixels."""
LARGE = 250_000
"""Pixels, of all frames, from which on a training looks at its memory before it begins."""


@dataclass(frozen=True)
class LevelPlan:
    """What one level of a training would be."""

    size: Size
    frames: int | None
    """Frames of the level of a clip; null: of a photo."""
    generator_parameters: int
    """Parameters of the generator with all levels up to this one."""
    critic_parameters: int
    """0 where the objective has no turn for a critic."""
    steps: int
    seconds_per_step: float
    """The faster of two steps on this machine; or after those of a level that was tried."""
    bytes: int | None
    """Memory of the program at this level, about; null: it was not measured."""

    @property
    def text(self) -> str:
        """Size, of a clip with its frames before it."""
        return str(self.size) if self.frames is None else f"{self.frames}x{self.size}"


def plan_training(
    photo: Photo | Sequence[Photo],
    recipe: Recipe,
    *,
    seed: int,
    device: str,
    precision: Precision = "auto",
) -> list[LevelPlan]:
    """What each level of a training would be, found by trying the coarse ones for three steps.

    The first step of a level, a warm-up, is not timed; in the third of one level memory is
    measured. Seconds and memory of levels that would take long follow from their pixels and
    channels.

    Args:
        photo, recipe, seed, device, precision: as `Trainer`.

    Returns:
        One plan a level, coarsest first.

    Raises:
        SingleImageError: as `Trainer`.
    """
    trainer = Trainer(photo, _short(recipe), seed=seed, device=device, precision=precision)
    ladder = trainer.example.ladder
    channels = trainer.photo.channels.count
    counts = [
        count_parameters(recipe, ladder.truncated(level + 1), channels=channels)
        for level in range(trainer.levels)
    ]
    widths = _widths([critic for _, critic in counts])
    pixels = [math.prod(ladder.shape(level)) for level in range(trainer.levels)]
    features = [n * width for n, width in zip(pixels, widths, strict=True)]
    seconds, held = _tried(trainer, features)
    plans: list[LevelPlan] = []
    for level, size in enumerate(ladder.sizes):
        needed = None if held is None else int(OWN + SPARE * held * features[level])
        took = _at(seconds, features, level)
        steps = recipe.schedule.steps_at(level)
        plans.append(LevelPlan(size, ladder.frames(level), *counts[level], steps, took, needed))
    return plans


def _widths(parameters: Sequence[int]) -> list[float]:
    """Feature channels of each level over those of the first, after its critic's parameters.

    A level without a critic counts as the finest does.
    """
    found = [n or parameters[-1] or 1 for n in parameters]
    return [math.sqrt(n / found[0]) for n in found]


def require_memory(
    photo: Photo | Sequence[Photo],
    recipe: Recipe,
    *,
    seed: int,
    device: str,
    precision: Precision = "auto",
) -> None:
    """Refuse a training that needs more memory than there is, before it begins.

    Small ones are not looked at, nor those on GPUs. Arguments are as for `plan_training`.

    Raises:
        SizeError: the finest level needs more memory than is free.
    """
    first = photo if isinstance(photo, Photo) else photo[0]
    try:
        ladder = recipe.pyramid.plan(first.size)
    except SizeError:  # which the training says, after what matters more
        return
    small = math.prod(ladder.shape(len(ladder.sizes) - 1)) < LARGE
    if small or find_device(device).type != "cpu":
        return
    plans = plan_training(photo, recipe, seed=seed, device=device, precision=precision)
    refuse_beyond(plans, recipe)


def refuse_beyond(plans: Sequence[LevelPlan], recipe: Recipe) -> None:
    """Raise `SizeError` if the finest of some levels of a `recipe` needs more memory than is free.

    It says which size of the finest level fits, if the recipe's pyramid has one.
    """
    top, free = plans[-1], available_bytes()
    beyond = top.bytes is not None and free is not None and top.bytes > free
    if not anywhere(beyond):  # all processes go on, or none
        return
    if top.bytes is None or free is None or not beyond:
        raise SizeError("another process has too little memory for this training; see its words.")
    share = math.sqrt(max(free - OWN, 0) / (top.bytes - OWN))
    raise SizeError(
        f"training at {top.text} needs about {top.bytes / 1e9:.0f} GB of memory, {free / 1e9:.0f} "
        f"GB are free; {_way_out(recipe, top.size, share)}."
    )


def _way_out(recipe: Recipe, size: Size, share: float) -> str:
    """What to do where sides of a finest level of some `size` may have `share` of their length."""
    field = recipe.size_field
    side = size.width if field == "pyramid.width" else max(size)
    fits = int(side * share) // 10 * 10
    try:
        with_overrides(recipe, {field: fits}).pyramid.plan(size)
    except SingleImageError:  # under its coarsest level
        return "no size of its pyramid fits: end other programs, or use a machine with more memory"
    return f"set {field}={fits} or less"


def _short(recipe: Recipe) -> Recipe:
    """The recipe with three steps of each level.

    The third, in which memory is measured, has a penalty, which takes most; where not all steps
    have one, the second, which is timed, has none or a few.
    """
    short = recipe.with_steps(3)
    every = {k: n for k, n in fields_of(short).items() if k.endswith(".penalty_every")}
    return with_overrides(short, {path: 3 for path, number in every.items() if number > 1})


def _tried(trainer: Trainer, features: Sequence[float]) -> tuple[list[float], float | None]:
    """Try the levels for which there is time.

    Args:
        trainer: with three steps a level.
        features: numbers that each level holds, up to a factor.

    Returns:
        Seconds of a step of each that was tried, and bytes of tensors for each of `features`.
    """
    seconds: list[float] = []
    held: float | None = None
    probe = min(PROBE, trainer.levels - 1)
    steps = iter(trainer)
    began = time.monotonic()
    for level in range(trainer.levels):
        next(steps)
        taken = [next(steps).seconds]
        if level == probe and trainer.device.type == "cpu":
            held = tensor_bytes(lambda: next(steps)) / features[level]
        else:
            taken.append(next(steps).seconds)
        seconds.append(min(taken))
        left = BUDGET - (time.monotonic() - began)
        finer = level + 1 if level + 1 < trainer.levels else level
        late = 3 * _at(seconds, features, finer) > left
        if level >= probe and anywhere(late):  # processes share a step: all take it, or none
            break
    return seconds, held


def _at(seconds: Sequence[float], features: Sequence[float], level: int) -> float:
    """Seconds of a step of a level: as tried, or after those that were."""
    if level < len(seconds):
        return seconds[level]
    return step_seconds(list(zip(features, seconds, strict=False)), features[level])


def count_parameters(recipe: Recipe, ladder: Ladder, *, channels: int = 3) -> tuple[int, int]:
    """Count the parameters of a generator grown to the top of a ladder, and of the critic there.

    Args:
        recipe: of both.
        ladder: sizes of all levels.
        channels: of the images.

    Returns:
        The two numbers; the second is 0 where no critic plays at that level, and both are where
        nothing is trained.
    """
    if recipe.direct is not None:
        return 0, 0
    with torch.device("meta"):
        generator = recipe.schedule.generator.build(channels=channels, ladder=ladder)
        for _ in ladder.sizes:
            generator.extend(None)
        top = len(ladder.sizes) - 1
        critic = recipe.schedule.critic.build(level=top, channels=channels, generator=None)
    count, critic_count = (sum(p.numel() for p in n.parameters()) for n in (generator, critic))
    return count, critic_count if recipe.schedule.has_critic(top) else 0
