"""What a training would be, before it is begun: its levels, parameters and time."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import torch

from singleimage.images.photo import Photo
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import Ladder
from singleimage.nn.precision import Precision
from singleimage.recipes.recipe import Recipe
from singleimage.training.trainer import Trainer


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
    """The faster of two steps on this machine."""

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
    """What each level of a training would be, found by trying it for three steps.

    The first step, a warm-up, is not timed.

    Args:
        photo, recipe, seed, device, precision: as `Trainer`.

    Returns:
        One plan a level, coarsest first.

    Raises:
        SingleImageError: as `Trainer`.
    """
    phases = tuple(msgspec.structs.replace(phase, steps=None) for phase in recipe.phases)
    short = msgspec.structs.replace(recipe.with_steps(3), phases=phases)
    trainer = Trainer(photo, short, seed=seed, device=device, precision=precision)
    plans: list[LevelPlan] = []
    seconds: list[float] = []
    for progress in trainer:
        seconds.append(progress.seconds)
        if progress.level_done:
            ladder = trainer.example.ladder.truncated(progress.level + 1)
            counts = count_parameters(recipe, ladder, channels=trainer.photo.channels.count)
            frames = ladder.frames(progress.level)
            steps = recipe.schedule.steps_at(progress.level)
            plans.append(LevelPlan(ladder.finest, frames, *counts, steps, min(seconds[-2:])))
    return plans


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
