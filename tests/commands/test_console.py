"""What a terminal is shown of a training, and durations in words."""

import re
from pathlib import Path

import pytest

from singleimage.commands import console
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
