"""What a terminal is shown of a training, and durations in words."""

import re
import signal
from pathlib import Path

import pytest

from singleimage.commands import console
from singleimage.training.progress import Progress
from tiny import TRAIN_FLAGS, Command


def test_a_terminal_is_shown_a_bar(
    photo_file: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "80")
    outcome = command(f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['consingan']} --steps 1")
    assert outcome.code == 0
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", outcome.err)
    assert re.search(r"level 3/3 ━{20} 1/1 0 s left critic_real -?\d\.\d{3}  critic", plain)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (7260, "2 h 01 min")]
)
def test_durations_are_in_words(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def test_a_term_that_a_step_lacks_is_shown_as_it_last_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A critic's penalty is not in every step (`penalty_every`); a level begins with nothing."""

    def after(level: int, step: int, **losses: float) -> Progress:
        return Progress(
            level=level, levels=2, step=step, steps=2, losses=losses, seconds=1.0, remaining=0.0
        )

    show = console.Show(None, quiet=False)
    for progress in (after(0, 1, penalty=0.25, adversarial=1), after(0, 2, adversarial=2)):
        show(progress)
    for progress in (after(1, 1, adversarial=3), after(1, 2, adversarial=4)):
        show(progress)
    first, second = capsys.readouterr().err.splitlines()
    assert "adversarial 2.000" in first
    assert "penalty 0.250" in first
    assert "penalty" not in second


def test_the_break_of_windows_is_a_request_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    before = signal.getsignal(signal.SIGUSR1)
    with console.catch_stop() as stop:
        signal.raise_signal(signal.SIGUSR1)
    assert stop.by == signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) == before
