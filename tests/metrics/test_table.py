"""Every row of the table of metrics is computed, and a new row is all that a new metric needs."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from torch import Tensor

from measuring import OF_FILES, photo_of, texture
from singleimage.metrics import evaluation
from singleimage.metrics.evaluation import Scores, average, evaluate
from singleimage.metrics.features import Features
from singleimage.metrics.table import METRICS, Gathered, Metric


def measured(features: Features) -> Scores:
    real, *samples = (photo_of(texture(seed)) for seed in range(4))
    return evaluate(samples, real, features).scores


def mean_of(name: str) -> Callable[[Gathered], float]:
    return lambda gathered: sum(gathered.each[name]) / len(gathered.each[name])


def test_every_row_has_a_name_and_a_meaning_of_its_own() -> None:
    names, meanings = ({getattr(m, part) for m in METRICS} for part in ("name", "meaning"))
    assert len(names) == len(meanings) == len(METRICS)
    for metric in METRICS:
        assert metric.name.isidentifier()
        assert metric.name == metric.name.lower()
        assert metric.name not in Scores.__struct_fields__  # beside which `flat` puts it
        assert metric.meaning.strip() == metric.meaning != ""
        assert metric.better in {"lower", "higher", "neither"}


def test_every_row_is_computed_in_the_order_of_the_table(features: Features) -> None:
    scores = measured(features)
    assert list(scores.numbers) == [metric.name for metric in OF_FILES]
    assert list(scores.flat()) == ["features", "files", "samples", *scores.numbers]


def test_a_row_with_each_gets_one_number_of_every_sample(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the sample and the photo, in the order of the samples; the other rows stay as they are."""
    seen: list[tuple[Tensor, Tensor]] = []
    gathered: list[tuple[float, ...]] = []

    def brighter(sample: Tensor, photo: Tensor) -> float:
        seen.append((sample, photo))
        return float(sample.mean() - photo.mean())

    def value(found: Gathered) -> float:
        gathered.append(found.each["brighter"])
        return max(found.each["brighter"])

    before = measured(features)
    row = Metric(
        "brighter", "how much brighter the brightest sample is", "neither", value, brighter
    )
    other = replace(row, name="darker", value=mean_of("darker"), each=lambda s, p: -brighter(s, p))
    monkeypatch.setattr(evaluation, "METRICS", (row, *METRICS, other))
    after = measured(features)
    real, *samples = (photo_of(texture(seed)).colors() for seed in range(4))
    expected = [float(sample.mean() - real.mean()) for sample in samples]
    assert gathered == [tuple(expected)]
    assert all(bool((photo == real).all()) for _, photo in seen)
    assert len(seen) == 2 * len(samples)
    assert after.numbers["brighter"] == max(expected)
    assert after.numbers["darker"] == pytest.approx(-sum(expected) / 3)
    assert list(after.numbers) == ["brighter", *before.numbers, "darker"]
    assert {name: after.numbers[name] for name in before.numbers} == before.numbers
    assert average([after, before]) == before.numbers  # a result without it still compares


def test_only_rows_with_each_are_gathered_by_sample(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Gathered] = []

    def count(gathered: Gathered) -> float:
        found.append(gathered)
        return float(len(gathered.sifid))

    monkeypatch.setattr(evaluation, "METRICS", (Metric("count", "samples", "neither", count),))
    assert measured(features).numbers == {"count": 3.0}
    assert found[0].each == {}
    assert len(found[0].continuing) == len(found[0].compression) == 3
