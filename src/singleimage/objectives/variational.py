"""A variational autoencoder of the photo: HP-VAE-GAN, section 3 and its published code."""

from typing import Annotated

import msgspec
import torch.nn.functional as F
from torch import Tensor

from singleimage.objectives.base import Player, Terms, Turn
from singleimage.objectives.view import StepView

Weight = Annotated[float, msgspec.Meta(ge=0)]


class VariationalSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="variational"
):
    """Encoder, decoder and newest block reproduce the photo; there is no critic."""

    reconstruction_weight: Weight = 10.0
    """Weight of the errors at the newest level and at the coarsest, which at level 0 are one and
    count twice."""
    divergence_weight: Weight = 1.0
    """Weight of the divergence of what the encoder finds from the noise that is drawn later."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        return (Turn("generator", 1),)

    def terms(self, player: Player, view: StepView) -> Terms:
        encoded = view.encoded
        newest = F.mse_loss(view.reconstruction, view.real)
        coarsest = F.mse_loss(view.draft, encoded.image)
        divergence = divergence_from_normal(encoded.mean, encoded.log_variance)
        return {
            "reconstruction": self.reconstruction_weight * newest,
            "draft": self.reconstruction_weight * coarsest,
            "divergence": self.divergence_weight * divergence,
        }


def divergence_from_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute the Kullback-Leibler divergence from N(0, 1): the mean, not the sum, over all values.

    Args:
        mean: of the distributions, any shape.
        log_variance: of the same shape.
    """
    each = mean.square() + log_variance.exp() - 1 - log_variance
    return each.mean() / 2
