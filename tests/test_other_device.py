"""Training where there is no processor: nothing is made in main memory that belongs on the device."""

import pytest
import torch

from pretend import pretended
from singleimage import PRESETS, Channels, Model, Photo, Trainer
from tiny import FEWER, METHODS, pattern, tiny


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_draws_on_a_device(name: str) -> None:
    photo = Photo(pattern(3), Channels(mode="RGB"))
    with pretended() as device:
        trainer = Trainer(
            photo, tiny(PRESETS[name], **FEWER), seed=1, device=device, precision="fp32"
        )
        for _ in trainer:
            pass
        assert trainer.learner.device.type == torch.device(device).type
        model: Model = trainer.model()
        for picture in (*model.sample([0]), model.reconstruct()):
            assert picture.pixels.device.type == "cpu"
            assert bool(picture.pixels.isfinite().all())
