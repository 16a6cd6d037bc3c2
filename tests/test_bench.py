"""The benchmark: its jobs, its table, and that it goes on where it was."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from singleimage import Photo, read_photo
from singleimage.bench import plan, table
from singleimage.bench.papers import PUBLISHED
from singleimage.errors import Incomparable
from singleimage.images.photo import Channels
from singleimage.jobs.job import Job, JobResult, Measure
from singleimage.metrics.evaluation import Scores
from singleimage.recipes.presets import preset
from tiny import Command


def scores(**changes: object) -> Scores:
    flat = dict(
        features="net/layer/abc",
        files="lossless",
        samples=4,
        sifid_mean=0.4,
        sifid_min=0.2,
        diversity_intensity=0.5,
        diversity_pooled=0.6,
        diversity_pooled_floor=0.3,
        diversity_features=0.1,
        copy_continuing=0.05,
        copy_compression=0.9,
        copies=1,
    )
    return Scores.from_flat({**flat, **changes})


def result(method: str, photo: str, seed: int, *found: Scores) -> JobResult:
    return JobResult(
        name=f"{method}/{photo}/seed-{seed}",
        method=method,
        photo=f"{photo}.jpg",
        photo_sha256=photo,
        seed=seed,
        recipe_digest="",
        levels=6,
        parameters=1000,
        seconds=120.0,
        threads=1,
        device="cpu",
        precision="fp32",
        versions={},
        scores=found,
    )


def test_jobs_are_all_pairs_photo_by_photo() -> None:
    jobs = plan.jobs_of(
        {"a": Path("/x/a.jpg"), "b": Path("/x/b.jpg")},
        recipes={"preview": preset("preview"), "singan": preset("singan")},
        published={"paper": Path("/samples")},
        seeds=[0, 1],
        measure=Measure(samples=3),
        device="cpu",
        precision="auto",
        threads=1,
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


def test_seeds_are_averaged_within_a_photo_and_photos_are_equal() -> None:
    rows = table.summarize(
        [
            result("m", "a", 0, scores(sifid_mean=1.0, sifid_min=0.5)),
            result("m", "a", 1, scores(sifid_mean=3.0, sifid_min=1.5)),
            result("m", "b", 0, scores(sifid_mean=6.0, sifid_min=3.0)),
        ]
    )
    (row,) = rows
    assert row.numbers["sifid_mean"].mean == pytest.approx((2.0 + 6.0) / 2)
    assert row.numbers["sifid_min"].mean == pytest.approx((1.0 + 3.0) / 2)
    assert (row.photos, row.results) == (2, 3)
    assert row.copies == pytest.approx(3 / 12)
    assert row.minutes.mean == pytest.approx(2.0)


def test_methods_and_features_have_rows_of_their_own() -> None:
    both = (scores(), scores(features="other/layer/def", sifid_mean=9.0))
    rows = table.summarize([result("m", "a", 0, *both), result("n", "a", 0, *both)])
    assert [(row.method, row.features) for row in rows] == [
        ("m", "net/layer/abc"),
        ("m", "other/layer/def"),
        ("n", "net/layer/abc"),
        ("n", "other/layer/def"),
    ]
    assert rows[1].numbers["sifid_mean"].mean == 9.0


def test_what_was_measured_otherwise_is_not_tabulated_together() -> None:
    with pytest.raises(Incomparable, match="do not compare"):
        table.summarize(
            [result("m", "a", 0, scores()), result("m", "b", 0, scores(files="jpeg-75"))]
        )


def test_the_interval_is_that_of_the_mean_of_photos() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 200)
    found = table.bootstrap(list(values))
    half = 1.96 * values.std() / np.sqrt(200)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.06)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06)
    assert table.bootstrap([3.0]) == table.Interval(3.0, 3.0, 3.0)
    assert str(table.bootstrap([3.0])) == "3"
    assert "[" in str(found)


def test_published_rows_are_those_of_the_papers() -> None:
    rows = {(p.method, p.photos): p for p in PUBLISHED}
    assert rows["SinGAN", "Places-50"].sifid == 0.09
    assert rows["ConSinGAN", "LSUN-50"].msifid == 0.13
    assert rows["Fast-Stabilized", "Places-50"].minutes == 9.9
    assert len(rows) == 12


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos, and samples of both by two methods: one noise, one shifted copies."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, seed in (("1", 0), ("2", 1)):
        noise = torch.rand(3, 10, 12, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        pixels = torch.nn.functional.interpolate(noise[None], (40, 48), mode="bilinear")[0]
        photo = Photo(pixels, Channels(mode="RGB"))
        for method in ("noisy", "shifted"):
            (folder / method).mkdir(exist_ok=True)
        photo.save(folder / f"{name}.png")
        for k in range(3):
            grain = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(k))
            replace(photo, pixels=grain).save(folder / "noisy" / f"{name}_{k}.png")
            moved = replace(photo, pixels=pixels.roll(k, 2))
            moved.save(folder / "shifted" / f"{name}_{k}.png")
    return folder


def flags(pictures: Path, output: Path) -> str:
    return (
        f"bench {pictures}/1.png {pictures}/2.png --published noisy={pictures}/noisy "
        f"--published shifted={pictures}/shifted -o {output} --workers 2"
    )


def test_published_samples_are_compared_and_nothing_is_repeated(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    done = command(flags(pictures, tmp_path) + " --json")
    assert done.code == 0, done.err
    facts = json.loads(done.out.splitlines()[-1])
    by_method = {row["method"]: row for row in facts["rows"]}
    assert by_method["noisy"]["msifid"]["mean"] > by_method["shifted"]["msifid"]["mean"]
    assert by_method["shifted"]["copies"] > by_method["noisy"]["copies"] == 0
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert len(lines) == 4
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png") == 4
    assert "Meta Internal Learning" in page or "MIL" in page

    before = {path: path.stat().st_ino for path in tmp_path.rglob("result.json")}
    assert len(before) == 4
    again = command(flags(pictures, tmp_path))
    assert again.code == 0, again.err
    assert "shifted" in again.out
    assert {path: path.stat().st_ino for path in tmp_path.rglob("result.json")} == before
    other = command(flags(pictures, tmp_path) + " --jpeg 75")
    assert other.code == 0, other.err
    assert all(path.stat().st_ino != inode for path, inode in before.items())


def test_a_preset_is_trained_and_measured_and_a_bad_photo_does_not_stop_it(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    line = (
        f"bench {pictures}/1.png {tmp_path}/bad.png -o {tmp_path}/out --presets consingan "
        "--seeds 1 -n 4 --steps 2 --set pyramid.max_size=48 --set pyramid.levels=3 "
        "--set generator.width=4 --set critic.width.base=4 --workers 1"
    )
    done = command(line)
    assert done.code == 1
    assert "consingan/bad/seed-0" in done.err
    (found,) = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert found["levels"] == 3
    assert found["scores"][0]["samples"] == 4
    assert found["seconds"] > 0
    assert read_photo(tmp_path / "out" / "consingan" / "1" / "seed-0" / "sheet.png").size.width > 48


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-o OUT", "nothing to compare"),
        ("-o OUT --presets nonsense", "no preset 'nonsense'"),
        ("-o OUT --presets preview --seeds 0", "trains nothing"),
        ("-o OUT --presets preview -n 0", "cannot measure so"),
        ("-o OUT --presets preview --features nonsense", "nonsense|cannot measure so"),
        ("-o OUT --published paper", "names no folder"),
        ("-o OUT --presets preview --workers 0", "does no work"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    command: Command, pictures: Path, tmp_path: Path, line: str, words: str
) -> None:
    done = command(f"bench {pictures}/1.png {line}".replace("OUT", str(tmp_path / "out")))
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert any(word in done.err for word in words.split("|")), done.err


def test_a_missing_photo_is_said_before_anything_is_done(command: Command, tmp_path: Path) -> None:
    done = command(f"bench {tmp_path}/nope.png --presets preview -o {tmp_path}/out")
    assert done.code == 2
    assert "there is no file" in done.err
    assert not (tmp_path / "out").exists()
