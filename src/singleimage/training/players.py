"""The two players of a level, generator and critic: their optimizers and their turns."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from singleimage.generators.base import Learner
from singleimage.machine.processes import average
from singleimage.nn.critic import Critic, inherit
from singleimage.nn.precision import use_precision
from singleimage.objectives.base import Player, Turn
from singleimage.objectives.view import StepView
from singleimage.recipes.recipe import Schedule


class Players:
    """What learns at a level. Optimizers start afresh at every level, critics are inherited."""

    def __init__(
        self,
        learner: Learner,
        schedule: Schedule,
        *,
        channels: int,
        like: Tensor,
        precision: Literal["fp32", "bf16"],
        critic: Critic | None = None,
    ) -> None:
        """Args:
        channels: of the photo.
        like: its device and type are those of the networks.
        critic: whose weights the first one inherits; None: it starts afresh.
        """
        self.learner = learner
        self.critic = critic
        """Critic of the level, once it has begun; or of an earlier one, where none plays here."""
        self.optimizers: dict[Player, torch.optim.Optimizer] = {}
        """Optimizers of the level; none between levels."""
        self._schedule = schedule
        self._channels = channels
        self._like = like
        self._precision = precision

    def begin(self, level: int, seed: int) -> None:
        """Make critic and optimizers of a level; `seed` decides the critic's fresh weights."""
        use_precision(self.learner, self._precision)
        training = self._schedule.training
        self.learner.train()
        groups = self.learner.param_groups(training.lr_generator)
        self.optimizers = {"generator": self._adam(groups, training.lr_generator)}
        if not self._schedule.has_critic(level):
            return
        weights = torch.Generator().manual_seed(seed)
        self.critic = inherit(self._fresh_critic(level, weights), self.critic)
        self.critic.train()
        use_precision(self.critic, self._precision)
        learning = [{"params": self.critic.learning()}]
        self.optimizers["critic"] = self._adam(learning, training.lr_critic)

    def end(self) -> None:
        """Drop the optimizers: the level is done."""
        self.optimizers = {}

    def play(self, turn: Turn, view: StepView, level: int, step: int) -> dict[str, Tensor]:
        """Take a turn.

        Args:
            turn: who plays, and how often.
            view: what the players see of the step.
            level: that is trained.
            step: of that level.

        Returns:
            The player's last loss, in named parts.
        """
        schedule, training = self._schedule, self._schedule.training
        objective = schedule.objective_at(level)
        optimizer = self.optimizers[turn.player]
        factor = training.rate_factor(step, schedule.steps_at(level))
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.critic is not None:
            self.critic.requires_grad_(turn.player == "critic")
        generator = turn.player == "generator"
        clip = training.clip_generator if generator else training.clip_critic
        terms: Mapping[str, Tensor] = {}
        for repeat in range(turn.repeats):
            if repeat and turn.redraw == "coarser":
                view.redraw_coarser(repeat)
            if repeat == 0 or not turn.reuse_gradient:
                terms = objective.terms(turn.player, view)
                _set_gradients(torch.stack(list(terms.values())).sum(), parameters)
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            increment_version(parameters)  # fused Adam forgets to: casts of weights must notice
            view.generator_moved() if generator else view.critic_moved()
        return {name: term.detach() for name, term in terms.items()}

    def state_dict(self) -> dict[str, Any]:
        """The state of learner, critic and optimizers."""
        return {
            "learner": self.learner.state_dict(),
            "critic": self.critic.state_dict() if self.critic is not None else {},
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
        }

    def load_networks(self, state: Mapping[str, Any], level: int) -> None:
        """Load learner and critic.

        Args:
            state: of a run that was stopped.
            level: that was trained then; the learner gets all levels up to it.
        """
        for _ in range(level + 1):
            self.learner.extend(None)
        self.learner.load_state_dict(state["learner"])
        use_precision(self.learner, self._precision)
        if state["critic"]:
            self.critic = self._fresh_critic(level, None)
            self.critic.load_state_dict(state["critic"])

    def load_optimizers(self, state: Mapping[str, Any]) -> None:
        """Load the optimizers of a level that has begun from `state`."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])

    def _fresh_critic(self, level: int, generator: torch.Generator | None) -> Critic:
        critic: Critic = self._schedule.critic.build(
            level=level, channels=self._channels, generator=generator
        )
        self.learner.lend_to(critic)
        return critic.to(self._like.device, self._like.dtype)

    def _adam(self, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
        betas = self._schedule.training.betas
        optimizer = torch.optim.Adam(groups, lr=lr, betas=betas, fused=True)
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
        return optimizer


def _set_gradients(loss: Tensor, parameters: list[torch.nn.Parameter]) -> None:
    """Compute the gradients of one player's parameters; the other player's are left alone."""
    gradients = average(list(torch.autograd.grad(loss, parameters)))
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient.stride() != parameter.stride():  # the optimizer wants them equal
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient
