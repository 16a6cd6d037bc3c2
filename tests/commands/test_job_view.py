"""Many jobs in one view: a line each, what failed, and how they are stopped."""

import signal
from collections.abc import Iterator

import pytest

from singleimage.commands import job_view
from singleimage.jobs.engine import Event


def test_a_terminal_is_shown_a_line_for_each_running_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "80")
    news = [
        Event("a", "skipped", 1.0),
        Event("b", "running", 0.5, "level 2/3"),
        Event("c", "running", 0.1, "level 1/3"),
        Event("b", "done", 1.0),
        Event("c", "failed", 0.1, "no [luck]"),
    ]
    ended = job_view.show_events(iter(news), 3, quiet=False)
    assert [event.job for event in ended] == ["a", "b", "c"]
    err = capsys.readouterr().err
    for words in ("level 2/3", "level 1/3", "2/3 b: done", "3/3 c: failed: no [luck]"):
        assert words in err
    assert job_view.tell_failures(ended) == 1
    assert "  c: no [luck]\n" in capsys.readouterr().err


def test_elsewhere_a_line_is_shown_when_a_job_ends(capsys: pytest.CaptureFixture[str]) -> None:
    news = [Event("a", "skipped", 1.0), Event("b", "running", 0.5, "level 2/3"), Event("b", "done")]
    job_view.show_events(iter(news), 2, quiet=False)
    assert capsys.readouterr().err == "1/2 a: was done before\n2/2 b: done\n"
    job_view.show_events(iter(news), 2, quiet=True)
    assert capsys.readouterr().err == ""
    assert job_view.tell_failures([Event("b", "done")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_engine_and_tells_the_code(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    left: list[str] = []

    def events() -> Iterator[Event]:
        try:
            yield Event("a", "done", 1.0)
            signal.raise_signal(number)
            yield Event("b", "running", 0.5)
            raise AssertionError("the engine was asked for more")
        finally:
            left.append("the engine saved")

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(job_view.Halted) as caught:
        job_view.show_events(events(), 3, quiet=True)
    assert caught.value.code == 128 + number
    assert left == ["the engine saved"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "stopped with 1 of 3 ended; the same command continues the rest."
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert len(job_view.show_events(events(), 1, quiet=True)) == 1  # all had ended
