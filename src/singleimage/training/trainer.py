"""The one training loop. It names no method: a recipe says who learns, against whom, and when.

Iterating a `Trainer` trains. Each step yields a `Progress`; stopping is leaving the loop, and
`state_dict` at any point lets another trainer continue to the same weights (not so on a GPU).
"""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from singleimage.errors import Diverged, ImageError, RunError, UnsupportedEntry
from singleimage.generators.base import Learner
from singleimage.images.clip import Clip
from singleimage.images.photo import Photo
from singleimage.machine.device import exact_cudnn, require_clips, use_device
from singleimage.machine.memory import kept_heap
from singleimage.machine.processes import mean_over_processes, share_of
from singleimage.models.hypermodel import HyperModel, Start
from singleimage.models.model import Model
from singleimage.models.modelfile import Provenance, now, versions
from singleimage.multiscale.geometry import size_of
from singleimage.multiscale.latent import seed_for
from singleimage.multiscale.pyramid import Pyramid
from singleimage.multiscale.resample import resize
from singleimage.nn.precision import Precision, resolve_precision
from singleimage.objectives.view import StepView
from singleimage.recipes.base_input import GivenInput
from singleimage.recipes.recipe import Recipe
from singleimage.training.collapse import CollapseWatch, is_time_to_look, mend_of
from singleimage.training.players import Players
from singleimage.training.progress import Pace, Progress
from singleimage.training.training_set import TrainingSet, require_seen

EXPLODED = 1e6
"""A loss term beyond this is taken as divergence; healthy ones stay under a few hundred."""


