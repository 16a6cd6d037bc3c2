"""The adversarial game as data: who plays, how often, and what is fresh each time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from singleimage.objectives.view import StepView

Player = Literal["critic", "generator"]
Terms = Mapping[str, Tensor]
"""Named scalars, already weighted and signed: their sum is the loss."""


@dataclass(frozen=True)
class Turn:
    """One player's part of a training step."""

    player: Player
    repeats: int
    redraw: Literal["nothing", "coarser"] = "nothing"
    """What is fresh at each repeat after the first: nothing, or the noise of the coarser levels."""
    reuse_gradient: bool = False
    """Take all optimizer steps with the first repeat's gradient (ConSinGAN's code): a larger
    effective step for a third of the backward passes."""


class Objective(Protocol):
    """A loss for each player and the order of their turns."""

    @property
    def turns(self) -> tuple[Turn, ...]: ...

    def terms(self, player: Player, view: StepView) -> Terms:
        """Compute the loss of `player` in named parts, from what `view` shows of the step."""
        ...
