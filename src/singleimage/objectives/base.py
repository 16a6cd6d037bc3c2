"""The adversarial game as data: who plays, how often, and what is fresh each time."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.generators.base import ALL, Encoded, Encoding, Layered, Trainee
from singleimage.latent import Latent, seed_for, splice
from singleimage.nn.blocks import Judgement
from singleimage.resample import Size

Player = Literal["critic", "generator"]
Path = tuple[Tensor | None, Latent]
"""What the frozen levels make of a latent, and the latent."""
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


class Critic(Protocol):
    """A network that scores every patch of an image."""

    def mean_scores(self, images: Tensor) -> Tensor:
        """The mean score of each image, (B,)."""
        ...

    def judge(self, real: Tensor, fake: Tensor, between: Tensor, seed: int) -> Judgement:
        """All that a critic learns from, differentiable in its weights.

        `seed` decides what is random in it.
        """
        ...


@runtime_checkable
class Conditional(Protocol):
    """Critics of photos, one each: what scores is what `bind` gives."""

    @property
    def moves_generator(self) -> bool:
        """Whether a part of the generator learns in the critic's turns."""
        ...

    def bind(self, photos: Tensor, share: slice) -> Critic:
        """The critics of the photos of `share`, where all are (B, C, H, W) in [-1, 1]."""
        ...


