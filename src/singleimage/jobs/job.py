"""One job: a model of one photo, and what its samples measure; or the same of published samples.

A job is a value, so it can be sent to another process or machine. It has a folder of its own, and
is done once `result.json` is in it. Until then, doing it again continues where it was.
"""

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec
import torch
from msgspec.structs import replace

from singleimage.errors import ImageError, RunError
from singleimage.images.folder import album_of
from singleimage.images.photo import Photo
from singleimage.images.reader import read_photo
from singleimage.images.sheet import save_sheet, sheet
from singleimage.machine.device import find_device
from singleimage.machine.files import make_folder, read_whole, write_atomically
from singleimage.metrics.evaluation import Scores, average, evaluate
from singleimage.metrics.features import Network, load_features
from singleimage.metrics.protocols import PROTOCOLS, ProtocolName
from singleimage.metrics.samples import (
    DrawnSamples,
    SampleFiles,
    Samples,
    digest_of,
    samples_of,
)
from singleimage.models.hypermodel import HyperModel
from singleimage.models.model import Model
from singleimage.models.modelfile import Provenance
from singleimage.nn.precision import Precision
from singleimage.recipes.recipe import Recipe
from singleimage.training.makers import maker_for

RESULT = "result.json"
SHEET = "sheet.png"
"""The photo and the first samples, for reports."""
CLAIM = "job.json"
"""Marks the folder of a job that trains nothing."""
SHOWN = 4
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Measure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to measure of a model."""

    samples: Positive = 50
    """How many a model draws, with seeds 0, 1, ...; of published ones all are taken."""
    features: tuple[Network, ...] = ("efficientnet-lite0",)
    jpeg: int | None = None
    protocol: ProtocolName | None = None
    """The paper's protocol that the rest is from."""

    @classmethod
    def by(cls, protocol: ProtocolName) -> "Measure":
        """What a paper measures, by its `protocol`."""
        paper = PROTOCOLS[protocol]
        return cls(
            samples=paper.samples, features=(paper.features,), jpeg=paper.jpeg, protocol=protocol
        )


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train on a photo, or take published samples of it; then measure, if asked to."""

    name: str
    """Folder of the job under that of all results, such as `preview/12/seed-0`."""
    method: str
    """Name of the preset or of the published samples, for tables."""
    photo: str
    """Path of the photo."""
    company: tuple[str, ...] = ()
    """Paths of photos that a hypernetwork learns with it; then what is measured is their mean."""
    seed: int = 0
    recipe: Recipe | None = None
    """What to train; None: nothing, the samples are `published`."""
    published: str = ""
    """Folder of published samples."""
    foreign: tuple[str, ...] = ()
    """Names in it, without suffix, of samples of other photos; see `names_of_others`."""
    measure: Measure | None = None
    device: str = "cpu"
    precision: Precision = "auto"
    threads: Positive = 1

    def samples(self) -> list[Path]:
        """The published samples of the photo; maybe none.

        Raises:
            ImageError: as `samples_of`.
        """
        return samples_of(Path(self.photo), Path(self.published), self.foreign)


class JobResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a finished job leaves behind; one line of results.jsonl."""

    name: str
    method: str
    photo: str
    """Name of the photo's file."""
    photo_sha256: str
    """Of photos that were learned together, one of all."""
    together: tuple[str, ...] = ()
    """Of each of the photos that were learned together; empty: it was one, or an earlier version
    did not say."""
    samples_sha256: str = ""
    """Of the names and bytes of published samples; empty: there are none, or an earlier version
    measured them."""
    seed: int
    recipe_digest: str
    """Empty for published samples, as are the numbers of what was not trained."""
    levels: int
    parameters: int
    seconds: float
    """Training time, on `threads` threads; of all photos that were learned together."""
    threads: int
    device: str
    precision: str
    versions: dict[str, str]
    measure: Measure | None = None
    """What was measured."""
    scores: tuple[Scores, ...]

    @property
    def photos(self) -> tuple[str, ...]:
        """Digests of the photos that were learned: one or more."""
        return self.together or (self.photo_sha256,)


Tell = Callable[[float, str], None]
"""Takes the share of a job that is done and a few words. May raise to stop the job."""


class Stopped(Exception):
    """Raised by a `Tell` to stop a job after it has saved its state."""


def result_of(job: Job, folder: Path) -> JobResult | None:
    """Return the result of `job` if it is done in `folder`, else None."""
    try:
        return read_result(read_whole(folder / job.name / RESULT))
    except (FileNotFoundError, ValueError):
        return None


def _claim(home: Path) -> None:
    """Make a folder that of a job that trains nothing; what trains claims it as a run."""
    others = any(not file.name.startswith(".") for file in home.iterdir())
    if others and not ((home / CLAIM).exists() or (home / RESULT).exists()):
        raise RunError(f"{home} is not empty and holds no result; use another folder.")
    write_atomically(home / CLAIM, lambda stream: stream.write(b"{}\n"))


def _sealed(result: JobResult) -> bytes:
    """JSON of a result, with a digest of it."""
    plain = msgspec.json.encode(result)
    tree = {"sha256": sha256(plain).hexdigest(), **msgspec.to_builtins(result)}
    return msgspec.json.format(msgspec.json.encode(tree), indent=2)


