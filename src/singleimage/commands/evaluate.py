"""`singleimage evaluate`: measure samples."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from singleimage.commands.arguments import (
    Device,
    Json,
    Overwrite,
    Precision,
    Protocol,
    Seed,
    Variety,
    Whole,
    load_model,
    read_told,
    refuse_beside,
)
from singleimage.commands.console import catch_stop, print_table, say, until_stopped
from singleimage.errors import ArgumentError, ImageError, WeightsError

if TYPE_CHECKING:
    from singleimage.images.photo import Photo
    from singleimage.metrics.evaluation import Evaluation, Scores
    from singleimage.metrics.features import Features
    from singleimage.metrics.samples import Samples


def evaluate(
    sources: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    real: Path | None = None,
    variety: Variety = None,
    count: Annotated[Whole | None, Parameter(name=["--count", "-n"])] = None,
    seed: Seed = 0,
    features: Annotated[list[str] | None, Parameter(negative=())] = None,
    weights: Path | None = None,
    jpeg: Whole | None = None,
    protocol: Protocol = None,
    report: Path | None = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Measure samples of a photo: how close, how diverse, how much is copied.

    Parameters
    ----------
    sources
        A model, a run or, without --real, a photo, of which samples are drawn; or sample images,
        and folders of them: of samples named after --real (N.jpg, or N_0.jpg, N_1.jpg ... for photo
        N), only those.
    real
        The photo. Default: the training image inside the model.
    count
        How many samples a model draws; default: 100.
    seed
        Of the first sample that a model draws.
    features
        What to measure with: efficientnet-lite0 (the default; needs no download), inception-64
        or inception-192; repeatable.
    weights
        A file of weights for them, in place of the usual one.
    jpeg
        Pass all pictures through JPEG of this quality first; 75 is what published numbers did.
    protocol
        Measure as a paper did: singan, fast-stabilized or meta; --features replaces its own.
    report
        Also write an HTML page with pictures and charts to this file.
    """
    from singleimage.bench.report import require_charts, write_report
    from singleimage.machine.device import use_device
    from singleimage.machine.files import (
        followed,
        refuse_existing,
        require_folder,
        write_atomically,
    )
    from singleimage.metrics.evaluation import evaluate as evaluate_samples
    from singleimage.metrics.features import load_features

    if jpeg is not None and not 1 <= jpeg <= 100:
        raise ArgumentError(f"--jpeg {jpeg} is no quality; use 1 to 100.")
    if report is not None:
        refuse_existing(report, overwrite=overwrite)
        require_folder(report)
        require_charts()
    count, jpeg, names = _how(protocol, count, jpeg, features or [])
    if weights is not None and len(names) > 1:
        raise WeightsError("--weights is of one kind of features; give --features once.")
    extractors = [load_features(n, weights=weights, device=use_device(device)) for n in names]
    if count < 1:
        raise ArgumentError(f"cannot measure {count} samples; ask for 1 or more.")
    samples, photo = _samples(sources, real, range(seed, seed + count), device, precision, variety)
    measure = partial(evaluate_samples, jpeg=jpeg, protocol=protocol)
    results, code = _measured(measure, samples, photo, extractors)
    if report is not None:
        shown = " ".join(path.name for path in sources)
        title = f"{shown} against {real.name if real else 'its photo'}"
        text = write_report(results, samples, photo, title=title)
        write_atomically(followed(report), lambda stream: stream.write(text.encode()))
        say(f"report in {report}")
    _tell([result.scores for result in results], as_json)
    return code


def _measured(
    measure: "Callable[[Iterable[Photo], Photo, Features], Evaluation]",
    samples: "Samples",
    photo: "Photo",
    extractors: "Sequence[Features]",
) -> "tuple[list[Evaluation], int]":
    """What is measured in each kind of features, and the exit code: not 0 where it was stopped."""
    results: list[Evaluation] = []
    with catch_stop("sample") as stop:
        for extractor in extractors:
            results.append(measure(until_stopped(samples, stop), photo, extractor))
            if stop.by is not None:
                break
    done = results[-1].scores.samples
    if stop.by is None or (len(results), done) == (len(extractors), len(samples)):
        return results, 0
    say(f"stopped; these are the numbers of {done} of {len(samples)} samples.")
    return results, 128 + stop.by


