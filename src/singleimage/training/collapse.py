"""How to see that a level has collapsed to one pure color.

A critic can push all pixels into the flat end of tanh, where no gradient leads back.
"""

from torch import Tensor

from singleimage.generators.base import Generator
from singleimage.recipes.recipe import Schedule

LOOKS = 8
"""How often in a level the trainer looks whether it has collapsed."""
LEAST_APART = 40
"""Steps between two looks, at least."""
FLAT = 0.01
"""A reconstruction of less than this part of the photo's variance is one color."""
ROOM = 0.5
"""`generator.head_room` with which levels seldom collapse."""
MANY = 10
"""The most restarts a recipe takes."""
SATURATED = 0.98
"""Mean size of values where tanh has no slope; levels of little contrast begin in one gray."""


class CollapseWatch:
    """Looks at the reconstruction now and then, and remembers the last look."""

    def __init__(self) -> None:
        self.flat = False
        """Whether it was one color at the last look."""

    def collapsed(self, generator: Generator, photo: Tensor, *, limit: float, last: bool) -> bool:
        """Look at a level: whether it is one color for the second time running, or at the end.

        Args:
            generator: of the levels so far.
            photo: (1, C, H, W) in [-1, 1], or a clip.
            limit: largest value of its images.
            last: whether this is after the last step of the level.
        """
        before, self.flat = self.flat, is_one_color(generator, photo, limit)
        return self.flat and (before or last)


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


def is_one_color(generator: Generator, photo: Tensor, limit: float = 1.0) -> bool:
    """Tell whether the reconstruction of a photo is one pure color.

    Args:
        generator: that reconstructs.
        photo: (1, C, H, W) in [-1, 1], or a clip.
        limit: largest value of its images, where they have no slope.
    """
    made = generator.decode(generator.anchor())
    spread, wanted = (x.flatten(2).var(2, correction=0).mean() for x in (made, photo))
    return bool((spread < FLAT * wanted) & (made.abs().mean() > SATURATED * limit))
