"""Colors moved to those of a photo."""

import torch

from reference.compare import noise
from scenes import scene
from singleimage.apps.colors import with_colors_of


def test_mean_and_covariance_become_those_of_the_photo() -> None:
    photo = noise(3, 40, 50, seed=1, dtype=torch.float32) * 0.1
    photo[1] = photo[0] * 0.5 + photo[1] * 0.2 + 0.3
    picture = noise(1, 3, 30, 30, seed=2, dtype=torch.float32) * 0.2 - 0.2
    moved = with_colors_of(picture, photo, 3)[0].flatten(1)
    assert torch.allclose(moved.mean(1), photo.flatten(1).mean(1), atol=1e-4)
    assert torch.allclose(moved.cov(), photo.flatten(1).cov(), atol=2e-3)


def test_colors_that_fit_stay() -> None:
    moved = with_colors_of(scene()[None], scene(), 3)
    assert float((moved - scene()).abs().max()) < 1e-4


def test_only_the_part_and_no_alpha_changes() -> None:
    picture = torch.cat([scene(), torch.ones(1, 120, 150)])[None]
    part = torch.zeros(1, 1, 120, 150)
    part[..., 20:40, 30:60] = 1
    moved = with_colors_of(picture, -picture[0], 3, part)
    outside = part[0, 0] == 0
    assert torch.equal(moved[0, :, outside], picture[0, :, outside])
    assert torch.equal(moved[0, 3], picture[0, 3])
    assert not torch.equal(moved, picture)


def test_one_flat_color_becomes_the_mean() -> None:
    moved = with_colors_of(torch.full((1, 1, 5, 5), 0.7), scene()[:1], 1)
    assert torch.allclose(moved, scene()[:1].mean().expand_as(moved), atol=1e-4)


def test_one_pixel_becomes_the_mean() -> None:
    part = torch.zeros(1, 1, 5, 5)
    part[..., 2, 3] = 1
    moved = with_colors_of(torch.full((1, 3, 5, 5), 0.7), scene(), 3, part)
    assert torch.allclose(moved[0, :, 2, 3], scene().flatten(1).mean(1), atol=1e-4)
