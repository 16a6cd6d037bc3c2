"""A few numbers kept on purpose: they change only by `python tests/test_golden.py`, with a reason.

`golden/losses.json` holds the losses of two steps a level of each preset, made small, in float64.
`golden/format-1.safetensors` is a model of file format 1, which must load and draw the picture in
`golden/format-1.png` for as long as noise is drawn as it is.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from singleimage import PRESETS, Channels, Model, Photo, Recipe, Trainer, with_overrides
from singleimage.recipes.overrides import fields_of

GOLDEN = Path(__file__).parent / "golden"
SMALL = {
    "training.steps": "2",
    "pyramid.max_size": "40",
    "pyramid.width": "46",
    "pyramid.levels": "4",
    "generator.width": "4",
    "generator.width.base": "4",
    "generator.latent": "4",
    "critic.width.base": "4",
    "critic.width": "4",
    "pyramid.quantize": "false",
    "generator.quantize": "false",
    "generator.embedding.view": "64",
    "generator.embedding.width": "4",
    "generator.embedding.blocks": "[1, 1, 1, 1]",
    "generator.rank": "4",
    "critic.embedding.view": "64",
    "critic.embedding.width": "4",
    "critic.embedding.blocks": "[1, 1, 1, 1]",
}
TRAINED = sorted(name for name, recipe in PRESETS.items() if recipe.direct is None)


def small(recipe: Recipe) -> Recipe:
    return with_overrides(recipe, {k: v for k, v in SMALL.items() if k in fields_of(recipe)})


def photo() -> Photo:
    y, x = torch.meshgrid(torch.arange(34.0), torch.arange(40.0), indexing="ij")
    planes = torch.stack([torch.sin(x / 3), torch.cos(y / 4), torch.sin((x + y) / 5)])
    return Photo((planes * 0.9).float(), Channels(mode="RGB"))


def trainer_of(name: str, dtype: torch.dtype) -> Trainer:
    recipe = small(PRESETS[name])
    return Trainer(photo(), recipe, seed=11, device="cpu", precision="fp32", dtype=dtype)


def losses_of(name: str) -> list[dict[str, float]]:
    return [dict(progress.losses) for progress in trainer_of(name, torch.float64)]


def agree(found: list[dict[str, float]], kept: list[dict[str, float]]) -> bool:
    """Equal but for the rounding of another processor or number of threads."""
    pairs = zip(found, kept, strict=True)
    return all(now == pytest.approx(then, rel=1e-6, abs=1e-9) for now, then in pairs)


@pytest.mark.parametrize("name", TRAINED)
def test_losses_are_those_of_the_golden_file(name: str) -> None:
    expected = json.loads((GOLDEN / "losses.json").read_text())[name]
    assert agree(losses_of(name), expected)


def test_a_model_of_format_1_still_draws_its_picture() -> None:
    model = Model.load(GOLDEN / "format-1.safetensors", precision="fp32")
    drawn = (next(model.sample([5])).pixels + 1) * 127.5
    kept = np.asarray(Image.open(GOLDEN / "format-1.png")).astype(float).transpose(2, 0, 1)
    assert np.abs(drawn.numpy() - kept).max() < 1.0


def write() -> None:
    """Replace the golden losses, and say which presets changed; the old model stays."""
    path = GOLDEN / "losses.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    after = {}
    for name in TRAINED:
        found = losses_of(name)
        same = name in before and agree(found, before[name])
        print(name, "unchanged" if same else "CHANGED")
        after[name] = before[name] if same else found
    path.write_text(json.dumps(after, indent=1) + "\n")
    if not (GOLDEN / "format-1.safetensors").exists():
        trainer = trainer_of("singan", torch.float32)
        for _ in trainer:
            pass
        trainer.model().save(GOLDEN / "format-1.safetensors")
    if not (GOLDEN / "format-1.png").exists():
        model = Model.load(GOLDEN / "format-1.safetensors", precision="fp32")
        next(model.sample([5])).save(GOLDEN / "format-1.png")


if __name__ == "__main__":
    write()
