"""What the commands share: the device and the precision of a model."""

import shutil
from pathlib import Path

import pytest
import torch

from singleimage.models.model import Model
from tiny import TRAIN_FLAGS, Command, result


@pytest.mark.parametrize("words", ["train", "sample", "reconstruct"])
def test_a_device_can_be_named_with_its_threads(
    words: str,
    photo_file: Path,
    tiny_runs: dict[str, Path],
    tmp_path: Path,
    command: Command,
    threads: int,
) -> None:
    torch.set_num_threads(2)
    line = {
        "train": f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['consingan']} --steps 1",
        "sample": f"sample {tiny_runs['consingan']} -o {tmp_path}/out -n 1",
        "reconstruct": f"reconstruct {tiny_runs['consingan']} -o {tmp_path}/r.png",
    }[words]
    assert command(f"{line} --device cpu:1").code == 0
    assert torch.get_num_threads() == 1


def test_precision_decides_what_computes_and_is_kept_with_the_model(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    for precision in ("fp32", "bf16"):
        line = f"train {photo_file} -o {tmp_path}/{precision} {TRAIN_FLAGS['consingan']} --steps 1"
        assert command(f"{line} --precision {precision}").code == 0
        facts = result(command(f"info {tmp_path}/{precision} --json"))
        assert facts["precision"] == precision
        draw = f"sample {tmp_path}/{precision} -n 1 --no-sheet -o {tmp_path}/{precision}"
        assert command(f"{draw}/as-fp32 --precision fp32").code == 0
        assert command(f"{draw}/as-bf16 --precision bf16").code == 0
    line = f"train {photo_file} -o {tmp_path}/bf16 {TRAIN_FLAGS['consingan']} --steps 1"
    other = command(f"{line} --precision fp32")
    assert other.code == 2
    assert "precision: bf16, now fp32" in other.err
    weights = [Model.load(tmp_path / p).generator.state_dict() for p in ("fp32", "bf16")]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_may_be_named_like_a_picture(
    tiny_runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    """So runs of the photos a.jpg and a.png of a folder are: a and a.png."""
    run = shutil.copytree(tiny_runs["consingan"], tmp_path / "a.png")
    assert command(f"sample {run} -o {tmp_path}/out -n 1").code == 0
    for line in ("info {}", "sample {} -n 1 --no-sheet -o {}/again"):
        assert command(line.replace("{}", str(run))).code == 0


def test_a_photo_with_a_name_of_no_picture_is_to_be_named_so(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    shutil.copy(photo_file, tmp_path / "IMG_0001")
    said = command(f"info {tmp_path}/IMG_0001").err
    assert "not a model; name it .jpg or .png to draw from it at once, or train on it" in said
