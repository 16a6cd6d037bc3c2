"""`singleimage info`: what a model is."""

import re
from pathlib import Path

import singleimage
from singleimage.models.model import Model
from tiny import Command, result


def test_info_tells_what_a_model_is(tiny_run: Path, command: Command) -> None:
    model = Model.load(tiny_run)
    facts = result(command(f"info {tiny_run} --json"))
    assert facts["preset"] == tiny_run.name
    assert facts["recipe_digest"] == model.recipe.digest()
    assert facts["channels"] == {
        "mode": "RGB",
        "bits": 8,
        "bands": 0,
        "white": None,
        "palette": [],
        "masks": [],
    }
    assert facts["levels"] == [list(size) for size in model.generator.ladder.sizes]
    assert facts["entry_levels"] == ([0] if tiny_run.name == "consingan" else [1, 2])
    assert facts["parameters"] == sum(p.numel() for p in model.generator.parameters())
    assert facts["image_embedded"] is True
    assert facts["photo"] == [44, 52]
    assert facts["seed"] == 0
    assert facts["versions"]["singleimage"] == singleimage.__version__
    text = command(f"info {tiny_run}/model.safetensors").out
    for name in facts:
        assert re.search(rf"^ +{name.replace('_', ' ')}  \S", text, flags=re.M), name
