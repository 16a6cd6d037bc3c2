"""The jobs of a benchmark, photo by photo, and the results there are."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from singleimage.jobs.job import Job, JobResult, Measure, result_of
from singleimage.machine.files import write_atomically
from singleimage.nn.precision import Precision
from singleimage.recipes.recipe import Recipe


def jobs_of(
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
        seeds: of the trainings of each photo and recipe.
        measure: what is measured of each model.
        device, precision, threads: of every job.
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


def collect(jobs: Iterable[Job], folder: Path) -> list[JobResult]:
    """Gather the results of `jobs` that are done, and write them to `results.jsonl` in `folder`."""
    results = [result for job in jobs if (result := result_of(job, folder))]
    lines = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
    write_atomically(folder / "results.jsonl", lambda stream: stream.write(lines))
    return results
