"""Transcripts of what a user can get wrong: one line that says what, the limit and the next step.

A transcript has blocks of a name, the command, and the message, which has `...` for the words of
libraries and for digests. Trainings get flags that make them tiny.
"""

import re
from pathlib import Path

from tiny import TRAIN_FLAGS, Command


def assert_refused(transcript: str, command: Command, tmp_path: Path, **places: Path) -> None:
    """Every command of the transcript ends with its message and code 2, and leaves no trace.

    Args:
        transcript: its blocks; `{out}` is a folder that does not exist.
        command: runs a command line.
        tmp_path: an empty folder.
        places: `{name}` of the transcript: files and folders. Nothing in them may change.
    """
    folders = [tmp_path, *(p if p.is_dir() else p.parent for p in places.values())]
    before = snapshot(*folders)
    places = {**places, "out": tmp_path / "out"}
    wrong = []
    for block in transcript.strip().split("\n\n"):
        name, line, *message = block.splitlines()
        expected = "error: " + " ".join(message) + "\n"
        outcome = command(short(line.removeprefix("$ ").format(**places)))
        found = outcome.err
        for word, place in places.items():
            found = found.replace(str(place), "{" + word + "}")
        if (outcome.code, outcome.out) != (2, "") or not matches(found, expected):
            wrong.append(f"{name}: code {outcome.code}, {outcome.out}{found}")
        if snapshot(*folders) != before:
            wrong.append(f"{name}: files have changed")
            before = snapshot(*folders)
    assert not wrong, "\n".join(wrong)


def short(line: str) -> str:
    """The command, made short if it is a training, should it begin against our will."""
    first, _, rest = line.partition(" ")
    if first != "train" or "--preset" in rest:
        return line
    steps = "" if "--steps" in rest else "--steps 2"
    return f"train {TRAIN_FLAGS['consingan']} {steps} {rest}"


def matches(text: str, message: str) -> bool:
    """Whether the text is the message, with some words for each `...`."""
    return re.fullmatch(".+".join(map(re.escape, message.split("..."))), text) is not None


def snapshot(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Everything below these folders, with size and time."""
    found = [path for folder in folders for path in folder.rglob("*")]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}
