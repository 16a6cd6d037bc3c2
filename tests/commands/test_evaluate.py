"""`evaluate` measures models, files and folders, and says what each number means."""

import io
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from measuring import LITE, OF_FILES, photo_of, some, texture, write
from singleimage.images.channels import Channels
from singleimage.images.photo import Photo
from singleimage.images.reader import read_photo
from singleimage.metrics import evaluation
from singleimage.metrics.evaluation import Evaluation, evaluate
from singleimage.metrics.features import INCEPTION_VARIABLE, Features, load_features
from singleimage.metrics.protocols import PROTOCOLS
from singleimage.metrics.samples import DrawnSamples
from singleimage.models.model import Model
from singleimage.multiscale.resample import resize
from tiny import Command, Outcome

pytestmark = pytest.mark.usefixtures("weights_kept")


def result(outcome: Outcome) -> dict[str, Any]:
    """What the command says under the name of the usual features."""
    assert outcome.code == 0, outcome.err
    (line,) = outcome.out.splitlines()
    (facts,) = json.loads(line, parse_constant=pytest.fail).items()
    assert facts[0] == LITE
    assert isinstance(facts[1], dict)
    return facts[1]


def test_a_model_is_measured_against_the_photo_inside_it(
    tiny_run: Path, command: Command, features: Features
) -> None:
    done = result(command(f"evaluate {tiny_run} -n 3 --seed 5 --json"))
    model = Model.load(tiny_run)
    photo = model.training_image()
    assert photo is not None
    assert done == evaluate(model.sample(range(5, 8)), photo, features).scores.flat()
    assert done["samples"] == 3
    file = tiny_run / "model.safetensors"
    assert done == result(command(f"evaluate {file} --count 3 --seed 5 --json"))
    assert done != result(command(f"evaluate {file} --count 3 --seed 6 --json"))


