"""`singleimage sample`: draw new pictures."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    target_size,
)
from singleimage.commands.console import print_result
from singleimage.errors import ArgumentError

if TYPE_CHECKING:
    from PIL.Image import Image

    from singleimage.apps.sample import Seam

SHEET_LIMIT = 48
"""Pictures on a contact sheet; the rest are files only."""
SHEET_SIDE = 1024
"""Larger pictures are reduced to it on a contact sheet."""


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
    tile: Literal["x", "y", "xy"] | None = None,
    frames: Whole | None = None,
    sheet: bool = True,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Draw new pictures, one file a seed, and a contact sheet that begins with the photo.

    Of a model of a clip, new clips as GIF; the sheet shows some frames of each.

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
    tile
        Draw pictures without a seam when repeated side by side (x), over each other (y) or both.
    frames
        Length of clips, of a model of a clip; default: as in training.
    sheet
        Also write sheet.png.
    """
    from singleimage.apps.sample import seam
    from singleimage.images.sheet import save_sheet
    from singleimage.images.sheet import sheet as make_sheet
    from singleimage.machine.files import make_folder, refuse_existing

    if count < 1:
        raise ArgumentError(f"cannot draw {count} pictures; ask for 1 or more.")
    model = load_model(source, device, precision, moving=True)
    target = target_size(model, size, scale)
    seeds = range(seed, seed + count)
    paths = [output / f"{s:04}{model.suffix}" for s in seeds]
    page_path = output / "sheet.png"
    files = [file for path in paths for file in model.channels.files(path)]
    files += [page_path] if sheet else []
    for file in files:
        refuse_existing(file, overwrite=overwrite)
    shown: list[Image] = []
    seams: list[Seam] = []
    drawn = model.sample(seeds, size=target, start_level=start_level, tile=tile, frames=frames)
    for path, picture in zip(paths, drawn, strict=True):
        make_folder(output)  # only now: a size or level that cannot be drawn leaves nothing behind
        picture.save(path, overwrite=overwrite)
        shown += [picture.preview(SHEET_SIDE)] if sheet and len(shown) < SHEET_LIMIT else []
        seams += [seam(picture.pixels)] if tile else []
    if sheet:
        photo = model.training_image()
        page = make_sheet([photo.preview(SHEET_SIDE), *shown] if photo else shown)
        save_sheet(page, page_path, overwrite=overwrite)
    facts: dict[str, Any] = {"files": list(map(str, files))}
    text = f"{count} pictures in {output}"
    if seams:  # of single pictures, they scatter
        x, y = (sum(ratios) / count for ratios in zip(*seams, strict=True))
        facts["seam"] = {"x": x, "y": y}
        text += f"\nseam {x:.2f} x, {y:.2f} y (1: like inside)"
    print_result(facts, text, as_json)
    return 0