def _how(
    protocol: Protocol, count: int | None, jpeg: int | None, features: Sequence[str]
) -> tuple[int, int | None, list[str]]:
    """Samples, quality and features: those of the paper, or as given."""
    from singleimage.metrics.protocols import PROTOCOLS

    if protocol is not None:
        refuse_beside(protocol, count=count, jpeg=jpeg)
        paper = PROTOCOLS[protocol]
        count, jpeg, features = paper.samples, paper.jpeg, features or [paper.features]
    names = list(dict.fromkeys(features or ["efficientnet-lite0"]))
    return 100 if count is None else count, jpeg, names


def _samples(
    sources: Sequence[Path],
    real: Path | None,
    seeds: range,
    device: str,
    precision: Precision,
    variety: float | None,
) -> "tuple[Samples, Photo]":
    """The samples, and the photo they are samples of."""
    from singleimage.images.photo import Photo
    from singleimage.metrics.samples import DrawnSamples, SampleFiles
    from singleimage.multiscale.resample import resize

    if _is_model(sources[0]) or (real is None and len(sources) == 1 and sources[0].is_file()):
        if len(sources) > 1:
            raise ImageError(f"{sources[0]} is a model; measure one model at a time.")
        model = load_model(sources[0], device, precision, variety=variety)
        photo = model.training_image() if real is None else read_told(real)
        if photo is None:
            raise ImageError(f"{sources[0]} does not hold its photo; add --real IMAGE.")
        if photo.size != model.size:  # what the model saw is the photo at its finest level
            photo = Photo(resize(photo.pixels[None], model.size)[0], photo.channels)
        return DrawnSamples(model, seeds), photo
    if variety is not None:
        raise ArgumentError("--variety is for a photo that samples are drawn of; leave it out.")
    if real is None:
        raise ImageError("no photo to measure against; add --real IMAGE.")
    paths: list[Path] = []
    for source in sources:
        paths += _samples_in(source, real) if source.is_dir() else [source]
    return SampleFiles(paths), read_told(real)


def _samples_in(folder: Path, real: Path) -> list[Path]:
    """The samples of the photo if the folder has such, else all pictures; never the photo."""
    from singleimage.images.folder import pictures_in
    from singleimage.metrics.samples import samples_of

    for found in (samples_of(real, folder), pictures_in(folder)):
        if samples := [path for path in found if path.resolve() != real.resolve()]:
            return samples
    raise ImageError(f"{folder} holds no picture but the photo; give a folder of samples.")


def _is_model(source: Path) -> bool:
    return source.suffix == ".safetensors" or (source / "model.safetensors").exists()


def _tell(scores: "Sequence[Scores]", as_json: bool) -> None:
    from singleimage.metrics.protocols import PROTOCOLS
    from singleimage.metrics.table import METRICS

    if as_json:
        print(json.dumps({s.features: s.flat() for s in scores}))  # under the features' names
        return
    for s in scores:
        alone = "; one alone has no diversity, measure 2 or more" if s.samples == 1 else ""
        print(f"{s.samples} samples, features {s.features}, {s.files} pictures{alone}")
        if s.protocol is not None:
            paper = PROTOCOLS[s.protocol]
            print(f"protocol {s.protocol}: it reports {', '.join(paper.numbers)}. {paper.source}")
            if s.samples < paper.samples:
                print(f"It takes {paper.samples} samples; these are {s.samples}.")
        rows = [
            [m.name, f"{s.numbers[m.name]:.4g}", m.meaning] for m in METRICS if m.name in s.numbers
        ]
        print_table(["", "", ""], rows)
