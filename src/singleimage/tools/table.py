"""The tools, one row each: what the command line and other interfaces read.

A tool is a function `tool(model, picture, **inputs, seeds=...)` that returns one picture a seed.
This module imports nothing heavy, so that `--help` stays quick; `Tool.function` imports the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal


@dataclass(frozen=True)
class Input:
    """What a tool takes beside the model and the picture."""

    name: str
    """The argument of the function; a flag on the command line."""
    kind: Literal["photo", "whole", "number", "switch"]
    """A picture, an integer from 0, a float (None where it has no default), or yes and no."""
    words: str
    """What it means, for people."""
    default: Any = None
    """Value where none is given."""
    required: bool = False


@dataclass(frozen=True)
class Tool:
    """One row."""

    name: str
    """Name of the function and of the command, and under which the package exports it."""
    module: str
    """Where the function is, in `singleimage.tools`."""
    words: str
    """What it does, in a line."""
    inputs: tuple[Input, ...] = ()
    enters: bool = True
    """Whether a picture enters the model at a level, which the argument `level` says."""
    picture: Literal["required", "optional", "none"] = "required"
    """Whether it takes a picture; optional: the training image stands for it."""
    gives_back: bool = True
    """Whether the result is that picture, changed: in its channels, bits and colors."""

    @property
    def function(self) -> Callable[..., Any]:
        """The tool itself."""
        found: Callable[..., Any] = getattr(
            import_module(f"singleimage.tools.{self.module}"), self.name
        )
        return found


_EXACT = Input(
    "exact",
    "switch",
    "Copy pixels as they are, without the light around the part (a photo, not a trained model).",
    False,
)

_PASTED = (
    Input("background", "photo", "What lies under the pasted part. Default: the training image."),
    Input(
        "mask",
        "photo",
        "What may change: white, or paint on the picture. Default: its alpha, or where it differs "
        "from the background.",
    ),
    _EXACT,
)

TOOLS: tuple[Tool, ...] = (
    Tool(
        "harmonize",
        "retouch",
        "Give an object pasted into the photo the photo's style; the rest stays bit for bit.",
        _PASTED,
    ),
    Tool(
        "edit",
        "retouch",
        "Make a photo whole whose parts were moved or copied by hand; the rest stays bit for bit.",
        _PASTED,
    ),
    Tool(
        "paint",
        "retouch",
        "Turn clip art or a sketch into a picture with the photo's colors and textures.",
        gives_back=False,
    ),
    Tool(
        "restyle",
        "retouch",
        "Draw another photo's structure in this photo's style.",
        gives_back=False,
    ),
    Tool(
        "fill",
        "fill",
        "Replace the marked part by what the photo has elsewhere (inpainting).",
        (
            Input(
                "mask",
                "photo",
                "What is to be filled: white, or paint on the picture.",
                required=True,
            ),
            _EXACT,
        ),
        picture="optional",
    ),
    Tool(
        "extend",
        "fill",
        "Continue the picture beyond its borders (outpainting).",
        (
            Input("top", "whole", "Pixels to add above.", 0),
            Input("bottom", "whole", "Pixels to add below.", 0),
            Input("left", "whole", "Pixels to add on the left.", 0),
            Input("right", "whole", "Pixels to add on the right.", 0),
            _EXACT,
        ),
        picture="optional",
    ),
    Tool(
        "upscale",
        "upscale",
        "Enlarge the photo, or one like it, with its own textures (super-resolution).",
        (
            Input(
                "factor",
                "number",
                "Over 1, up to 16; a model trained with --for upscale:FACTOR does best.",
                4.0,
            ),
            Input(
                "strength",
                "number",
                "Share of the change that is kept, 0 to 1 (as published). Default: 0.7; of a "
                "photo 1.",
            ),
            Input(
                "consistent",
                "switch",
                "Correct the result until it reduces to the photo again; --no-consistent is as "
                "published.",
                True,
            ),
        ),
        enters=False,
        picture="optional",
    ),
    Tool(
        "animate",
        "animate",
        "Make a photo move: a movie of a walk through the noise near the one that reproduces it.",
        (
            Input("frames", "whole", "How many.", 100),
            Input(
                "alpha",
                "number",
                "Pull back to the photo, from 0 to below 1; less wanders further.",
                0.1,
            ),
            Input(
                "beta",
                "number",
                "How much of a change is kept, from 0 to below 1; more is smoother.",
                0.9,
            ),
            Input(
                "start_level",
                "whole",
                "Keep the photo's layout below this level and move what is finer; 0 moves "
                "everything.",
                0,
            ),
            Input(
                "loop",
                "switch",
                "The last frame leads back to the first; without it, the movie begins near the "
                "photo.",
                False,
            ),
        ),
        enters=False,
        picture="none",
        gives_back=False,
    ),
)
"""In the order of the command line's help."""
