"""What an objective may look at during one training step."""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.generators.base import ALL, Encoded, Intermediate, TrainingView
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent, seed_for, splice
from singleimage.nn.critic import Critic, Scorer


class StepView:
    """The images of one training step, and the critic's scores of them.

    Images are computed when they are first asked for, and kept until their noise is redrawn or
    the generator moves: three critic steps on one noise share one generated image.
    """

    def __init__(
        self,
        *,
        generator: TrainingView,
        critic: Critic | None,
        example: Sequence[Tensor],
        level: int,
        step: int,
        sizes: Sequence[Size],
        seed: int,
        anchor_frozen: Tensor | None,
        base_input: Callable[[int], Tensor | None],
        redraws: int = 0,
        recompute: bool = False,
        share: slice = ALL,
        seen: Tensor | None = None,
    ) -> None:
        """Args:
        critic: None where the objective has no turn for one.
        example: the photo at all levels, once for every image of a batch; or a batch of photos.
        level: the newest.
        step: how many were taken at that level before this one.
        sizes: of the levels up to the newest.
        seed: decides the noise of the step.
        anchor_frozen: what `generator.run_frozen` makes of the anchor.
        base_input: what a seed gives level 0 in place of noise, or None.
        redraws: how often `redraw_coarser` will be called.
        recompute: see `TrainingSpec`.
        share: the part of the batch to look at.
        seen: the photos as what predicts critics sees them; None: their finest level.
        """
        self._critic = critic
        self._scorer: Scorer | None = None
        self._photos = example[-1] if seen is None else seen
        self._share = share
        self._reals = [images[share] for images in example[: level + 1]]
        self.real = self._reals[-1]
        """The photo at this level, (B, C, H, W) in [-1, 1]."""
        self.step = step
        """Steps that were taken at this level before this one."""
        self.critic_moves = 0
        """Optimizer steps of the critic in this step so far."""
        self._generator = generator
        self._seed = seed
        self._anchored: Intermediate | None = (anchor_frozen, generator.anchor())
        self._batch = len(self.real)
        draws: list[tuple[int | str, ...]] = [("latent",)]
        draws += [("coarser", repeat) for repeat in range(1, redraws + 1)]
        numbers = _numbers(len(example[level]))[share]
        seeds = [seed_for(seed, *draw, *i) for draw in draws for i in numbers]
        # The noise of all redraws is one batch: the frozen levels see it in one pass.
        self._drawn = generator.draw(sizes, seeds)
        bases = [base for seed in seeds if (base := base_input(seed)) is not None]
        if bases:
            self._drawn = Latent((torch.cat(bases), *self._drawn.maps[1:]), self._drawn.sizes)
        self._frozen: Sequence[Tensor | None] = ()
        self._draw = 0
        self._recompute = recompute
        self._observed = False
        self._shown: Tensor | None = None
        self._fake: Tensor | None = None
        self._reconstruction: Tensor | None = None
        self._uses: Counter[str] = Counter()

    @property
    def critic(self) -> Scorer:
        """What scores images; only where the objective has a turn for the critic."""
        assert self._critic is not None, "an objective without a critic's turn asks for the critic"
        if self._scorer is None:
            self._scorer = self._critic.bind(self._photos, self._share)
        return self._scorer

    @property
    def encoded(self) -> Encoded:
        """The photo as an encoder sees it; only of generators that have one."""
        return self._generator.encoded

    @property
    def draft(self) -> Tensor:
        """What the anchor has become where the moving levels begin; see `run_frozen`."""
        frozen, _ = self._anchor()
        assert frozen is not None, "a variational objective needs a decoder"
        return frozen

    @property
    def shown(self) -> Tensor:
        """The image (B, C, H, W) made of this step's noise, for the critic: without a graph."""
        if not self._recompute:
            return self.fake.detach()
        if self._shown is None:
            drawn = self._current()  # with its graph, where frozen levels pass gradients on
            with torch.no_grad():
                (self._shown,) = self._run_trained([drawn])
        return self._shown

    @property
    def fake(self) -> Tensor:
        """The image (B, C, H, W) made of this step's noise, with its graph."""
        if self._fake is None:
            both = self._generator.together and self._reconstruction is None
            inputs = [self._current()] + ([self._anchor()] if both else [])
            self._fake, *rest = self._run_trained(inputs)
            self._reconstruction = rest[0] if both else self._reconstruction
        return self._fake

    @property
    def reconstruction(self) -> Tensor:
        """The image made of the anchor noise, with its graph, once for every image of a batch."""
        if self._reconstruction is None:
            (self._reconstruction,) = self._generator.run_trained([self._anchor()])
        return self._reconstruction.expand_as(self.real)

    def reconstruction_error(self, *, accumulate: bool) -> Tensor:
        """How far the reconstruction is from the photo, mean squared; a scalar.

        Args:
            accumulate: the mean of the errors of all levels so far, where the generator is
                predicted and shows them.
        """
        made, reals = [self.reconstruction], [self.real]
        if not self._generator.predicted:
            return F.mse_loss(made[0], self.real)
        if accumulate:
            made, reals = self._generator.reconstructions, self._reals
        errors = [F.mse_loss(image, real) for image, real in zip(made, reals, strict=True)]
        error = torch.stack(errors).mean()
        self._generator.follow(error)
        return error

    def fresh_seed(self, use: str) -> int:
        """A seed for `use`, another at each call, that depends on the step's seed alone."""
        self._uses[use] += 1
        return seed_for(self._seed, use, self._uses[use])

    def uniform(self) -> float:
        """A number in [0, 1), fresh at each call, that depends on the step's seed alone."""
        generator = torch.Generator().manual_seed(self.fresh_seed("uniform"))
        return float(torch.rand((), generator=generator, dtype=torch.float64))

    def redraw_coarser(self, repeat: int) -> None:
        """Draw fresh noise for all levels but the newest, which keeps its own.

        Args:
            repeat: counts the draws of a step, so that each has noise of its own.
        """
        self._draw = repeat
        self._observed = False
        self._fake = self._shown = None

    def critic_moved(self) -> None:
        """Forget predicted critics; and where the generator moved with the critic, its images."""
        self.critic_moves += 1
        self._scorer = None
        if self._critic is not None and self._critic.moves_generator:
            self.generator_moved()

    def generator_moved(self) -> None:
        """Forget the images of the generator as it was; and where it is predicted, itself."""
        self._fake = self._shown = None
        self._reconstruction = None
        if self._generator.predicted:
            self._generator.predict_again()
            self._anchored, self._frozen = None, ()

    def _current(self) -> Intermediate:
        """What the frozen levels make of the current draw, and its noise."""
        if not self._frozen:
            frozen = self._generator.run_frozen(self._drawn)
            count = self._drawn.batch // self._batch
            parts = None if frozen is None else torch.split(frozen, self._batch)
            self._frozen = [None] * count if parts is None else parts
        # The newest level keeps its noise.
        newest = len(self._drawn.sizes) - 1
        first = self._draw * self._batch
        drawn = self._drawn.items(range(first, first + self._batch))
        latent = splice(drawn, self._drawn.items(range(self._batch)), newest)
        return self._frozen[self._draw], latent

    def _anchor(self) -> Intermediate:
        """What the frozen levels make of the anchor, and the anchor itself."""
        if self._anchored is None:
            anchor = self._generator.anchor()
            self._anchored = self._generator.run_frozen(anchor), anchor
        return self._anchored

    def _run_trained(self, inputs: list[Intermediate]) -> list[Tensor]:
        # The published SinGAN generates once and reuses it in all generator steps; what we make
        # again after that must not count twice in running statistics.
        observe, self._observed = not self._observed, True
        return self._generator.run_trained(inputs, observe=observe)


def _numbers(batch: int) -> list[tuple[int, ...]]:
    """What sets the seeds of the images of a batch apart: nothing, and 1, 2, ..."""
    return [(), *((i,) for i in range(1, batch))]
