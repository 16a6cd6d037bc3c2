"""`singleimage sample`: draw new pictures."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

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
    target_size,
    tell_marks,
)
from singleimage.commands.console import catch_stop, counted, print_result, say
from singleimage.errors import ArgumentError

if TYPE_CHECKING:
    from PIL.Image import Image

    from singleimage.apps.sample import Seam
    from singleimage.images.photo import Photo
    from singleimage.models.model import Model

More = Annotated[
    Path, Parameter(help="Further photos to draw from; pictures have the layout of the first.")
]
NO_PLACES = (
    "--variety says how much the places of the photo count, and pictures that repeat both ways "
    "have none; it changes hardly anything here."
)
LISTED = 10_000
"""Files that are listed at most, of more the folder alone is told."""
SHAPED = ("size", "start_level", "tile")
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
    seed: Seed = 0,
    size: str | None = None,
    scale: float | None = None,
    start_level: Whole = 0,
    tile: Literal["x", "y", "xy"] | None = None,
    variety: Variety = None,
    mask: Annotated[list[Path] | None, Parameter(negative=())] = None,
    keep: Path | None = None,
    map_: Maps = False,
    frames: Whole | None = None,
    palette: bool = True,
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
        A mask: the photo stays where it marks it, with white or with paint on the photo.
    frames
        Length of clips, of a model of a clip; default: as in training.
    palette
        Keep to the colors of a photo that has few, such as a sprite, and to its hard alpha.
    sheet
        Also write sheet.png.
    """
    if count < 1:
        raise ArgumentError(f"cannot draw {count} pictures; ask for 1 or more.")
    model = load_model(
        source, device, precision, moving=True, variety=variety, masks=mask or (), more=more
    )
    if tile == "xy" and variety is not None:
        say(f"note: {NO_PLACES}")
    model = model if palette else model.of_any_colors()
    kept = None if keep is None else read_told(keep)
    target = target_size(model, size, scale)
    how = {"size": target, "start_level": start_level, "tile": tile, "keep": kept}
    require_maps(model, map_)
    pages = _Pages(output, model, range(seed, seed + count), maps=map_, sheet=sheet)
    drawing = drawing_of(model, frames, keep=kept, **{k: how[k] for k in SHAPED})
    notes = _Notes(drawing, tiled=tile is not None)
    continued = pages.require_free(notes, overwrite=overwrite)
    stopped = _write(
        pages, notes, frames, how, overwrite=overwrite, continued=continued, quiet=as_json
    )
    if stopped:
        return stopped
    tell_marks(kept, model.training_image())
    facts, text = _told(pages, notes)
    print_result(facts, f"{count} pictures in {output}{text}", as_json)
    return 0


def _told(pages: "_Pages", notes: "_Notes") -> tuple[dict[str, Any], str]:
    """What is told of the pictures, for programs and for people."""
    facts: dict[str, Any] = {"folder": str(pages.folder), "count": len(pages.seeds)}
    if len(pages.seeds) <= LISTED:
        facts = {"files": list(map(str, pages.files()))}
    text = ""
    if notes.shares:
        facts["together"] = notes.shares
        text += f"\n{fmean(notes.shares):.2f} of neighbors are neighbors in the photo (1: a copy)"
    if notes.seams:  # of single pictures, they scatter
        facts["seam"] = dict(zip("xy", map(fmean, zip(*notes.seams, strict=True)), strict=True))
        text += "\nseam {x:.2f} x, {y:.2f} y (1: like inside)".format(**facts["seam"])
    return facts, text


@dataclass
class _Notes:
    """What is noted while pictures are drawn; of the first `LISTED` of them."""

    drawing: str
    """Digest of all that the pictures follow from, but for their seeds."""
    tiled: bool
    """Whether it matters how they meet."""
    shares: list[float] = field(default_factory=list)
    """How much of each moved together, of a model that copies."""
    seams: "list[Seam]" = field(default_factory=list)
    """How they meet when they are repeated."""
    shown: "list[Image]" = field(default_factory=list)
    """For the sheet."""

    def write_drawing(self, stream: BinaryIO) -> None:
        """Write what `require_free` compares."""
        stream.write(json.dumps({"drawing": self.drawing}).encode())

    def take(self, picture: "Photo", *, sheet: bool) -> None:
        """Note what is to be told of a picture."""
        from singleimage.apps.sample import seam

        if sheet and len(self.shown) < SHEET_LIMIT:
            self.shown.append(picture.preview(SHEET_SIDE))
        if self.tiled and len(self.seams) < LISTED:
            self.seams.append(seam(picture.pixels))
        if picture.rearrangement is not None and len(self.shares) < LISTED:
            self.shares.append(picture.rearrangement.together)


