"""Every number of an evaluation, in the memory of a few pictures."""

import random
import weakref
from collections.abc import Iterator
from typing import get_args

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from measuring import HEIGHT, LITE, WIDTH, photo_of, some, texture
from singleimage.commands.arguments import Protocol
from singleimage.errors import ArgumentError, ImageError, Incomparable
from singleimage.images.photo import Photo
from singleimage.metrics import evaluation
from singleimage.metrics.evaluation import Evaluation, Scores, average, evaluate
from singleimage.metrics.features import Features
from singleimage.metrics.protocols import PROTOCOLS, ProtocolName
from singleimage.metrics.sifid import fit, frechet
from singleimage.metrics.table import METRICS
from singleimage.multiscale.resample import resize


@pytest.fixture(scope="module")
def real() -> Photo:
    return photo_of(texture(0))


@pytest.fixture(scope="module")
def samples() -> list[Photo]:
    return [photo_of(texture(seed)) for seed in range(1, 12)]


def test_a_protocol_takes_sifid_of_its_first_samples_and_diversity_of_all(
    features: Features, real: Photo, samples: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = msgspec.structs.replace(PROTOCOLS["meta"], sifid_samples=4)
    monkeypatch.setitem(PROTOCOLS, "meta", some)  # type: ignore[arg-type]
    found = evaluate(samples, real, features, protocol="meta").scores
    first = evaluate(samples[:4], real, features).scores
    whole = evaluate(samples, real, features).scores
    assert found.samples == len(samples)
    assert found.numbers["sifid_min"] == pytest.approx(first.numbers["sifid_min"])
    assert found.numbers["sifid_mean"] == pytest.approx(first.numbers["sifid_mean"])
    assert found.numbers["sifid_mean"] != pytest.approx(whole.numbers["sifid_mean"])
    assert found.numbers["diversity_pooled"] == whole.numbers["diversity_pooled"]
    with pytest.raises(Incomparable, match="protocol meta"):
        average([found, whole])
    assert Scores.from_flat(found.flat()) == found


def test_patches_of_photos_that_were_learned_beside_it_are_leaked(
    features: Features, real: Photo
) -> None:
    other, third = photo_of(texture(1)), photo_of(texture(2))
    found = evaluate([real, other], real, features, beside=[third, other]).scores.numbers
    assert found["leaked"] == 0.5
    without = evaluate([real, other], real, features).scores.numbers
    assert without == {name: value for name, value in found.items() if name != "leaked"}


def test_protocols_name_metrics_and_are_those_that_commands_know() -> None:
    assert set(PROTOCOLS) == set(get_args(ProtocolName)) == {*get_args(get_args(Protocol)[0])}
    for protocol in PROTOCOLS.values():
        assert set(protocol.numbers) <= {metric.name for metric in METRICS}


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
    assert not [name for name in scores.numbers if name.startswith("diversity")]  # undefined


def numbers(scores: Scores) -> dict[str, float]:
    return dict(scores.numbers)


def test_the_order_of_samples_does_not_matter(
    features: Features, real: Photo, samples: list[Photo]
) -> None:
    first = numbers(evaluate(samples, real, features).scores)
    mixed = random.Random(0).sample(samples, k=len(samples))
    assert mixed != samples
    assert numbers(evaluate(mixed, real, features).scores) == pytest.approx(first, abs=1e-9)


def test_numbers_do_not_depend_on_batches(
    features: Features, real: Photo, samples: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = numbers(evaluate(samples, real, features).scores)
    for batch in (1, 3):
        monkeypatch.setattr(evaluation, "BATCH", batch)
        second = numbers(evaluate(samples, real, features).scores)
        for name, value in first.items():
            deep = name.startswith("sifid") or name == "diversity_features"
            assert second[name] == pytest.approx(value, rel=1e-4 if deep else 1e-12), name


def test_large_pictures_are_measured_one_by_one(
    features: Features, real: Photo, samples: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Counted:
        name = features.name

        def __call__(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            return features(images)

    pixels = HEIGHT * WIDTH
    expected = {8 * pixels: [1, 8, 3], 3 * pixels: [1, 3, 3, 3, 2], pixels - 1: [1] * 12}
    for limit, batches in expected.items():
        monkeypatch.setattr(evaluation, "PIXELS", limit)
        sizes.clear()
        evaluate(samples, real, Counted())
        assert sizes == batches


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
    assert "a, lossless pictures" in text
    assert f"{other.features}, {other.files} pictures" in text
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
