"""Jobs that are done with these settings are not repeated; failed ones leave their words."""

import shutil
from pathlib import Path

import msgspec
import pytest

from measuring import write
from singleimage.errors import ImageError
from singleimage.images.reader import read_photo
from singleimage.jobs import engine
from singleimage.jobs.engine import Event
from singleimage.jobs.job import RESULT, Job, Measure, Stopped, perform
from singleimage.recipes.presets import preset
from small_jobs import draw_photo, job_of, nobody, stop_at
from tiny import album_recipe

pytestmark = pytest.mark.usefixtures("threads")


def test_a_result_of_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    job = job_of(draw_photo(tmp_path / "a.png"), steps=1)
    result = perform(job, tmp_path, nobody)
    assert engine.finished(job, tmp_path) == result
    assert engine.finished(job_of(tmp_path / "a.png", steps=2), tmp_path) is None
    assert engine.finished(msgspec.structs.replace(job, seed=1), tmp_path) is None
    measured = msgspec.structs.replace(job, measure=Measure())
    assert engine.finished(measured, tmp_path) is None
    assert engine.finished(msgspec.structs.replace(job, precision=result.precision), tmp_path)
    other = "bf16" if result.precision == "fp32" else "fp32"
    assert engine.finished(msgspec.structs.replace(job, precision=other), tmp_path) is None
    draw_photo(tmp_path / "a.png", 1)
    assert engine.finished(job, tmp_path) is None
    (tmp_path / "a.png").unlink()
    assert engine.finished(job, tmp_path)


def test_published_samples_that_are_others_are_measured_again(tmp_path: Path) -> None:
    """Of another folder, added, replaced, renamed or removed."""
    photo, files = write(tmp_path)
    named = [file.rename(file.with_name(f"real_{file.name}")) for file in files]
    folder = named[0].parent
    job = Job(name="x", method="x", photo=str(photo), published=str(folder))

    def measured_again(job: Job) -> bool:
        if engine.finished(job, tmp_path / "out"):
            return False
        perform(job, tmp_path / "out", nobody)
        return engine.finished(job, tmp_path / "out") is not None

    assert measured_again(job)
    assert not measured_again(job)
    same = shutil.copytree(folder, tmp_path / "same")
    assert not measured_again(msgspec.structs.replace(job, published=str(same)))
    shutil.copy(named[0], folder / "real_7.png")
    assert measured_again(job)
    assert measured_again(msgspec.structs.replace(job, published=str(same)))
    shutil.copy(named[1], same / named[0].name)
    other = msgspec.structs.replace(job, published=str(same))
    assert measured_again(other)
    (same / named[0].name).rename(same / "real_9.png")
    assert measured_again(other)
    (same / "real_9.png").unlink()
    assert measured_again(other)
    (same / "unrelated.png").write_bytes(b"of another photo")
    assert not measured_again(other)
    for file in same.iterdir():
        file.unlink()
    with pytest.raises(ImageError, match="holds no pictures"):
        measured_again(other)
    same.rmdir()  # as a photo that is gone: what was measured stays
    assert engine.finished(other, tmp_path / "out")


@pytest.mark.slow
def test_a_set_whose_photos_were_not_counted_is_measured_again_without_training(
    tmp_path: Path,
) -> None:
    """As of a version that kept one digest of all; the table is to know how many they were."""
    first, second = (draw_photo(tmp_path / f"{i}.png", i) for i in range(2))
    recipe = album_recipe()
    job = Job(name="x", method="x", photo=str(first), company=(str(second),), recipe=recipe)
    result = perform(job, tmp_path, nobody)
    assert result.together == tuple(read_photo(path).sha256 for path in (first, second))
    assert engine.finished(job, tmp_path) == result
    before = msgspec.structs.replace(result, together=())
    (tmp_path / "x" / RESULT).write_bytes(msgspec.json.encode(before))
    assert engine.finished(job, tmp_path) is None
    told: list[str] = []
    assert perform(job, tmp_path, lambda _, text: told.append(text)) == result
    assert set(told) == {"measuring"}


def test_what_trains_nothing_is_done_in_any_precision(tmp_path: Path) -> None:
    photo, files = write(tmp_path)
    files[0].rename(files[0].with_name("real.png"))
    samples = str(files[0].parent)
    published = Job(name="x", method="x", photo=str(photo), published=samples, precision="bf16")
    direct = Job(name="y", method="y", photo=str(photo), recipe=preset("flow"), precision="bf16")
    for job in (published, direct):
        perform(job, tmp_path / "out", nobody)
        assert engine.finished(job, tmp_path / "out")


def test_done_jobs_are_told_apart_from_those_that_are_left(tmp_path: Path) -> None:
    jobs = [job_of(draw_photo(tmp_path / f"{i}.png", i), steps=1) for i in range(3)]
    perform(jobs[1], tmp_path, nobody)
    with pytest.raises(Stopped):
        perform(jobs[2], tmp_path, stop_at(2))
    done, left = engine.split_done(jobs, tmp_path)
    assert done == [Event("tiny/1", "skipped", 1.0)]
    assert left == [jobs[0], jobs[2]]
    with pytest.raises(AssertionError, match="one name"):
        engine.split_done([jobs[0], jobs[0]], tmp_path)


def test_the_last_words_of_a_failed_job_are_kept_until_it_is_tried_again(tmp_path: Path) -> None:
    home = tmp_path / "x" / "y"
    engine.forget_error(home)
    engine.keep_error(home, b"a" * engine.KEPT + b"the end")
    words = (home / engine.ERROR).read_bytes()
    assert words.startswith(engine.MARK)
    assert len(words) == len(engine.MARK) + engine.KEPT
    assert words.endswith(b"the end")
    engine.forget_error(home)
    assert list(home.iterdir()) == []
    (home / engine.ERROR).write_text("a user's own words")
    engine.keep_error(home, b"ours")
    engine.forget_error(home)
    assert (home / engine.ERROR).read_text() == "a user's own words"
    (tmp_path / "file").touch()
    engine.keep_error(tmp_path / "file", b"there is no place for them")
