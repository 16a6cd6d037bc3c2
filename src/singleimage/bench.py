"""Compare methods: the jobs of a benchmark, and its results as the table of the papers.

Numbers are averaged over the seeds of a photo first, then over photos; intervals are bootstraps
over photos, because photos are what differs.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from singleimage.evaluation import Scores, require_comparable
from singleimage.image import write_atomically
from singleimage.jobs import Job, Measure, Result, result_of
from singleimage.nn.precision import Precision
from singleimage.recipe import Recipe

RESAMPLES = 10_000
"""Of the bootstrap."""


class Interval(msgspec.Struct, frozen=True):
    """A mean over photos with its 95 % bootstrap interval; with one photo there is none."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.mean:.3g}"
        return f"{self.mean:.3g} [{self.low:.2g}, {self.high:.2g}]"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One method in one kind of features: the papers' columns."""

    method: str
    features: str
    files: str
    photos: int
    results: int
    """Photos times seeds that are done."""
    samples: int
    """Of each result; a single one has no diversity."""
    sifid: Interval
    """Of the best sample of each photo (SIFID in Meta Internal Learning)."""
    msifid: Interval
    """Of all samples (mSIFID; SIFID in SinGAN, ConSinGAN and Fast-Stabilized)."""
    diversity_intensity: Interval
    diversity_pooled: Interval
    diversity_pooled_floor: Interval
    diversity_features: Interval
    copy_continuing: Interval
    copies: float
    """Share of samples that are copies."""
    minutes: Interval
    """Training time of a photo."""
    parameters: int
    levels: int


def plan(
    photos: Mapping[str, Path],
    *,
    recipes: Mapping[str, Recipe],
    published: Mapping[str, Path],
    seeds: Sequence[int],
    measure: Measure,
    device: str,
    precision: Precision,
    threads: int,
) -> list[Job]:
    """All jobs, photo by photo, so that a benchmark that is stopped early still compares.

    Args:
        photos: by the names of their folders.
        recipes: methods that are trained, by name.
        published: methods that are folders of samples, by name.
    """
    jobs: list[Job] = []
    for seed in seeds:
        for name, photo in photos.items():
            for method, recipe in recipes.items():
                jobs.append(
                    Job(
                        name=f"{method}/{name}/seed-{seed}",
                        method=method,
                        photo=str(photo),
                        seed=seed,
                        recipe=recipe,
                        measure=measure,
                        device=device,
                        precision=precision,
                        threads=threads,
                    )
                )
    for name, photo in photos.items():
        for method, folder in published.items():
            jobs.append(
                Job(
                    name=f"{method}/{name}",
                    method=method,
                    photo=str(photo),
                    published=str(folder),
                    measure=measure,
                    device=device,
                    threads=threads,
                )
            )
    return jobs


def collect(jobs: Iterable[Job], folder: Path) -> list[Result]:
    """The results there are, also written to `results.jsonl`, a line each."""
    results = [result for job in jobs if (result := result_of(job, folder))]
    lines = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
    write_atomically(folder / "results.jsonl", lambda stream: stream.write(lines))
    return results


def summarize(results: Sequence[Result]) -> list[Row]:
    """A row for each method and kind of features, in the order of the results.

    Raises:
        Incomparable: one kind of features was used on pictures treated differently.
    """
    groups: dict[tuple[str, str], list[tuple[Result, Scores]]] = defaultdict(list)
    for result in results:
        for scores in result.scores:
            groups[scores.features, result.method].append((result, scores))
    for features in {features for features, _ in groups}:
        same = [g for (f, _), g in groups.items() if f == features]
        require_comparable([scores for group in same for _, scores in group])
    return [_row(method, features, found) for (features, method), found in groups.items()]


def points(results: Sequence[Result], features: str) -> dict[str, list[tuple[float, float]]]:
    """Of each method, the diversity-intensity and the mSIFID of every photo."""
    groups: dict[str, dict[str, list[Scores]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        for scores in result.scores:
            if scores.features == features:
                groups[result.method][result.photo_sha256].append(scores)
    return {
        method: [
            (
                statistics.fmean(s.diversity_intensity for s in seeds),
                statistics.fmean(s.sifid_mean for s in seeds),
            )
            for seeds in photos.values()
        ]
        for method, photos in groups.items()
    }


def _row(method: str, features: str, found: Sequence[tuple[Result, Scores]]) -> Row:

    def over_photos(value: Callable[[Result, Scores], float]) -> Interval:
        by_photo: dict[str, list[float]] = defaultdict(list)
        for result, s in found:
            by_photo[result.photo_sha256].append(value(result, s))
        return bootstrap([statistics.fmean(values) for values in by_photo.values()])

    return Row(
        method=method,
        features=features,
        files=found[0][1].files,
        photos=len({result.photo_sha256 for result, _ in found}),
        results=len(found),
        samples=min(s.samples for _, s in found),
        sifid=over_photos(lambda _, s: s.sifid_min),
        msifid=over_photos(lambda _, s: s.sifid_mean),
        diversity_intensity=over_photos(lambda _, s: s.diversity_intensity),
        diversity_pooled=over_photos(lambda _, s: s.diversity_pooled),
        diversity_pooled_floor=over_photos(lambda _, s: s.diversity_pooled_floor),
        diversity_features=over_photos(lambda _, s: s.diversity_features),
        copy_continuing=over_photos(lambda _, s: s.copy_continuing),
        copies=sum(s.copies for _, s in found) / sum(s.samples for _, s in found),
        minutes=over_photos(lambda r, _: r.seconds / 60),
        parameters=max(result.parameters for result, _ in found),
        levels=max(result.levels for result, _ in found),
    )


def bootstrap(values: Sequence[float]) -> Interval:
    """The mean and its 95 % percentile bootstrap interval; the same values give the same one."""
    data = np.asarray(values)
    picks = np.random.default_rng(0).integers(0, len(data), (RESAMPLES, len(data)))
    low, high = np.percentile(data[picks].mean(axis=1), [2.5, 97.5])
    return Interval(float(data.mean()), float(low), float(high))


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells: ours."""
    header = ["method", "photos", "SIFID", "mSIFID", "diversity", "pooled (floor)", "copies"]
    header += ["min/photo", "parameters", "levels"]
    cells = [
        [
            row.method,
            f"{row.photos}"
            + (f"x{row.results / row.photos:g}" if row.results > row.photos else ""),
            str(row.sifid),
            str(row.msifid),
            str(row.diversity_intensity) if row.samples > 1 else "",
            f"{row.diversity_pooled.mean:.3f} ({row.diversity_pooled_floor.mean:.3f})"
            if row.samples > 1
            else "",
            f"{row.copies:.0%}",
            f"{row.minutes.mean:.1f}" if row.parameters else "",
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.levels}" if row.levels else "",
        ]
        for row in rows
    ]
    return header, cells
