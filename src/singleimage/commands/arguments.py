"""What commands share: the types of their arguments, and how a model or a recipe is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, Token

from singleimage.commands.console import say
from singleimage.errors import ArgumentError, RecipeError, UnsupportedEntry

if TYPE_CHECKING:
    from singleimage.images.encode import About
    from singleimage.images.photo import Photo
    from singleimage.models.model import Model
    from singleimage.multiscale.geometry import Size
    from singleimage.recipes.recipe import Recipe


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """An integer; cyclopts alone would round 1.5."""
    digits = tokens[0].value.removeprefix("-")
    if not (digits.isdecimal() and digits.isascii() and len(digits) < 19):
        raise ValueError(f"{tokens[0].value} is not a whole number.")
    return int(tokens[0].value)


def _seed(kind: type, tokens: Sequence[Token]) -> int:
    """A whole number from 0."""
    value = _whole(kind, tokens)
    if value < 0:
        raise ValueError(f"{value} is no seed; use 0 or more.")
    return value


Seed = Annotated[int, Parameter(converter=_seed)]
Whole = Annotated[int, Parameter(converter=_whole)]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Source = Annotated[
    Path,
    Parameter(help="A photo, which needs no training; or a model file or the folder of a run."),
]
Variety = Annotated[
    float | None,
    Parameter(
        help="How far pictures of a photo are from it: 0, nearly it, to 1, its textures alone. "
        "Default: a third."
    ),
]
Device = Annotated[str, Parameter(help="auto, cpu, cpu:THREADS, cuda, cuda:INDEX or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    Parameter(help="Type of the convolutions; auto: bf16 where the device is fast at it."),
]
Json = Annotated[
    bool, Parameter(name="--json", negative=(), help="Print one JSON object, and nothing else.")
]
Protocol = Literal["singan", "fast-stabilized", "meta"] | None
Maps = Annotated[
    bool,
    Parameter(
        name="--map",
        negative=(),
        help="Also write where every pixel comes from, NAME_map.tiff: red for columns, green for "
        "rows. Other images are rearranged alike by: singleimage apply.",
    ),
]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace files that exist.")]


def refuse_beside(protocol: str, *, count: int | None, jpeg: int | None) -> None:
    """Raise `ArgumentError` if what a protocol says was given, too."""
    given = {"--count": count, "--jpeg": jpeg}
    if said := [flag for flag, value in given.items() if value is not None]:
        raise ArgumentError(
            f"--protocol {protocol} says how much is measured; drop {' and '.join(said)}."
        )


def read_recipe(
    preset_name: str, steps: int | None, assignments: Sequence[str], task: str | None = None
) -> "Recipe":
    """A preset, made for a task, with fields changed, each given as PATH=VALUE."""
    from singleimage.recipes.overrides import with_overrides
    from singleimage.recipes.presets import preset
    from singleimage.recipes.tasks import for_task

    overrides = {} if steps is None else {"training.steps": str(steps)}
    for assignment in assignments:
        path, sign, value = assignment.partition("=")
        if not (sign and path):
            raise RecipeError(f"--set {assignment} is no assignment; write --set PATH=VALUE.")
        overrides[path] = value
    recipe = preset(preset_name)
    return with_overrides(for_task(recipe, task) if task else recipe, overrides)


def load_model(
    source: Path,
    device: str,
    precision: Precision = "auto",
    *,
    moving: bool = False,
    variety: float | None = None,
    masks: Sequence[Path] = (),
    more: Sequence[Path] = (),
) -> "Model":
    """The model in a file or a run folder, or that of a photo without training.

    `moving`: of a clip is as good as of a photo. `variety`, `masks`, `more`: of a photo.
    """
    from singleimage.images.folder import SUFFIXES
    from singleimage.machine.device import use_device
    from singleimage.models.flow import flow
    from singleimage.models.model import Model

    if source.suffix.lower() in SUFFIXES and not source.is_dir():  # a run may be named so
        if masks and more:
            raise ArgumentError("--mask goes with one photo; drop it, or the other photos.")
        photos = [read_told(source, masks), *map(read_told, more)]
        return flow(*photos, variety=variety, device=use_device(device))
    given = {"--variety": variety is not None, "--mask": masks, "a second source": more}
    for flag in (name for name, value in given.items() if value):
        raise ArgumentError(
            f"{flag} is for photos, and {source} is none; a model draws as it was made."
        )
    model = Model.load(source, device=use_device(device), precision=precision)
    trained, planned = model.provenance.levels, model.planned_levels
    if trained < planned:
        say(f"note: {source} has {trained} of {planned} levels; its training is not finished.")
    if model.generator.ladder.moving and not moving:
        raise UnsupportedEntry(
            f"{source} is a model of a clip; draw new clips with: singleimage sample {source} -o "
            f"FOLDER, or give a model of a photo."
        )
    return model


def read_told(path: Path, masks: Sequence[Path] = ()) -> "Photo":
    """A photo with its masks; what its reader changed or left out is told."""
    from singleimage.images.reader import read_photo

    photo = read_photo(path, masks=masks)
    for note in photo.notes:
        say(f"note: {note}")
    return photo


def tell_marks(mask: "Photo | None", under: "Photo | None") -> None:
    """Say how much of the picture `under` a mask marks, where there are both.

    Raises:
        MaskError: that is nothing or all, or it has another size.
    """
    from singleimage.apps.masks import marked

    if mask is None or under is None:
        return
    found = marked(mask, under)
    say(f"{float(found.part.mean()):.0%} of the picture is marked: {found.how} in the mask.")


def tell_lost(about: "About", path: Path) -> None:
    """Say that the file that was written has no EXIF, where there is some and it is a TIFF."""
    if about.exif and path.suffix.lower() in (".tif", ".tiff"):
        say(f"note: {path.name} is a TIFF, which is written without EXIF; .png keeps it.")


def require_maps(model: "Model", wanted: bool) -> None:
    """Refuse maps, if they are `wanted`, of a model that has none.

    Raises:
        UnsupportedEntry: it does not copy.
        ArgumentError: it is of several photos.
    """
    from singleimage.generators.base import no_copier

    if not wanted:
        return
    if model.generator.copier is None:
        raise no_copier()
    if model.recipe.direct is not None and model.provenance.photos > 1:
        raise ArgumentError("--map tells places of one photo; drop it, or the other photos.")


def target_size(model: "Model", size: str | None, scale: float | None) -> "Size | None":
    """The size that --size or --scale ask for; None: that of the training image."""
    from singleimage.multiscale.geometry import Size

    if size is not None and scale is not None:
        raise ArgumentError("both --size and --scale are given; drop one.")
    if scale is not None:
        if not 0 < scale <= 100:
            raise ArgumentError(
                f"--scale {scale:g} is out of range; use a factor from 0 up to 100."
            )
        target = Size(*(max(round(side * scale), 1) for side in model.size))
    elif size is not None:
        height, _, width = size.lower().partition("x")
        if not all(
            side.isascii() and side.isdecimal() and len(side) < 10 for side in (height, width)
        ):
            raise ArgumentError(f"--size {size} is no size; write HEIGHTxWIDTH, such as 200x300.")
        target = Size(int(height), int(width))
    else:
        return None
    model.generator.ladder.sizes_for(target)  # refuses what is too small
    return target
