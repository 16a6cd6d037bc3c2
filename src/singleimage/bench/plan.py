"""The jobs of a benchmark, photo by photo, and the results there are."""

import random
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypedDict

import msgspec

from singleimage.errors import ArgumentError, OutputError
from singleimage.jobs.engine import finished
from singleimage.jobs.job import Job, JobResult, Measure, read_result
from singleimage.machine.files import read_whole, write_atomically
from singleimage.metrics.samples import names_of_others
from singleimage.nn.precision import Precision
from singleimage.recipes.recipe import Recipe

RESULTS, PAGE = "results.jsonl", "report.html"
"""What a benchmark leaves in its folder."""
PROOF = b'<meta name="generator" content="singleimage">'
"""What tells a page of this program from others."""


class Setting(TypedDict):
    """What is the same for all jobs of a benchmark; see `Job`."""

    measure: Measure
    device: str
    precision: Precision
    threads: int


def jobs_of(
    photos: Mapping[str, Path],
    *,
    recipes: Mapping[str, Recipe],
    published: Mapping[str, Path],
    seeds: Sequence[int],
    setting: Setting,
) -> list[Job]:
    """All jobs, photo by photo, so that a benchmark that is stopped early still compares.

    Args:
        photos: by the names of their folders.
        recipes: methods that are trained, by name.
        published: methods that are folders of samples, by name.
        seeds: of the trainings of each photo and recipe.
        setting: of every job.
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
                        **setting,
                    )
                )
    foreign = names_of_others(photos.values())
    for name, photo in photos.items():
        for method, folder in published.items():
            jobs.append(
                Job(
                    name=f"{method}/{name}",
                    method=method,
                    photo=str(photo),
                    published=str(folder),
                    foreign=foreign[photo.stem],
                    **setting,
                )
            )
    return jobs


def set_jobs(
    photos: Mapping[str, Path],
    *,
    sizes: Sequence[int],
    recipes: Mapping[str, Recipe],
    seeds: Sequence[int],
    setting: Setting,
) -> list[Job]:
    """Jobs that learn photos in sets, to compare sizes of sets (Meta Internal Learning).

    The seed of a training also shuffles the photos before they are cut into sets. Those that do not
    fill a set are left out.

    Args:
        photos: by the names of their folders.
        sizes: how many photos are learned together.
        recipes: hypernetworks, by name.
        seeds, setting: as for `jobs_of`.

    Raises:
        ArgumentError: there are fewer photos than a set has.
    """
    if len(photos) < max(sizes):
        raise ArgumentError(
            f"{len(photos)} photos do not fill a set of {max(sizes)}; give more, or smaller sets."
        )
    jobs: list[Job] = []
    for seed in seeds:
        order = random.Random(seed).sample(sorted(photos), len(photos))
        for size, (method, recipe) in product(sizes, recipes.items()):
            for index in range(len(photos) // size):
                first, *more = order[index * size : (index + 1) * size]
                jobs.append(
                    Job(
                        name=f"{method}-sets-of-{size}/{first}/seed-{seed}",
                        method=f"{method}, sets of {size}",
                        photo=str(photos[first]),
                        company=tuple(str(photos[name]) for name in more),
                        seed=seed,
                        recipe=recipe,
                        **setting,
                    )
                )
    return jobs


def earlier_results(folder: Path) -> list[JobResult]:
    """The results that stand in `results.jsonl` of a folder.

    Raises:
        OutputError: that file, or report.html, is not this program's, and would be replaced.
    """
    path, page = folder / RESULTS, folder / PAGE
    if page.exists() and PROOF not in page.read_bytes()[:1000]:
        raise OutputError(f"{page} is not a page of bench; use another folder, or move it.")
    if not path.exists():
        return []
    try:
        return [read_result(line) for line in read_whole(path).splitlines() if line.strip()]
    except (OSError, ValueError):
        raise OutputError(
            f"{path} does not hold results of bench, or is damaged; use another folder, or move it."
        ) from None


def beside(jobs: Sequence[Job], folder: Path) -> tuple[list[JobResult], list[JobResult]]:
    """The earlier results of other jobs in a folder: those that stay beside `jobs`, and the others.

    The others are of the same methods by another recipe, or measured otherwise: averages over
    photos would mix both.

    Raises:
        OutputError: as `earlier_results`.
    """
    names = {job.name for job in jobs}
    ours = {job.method: (job.recipe.digest() if job.recipe else "", job.measure) for job in jobs}
    kept, others = list[JobResult](), list[JobResult]()
    for result in earlier_results(folder):
        how = result.recipe_digest, result.measure
        if result.name not in names:
            (kept if ours.get(result.method, how) == how else others).append(result)
    return kept, others


def collect(jobs: Sequence[Job], folder: Path) -> list[JobResult]:
    """Gather results in a folder: of `jobs` that are `finished`, and what stays `beside` them.

    They are written to `results.jsonl` there.

    Raises:
        OutputError: as `earlier_results`.
    """
    results, _ = beside(jobs, folder)
    results += [result for job in jobs if (result := finished(job, folder))]
    lines = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
    write_atomically(folder / RESULTS, lambda stream: stream.write(lines))
    return results
