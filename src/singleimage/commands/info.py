"""`singleimage info`: what a model is."""

import json
from typing import TYPE_CHECKING

from singleimage.commands.arguments import Json, Source, load_model
from singleimage.commands.console import plain

if TYPE_CHECKING:
    from singleimage.models.model import Model

LARGE = 500_000
"""Pixels of a photo from which on none is drawn to tell how much is copied."""


def info(source: Source, /, *, as_json: Json = False) -> int:
    """Say what a model is: method, levels, sizes, where and when it was trained."""
    import msgspec

    model = load_model(source, "cpu", moving=True)
    ladder = model.generator.ladder
    facts = {
        **msgspec.to_builtins(model.provenance),
        "planned_levels": model.planned_levels,
        "preset": model.recipe.name,
        "recipe_digest": model.recipe.digest(),
        "channels": msgspec.to_builtins(model.channels),
        "levels": [list(ladder.shape(level)) for level in range(len(ladder.sizes))],
        "entry_levels": sorted(model.generator.entry_levels),
        "smallest_sample": list(ladder.minimum()),
        "parameters": sum(p.numel() for p in model.generator.parameters()),
        "image_embedded": model.image is not None,
        **_copying(model),
    }
    if as_json:
        print(json.dumps(facts))
    else:
        facts["levels"] = "  ".join("x".join(map(str, shape)) for shape in facts["levels"])
        facts["smallest_sample"] = str(ladder.minimum())
        for name, value in facts.items():
            print(plain(f"{name.replace('_', ' '):>18}  {value}"))
    return 0


def _copying(model: "Model") -> dict[str, float]:
    """How much of a sample moves together, of a model that copies."""
    if model.generator.copier is None or model.size.height * model.size.width > LARGE:
        return {}
    (found,) = (picture.rearrangement for picture in model.sample([0]))
    assert found is not None
    return {"moved_together": round(found.together, 3)}
