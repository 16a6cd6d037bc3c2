"""Generative models learned from a single image."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from singleimage.clip import Clip, read_clip
    from singleimage.errors import SingleImageError
    from singleimage.image import Channels, Photo, read_photo
    from singleimage.methods import PRESETS, preset
    from singleimage.model import Model
    from singleimage.progress import Progress
    from singleimage.recipe import Recipe, with_overrides
    from singleimage.run import Run
    from singleimage.trainer import Trainer, train

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Channels",
    "Clip",
    "Model",
    "Photo",
    "Progress",
    "Recipe",
    "Run",
    "SingleImageError",
    "Trainer",
    "preset",
    "read_clip",
    "read_photo",
    "train",
    "with_overrides",
]

_HOMES = {
    "PRESETS": "methods",
    "Channels": "image",
    "Clip": "clip",
    "Model": "model",
    "Photo": "image",
    "Progress": "progress",
    "Recipe": "recipe",
    "Run": "run",
    "SingleImageError": "errors",
    "Trainer": "trainer",
    "preset": "methods",
    "read_clip": "clip",
    "read_photo": "image",
    "train": "trainer",
    "with_overrides": "recipe",
}


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that the command line starts at once."""
    if name in _HOMES:
        return getattr(import_module(f"singleimage.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
