"""Animate as a tool: the frames of the application, as photos of the model."""

from itertools import islice
from typing import Any

import pytest
import torch

from singleimage import Model
from singleimage.apps import animate as app
from singleimage.errors import ArgumentError, SizeError
from singleimage.multiscale.geometry import Size
from singleimage.tools.animate import animate


def test_frames_are_those_of_the_application_with_the_models_channels(model: Model) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"seed": 4},
        {"alpha": 0.5},
        {"beta": 0.5},
        {"start_level": 1},
        {"loop": True},
        {"size": (60, 50)},
    ]
    for given in changes:
        wanted = {"seed": 0, **given}
        if "loop" in wanted:
            wanted["seamless"] = wanted.pop("loop")
        if "size" in wanted:
            wanted["size"] = Size(*wanted["size"])
        expected = list(app.animate(model.generator, frames=2, **wanted))
        photos = list(animate(model, frames=2, **given))
        assert [photo.channels for photo in photos] == [model.channels] * 2
        for photo, image in zip(photos, expected, strict=True):
            assert torch.equal(photo.pixels, image)


def test_what_cannot_be_animated_is_refused_before_a_frame_is_drawn(model: Model) -> None:
    with pytest.raises(ArgumentError, match="ask for 1 or more"):
        animate(model, frames=0)
    with pytest.raises(SizeError, match="too small"):
        animate(model, size=(5, 5))
    assert len(list(islice(animate(model, frames=10**9), 2))) == 2  # and none before it is asked
