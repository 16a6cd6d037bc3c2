"""The commands of `TOOLS`: each is made from its row, `singleimage TOOL MODEL PICTURE -o FILE`."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from singleimage.commands.arguments import (
    Device,
    Json,
    Maps,
    Output,
    Overwrite,
    Precision,
    Seed,
    Source,
    Variety,
    Whole,
    load_model,
    read_told,
    require_maps,
    tell_lost,
    tell_marks,
)
from singleimage.commands.console import print_result
from singleimage.errors import OutputError
from singleimage.tools.table import TOOLS, Input, Tool

if TYPE_CHECKING:
    from singleimage.images.channels import Channels
    from singleimage.images.photo import Photo
    from singleimage.models.model import Model

Picture = Annotated[Path, Parameter(help="The picture that enters the model.")]
OptionalPicture = Annotated[
    Path | None, Parameter(help="What to work on. Default: the training image.")
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ResultFile:
    """What the commands of all tools take."""

    output: Output
    """The image file to write."""
    seed: Seed = 0
    """Everything random follows from it."""
    variety: Variety = None
    overwrite: Overwrite = False
    device: Device = "auto"
    precision: Precision = "auto"
    as_json: Json = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ResultAtLevel(ResultFile):
    """What those of tools take in which a picture enters the model at a level."""

    level: Whole | None = None
    """Where the picture enters: lower changes more. Default: a middle one."""
    sweep: Annotated[bool, Parameter(negative=())] = False
    """Write a sheet instead: the picture, then the result of every level."""
    map_: Maps = False


def tool_commands(without: Sequence[str] = ()) -> list[Callable[..., int]]:
    """A command for each row of `TOOLS`, except for those that have a command of their own."""
    return [_command_for(tool) for tool in TOOLS if tool.name not in without]


def _command_for(tool: Tool) -> Callable[..., int]:
    def command(source: Path, *picture: Path, **given: Any) -> int:
        return _run(tool, source, picture[0] if picture else None, **given)

    signature = _signature(tool)
    command.__name__ = tool.name
    command.__doc__ = tool.words
    command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    command.__signature__ = signature  # type: ignore[attr-defined]
    return command


def _signature(tool: Tool) -> inspect.Signature:
    """What the command takes: a model, the picture, the row's inputs, and where the result goes."""
    first, named = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("source", first, annotation=Source)]
    if tool.picture == "required":
        parameters.append(inspect.Parameter("picture", first, annotation=Picture))
    elif tool.picture == "optional":
        parameters.append(
            inspect.Parameter("picture", first, annotation=OptionalPicture, default=None)
        )
    for given in tool.inputs:
        default = inspect.Parameter.empty if given.required else given.default
        parameters.append(
            inspect.Parameter(given.name, named, annotation=_annotation(given), default=default)
        )
    result = ResultAtLevel if tool.enters else ResultFile
    parameters.append(inspect.Parameter("result", named, annotation=result))
    return inspect.Signature(parameters, return_annotation=int)


def _annotation(given: Input) -> Any:
    kinds: dict[str, Any] = {
        "photo": Path if given.required else Path | None,
        "whole": Whole,
        "number": float if given.default is not None else float | None,
        "switch": bool,
    }
    return Annotated[kinds[given.kind], Parameter(help=given.words)]


def _run(
    tool: Tool, source: Path, picture: Path | None, *, result: ResultFile, **given: Any
) -> int:
    """The result of one level as a file, or of all levels as a sheet."""
    from singleimage.images.channels import Channels
    from singleimage.images.rearrangement import map_file
    from singleimage.machine.files import refuse_existing
    from singleimage.tools.channels import worked_on

    level = result.level if isinstance(result, ResultAtLevel) else None
    sweep = isinstance(result, ResultAtLevel) and result.sweep
    if sweep and level is not None:
        raise OutputError("--sweep tries every level; drop --level.")
    maps = isinstance(result, ResultAtLevel) and result.map_
    if sweep and maps:
        raise OutputError("--map is of one result, --sweep writes a sheet; drop one of the two.")
    photos = {i.name for i in tool.inputs if i.kind == "photo"}
    inputs = {
        name: read_told(value) if name in photos and value is not None else value
        for name, value in given.items()
    }
    if maps:
        refuse_existing(map_file(result.output), overwrite=result.overwrite)
    photo = None if picture is None else read_told(picture)
    model = load_model(source, result.device, result.precision, variety=result.variety)
    require_maps(model, maps)
    if sweep:
        _require_sheet(model, result.output)
    shown = Channels(mode="RGB") if sweep else _channels(tool, model, photo, inputs)
    shown.require_file(result.output, overwrite=result.overwrite)

    def made(at: int | None) -> "Photo":
        extra = {"level": at} if tool.enters else {}
        pictures = () if tool.picture == "none" else (photo,)
        (image,) = tool.function(model, *pictures, **inputs, **extra, seeds=[result.seed])
        assert image is not None
        found: Photo = image
        return found

    if sweep:
        return _write_sweep(model, worked_on(model, photo), made, result)
    picture_made = made(level)
    files = picture_made.save(result.output, overwrite=result.overwrite)
    tell_lost(picture_made.about, result.output)
    if maps and picture_made.rearrangement is not None:
        picture_made.rearrangement.save(map_file(result.output), overwrite=result.overwrite)
        files.append(map_file(result.output))
    facts = {"files": list(map(str, files))}
    print_result(facts, f"result in {result.output}", result.as_json)
    return 0


def _require_sheet(model: "Model", path: Path) -> None:
    """Refuse a sheet of a model that no picture enters, or one that is no PNG."""
    from singleimage.apps.inject import suggested_level

    suggested_level(model.generator, 0.0)
    if path.suffix.lower() != ".png":
        raise OutputError(f"--sweep writes a PNG, and {path} is named otherwise; use .png.")


def _channels(
    tool: Tool, model: "Model", photo: "Photo | None", inputs: dict[str, Any]
) -> "Channels":
    """Those of the result. Tells what of the picture a mask marks."""
    from singleimage.tools.channels import given_channels, without_alpha, worked_on
    from singleimage.tools.retouch import laid_into

    if not tool.gives_back:
        return model.channels
    ground = worked_on(model, photo)
    tell_marks(inputs.get("mask"), ground)
    if "background" in (given.name for given in tool.inputs):
        ground = laid_into(model, ground, inputs.get("background"), inputs.get("mask"))
    cut_out = ground is photo and ground.channels.alpha is not None
    if cut_out and model.channels.alpha is None:
        ground = without_alpha(ground, None)
    return given_channels(model, ground)


def _write_sweep(
    model: "Model", photo: "Photo", made: "Callable[[int], Photo]", result: ResultFile
) -> int:
    from singleimage.images.sheet import save_sheet, sheet

    levels = sorted(model.generator.entry_levels)
    tiles = [photo.preview(512), *(made(level).preview(512) for level in levels)]
    save_sheet(sheet(tiles), result.output, overwrite=result.overwrite)
    words = f"the picture, then levels {levels[0]} to {levels[-1]}, in {result.output}"
    print_result({"files": [str(result.output)], "levels": levels}, words, result.as_json)
    return 0
