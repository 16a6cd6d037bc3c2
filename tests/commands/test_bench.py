"""`bench` compares methods, goes on where it was, and says in one line what it cannot compare."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from singleimage import PRESETS, Photo, read_photo
from singleimage.bench import report
from singleimage.bench.plan import PROOF
from singleimage.images.channels import Channels
from singleimage.jobs.job import read_result
from singleimage.metrics.evaluation import evaluate
from singleimage.metrics.features import load_features
from singleimage.metrics.samples import DrawnSamples
from singleimage.models.hypermodel import HyperModel
from small_jobs import Inline
from tiny import Command, Outcome, album_recipe

pytestmark = pytest.mark.usefixtures("weights_kept")


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Jobs are done in this process."""
    monkeypatch.setattr("singleimage.jobs.local.LocalPool", Inline)


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
        f"--published shifted={pictures}/shifted -o {output} --workers 2 --device cpu:1"
    )


def compared(command: Command, pictures: Path, out: Path) -> None:
    """Compares the published samples, twice, and then otherwise."""
    done = command(flags(pictures, out) + " --json")
    assert done.code == 0, done.err
    facts = json.loads(done.out.splitlines()[-1])
    by_method = {row["method"]: row for row in facts["rows"]}
    assert by_method["noisy"]["msifid"]["mean"] > by_method["shifted"]["msifid"]["mean"]
    assert by_method["shifted"]["copies"] > by_method["noisy"]["copies"] == 0
    lines = (out / "results.jsonl").read_text().splitlines()
    assert len(lines) == 4
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 4
    assert "Meta Internal Learning" in page or "MIL" in page

    before = {path: path.stat().st_ino for path in out.rglob("result.json")}
    assert len(before) == 4
    again = command(flags(pictures, out))
    assert again.code == 0, again.err
    assert "shifted" in again.out
    assert {path: path.stat().st_ino for path in out.rglob("result.json")} == before
    other = command(flags(pictures, out) + " --jpeg 75")
    assert other.code == 0, other.err
    assert all(path.stat().st_ino != inode for path, inode in before.items())


def test_published_samples_are_compared_and_nothing_is_repeated(
    command: Command, pictures: Path, tmp_path: Path, inline: None
) -> None:
    compared(command, pictures, tmp_path)


@pytest.mark.slow
def test_each_table_says_how_its_own_pictures_were_treated(
    command: Command, pictures: Path, tmp_path: Path, inline: None
) -> None:
    """Where a folder has results in other features, by a protocol, too."""
    line = f"bench {pictures}/1.png --published noisy={pictures}/noisy -o {tmp_path} --workers 1"
    assert command(line).code == 0
    (result,) = map(read_result, (tmp_path / "results.jsonl").read_bytes().splitlines())
    scores = msgspec.structs.replace(
        result.scores[0], features="other/layer/abc", files="jpeg-75", protocol="singan"
    )
    other = msgspec.structs.replace(result, name="of before", scores=(scores,))
    (tmp_path / "results.jsonl").write_bytes(msgspec.json.encode(other))
    done = command(line)
    assert done.code == 0, done.err
    told = [text for text in done.out.splitlines() if text.startswith("features ")]
    assert told == [
        "features other/layer/abc, jpeg-75 pictures, protocol singan; [95 % interval over photos]",
        f"features {result.scores[0].features}, lossless pictures; [95 % interval over photos]",
    ]


