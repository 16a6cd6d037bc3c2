"""Commands that let a picture enter a model: harmonize, edit, paint, restyle, fill, extend."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from singleimage.commands.arguments import (
    Device,
    Json,
    Output,
    Overwrite,
    Precision,
    Source,
    Whole,
    load_model,
)
from singleimage.console import report
from singleimage.errors import OutputError

if TYPE_CHECKING:
    from singleimage.image import Photo
    from singleimage.model import Model

    Retouch = Callable[[Model, Photo, int | None], list[Photo]]
    Masked = Callable[..., list[Photo]]

Picture = Annotated[Path, Parameter(help="The picture that enters the model.")]
Enlarged = Annotated[Path | None, Parameter(help="What to enlarge. Default: the training image.")]
Background = Annotated[
    Path | None, Parameter(help="What lies under the pasted part. Default: the training image.")
]
Mask = Annotated[
    Path | None,
    Parameter(
        help="White where the picture may change. Default: its alpha, or where it differs from "
        "the background."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Result:
    """What all of these commands take."""

    output: Output
    """The image file to write."""
    seed: Whole = 0
    """Everything random follows from it."""
    overwrite: Overwrite = False
    device: Device = "auto"
    precision: Precision = "auto"
    as_json: Json = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AtLevel(Result):
    """What those take in which a picture enters at a level."""

    level: Whole | None = None
    """Where the picture enters: lower changes more. Default: a middle one."""
    sweep: Annotated[bool, Parameter(negative=())] = False
    """Write a sheet instead: the picture, then the result of every level."""


def harmonize(
    source: Source,
    picture: Picture,
    /,
    *,
    background: Background = None,
    mask: Mask = None,
    result: AtLevel,
) -> int:
    """Give an object pasted into the photo the photo's style; the rest stays bit for bit."""
    from singleimage.retouch import harmonize as do

    return _write_masked(source, picture, background, mask, result, do)


def edit(
    source: Source,
    picture: Picture,
    /,
    *,
    background: Background = None,
    mask: Mask = None,
    result: AtLevel,
) -> int:
    """Make a photo whole whose parts were moved or copied by hand; the rest stays bit for bit."""
    from singleimage.retouch import edit as do

    return _write_masked(source, picture, background, mask, result, do)


def paint(source: Source, picture: Picture, /, *, result: AtLevel) -> int:
    """Turn clip art or a sketch into a picture with the photo's colors and textures."""
    from singleimage.retouch import paint as do

    return _write(
        source,
        picture,
        result,
        lambda model, photo, level: do(model, photo, level=level, seeds=[result.seed]),
    )


def restyle(source: Source, picture: Picture, /, *, result: AtLevel) -> int:
    """Draw another photo's structure in this photo's style."""
    from singleimage.retouch import restyle as do

    return _write(
        source,
        picture,
        result,
        lambda model, photo, level: do(model, photo, level=level, seeds=[result.seed]),
    )


def fill(source: Source, picture: Picture, /, *, mask: Path, result: AtLevel) -> int:
    """Replace the marked part by what the photo has elsewhere (inpainting).

    Parameters
    ----------
    mask
        White where the picture is to be filled.
    """
    from singleimage.image import read_photo
    from singleimage.retouch import fill as do

    part = read_photo(mask)
    return _write(
        source,
        picture,
        result,
        lambda model, photo, level: do(model, photo, part, level=level, seeds=[result.seed]),
    )


def extend(
    source: Source,
    picture: Picture,
    /,
    *,
    top: Whole = 0,
    bottom: Whole = 0,
    left: Whole = 0,
    right: Whole = 0,
    result: AtLevel,
) -> int:
    """Continue the picture beyond its borders (outpainting).

    Parameters
    ----------
    top
        Pixels to add above.
    bottom
        Pixels to add below.
    left
        Pixels to add on the left.
    right
        Pixels to add on the right.
    """
    from singleimage.retouch import extend as do

    return _write(
        source,
        picture,
        result,
        lambda model, photo, level: do(
            model,
            photo,
            top=top,
            bottom=bottom,
            left=left,
            right=right,
            level=level,
            seeds=[result.seed],
        ),
    )


def upscale(
    source: Source,
    picture: Enlarged = None,
    /,
    *,
    factor: float = 4.0,
    strength: float = 0.7,
    consistent: bool = True,
    truth: Path | None = None,
    result: Result,
) -> int:
    """Enlarge the photo, or one like it, with its own textures (super-resolution).

    Parameters
    ----------
    factor
        Over 1, up to 16; a model trained with --for upscale:FACTOR does best.
    strength
        The part of the model's change that is kept, 0 to 1; 1 is as published, and harsher.
    consistent
        Correct the result until it reduces to the photo again; --no-consistent is as published.
    truth
        The picture as it should be: PSNR and SSIM of the result and of bicubic enlargement are
        told.
    """
    from singleimage.image import read_photo, refuse_existing
    from singleimage.retouch import compare_enlarged, enlarge

    refuse_existing(result.output, overwrite=result.overwrite)
    photo = None if picture is None else read_photo(picture)
    known = None if truth is None else read_photo(truth)
    model = load_model(source, result.device, result.precision)
    image = enlarge(
        model,
        factor,
        picture=photo,
        seed=result.seed,
        strength=strength,
        consistent=consistent,
    )
    files = image.save(result.output, overwrite=result.overwrite)
    facts: dict[str, Any] = {"files": list(map(str, files)), "size": list(image.size)}
    text = f"{image.size} in {result.output}"
    if known is not None:
        facts |= compare_enlarged(model, factor, image, known, picture=photo)
        text += "".join(f"\n{name} {value:.3f}" for name, value in facts.items() if "_" in name)
    report(facts, text, result.as_json)
    return 0


def _write_masked(
    source: Path,
    picture: Path,
    background: Path | None,
    mask: Path | None,
    result: AtLevel,
    do: "Masked",
) -> int:
    """The result of a tool that takes a background and a mask."""
    under, part = _read(background), _read(mask)
    return _write(
        source,
        picture,
        result,
        lambda model, photo, level: do(
            model, photo, background=under, mask=part, level=level, seeds=[result.seed]
        ),
    )


def _read(path: Path | None) -> "Photo | None":
    from singleimage.image import read_photo

    return None if path is None else read_photo(path)


def _write(source: Path, picture: Path, result: AtLevel, retouched: "Retouch") -> int:
    """The result of one level as a file, or of all of them as a sheet."""
    from singleimage.image import read_photo, refuse_existing, save_sheet, sheet

    if result.sweep and result.level is not None:
        raise OutputError("--sweep tries every level; drop --level.")
    refuse_existing(result.output, overwrite=result.overwrite)
    photo = read_photo(picture)
    model = load_model(source, result.device, result.precision)
    if not result.sweep:
        (image,) = retouched(model, photo, result.level)
        files = image.save(result.output, overwrite=result.overwrite)
        report({"files": list(map(str, files))}, f"result in {result.output}", result.as_json)
        return 0
    levels = sorted(model.generator.entry_levels)
    tiles = [photo.preview(512)]
    for level in levels:
        (image,) = retouched(model, photo, level)
        tiles.append(image.preview(512))
    save_sheet(sheet(tiles), result.output, overwrite=result.overwrite)
    words = f"the picture, then levels {levels[0]} to {levels[-1]}, in {result.output}"
    report({"files": [str(result.output)], "levels": levels}, words, result.as_json)
    return 0
