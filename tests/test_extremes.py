"""Pictures of extreme statistics: the default draws from them, and our preset learns them."""

import pytest

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


SHORT = {
    "preview": {"pyramid.max_size": 64},
    "meta-small": {"pyramid.width": 64, "training.steps": 45, "training.batch": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("preset", SHORT)
@pytest.mark.parametrize("name", PIXELS)
def test_presets_of_ours_learn_every_picture_without_collapse(name: str, preset: str) -> None:
    recipe = si.with_overrides(si.preset(preset), SHORT[preset])
    trainer = Trainer(extreme(name), recipe, seed=0)
    for _ in trainer:
        pass
    model = trainer.model()
    assert isinstance(model, si.Model)
    assert model.image is not None
    error = (model.reconstruct().pixels - model.image).square().mean().sqrt()
    assert float(error) < 1.1 * float(model.image.std()) + 0.02
