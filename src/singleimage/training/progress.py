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
    """Weighted terms of the last critic and the last generator loss of the step. A critic's step
    without a penalty has no such term (`penalty_every`)."""
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


OVERHEAD = 4000
"""Cost of a step beside that of its pixels, in pixels, where it is not known."""


def step_seconds(known: Sequence[tuple[float, float]], work: float) -> float:
    """Estimate the seconds of a step from those of levels with less work.

    It is the longer one of two guesses: on the line through the last two levels, as where a
    processor is busy with arithmetic; and in proportion to the work and a usual overhead, as where
    it is fast and large levels leave its caches.

    Args:
        known: pixels, or other work, of one or more levels and seconds of a step there, ascending.
        work: of the level that is asked for.
    """
    last, seconds = known[-1]
    usual = seconds * (work + OVERHEAD) / (last + OVERHEAD)
    if len(known) < 2 or known[-2][0] >= last:
        return usual
    before, less = known[-2]
    return max(usual, seconds + (work - last) * (seconds - less) / (last - before))


class Pace:
    """Guesses the time that is left from the steps seen so far and the pixels of each level."""

    def __init__(self, ladder: Ladder, steps: Sequence[int]) -> None:
        """Begin with the levels of a `ladder` and the `steps` of each."""
        shapes = map(ladder.shape, range(len(ladder.sizes)))
        self._pixels = [math.prod(shape) for shape in shapes]
        self._steps = steps
        self._seconds: dict[int, float] = {}

    def after(self, seconds: float, level: int, step: int) -> float:
        """Estimate the seconds that are left.

        Args:
            seconds: that the last step took.
            level: that is trained.
            step: how many steps of that level are done.
        """
        smoothed = self._seconds.setdefault(level, seconds)
        self._seconds[level] = now = smoothed + 0.1 * (seconds - smoothed)
        known = [(self._pixels[i], found) for i, found in self._seconds.items()]
        later = zip(self._pixels[level + 1 :], self._steps[level + 1 :], strict=True)
        to_come = sum(count * step_seconds(known, pixels) for pixels, count in later)
        return to_come + now * (self._steps[level] - step)

    def share(self, level: int, step: int) -> float:
        """How much of all work is done after `step` steps of a `level`, from 0 to 1."""
        work = [pixels + OVERHEAD for pixels in self._pixels]
        each = [pixels * steps for pixels, steps in zip(work, self._steps, strict=True)]
        return (sum(each[:level]) + work[level] * step) / sum(each)