def test_results_of_other_settings_have_a_table_of_their_own_or_are_left_out(
    command: Command, pictures: Path, tmp_path: Path, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row averages over two settings, and nothing is done in vain."""
    monkeypatch.setattr(report, "write_comparison", lambda *parts: PROOF.decode())  # in no time

    def told(line: str) -> tuple[list[tuple[str, str, int]], str]:
        done = command(f"bench {line} -o {tmp_path} --workers 1 --device cpu:1 --json")
        assert done.code == 0, done.err
        rows = json.loads(done.out.splitlines()[-1])["rows"]
        return [(row["method"], row["files"], row["photos"]) for row in rows], done.err

    noisy, shifted = (f"--published {name}={pictures}/{name}" for name in ("noisy", "shifted"))
    told(f"{pictures}/1.png {noisy}")
    rows, words = told(f"{pictures}/2.png {shifted} --jpeg 75")
    assert rows == [("noisy", "lossless", 1), ("shifted", "jpeg-75", 1)]
    assert "left out" not in words
    rows, words = told(f"{pictures}/2.png {noisy} --jpeg 75")
    assert rows == [("shifted", "jpeg-75", 1), ("noisy", "jpeg-75", 1)]
    assert "note: earlier results of noisy (1), by another recipe or measured otherwise" in words


@pytest.mark.slow
def test_several_processes_compare_published_samples(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    compared(command, pictures, tmp_path)


def trained(command: Command, photos: str, out: Path) -> tuple[Outcome, dict[str, Any]]:
    """Trains a preset on photos of which one is good; gives the facts of that one."""
    done = command(
        f"bench {photos} -o {out} --presets consingan --seeds 1 -n 4 --steps 2 "
        "--set pyramid.max_size=48 --set pyramid.levels=3 --set generator.width=4 "
        "--set critic.width.base=4 --workers 1 --device cpu:1"
    )
    (found,) = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    assert found["levels"] == 3
    assert found["scores"][0]["samples"] == 4
    assert found["seconds"] > 0
    assert read_photo(out / "consingan" / "1" / "seed-0" / "sheet.png").size.width > 48
    return done, found


def test_a_preset_is_trained_and_measured_and_a_bad_photo_does_not_stop_it(
    command: Command, pictures: Path, tmp_path: Path, inline: None
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    done, _ = trained(command, f"{tmp_path}/bad.png {pictures}/1.png", tmp_path / "out")
    assert done.code == 1
    assert "consingan/bad/seed-0" in done.err
    assert "bad.png is not an image" in done.err


@pytest.mark.slow
def test_photos_are_learned_in_sets_and_measured_one_by_one(
    command: Command, pictures: Path, tmp_path: Path, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "meta-small", album_recipe())
    line = f"bench {pictures}/1.png {pictures}/2.png -o {tmp_path} --presets meta-small "
    line += "--sets 1,2 --seeds 1 -n 2 --workers 1 --device cpu:1 --json"
    done = command(line)
    assert done.code == 0, done.err
    rows = {row["method"]: row for row in json.loads(done.out.splitlines()[-1])["rows"]}
    assert set(rows) == {"meta-small, sets of 1", "meta-small, sets of 2"}
    found = [json.loads(text) for text in (tmp_path / "results.jsonl").read_text().splitlines()]
    (pair,) = [result for result in found if "sets of 2" in result["method"]]
    assert pair["photo"] in ("1.png and 1 more", "2.png and 1 more")
    hyper = HyperModel.load(tmp_path / pair["name"])
    features = load_features("efficientnet-lite0")
    each = []
    for name in ("1", "2"):
        model = hyper.model(read_photo(pictures / f"{name}.png"))
        real = model.training_image()
        assert real is not None
        each.append(evaluate(DrawnSamples(model, range(2)), real, features).scores)
    expected = sum(scores.numbers["sifid_mean"] for scores in each) / 2
    assert pair["scores"][0]["numbers"]["sifid_mean"] == pytest.approx(expected)
    assert 0 <= rows["meta-small, sets of 2"]["leaked"]["mean"] <= 1
    assert "leaked" not in rows["meta-small, sets of 1"]
    assert {(row["photos"], row["results"]) for row in rows.values()} == {(2, 2)}
    shared = rows["meta-small, sets of 2"]["minutes"]["mean"]
    assert shared == pytest.approx(pair["seconds"] / 60 / 2)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("result.json")}
    assert command(line).code == 0
    assert {path: path.stat().st_ino for path in tmp_path.rglob("result.json")} == before


@pytest.mark.slow
def test_another_process_trains_and_measures_the_same(
    command: Command, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    photos = f"{pictures}/1.png {tmp_path}/bad.png"
    done, there = trained(command, photos, tmp_path / "there")
    assert done.code == 1
    assert "consingan/bad/seed-0" in done.err
    monkeypatch.setattr("singleimage.jobs.local.LocalPool", Inline)
    _, here = trained(command, photos, tmp_path / "here")
    assert {**there, "seconds": 0} == {**here, "seconds": 0}


def test_what_cannot_be_compared_is_said_in_one_line(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    for line, words in {
        "": "nothing to compare",
        "--presets nonsense": "no preset 'nonsense'",
        "--presets preview --seeds 0": "trains nothing",
        "--presets preview -n 0": "cannot measure so",
        "--presets preview --features nonsense": "cannot measure so",
        "--published paper": "names no folder",
        f"--published singan={pictures}/noisy": "singan would name a preset",
        f"--published SinGAN={pictures}/noisy": "SinGAN would name a preset",
        f"--published a={pictures}/noisy --published A={pictures}": "A would name two folders",
        "--presets preview --sets 2": "preview learns one photo at a time",
        "--presets meta-small --sets 1,x": "--sets 1,x are no numbers of photos",
        f"--published a={pictures}/noisy --sets 1": "--sets are of presets",
        "--presets meta-small --sets 2": "1 photos do not fill a set of 2",
        "--presets preview --protocol meta -n 3": "drop --count",
        "--presets preview --workers 0": "does no work",
    }.items():
        done = command(f"bench {pictures}/1.png -o {tmp_path}/out {line}")
        assert done.code == 2, line
        assert len(done.err.strip().splitlines()) == 1, line
        assert words in done.err, done.err
    assert not (tmp_path / "out").exists()


def test_a_missing_photo_is_said_before_anything_is_done(command: Command, tmp_path: Path) -> None:
    done = command(f"bench {tmp_path}/nope.png --presets preview -o {tmp_path}/out")
    assert done.code == 2
    assert "there is no file" in done.err
    assert not (tmp_path / "out").exists()
