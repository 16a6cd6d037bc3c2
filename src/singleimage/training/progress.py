"""How far a training is, and how long it will take."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from singleimage.multiscale.pyramid import Ladder


@dataclass(frozen=True)
class Progress:
    """One finished step."""

    level: int
    levels: int
    step: int
    """Steps of this level that are done, from 1."""
    steps: int
    losses: Mapping[str, float]
    """Weighted terms of the last critic and the last generator loss of the step."""
    seconds: float
    """Duration of the step."""
    remaining: float
    """Estimated seconds to the end of the training."""
    attempt: int = 0
    """How often this level was begun before (`TrainingSpec.restarts`)."""

    again: bool = False
    """Whether the level collapsed in this step and begins again."""

    @property
    def level_done(self) -> bool:
        """Whether this was the last step of its level."""
        return self.step == self.steps and not self.again


class Pace:
    """Guesses the time that is left from the steps seen so far and the pixels of each level."""

    OVERHEAD_PIXELS = 4000
    """Cost of a step beside that of its pixels, in pixels."""

    def __init__(self, ladder: Ladder, steps: Sequence[int]) -> None:
        """Begin with the levels of a `ladder` and the `steps` of each."""
        shapes = map(ladder.shape, range(len(ladder.sizes)))
        self._work = [math.prod(shape) + self.OVERHEAD_PIXELS for shape in shapes]
        self._steps = steps
        self._level = -1
        self._seconds = 0.0

    def after(self, seconds: float, level: int, step: int) -> float:
        """Estimate the seconds that are left.

        Args:
            seconds: that the last step took.
            level: that is trained.
            step: how many steps of that level are done.
        """
        if level != self._level:
            self._level, self._seconds = level, seconds
        self._seconds += 0.1 * (seconds - self._seconds)
        per_work = self._seconds / self._work[level]
        pairs = list(zip(self._work, self._steps, strict=True))
        later = sum(work * steps for work, steps in pairs[level + 1 :])
        return per_work * (later + self._work[level] * (self._steps[level] - step))

    def share(self, level: int, step: int) -> float:
        """How much of all work is done after `step` steps of a `level`, from 0 to 1."""
        each = [work * steps for work, steps in zip(self._work, self._steps, strict=True)]
        return (sum(each[:level]) + self._work[level] * step) / sum(each)
