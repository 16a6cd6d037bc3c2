"""`singleimage interpolate`: from the model of one photo to that of another."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from singleimage.commands.arguments import Device, Json, Output, Overwrite, Precision, Seed, Whole
from singleimage.commands.console import print_result, say
from singleimage.commands.model import Meta
from singleimage.errors import ArgumentError

if TYPE_CHECKING:
    from singleimage.images.photo import Photo


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
    seed: Seed = 0,
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
    from singleimage.images.movie import write_movie
    from singleimage.images.reader import read_photo
    from singleimage.images.sheet import save_sheet, sheet
    from singleimage.machine.files import make_folder, refuse_existing
    from singleimage.models.hypermodel import HyperModel

    if steps < 2:
        raise ArgumentError(f"cannot go in {steps} steps; use 2 or more.")
    if frames < 0:
        raise ArgumentError(f"cannot write {frames} frames; use 0 or more.")
    hyper = HyperModel.load(meta, device=device, precision=precision)
    chosen = _levels(levels, len(hyper.hyper.ladder.sizes))
    one, other = (hyper.fitted(read_photo(path), path.name) for path in (first, second))
    for note in (*one.notes, *other.notes):
        say(f"note: {note}")
    page_path = output / "sheet.png"
    movies = {level: output / f"level-{level}.gif" for level in chosen} if frames else {}
    files = [page_path, *movies.values()]
    for file in files:
        refuse_existing(file, overwrite=overwrite)

    def picture(t: float, level: int) -> "Photo":
        return next(hyper.interpolated(one, other, t, level).sample([seed]))

    shown = [picture(i / (steps - 1), level).preview() for level in chosen for i in range(steps)]
    make_folder(output)
    save_sheet(sheet(shown, columns=steps), page_path, overwrite=overwrite)
    for level, path in movies.items():
        there = [picture(i / max(frames - 1, 1), level) for i in range(frames)]
        write_movie(path, there + there[-2:0:-1], fps=12, overwrite=overwrite)
    facts: dict[str, Any] = {"files": list(map(str, files)), "levels": chosen}
    print_result(facts, f"{len(files)} files in {output}", as_json)
    return 0


def _levels(text: str | None, count: int) -> list[int]:
    """The levels that were asked for."""
    if text is None:
        return sorted({0, count // 2, count - 1})
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) < count for part in parts):
        raise ArgumentError(f"--levels {text} are no levels; write numbers from 0 to {count - 1}.")
    return [int(part) for part in parts]
