"""One job: a model of one photo, and what its samples measure; or the same of published samples.

A job is a value, so it can be sent to another process or machine. It has a folder of its own, and
is done once `result.json` is in it. Until then, doing it again continues where it was.
"""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import torch

from singleimage.device import find_device
from singleimage.errors import ImageError
from singleimage.evaluation import Scores, evaluate
from singleimage.gallery import Drawn, Files, Gallery, published
from singleimage.image import (
    Photo,
    make_folder,
    read_photo,
    save_sheet,
    sheet,
    write_atomically,
)
from singleimage.model import Model
from singleimage.nn.features import Network, load_features
from singleimage.nn.precision import Precision
from singleimage.recipe import Recipe
from singleimage.run import Run

RESULT = "result.json"
SHEET = "sheet.png"
"""The photo and the first samples, for reports."""
SHOWN = 4
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Measure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to measure of a model."""

    samples: Positive = 50
    """How many a model draws, with seeds 0, 1, ...; of published ones all are taken."""
    features: tuple[Network, ...] = ("efficientnet-lite0",)
    jpeg: int | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train on a photo, or take published samples of it; then measure, if asked to."""

    name: str
    """Its folder under that of all results, such as `preview/12/seed-0`."""
    method: str
    """Name of the preset or of the published samples, for tables."""
    photo: str
    """Path of the photo."""
    seed: int = 0
    recipe: Recipe | None = None
    """What to train; None: nothing, the samples are `published`."""
    published: str = ""
    """Folder of published samples."""
    measure: Measure | None = None
    device: str = "cpu"
    precision: Precision = "auto"
    threads: Positive = 1


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a finished job leaves behind; one line of results.jsonl."""

    name: str
    method: str
    photo: str
    """Name of the photo's file."""
    photo_sha256: str
    seed: int
    recipe_digest: str
    """Empty for published samples, as are the numbers of what was not trained."""
    levels: int
    parameters: int
    seconds: float
    """Training time, on `threads` threads."""
    threads: int
    device: str
    precision: str
    versions: dict[str, str]
    measure: Measure | None = None
    """What was measured."""
    scores: tuple[Scores, ...]


Tell = Callable[[float, str], None]
"""Takes the share of a job that is done and a few words. May raise to stop the job."""


class Stopped(Exception):
    """Raised by a `Tell` to stop a job after it has saved its state."""


def result_of(job: Job, folder: Path) -> Result | None:
    """The result of a job that is done, else None."""
    try:
        return msgspec.json.decode((folder / job.name / RESULT).read_bytes(), type=Result)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def perform(job: Job, folder: Path, tell: Tell) -> Result:
    """Do a job in its folder under `folder`, or what is left of it.

    Raises:
        SingleImageError: the photo, the recipe or the folder do not do.
        Stopped: from `tell`; the state is saved.
    """
    torch.set_num_threads(job.threads)
    home = make_folder(folder / job.name)
    photo = read_photo(job.photo)
    if job.recipe is None:
        paths = published(Path(job.published), Path(job.photo))
        if not paths:
            raise ImageError(f"{job.published} has no samples of {Path(job.photo).name}.")
        result = _result(job, photo, None, _measure(job, home, Files(paths), photo))
    else:
        model = _train(job, home, photo, tell)
        tell(1.0, "measuring")
        real = model.training_image() or photo
        drawn = Drawn(model, range(job.measure.samples if job.measure else 0))
        result = _result(job, photo, model, _measure(job, home, drawn, real))
    text = msgspec.json.format(msgspec.json.encode(result), indent=2)
    write_atomically(home / RESULT, lambda stream: stream.write(text))
    return result


def _train(job: Job, home: Path, photo: Photo, tell: Tell) -> Model:
    assert job.recipe is not None
    run = Run(
        home,
        job.recipe,
        photo,
        seed=job.seed,
        name=Path(job.photo).name,
        device=job.device,
        precision=job.precision,
    )
    try:
        for progress in run:
            done = (progress.level + progress.step / progress.steps) / progress.levels
            tell(done, f"level {progress.level + 1}/{progress.levels}")
    except Stopped:
        run.save()
        raise
    return Model.load(home, device=find_device(job.device), precision=job.precision)


def _measure(job: Job, home: Path, gallery: Gallery, real: Photo) -> tuple[Scores, ...]:
    if job.measure is None:
        return ()
    shown = [real, *(gallery[i] for i in range(min(SHOWN, len(gallery))))]
    page = sheet([photo.preview(256) for photo in shown], columns=len(shown))
    save_sheet(page, home / SHEET, overwrite=True)
    device = find_device(job.device)
    extractors = [load_features(name, device=device) for name in job.measure.features]
    return tuple(evaluate(gallery, real, f, jpeg=job.measure.jpeg).scores for f in extractors)


def _result(job: Job, photo: Photo, model: Model | None, scores: tuple[Scores, ...]) -> Result:
    provenance = model.provenance if model else None
    return Result(
        name=job.name,
        method=job.method,
        photo=Path(job.photo).name,
        photo_sha256=photo.sha256,
        seed=job.seed,
        recipe_digest=job.recipe.digest() if job.recipe else "",
        levels=provenance.levels if provenance else 0,
        parameters=sum(p.numel() for p in model.generator.parameters()) if model else 0,
        seconds=provenance.seconds if provenance else 0.0,
        threads=job.threads,
        device=provenance.device if provenance else "",
        precision=provenance.precision if provenance else "",
        versions=provenance.versions
        if provenance
        else {"singleimage": importlib.metadata.version("singleimage")},
        measure=job.measure,
        scores=scores,
    )
