"""How to see that a level has collapsed to one pure color, or lost the photo it had learned.

A critic can push all pixels into the flat end of tanh, where no gradient leads back. Or its
gradients grow in a few steps until they throw the generator off, which then learns anew, at a
rate that is too small for what is left of the level.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from singleimage.generators.base import Generator
from singleimage.recipes.recipe import Schedule

LOOKS = 8
"""How often in a level the trainer looks whether it has collapsed."""
LEAST_APART = 40
"""Steps between two looks, at least."""
FLAT = 0.01
"""A reconstruction of less than this part of the photo's variance is one color."""
LOST = 10.0
"""A reconstruction with so many times the smallest squared error of the level has lost the photo.

In 284 levels of trainings of ConSinGAN's kind this is so of one, whose samples were white."""
ROOM = 0.5
"""`generator.head_room` with which levels seldom collapse."""
MANY = 10
"""The most restarts a recipe takes."""
SATURATED = 0.98
"""Mean size of values where tanh has no slope; levels of little contrast begin in one gray."""


Fault = Literal["flat", "lost"]


class CollapseWatch:
    """Looks at the reconstruction of a level now and then, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: Fault | None = None
        """What was wrong at the last look."""
        self.least = math.inf
        """The smallest squared error so far, a mean over pixels."""

    def fault(
        self, generator: Generator, photo: Tensor, *, limit: float, last: bool
    ) -> Fault | None:
        """Look at a level: what is wrong for the second time running, or at the end.

        Args:
            generator: of the levels so far.
            photo: (1, C, H, W) in [-1, 1], or a clip.
            limit: largest value of its images.
            last: whether this is after the last step of the level.

        Returns:
            "flat": it is one pure color. "lost": it was far nearer to the photo before.
        """
        made = generator.decode(generator.anchor())
        error = float((made - photo).square().mean())
        before, self.seen = self.seen, None
        if is_one_color(made, photo, limit):
            self.seen = "flat"
        elif error > LOST * self.least:
            self.seen = "lost"
        self.least = min(self.least, error)
        return self.seen if last or before == self.seen else None

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {"seen": self.seen, "least": self.least}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what it had seen; states of old trainings do not say."""
        self.seen, self.least = state.get("seen"), state.get("least", math.inf)


def mend_of(schedule: Schedule) -> str:
    """What a user can try against collapse, in words: a recipe has its `schedule`."""
    room = getattr(schedule.generator, "head_room", None)
    if room is not None and room < ROOM:
        return f"generator.head_room={ROOM} for a photo mostly black or white, or another seed"
    if schedule.training.restarts < MANY:
        return f"another seed, or training.restarts={MANY}, which begins such levels again"
    return "another seed, or the preset flow, which needs no training"


def is_time_to_look(step: int, steps: int) -> bool:
    """Whether to look after `step` of `steps`: now and then, and at the end."""
    apart = max(steps // LOOKS, LEAST_APART)
    return step >= LEAST_APART and (step == steps or step % apart == 0)


def is_one_color(made: Tensor, photo: Tensor, limit: float = 1.0) -> bool:
    """Tell whether the reconstruction of a photo is one pure color.

    Args:
        made: the reconstruction, (1, C, H, W).
        photo: of its shape, in [-1, 1]; or both are clips.
        limit: largest value of images that are made, where they have no slope.
    """
    spread, wanted = (x.flatten(2).var(2, correction=0).mean() for x in (made, photo))
    return bool((spread < FLAT * wanted) & (made.abs().mean() > SATURATED * limit))
