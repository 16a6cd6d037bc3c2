"""Commands that draw from a model, or say what it is."""

import json
from collections.abc import Iterator
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
from singleimage.console import report
from singleimage.errors import SizeError

if TYPE_CHECKING:
    from PIL.Image import Image

    from singleimage.apps.sample import Seam, Tile
    from singleimage.image import Photo
    from singleimage.model import Model
    from singleimage.resample import Size

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
    from singleimage.image import make_folder, refuse_existing, save_sheet
    from singleimage.image import sheet as make_sheet

    if count < 1:
        raise SizeError(f"cannot draw {count} pictures; ask for 1 or more.")
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
    drawn = _drawn(model, seeds, target, start_level, tile, frames)
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
    report(facts, text, as_json)
    return 0


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
        The image file to write; of a model of a clip, the GIF, WebP, MP4 or WebM.
    """
    model = load_model(source, device, precision, moving=True)
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


def info(source: Source, /, *, as_json: Json = False) -> int:
    """Say what a model is: method, levels, sizes, where and when it was trained."""
    import msgspec

    model = load_model(source, "cpu", moving=True)
    ladder = model.generator.ladder
    facts = {
        **msgspec.to_builtins(model.provenance),
        "preset": model.recipe.name,
        "recipe_digest": model.recipe.digest(),
        "channels": msgspec.to_builtins(model.channels),
        "levels": [list(ladder.shape(level)) for level in range(len(ladder.sizes))],
        "entry_levels": sorted(model.generator.entry_levels),
        "smallest_sample": list(ladder.minimum()),
        "parameters": sum(p.numel() for p in model.generator.parameters()),
        "image_embedded": model.image is not None,
    }
    if as_json:
        print(json.dumps(facts))
    else:
        facts["levels"] = "  ".join("x".join(map(str, shape)) for shape in facts["levels"])
        facts["smallest_sample"] = str(ladder.minimum())
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):>18}  {value}")
    return 0


def _drawn(
    model: "Model",
    seeds: range,
    size: "Size | None",
    start_level: int,
    tile: "Tile",
    frames: int | None,
) -> Iterator["Photo"]:
    """Pictures a few at a time, so that any count fits in memory."""
    for first in range(0, len(seeds), 16):
        part = seeds[first : first + 16]
        yield from model.sample(part, size=size, start_level=start_level, tile=tile, frames=frames)
