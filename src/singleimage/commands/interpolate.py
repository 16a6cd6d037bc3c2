"""`singleimage interpolate`: from the model of one photo to that of another, or among several."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from singleimage.commands.arguments import Device, Json, Output, Overwrite, Precision, Seed, Whole
from singleimage.commands.console import print_result, say
from singleimage.commands.model import Meta
from singleimage.errors import ArgumentError

if TYPE_CHECKING:
    from PIL import Image

    from singleimage.images.photo import Photo


def interpolate(
    meta: Meta,
    first: Path,
    second: Path,
    /,
    *more: Path,
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
    """Go from the model of one photo to that of another, or among three or four, on the same noise.

    Writes sheet.png, of two photos a row for each of the levels, of more a grid for each, with the
    photos in its corners; and level-N.gif, from photo to photo and back to the first.

    Parameters
    ----------
    first
        The photo to begin with.
    second
        The photo to end with.
    more
        A third and a fourth photo.
    output
        Folder for the pictures.
    levels
        Levels from which on to change, such as 0,3,6; below, all stays that of the first photo.
        Default: first, middle and last.
    steps
        Pictures from one photo to the next on the sheet.
    frames
        Of a movie, from one photo to the next; 0: none.
    seed
        Of the noise.
    """
    from singleimage.images.movie import write_movie
    from singleimage.images.reader import read_photo
    from singleimage.images.sheet import save_sheet, sheet
    from singleimage.machine.files import make_folder, refuse_existing, refuse_file
    from singleimage.models.hypermodel import HyperModel

    if steps < 2:
        raise ArgumentError(f"cannot go in {steps} steps; use 2 or more.")
    if frames < 0:
        raise ArgumentError(f"cannot write {frames} frames; use 0 or more.")
    if len(more) > 2:
        raise ArgumentError(f"{2 + len(more)} photos are too many for a sheet; give two to four.")
    refuse_file(output)
    hyper = HyperModel.load(meta, device=device, precision=precision)
    chosen = _levels(levels, len(hyper.hyper.ladder.sizes))
    photos = [hyper.fitted(read_photo(path), path.name) for path in (first, second, *more)]
    for note in [note for photo in photos for note in photo.notes]:
        say(f"note: {note}")
    page_path = output / "sheet.png"
    movies = {level: output / f"level-{level}.gif" for level in chosen} if frames else {}
    files = [page_path, *movies.values()]
    for file in files:
        refuse_existing(file, overwrite=overwrite)

    def picture(weights: list[float], level: int) -> "Photo":
        return next(hyper.mixed(photos, weights, level).sample([seed]))

    weighted = [(weights, level) for level in chosen for weights in grid(len(photos), steps)]
    tiles = [picture(weights, level).preview() if weights else None for weights, level in weighted]
    page = sheet(_with_blanks(tiles), columns=steps)
    make_folder(output)
    save_sheet(page, page_path, overwrite=overwrite)
    for level, path in movies.items():
        shown = [picture(weights, level) for weights in tour(len(photos), frames)]
        write_movie(path, shown, fps=12, overwrite=overwrite)
    facts: dict[str, Any] = {"files": list(map(str, files)), "levels": chosen}
    print_result(facts, f"{len(files)} files in {output}", as_json)
    return 0


def _with_blanks(tiles: "list[Image.Image | None]") -> "list[Image.Image]":
    """White pictures in place of those that are missing."""
    from PIL import Image

    size = next(tile.size for tile in tiles if tile is not None)
    return [tile or Image.new("RGB", size, "white") for tile in tiles]


def grid(count: int, steps: int) -> list[list[float]]:
    """Weights of `count` photos for the cells of a sheet, `steps` in a row; none: an empty cell.

    Two photos are the ends of one row, three the corners of a triangle, four those of a square.
    """
    shares = [i / (steps - 1) for i in range(steps)]
    if count == 2:
        return [[1 - x, x] for x in shares]
    if count == 3:
        corners = [[1 - x - y, x, y] for y in shares for x in shares]
        return [weights if weights[0] > -1e-9 else [] for weights in corners]
    return [[(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x] for y in shares for x in shares]


def tour(count: int, frames: int) -> list[list[float]]:
    """Weights of `count` photos for a movie from each to the next, and back to the first."""
    stops = [[float(i == j) for j in range(count)] for i in range(count)]
    last = max(frames - 1, 1)
    return [
        [a + (b - a) * i / last for a, b in zip(here, there, strict=True)]
        for here, there in zip(stops, [*stops[1:], stops[0]], strict=True)
        for i in range(last)
    ]


def _levels(text: str | None, count: int) -> list[int]:
    """The levels that were asked for."""
    if text is None:
        return sorted({0, count // 2, count - 1})
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) < count for part in parts):
        raise ArgumentError(f"--levels {text} are no levels; write numbers from 0 to {count - 1}.")
    return [int(part) for part in parts]
