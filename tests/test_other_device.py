"""Training where there is no processor: nothing is made in main memory that belongs on the device."""

import pytest
import torch

from pretend import pretended
from singleimage import PRESETS, Channels, Model, Photo, Trainer
from singleimage.nn.precision import Precision
from tiny import FEWER, METHODS, pattern, tiny

PRECISIONS: dict[str, Precision] = {"fast-stabilized": "bf16", "singan": "bf16"}
"""Of the methods with norms, whose weights stay in float32; fp32 of the others."""


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_draws_on_a_device(name: str) -> None:
    photo = Photo(pattern(3), Channels(mode="RGB"))
    with pretended() as device:
        precision = PRECISIONS.get(name, "fp32")
        recipe = tiny(PRESETS[name], **FEWER)
        trainer = Trainer(photo, recipe, seed=1, device=device, precision=precision)
        for _ in trainer:
            pass
        assert trainer.learner.device.type == torch.device(device).type
        model: Model = trainer.model()
        for picture in (*model.sample([0]), model.reconstruct()):
            assert picture.pixels.device.type == "cpu"
            assert bool(picture.pixels.isfinite().all())
