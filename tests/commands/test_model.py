"""`singleimage model`: an ordinary model of a photo, by a hypernetwork."""

import json
from pathlib import Path

import pytest
import torch

from singleimage import Model, read_photo
from singleimage.models.hypermodel import HyperModel
from tiny import Command, draw


def test_a_model_of_a_new_photo_is_an_ordinary_model(
    hyper_run: Path, tmp_path: Path, command: Command
) -> None:
    new = draw(tmp_path / "new.png", 7, (50, 90))
    file = tmp_path / "one.safetensors"
    outcome = command(f"model {hyper_run} {new} -o {file} --precision fp32 --json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["milliseconds"] > 0
    hyper = HyperModel.load(hyper_run, precision="fp32")
    model = Model.load(file, precision="fp32")
    made = hyper.model(read_photo(new))
    assert model.size == made.size == hyper.hyper.ladder.finest
    assert "note: new.png is cropped to the aspect of the others, 34% are left out." in outcome.err
    assert torch.equal(next(model.sample([4])).pixels, next(made.sample([4])).pixels)
    assert model.recipe.name == "meta-small-model"
    for line in (
        f"sample {file} -o {tmp_path}/s -n 2 --size 30x60",
        f"animate {file} -o {tmp_path}/a.gif --frames 3",
        f"info {file}",
        f"restyle {file} {new} -o {tmp_path}/r.png",
    ):
        outcome = command(line)
        assert outcome.code == 0, outcome.err


def test_adapting_begins_with_what_was_predicted(
    hyper_run: Path, album: Path, tmp_path: Path, command: Command
) -> None:
    line = f"model {hyper_run} {album}/0.png -o {tmp_path}/ad --adapt 1 --precision fp32"
    outcome = command(f"{line} --device cpu")
    assert outcome.code == 0, outcome.err
    adapted = Model.load(tmp_path / "ad", precision="fp32").generator.state_dict()
    hyper = HyperModel.load(hyper_run, precision="fp32")
    start = hyper.model(read_photo(album / "0.png")).generator.state_dict()
    assert adapted.keys() == start.keys()
    for name, tensor in start.items():  # one step of Adam with a rate of 5e-4
        assert float((adapted[name] - tensor).abs().max()) <= 5.1e-4, name
    assert any(not torch.equal(adapted[name], start[name]) for name in start)
    assert "is complete" in command(line).err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model {model} {photo} -o {out}.safetensors", "is a model of one photo, not a hyper"),
        ("model {run} {photo} -o {out}", "is no name of a model; use one that ends in .safet"),
        ("model {run} {photo} -o {out} --adapt 0", "cannot adapt for 0 steps; use 1 or more."),
        ("sample {run} -o {out}", "is a hypernetwork, which has no pictures of its own"),
    ],
)
def test_mistakes_are_one_line(
    line: str, message: str, hyper_run: Path, album: Path, tmp_path: Path, command: Command
) -> None:
    model = tmp_path / "one.safetensors"
    HyperModel.load(hyper_run).model(read_photo(album / "0.png")).save(model)
    places = {"run": hyper_run, "photo": album / "0.png", "model": model}
    outcome = command(line.format(**places, out=tmp_path / "out"))
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
