"""Diversities are their definitions, in one pass; copies have none."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.compare import noise
from singleimage.metrics.diversity import FeatureDiversity, PixelDiversity


def pixels_of(real: Tensor, samples: Tensor, batch: int = 100) -> PixelDiversity:
    found = PixelDiversity(real)
    for part in torch.split(samples, batch):
        found.add(part)
    return found


def test_pixel_diversities_are_their_definitions() -> None:
    real, samples = noise(3, 9, 11), noise(13, 3, 9, 11, seed=1) * 0.3 + 0.2
    found = pixels_of(real, samples)
    values = samples.numpy()
    intensity = values.mean(axis=1).std(axis=0)
    pooled = values.reshape(39, 9, 11).std(axis=0)
    scale = real.numpy().std()
    assert found.pooled == pytest.approx(pooled.mean() / scale, rel=1e-12)
    assert found.intensity == pytest.approx(
        intensity.mean() / real.numpy().mean(axis=0).std(), rel=1e-12
    )
    assert found.floor == pytest.approx(real.numpy().std(axis=0).mean() / scale, rel=1e-12)
    assert np.abs(found.deviation_map().numpy() - intensity).max() < 1e-12


@pytest.mark.parametrize("batch", [1, 3])
def test_pixel_diversities_do_not_depend_on_batches_or_order(batch: int) -> None:
    real, samples = noise(3, 9, 11), noise(10, 3, 9, 11, seed=1)
    whole, parts = pixels_of(real, samples), pixels_of(real, samples.flip(0), batch)
    for name in ("pooled", "intensity", "floor"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-12)


def test_copies_of_the_photo_score_the_floor_and_no_diversity() -> None:
    real = noise(3, 9, 11).float().clamp(-1, 1)
    found = pixels_of(real, real.expand(7, 3, 9, 11))
    assert found.intensity < 1e-7
    assert found.pooled == pytest.approx(found.floor, rel=1e-12)
    assert found.floor > 0.1
    gray = real.mean(dim=0).expand(3, 9, 11)
    assert pixels_of(gray, gray.expand(7, 3, 9, 11)).floor < 1e-7


def test_copies_of_another_picture_have_no_diversity_of_intensity() -> None:
    found = pixels_of(noise(3, 9, 11), noise(1, 3, 9, 11, seed=1).expand(9, 3, 9, 11))
    assert found.intensity < 1e-7
    assert found.deviation_map().max() < 1e-7


def test_independent_noise_scores_its_deviation() -> None:
    real = noise(3, 40, 40) * torch.tensor([0.5, 0.2, 0.1]).double()[:, None, None]
    found = pixels_of(real, 0.05 * noise(800, 3, 40, 40, seed=1))
    scale = float(real.mean(dim=0).std(correction=0))
    assert found.intensity == pytest.approx(0.05 / np.sqrt(3) / scale, rel=5e-3)
    assert found.pooled == pytest.approx(0.05 / float(real.std(correction=0)), rel=5e-3)


def deep_of(maps: Tensor, batch: int = 100) -> float:
    found = FeatureDiversity()
    for part in torch.split(maps, batch):
        found.add(part)
    return found.value


def test_feature_diversity_is_the_mean_over_all_pairs() -> None:
    maps = noise(6, 5, 3, 4).float().relu()
    maps[2, :, 1, 1] = 0  # a position without features: no direction, length 0
    maps[3, :, 1, 1] = 0
    unit = maps.double() / maps.double().norm(dim=1, keepdim=True).clamp(min=1e-10)
    pairs = itertools.combinations(unit, 2)
    expected = np.mean([float((a - b).square().sum(dim=0).mean()) for a, b in pairs])
    assert deep_of(maps) == pytest.approx(expected, rel=1e-6)
    for batch in (1, 3):
        assert deep_of(maps.flip(0), batch) == pytest.approx(deep_of(maps), rel=1e-9)


def test_feature_diversity_does_not_see_lengths() -> None:
    maps = noise(5, 4, 3, 3)
    factors = noise(5, 1, 3, 3, seed=1).abs() + 0.1
    assert deep_of(maps * factors) == pytest.approx(deep_of(maps), rel=1e-9)


def test_feature_diversity_of_copies_is_zero_and_of_opposites_four() -> None:
    one = noise(1, 8, 5, 5).float()
    assert deep_of(one.expand(30, 8, 5, 5)) < 1e-6
    assert deep_of(torch.cat([one, -one])) == pytest.approx(4, rel=1e-6)
    assert deep_of(noise(60, 200, 6, 6)) == pytest.approx(2, rel=1e-2)  # independent directions
    assert deep_of(one) == FeatureDiversity().value == 0
