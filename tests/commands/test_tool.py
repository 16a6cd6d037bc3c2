"""The commands of tools: each writes a picture, or says in one line why not."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pasting import with_square
from scenes import scene
from singleimage import Channels, Model, Photo, read_photo
from singleimage.generators.cascade import Cascade
from tiny import Command


@pytest.fixture
def files(tiny_run: Path, tmp_path: Path) -> Path:
    """A folder with the photo of the run, the same with a square pasted in, and its mask."""
    photo = Model.load(tiny_run).training_image()
    assert photo is not None
    composite, mask = with_square(photo)
    photo.save(tmp_path / "photo.png")
    composite.save(tmp_path / "composite.png")
    mask.save(tmp_path / "mask.png")
    return tmp_path


def test_every_command_writes_a_picture(command: Command, tiny_run: Path, files: Path) -> None:
    picture, mask = files / "composite.png", files / "mask.png"
    for line in (
        f"harmonize {tiny_run} {picture} -o {files}/1.png --mask {mask}",
        f"harmonize {tiny_run} {picture} -o {files}/2.png --background {files}/photo.png",
        f"edit {tiny_run} {picture} -o {files}/3.png --seed 4",
        f"paint {tiny_run} {picture} -o {files}/4.png",
        f"restyle {tiny_run} {picture} -o {files}/5.png --json",
        f"fill {tiny_run} {picture} -o {files}/6.png --mask {mask}",
        f"extend {tiny_run} {picture} -o {files}/7.png --left 9",
        f"paint {tiny_run} {picture} -o {files}/8.png --sweep",
    ):
        done = command(line)
        assert done.code == 0, done.err
    assert read_photo(files / "7.png").size.width == read_photo(picture).size.width + 9


REFUSED = {
    "harmonize RUN FILES/photo.png -o FILES/x.png": "is empty",
    "harmonize RUN FILES/composite.png -o FILES/x.png --level 77": "level 77 cannot take an image",
    "harmonize RUN FILES/composite.png -o FILES/photo.png": "exists and would be replaced",
    "harmonize RUN FILES/composite.png -o FILES/x.png --mask FILES/nope.png": "does not exist",
    "fill RUN FILES/photo.png -o FILES/x.png": "requires an argument|Missing|--mask",
    "extend RUN FILES/photo.png -o FILES/x.png": "nothing to add",
    "paint RUN FILES/photo.png -o FILES/x.png --sweep --level 0": "drop --level",
    "paint RUN FILES/photo.png -o FILES/x.jpg --sweep": "writes a PNG, and .*x.jpg",
}


def test_what_cannot_be_done_is_said_in_one_line(
    command: Command, tiny_run: Path, files: Path
) -> None:
    for line, words in REFUSED.items():
        done = command(line.replace("RUN", str(tiny_run)).replace("FILES", str(files)))
        assert done.code == 2, line
        assert len(done.err.strip().splitlines()) == 1
        assert re.search(words, done.err), done.err
        assert not (files / "x.png").exists()


def test_a_sheet_of_a_model_without_photo_or_entries_is_refused_before_it_is_drawn(
    command: Command,
    tiny_runs: dict[str, Path],
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare, run = files / "bare.safetensors", tiny_runs["singan"]
    Model.load(run).save(bare, embed_image=False)
    done = command(f"fill {bare} --mask {files}/mask.png -o {files}/x.png --sweep")
    assert (done.code, "does not hold its photo" in done.err) == (2, True)
    monkeypatch.setattr(Cascade, "entry_levels", frozenset())
    done = command(f"paint {run} {files}/photo.png -o {files}/x.png --sweep")
    assert (done.code, "takes no pictures" in done.err) == (2, True)
    assert not (files / "x.png").exists()


@pytest.mark.parametrize("deep", ["photo", "composite"])
def test_a_file_is_to_hold_what_the_result_is_laid_into(
    deep: str,
    command: Command,
    quick_flow: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The photo, whose bits may be more or fewer; what it cannot hold is refused before."""
    photo = Photo(scene(40, 50), Channels(mode="RGB"))
    for name, one in (("photo", photo), ("composite", with_square(photo)[0])):
        bits: Any = 16 if name == deep else 8
        replace(one, channels=Channels(mode="RGB", bits=bits)).save(tmp_path / f"{name}.png")
    with_square(photo)[1].save(tmp_path / "mask.png")
    made: list[Any] = []
    monkeypatch.setattr(
        "singleimage.tools.retouch.completed", lambda *_, **__: made.append(photo) or made
    )
    line = f"harmonize {tmp_path}/photo.png {tmp_path}/composite.png --mask {tmp_path}/mask.png"
    done = command(f"{line} -o {tmp_path}/out.jpg")
    assert ("cannot hold 16-bit color" in done.err) == (deep == "photo")
    assert done.code == (2 if deep == "photo" else 0), done.err
    assert len(made) == (deep == "composite")