def read_result(data: bytes) -> JobResult:
    """Read a result of this version, or of an earlier one, whose scores had a field each.

    Args:
        data: JSON.

    Raises:
        msgspec.DecodeError: it is no result.
    """
    tree = msgspec.json.decode(data)
    seal = tree.pop("sha256", None) if isinstance(tree, dict) else None
    if seal is not None and seal != sha256(msgspec.json.encode(tree)).hexdigest():
        raise msgspec.ValidationError("another digest than its own")
    found = tree.get("scores") if isinstance(tree, dict) else None
    if isinstance(found, list) and all(isinstance(scores, dict) for scores in found):
        tree["scores"] = [
            scores if "numbers" in scores else Scores.from_flat(scores) for scores in found
        ]
    return msgspec.convert(tree, JobResult)


def perform(job: Job, folder: Path, tell: Tell) -> JobResult:
    """Do a job in its folder under `folder`, or what is left of it.

    Raises:
        SingleImageError: the photo, the recipe or the folder do not do.
        Stopped: from `tell`; the state is saved.
    """
    torch.set_num_threads(job.threads)
    home = make_folder(folder / job.name)
    if job.recipe is None:
        result = _published(job, home, tell)
    elif job.company:
        result = _together(job, home, tell)
    else:
        result = _alone(job, home, tell)
    write_atomically(home / RESULT, lambda stream: stream.write(_sealed(result)))
    return result


def _published(job: Job, home: Path, tell: Tell) -> JobResult:
    photo = read_photo(job.photo)
    _claim(home)
    paths = job.samples()
    if not paths:
        raise ImageError(f"{job.published} has no samples of {Path(job.photo).name}.")
    digest = digest_of(paths)
    scores = _measure(job, home, SampleFiles(paths), photo, tell)
    return replace(_job_result(job, photo.sha256, None, 0, scores), samples_sha256=digest)


def _alone(job: Job, home: Path, tell: Tell) -> JobResult:
    photo = read_photo(job.photo)
    _train(job, home, photo, tell)
    model = Model.load(home, device=find_device(job.device), precision=job.precision)
    scores = _measure_model(job, home, model, model.training_image() or photo, tell)
    count = sum(p.numel() for p in model.generator.parameters())
    return _job_result(job, photo.sha256, model.provenance, count, scores)


def _together(job: Job, home: Path, tell: Tell) -> JobResult:
    """Photos that a hypernetwork learns together: the means over their models."""
    assert job.recipe is not None
    album = album_of([Path(job.photo), *map(Path, job.company)], crop=not job.recipe.stretches)
    _train(job, home, album, tell)
    device = str(find_device(job.device))
    hyper = HyperModel.load(home, device=device, precision=job.precision)
    found = []
    models = [hyper.model(photo) for photo in album]
    photos = [model.training_image() or photo for model, photo in zip(models, album, strict=True)]
    for i in reversed(range(len(photos))):  # the sheet that stays is that of the first
        beside = [*photos[:i], *photos[i + 1 :]]
        found.append(_measure_model(job, home, models[i], photos[i], tell, beside))
    scores = tuple(replace(same[0], numbers=average(same)) for same in zip(*found, strict=True))
    count = sum(p.numel() for p in hyper.hyper.parameters())
    result = _job_result(job, hyper.provenance.image_sha256, hyper.provenance, count, scores)
    return replace(result, together=tuple(photo.sha256 for photo in album))


def _train(job: Job, home: Path, photo: Photo | Sequence[Photo], tell: Tell) -> None:
    assert job.recipe is not None
    maker = maker_for(
        home,
        photo,
        job.recipe,
        seed=job.seed,
        name=Path(job.photo).name,
        device=job.device,
        precision=job.precision,
    )
    try:
        for progress in maker:
            done = (progress.level + progress.step / progress.steps) / progress.levels
            tell(done, f"level {progress.level + 1}/{progress.levels}")
    except Stopped:
        maker.save()
        raise


def _measure_model(
    job: Job, home: Path, model: Model, photo: Photo, tell: Tell, beside: Sequence[Photo] = ()
) -> tuple[Scores, ...]:
    tell(1.0, "measuring")
    drawn = DrawnSamples(model, range(job.measure.samples if job.measure else 0))
    return _measure(job, home, drawn, photo, tell, beside)


def _measure(
    job: Job,
    home: Path,
    samples: Samples,
    real: Photo,
    tell: Tell,
    beside: Sequence[Photo] = (),
) -> tuple[Scores, ...]:
    if job.measure is None:
        return ()
    shown = [real, *(samples[i] for i in range(min(SHOWN, len(samples))))]
    page = sheet([photo.preview(256) for photo in shown], columns=len(shown))
    save_sheet(page, home / SHEET, overwrite=True)
    device = find_device(job.device)
    extractors = [load_features(name, device=device) for name in job.measure.features]
    how = job.measure

    def one_by_one() -> Iterator[Photo]:
        for sample in samples:
            tell(1.0, "measuring")
            yield sample

    return tuple(
        evaluate(one_by_one(), real, f, jpeg=how.jpeg, protocol=how.protocol, beside=beside).scores
        for f in extractors
    )


def _job_result(
    job: Job,
    sha256: str,
    provenance: Provenance | None,
    parameters: int,
    scores: tuple[Scores, ...],
) -> JobResult:
    more = f" and {len(job.company)} more" if job.company else ""
    return JobResult(
        name=job.name,
        method=job.method,
        photo=Path(job.photo).name + more,
        photo_sha256=sha256,
        seed=job.seed,
        recipe_digest=job.recipe.digest() if job.recipe else "",
        levels=provenance.levels if provenance else 0,
        parameters=parameters,
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
