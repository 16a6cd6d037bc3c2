"""The results of a benchmark as the table of the papers.

Numbers are averaged over the seeds of a photo first, then over photos; intervals are bootstraps
over photos, because photos are what differs; those that were learned together are one there.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from singleimage.jobs.job import JobResult
from singleimage.metrics.evaluation import Scores, Way
from singleimage.metrics.table import METRICS

RESAMPLES = 10_000
"""Samples of the bootstrap."""
PLOTTED = ("diversity_intensity", "sifid_mean")
"""The numbers that are plotted against each other."""


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
    """One method, measured in one `Way`: the papers' columns."""

    method: str
    way: Way
    photos: int
    results: int
    """Photos times seeds that are done."""
    samples: int
    """Samples of each result; a single one has no diversity."""
    numbers: dict[str, Interval]
    """Numbers that all results have, by the names of `METRICS`."""
    copies: float | None
    """Share of samples that are copies; None: not all results tell."""
    minutes: Interval
    """Training time of a photo; of those that were learned together, their share of it."""
    parameters: int
    levels: int

    def flat(self) -> dict[str, Any]:
        """All fields and numbers side by side, as the command line prints them.

        The papers' names are `sifid` (of the best sample of each photo) and `msifid` (of all).
        """
        facts: dict[str, Any] = msgspec.to_builtins(self)
        numbers = facts.pop("numbers")
        numbers.pop("copies", None)  # a share says more than their mean number
        papers = {"sifid_min": "sifid", "sifid_mean": "msifid"}
        named = {papers.get(name, name): numbers[name] for name in numbers}
        del facts["way"]
        how = {"method": facts.pop("method"), **self.way._asdict()}
        counts = {n: facts.pop(n) for n in ("photos", "results", "samples")}
        return {**how, **counts, **named, **facts}


def summarize(results: Sequence[JobResult]) -> list[Row]:
    """A row for each method and way of measuring, in the order of the results."""
    groups: dict[tuple[Way, str], list[tuple[JobResult, Scores]]] = defaultdict(list)
    for result in results:
        for scores in result.scores:
            groups[scores.way, result.method].append((result, scores))
    return [_row(method, way, found) for (way, method), found in groups.items()]


def points(results: Sequence[JobResult], way: Way) -> dict[str, list[tuple[float, float]]]:
    """Return for each method the diversity-intensity and the mean SIFID of every photo.

    Args:
        results: of all photos and methods.
        way: in which they are measured.
    """
    groups: dict[str, dict[str, list[Scores]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        for scores in result.scores:
            if scores.way == way and set(PLOTTED) <= scores.numbers.keys():
                groups[result.method][result.photo_sha256].append(scores)
    return {
        method: [
            (
                statistics.fmean(s.numbers[PLOTTED[0]] for s in seeds),
                statistics.fmean(s.numbers[PLOTTED[1]] for s in seeds),
            )
            for seeds in photos.values()
        ]
        for method, photos in groups.items()
    }


def _row(method: str, way: Way, found: Sequence[tuple[JobResult, Scores]]) -> Row:

    def over_photos(value: Callable[[JobResult, Scores], float]) -> Interval:
        by_photo: dict[str, list[float]] = defaultdict(list)
        for result, s in found:
            by_photo[result.photo_sha256].append(value(result, s))
        return bootstrap([statistics.fmean(values) for values in by_photo.values()])

    def number(name: str) -> Interval:
        return over_photos(lambda _, s: s.numbers[name])

    known = [m.name for m in METRICS if all(m.name in s.numbers for _, s in found)]
    return Row(
        method=method,
        way=way,
        photos=len({photo for result, _ in found for photo in result.photos}),
        results=sum(len(result.photos) for result, _ in found),
        samples=min(s.samples for _, s in found),
        numbers={name: number(name) for name in known},
        copies=_share_of_copies([s for _, s in found]),
        minutes=over_photos(lambda r, _: r.seconds / 60 / len(r.photos)),
        parameters=max(result.parameters for result, _ in found),
        levels=max(result.levels for result, _ in found),
    )


def _share_of_copies(found: Sequence[Scores]) -> float | None:
    if not all("copies" in scores.numbers for scores in found):
        return None
    return sum(s.numbers["copies"] for s in found) / sum(s.samples for s in found)


def bootstrap(values: Sequence[float]) -> Interval:
    """The mean and its 95 % percentile bootstrap interval; the same values give the same one."""
    data = np.asarray(values)
    picks = np.random.default_rng(0).integers(0, len(data), (RESAMPLES, len(data)))
    low, high = np.percentile(data[picks].mean(axis=1), [2.5, 97.5])
    return Interval(float(data.mean()), float(low), float(high))


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of our rows, with the papers' columns; an empty cell has no number."""
    header = ["method", "photos", "SIFID", "mSIFID", "diversity", "pooled (floor)", "copies"]
    header += ["min/photo", "parameters", "levels"]
    cells = [_cells(row) for row in rows]
    if any("leaked" in row.numbers for row in rows):  # photos were learned together
        header.append("leaked")
        cells = [
            [*line, str(row.numbers.get("leaked", ""))]
            for line, row in zip(cells, rows, strict=True)
        ]
    return header, cells


def _cells(row: Row) -> list[str]:
    several = f"x{row.results / row.photos:g}" if row.results > row.photos else ""

    def cell(name: str) -> str:
        return str(row.numbers.get(name, ""))

    pooled = ""
    if {"diversity_pooled", "diversity_pooled_floor"} <= row.numbers.keys():
        floor = row.numbers["diversity_pooled_floor"].mean
        pooled = f"{row.numbers['diversity_pooled'].mean:.3f} ({floor:.3f})"
    return [
        row.method,
        f"{row.photos}{several}",
        cell("sifid_min"),
        cell("sifid_mean"),
        cell("diversity_intensity") if row.samples > 1 else "",
        pooled if row.samples > 1 else "",
        "" if row.copies is None else f"{row.copies:.0%}",
        f"{row.minutes.mean:.1f}" if row.parameters else "",
        f"{row.parameters:,}" if row.parameters else "",
        f"{row.levels}" if row.levels else "",
    ]
