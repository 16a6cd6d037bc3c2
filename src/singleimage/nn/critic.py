"""What the trainer and the objectives ask of a critic, whatever the method."""

import abc
from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor, nn


class CriticOutputs(NamedTuple):
    """All that a critic learns from in its turn."""

    real: Tensor
    """Mean scores of the photos (B,)."""
    fake: Tensor
    """Mean scores of generated images (B,)."""
    gradient: Tensor
    """Gradient of the summed scores at images between the two, (B, C, H, W) or (0, C, H, W)."""
    errors: Mapping[str, Tensor] = {}
    """How far the photos are from what the critic redraws of them, by name, mean squared; none
    if it redraws nothing."""


class Scorer(Protocol):
    """Scores every patch of an image. Objectives see this of a critic and nothing else."""

    def mean_scores(self, images: Tensor) -> Tensor:
        """Score `images` (B, C, H, W) in [-1, 1]: the mean score (B,) of each, unbounded."""
        ...

    def judge(self, real: Tensor, fake: Tensor, between: Tensor, seed: int) -> CriticOutputs:
        """All that a critic learns from, differentiable in its weights.

        Args:
            real, fake: photos and generated images (B, C, H, W) in [-1, 1].
            between: where the gradient is taken: as many images between them, or none (0, C, H, W),
                where there is no penalty.
            seed: decides what is random in it.
        """
        ...


class Critic(nn.Module, abc.ABC):
    """A critic as the trainer sees it. Most are `Scorer`s themselves, and `bind` returns them."""

    per_photo = False
    """Whether it predicts a critic for each photo."""
    moves_generator = False
    """Whether a part of the generator learns in the critic's turns."""

    @abc.abstractmethod
    def bind(self, photos: Tensor, share: slice) -> Scorer:
        """What scores images of these photos.

        Args:
            photos: those of a step (B, C, H, W) in [-1, 1].
            share: the part of them whose images are scored.
        """

    def critic_of(self, photo: Tensor) -> "Critic":
        """The critic of one photo (1, C, H, W) in [-1, 1], with weights of its own."""
        return self

    def borrow(self, embedding: nn.Module) -> None:
        """Take the generator's embedding of photos, if this critic is to share it."""

    def learning(self) -> list[nn.Parameter]:
        """What the critic's turns move."""
        return list(self.parameters())


Net = TypeVar("Net", bound=nn.Module)


def inherit(new: Net, old: nn.Module | None) -> Net:
    """Return `new` with the weights of `old`, where the two have equal shapes (a warm start).

    SinGAN carries networks over while the width stays; ConSinGAN carries its critic always.
    """
    if old is not None:
        ours, theirs = new.state_dict(), old.state_dict()
        if {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}:
            new.load_state_dict(theirs)
    return new
