"""Recipes and pictures small enough for tests, and a way to call the command line."""

import contextlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from singleimage import PRESETS, Channels, Photo, Recipe, Trainer, with_overrides
from singleimage.cli import main
from singleimage.multiscale.geometry import Size
from singleimage.recipes.overrides import fields_of

METHODS = sorted(
    PRESETS.keys() - {"flow", "preview", "quick", "standard", "meta-single", "meta-small"}
)
"""The trained presets that differ in kind: `preview` and `quick` are consingan, small; of one
photo, `meta-single` and `meta-small` are meta."""


def slow_but(values: Iterable[Any], *quick: Any) -> list[Any]:
    """The values as parameters of a test; all but `quick` run only with the slow tests."""
    values = list(values)
    assert all(value in values for value in quick)
    return [v if v in quick else pytest.param(v, marks=pytest.mark.slow) for v in values]


ONE_TURN = {
    "phases.0.objective.critic_steps": "1",
    "phases.0.objective.generator_steps": "1",
}
"""Fields with which critic and generator learn once a step."""
FIELDS = ONE_TURN | {
    "training.steps": "2",
    "pyramid.max_size": "48",
    "pyramid.width": "46",
    "pyramid.levels": "4",
    "generator.width": "6",
    "generator.body.reduction": "1",
    "generator.width.base": "6",
    "generator.latent": "6",
    "critic.width.base": "6",
    "critic.width": "6",
    "generator.embedding.view": "64",
    "generator.embedding.width": "4",
    "generator.embedding.blocks": "[1, 1, 1, 1]",
    "generator.rank": "4",
    "critic.embedding.view": "64",
    "critic.embedding.width": "4",
    "critic.embedding.blocks": "[1, 1, 1, 1]",
}
"""Fields of all methods that make them small: four levels of two steps, for a photo of 38x46."""
FEWER = {"training.steps": "1", "pyramid.levels": "3", "pyramid.max_size": "40"}
"""Fields that make them smaller still: three levels of one step."""
QUICK_FLOW = {"generator.steps": "3", "generator.redraws": "0"}
"""Fields of `flow` with which it draws at once, if worse."""
PHOTO = Size(38, 46)


def tiny(recipe: Recipe, **more: str) -> Recipe:
    """The same method, small: of `FIELDS` and `more` only the fields that it has."""
    known = fields_of(recipe)
    return with_overrides(recipe, {k: v for k, v in {**FIELDS, **more}.items() if k in known})


def pattern(channels: int, size: Size = PHOTO) -> Tensor:
    """Waves (channels, H, W) in [-0.8, 0.8], others in each channel."""
    y, x = torch.meshgrid(torch.arange(size.height), torch.arange(size.width), indexing="ij")
    planes = [torch.sin((x * (c + 1) + y * 2) / 7 + c) for c in range(channels)]
    return torch.stack(planes) * 0.8


def trained(name: str, mode: str = "RGB", *, seed: int = 1) -> Trainer:
    """A tiny preset, trained to the end on `pattern`."""
    channels = Channels(mode=mode)  # type: ignore[arg-type]
    photo = Photo(pattern(channels.count), channels)
    trainer = Trainer(photo, tiny(PRESETS[name]), seed=seed, device="cpu", precision="fp32")
    for _ in trainer:
        pass
    return trainer


def album_recipe(**more: str) -> Recipe:
    """A hypernetwork of three levels of two steps, with two photos each."""
    fields = {"pyramid.min_width": "28", "training.batch": "2", "critic.rank": "4"}
    return tiny(PRESETS["meta-small"], **{**fields, **more})


def draw(path: Path, phase: float, size: tuple[int, int] = (44, 52)) -> Path:
    """A file of a photo with waves, others for each phase."""
    y, x = np.indices(size)
    waves = [np.sin(x / (4 + phase)), np.cos(y / 5 + phase), np.sin((x + y) / (3 + phase))]
    values = (np.stack(waves, axis=-1) * 0.9 * 127.5 + 127.5).astype(np.uint8)
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(values).save(path)
    return path


# The command line --------------------------------------------------------------------------------

TURNS = " ".join(f"--set {path}={value}" for path, value in ONE_TURN.items())
TRAIN_FLAGS = {
    "consingan": f"--preset consingan {TURNS} --set pyramid.max_size=40 --set pyramid.levels=3 "
    "--set generator.width=4 --set critic.width.base=4 --set training.lr_generator=0.01",
    "hp-vae-gan": "--preset hp-vae-gan --set pyramid.width=48 --set pyramid.min_width=37 "
    "--set generator.vae_levels=2 --set phases.1.from_level=2 --set generator.width=4 "
    "--set generator.latent=4 --set critic.width=4 --set training.lr_generator=0.01",
    "singan": f"--preset singan {TURNS} --set pyramid.max_size=48 "
    "--set generator.width.base=4 --set critic.width.base=4 --set training.lr_generator=0.01",
}
"""Flags of `train` for models of three levels, small enough for tests; without the steps."""
TRAIN_STEPS = {"consingan": 6, "hp-vae-gan": 6, "singan": 6}
"""Steps after which pictures of two seeds differ."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[[str], Outcome]


def call(line: str) -> Outcome:
    """Run a command line, split at spaces, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line.split())
    return Outcome(code, out.getvalue(), err.getvalue())


def result(outcome: Outcome) -> Any:
    """The JSON object that is the only line on standard output."""
    assert outcome.code == 0, outcome.err
    (line,) = outcome.out.splitlines()
    return json.loads(line)


def pixels(path: Path) -> NDArray[Any]:
    """The values in a file of a picture."""
    with Image.open(path) as opened:
        return np.asarray(opened)
