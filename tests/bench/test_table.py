"""The table: averages over seeds, then over photos, and their intervals."""

from typing import Any

import msgspec
import numpy as np
import pytest

from measuring import OF_FILES
from singleimage.bench import table
from singleimage.jobs.job import JobResult
from singleimage.metrics.evaluation import Scores

NUMBERS = {
    "sifid_mean": 0.4,
    "sifid_min": 0.2,
    "diversity_intensity": 0.5,
    "diversity_pooled": 0.6,
    "diversity_pooled_floor": 0.3,
    "diversity_features": 0.1,
    "copy_continuing": 0.05,
    "copy_compression": 0.9,
    "copies": 1,
}

COLUMNS = {
    "sifid_min": "SIFID",
    "sifid_mean": "mSIFID",
    "diversity_intensity": "diversity",
    "diversity_pooled": "pooled (floor)",
    "diversity_pooled_floor": "pooled (floor)",
}
"""Where the table shows a number."""


def scores(
    features: str = "net/layer/abc", files: str = "lossless", **changes: int | float
) -> Scores:
    return Scores(features=features, files=files, samples=4, numbers={**NUMBERS, **changes})


def without(*names: str) -> Scores:
    """As of a version that does not know these numbers."""
    left = {name: value for name, value in NUMBERS.items() if name not in names}
    return msgspec.structs.replace(scores(), numbers=left)


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


def test_photos_of_sets_are_counted_and_share_the_time() -> None:
    """Of four photos in pairs, another two for each seed; so a row is like that of single ones."""

    def pair(first: str, second: str, seed: int) -> JobResult:
        both = result("m", f"{first} and {second}", seed, scores())
        return msgspec.structs.replace(both, together=(first, second))

    pairs = [pair("a", "b", 0), pair("c", "d", 0), pair("d", "a", 1), pair("c", "b", 1)]
    (row,) = table.summarize(pairs)
    assert (row.photos, row.results) == (4, 8)
    assert row.minutes.mean == pytest.approx(1.0)
    header, (cells,) = table.table([row])
    facts = dict(zip(header, cells, strict=True))
    assert (facts["photos"], facts["min/photo"]) == ("4x2", "1.0")


@pytest.mark.parametrize("other", [{"features": "b"}, {"files": "jpeg-75"}, {"protocol": "meta"}])
def test_what_was_measured_otherwise_has_a_row_of_its_own(other: dict[str, Any]) -> None:
    again = msgspec.structs.replace(scores(sifid_mean=9.0), **other)
    both = (scores(), again)
    found = [result("m", "a", 0, *both), result("n", "a", 0, *both)]
    rows = table.summarize(found)
    ways = (scores().way, again.way)
    assert [(row.method, row.way) for row in rows] == [(m, way) for m in "mn" for way in ways]
    assert rows[1].numbers["sifid_mean"].mean == 9.0
    assert rows[1].flat().items() >= other.items()
    assert table.points(found, again.way) == {"m": [(0.5, 9.0)], "n": [(0.5, 9.0)]}


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


def test_the_cells_are_the_papers_columns() -> None:
    header, cells = table.table(table.summarize([result("m", "a", s, scores()) for s in (0, 1)]))
    assert dict(zip(header, cells[0], strict=True)) == {
        "method": "m",
        "photos": "1x2",
        "SIFID": "0.2",
        "mSIFID": "0.4",
        "diversity": "0.5",
        "pooled (floor)": "0.600 (0.300)",
        "copies": "25%",
        "min/photo": "2.0",
        "parameters": "1,000",
        "levels": "6",
    }


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_a_number_that_some_results_lack_is_left_out_of_their_row(name: str) -> None:
    """Of that method alone; its cell is empty, and the others are what they would be."""
    found = [
        result("m", "a", 0, scores()),
        result("m", "b", 0, without(name)),
        result("n", "a", 0, scores()),
    ]
    m, n = table.summarize(found)
    assert n.numbers.keys() == NUMBERS.keys()
    assert m.numbers == {known: n.numbers[known] for known in NUMBERS if known != name}
    assert (m.copies, n.copies) == (None if name == "copies" else 0.25, 0.25)
    assert len(m.flat()) == len(n.flat()) - (name != "copies")
    assert table.points(found, n.way).keys() == {"m", "n"}
    header, cells = table.table([m, n])
    empty = [title for title, cell in zip(header, cells[0], strict=True) if not cell]
    shown = {**COLUMNS, "copies": "copies"}
    assert empty == ([shown[name]] if name in shown else [])
    assert all(cells[1])


def test_a_number_that_the_table_does_not_know_is_passed_over() -> None:
    (row,) = table.summarize([result("m", "a", 0, scores(of_tomorrow=7.0))])
    assert row.numbers.keys() == {metric.name for metric in OF_FILES}
    assert "of_tomorrow" not in row.flat()


def test_points_are_the_means_of_each_photo_over_its_seeds() -> None:
    found = [
        result("m", "a", 0, scores(diversity_intensity=0.2, sifid_mean=1.0)),
        result("m", "a", 1, scores(diversity_intensity=0.4, sifid_mean=3.0), scores("other")),
        result("m", "b", 0, scores()),
        result("n", "a", 0, scores("other")),
    ]
    points = table.points(found, scores().way)
    assert points == {"m": [(pytest.approx(0.3), 2.0), (0.5, 0.4)]}
