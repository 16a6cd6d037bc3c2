"""`singleimage sample`: draw new pictures."""

import json
import re
from dataclasses import dataclass, field
from itertools import takewhile
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
from singleimage.commands.drawn import Drawn
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
    drawn, notes = Drawn(output, drawing), _Notes(tiled=tile is not None)
    if not overwrite:
        pages.require_free(drawn)
    stopped = _write(pages, drawn, notes, frames, how, overwrite=overwrite, quiet=as_json)
    if stopped:
        return stopped
    tell_marks(kept, model.first_photo())
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

    tiled: bool
    """Whether it matters how they meet."""
    shares: list[float] = field(default_factory=list)
    """How much of each moved together, of a model that copies."""
    seams: "list[Seam]" = field(default_factory=list)
    """How they meet when they are repeated."""
    shown: "list[Image]" = field(default_factory=list)
    """For the sheet."""

    def facts_of(self, picture: "Photo") -> dict[str, Any]:
        """What is to be told of a picture."""
        from singleimage.apps.sample import seam

        facts: dict[str, Any] = {"seam": seam(picture.pixels)} if self.tiled else {}
        if picture.rearrangement is not None:
            facts["together"] = picture.rearrangement.together
        return facts

    def take(self, facts: dict[str, Any]) -> None:
        """Note it."""
        if "seam" in facts and len(self.seams) < LISTED:
            self.seams.append(facts["seam"])
        if "together" in facts and len(self.shares) < LISTED:
            self.shares.append(facts["together"])

    def show(self, picture: "Photo") -> None:
        """Take a picture for the sheet."""
        if len(self.shown) < SHEET_LIMIT:
            self.shown.append(picture.preview(SHEET_SIDE))


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

    def there(self, drawn: Drawn) -> int:
        """How many of the first pictures are there."""

        def ready(seed: int) -> bool:
            return seed in drawn.seeds and all(file.exists() for file in self.of_seed(seed))

        return sum(1 for _ in takewhile(ready, self.seeds))

    def require_free(self, drawn: Drawn) -> None:
        """Refuse to replace files that are not of this drawing.

        The first one that is missing may be there in part, and all of them but not their sheet.
        """
        from singleimage.machine.files import refuse_existing

        if not self.folder.is_dir():
            return
        there = self.there(drawn)
        left = self.seeds[there + 1 :] if drawn.begun else self.seeds
        for name in sorted(path.name for path in self.folder.iterdir()):
            number = re.match(r"\d+", name)
            if number is None or (seed := int(number[0])) not in left or seed in drawn.seeds:
                continue
            for file in self.of_seed(seed):
                refuse_existing(file, overwrite=False)
        if self.sheet and there < len(self.seeds):
            refuse_existing(self.folder / "sheet.png", overwrite=False)

    def recall(self, seeds: range, drawn: Drawn, notes: _Notes) -> None:
        """Note what was drawn before."""
        from singleimage.images.clip import read_clip
        from singleimage.images.reader import read_photo

        for seed in seeds:
            notes.take(drawn.seeds[seed])
        for seed in seeds[:SHEET_LIMIT] if self.sheet else ():
            path, *masks = self.model.channels.files(self.picture(seed))
            moving = self.model.generator.ladder.moving
            notes.show(read_clip(path) if moving else read_photo(path, masks=masks))

    def write_sheet(self, notes: _Notes, *, overwrite: bool) -> None:
        """Write the photo and the pictures on one page."""
        from singleimage.images.sheet import save_sheet, sheet

        photo = self.model.training_image()
        first = [photo.preview(SHEET_SIDE)] if photo else []
        page = sheet([*first, *notes.shown])
        save_sheet(page, self.folder / "sheet.png", overwrite=overwrite)


def _write(
    pages: _Pages,
    drawn: Drawn,
    notes: _Notes,
    frames: int | None,
    how: dict[str, Any],
    *,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Draw the pictures and write them one by one; returns an exit code where it is stopped."""
    from singleimage.images.rearrangement import map_file
    from singleimage.machine.files import clear_parts, make_folder, refuse_file

    refuse_file(pages.folder)
    if drawn.begun:
        clear_parts(pages.folder, {file.name for file in (*pages.files(), drawn.path)})
    there = pages.there(drawn)
    left, replace = pages.seeds[there:], overwrite or drawn.begun
    if there:
        say(f"{there} of {len(pages.seeds)} pictures are there; drawing the rest.")
        pages.recall(pages.seeds[:there], drawn, notes)
    pictures = pages.model.sample(left, frames=frames, **how)
    with catch_stop("picture") as stop, counted(len(left), "pictures", quiet=quiet) as count:
        for index, (seed, picture) in enumerate(zip(left, pictures, strict=True)):
            if index == 0:  # only now: what cannot be drawn leaves nothing behind
                make_folder(pages.folder)
                drawn.begin()
            if pages.sheet:
                notes.show(picture)
            path, facts = pages.picture(seed), notes.facts_of(picture)
            if pages.maps and picture.rearrangement is not None:
                picture.rearrangement.save(map_file(path), overwrite=replace)
            picture.save(path, overwrite=replace)
            drawn.add(seed, facts)
            notes.take(facts)
            count()
            if stop.by is not None and index < len(left) - 1:
                say(
                    f"stopped with {there + index + 1} of {len(pages.seeds)} pictures in "
                    f"{pages.folder}; the same command continues."
                )
                return 128 + stop.by
    if pages.sheet:
        pages.write_sheet(notes, overwrite=replace)
    drawn.end()
    return 0


def drawing_of(model: "Model", frames: int | None, **how: Any) -> str:
    """A digest of all that pictures of a model follow from, but for their seeds."""
    import hashlib

    from singleimage.machine.device import kind_of

    made = model.provenance
    keep = how.pop("keep")
    facts = [
        made.image_sha256, made.seed, made.levels, made.seconds, made.precision,
        model.recipe.digest(), frames, how, keep and keep.sha256, model.channels.palette,
        made.created if model.recipe.direct is None else "", kind_of(model.generator.device),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts, default=list).encode()).hexdigest()
