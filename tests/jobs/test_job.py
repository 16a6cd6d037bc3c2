"""A job is done once its result is there, goes on where it was, and is read by later versions."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from measuring import LITE, some, write
from singleimage.errors import ImageError
from singleimage.images.reader import read_photo
from singleimage.jobs.job import (
    RESULT,
    SHEET,
    Job,
    JobResult,
    Measure,
    Stopped,
    perform,
    read_result,
    result_of,
)
from singleimage.metrics.evaluation import Scores, evaluate
from singleimage.metrics.features import Features
from singleimage.metrics.samples import SampleFiles, digest_of
from singleimage.models.model import Model
from small_jobs import draw_photo, job_of, nobody, stop_at, weights

pytestmark = pytest.mark.usefixtures("threads")


def test_a_job_that_was_stopped_continues_to_the_same_weights(tmp_path: Path) -> None:
    job = job_of(draw_photo(tmp_path / "a.png"))
    told: list[tuple[float, str]] = []
    whole = perform(job, tmp_path / "whole", lambda *news: told.append(news))
    assert [words for _, words in told[::2]] == ["level 1/3", "level 2/3", "level 3/3", "measuring"]
    assert [share for share, _ in told] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1])
    parts = tmp_path / "parts"
    for level in (2, 3):
        with pytest.raises(Stopped):
            perform(job, parts, stop_at(level))
        assert (parts / job.name / "state.pt").exists()
        assert result_of(job, parts) is None
    left: list[tuple[float, str]] = []
    result = perform(job, parts, lambda *news: left.append(news))
    assert [words for _, words in left] == ["level 3/3", "measuring"]
    assert weights(parts / job.name) == weights(tmp_path / "whole" / job.name)
    assert result_of(job, parts) == result == msgspec.structs.replace(whole, seconds=result.seconds)


def test_measuring_can_be_stopped_too(tmp_path: Path, features: Features) -> None:
    """On a node whose folder is lost with it, what was trained is to be sent back."""
    job = msgspec.structs.replace(
        job_of(draw_photo(tmp_path / "a.png"), 1), measure=Measure(samples=3)
    )
    told: list[str] = []

    def tell(fraction: float, text: str) -> None:
        told.append(text)
        if told.count("measuring") == 3:
            raise Stopped

    with pytest.raises(Stopped):
        perform(job, tmp_path, tell)
    assert result_of(job, tmp_path) is None
    again: list[str] = []
    perform(job, tmp_path, lambda _, text: again.append(text))
    assert set(again) == {"measuring"}


def test_a_result_says_what_was_made_and_how(tmp_path: Path) -> None:
    job = job_of(draw_photo(tmp_path / "a.png"))
    result = perform(job, tmp_path, nobody)
    model = Model.load(tmp_path / job.name)
    assert (result.name, result.method, result.photo) == ("tiny/a", "tiny", "a.png")
    assert result.photo_sha256 == read_photo(job.photo).sha256
    assert job.recipe is not None
    assert result.recipe_digest == job.recipe.digest()
    assert result.levels == model.provenance.levels == 3
    assert result.parameters == sum(p.numel() for p in model.generator.parameters()) > 0
    assert result.seconds == model.provenance.seconds > 0
    assert (result.device, result.precision, result.threads) == ("cpu", "fp32", 1)
    assert (result.measure, result.scores) == (None, ())
    assert not (tmp_path / job.name / SHEET).exists()
    assert read_result((tmp_path / job.name / RESULT).read_bytes()) == result


def test_published_samples_are_measured_without_training(
    tmp_path: Path, features: Features
) -> None:
    photo, files = write(tmp_path)
    named = [file.rename(file.with_name(f"real_{file.name}")) for file in files]
    measure = Measure(jpeg=80)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".DS_Store").touch()  # of a folder that a Mac has shown
    job = Job(name="x", method="x", photo=str(photo), published=str(files[0].parent))
    assert perform(job, tmp_path, nobody).scores == ()
    job = msgspec.structs.replace(job, measure=measure)
    result = perform(job, tmp_path, nobody)
    found = evaluate(SampleFiles(named), read_photo(photo), features, jpeg=80)
    assert result.scores == (found.scores,)
    assert (result.levels, result.parameters, result.seconds) == (0, 0, 0.0)
    assert result.measure == measure
    assert result.samples_sha256 == digest_of(named)
    assert (tmp_path / "x" / SHEET).exists()
    other = msgspec.structs.replace(job, photo=str(photo.rename(tmp_path / "other.png")))
    with pytest.raises(ImageError, match=r"has no samples of other\.png"):
        perform(other, tmp_path, nobody)


# Results of other versions -----------------------------------------------------------------------


def stored(*scores: Scores) -> JobResult:
    return JobResult(
        name="x",
        method="x",
        photo="a.jpg",
        photo_sha256="ab",
        seed=0,
        recipe_digest="",
        levels=3,
        parameters=10,
        seconds=1.0,
        threads=1,
        device="cpu",
        precision="fp32",
        versions={"singleimage": "0.1.0"},
        measure=Measure(samples=2),
        scores=scores,
    )


def file_with(scores: Any) -> bytes:
    """A result.json whose scores are these."""
    return json.dumps({**msgspec.to_builtins(stored()), "scores": scores}).encode()


def test_results_whose_scores_have_a_field_a_number_are_read() -> None:
    """As they were written before numbers had a table; also beside those of today."""
    result = stored(some(LITE, value=0.5), some("b", value=2.0))
    old = file_with([scores.flat() for scores in result.scores])
    assert b'"numbers"' not in old
    assert read_result(old) == result
    mixed = [result.scores[0].flat(), msgspec.to_builtins(result.scores[1])]
    assert read_result(file_with(mixed)) == result
    assert read_result(msgspec.json.encode(result)) == result


SEALED = b"""{
  "sha256": "36794fc66dc1f8f8b35faa6437d8bb913968d52f9e73ffc9e3cbf3ba6bd7c5db",
  "name": "tiny/a", "method": "tiny", "photo": "a.png",
  "photo_sha256": "9ebaa243d41ec28d0efe2d849c1469ea86f83aa13320a4831618a2f82c9ee09d",
  "seed": 0, "recipe_digest": "095793bfde9d9f49", "levels": 3, "parameters": 1555,
  "seconds": 0.2, "threads": 1, "device": "cpu", "precision": "fp32",
  "versions": {"singleimage": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.7"},
  "measure": null, "scores": []
}"""
"""A result of a version that did not keep the digest of published samples."""


def test_a_sealed_result_of_a_version_with_fewer_fields_is_read() -> None:
    result = read_result(SEALED)
    assert (result.name, result.parameters, result.samples_sha256) == ("tiny/a", 1555, "")
    with pytest.raises(msgspec.DecodeError, match="another digest"):
        read_result(SEALED.replace(b"1555", b"1556"))


def test_numbers_that_are_not_known_or_missing_do_not_matter() -> None:
    """In either format; what is stored is read as it is."""
    scores = some(value=0.5)
    fewer = msgspec.structs.replace(scores, numbers={"sifid_mean": 3.0, "copies": 1})
    more = msgspec.structs.replace(scores, numbers={**scores.numbers, "of_tomorrow": 1.5})
    none = msgspec.structs.replace(scores, numbers={})
    for found in (fewer, more, none):
        assert read_result(file_with([found.flat()])) == stored(found)
        assert read_result(file_with([msgspec.to_builtins(found)])) == stored(found)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b"null",
        file_with(None),
        file_with([3]),
        file_with([{}]),
        file_with([{"features": "a", "files": "lossless"}]),
        file_with([{**some().flat(), "sifid_mean": "high"}]),
        file_with([{**msgspec.to_builtins(some()), "sifid_mean": 1.0}]),
    ],
)
def test_what_is_no_result_is_refused_and_the_job_not_done(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_result(data)
    job = job_of(tmp_path / "a.png")
    (tmp_path / job.name).mkdir(parents=True)
    (tmp_path / job.name / RESULT).write_bytes(data)
    assert result_of(job, tmp_path) is None


def test_the_result_of_a_job_in_the_earlier_format_is_found(tmp_path: Path) -> None:
    result = stored(some(value=0.5))
    job = job_of(tmp_path / "a.png")
    (tmp_path / job.name).mkdir(parents=True)
    (tmp_path / job.name / RESULT).write_bytes(file_with([result.scores[0].flat()]))
    assert result_of(job, tmp_path) == result
