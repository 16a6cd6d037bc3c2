"""The terms of a variational objective."""

import torch

from reference.compare import difference, noise
from singleimage.objectives.variational import divergence_from_normal


def test_the_divergence_is_that_of_normal_distributions() -> None:
    mean, log_variance = noise(2, 3, 4, 5), noise(2, 3, 4, 5, seed=1)
    here = torch.distributions.Normal(mean, log_variance.mul(0.5).exp())
    unit = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    expected = torch.distributions.kl_divergence(here, unit).mean()
    assert difference(divergence_from_normal(mean, log_variance), expected) < 1e-12
