"""The command line: one function a command. Everything heavy is imported inside the commands."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter, Token

from singleimage.console import catch_stop, duration, fail, progress_bars, report, say
from singleimage.errors import OutputError, RecipeError, SingleImageError, SizeError

if TYPE_CHECKING:
    from PIL.Image import Image

    from singleimage.image import Photo
    from singleimage.model import Model
    from singleimage.recipe import Recipe
    from singleimage.resample import Size

app = App(
    name="singleimage",
    help="Generative models learned from a single image: train on one photo, draw new ones.",
    help_format="plaintext",
    version_flags=["--version"],
)


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """An integer; cyclopts alone would round 1.5."""
    if not tokens[0].value.removeprefix("-").isdecimal():
        raise ValueError(f"{tokens[0].value} is not a whole number.")
    return int(tokens[0].value)


Whole = Annotated[int, Parameter(converter=_whole)]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Source = Annotated[Path, Parameter(help="A model file, or the folder of a run.")]
Device = Annotated[str, Parameter(help="auto, cpu, cpu:THREADS, cuda, cuda:INDEX or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    Parameter(help="Type of the convolutions; auto: bf16 where the device is fast at it."),
]
Json = Annotated[
    bool, Parameter(name="--json", negative=(), help="Print one JSON object, and nothing else.")
]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace files that exist.")]


@app.command
def train(
    image: Path,
    /,
    *,
    output: Output | None = None,
    preset: str = "preview",
    steps: Whole | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    mask: Annotated[list[Path] | None, Parameter(negative=())] = None,
    seed: Whole = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    embed_image: bool = True,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> int:
    """Learn a photo. The same command continues a run that was stopped.

    Parameters
    ----------
    image
        The photo: JPEG, PNG, WebP, TIFF; gray or color, with or without alpha.
    output
        Folder of the run: model, state, log, previews.
    preset
        consingan, singan (the papers' recipes) or preview (small and short).
    steps
        Steps of each level, in place of the recipe's.
    set_
        A recipe field, as PATH=VALUE; repeatable. --dry-run lists the fields.
    mask
        A mask or label map of the photo's size, learned as one more channel; repeatable.
    seed
        Everything random follows from it.
    embed_image
        Store the training image in the model.
    dry_run
        Print the recipe, the levels, their parameters and an estimate of the time; train nothing.
    """
    from singleimage.image import read_photo
    from singleimage.run import Run

    recipe = _recipe(preset, steps, set_ or [])
    photo = read_photo(image, masks=mask or [])
    for note in photo.notes:
        say(f"note: {note}")
    if dry_run:
        return _show_plan(recipe, photo, seed, device, precision, as_json)
    if output is None:
        raise OutputError("no folder for the run; add -o RUN.")
    run = Run(
        output,
        recipe,
        photo,
        seed=seed,
        name=image.name,
        device=device,
        precision=precision,
        embed_image=embed_image,
    )
    if run.trainer.finished:
        say(f"{output} is complete.")
    elif run.resumed:
        say(f"continuing {output} at level {run.trainer.level}, step {run.trainer.step}.")
    with closing(run), catch_stop() as stop, progress_bars(quiet=as_json) as show:
        for progress in run:
            show(progress)
            if stop.by is not None:
                run.save()
                break
    if stop.by is not None:
        say(f"stopped; the same command continues {output}.")
        return 128 + stop.by
    summary = {"run": str(output), "model": str(run.model_path), "levels": run.trainer.levels}
    summary["seconds"] = round(run.trainer.seconds, 1)
    text = f"model in {run.model_path}; draw with: singleimage sample {output} -o FOLDER"
    report(summary, text, as_json)
    return 0


@app.command
def sample(
    source: Source,
    /,
    *,
    output: Output,
    count: Annotated[Whole, Parameter(name=["--count", "-n"])] = 8,
    seed: Whole = 0,
    size: str | None = None,
    scale: float | None = None,
    start_level: Whole = 0,
    sheet: bool = True,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Draw new pictures, one file a seed, and a contact sheet that begins with the photo.

    Parameters
    ----------
    output
        Folder for the pictures.
    count
        How many.
    seed
        Of the first picture; the next have the next seeds.
    size
        Size of the pictures, as HEIGHTxWIDTH; default: that of the training image.
    scale
        Size of the pictures as a multiple of the training image's.
    start_level
        Keep the photo's layout below this level and renew what is finer; 0 renews everything.
    sheet
        Also write sheet.png.
    """
    from singleimage.image import make_folder, refuse_existing, save_sheet
    from singleimage.image import sheet as make_sheet

    if count < 1:
        raise SizeError(f"cannot draw {count} pictures; ask for 1 or more.")
    model = _load(source, device, precision)
    target = _target_size(model, size, scale)
    seeds = range(seed, seed + count)
    paths = [output / f"{s:04}{model.channels.suffix}" for s in seeds]
    page_path = output / "sheet.png"
    files = [file for path in paths for file in model.channels.files(path)]
    files += [page_path] if sheet else []
    for file in files:
        refuse_existing(file, overwrite=overwrite)
    shown: list[Image] = []
    for path, picture in zip(paths, _drawn(model, seeds, target, start_level), strict=True):
        make_folder(output)  # only now: a size or level that cannot be drawn leaves nothing behind
        picture.save(path, overwrite=overwrite)
        shown += [picture.preview(SHEET_SIDE)] if sheet and len(shown) < SHEET_LIMIT else []
    if sheet:
        photo = model.training_image()
        page = make_sheet([photo.preview(SHEET_SIDE), *shown] if photo else shown)
        save_sheet(page, page_path, overwrite=overwrite)
    report({"files": list(map(str, files))}, f"{count} pictures in {output}", as_json)
    return 0


@app.command
def reconstruct(
    source: Source,
    /,
    *,
    output: Output,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Write the picture a model makes of its anchor noise: how well it knows its photo.

    Parameters
    ----------
    output
        The image file to write.
    """
    model = _load(source, device, precision)
    picture = model.reconstruct()
    files = picture.save(output, overwrite=overwrite)
    summary: dict[str, Any] = {"files": list(map(str, files))}
    photo = model.training_image()
    text = f"reconstruction in {output}"
    if photo is not None:
        error = float((picture.pixels - photo.pixels).square().mean())
        summary["mse"] = error
        text += f"; mean squared error {error:.5f} in [-1, 1]"
    report(summary, text, as_json)
    return 0


@app.command
def info(source: Source, /, *, as_json: Json = False) -> int:
    """Say what a model is: method, levels, sizes, where and when it was trained."""
    import msgspec

    model = _load(source, "cpu")
    ladder = model.generator.ladder
    facts = {
        **msgspec.to_builtins(model.provenance),
        "preset": model.recipe.name,
        "recipe_digest": model.recipe.digest(),
        "channels": msgspec.to_builtins(model.channels),
        "levels": [list(size) for size in ladder.sizes],
        "entry_levels": sorted(model.generator.entry_levels),
        "smallest_sample": list(ladder.minimum()),
        "parameters": sum(p.numel() for p in model.generator.parameters()),
        "image_embedded": model.image is not None,
    }
    if as_json:
        print(json.dumps(facts))
    else:
        facts["levels"] = "  ".join(map(str, ladder.sizes))
        facts["smallest_sample"] = str(ladder.minimum())
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):>18}  {value}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. Errors are one line on standard error, code 2."""
    try:
        result = app(
            sys.argv[1:] if argv is None else argv,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except SingleImageError as error:
        return fail(str(error))
    except CycloptsError as error:
        command = " ".join(["singleimage", *(error.command_chain or ())])
        return fail(f"{error} See: {command} --help")
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        return fail(f"cannot read or write {what}; check the path and the free space.")
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        return fail("out of memory; use a smaller size or pyramid.max_size.")
    except KeyboardInterrupt:
        return 130
    return int(result or 0)


# Parts of commands -------------------------------------------------------------------------------

SHEET_LIMIT = 48
"""Pictures on a contact sheet; the rest are files only."""
SHEET_SIDE = 1024
"""Larger pictures are reduced to it on a contact sheet."""


def _recipe(preset_name: str, steps: int | None, assignments: Sequence[str]) -> "Recipe":
    from singleimage.methods import preset
    from singleimage.recipe import with_overrides

    overrides = {} if steps is None else {"training.steps": str(steps)}
    for assignment in assignments:
        path, sign, value = assignment.partition("=")
        if not (sign and path):
            raise RecipeError(f"--set {assignment} is no assignment; write --set PATH=VALUE.")
        overrides[path] = value
    return with_overrides(preset(preset_name), overrides)


def _load(source: Path, device: str, precision: Precision = "auto") -> "Model":
    from singleimage.model import Model
    from singleimage.trainer import find_device

    return Model.load(source, device=find_device(device), precision=precision)


def _target_size(model: "Model", size: str | None, scale: float | None) -> "Size | None":
    from singleimage.image import PIXEL_LIMIT
    from singleimage.resample import Size

    if size is not None and scale is not None:
        raise SizeError("both --size and --scale are given; drop one.")
    if scale is not None:
        if not 0 < scale <= 100:
            raise SizeError(f"--scale {scale:g} is out of range; use a factor from 0 up to 100.")
        target = Size(*(round(side * scale) for side in model.size))
    elif size is not None:
        height, _, width = size.lower().partition("x")
        if not (height.isdecimal() and width.isdecimal()):
            raise SizeError(f"--size {size} is no size; write HEIGHTxWIDTH, such as 200x300.")
        target = Size(int(height), int(width))
    else:
        return None
    if target.height * target.width > PIXEL_LIMIT:
        raise SizeError(f"{target} is too large; ask for up to {PIXEL_LIMIT // 10**6} megapixels.")
    model.generator.ladder.sizes_for(target)  # refuses what is too small
    return target


def _drawn(
    model: "Model", seeds: range, size: "Size | None", start_level: int
) -> Iterator["Photo"]:
    """Pictures a few at a time, so that any count fits in memory."""
    for first in range(0, len(seeds), 16):
        yield from model.sample(seeds[first : first + 16], size=size, start_level=start_level)


def _show_plan(
    recipe: "Recipe",
    photo: "Photo",
    seed: int,
    device: str,
    precision: Precision,
    as_json: bool,
) -> int:
    """What a training would be; every level is tried for a few steps to know its time."""
    import msgspec

    from singleimage.recipe import fields_of
    from singleimage.trainer import plan

    levels = plan(recipe, photo, seed=seed, device=device, precision=precision)
    seconds = sum(level.seconds_per_step for level in levels) * recipe.training.steps
    facts: dict[str, Any] = {
        "recipe": fields_of(recipe),
        "levels": msgspec.to_builtins(levels),
        "generator_parameters": levels[-1].generator_parameters,
        "seconds": round(seconds),
    }
    if as_json:
        print(json.dumps(facts))
        return 0
    for name, value in facts["recipe"].items():
        print(f"{name} = {json.dumps(value)}")
    print("\nlevel       size   generator so far      critic   s/step")
    for i, level in enumerate(levels):
        print(
            f"{i:5} {level.size!s:>10} {level.generator_parameters:18,} "
            f"{level.critic_parameters:11,} {level.seconds_per_step:8.3f}"
        )
    print(f"\n{recipe.training.steps} steps a level: about {duration(seconds)} on this machine")
    return 0
