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
        wanted["first_step"] = 0.01 if model.recipe.name.startswith("consingan") else 0.05
        expected = list(app.animate(model.generator, frames=2, **wanted))
        photos = list(animate(model, frames=2, **given))
        assert [photo.channels for photo in photos] == [model.channels] * 2
        for photo, image in zip(photos, expected, strict=True):
            assert torch.equal(photo.pixels, image.clamp(-1, 1))


def test_what_cannot_be_animated_is_refused_before_a_frame_is_drawn(model: Model) -> None:
    with pytest.raises(ArgumentError, match="ask for 1 or more"):
        animate(model, frames=0)
    with pytest.raises(SizeError, match="too small"):
        animate(model, size=(5, 5))
    assert len(list(islice(animate(model, frames=10**9), 2))) == 2  # and none before it is asked


def test_the_first_step_is_that_of_the_method(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SinGAN's code takes 0.05, ConSinGAN's 0.01, which is a field."""
    seen: dict[str, float] = {}

    def walked(generator: object, **how: float) -> list[object]:
        seen.update(how)
        return []

    monkeypatch.setattr("singleimage.apps.animate.animate", walked)
    animate(model)
    named = model.recipe.name.startswith("consingan")
    assert seen["first_step"] == (0.01 if named else 0.05)
