"""`singleimage bench`: compare methods."""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from singleimage.commands.arguments import (
    Device,
    Json,
    Output,
    Precision,
    Protocol,
    Whole,
    read_recipe,
    refuse_beside,
)
from singleimage.commands.console import print_table, say
from singleimage.commands.place import Place, names_of
from singleimage.errors import ArgumentError, ImageError, RecipeError

if TYPE_CHECKING:
    from singleimage.jobs.engine import Event
    from singleimage.jobs.job import Job, JobResult, Measure
    from singleimage.recipes.recipe import Recipe


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What is drawn and measured."""

    seeds: Whole = 3
    """Trainings of each photo and preset, with seeds 0, 1, ..."""
    count: Annotated[Whole | None, Parameter(name=["--count", "-n"])] = None
    """Samples of each model, with seeds 0, 1, ...; default: 50."""
    features: Annotated[list[str] | None, Parameter(negative=())] = None
    """What to measure with: efficientnet-lite0 (the default), inception-64 or inception-192;
    repeatable."""
    jpeg: Whole | None = None
    """Pass all pictures through JPEG of this quality first."""
    protocol: Protocol = None
    """Measure as a paper did: singan, fast-stabilized or meta; see docs/metrics.md."""

    def measure(self) -> "Measure":
        """Raises `ArgumentError` where a number is out of range or features are unknown."""
        import msgspec

        from singleimage.jobs.job import Measure

        if self.seeds < 1:
            raise ArgumentError(f"--seeds {self.seeds} trains nothing; use 1 or more.")
        measure: dict[str, Any] = {}
        if self.protocol is not None:
            refuse_beside(self.protocol, count=self.count, jpeg=self.jpeg)
            measure = msgspec.to_builtins(Measure.by(self.protocol))
        given = {"samples": self.count, "features": self.features, "jpeg": self.jpeg}
        measure |= {name: value for name, value in given.items() if value is not None}
        try:
            return msgspec.convert(measure, Measure)
        except msgspec.ValidationError as error:
            raise ArgumentError(f"cannot measure so: {error}; see --help.") from None


def bench(
    images: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    output: Output,
    presets: str = "",
    sets: str = "",
    published: Annotated[list[str] | None, Parameter(negative=())] = None,
    measuring: Measuring = Measuring(),
    steps: Whole | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    place: Place = Place(),  # noqa: B008
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Compare methods on photos: train, sample and measure; a table, a page and JSON lines.

    The same command continues what was stopped, and repeats nothing that is done.

    Parameters
    ----------
    images
        Photos, and folders of them.
    output
        Folder for the models, results.jsonl and report.html.
    presets
        The presets to train, separated by commas.
    sets
        Numbers of photos that a hypernetwork learns together, separated by commas: the photos are
        cut into sets of each size, in another order for each of --seeds, and numbers are means over
        the photos of a set.
    published
        A folder of samples that others made, as NAME=FOLDER, to be a method beside them;
        repeatable. For photo N.jpg it holds N.jpg, or N_0.jpg, N_1.jpg ...; what has the name of
        another photo is of that one.
    steps
        Steps of each level, in place of the recipes'.
    set_
        A field of all recipes, as PATH=VALUE; repeatable.
    """
    from singleimage.bench.plan import Setting, beside, jobs_of, set_jobs
    from singleimage.commands.job_view import Halted, show_events, tell_failures

    measure = _ready(measuring)
    photos = _photos(images)
    names = [name for name in presets.split(",") if name]
    folders = _named_folders(published or [])
    if not names and not folders:
        raise RecipeError("nothing to compare; give --presets NAMES or --published NAME=FOLDER.")
    recipes = {name: read_recipe(name, steps, set_ or []) for name in names}
    sizes = _sizes(sets, recipes)
    engine, threads = place.engine(device)
    named = dict(zip(names_of(photos), (photo.absolute() for photo in photos), strict=True))
    setting = Setting(measure=measure, device=device, precision=precision, threads=threads)
    seeds, alone = range(measuring.seeds), {} if sizes else recipes
    jobs = jobs_of(named, recipes=alone, published=folders, seeds=seeds, setting=setting)
    if sizes:
        jobs = set_jobs(named, sizes=sizes, recipes=recipes, seeds=seeds, setting=setting) + jobs
    _tell_left_out(beside(jobs, output)[1])  # what is not ours is refused before any work
    try:
        ended = show_events(engine.run(jobs, output), len(jobs), quiet=as_json)
    except Halted as halted:
        return halted.code
    code = tell_failures(ended)
    _tell(jobs, ended, output, as_json)
    return code


