"""`singleimage sample`: draw new pictures."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from singleimage.commands.arguments import (
    Device,
    Json,
    Maps,
    Output,
    Overwrite,
    Precision,
    Source,
    Variety,
    Whole,
    load_model,
    require_maps,
    target_size,
)
from singleimage.commands.console import print_result
from singleimage.errors import ArgumentError

if TYPE_CHECKING:
    from PIL.Image import Image

    from singleimage.apps.sample import Seam
    from singleimage.models.model import Model

More = Annotated[
    Path, Parameter(help="Further photos to draw from; pictures have the layout of the first.")
]
SHEET_LIMIT = 48
"""Pictures on a contact sheet; the rest are files only."""
SHEET_SIDE = 1024
"""Larger pictures are reduced to it on a contact sheet."""


def sample(
    source: Source,
    /,
    *more: More,
    output: Output,
    count: Annotated[Whole, Parameter(name=["--count", "-n"])] = 8,
    seed: Whole = 0,
    size: str | None = None,
    scale: float | None = None,
    start_level: Whole = 0,
    tile: Literal["x", "y", "xy"] | None = None,
    variety: Variety = None,
    mask: Annotated[list[Path] | None, Parameter(negative=())] = None,
    keep: Path | None = None,
    map_: Maps = False,
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
    mask
        A mask or label map of the photo; every picture comes with its own; repeatable.
    keep
        A mask: the photo stays where it is white.
    frames
        Length of clips, of a model of a clip; default: as in training.
    sheet
        Also write sheet.png.
    """
    from singleimage.images.photo import read_photo
    from singleimage.machine.files import refuse_existing

    if count < 1:
        raise ArgumentError(f"cannot draw {count} pictures; ask for 1 or more.")
    model = load_model(
        source, device, precision, moving=True, variety=variety, masks=mask or (), more=more
    )
    how = {
        "size": target_size(model, size, scale),
        "start_level": start_level,
        "tile": tile,
        "keep": None if keep is None else read_photo(keep),
    }
    require_maps(model, map_)
    seeds = range(seed, seed + count)
    pages = _Pages.of(output, model, seeds, maps=map_, sheet=sheet)
    files = pages.files(model)
    for file in files:
        refuse_existing(file, overwrite=overwrite)
    shares, seams = _write(pages, model, seeds, frames, how, overwrite=overwrite)
    facts, text = _told(files, shares, seams if tile else [])
    print_result(facts, f"{count} pictures in {output}{text}", as_json)
    return 0


def _told(
    files: list[Path], shares: list[float], seams: "list[Seam]"
) -> tuple[dict[str, Any], str]:
    """What is told of the pictures, for programs and for people."""
    facts: dict[str, Any] = {"files": list(map(str, files))}
    text = ""
    if shares:
        facts["together"] = shares
        text += f"\n{fmean(shares):.2f} of neighbors are neighbors in the photo (1: a copy)"
    if seams:  # of single pictures, they scatter
        facts["seam"] = dict(zip("xy", map(fmean, zip(*seams, strict=True)), strict=True))
        text += "\nseam {x:.2f} x, {y:.2f} y (1: like inside)".format(**facts["seam"])
    return facts, text


@dataclass(frozen=True)
class _Pages:
    """The files to write."""

    pictures: list[Path]
    maps: list[Path]
    """Where everything comes from, of each picture; or nothing."""
    sheet: Path | None

    @classmethod
    def of(cls, folder: Path, model: "Model", seeds: range, *, maps: bool, sheet: bool) -> "_Pages":
        from singleimage.images.rearrangement import map_file

        pictures = [folder / f"{seed:04}{model.suffix}" for seed in seeds]
        return cls(
            pictures=pictures,
            maps=list(map(map_file, pictures)) if maps else [],
            sheet=folder / "sheet.png" if sheet else None,
        )

    def files(self, model: "Model") -> list[Path]:
        """All of them, with the masks of the pictures."""
        pictures = [file for path in self.pictures for file in model.channels.files(path)]
        return [*pictures, *self.maps, *([self.sheet] if self.sheet else [])]


def _write(
    pages: _Pages,
    model: "Model",
    seeds: range,
    frames: int | None,
    how: dict[str, Any],
    *,
    overwrite: bool,
) -> "tuple[list[float], list[Seam]]":
    """Draw the pictures and write them one by one.

    Returns:
        How much of each moved together, of a model that copies; and how they meet when repeated.
    """
    from singleimage.apps.sample import seam
    from singleimage.images.rearrangement import map_file
    from singleimage.images.sheet import save_sheet
    from singleimage.images.sheet import sheet as make_sheet
    from singleimage.machine.files import make_folder

    shown: list[Image] = []
    shares: list[float] = []
    seams: list[Seam] = []

    drawn = model.sample(seeds, frames=frames, **how)
    for path, picture in zip(pages.pictures, drawn, strict=True):
        make_folder(path.parent)  # only now: what cannot be drawn leaves nothing behind
        if (found := picture.rearrangement) is not None:
            shares.append(found.together)
            if pages.maps:
                found.save(map_file(path), overwrite=overwrite)
        picture.save(path, overwrite=overwrite)
        wanted = pages.sheet and len(shown) < SHEET_LIMIT
        shown += [picture.preview(SHEET_SIDE)] if wanted else []
        seams += [seam(picture.pixels)]
    if pages.sheet:
        photo = model.training_image()
        page = make_sheet([photo.preview(SHEET_SIDE), *shown] if photo else shown)
        save_sheet(page, pages.sheet, overwrite=overwrite)
    return shares, seams