class StepView:
    """What an objective may look at during one training step.

    Images are computed when they are first asked for, and kept until their noise is redrawn or
    the generator moves: three critic steps on one noise share one generated image.
    """

    def __init__(
        self,
        *,
        trainee: Trainee,
        critic: Critic | Conditional | None,
        example: Sequence[Tensor],
        level: int,
        sizes: Sequence[Size],
        seed: int,
        anchor_approach: Tensor | None,
        feed: Callable[[int], Tensor | None],
        redraws: int = 0,
        recompute: bool = False,
        share: slice = ALL,
    ) -> None:
        """Args:
        critic: None where the objective has no turn for one.
        example: the photo at all levels, once for every image of a batch; or a batch of photos.
        level: the newest.
        share: the part of the batch to look at.
        anchor_approach: what `trainee.approach` makes of the anchor.
        feed: the base input that a seed gives in place of noise, or None.
        redraws: how often `redraw_coarser` will be called.
        recompute: see `TrainingSpec`.
        """
        self._critic = critic
        self._bound: Critic | None = None
        self._photos = example[-1]
        self._share = share
        self._reals = [images[share] for images in example[: level + 1]]
        self.real = self._reals[-1]
        """The photo at this level, (B, C, H, W) in [-1, 1]."""
        self._trainee = trainee
        self._seed = seed
        self._anchored: Path | None = (anchor_approach, trainee.anchor())
        self._batch = len(self.real)
        draws: list[tuple[int | str, ...]] = [("latent",)]
        draws += [("coarser", repeat) for repeat in range(1, redraws + 1)]
        numbers = _numbers(len(example[level]))[share]
        seeds = [seed_for(seed, *draw, *i) for draw in draws for i in numbers]
        # The noise of all redraws is one batch: the frozen levels see it in one pass.
        self._drawn = trainee.draw(sizes, seeds)
        bases = [base for seed in seeds if (base := feed(seed)) is not None]
        if bases:
            self._drawn = Latent((torch.cat(bases), *self._drawn.maps[1:]), self._drawn.sizes)
        self._approaches: Sequence[Tensor | None] = ()
        self._draw = 0
        self._recompute = recompute
        self._observed = False
        self._shown: Tensor | None = None
        self._fake: Tensor | None = None
        self._reconstruction: Tensor | None = None
        self._uses: Counter[str] = Counter()

    @property
    def critic(self) -> Critic:
        """The critic; only where the objective has a turn for it."""
        assert self._critic is not None, "an objective without a critic's turn asks for the critic"
        if self._bound is None:
            if isinstance(self._critic, Conditional):
                self._bound = self._critic.bind(self._photos, self._share)
            else:
                self._bound = self._critic
        return self._bound

    @property
    def encoded(self) -> Encoded:
        """The photo as an encoder sees it; only of generators that have one."""
        assert isinstance(self._trainee, Encoding), "a variational objective needs an encoder"
        return self._trainee.encoded

    @property
    def draft(self) -> Tensor:
        """What the anchor has become where the moving levels begin, see `Trainee.approach`."""
        approach, _ = self._anchor()
        assert approach is not None, "a variational objective needs a decoder"
        return approach

    @property
    def shown(self) -> Tensor:
        """The image made of this step's noise, for the critic: without a graph."""
        if not self._recompute:
            return self.fake.detach()
        if self._shown is None:
            path = self._path()  # with its graph, where frozen levels pass gradients on
            with torch.no_grad():
                (self._shown,) = self._refine([path])
        return self._shown

    @property
    def fake(self) -> Tensor:
        """The image made of this step's noise, with its graph."""
        if self._fake is None:
            both = self._trainee.together and self._reconstruction is None
            paths = [self._path()] + ([self._anchor()] if both else [])
            self._fake, *rest = self._refine(paths)
            self._reconstruction = rest[0] if both else self._reconstruction
        return self._fake

    @property
    def reconstruction(self) -> Tensor:
        """The image made of the anchor noise, with its graph, once for every image of a batch."""
        if self._reconstruction is None:
            (self._reconstruction,) = self._trainee.refine([self._anchor()])
        return self._reconstruction.expand_as(self.real)

    def reconstruction_error(self, *, accumulate: bool) -> Tensor:
        """How far the reconstruction is from the photo, mean squared.

        `accumulate`: the mean of the errors of all levels so far, where the trainee shows them.
        """
        made, reals = [self.reconstruction], [self.real]
        if isinstance(self._trainee, Layered):
            if accumulate:
                made, reals = self._trainee.reconstructions, self._reals
            errors = [F.mse_loss(image, real) for image, real in zip(made, reals, strict=True)]
            error = torch.stack(errors).mean()
            self._trainee.follow(error)
            return error
        return F.mse_loss(made[0], self.real)

    def fresh_seed(self, use: str) -> int:
        """A seed for `use`, another at each call, that depends on the step's seed alone."""
        self._uses[use] += 1
        return seed_for(self._seed, use, self._uses[use])

    def uniform(self) -> float:
        """A number in [0, 1), fresh at each call, that depends on the step's seed alone."""
        generator = torch.Generator().manual_seed(self.fresh_seed("uniform"))
        return float(torch.rand((), generator=generator, dtype=torch.float64))

    def _path(self) -> Path:
        """What the frozen levels make of the current draw, and its noise."""
        if not self._approaches:
            approach = self._trainee.approach(self._drawn)
            count = self._drawn.batch // self._batch
            parts = None if approach is None else torch.split(approach, self._batch)
            self._approaches = [None] * count if parts is None else parts
        # The newest level keeps its noise.
        newest = len(self._drawn.sizes) - 1
        first = self._draw * self._batch
        drawn = self._drawn.items(first, first + self._batch)
        latent = splice(drawn, self._drawn.items(0, self._batch), newest)
        return self._approaches[self._draw], latent

    def _anchor(self) -> Path:
        """The same of the anchor."""
        if self._anchored is None:
            anchor = self._trainee.anchor()
            self._anchored = self._trainee.approach(anchor), anchor
        return self._anchored

    def _refine(self, paths: list[Path]) -> list[Tensor]:
        # The published SinGAN generates once and reuses it in all generator steps; what we make
        # again after that must not count twice in running statistics.
        observe, self._observed = not self._observed, True
        return self._trainee.refine(paths, observe=observe)

    def redraw_coarser(self, repeat: int) -> None:
        """Fresh noise for the levels under the newest; the newest keeps its own."""
        self._draw = repeat
        self._observed = False
        self._fake = self._shown = None

    def critic_moved(self) -> None:
        """Predict critics of photos anew; and generators, where they moved too."""
        self._bound = None
        if isinstance(self._critic, Conditional) and self._critic.moves_generator:
            self.generator_moved()

    def generator_moved(self) -> None:
        """Forget the images of the generator as it was, and where it is predicted, itself."""
        self._fake = self._shown = None
        self._reconstruction = None
        if isinstance(self._trainee, Layered):
            self._trainee.renew()
            self._anchored, self._approaches = None, ()


def _numbers(batch: int) -> list[tuple[int, ...]]:
    """What sets the seeds of the images of a batch apart: nothing, and 1, 2, ..."""
    return [(), *((i,) for i in range(1, batch))]


class Objective(Protocol):
    """A loss for each player and the order of their turns."""

    @property
    def turns(self) -> tuple[Turn, ...]: ...

    def terms(self, player: Player, view: StepView) -> Terms:
        """The player's loss, in named parts."""
        ...