@dataclass(frozen=True)
class _Pages:
    """The files to write."""

    folder: Path
    model: "Model"
    seeds: range
    maps: bool
    """Whether maps are written, too."""
    sheet: bool

    def picture(self, seed: int) -> Path:
        """The file of one."""
        return self.folder / f"{seed:04}{self.model.suffix}"

    def of_seed(self, seed: int) -> list[Path]:
        """A picture with its masks and its map."""
        from singleimage.images.rearrangement import map_file

        path = self.picture(seed)
        return [*self.model.channels.files(path), *([map_file(path)] if self.maps else [])]

    def files(self) -> list[Path]:
        """All of them."""
        pictures = [file for seed in self.seeds for file in self.of_seed(seed)]
        return [*pictures, *([self.folder / "sheet.png"] if self.sheet else [])]

    @property
    def unfinished(self) -> Path:
        """Says, while not all are drawn, what those that are there were drawn from."""
        return self.folder / ".samples.json"

    def there(self) -> int:
        """How many of the first pictures are there."""
        ready = (all(file.exists() for file in self.of_seed(seed)) for seed in self.seeds)
        return sum(1 for _ in takewhile(bool, ready))

    def require_free(self, notes: _Notes, *, overwrite: bool) -> bool:
        """Refuse to replace files; whether those that are there are the first of these."""
        from singleimage.machine.files import refuse_existing

        if overwrite or not self.folder.is_dir():
            return False
        with suppress(OSError, ValueError):
            if json.loads(self.unfinished.read_bytes()) == {"drawing": notes.drawing}:
                return True
        for name in sorted(path.name for path in self.folder.iterdir()):
            number = re.match(r"\d+", name)
            if number is not None and int(number[0]) in self.seeds:
                for file in self.of_seed(int(number[0])):
                    refuse_existing(file, overwrite=False)
        if self.sheet:
            refuse_existing(self.folder / "sheet.png", overwrite=False)
        return False


def _write(
    pages: _Pages,
    notes: _Notes,
    frames: int | None,
    how: dict[str, Any],
    *,
    overwrite: bool,
    continued: bool,
    quiet: bool,
) -> int:
    """Draw the pictures and write them one by one; returns an exit code where it is stopped."""
    from singleimage.images.reader import read_photo
    from singleimage.images.rearrangement import map_file
    from singleimage.images.sheet import save_sheet
    from singleimage.images.sheet import sheet as make_sheet
    from singleimage.machine.files import clear_parts, make_folder, write_atomically

    if continued:
        clear_parts(pages.folder, {file.name for file in (*pages.files(), pages.unfinished)})
    there = pages.there() if continued else 0
    left = pages.seeds[there:]
    if there:
        say(f"{there} of {len(pages.seeds)} pictures are there; drawing the rest.")
        if pages.sheet and not pages.model.generator.ladder.moving:
            shown = map(read_photo, map(pages.picture, pages.seeds[: min(there, SHEET_LIMIT)]))
            notes.shown += [picture.preview(SHEET_SIDE) for picture in shown]
    pictures = pages.model.sample(left, frames=frames, **how)
    with catch_stop("picture") as stop, counted(len(left), "pictures", quiet=quiet) as count:
        for index, (seed, picture) in enumerate(zip(left, pictures, strict=True)):
            if index == 0:  # only now: what cannot be drawn leaves nothing behind
                make_folder(pages.folder)
                write_atomically(pages.unfinished, notes.write_drawing)
            notes.take(picture, sheet=pages.sheet)
            path = pages.picture(seed)
            if pages.maps and picture.rearrangement is not None:
                picture.rearrangement.save(map_file(path), overwrite=overwrite or continued)
            picture.save(path, overwrite=overwrite or continued)
            count()
            if stop.by is not None and index < len(left) - 1:
                say(
                    f"stopped with {there + index + 1} of {len(pages.seeds)} pictures in "
                    f"{pages.folder}; the same command continues."
                )
                return 128 + stop.by
    if pages.sheet:
        photo = pages.model.training_image()
        first = [photo.preview(SHEET_SIDE)] if photo else []
        page = make_sheet([*first, *notes.shown])
        save_sheet(page, pages.folder / "sheet.png", overwrite=overwrite or continued)
    pages.unfinished.unlink(missing_ok=True)
    return 0


def drawing_of(model: "Model", frames: int | None, **how: Any) -> str:
    """A digest of all that pictures of a model follow from, but for their seeds."""
    import hashlib

    made = model.provenance
    keep = how.pop("keep")
    facts = [
        made.image_sha256, made.seed, made.levels, made.seconds, made.precision,
        model.recipe.digest(), frames, how, keep and keep.sha256, model.channels.palette,
        made.created if model.recipe.direct is None else "",
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts, default=list).encode()).hexdigest()
