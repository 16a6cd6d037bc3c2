"""Commands that make models of photos with a hypernetwork."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from singleimage.commands.arguments import Device, Json, Output, Overwrite, Precision, Whole
from singleimage.console import report, say
from singleimage.errors import OutputError, SizeError

if TYPE_CHECKING:
    from singleimage.hypermodel import HyperModel
    from singleimage.image import Photo
    from singleimage.run import Run

Meta = Annotated[Path, Parameter(help="A hypernetwork's file, or the folder of its run.")]


def model(
    meta: Meta,
    photo: Path,
    /,
    *,
    output: Output,
    adapt: Whole | None = None,
    seed: Whole = 0,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Make a model of a photo with a hypernetwork, in one forward pass.

    Parameters
    ----------
    photo
        Any photo, of training or a new one.
    output
        File for the model, an ordinary one for all other commands. With --adapt the folder of a
        run.
    adapt
        Train the model on the photo, so many steps a level, beginning with what was predicted. The
        same command continues what was stopped.
    seed
        Of the noise in --adapt.
    """
    from singleimage.hypermodel import HyperModel
    from singleimage.image import read_photo, refuse_existing

    if adapt is not None and adapt < 1:
        raise SizeError(f"cannot adapt for {adapt} steps; use 1 or more.")
    if adapt is None:
        _require_file(output)
        refuse_existing(output, overwrite=overwrite)
    hyper = HyperModel.load(meta, device=device, precision=precision)
    picture = hyper.fitted(read_photo(photo), photo.name)
    for note in picture.notes:
        say(f"note: {note}")
    if adapt is not None:
        from singleimage.commands.training import train_run

        run = _adapting(hyper, picture, photo.name, output, adapt, seed, device, precision)
        return train_run(run, as_json)
    started = time.perf_counter()
    made = hyper.model(picture)
    milliseconds = 1000 * (time.perf_counter() - started)
    made.save(output, overwrite=overwrite)
    facts = {"model": str(output), "milliseconds": round(milliseconds, 1)}
    report(facts, f"model in {output}, made in {milliseconds:.0f} ms", as_json)
    return 0


def _require_file(output: Path) -> None:
    if output.is_dir() or output.suffix != ".safetensors":
        raise OutputError(f"{output} is no name of a model; use one that ends in .safetensors.")


def _adapting(
    hyper: "HyperModel",
    photo: "Photo",
    name: str,
    output: Path,
    steps: int,
    seed: int,
    device: str,
    precision: Precision,
) -> "Run":
    """A training that begins with the predicted generator and critic."""
    from msgspec.structs import replace

    from singleimage.run import Run

    recipe = hyper.recipe.of_one()
    recipe = replace(recipe, training=replace(recipe.training, steps=steps))
    return Run(
        output,
        recipe,
        photo,
        seed=seed,
        name=name,
        device=device,
        precision=precision,
        start=hyper.start(photo),
    )


def interpolate(
    meta: Meta,
    first: Path,
    second: Path,
    /,
    *,
    output: Output,
    levels: str | None = None,
    steps: Whole = 5,
    frames: Whole = 24,
    seed: Whole = 0,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Go from the model of one photo to that of another, on the same noise.

    Writes sheet.png, a row for each of the levels, and level-N.gif, there and back.

    Parameters
    ----------
    first
        The photo to begin with.
    second
        The photo to end with.
    output
        Folder for the pictures.
    levels
        Levels from which on to change, such as 0,3,6; below, all stays that of the first photo.
        Default: first, middle and last.
    steps
        Pictures of a row.
    frames
        Of a movie; 0: none.
    seed
        Of the noise.
    """
    from singleimage.hypermodel import HyperModel
    from singleimage.image import make_folder, read_photo, refuse_existing, save_sheet, sheet
    from singleimage.movie import write_movie

    if steps < 2:
        raise SizeError(f"cannot go in {steps} steps; use 2 or more.")
    if frames < 0:
        raise SizeError(f"cannot write {frames} frames; use 0 or more.")
    hyper = HyperModel.load(meta, device=device, precision=precision)
    chosen = _levels(levels, len(hyper.hyper.heads))
    one, other = (hyper.fitted(read_photo(path), path.name) for path in (first, second))
    for note in (*one.notes, *other.notes):
        say(f"note: {note}")
    page_path = output / "sheet.png"
    movies = {level: output / f"level-{level}.gif" for level in chosen} if frames else {}
    files = [page_path, *movies.values()]
    for file in files:
        refuse_existing(file, overwrite=overwrite)

    def picture(t: float, level: int) -> "Photo":
        return hyper.interpolated(one, other, t, level).sample([seed])[0]

    shown = [picture(i / (steps - 1), level).preview() for level in chosen for i in range(steps)]
    make_folder(output)
    save_sheet(sheet(shown, columns=steps), page_path, overwrite=overwrite)
    for level, path in movies.items():
        there = [picture(i / max(frames - 1, 1), level) for i in range(frames)]
        write_movie(path, there + there[-2:0:-1], fps=12, overwrite=overwrite)
    facts: dict[str, Any] = {"files": list(map(str, files)), "levels": chosen}
    report(facts, f"{len(files)} files in {output}", as_json)
    return 0


def _levels(text: str | None, count: int) -> list[int]:
    """The levels that were asked for."""
    if text is None:
        return sorted({0, count // 2, count - 1})
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) < count for part in parts):
        raise SizeError(f"--levels {text} are no levels; write numbers from 0 to {count - 1}.")
    return [int(part) for part in parts]
