"""Single-image FID: the distance between two images' distributions of patch features.

SinGAN (section 3.1) takes the features of one layer at all positions as samples of a Gaussian and
measures the Fréchet distance between the photo's and the sample's. There is no square root.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from singleimage.errors import Incomparable, SizeError
from singleimage.machine.device import supported

VALUES = 4_000_000
"""Values of features that are in float64 at once; those of a large picture are gigabytes."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Mean and covariance of the features of one image."""

    mean: Tensor
    """(C,) float64."""
    covariance: Tensor
    """(C, C) float64, unbiased."""
    features: str
    """Name of the features."""

    @cached_property
    def root(self) -> Tensor:
        """The symmetric square root of the covariance, by its eigenvectors."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return root


@torch.inference_mode()
def fit(maps: Tensor, features: str) -> list[Gaussian]:
    """Fit a Gaussian to the features of each image, over all positions.

    Args:
        maps: (B, C, h, w).
        features: their name.

    Raises:
        SizeError: there are fewer than two positions.
    """
    vectors = supported(maps).flatten(2)
    if vectors.shape[2] < 2:
        raise SizeError("an image has a single position of features; use larger images.")
    return [_fitted(image, features) for image in vectors]


def _fitted(vectors: Tensor, features: str) -> Gaussian:
    """The Gaussian of vectors (C, n): first their mean, then the covariance about it."""
    channels, count = vectors.shape
    parts = torch.split(vectors, max(VALUES // channels, 1), dim=1)
    mean = torch.stack([part.double().sum(dim=1) for part in parts]).sum(dim=0) / count
    covariance = mean.new_zeros(channels, channels)
    for part in parts:
        centered = part.double() - mean[:, None]
        covariance += centered @ centered.T
    return Gaussian(mean.cpu(), (covariance / (count - 1)).cpu(), features)


@torch.inference_mode()
def frechet(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|² + Tr(S_a + S_b - 2 (S_a S_b)^½), at least 0.

    The last trace is the sum of the singular values of S_a^½ S_b^½: all of it is symmetric
    eigenproblems, which lose no digits where a covariance is singular.

    Raises:
        Incomparable: the two were made with different features.
    """
    if a.features != b.features:
        raise Incomparable(
            f"features {a.features} and {b.features} do not compare; measure both with one."
        )
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()
    return max(float(distance - 2 * torch.linalg.svdvals(a.root @ b.root).sum()), 0.0)
