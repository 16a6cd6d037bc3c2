"""Generative models learned from a single image."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from singleimage.tools.table import TOOLS

if TYPE_CHECKING:
    from singleimage.errors import ArgumentError, SingleImageError, SizeError
    from singleimage.images.channels import Channels
    from singleimage.images.clip import Clip, read_clip
    from singleimage.images.movie import write_movie
    from singleimage.images.photo import Photo
    from singleimage.images.reader import photo_from, read_photo
    from singleimage.metrics.evaluation import evaluate
    from singleimage.metrics.features import load_features
    from singleimage.models.export import export
    from singleimage.models.flow import flow
    from singleimage.models.hypermodel import HyperModel
    from singleimage.models.model import Model
    from singleimage.recipes.overrides import with_overrides
    from singleimage.recipes.presets import PRESETS, preset
    from singleimage.recipes.recipe import Recipe
    from singleimage.recipes.tasks import (
        for_animating,
        for_editing,
        for_harmonizing,
        for_painting,
        for_task,
        for_upscaling,
        for_video,
    )
    from singleimage.tools.animate import animate
    from singleimage.tools.fill import extend, fill
    from singleimage.tools.retouch import edit, harmonize, paint, restyle
    from singleimage.tools.upscale import upscale
    from singleimage.training.makers import train
    from singleimage.training.progress import Progress
    from singleimage.training.run import Run
    from singleimage.training.trainer import Trainer

__version__ = "0.1.0"

_HOMES = {
    "PRESETS": "recipes.presets",
    "ArgumentError": "errors",
    "Channels": "images.channels",
    "Clip": "images.clip",
    "HyperModel": "models.hypermodel",
    "Model": "models.model",
    "Photo": "images.photo",
    "Progress": "training.progress",
    "Recipe": "recipes.recipe",
    "Run": "training.run",
    "SingleImageError": "errors",
    "SizeError": "errors",
    "Trainer": "training.trainer",
    "evaluate": "metrics.evaluation",
    "export": "models.export",
    "flow": "models.flow",
    "for_animating": "recipes.tasks",
    "for_editing": "recipes.tasks",
    "for_harmonizing": "recipes.tasks",
    "for_painting": "recipes.tasks",
    "for_task": "recipes.tasks",
    "for_upscaling": "recipes.tasks",
    "for_video": "recipes.tasks",
    "load_features": "metrics.features",
    "photo_from": "images.reader",
    "preset": "recipes.presets",
    "read_clip": "images.clip",
    "read_photo": "images.reader",
    "train": "training.makers",
    "with_overrides": "recipes.overrides",
    "write_movie": "images.movie",
    **{tool.name: f"tools.{tool.module}" for tool in TOOLS},
}
"""Where each public name is defined; tools are there by their rows."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that the command line starts at once."""
    if name in _HOMES:
        return getattr(import_module(f"singleimage.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
