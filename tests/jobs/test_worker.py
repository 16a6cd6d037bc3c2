"""A worker reports now and then, stops when asked to, and says in one line why it failed."""

import io
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from singleimage.errors import ImageError
from singleimage.jobs import worker
from singleimage.jobs.job import Job, Stopped, result_of
from singleimage.jobs.worker import News, Order, Watch, in_one_line
from singleimage.training.makers import Maker, maker_for
from small_jobs import draw_photo, job_of


def test_reports_come_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(worker, "PAUSE", 0.5)
    told: list[tuple[float, str]] = []
    watch = Watch(lambda *news: told.append(news))
    for i in range(20):
        watch(i / 32, f"step {i}")
        now[0] += 0.0625
    watch(1.0, "measuring")
    assert told == [(0.0, "step 0"), (0.25, "step 8"), (0.5, "step 16"), (1.0, "measuring")]


def test_a_job_is_stopped_at_its_next_step() -> None:
    told: list[float] = []
    watch = Watch(lambda share, _: told.append(share))
    watch(0.1, "")
    watch.stopping.set()
    with pytest.raises(Stopped):
        watch(0.2, "")
    assert told == [0.1]
    assert not watch.saved.is_set()


def test_a_job_whose_training_is_kept_can_be_ended_at_once() -> None:
    watch = Watch(lambda *_: None)
    watch(0.9, "")
    assert not watch.saved.is_set()
    watch(1.0, "measuring")
    assert watch.saved.is_set()


def test_why_a_job_failed_is_one_line() -> None:
    assert in_one_line(ImageError("a.png is damaged.")) == "a.png is damaged."
    assert in_one_line(ValueError("two\nlines")) == "ValueError: two lines"
    assert "use fewer workers" in in_one_line(MemoryError())


def ordered(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, list[News], str]:
    """Has a worker do a job, in this process; gives its code, its reports and its words."""
    order = msgspec.json.encode(
        Order(job=msgspec.Raw(msgspec.json.encode(job)), folder=str(folder))
    )
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(order + b"\n")))
    monkeypatch.setattr(worker, "_stop_at_end_of_input", lambda watch, orders: os.close(orders))
    out = os.dup(1)
    try:
        code = worker.main()
    finally:
        os.dup2(out, 1)
        os.close(out)
    said = capfd.readouterr()
    return code, [msgspec.json.decode(line, type=News) for line in said.out.splitlines()], said.err


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_worker_reports_on_standard_output_and_nothing_else_is_there(
    tmp_path: Path,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    job = job_of(draw_photo(tmp_path / "a.png"))
    make = maker_for

    def loud(*arguments: Any, **options: Any) -> Maker:
        os.write(1, b"a library prints\n")
        return make(*arguments, **options)

    monkeypatch.setattr("singleimage.jobs.job.maker_for", loud)
    code, news, words = ordered(job, tmp_path, monkeypatch, capfd)
    assert (code, words) == (0, "a library prints\n")
    assert [report.text for report in news][:: len(news) - 1] == ["level 1/3", "measuring"]
    assert news[-1].fraction == 1
    assert not any(report.error for report in news)
    assert result_of(job, tmp_path) is not None


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_worker_that_fails_says_why_in_a_line_and_in_words(
    tmp_path: Path,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The mistake of a user in one line; one of ours with its traceback."""
    (tmp_path / "bad.png").write_text("no picture")
    job = job_of(tmp_path / "bad.png")
    code, (news,), words = ordered(job, tmp_path, monkeypatch, capfd)
    assert code == 2
    assert "bad.png is not an image" in news.error
    assert words == f"error: {news.error}\n"

    def mistake(*_: Any) -> None:
        raise ValueError("ours")

    monkeypatch.setattr("singleimage.jobs.job.perform", mistake)
    code, (news,), words = ordered(job, tmp_path, monkeypatch, capfd)
    assert (code, news.error) == (2, "ValueError: ours")
    assert words.startswith("Traceback")


def test_libraries_find_nothing_to_wait_for_on_standard_input() -> None:
    """The orders of the driver go on to come, by another number."""
    before, (read, write) = os.dup(0), os.pipe()
    os.dup2(read, 0)
    try:
        orders = worker._set_aside_input()
        os.write(write, b"x")
        assert (os.read(0, 1), os.read(orders, 1)) == (b"", b"x")
        os.close(orders)
    finally:
        os.dup2(before, 0)
        for descriptor in (before, read, write):
            os.close(descriptor)
