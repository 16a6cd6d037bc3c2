"""`singleimage train`: its flags, and what it refuses."""

from pathlib import Path

import pytest

from tiny import Command


def test_a_group_of_fields_is_set_to_another_kind(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    """Fast-Stabilized without involutions; and its samples can be tiled."""
    fields = {
        "pyramid.levels": "3",
        "pyramid.min_size": "13",
        "pyramid.max_size": "30",
        "generator.width": "4",
        "critic.width.base": "4",
        "training.steps": "1",
        "generator.body": '{"type":"convolution"}',
    }
    flags = " ".join(f"--set {path}={value}" for path, value in fields.items())
    line = f"train {photo_file} -o {tmp_path}/run --preset fast-stabilized {flags}"
    assert command(line).code == 0
    assert command(f"sample {tmp_path}/run -o {tmp_path}/out -n 2 --tile xy").code == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "or --preset meta-small for one model of all."),
        ("--preset meta-small --mask m.png", "does not go with a folder"),
    ],
)
def test_what_does_not_go_with_a_folder_is_said_in_one_line(
    flags: str, message: str, album: Path, tmp_path: Path, command: Command
) -> None:
    outcome = command(f"train {album} -o {tmp_path}/out {flags}")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
