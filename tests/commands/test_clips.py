"""The commands with clips."""

import json
import os
import signal
from pathlib import Path

import pytest

from clips import FIELDS, clip, trained_on_clip
from singleimage.images.clip import Clip, read_clip
from singleimage.images.reader import read_photo
from singleimage.models.model import Model
from tiny import Command


@pytest.fixture(scope="module")
def model() -> Model:
    return trained_on_clip().model()


LEARN = "--preset hp-vae-gan --for video " + " ".join(f"--set {k}={v}" for k, v in FIELDS.items())


def test_the_commands_learn_a_clip_and_draw_new_ones(command: Command, tmp_path: Path) -> None:
    source, run, out = tmp_path / "a.gif", tmp_path / "run", tmp_path / "out"
    clip().save(source)
    done = command(f"train {source} {LEARN} -o {run}")
    assert done.code == 0, done.err
    assert (run / "previews" / "level-3.png").exists()
    assert "is complete" in command(f"train {source} {LEARN} -o {run}").err
    done = command(f"sample {run} -n 2 --frames 9 -o {out} --json")
    assert done.code == 0, done.err
    names = [Path(file).name for file in json.loads(done.out)["files"]]
    assert names == ["0000.gif", "0001.gif", "sheet.png"]
    assert read_clip(out / "0001.gif").pixels.shape == (3, 9, 20, 24)
    assert read_photo(out / "sheet.png").size.width > 5 * 24
    done = command(f"reconstruct {run} -o {tmp_path / 'r.webp'}")
    assert done.code == 0, done.err
    assert "mean squared error" in done.out
    facts = json.loads(command(f"info {run} --json").out)
    assert facts["levels"][-1] == [7, 20, 24]
    assert facts["fps"] == pytest.approx(8, rel=0.05)
    done = command(f"train {source} {LEARN} --dry-run")
    assert "7x20x24" in done.out


@pytest.mark.slow
def test_the_sheet_of_a_stopped_drawing_has_all_its_clips(
    command: Command, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save(tmp_path / "model.safetensors")
    line = f"sample {tmp_path}/model.safetensors -n 3 -o {tmp_path}"
    assert command(f"{line}/whole").code == 0
    save = Clip.save

    def interrupt(drawn: Clip, path: Path, *, overwrite: bool = False) -> list[Path]:
        os.kill(os.getpid(), signal.SIGINT)
        return save(drawn, path, overwrite=overwrite)

    with monkeypatch.context() as patched:
        patched.setattr(Clip, "save", interrupt)
        assert command(f"{line}/out").code == 128 + signal.SIGINT
    assert command(f"{line}/out").code == 0
    whole, out = (read_photo(tmp_path / name / "sheet.png") for name in ("whole", "out"))
    assert out.size == whole.size
    assert (out.pixels - whole.pixels).abs().mean() < 0.02  # a GIF has 256 colors a frame


@pytest.mark.parametrize(
    ("file", "says"),
    [("r.png", "r.png has no suffix of a movie"), ("no/r.gif", "there is no folder {}/no")],
)
def test_where_no_clip_can_be_written_is_said_before_it_is_made(
    file: str,
    says: str,
    command: Command,
    model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model.save(tmp_path / "model.safetensors")
    monkeypatch.setattr(Model, "reconstruct", pytest.fail)
    done = command(f"reconstruct {tmp_path}/model.safetensors -o {tmp_path}/{file}")
    assert done.code == 2
    assert says.format(tmp_path) in done.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sample {photo_model} --frames 9 {out}", "a model of a photo draws no clips"),
        ("animate {model} {out}.gif", "is a model of a clip; draw new clips with: singleimage"),
        ("evaluate {model}", "is a model of a clip"),
        ("train {clip} --mask {clip} {learn} {out}", "--mask does not go with a clip"),
        ("train {clip} --each {learn} {out}", "--for video does not go with --each"),
        ("train {photo} {learn} {out}", "a clip of 7 frames or more is needed, not 1"),
    ],
    ids=["frames", "animate", "evaluate", "mask", "each", "photo"],
)
def test_the_commands_say_what_does_not_go_with_clips(
    line: str,
    says: str,
    command: Command,
    model: Model,
    tmp_path: Path,
    photo_file: Path,
    tiny_runs: dict[str, Path],
) -> None:
    model.save(tmp_path / "model.safetensors")
    clip().save(tmp_path / "a.gif")
    names = {
        "model": tmp_path / "model.safetensors",
        "photo_model": tiny_runs["hp-vae-gan"],
        "clip": tmp_path / "a.gif",
        "photo": photo_file,
        "learn": LEARN,
    }
    done = command(line.format(out=f"-o {tmp_path / 'out'}", **names))
    assert done.code == 2
    assert says in done.err
