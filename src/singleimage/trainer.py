"""The one training loop. It names no method: a recipe says who learns, against whom, and when.

Iterating a `Trainer` trains. Each step yields a `Progress`; stopping is leaving the loop, and
`state_dict` at any point lets another trainer continue to the same weights, bit for bit.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from singleimage.clip import Clip
from singleimage.collapse import is_one_color, is_time_to_look
from singleimage.device import find_device
from singleimage.errors import Diverged, ImageError, RunError, SizeError, UnsupportedEntry
from singleimage.examples import Examples
from singleimage.feed import Given, ShuffledFeed
from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.generators.hyper import HyperCascade
from singleimage.generators.patch_vae import PatchVAE
from singleimage.hypermodel import HyperModel, Start
from singleimage.image import Photo, joined_digest
from singleimage.latent import seed_for
from singleimage.memory import kept_heap
from singleimage.model import Model
from singleimage.modelfile import Provenance, now, versions
from singleimage.nn.blocks import PatchNet
from singleimage.nn.critic import inherit
from singleimage.nn.decoding import DecodingCritic
from singleimage.nn.hyper import HyperCritic
from singleimage.nn.precision import Precision, resolve_precision, use_precision
from singleimage.nn.spectral import SpectralCritic
from singleimage.objectives.base import Player, StepView, Turn
from singleimage.parallel import average, mean_over_processes, share_of
from singleimage.progress import Pace, Progress
from singleimage.pyramid import Pyramid
from singleimage.recipe import Recipe
from singleimage.resample import resize, size_of

AnyLearner = Cascade | Growing | PatchVAE | HyperCascade
AnyCritic = PatchNet | DecodingCritic | SpectralCritic | HyperCritic
EXPLODED = 1e6
"""A loss term beyond this is taken as divergence; healthy ones stay under a few hundred."""


class Trainer:
    """Trains a recipe on a photo, level by level; a hypernetwork on one or more photos."""

    def __init__(
        self,
        recipe: Recipe,
        photo: Photo | Sequence[Photo],
        *,
        seed: int,
        device: str = "auto",
        precision: Precision = "auto",
        dtype: torch.dtype = torch.float32,
        given: Photo | None = None,
        start: Start | None = None,
    ) -> None:
        """Args: photo, recipe; `seed` decides everything random; `device` as in `find_device`.
            photo: or photos, for a hypernetwork, all with the same channels and aspect; or a clip,
                for a recipe that learns clips.
            given: a changed picture of the photo, of any size, to fine-tune on; see `tune`.
            start: networks that every level begins with, in place of fresh ones.

        Raises:
            SizeError: the photo does not fit the recipe's pyramid.
            ImageError: all pixels of a photo are equal, or photos, or what is given, have other
                channels; or a clip is too short, or no photo.
            RecipeError: several photos for a method that learns one.
            DeviceError: the device is not available.
            UnsupportedEntry: what is given cannot enter the coarsest level.
        """
        self.recipe = recipe
        photos = [photo] if isinstance(photo, Photo) else list(photo)
        self.photo = photos[0]
        self.sha256 = joined_digest([photo.sha256 for photo in photos])
        self.seed = seed
        self.device = find_device(device)
        self.precision = resolve_precision(precision, self.device)
        self._examples = Examples(photos, recipe, torch.empty(0, device=self.device, dtype=dtype))
        self.example = self._examples.pyramid
        """All photos at all levels."""
        coarsest = self.example.ladder.sizes[0]
        if min(coarsest) < (smallest := recipe.critic.smallest_image):
            raise SizeError(
                f"the coarsest level is {coarsest}, but critics need {smallest} pixels a "
                f"side; set pyramid.min_size={smallest} or more."
            )
        self.learner = self._new_learner()
        self.level = 0
        self.step = 0
        self.seconds = 0.0
        """Training time so far."""
        self._share = share_of(self._examples.batch_size)
        self._start = start
        self._critic: AnyCritic | None = start.critic if start else None
        self._optimizers: dict[Player, torch.optim.Optimizer] = {}
        self._anchor_approach: Tensor | None = None
        self._given = None if given is None else self._fed(given)
        self._tuned = False
        self._attempt = 0
        self._beginning: dict[str, Any] | None = None
        """The state in which this level began, where the recipe allows restarts."""
        self._flat = False
        self._pace = Pace(self.example, [recipe.steps_at(i) for i in range(self.levels)])

    @property
    def levels(self) -> int:
        return len(self.example.ladder.sizes)

    @property
    def finished(self) -> bool:
        return self.level == self.levels

    @property
    def position(self) -> tuple[int, int, int]:
        """Level, attempt at it, and steps of it that are done."""
        return self.level, self._attempt, self.step

    def __iter__(self) -> Iterator[Progress]:
        lean = self.recipe.training.recompute  # memory matters more than time
        with contextlib.nullcontext() if lean else kept_heap():
            while not self.finished:
                yield self._advance()

    def _advance(self) -> Progress:
        """One step, and the change to the next level after the last step of one."""
        if not self._optimizers:
            self._beginning = None
            if self.recipe.training.restarts:
                self._beginning = deepcopy(self._state())
            self._begin_level()
        started = time.perf_counter()
        losses = self._train_step()
        self.step += 1
        seconds = time.perf_counter() - started
        self.seconds += seconds
        progress = Progress(
            level=self.level,
            levels=self.levels,
            step=self.step,
            steps=self.recipe.steps_at(self.level),
            losses=losses,
            seconds=seconds,
            remaining=self._pace.after(seconds, self.level, self.step),
            attempt=self._attempt,
        )
        if self._collapsed():
            self._begin_again()
        elif progress.level_done:
            self.level, self.step, self._attempt = self.level + 1, 0, 0
            self._optimizers = {}
        return progress

    def _collapsed(self) -> bool:
        """Whether the reconstruction is one pure color, at two looks running or at the end."""
        steps = self.recipe.steps_at(self.level)
        if not is_time_to_look(self.step, steps):
            return False
        photo, before = self._examples.first, self._flat
        lost = is_one_color(self.learner.generator_of(photo), photo.images[self.level])
        self._flat = lost
        return lost and (before or self.step == steps)

    def _begin_again(self) -> None:
        """Go back to the beginning of a level that collapsed, and on with other noise."""
        level, attempt, seconds = self.level, self._attempt + 1, self.seconds
        if self._beginning is None or attempt > self.recipe.training.restarts:
            raise Diverged(
                f"level {level} has collapsed to one color, step {self.step}; try another seed, or "
                f"training.restarts={attempt + 2}, which begins such levels again."
            )
        self.learner, self._critic, self._optimizers = self._new_learner(), None, {}
        self.load_state_dict(self._beginning)
        self._attempt, self.seconds = attempt, seconds

    def model(self) -> Model:
        """The model of the levels finished so far. It shares its weights with this trainer.

        Raises:
            RunError: training stands in the middle of a level.
        """
        self._require_level()
        generator = self.learner.generator_of(self._examples.first)
        recipe = self.recipe.of_one()
        image = self._examples.first.images[self.level - 1][0].float().cpu()
        return Model(generator, recipe, self.photo.channels, self._provenance(), image)

    def hyper_model(self) -> HyperModel:
        """The hypernetwork of the levels finished so far. It shares its weights with this trainer.

        Raises:
            RunError: training stands in the middle of a level, or the recipe has none.
        """
        if not isinstance(self.learner, HyperCascade):
            raise RunError(f"{self.recipe.name} trains no hypernetwork; use meta or meta-small.")
        self._require_level()
        critic = self._critic if isinstance(self._critic, HyperCritic) else None
        origin = self._provenance()
        return HyperModel(self.learner, critic, self.recipe, self.photo.channels, origin)

    def _require_level(self) -> None:
        if self._optimizers or self.level == 0:
            raise RunError(f"level {self.level} is not finished; take the model between levels.")

    def _provenance(self) -> Provenance:
        return Provenance(
            photo=(self.photo.size.height, self.photo.size.width),
            image_sha256=self.sha256,
            fps=self.photo.fps if isinstance(self.photo, Clip) else None,
            photos=len(self.example.images[0]),
            seed=self.seed,
            levels=self.level,
            seconds=round(self.seconds, 1),
            device=str(self.device),
            precision=self.precision,
            created=now(),
            versions=versions(),
        )

    def tune(self) -> None:
        """Go on with the finest level of a finished training, for the picture that was `given`.

        The base input is that picture, in place of what the recipe feeds; the critic and the
        reconstruction keep to the photo (ConSinGAN, section 3; the code's `--fine_tune`).

        Raises:
            RunError: the training is not finished, or nothing was given.
        """
        if not self.finished:
            raise RunError("the training is not finished; continue it first, then tune it.")
        if self._given is None:
            raise RunError("no picture to tune on; make the trainer with `given`.")
        self.level -= 1
        self._tuned, self._beginning = True, None
        self._make_players()

    def _fed(self, given: Photo) -> Given:
        """What level 0 is fed when it is tuned on a picture."""
        if isinstance(self.learner, HyperCascade) or 0 not in self.learner.entry_levels:
            raise UnsupportedEntry(
                f"{self.recipe.name} takes no picture at level 0; use consingan."
            )
        if given.channels.count != self.photo.channels.count:
            raise ImageError("the picture has other channels than the photo; convert it.")
        coarsest = self.example.images[0]
        feed = self.recipe.feed
        base = resize(given.pixels[None].to(coarsest), size_of(coarsest))
        return Given(base, feed.noise if isinstance(feed, ShuffledFeed) else 0.0)

    def _batch(self, step: int) -> Pyramid:
        return self._examples.batch(step, lambda epoch: self._seed("epoch", epoch))

    def _new_learner(self) -> AnyLearner:
        spec, channels = self.recipe.generator, self.photo.channels.count
        learner: AnyLearner = spec.build(channels=channels, ladder=self.example.ladder)
        return learner.to(self.device, self.example.images[0].dtype)

    def _seed(self, *parts: int | str) -> int:
        """The seed for a part of this attempt at the level."""
        again = ("attempt", self._attempt) if self._attempt else ()
        return seed_for(self.seed, *again, self.level, *parts)

    def _begin_level(self) -> None:
        self.learner.grow(self._batch(0), self._seed("level"))
        if self._start is not None and isinstance(self.learner, Cascade):
            self.learner.adopt(self._start.generator)
        self._make_players()

    def _make_players(self) -> None:
        """Critic and optimizers of the current level, and what stays constant during it."""
        use_precision(self.learner, self.precision)
        training = self.recipe.training
        self.learner.train()
        groups = self.learner.param_groups(training.lr_generator)
        self._optimizers = {"generator": self._adam(groups, training.lr_generator)}
        if self.recipe.has_critic(self.level):
            weights = torch.Generator().manual_seed(self._seed("critic"))
            self._critic = inherit(self._fresh_critic(self.level, weights), self._critic)
            self._critic.train()
            use_precision(self._critic, self.precision)
            critic = self._critic
            learning = critic.learning() if isinstance(critic, HyperCritic) else critic.parameters()
            self._optimizers["critic"] = self._adam(
                [{"params": list(learning)}], training.lr_critic
            )
        trainee = self.learner.bind(self._batch(0), self._share)
        self._anchor_approach = trainee.approach(trainee.anchor()) if trainee.steady else None

    def _fresh_critic(self, level: int, generator: torch.Generator | None) -> AnyCritic:
        critic = self.recipe.critic.build(
            level=level, channels=self.photo.channels.count, generator=generator
        )
        if isinstance(critic, HyperCritic) and isinstance(self.learner, HyperCascade):
            critic.share(self.learner.embedding)
        return critic.to(self.device, self.example.images[0].dtype)

    def _base(self, seed: int) -> Tensor | None:
        feed = self._given if self._tuned and self._given else self.recipe.feed
        return feed.base(self.example.images[0], seed)

    def _adam(self, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam(groups, lr=lr, betas=self.recipe.training.betas, fused=True)
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
        return optimizer

    def _train_step(self) -> dict[str, float]:
        seed = self._seed(self.step)
        self.learner.refresh(seed)
        turns = self.recipe.objective_at(self.level).turns
        example = self._batch(self.step)
        trainee = self.learner.bind(example, self._share)
        approach = self._anchor_approach if trainee.steady else trainee.approach(trainee.anchor())
        view = StepView(
            trainee=trainee,
            critic=self._critic,
            example=example.images,
            level=self.level,
            sizes=self.example.ladder.sizes[: self.level + 1],
            seed=seed,
            anchor_approach=approach,
            feed=self._base,
            redraws=max((t.repeats - 1 for t in turns if t.redraw == "coarser"), default=0),
            recompute=self.recipe.training.recompute,
            share=self._share,
        )
        terms: dict[str, Tensor] = {}
        for turn in turns:
            terms |= self._play(turn, view)
        values = mean_over_processes(torch.stack(list(terms.values())))
        losses = dict(zip(terms, values.tolist(), strict=True))  # one wait for the device a step
        self._require_sane(losses)
        return losses

    def _play(self, turn: Turn, view: StepView) -> dict[str, Tensor]:
        objective = self.recipe.objective_at(self.level)
        optimizer = self._optimizers[turn.player]
        steps = self.recipe.steps_at(self.level)
        factor = self.recipe.training.rate_factor(self.step, steps)
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self._critic is not None:
            self._critic.requires_grad_(turn.player == "critic")
        training, generator = self.recipe.training, turn.player == "generator"
        clip = training.clip_generator if generator else training.clip_critic
        terms: Mapping[str, Tensor] = {}
        for repeat in range(turn.repeats):
            if repeat and turn.redraw == "coarser":
                view.redraw_coarser(repeat)
            if repeat == 0 or not turn.reuse_gradient:
                terms = objective.terms(turn.player, view)
                # Only this player's gradients are computed; the other is left as it is.
                total = torch.stack(list(terms.values())).sum()
                gradients = average(list(torch.autograd.grad(total, parameters)))
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    if gradient.stride() != parameter.stride():  # the optimizer wants them equal
                        gradient = torch.empty_like(parameter).copy_(gradient)
                    parameter.grad = gradient
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            increment_version(parameters)  # fused Adam forgets to: casts of weights must notice
            view.generator_moved() if generator else view.critic_moved()
        return {name: term.detach() for name, term in terms.items()}

    def _require_sane(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            if not math.isfinite(value) or abs(value) > EXPLODED:
                raise Diverged(
                    f"training diverged at level {self.level}, step {self.step}: {name} is "
                    f"{value:g}. "
                    f"The last good state is kept; lower training.lr_generator and "
                    f"training.lr_critic, or try another seed."
                )

    def state_dict(self) -> dict[str, Any]:
        """All that a trainer of the same recipe, photo and seed needs to continue from here.

        Raises:
            Diverged: a weight is not finite.
        """
        state = self._state()
        for part in ("learner", "critic"):
            for name, tensor in state[part].items():
                if not bool(torch.isfinite(tensor).all()):
                    raise Diverged(
                        f"training diverged at level {self.level}: {part} weight {name} is not "
                        f"finite. The last good state is kept; lower the learning rates."
                    )
        return state

    def _state(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "step": self.step,
            "seconds": self.seconds,
            "tuned": self._tuned,
            "attempt": self._attempt,
            "flat": self._flat,
            "beginning": self._beginning,
            "learner": self.learner.state_dict(),
            "critic": self._critic.state_dict() if self._critic is not None else {},
            "optimizers": {name: o.state_dict() for name, o in self._optimizers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; the trainer must be fresh and of the same recipe and photo."""
        self.level, self.step, self.seconds = state["level"], state["step"], state["seconds"]
        self._tuned, self._flat = state["tuned"], state["flat"]
        self._attempt, self._beginning = state["attempt"], state["beginning"]
        mid_level = bool(state["optimizers"])
        for _ in range(self.level + (1 if mid_level else 0)):
            self.learner.extend(None)
        self.learner.load_state_dict(state["learner"])
        use_precision(self.learner, self.precision)
        if state["critic"]:
            self._critic = self._fresh_critic(self.level if mid_level else self.level - 1, None)
            self._critic.load_state_dict(state["critic"])
        if mid_level:
            self._make_players()
            for name, optimizer in self._optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])


def train(
    photo: Photo,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "auto",
    precision: Precision = "auto",
) -> Model:
    """Train to the end and return the model; iterate a `Trainer` to see progress or to stop."""
    trainer = Trainer(recipe, photo, seed=seed, device=device, precision=precision)
    for _ in trainer:
        pass
    return trainer.model()
