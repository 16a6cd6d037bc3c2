"""WGAN-GP on patches and a reconstruction of the photo: SinGAN, section 2.2; ConSinGAN, 3.

A critic with decoders also learns to redraw the photo from its features (Fast-Stabilized).
"""

from typing import Annotated, Literal

import msgspec
import torch
from torch import Tensor

from singleimage.objectives.base import Player, Terms, Turn
from singleimage.objectives.view import StepView

Repeats = Annotated[int, msgspec.Meta(ge=1, le=100)]
Weight = Annotated[float, msgspec.Meta(ge=0)]


class AdversarialSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="adversarial"
):
    """The critic scores patches; the generator fools it and reproduces the photo."""

    reconstruction_weight: Weight = 10.0
    """alpha in the SinGAN paper."""
    penalty_weight: Weight = 0.1
    """lambda of the gradient penalty."""
    penalty: Literal["between", "real"] = "between"
    """between: (norm - 1)^2 at images between photo and sample, as all five codes do; real: norm^2
    at the photo, zero-centred (the paper of Meta Internal Learning, equations 4 and 14)."""
    penalty_every: Repeats = 1
    """Of so many steps of the critic the last has a penalty, as many times heavier: a penalty costs
    as much as the scores (lazy regularization; StyleGAN2, section 3.1)."""
    decoding_weight: Weight = 0.0
    """Weight of each error of a critic's decoders, if it has any; 5 in Fast-Stabilized (beta)."""
    accumulate: bool = False
    """Reconstruct the photo at all levels so far, not at the newest alone; of predicted generators
    (Meta Internal Learning, L_acc-rec)."""
    critic_steps: Repeats = 3
    generator_steps: Repeats = 3
    redraw: Literal["nothing", "coarser"] = "nothing"
    """What each critic step after the first sees afresh: nothing (ConSinGAN), or the images of the
    coarser levels (SinGAN)."""
    reuse_gradient: bool = False
    """All generator steps follow one gradient (ConSinGAN's code), or each its own."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        return (
            Turn("critic", self.critic_steps, redraw=self.redraw),
            Turn("generator", self.generator_steps, reuse_gradient=self.reuse_gradient),
        )

    def terms(self, player: Player, view: StepView) -> Terms:
        if player == "critic":
            fake = view.shown
            number = view.step * self.critic_steps + view.critic_moves + 1
            penalized = number % self.penalty_every == 0
            zero_centred = self.penalty == "real"
            at = view.real if zero_centred else torch.lerp(fake, view.real, view.uniform())
            # Critics judge each image by itself, norms included.
            points = at if penalized else at[:0]
            said = view.critic.judge(view.real, fake, points, view.fresh_seed("decoding"))
            terms = {"critic_real": -said.real.mean(), "critic_fake": said.fake.mean()}
            if penalized:
                weight, target = self.penalty_weight * self.penalty_every, float(not zero_centred)
                terms["penalty"] = weight * gradient_penalty(said.gradient, target)
            errors = {name: self.decoding_weight * error for name, error in said.errors.items()}
            return terms | errors
        error = view.reconstruction_error(accumulate=self.accumulate)
        return {
            "adversarial": -view.critic.mean_scores(view.fake).mean(),
            "reconstruction": self.reconstruction_weight * error,
        }


def gradient_penalty(gradient: Tensor, target: float = 1.0) -> Tensor:
    """Mean over pixels of `(norm of the critic's gradient there - target)^2`.

    All five systems take a target of 1 and the gradient (B, C, H, W) of the summed critic map at
    `epsilon real + (1 - epsilon) fake`, with one epsilon for all pixels; the norm runs over the
    channels of a pixel, not over the image.
    """
    if target == 0:  # where all gradients are 0, a norm has no derivative
        return gradient.square().sum(1).mean()
    norm: Tensor = gradient.norm(2, dim=1)
    return (norm - target).square().mean()
