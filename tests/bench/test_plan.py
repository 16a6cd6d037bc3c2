"""The jobs of a benchmark, and the results there are."""

from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest

from singleimage.bench import plan
from singleimage.errors import ArgumentError
from singleimage.jobs.job import Job, Measure, perform, read_result
from singleimage.recipes.presets import preset
from small_jobs import draw_photo, nobody

SETTING = plan.Setting(measure=Measure(samples=3), device="cpu", precision="auto", threads=1)


def test_jobs_are_all_pairs_photo_by_photo() -> None:
    jobs = plan.jobs_of(
        {"a": Path("/x/a.jpg"), "b": Path("/x/b.jpg")},
        recipes={"preview": preset("preview"), "singan": preset("singan")},
        published={"paper": Path("/samples")},
        seeds=[0, 1],
        setting=SETTING,
    )
    trained = [job for job in jobs if job.recipe]
    assert [job.name for job in trained[:4]] == [
        "preview/a/seed-0",
        "singan/a/seed-0",
        "preview/b/seed-0",
        "singan/b/seed-0",
    ]
    assert len(trained) == 8
    assert [job.name for job in jobs if job.published] == ["paper/a", "paper/b"]
    assert len({job.name for job in jobs}) == len(jobs)
    for job in jobs:  # a job travels as JSON
        assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job


def test_a_sample_is_of_one_photo_alone(tmp_path: Path) -> None:
    for name in ("img.png", "img_0.png", "img_1.png", "img_1_0.png", "img_1_1.png", "img_2.png"):
        (tmp_path / name).touch()
    photos = {name: Path(f"/x/{name}.jpg") for name in ("img", "img_1", "other")}
    given = {"recipes": {}, "seeds": [], "setting": SETTING}
    jobs = plan.jobs_of(photos, published={"paper": tmp_path}, **given)
    assert [[path.stem for path in job.samples()] for job in jobs] == [
        ["img", "img_0", "img_2"],
        ["img_1", "img_1_0", "img_1_1"],
        [],
    ]


def test_sets_cut_the_photos_in_another_order_for_each_seed() -> None:
    photos = {name: Path(f"/x/{name}.jpg") for name in "abcde"}

    def jobs(sizes: list[int]) -> list[Job]:
        return plan.set_jobs(
            photos,
            sizes=sizes,
            recipes={"meta-small": preset("meta-small")},
            seeds=[0, 1],
            setting=SETTING,
        )

    found = jobs([1, 2])
    by_method: dict[tuple[str, int], list[tuple[str, ...]]] = defaultdict(list)
    for job in found:
        by_method[job.method, job.seed].append((job.photo, *job.company))
    assert len({job.name for job in found}) == len(found)
    for seed in (0, 1):
        assert len({*chain(*by_method["meta-small, sets of 1", seed])}) == 5
        pairs = by_method["meta-small, sets of 2", seed]
        assert [len(pair) for pair in pairs] == [2, 2]
        assert len({*chain(*pairs)}) == 4
    assert by_method["meta-small, sets of 2", 0] != by_method["meta-small, sets of 2", 1]
    with pytest.raises(ArgumentError, match="5 photos do not fill a set of 6"):
        jobs([2, 6])


def test_the_results_there_are_become_a_line_each(tmp_path: Path, threads: int) -> None:
    photos = [draw_photo(tmp_path / "samples" / f"{i}.png", i) for i in range(2)]
    jobs = [
        Job(name=f"own/{p.stem}", method="own", photo=str(p), published=str(p.parent))
        for p in photos
    ]
    assert plan.collect(jobs, tmp_path) == []
    assert (tmp_path / "results.jsonl").read_bytes() == b""
    result = perform(jobs[1], tmp_path, nobody)
    assert plan.collect(jobs, tmp_path) == [result]
    (line,) = (tmp_path / "results.jsonl").read_bytes().splitlines()
    assert read_result(line) == result


@pytest.mark.parametrize("changed", [{"recipe_digest": "abc"}, {"measure": Measure(samples=3)}])
def test_a_method_stays_with_its_recipe_and_measure(
    changed: dict[str, Any], tmp_path: Path, threads: int
) -> None:
    """A row is an average over photos; results of another method are none of its matter."""
    photo = draw_photo(tmp_path / "samples" / "0.png")
    job = Job(name="own/0", method="own", photo=str(photo), published=str(photo.parent))
    result = perform(job, tmp_path, nobody)
    same = msgspec.structs.replace(result, name="own/1")
    unlike = msgspec.structs.replace(result, name="own/2", **changed)
    foreign = msgspec.structs.replace(unlike, name="theirs/2", method="theirs")
    lines = (msgspec.json.encode(one) for one in (same, unlike, foreign))
    (tmp_path / "results.jsonl").write_bytes(b"\n".join(lines))
    assert plan.beside([job], tmp_path) == ([same, foreign], [unlike])
    assert plan.collect([job], tmp_path) == [same, foreign, result]
    assert plan.beside([job], tmp_path) == ([same, foreign], [])


def test_a_result_of_other_settings_is_no_result_of_a_job(tmp_path: Path, threads: int) -> None:
    """As where it failed with those of today; its earlier line goes, too."""
    photo = draw_photo(tmp_path / "samples" / "0.png")
    job = Job(name="own/0", method="own", photo=str(photo), published=str(photo.parent))
    result = perform(job, tmp_path, nobody)
    assert plan.collect([job], tmp_path) == [result]
    other = msgspec.structs.replace(job, measure=Measure(samples=3))
    assert plan.collect([other], tmp_path) == []
    assert plan.earlier_results(tmp_path) == []
