"""`singleimage animate`: the movie that it writes, its progress, and how it is stopped."""

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from filming import opened
from moving import RECIPES, lively
from singleimage import Channels, Model, Photo
from singleimage.commands import animate as animating
from singleimage.commands.console import Stop, until_stopped
from singleimage.models.modelfile import Provenance
from tiny import PHOTO, Command


@pytest.fixture(scope="module", params=["singan", "consingan-animate"])
def model_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = RECIPES[request.param]
    generator = lively(recipe)
    origin = Provenance(
        photo=PHOTO,
        image_sha256="",
        seed=0,
        levels=len(generator.ladder.sizes),
        seconds=0.0,
        device="cpu",
        created="",
        versions={},
    )
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    Model(generator, recipe, Channels(mode="RGB"), origin, None).save(path)
    return path


def test_the_command_writes_a_movie(command: Command, model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "movie.gif"
    done = command(f"animate {model_file} -o {path} -n 4 --fps 5 --loop --json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"files": [str(path)], "frames": 4, "fps": 5.0}
    assert len(opened(path)) == 4
    with Image.open(path) as picture:
        assert picture.info["duration"] == 200
    scaled = tmp_path / "scaled.webp"
    done = command(f"animate {model_file} -o {scaled} -n 2 --size 50x45 --start-level 1")
    assert (done.code, done.out) == (0, f"2 frames in {scaled}\n")
    assert {frame.size for frame in opened(scaled)} == {(45, 50)}
    done = command(f"animate {model_file} -o {scaled}")
    assert done.code == 2
    assert "exists" in done.err


def test_every_number_of_the_command_changes_the_movie(
    command: Command, model_file: Path, tmp_path: Path
) -> None:
    movies = []
    for words in ("", "--seed 1", "--alpha 0.5", "--beta 0.5", "--start-level 2", "--loop"):
        path = tmp_path / f"{len(movies)}.webp"
        assert command(f"animate {model_file} -o {path} -n 3 {words}").code == 0
        movies.append(path.read_bytes())
        assert movies.index(movies[-1]) == len(movies) - 1, words


def test_a_long_animation_says_how_far_it_is(
    command: Command, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("singleimage.commands.console.TELL_EVERY", 0.0)
    told = command(f"animate {model_file} -o {tmp_path}/a.gif -n 3").err.splitlines()
    assert [line.split(",")[0] for line in told] == ["1 of 3 frames", "2 of 3 frames"]
    assert not command(f"animate {model_file} -o {tmp_path}/b.gif -n 3 --json").err


def test_a_stopped_animation_is_a_shorter_movie(
    command: Command, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        monkeypatch.setattr(
            animating, "until_stopped", partial(interrupted, number=number, after=3)
        )
        path = tmp_path / f"{number}" / "a.gif"
        path.parent.mkdir()
        done = command(f"animate {model_file} -o {path} -n 9 --json")
        assert done.code == 128 + number
        assert json.loads(done.out)["frames"] == 3
        assert len(opened(path)) == 3
        assert [file.name for file in path.parent.iterdir()] == ["a.gif"]
        whole = command(f"animate {model_file} -o {path} -n 3 --json --overwrite")
        assert (whole.code, json.loads(whole.out)["frames"]) == (0, 3)


def interrupted(
    photos: Iterator[Photo], stop: Stop, *, number: signal.Signals, after: int
) -> Iterator[Photo]:
    def drawn() -> Iterator[Photo]:
        for done, photo in enumerate(photos, 1):
            if done == after:
                signal.raise_signal(number)
            yield photo

    return until_stopped(drawn(), stop)