def _sizes(text: str, recipes: "Mapping[str, Recipe]") -> list[int]:
    """The sizes of sets, each once; none where photos are learned one by one."""
    parts = text.split(",") if text else []
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ArgumentError(f"--sets {text} are no numbers of photos; write --sets 1,2,5.")
    alone = [name for name, recipe in recipes.items() if not recipe.learns_several]
    if parts and not recipes:
        raise RecipeError("--sets are of presets; add --presets meta-small.")
    if alone and parts:
        raise RecipeError(
            f"{alone[0]} learns one photo at a time; use meta or meta-small with --sets."
        )
    return list(dict.fromkeys(map(int, parts)))


def _ready(measuring: Measuring) -> "Measure":
    """What to measure; what is missing for it must not fail job after job."""
    from singleimage.bench.report import require_charts
    from singleimage.metrics.features import load_features

    require_charts()
    measure = measuring.measure()
    for name in measure.features:
        load_features(name)
    return measure


def _photos(images: Sequence[Path]) -> list[Path]:
    """All photos, each once."""
    from singleimage.images.folder import pictures_in

    found = [p for image in images for p in (pictures_in(image) if image.is_dir() else [image])]
    for photo in found:
        if not photo.is_file():
            raise ImageError(f"there is no file {photo}; check the path.")
    return list(dict.fromkeys(found))


def _named_folders(texts: Sequence[str]) -> dict[str, Path]:
    """Folders of published samples by name, each of one method."""
    from singleimage.recipes.presets import PRESETS

    found: dict[str, Path] = {}
    barred = '/\\:*?"<>|' if sys.platform == "win32" else "/"
    for text in texts:
        name, sign, folder = text.partition("=")
        if not (name and sign and Path(folder).is_dir()) or set(barred) & set(name):
            raise ImageError(f"--published {text} names no folder; write NAME=FOLDER.")
        # Many file systems take names that differ in case for one.
        folded = name.casefold()
        if folded in PRESETS or folded in map(str.casefold, found):
            whose = "a preset" if folded in PRESETS else "two folders"
            raise ArgumentError(
                f"--published {text}: {name} would name {whose}; give the folder another name."
            )
        found[name] = Path(folder).absolute()
    return found


def _tell_left_out(others: "Sequence[JobResult]") -> None:
    """Say which earlier results no table has beside those that are asked for."""
    for method, count in Counter(result.method for result in others).items():
        say(
            f"note: earlier results of {method} ({count}), by another recipe or measured "
            f"otherwise, are left out of table and results.jsonl; another folder keeps both."
        )


def _tell(jobs: "Sequence[Job]", ended: "Sequence[Event]", folder: Path, as_json: bool) -> None:
    """The table, the page and the JSON of what is done."""
    from singleimage.bench.papers import published_table
    from singleimage.bench.plan import PAGE, RESULTS, collect
    from singleimage.bench.report import write_comparison
    from singleimage.bench.table import points, summarize, table
    from singleimage.jobs.job import SHEET
    from singleimage.machine.files import write_atomically

    results = collect(jobs, folder)
    rows = summarize(results)
    ways = list(dict.fromkeys(row.way for row in rows))
    tables = [table([row for row in rows if row.way == way]) for way in ways]
    page = folder / PAGE
    if rows:
        lead = [row for row in rows if row.way == ways[0]]
        sheets = [(result.name, folder / result.name / SHEET) for result in results]
        text = write_comparison(
            [*zip(map(str, ways), tables, strict=True), ("published", published_table())],
            lead,
            points(results, ways[0]),
            [(name, path) for name, path in sheets if path.exists()],
        )
        write_atomically(page, lambda stream: stream.write(text.encode()))
    if as_json:
        facts: dict[str, Any] = {
            "rows": [row.flat() for row in rows],
            "failed": [{"job": e.job, "reason": e.text} for e in ended if e.state == "failed"],
            "results": str(folder / RESULTS),
            "report": str(page) if rows else None,
        }
        print(json.dumps(facts))
        return
    for way, (header, cells) in zip(ways, tables, strict=True):
        print(f"\nfeatures {way}; [95 % interval over photos]")
        print_table(header, cells)
    if rows:
        print("\npublished, with Inception features: compare them with each other")
        print_table(*published_table())
        say(f"report in {page}")