def test_a_model_draws_100_samples(
    tiny_runs: dict[str, Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[range] = []

    def short(samples: Iterable[Photo], photo: Photo, *_: Any, **__: Any) -> Evaluation:
        assert list(samples) == []
        return Evaluation(some(), (0.0,), (0.0,), torch.zeros(1, 1))

    def noted(samples: DrawnSamples) -> Iterator[Photo]:
        seen.append(samples.seeds)
        return iter(())

    monkeypatch.setattr(evaluation, "evaluate", short)
    monkeypatch.setattr(DrawnSamples, "__iter__", noted)
    assert command(f"evaluate {tiny_runs['singan']} --json").code == 0
    assert seen == [range(100)]


def test_a_photo_given_for_a_model_is_taken_at_the_size_of_the_model(
    tiny_runs: dict[str, Path], photo_file: Path, command: Command, features: Features
) -> None:
    run = tiny_runs["consingan"]
    model = Model.load(run)
    done = result(command(f"evaluate {run} --real {photo_file} -n 2 --json"))
    photo = read_photo(photo_file)
    assert photo.size != model.size
    photo = Photo(resize(photo.pixels[None], model.size)[0], photo.channels)
    assert done == evaluate(model.sample(range(2)), photo, features).scores.flat()
    inside = result(command(f"evaluate {run} -n 2 --json"))
    assert done["sifid_mean"] == pytest.approx(inside["sifid_mean"], rel=0.02)


def test_a_model_without_its_photo_asks_for_it(
    tiny_runs: dict[str, Path], photo_file: Path, command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "lean.safetensors"
    Model.load(tiny_runs["consingan"]).save(path, embed_image=False)
    done = command(f"evaluate {path} -n 2 --json")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {path} does not hold its photo; add --real IMAGE.\n"
    done = command(f"evaluate {path} -n 2 --json --real {photo_file}")
    line = f"evaluate {tiny_runs['consingan']} -n 2 --json --real {photo_file}"
    assert result(done) == result(command(line))


# Files -------------------------------------------------------------------------------------------


def test_files_and_folders_are_measured_alike(
    tmp_path: Path, command: Command, features: Features
) -> None:
    photo, files = write(tmp_path)
    expected = evaluate(map(read_photo, files), read_photo(photo), features).scores.flat()
    folder = tmp_path / "samples"
    names = " ".join(map(str, files))
    assert result(command(f"evaluate {folder} --real {photo} --json")) == expected
    assert result(command(f"evaluate {names} --real {photo} --json")) == expected
    Image.fromarray(texture(8)).save(folder / "sheet.png")
    Image.fromarray(texture(8)).save(folder / "1_mask.png")
    assert result(command(f"evaluate {folder} --real {photo} --json")) == expected
    twice = result(command(f"evaluate {folder} {files[0]} --real {photo} --json"))
    assert twice["samples"] == 4
    one = result(command(f"evaluate {files[0]} --real {photo} --json"))
    assert one["samples"] == 1
    assert one["sifid_mean"] == one["sifid_min"]
    shutil.copy(photo, folder)
    assert result(command(f"evaluate {folder} --real {folder}/{photo.name} --json")) == expected


def test_of_published_samples_those_of_the_photo_are_measured(
    tmp_path: Path, command: Command
) -> None:
    folder, own = tmp_path / "published", tmp_path / "own"
    folder.mkdir()
    own.mkdir()
    for i, name in enumerate(("7_0", "7_1", "7_2", "7_10", "17_0", "17_1", "70", "71_7")):
        Image.fromarray(texture(i + 1)).save(folder / f"{name}.png")
    for i in (0, 1, 2, 3):
        shutil.copy(folder / f"7_{(0, 1, 2, 10)[i]}.png", own / f"{i}.png")
    for name in ("7.png", "other.png"):
        Image.fromarray(texture(0)).save(tmp_path / name)
    found = result(command(f"evaluate {folder} --real {tmp_path / '7.png'} --json"))
    assert found == result(command(f"evaluate {own} --real {tmp_path / 'other.png'} --json"))
    assert found["samples"] == 4
    report = tmp_path / "page.html"
    done = command(f"evaluate {folder} --real {tmp_path / '7.png'} --report {report}")
    assert done.code == 0
    assert set(re.findall(r"\((\S+\.png)\): SIFID", report.read_text())) <= {
        f"7_{i}.png" for i in (0, 1, 2, 10)
    }


def gray(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return values[..., :1].repeat(3, axis=2)


def seen_through(values: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    share = alpha[..., None] / 255.0
    mixed: NDArray[np.uint8] = np.round(values * share + 128 * (1 - share)).astype(np.uint8)
    return mixed


def alpha_of(height: int, width: int) -> NDArray[np.uint8]:
    ramp = np.linspace(0, 255, width).round().astype(np.uint8)
    return np.broadcast_to(ramp, (height, width)).copy()


KINDS: dict[str, tuple[str, Callable[[Path, NDArray[np.uint8]], Any], Callable[..., Any]]] = {
    "gray": ("png", lambda path, v: Image.fromarray(v[..., 0]).save(path), gray),
    "alpha": (
        "png",
        lambda path, v: Image.fromarray(
            np.concatenate([v, alpha_of(*v.shape[:2])[..., None]], axis=2)
        ).save(path),
        lambda v: seen_through(v, alpha_of(*v.shape[:2])),
    ),
    "16 bits of gray": (
        "png",
        lambda path, v: Image.fromarray(v[..., 0].astype(np.uint16) * 257).save(path),
        gray,
    ),
    "16 bits of color": (
        "tiff",
        lambda path, v: Photo(photo_of(v).pixels, Channels(mode="RGB", bits=16)).save(path),
        lambda v: v,
    ),
    "palette": ("gif", lambda path, v: Image.fromarray(v[..., 0]).save(path), gray),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_all_kinds_are_measured_as_their_colors_of_8_bits(
    kind: str, tmp_path: Path, command: Command
) -> None:
    suffix, save, shown = KINDS[kind]
    for i in range(3):
        save(tmp_path / f"{i}.{suffix}", texture(i))
        Image.fromarray(shown(texture(i))).save(tmp_path / f"rgb{i}.png")

    def line(names: str) -> dict[str, Any]:
        photo, *files = (str(tmp_path / name) for name in names.split())
        return result(command(f"evaluate {' '.join(files)} --real {photo} --json"))

    first = line(f"0.{suffix} 1.{suffix} 2.{suffix}")
    second = line("rgb0.png rgb1.png rgb2.png")
    tolerance = 5e-2 if kind == "alpha" else 1e-9  # alpha is rounded in another way
    for metric in OF_FILES:
        name = metric.name
        assert first[name] == pytest.approx(second[name], rel=tolerance, abs=1e-7), name


def test_a_jpeg_and_its_pixels_saved_as_png_give_the_same_numbers(
    tmp_path: Path, command: Command
) -> None:
    photo, files = write(tmp_path, count=2)
    lossy, again = tmp_path / "lossy", tmp_path / "again"
    for folder in (lossy, again):
        folder.mkdir()
    for file in files:
        jpeg = lossy / f"{file.stem}.jpg"
        with Image.open(file) as picture:
            picture.save(jpeg, quality=80)
        with Image.open(jpeg) as picture:
            picture.save(again / f"{file.stem}.png")
    first = result(command(f"evaluate {lossy} --real {photo} --json"))
    assert first == result(command(f"evaluate {again} --real {photo} --json"))
    assert first["files"] == "lossless"
    assert first != result(command(f"evaluate {tmp_path / 'samples'} --real {photo} --json"))


def test_jpeg_passes_all_pictures_through_files_of_that_quality(
    tmp_path: Path, command: Command
) -> None:
    photo, files = write(tmp_path)
    there = tmp_path / "there"
    there.mkdir()
    for file in (photo, *files):
        stream = io.BytesIO()
        with Image.open(file) as picture:
            picture.save(stream, "JPEG", quality=75)
        with Image.open(stream) as picture:
            picture.save(there / file.name)
    names = " ".join(str(there / file.name) for file in files)
    folder = tmp_path / "samples"
    found = result(command(f"evaluate {folder} --real {photo} --jpeg 75 --json"))
    expected = result(command(f"evaluate {names} --real {there / 'real.png'} --json"))
    assert found["files"] == "jpeg-75"
    assert expected["files"] == "lossless"
    assert found == expected | {"files": "jpeg-75"}
    other = result(command(f"evaluate {folder} --real {photo} --jpeg 100 --json"))
    assert other["files"] == "jpeg-100"
    assert other["sifid_mean"] != found["sifid_mean"]


def test_a_protocol_is_the_count_and_the_files_of_its_paper(
    tmp_path: Path, command: Command
) -> None:
    photo, _ = write(tmp_path)
    line = f"evaluate {tmp_path / 'samples'} --real {photo}"
    found = result(command(f"{line} --protocol meta --features efficientnet-lite0 --json"))
    assert found["protocol"] == "meta"
    plain = result(command(f"{line} --jpeg 75 --json"))
    assert found == plain | {"protocol": "meta"}  # of fewer than a hundred samples SIFID is of all
    told = command(f"{line} --protocol meta --features efficientnet-lite0").out
    assert "protocol meta: it reports sifid_min, sifid_mean, diversity_pooled." in told
    assert "It takes 150 samples; these are 3." in told


@pytest.mark.usefixtures("quick_flow")
def test_a_protocol_draws_as_many_samples_as_its_paper(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = msgspec.structs.replace(PROTOCOLS["meta"], samples=3)
    monkeypatch.setitem(PROTOCOLS, "meta", few)  # type: ignore[arg-type]
    photo, _ = write(tmp_path)
    line = f"evaluate {photo} --protocol meta --features efficientnet-lite0 --json"
    assert result(command(line))["samples"] == 3


# Features, output, errors ------------------------------------------------------------------------


def inception_state() -> dict[str, Tensor]:
    """Random weights with the names of torchvision's, to the first max-pool."""
    shapes = {"1a": (32, 3, 3, 3), "2a": (32, 32, 3, 3), "2b": (64, 32, 3, 3)}
    state: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for part, shape in shapes.items():
        name = f"Conv2d_{part}_3x3"
        state[f"{name}.conv.weight"] = torch.randn(shape, generator=generator) * 0.1
        for key in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.bn.{key}"] = torch.rand(shape[0], generator=generator) + 0.1
    return state


def test_several_features_measure_one_after_the_other(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, _ = write(tmp_path)
    weights = tmp_path / "inception.pth"
    torch.save(inception_state(), weights)
    monkeypatch.setenv(INCEPTION_VARIABLE, str(weights))
    line = f"evaluate {tmp_path / 'samples'} --real {photo} --json"
    names = "--features inception-64 --features efficientnet-lite0 --features inception-64"
    done = json.loads(command(f"{line} {names}").out)
    inception = load_features("inception-64").name
    assert list(done) == [inception, LITE]
    assert done[LITE] == result(command(line))
    assert all(name == done[name]["features"] for name in done)
    assert done[inception]["sifid_mean"] != done[LITE]["sifid_mean"]
    for name in ("diversity_intensity", "diversity_pooled", "copy_continuing"):
        assert done[inception][name] == done[LITE][name]
    monkeypatch.delenv(INCEPTION_VARIABLE)
    given = command(f"{line} --features inception-64 --weights {weights}")
    assert json.loads(given.out) == {inception: done[inception]}


def test_without_json_a_table_says_what_each_number_means(tmp_path: Path, command: Command) -> None:
    photo, _ = write(tmp_path)
    line = f"evaluate {tmp_path / 'samples'} --real {photo} --jpeg 90"
    scores = result(command(f"{line} --json"))
    outcome = command(line)
    assert outcome.code == 0
    assert outcome.err == ""
    first, *rows = outcome.out.splitlines()
    assert first == f"3 samples, features {LITE}, jpeg-90 pictures"
    assert [row.split()[0] for row in rows if row.strip()] == [m.name for m in OF_FILES]
    text = " ".join(outcome.out.split())
    for metric in OF_FILES:
        assert f"{metric.name} {scores[metric.name]:.4g} {metric.meaning}" in text


def test_a_report_replaces_no_file_unless_told(tmp_path: Path, command: Command) -> None:
    photo, files = write(tmp_path, count=1)
    report = tmp_path / "page.html"
    report.write_text("precious")
    line = f"evaluate {files[0]} --real {photo} --report {report}"
    done = command(line)
    assert done.code == 2
    assert f"{report} exists and would be replaced" in done.err
    assert report.read_text() == "precious"
    assert command(f"{line} --overwrite").code == 0
    assert "copy_continuing" in report.read_text()
    done = command(f"evaluate {files[0]} --real {photo} --report {tmp_path / 'no' / 'page.html'}")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "real.png", "samples"]


ERRORS = {
    "{samples}": "no photo to measure against; add --real IMAGE.",
    "{samples} --real {folder}/none.png": "none.png",
    "{folder}/none.png --real {real}": "none.png",
    "{folder}/none --real {real}": "none",
    "{folder}/none.safetensors": "none.safetensors does not exist",
    "{folder}/empty --real {real}": "empty holds no pictures",
    "{folder}/only --real {folder}/only/real.png": "only holds no picture but the photo",
    "{folder}/notes.txt --real {real}": "notes.txt",
    "{samples} --real {real} --jpeg 0": "--jpeg 0 is no quality; use 1 to 100.",
    "{samples} --real {real} --jpeg 101": "--jpeg 101 is no quality; use 1 to 100.",
    "{samples} --real {real} --jpeg -5": "--jpeg -5 is no quality",
    "{samples} --real {real} --jpeg 7.5": "7.5 is not a whole number",
    "{samples} --real {real} --jpeg": "--jpeg",
    "{samples} --real {real} --protocol meta --jpeg 75": "--protocol meta says how much is "
    "measured; drop --jpeg.",
    "{run} --protocol singan -n 5": "--protocol singan says how much is measured; drop --count.",
    "{run} --protocol fid": "fid",
    "{samples} --real {real} --features vgg": "no features 'vgg'; there are efficientnet",
    "{samples} --real {real} --weights {real}": "real.png holds no weights",
    "{samples} --real {real} --weights {folder}/none.pth": "No such file",
    "{samples} --real {folder}/flat.png": "same intensity everywhere",
    "{samples} --real {folder}/small.png": "10x12 is too small",
    "{folder}/small.png --real {real}": "10x12 is too small",
    "{samples} --real {real} --device gpu": "gpu",
    "{run} -n 0": "cannot measure 0 samples; ask for 1 or more.",
    "{run} -n 1.5": "1.5 is not a whole number",
    "{run} {run}": "measure one model at a time",
    "{run} {real}": "measure one model at a time",
    "": "See: singleimage evaluate --help",
}
"""What is wrong, and what the line says of it."""


def test_errors_are_one_line_and_code_2(
    tmp_path: Path, command: Command, tiny_runs: dict[str, Path]
) -> None:
    photo, _ = write(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "only").mkdir()
    shutil.copy(photo, tmp_path / "only")
    (tmp_path / "notes.txt").write_text("no picture")
    Image.new("RGB", (40, 40), (9, 99, 199)).save(tmp_path / "flat.png")
    Image.fromarray(texture(0, 10, 12)).save(tmp_path / "small.png")
    places = {"folder": tmp_path, "samples": tmp_path / "samples", "real": photo}
    for words, message in ERRORS.items():
        done = command(f"evaluate {words.format(**places, run=tiny_runs['singan'])} --json")
        assert (done.code, done.out) == (2, ""), words
        assert done.err.startswith("error: "), words
        assert done.err.count("\n") == 1, words
        assert message in done.err, words


def test_a_stop_tells_the_numbers_so_far(
    tiny_run: Path, command: Command, monkeypatch: pytest.MonkeyPatch, features: Features
) -> None:
    original = Model.sample

    def interrupted(model: Model, seeds: Sequence[int], **how: Any) -> Iterator[Photo]:
        for index, picture in enumerate(original(model, seeds, **how)):
            if index == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield picture

    monkeypatch.setattr(Model, "sample", interrupted)
    done = command(f"evaluate {tiny_run} -n 50 --json")
    assert done.code == 128 + signal.SIGINT
    assert "stopped; these are the numbers of 3 of 50 samples." in done.err
    last = command(f"evaluate {tiny_run} -n 3 --json")
    assert (last.code, last.err) == (0, "stopping after this sample ...\n")  # all were measured
    monkeypatch.undo()
    assert result(replace(done, code=0)) == result(last)
    assert result(last) == result(command(f"evaluate {tiny_run} -n 3 --json"))
