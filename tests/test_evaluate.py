"""Measuring samples: by the command, of models, files and folders; and in few pictures' memory."""

import io
import json
import random
import re
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from singleimage.bench.report import write_report
from singleimage.errors import ArgumentError, ImageError, Incomparable, OutputError
from singleimage.generators.base import Generator
from singleimage.images.folder import pictures_in
from singleimage.images.photo import Channels, Photo, read_photo
from singleimage.metrics import evaluation
from singleimage.metrics.evaluation import Evaluation, Scores, average, evaluate
from singleimage.metrics.features import INCEPTION_VARIABLE, Features, load_features
from singleimage.metrics.samples import DrawnSamples, SampleFiles, samples_of
from singleimage.metrics.sifid import fit, frechet
from singleimage.metrics.table import METRICS
from singleimage.models import model as models
from singleimage.models.model import Model
from singleimage.multiscale.resample import resize
from tiny import Command, Outcome

LITE = "efficientnet-lite0/block-1-expansion/57934424"
HEIGHT, WIDTH = 48, 60


def texture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Colored waves with some grain, (H, W, 3)."""
    numbers = np.random.default_rng(seed)
    y, x = np.indices((height, width))
    values = numbers.normal(0, 10, (height, width, 3))
    for _ in range(12):
        slope, phase = numbers.normal(0, 0.3, 2), numbers.uniform(0, 6.3)
        wave = np.sin(slope[0] * y + slope[1] * x + phase)
        values += wave[..., None] * numbers.normal(0, 20, 3)
    rounded: NDArray[np.uint8] = (values + 128).clip(0, 255).astype(np.uint8)
    return rounded


def photo_of(values: NDArray[np.uint8]) -> Photo:
    pixels = torch.from_numpy(values.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
    return Photo(pixels, Channels(mode="RGB"))


@pytest.fixture(scope="module")
def features() -> Features:
    return load_features("efficientnet-lite0")


@pytest.fixture(scope="module")
def real() -> Photo:
    return photo_of(texture(0))


@pytest.fixture(scope="module")
def samples() -> list[Photo]:
    return [photo_of(texture(seed)) for seed in range(1, 12)]


def write(folder: Path, *, count: int = 3) -> tuple[Path, list[Path]]:
    """A photo and samples of it, as files."""
    (folder / "samples").mkdir()
    files = [folder / "samples" / f"{i}.png" for i in range(count)]
    for i, file in enumerate(files):
        Image.fromarray(texture(i + 1)).save(file)
    Image.fromarray(texture(0)).save(folder / "real.png")
    return folder / "real.png", files


def result(outcome: Outcome) -> dict[str, Any]:
    """What the command says under the name of the usual features."""
    assert outcome.code == 0, outcome.err
    (line,) = outcome.out.splitlines()
    (facts,) = json.loads(line, parse_constant=pytest.fail).items()
    assert facts[0] == LITE
    assert isinstance(facts[1], dict)
    return facts[1]


def facts(scores: Scores) -> dict[str, Any]:
    return scores.flat()


# What is measured --------------------------------------------------------------------------------


def test_each_number_is_what_its_name_says(
    features: Features, real: Photo, samples: list[Photo]
) -> None:
    found = evaluate(samples, real, features)
    scores = found.scores
    (target,) = fit(features(real.colors()[None]), "a")
    each = [frechet(target, fit(features(s.colors()[None]), "a")[0]) for s in samples]
    assert found.sifid == pytest.approx(each, rel=1e-5)
    assert scores.numbers["sifid_mean"] == pytest.approx(np.mean(each), rel=1e-5)
    assert scores.numbers["sifid_min"] == pytest.approx(min(each), rel=1e-5)
    values = torch.stack([s.pixels for s in samples]).double().numpy()
    gray = real.pixels.double().numpy().mean(axis=0)
    deviation = values.mean(axis=1).std(axis=0)
    assert scores.numbers["diversity_intensity"] == pytest.approx(
        deviation.mean() / gray.std(), rel=1e-6
    )
    assert np.abs(found.deviation.numpy() - deviation).max() < 1e-6
    pooled = values.reshape(-1, HEIGHT, WIDTH).std(axis=0).mean() / real.pixels.numpy().std()
    assert scores.numbers["diversity_pooled"] == pytest.approx(pooled, rel=1e-5)
    assert scores.numbers["copy_continuing"] == pytest.approx(np.mean(found.continuing))
    assert (scores.features, scores.files, scores.samples) == (LITE, "lossless", 11)
    assert scores.numbers["copies"] == 0


def test_copies_are_known_by_every_number(features: Features, real: Photo) -> None:
    scores = evaluate([real] * 9, real, features).scores
    assert scores.numbers["sifid_min"] <= scores.numbers["sifid_mean"] < 1e-6
    assert scores.numbers["diversity_intensity"] < 1e-7
    assert scores.numbers["diversity_features"] < 1e-6
    assert scores.numbers["diversity_pooled"] == pytest.approx(
        scores.numbers["diversity_pooled_floor"], rel=1e-9
    )
    assert scores.numbers["copy_continuing"] > 0.99
    assert scores.numbers["copy_compression"] < 0.2
    assert scores.numbers["copies"] == scores.samples == 9


def test_a_single_sample_can_be_measured(features: Features, real: Photo) -> None:
    scores = evaluate([photo_of(texture(1))], real, features).scores
    assert scores.numbers["sifid_mean"] == scores.numbers["sifid_min"] > 0
    assert scores.numbers["diversity_intensity"] < 1e-7
    assert scores.numbers["diversity_features"] == 0


def numbers(scores: Scores) -> dict[str, float]:
    return dict(scores.numbers)


def test_the_order_of_samples_does_not_matter(
    features: Features, real: Photo, samples: list[Photo]
) -> None:
    first = numbers(evaluate(samples, real, features).scores)
    mixed = random.Random(0).sample(samples, k=len(samples))
    assert mixed != samples
    assert numbers(evaluate(mixed, real, features).scores) == pytest.approx(first, abs=1e-9)


@pytest.mark.parametrize("batch", [1, 3])
def test_numbers_do_not_depend_on_batches(
    batch: int,
    features: Features,
    real: Photo,
    samples: list[Photo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = numbers(evaluate(samples, real, features).scores)
    monkeypatch.setattr(evaluation, "BATCH", batch)
    second = numbers(evaluate(samples, real, features).scores)
    for name, value in first.items():
        deep = name.startswith("sifid") or name == "diversity_features"
        assert second[name] == pytest.approx(value, rel=1e-4 if deep else 1e-12), name


def test_samples_of_other_sizes_are_resized_for_the_diversities_alone(
    features: Features, real: Photo
) -> None:
    """Also where sizes alternate, which no batch can hold."""
    sizes = [(HEIGHT, WIDTH), (70, 90), (HEIGHT, WIDTH), (30, 41), (30, 41)]
    mixed = [photo_of(texture(i + 1, *size)) for i, size in enumerate(sizes)]
    found = evaluate(mixed, real, features)
    alone = [evaluate([sample], real, features) for sample in mixed]
    assert found.sifid == pytest.approx([one.sifid[0] for one in alone], rel=1e-5)
    assert found.continuing == tuple(one.continuing[0] for one in alone)
    same = [Photo(resize(s.pixels[None], real.size)[0], s.channels) for s in mixed]
    there = evaluate(same, real, features).scores
    for name in ("diversity_intensity", "diversity_pooled", "diversity_features"):
        assert found.scores.numbers[name] == pytest.approx(there.numbers[name], rel=2e-2)
    assert tuple(found.deviation.shape) == (HEIGHT, WIDTH)


def test_the_best_the_median_and_the_worst_are_found() -> None:
    blank = some()
    deviation = torch.zeros(2, 2)
    five = Evaluation(blank, (3.0, 1.0, 5.0, 2.0, 4.0), (0.0,) * 5, deviation)
    assert five.ranked() == (1, 0, 2)
    assert Evaluation(blank, (3.0, 1.0), (0.0,) * 2, deviation).ranked() == (1, 1, 0)
    assert Evaluation(blank, (3.0,), (0.0,), deviation).ranked() == (0, 0, 0)


def test_no_sample_is_an_error(features: Features, real: Photo) -> None:
    with pytest.raises(ArgumentError, match="there is no sample"):
        evaluate([], real, features)


@pytest.mark.parametrize("color", [(128, 128, 128), (255, 0, 10)])
def test_a_photo_of_one_intensity_is_an_error_and_no_infinity(
    color: tuple[int, int, int], features: Features, samples: list[Photo]
) -> None:
    flat = np.full((HEIGHT, WIDTH, 3), color, dtype=np.uint8)
    with pytest.raises(ImageError, match="same intensity everywhere"):
        evaluate(samples, photo_of(flat), features)
    flat[::2] = flat[::2, :, ::-1]  # other colors, but no other intensity
    with pytest.raises(ImageError, match="same intensity everywhere"):
        evaluate(samples, photo_of(flat), features)
    flat[0, 0] += np.array([0, 1, 0], dtype=np.uint8)
    assert np.isfinite(
        list(numbers(evaluate(samples, photo_of(flat), features).scores).values())
    ).all()


# What compares -----------------------------------------------------------------------------------


def some(features: str = "a", files: str = "lossless", value: float = 1.0) -> Scores:
    numbers = {metric.name: value for metric in METRICS}
    return Scores(features=features, files=files, samples=2, numbers=numbers)


def test_averages_are_over_photos() -> None:
    found = average([some(value=1), some(value=2), some(value=6)])
    assert found == {metric.name: 3.0 for metric in METRICS}


def test_numbers_that_only_some_results_have_are_left_out() -> None:
    fewer = Scores(features="a", files="lossless", samples=2, numbers={"sifid_mean": 3.0})
    assert average([some(value=1), fewer]) == {"sifid_mean": 2.0}


def test_scores_of_earlier_versions_are_read() -> None:
    flat = some(value=0.5).flat()
    assert Scores.from_flat(flat) == some(value=0.5)
    assert Scores.from_flat({**flat, "of_tomorrow": 1.0}).numbers["of_tomorrow"] == 1.0


@pytest.mark.parametrize(
    "other", [some(features="b"), some(files="jpeg-75"), some(features="b", files="jpeg-75")]
)
def test_what_was_measured_differently_is_not_averaged(other: Scores) -> None:
    with pytest.raises(Incomparable) as caught:
        average([some(), some(), other])
    text = str(caught.value)
    assert "a with files lossless" in text
    assert f"{other.features} with files {other.files}" in text
    evaluation.require_comparable([other, other])
    evaluation.require_comparable([])


def test_two_qualities_of_jpeg_do_not_compare() -> None:
    with pytest.raises(Incomparable, match="jpeg-75"):
        evaluation.require_comparable([some(files="jpeg-75"), some(files="jpeg-80")])


# Memory ------------------------------------------------------------------------------------------


ALIVE: weakref.WeakSet[object] = weakref.WeakSet()


class Watched(Photo):
    """Is noted while it is alive, and so is what is measured of it."""

    def colors(self, *, jpeg: int | None = None) -> Tensor:
        made = super().colors(jpeg=jpeg)
        ALIVE.update((self, made))
        return made


def test_samples_are_forgotten_once_they_are_measured(features: Features, real: Photo) -> None:
    most = 0

    def drawn() -> Iterator[Photo]:
        nonlocal most
        for seed in range(60):
            yield Watched(photo_of(texture(seed, 24, 32)).pixels, real.channels)
            most = max(most, len(ALIVE))

    found = evaluate(drawn(), photo_of(texture(0, 24, 32)), features)
    assert found.scores.samples == 60
    assert evaluation.BATCH <= most <= 2 * evaluation.BATCH + 2
    assert len(ALIVE) == 0


def test_features_are_forgotten_too(features: Features) -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    counts = []

    class Noted:
        name = features.name

        def __call__(self, images: Tensor) -> Tensor:
            counts.append(len(alive))
            maps = features(images)
            alive.add(maps)
            return maps

    pictures = [photo_of(texture(seed, 24, 32)) for seed in range(60)]
    evaluate(pictures, pictures[0], Noted())
    assert len(counts) == 1 + 8
    assert max(counts) <= 1


def test_a_model_draws_samples_one_by_one(
    tiny_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(tiny_runs["consingan"])
    drawn: list[int] = []
    original = models.sample

    def noted(generator: Generator, seeds: Sequence[int], **options: Any) -> torch.Tensor:
        drawn.extend(seeds)
        return original(generator, seeds, **options)

    monkeypatch.setattr(models, "sample", noted)
    samples = DrawnSamples(model, range(3, 43))
    pictures = iter(samples)
    first = next(pictures)
    assert drawn == [3]
    assert 1 + sum(1 for _ in pictures) == len(samples) == 40
    assert drawn == list(range(3, 43))
    assert torch.equal(samples[0].pixels, first.pixels)
    assert (drawn[-1], samples.name_of(0), samples.name_of(39)) == (3, "seed 3", "seed 42")


# Folders of files --------------------------------------------------------------------------------


def touch(folder: Path, names: str) -> None:
    for name in names.split():
        (folder / name).touch()


def test_pictures_of_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "10.png 2.png 1.PNG a10b2.jpg a9b11.jpg a9b2.jpeg b.webp c.tif c.tiff d.bmp")
    touch(
        tmp_path, "e.gif f.ppm .hidden.png sheet.png 2_mask.png 2_mask2.png notes.txt model 3.npy"
    )
    (tmp_path / "folder.png").mkdir()
    found = [path.name for path in pictures_in(tmp_path)]
    assert found == [
        *("1.PNG", "2.png", "10.png", "a9b2.jpeg", "a9b11.jpg", "a10b2.jpg"),
        *("b.webp", "c.tif", "c.tiff", "d.bmp", "e.gif", "f.ppm"),
    ]


def test_a_folder_without_pictures_or_none_at_all_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "sheet.png notes.txt")
    with pytest.raises(ImageError, match="holds no pictures"):
        pictures_in(tmp_path)
    for path in (tmp_path / "none", tmp_path / "notes.txt"):
        with pytest.raises(ImageError, match="there is no folder"):
            pictures_in(path)


def test_published_samples_are_those_of_the_photo(tmp_path: Path) -> None:
    touch(tmp_path, "1_0.png 1_10.png 1_2.png 11_0.png 1.png 21.png 1_a.png 1_2_3.png 10.jpg")
    names = {stem: [p.name for p in samples_of(Path(f"{stem}.jpg"), tmp_path)] for stem in "12"}
    assert names == {"1": ["1.png", "1_0.png", "1_2.png", "1_10.png"], "2": []}
    assert [p.name for p in samples_of(tmp_path / "x" / "10.png", tmp_path)] == ["10.jpg"]
    touch(tmp_path, "a.b_1.png axb_2.png")
    assert [p.name for p in samples_of(Path("a.b.jpg"), tmp_path)] == ["a.b_1.png"]


def test_files_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    _, files = write(tmp_path)
    gallery = SampleFiles([*files, tmp_path / "missing.png"])
    assert len(gallery) == 4
    assert torch.equal(gallery[1].pixels, read_photo(files[1]).pixels)
    assert gallery.name_of(2) == "2.png"
    pictures = iter(gallery)
    assert [next(pictures).size for _ in range(3)] == [(HEIGHT, WIDTH)] * 3
    with pytest.raises(ImageError):
        next(pictures)


# The command: models -----------------------------------------------------------------------------


def test_a_model_is_measured_against_the_photo_inside_it(
    tiny_run: Path, command: Command, features: Features
) -> None:
    done = result(command(f"evaluate {tiny_run} -n 3 --seed 5 --json"))
    model = Model.load(tiny_run)
    photo = model.training_image()
    assert photo is not None
    assert done == facts(evaluate(model.sample(range(5, 8)), photo, features).scores)
    assert done["samples"] == 3
    file = tiny_run / "model.safetensors"
    assert done == result(command(f"evaluate {file} --count 3 --seed 5 --json"))
    assert done != result(command(f"evaluate {file} --count 3 --seed 6 --json"))


def test_a_model_draws_100_samples(
    tiny_runs: dict[str, Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[range] = []

    def short(samples: DrawnSamples, photo: Photo, *_: Any, **__: Any) -> Evaluation:
        seen.append(samples.seeds)
        return Evaluation(some(), (0.0,), (0.0,), torch.zeros(1, 1))

    monkeypatch.setattr(evaluation, "evaluate", short)
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
    assert done == facts(evaluate(model.sample(range(2)), photo, features).scores)
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


# The command: files ------------------------------------------------------------------------------


def test_files_and_folders_are_measured_alike(
    tmp_path: Path, command: Command, features: Features
) -> None:
    photo, files = write(tmp_path)
    expected = facts(evaluate(map(read_photo, files), read_photo(photo), features).scores)
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
    for metric in METRICS:
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


# The command: features, output, errors -----------------------------------------------------------


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
    assert [row.split()[0] for row in rows if row.strip()] == [m.name for m in METRICS]
    text = " ".join(outcome.out.split())
    for metric in METRICS:
        assert f"{metric.name} {scores[metric.name]:.4g} {metric.meaning}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{samples}", "no photo to measure against; add --real IMAGE."),
        ("{samples} --real {folder}/none.png", "none.png"),
        ("{folder}/none.png --real {real}", "none.png"),
        ("{folder}/none --real {real}", "none"),
        ("{folder}/none.safetensors", "none.safetensors does not exist"),
        ("{folder}/empty --real {real}", "empty holds no pictures"),
        ("{folder}/notes.txt --real {real}", "notes.txt"),
        ("{samples} --real {real} --jpeg 0", "--jpeg 0 is no quality; use 1 to 100."),
        ("{samples} --real {real} --jpeg 101", "--jpeg 101 is no quality; use 1 to 100."),
        ("{samples} --real {real} --jpeg -5", "--jpeg -5 is no quality"),
        ("{samples} --real {real} --jpeg 7.5", "7.5 is not a whole number"),
        ("{samples} --real {real} --jpeg", "--jpeg"),
        ("{samples} --real {real} --features vgg", "no features 'vgg'; there are efficientnet"),
        ("{samples} --real {real} --weights {real}", "real.png holds no weights"),
        ("{samples} --real {real} --weights {folder}/none.pth", "No such file"),
        ("{samples} --real {folder}/flat.png", "same intensity everywhere"),
        ("{samples} --real {folder}/small.png", "10x12 is too small"),
        ("{folder}/small.png --real {real}", "10x12 is too small"),
        ("{samples} --real {real} --device gpu", "gpu"),
        ("{run} -n 0", "cannot measure 0 samples; ask for 1 or more."),
        ("{run} -n 1.5", "1.5 is not a whole number"),
        ("{run} {run}", "measure one model at a time"),
        ("{run} {real}", "measure one model at a time"),
        ("", "See: singleimage evaluate --help"),
    ],
)
def test_errors_are_one_line_and_code_2(
    words: str, message: str, tmp_path: Path, command: Command, tiny_runs: dict[str, Path]
) -> None:
    photo, _ = write(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    Image.new("RGB", (40, 40), (9, 99, 199)).save(tmp_path / "flat.png")
    Image.fromarray(texture(0, 10, 12)).save(tmp_path / "small.png")
    places = {"folder": tmp_path, "samples": tmp_path / "samples", "real": photo}
    done = command(f"evaluate {words.format(**places, run=tiny_runs['singan'])} --json")
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert message in done.err


# The report --------------------------------------------------------------------------------------


class Outside(HTMLParser):
    """Notes what a page would fetch, and its words."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.pictures: list[str] = []
        self.tags: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "src" and (value or "").startswith("data:image/png;base64,"):
                self.pictures.append(value or "")
            elif name in {"src", "srcset", "href", "xlink:href", "data", "action", "poster"}:
                if not (value or "").startswith("#"):
                    self.fetched.append(f"{tag} {name}={value}")
            elif re.search(r"url\((?!#|&quot;#)", value or ""):
                self.fetched.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_the_report_holds_all_it_needs_and_says_the_numbers(
    tmp_path: Path, command: Command
) -> None:
    photo, _ = write(tmp_path)
    report = tmp_path / "page.html"
    done = command(f"evaluate {tmp_path / 'samples'} --real {photo} --report {report} --json")
    scores = result(done)
    assert done.err == f"report in {report}\n"
    text = report.read_text("utf-8")
    page = Outside()
    page.feed(text)
    assert page.fetched == []
    assert len(page.pictures) == 4 + 1 + 4  # photo and three samples, deviations, their fields
    assert page.tags.count("svg") == 1
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\(\s*['\"]?http", text)
    for address in re.findall(r"https?://[^\s\"'<>]+", text):
        assert re.match(
            r"http://(www\.w3\.org|purl\.org|creativecommons\.org)|https://matplotlib", address
        )
    words = " ".join(page.words.split())
    assert "samples against real.png" in words
    assert f"3 samples, features {LITE}, lossless pictures" in words
    for metric in METRICS:
        assert f"{metric.name} {scores[metric.name]:.4g} {metric.meaning}" in words
    for word in ("best", "median", "worst"):
        assert re.search(rf"{word} \(\d\.png\): SIFID \d", words)
    assert f"best ({best_of(tmp_path)}): SIFID {scores['sifid_min']:.4g}" in words


def best_of(folder: Path) -> str:
    files = pictures_in(folder / "samples")
    photo = read_photo(folder / "real.png")
    found = evaluate(map(read_photo, files), photo, load_features("efficientnet-lite0"))
    return files[int(np.argmin(found.sifid))].name


def test_the_report_of_the_same_samples_is_the_same_to_the_byte(
    tmp_path: Path, command: Command, tiny_runs: dict[str, Path]
) -> None:
    a, b = tmp_path / "a.html", tmp_path / "b.html"
    for path in (a, b):
        done = command(f"evaluate {tiny_runs['consingan']} -n 4 --report {path}")
        assert done.code == 0, done.err
    assert a.read_bytes() == b.read_bytes()
    assert "(seed " in a.read_text()
    assert "against its photo" in a.read_text()


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
    assert "diversity_pooled_floor" in report.read_text()
    done = command(f"evaluate {files[0]} --real {photo} --report {tmp_path / 'no' / 'page.html'}")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "real.png", "samples"]


class Listed(list[Photo]):
    def __init__(self, photos: Sequence[Photo], name: str = "x") -> None:
        super().__init__(photos)
        self._name = name

    def name_of(self, index: int) -> str:
        return f"{self._name}{index}"


@pytest.mark.parametrize(
    ("lowest", "step"), [(0.0, 0.0), (0.0, 5e-324), (0.1, 1.4e-17), (9.9, 1e-14), (2e4, 1e5)]
)
def test_a_report_can_be_made_of_any_distances(lowest: float, step: float) -> None:
    """Also of those that differ in their last digit alone, as copies may."""
    distances = tuple(lowest + i * step for i in range(3))
    photo = photo_of(texture(0, 16, 18))
    found = Evaluation(some(), distances, (0.0, 0.5, 1.0), torch.zeros(photo.size))
    text = write_report([found], Listed([photo] * 3), photo, title="copies")
    assert "<svg" in text
    assert "deviation of each pixel; white is 1 of 255" in text


def test_names_in_a_report_are_words_and_no_markup(
    real: Photo, samples: list[Photo], features: Features
) -> None:
    name = "<script>alert(1)</script>&"
    found = evaluate(samples[:2], real, features)
    text = write_report([found, found], Listed(samples, name), real, title=name)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;") >= 4
    assert text.count("<table>") == 2


def test_a_report_without_matplotlib_names_the_command(
    real: Photo, samples: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = Evaluation(some(), (1.0,), (0.0,), torch.zeros(4, 4))
    with pytest.raises(OutputError, match=r"pip install 'singleimage\[metrics\]'"):
        write_report([found], Listed(samples), real, title="x")
