"""`singleimage upscale`: an enlarged picture, its comparison with the truth, and refusals."""

import sys
from pathlib import Path

import pytest

from singleimage import read_photo
from singleimage.multiscale.geometry import Size
from tiny import Command


@pytest.mark.slow
def test_a_model_is_trained_for_a_task_and_enlarges(
    command: Command, photo_file: Path, tmp_path: Path
) -> None:
    line = f"train {photo_file} -o {tmp_path}/run --preset singan --for upscale:2 --steps 2"
    done = command(f"{line} --set generator.width.base=4 --set critic.width.base=4")
    assert done.code == 0, done.err
    line = f"upscale {tmp_path}/run --factor 2 --json -o {tmp_path}"
    for words in ("x.png", "same.png --strength 0.7", "published.png --strength 1"):
        done = command(f"{line}/{words}")
        assert done.code == 0, done.err
    made, same, other = (
        (tmp_path / name).read_bytes() for name in ("x.png", "same.png", "published.png")
    )
    assert made == same != other
    assert read_photo(tmp_path / "x.png").size == Size(88, 104)
    done = command(
        f"upscale {tmp_path}/run -o {tmp_path}/y.png --factor 2 --truth {tmp_path}/x.png"
    )
    assert done.code == 0, done.err
    assert "psnr_ours 126" in done.out  # it is the truth itself, as far as is counted
    assert "ssim_bicubic" in done.out


def test_what_cannot_be_enlarged_is_said_in_one_line(
    command: Command, photo_file: Path, tiny_runs: dict[str, Path], tmp_path: Path
) -> None:
    for words, said in (
        (f"{tiny_runs['singan']} -o {tmp_path}/x.png --factor 1", "out of range"),
        (f"{tiny_runs['singan']} -o {tmp_path}/x.png --strength 2", "strength of 2 is out"),
        (f"{tiny_runs['consingan']} -o {tmp_path}/x.png", "takes no images at its finest level"),
        (
            f"{tiny_runs['singan']} -o {tmp_path}/z.png --factor 2 --truth {photo_file}",
            "the truth is",
        ),
    ):
        done = command(f"upscale {words}")
        assert done.code == 2, words
        assert len(done.err.strip().splitlines()) == 1
        assert said in done.err
    assert not (tmp_path / "x.png").exists()


def test_what_a_comparison_needs_is_missed_before_the_work(
    command: Command, photo_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    line = f"upscale {photo_file} -o {tmp_path}/x.png --factor 1.1 --truth {photo_file}"
    assert 'pip install "singleimage[metrics]"' in command(line).err
    assert not (tmp_path / "x.png").exists()
