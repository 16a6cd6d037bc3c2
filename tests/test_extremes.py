"""Pictures of extreme statistics: the default draws from them, and our preset learns them."""

import pytest

import singleimage as si
from extremes import PIXELS, extreme
from scenes import colors
from singleimage.training.trainer import Trainer


@pytest.mark.parametrize("name", PIXELS)
def test_patch_flow_draws_from_every_picture(name: str) -> None:
    photo = extreme(name)
    recipe = si.with_overrides(si.preset("flow"), {"generator.steps": 3, "generator.redraws": 0})
    (picture,) = si.train(photo, recipe).sample([1])
    own = si.flow(photo).training_image()
    assert own is not None
    assert colors(picture) <= colors(own)


SHORT = {
    "quick": {"training.steps": 150},
    "preview": {"pyramid.max_size": 64},
    "meta-small": {"pyramid.width": 64, "training.steps": 45, "training.batch": 1},
}
HARD = ("night sky", "text", "bright row", "sprite")
"""Pictures at the ends of the range; presets that are not the default learn these alone."""


def learned(name: str, preset: str) -> si.Model:
    recipe = si.with_overrides(si.preset(preset), SHORT[preset])
    trainer = Trainer(extreme(name), recipe, seed=0)
    for _ in trainer:
        pass
    model = trainer.model()
    assert isinstance(model, si.Model)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "name"),
    [
        *(("quick", name) for name in PIXELS),
        *((preset, name) for preset in ("preview", "meta-small") for name in HARD),
    ],
)
def test_presets_of_ours_learn_every_picture_without_collapse(preset: str, name: str) -> None:
    """Their networks; what finishes the pictures of `quick` has to add no color either."""
    model = learned(name, preset)
    if preset == "quick":
        (picture,) = model.sample([1])
        own = si.flow(extreme(name)).training_image()
        assert own is not None
        assert colors(picture) <= colors(own)
        off = (picture.pixels - own.pixels).mean().abs()
        assert float(off) < 0.5 * float(own.pixels.std()) + 0.02
        model = model.unfinished()
    assert model.image is not None
    error = (model.reconstruct().pixels - model.image).square().mean().sqrt()
    assert float(error) < 1.1 * float(model.image.std()) + 0.02