class Trainer:
    """Trains a recipe on a photo, level by level; a hypernetwork on one or more photos."""

    def __init__(
        self,
        photo: Photo | Sequence[Photo],
        recipe: Recipe,
        *,
        seed: int,
        device: str = "auto",
        precision: Precision = "auto",
        dtype: torch.dtype = torch.float32,
        given: Photo | None = None,
        start: Start | None = None,
    ) -> None:
        """Prepare a training; nothing is learned before the trainer is iterated.

        Args:
            photo: what to learn; photos of the same channels and aspect, for a hypernetwork; or a
                clip, for a recipe that learns clips.
            recipe: how.
            seed: decides everything random.
            device: as in `use_device`.
            precision: in which type convolutions compute; auto: bf16 where the device is fast at
                it.
            dtype: of weights, losses and optimizers.
            given: a changed picture of the photo, of any size, to fine-tune on; see `tune`.
            start: networks that every level begins with, in place of fresh ones.

        Raises:
            SizeError: the photo does not fit the recipe's pyramid.
            ImageError: all pixels of a photo are equal, or photos, or what is given, have other
                channels; or a clip is too short, or no photo.
            RecipeError: the recipe needs no training; or several photos, or networks to start from,
                are given to a method that takes none.
            DeviceError: the device is not available, or computes no clips.
            UnsupportedEntry: what is given cannot enter the coarsest level.
        """
        self.recipe = recipe
        self._schedule = recipe.schedule
        photos = [photo] if isinstance(photo, Photo) else photo
        self.seed = seed
        self.device = use_device(device)
        self.precision = resolve_precision(precision, self.device)
        like = torch.empty(0, device=self.device, dtype=dtype)
        self._set = TrainingSet(photos, recipe, like)
        self.photo = self._set.photo
        self.sha256 = self._set.sha256
        self.example = self._set.first
        """The first photo at all levels."""
        if self.example.ladder.moving:
            require_clips(self.device)
        require_seen(self.photo.size, self.example.ladder.sizes[0], recipe)
        self._start = start
        self.players = self._new_players()
        if start is not None:
            self.players.critic = start.critic
        self.level = 0
        self.step = 0
        self.seconds = 0.0
        """Training time so far."""
        self._share = share_of(self._set.batch_size)
        self._anchor_frozen: Tensor | None = None
        self._given = None if given is None else self._given_input(given)
        self._tuned = False
        self._attempt = 0
        self._beginning: dict[str, Any] | None = None
        """The state in which this level began, where the recipe allows restarts."""
        self._watch = CollapseWatch()
        steps = [self._schedule.steps_at(i) for i in range(self.levels)]
        self._pace = Pace(self.example.ladder, steps)

    @property
    def learner(self) -> Learner:
        """The generator, as far as it has grown."""
        return self.players.learner

    @property
    def levels(self) -> int:
        """How many levels the pyramid has."""
        return len(self.example.ladder.sizes)

    @property
    def finished(self) -> bool:
        """Whether all levels are trained."""
        return self.level == self.levels

    @property
    def position(self) -> tuple[int, int, int]:
        """Level, attempt at it, and steps of it that are done."""
        return self.level, self._attempt, self.step

    def __iter__(self) -> Iterator[Progress]:
        lean = self._schedule.training.recompute  # memory matters more than time
        with contextlib.nullcontext() if lean else kept_heap():
            while not self.finished:
                yield self._advance()

    # What there is so far

    def model(self) -> Model:
        """The model of the levels finished so far. It shares its weights with this trainer.

        Raises:
            RunError: training stands in the middle of a level.
        """
        self._require_level()
        return self._model(self.level)

    def draft(self) -> Model:
        """A model of what there is, also in the middle of a level: for previews while it trains.

        It shares its weights with this trainer, so draw from it before training goes on; drawing
        changes nothing of the training.

        Raises:
            RunError: no step is done yet.
        """
        levels = self.level + (1 if self.players.optimizers else 0)
        if levels == 0:
            raise RunError("no step is done yet, so there is nothing to draw from; take one first.")
        return self._model(levels)

    def hyper_model(self) -> HyperModel:
        """The hypernetwork of the levels finished so far. It shares its weights with this trainer.

        Raises:
            RunError: training stands in the middle of a level, or the recipe has none.
        """
        if not self.learner.learns_several:
            raise RunError(f"{self.recipe.name} trains no hypernetwork; use meta or meta-small.")
        self._require_level()
        critic = self.players.critic
        if critic is not None and not critic.per_photo:
            critic = None
        origin = self._provenance(self.level)
        return HyperModel(self.learner, critic, self.recipe, self.photo.channels, origin)

    def _model(self, levels: int) -> Model:
        first = self.example
        return Model.of_network(
            self.learner.generator_of(first),
            self.recipe.of_one(),
            self.photo.channels,
            self._provenance(levels),
            first.images[levels - 1][0].float().cpu(),
            self.photo,
        )

    def _require_level(self) -> None:
        if self.players.optimizers or self.level == 0:
            raise RunError(f"level {self.level} is not finished; take the model between levels.")

    def _provenance(self, levels: int) -> Provenance:
        return Provenance(
            photo=(self.photo.size.height, self.photo.size.width),
            image_sha256=self.sha256,
            fps=self.photo.fps if isinstance(self.photo, Clip) else None,
            photos=self._set.count,
            seed=self.seed,
            levels=levels,
            seconds=round(self.seconds, 1),
            device=str(self.device),
            precision=self.precision,
            created=now(),
            versions=versions(),
        )

    # The loop

    @exact_cudnn()
    def _advance(self) -> Progress:
        """One step, and the change to the next level after the last step of one."""
        if not self.players.optimizers:
            self._beginning = None
            if self._schedule.training.restarts:
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
            steps=self._schedule.steps_at(self.level),
            losses=losses,
            seconds=seconds,
            remaining=self._pace.after(seconds, self.level, self.step),
            attempt=self._attempt,
        )
        if self._collapsed():
            self._begin_again()
            return replace(progress, again=True)
        if progress.level_done:
            self.level, self.step, self._attempt = self.level + 1, 0, 0
            self.players.end()
        return progress

    def _begin_level(self) -> None:
        self._watch = CollapseWatch()
        self.learner.grow(self._batch(0), self._seed("level"))
        self._prepare_level()

    def _prepare_level(self) -> None:
        """Critic and optimizers of the current level, and what stays constant during it."""
        self.players.begin(self.level, self._seed("critic"))
        view = self.learner.bind(self._batch(0), self._share)
        self._anchor_frozen = view.run_frozen(view.anchor()) if view.steady else None

    def _train_step(self) -> dict[str, float]:
        example = self._batch(self.step)  # before anything changes: it may not be there any more
        seed = self._seed(self.step)
        self.learner.refresh(seed)
        turns = self._schedule.objective_at(self.level).turns
        generator = self.learner.bind(example, self._share)
        frozen = (
            self._anchor_frozen if generator.steady else generator.run_frozen(generator.anchor())
        )
        view = StepView(
            generator=generator,
            critic=self.players.critic,
            example=example.images,
            seen=example.seen,
            level=self.level,
            step=self.step,
            sizes=self.example.ladder.sizes[: self.level + 1],
            seed=seed,
            anchor_frozen=frozen,
            base_input=self._base_input,
            redraws=max((t.repeats - 1 for t in turns if t.redraw == "coarser"), default=0),
            recompute=self._schedule.training.recompute,
            share=self._share,
        )
        terms: dict[str, Tensor] = {}
        for turn in turns:
            terms |= self.players.play(turn, view, self.level, self.step)
        if self.learner.looks_back(self.step, self._schedule.steps_at(self.level)):
            with torch.no_grad():
                generator.run_trained([(frozen, generator.anchor())])
        values = mean_over_processes(torch.stack(list(terms.values())))
        losses = dict(zip(terms, values.tolist(), strict=True))  # one wait for the device a step
        self._require_sane(losses)
        return losses

    def _require_sane(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            if not math.isfinite(value) or abs(value) > EXPLODED:
                raise Diverged(
                    f"training diverged at level {self.level}, step {self.step}: {name} is "
                    f"{value:g}. "
                    f"The last good state is kept; lower training.lr_generator and "
                    f"training.lr_critic, or try another seed."
                )

    def _batch(self, step: int) -> Pyramid:
        return self._set.batch(step, lambda epoch: self._seed("epoch", epoch))

    def _base_input(self, seed: int) -> Tensor | None:
        source = self._given if self._tuned and self._given else self.recipe.base_input
        return source.base(self.example.images[0], seed, self.photo.channels.colors)

    def _seed(self, *parts: int | str) -> int:
        """The seed for a part of this attempt at the level."""
        again = ("attempt", self._attempt) if self._attempt else ()
        return seed_for(self.seed, *again, self.level, *parts)

    def _new_players(self) -> Players:
        like, channels = self.example.images[0], self.photo.channels.count
        learner = self._schedule.generator.build(channels=channels, ladder=self.example.ladder)
        if self._start is not None:
            learner.begin_from(self._start.generator)
        return Players(
            learner.to(self.device, like.dtype),
            self._schedule,
            channels=channels,
            like=like,
            precision=self.precision,
        )

    # Levels that collapse

    def _collapsed(self) -> bool:
        """Whether it is one pure color, or has lost the photo and may begin again."""
        steps = self._schedule.steps_at(self.level)
        if not is_time_to_look(self.step, steps):
            return False
        generator, photo = self.learner.generator_of(self.example), self.example.images[self.level]
        last = self.step == steps
        fault = self._watch.fault(generator, photo, limit=self.learner.limit, last=last)
        may = self._beginning is not None and self._attempt < self._schedule.training.restarts
        return fault == "flat" or (fault == "lost" and may)

    def _begin_again(self) -> None:
        """Go back to the beginning of a level that collapsed, and on with other noise."""
        level, attempt, seconds = self.level, self._attempt + 1, self.seconds
        if self._beginning is None or attempt > self._schedule.training.restarts:
            raise Diverged(
                f"level {level} has collapsed to one color, step {self.step}; try "
                f"{mend_of(self._schedule)}."
            )
        self.players = self._new_players()
        self.load_state_dict(self._beginning)
        self._attempt, self.seconds = attempt, seconds

    # Fine-tuning

    def tune(self) -> None:
        """Go on with the finest level of a finished training, for the picture that was `given`.

        The base input is that picture, in place of what the recipe gives; the critic and the
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
        self._prepare_level()

    def _given_input(self, given: Photo) -> GivenInput:
        """What level 0 is given when it is tuned on a picture."""
        if 0 not in self.learner.entry_levels:
            raise UnsupportedEntry(
                f"{self.recipe.name} takes no picture at level 0; use consingan."
            )
        if given.channels.count != self.photo.channels.count:
            raise ImageError("the picture has other channels than the photo; convert it.")
        coarsest = self.example.images[0]
        base = resize(given.pixels[None].to(coarsest), size_of(coarsest))
        return GivenInput(base, self.recipe.base_input.noise)

    # State

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
            "watch": self._watch.state_dict(),
            "beginning": self._beginning,
            **self.players.state_dict(),
        }

    def _require_possible(self, state: Mapping[str, Any]) -> None:
        """Refuse a state whose position no training of this recipe can have."""
        level, step, attempt, seconds = (
            state[name] for name in ("level", "step", "attempt", "seconds")
        )
        whole = all(type(number) is int for number in (level, step, attempt))
        possible = (
            whole
            and isinstance(seconds, int | float)
            and 0 <= seconds < math.inf
            and 0 <= level <= self.levels
            and 0 <= step < (self._schedule.steps_at(level) if level < self.levels else 1)
            and 0 <= attempt <= self._schedule.training.restarts
            and bool(state["optimizers"]) >= (step > 0)
        )
        playing = level < self.levels and self._schedule.has_critic(level) if whole else False
        if not possible or (step > 0 and playing and not state["critic"]):
            raise RunError(
                f"the state stands at level {level}, step {step}, where no training of this recipe "
                f"can be; it is damaged, use another folder."
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; the trainer must be fresh and of the same recipe and photo.

        Raises:
            RunError: it is no state of such a training.
        """
        self._require_possible(state)
        self.level, self.step, self.seconds = state["level"], state["step"], state["seconds"]
        self._watch.load_state_dict(state.get("watch", {}))
        self._tuned, self._attempt = state["tuned"], state["attempt"]
        self._beginning = state["beginning"]
        mid_level = bool(state["optimizers"])
        self.players.load_networks(state, self.level if mid_level else self.level - 1)
        if mid_level:
            self._prepare_level()
            self.players.load_optimizers(state)
