"""SIFID: the published distance of two Gaussians, and its laws."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.compare import noise
from singleimage.errors import Incomparable, SizeError
from singleimage.metrics import sifid
from singleimage.metrics.sifid import Gaussian, fit, frechet


def covariance(size: int, rank: int, seed: int) -> Tensor:
    factor = noise(size, rank, seed=seed)
    return factor @ factor.T / rank


def gaussian(size: int, rank: int, seed: int, name: str = "a") -> Gaussian:
    return Gaussian(noise(size, seed=seed + 100), covariance(size, rank, seed), name)


def test_a_gaussian_has_the_mean_and_the_unbiased_covariance_of_all_positions() -> None:
    maps = noise(2, 5, 6, 7) * 3 + 1
    for image, found in zip(maps, fit(maps.float(), "a"), strict=True):
        positions = image.flatten(1).numpy()
        assert found.features == "a"
        assert np.abs(found.mean.numpy() - positions.mean(axis=1)).max() < 1e-6
        assert np.abs(found.covariance.numpy() - np.cov(positions)).max() < 1e-5


def test_a_large_map_is_never_in_float64_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """And image by image, piece by piece, gives what all at once does."""
    maps = (noise(3, 6, 41, 53) * 3 + 100).float().contiguous(memory_format=torch.channels_last)
    vectors = maps.flatten(2).double()
    centered = vectors - vectors.mean(dim=2, keepdim=True)
    covariances = centered @ centered.mT / (vectors.shape[2] - 1)
    converted: list[int] = []

    def double(x: Tensor) -> Tensor:
        converted.append(x.numel())
        return x.to(torch.float64)

    monkeypatch.setattr(Tensor, "double", double)
    monkeypatch.setattr(sifid, "VALUES", 1000)
    found = fit(maps, "a")
    assert max(converted) <= 1000
    assert sum(converted) == 2 * maps.numel()
    for one, mean, covariance in zip(found, vectors.mean(dim=2), covariances, strict=True):
        torch.testing.assert_close(one.mean, mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(one.covariance, covariance, rtol=1e-9, atol=1e-12)
    monkeypatch.undo()
    whole = fit(maps, "a")
    assert frechet(found[0], found[1]) == pytest.approx(frechet(whole[0], whole[1]), rel=1e-9)


def test_a_single_position_is_refused() -> None:
    with pytest.raises(SizeError, match="larger images"):
        fit(noise(1, 4, 1, 1), "a")


@pytest.mark.parametrize("rank", [3, 12, 40])
def test_an_image_is_at_distance_zero_from_itself(rank: int) -> None:
    one = gaussian(12, rank, 0)
    assert 0 <= frechet(one, one) < 1e-9
    maps = noise(1, 30, 6, 6)  # as many positions as channels, nearly
    (a,), (b,) = fit(maps, "a"), fit(maps.clone(), "a")
    assert 0 <= frechet(a, b) < 1e-6


@pytest.mark.parametrize(("rank", "other"), [(12, 12), (4, 12), (4, 5), (0, 3)])
def test_the_distance_is_symmetric_and_positive(rank: int, other: int) -> None:
    a, b = gaussian(12, rank or 1, 0), gaussian(12, other, 1)
    if rank == 0:
        a = Gaussian(a.mean, torch.zeros(12, 12, dtype=torch.float64), "a")
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)
    assert frechet(a, b) > 0.1


@pytest.mark.parametrize("rank", [3, 12])
def test_of_equal_covariances_the_squared_distance_of_the_means_is_left(rank: int) -> None:
    a = gaussian(12, rank, 0)
    b = Gaussian(noise(12, seed=7), a.covariance, "a")
    assert frechet(a, b) == pytest.approx(float((a.mean - b.mean).square().sum()), rel=1e-9)


def test_of_covariances_with_common_axes_it_is_that_of_the_deviations() -> None:
    """sum of (s_a - s_b)², here with axes along which one does not spread at all."""
    axes, _ = torch.linalg.qr(noise(6, 6))
    one = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 5.0], dtype=torch.float64)
    two = torch.tensor([0.0, 4.0, 0.0, 2.0, 1.0, 7.0], dtype=torch.float64)
    a, b = ((axes * deviation.square()) @ axes.T for deviation in (one, two))
    mean = torch.zeros(6, dtype=torch.float64)
    found = frechet(Gaussian(mean, a, "a"), Gaussian(mean, b, "a"))
    assert found == pytest.approx(float((one - two).square().sum()), rel=1e-7)


@pytest.mark.parametrize("rank", [4, 11, 12, 50])
def test_the_distance_is_the_published_one(rank: int) -> None:
    """With scipy's matrix square root, as the released scripts compute it."""
    linalg = pytest.importorskip("scipy.linalg")
    offset = 0 if rank >= 12 else 1e-9 * np.eye(12)  # which the scripts add to what is singular
    for seed in range(4):
        a, b = gaussian(12, rank, 10 * seed), gaussian(12, rank, 10 * seed + 1)
        with warnings.catch_warnings(action="ignore"):
            root = linalg.sqrtm((a.covariance.numpy() + offset) @ (b.covariance.numpy() + offset))
        expected = (
            float((a.mean - b.mean).square().sum())
            + float(a.covariance.trace() + b.covariance.trace())
            - 2 * np.trace(root).real
        )
        assert frechet(a, b) == pytest.approx(expected, rel=1e-8 if rank >= 12 else 1e-3)


def test_distances_in_different_features_are_refused() -> None:
    with pytest.raises(Incomparable, match="features a and b do not compare"):
        frechet(gaussian(3, 3, 0, "a"), gaussian(3, 3, 1, "b"))
