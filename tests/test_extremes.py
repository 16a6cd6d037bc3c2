"""Pictures of extreme statistics: the default draws from them, and our preset learns them."""

import pytest
from torch import Tensor

import singleimage as si
from extremes import PIXELS, extreme
from singleimage.training.trainer import Trainer


@pytest.mark.parametrize("name", PIXELS)
def test_patch_flow_draws_from_every_picture(name: str) -> None:
    photo = extreme(name)
    recipe = si.with_overrides(si.preset("flow"), {"generator.steps": 3, "generator.redraws": 0})
    (picture,) = si.train(photo, recipe).sample([1])
    own = {tuple(color) for color in si.flow(photo).image.flatten(1).T.tolist()}  # type: ignore[union-attr]
    assert {tuple(color) for color in picture.pixels.flatten(1).T.tolist()} <= own


@pytest.mark.slow
@pytest.mark.parametrize("name", PIXELS)
def test_the_preview_learns_every_picture_without_collapse(name: str) -> None:
    photo = extreme(name)
    recipe = si.with_overrides(si.preset("preview"), {"pyramid.max_size": 64})
    trainer = Trainer(photo, recipe, seed=0)
    for _ in trainer:
        pass
    model = trainer.model()
    error = (model.reconstruct().pixels - photo_at(model)).square().mean().sqrt()
    assert float(error) < 1.1 * float(photo_at(model).std()) + 0.02


def photo_at(model: si.Model) -> Tensor:
    assert model.image is not None
    return model.image
