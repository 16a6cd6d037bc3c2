"""`singleimage reconstruct`: what a model knows of its photo, in the format of the suffix."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from refusals import assert_refused
from singleimage.images.reader import read_photo
from singleimage.models.model import Model
from tiny import TRAIN_FLAGS, Command, result

TRANSCRIPT = """
file exists
$ reconstruct {run} -o {bad}/done/0000.png
{bad}/done/0000.png exists and would be replaced; choose another output or pass --overwrite.

folder is missing
$ reconstruct {run} -o {out}/r.png
there is no folder {out}; make it, or choose another output.

unknown suffix
$ reconstruct {run} -o {out}.gif
{out}.gif has no suffix of an image; use .png, .jpg, .webp or .tiff.

no suffix
$ reconstruct {run} -o {out}
{out} has no suffix of an image; use .png, .jpg, .webp or .tiff.

folder as file
$ reconstruct {run} -o {bad}/done
{bad}/done is a folder; name a file.

alpha in JPEG
$ reconstruct {bad}/rgba.safetensors -o {out}.jpg
{out}.jpg: JPEG cannot hold color with alpha; write .png or .tiff.
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, photo_file: Path, command: Command) -> Path:
    """A folder with a file that would be replaced, and a model of a photo with alpha."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "done").mkdir()
    (folder / "done" / "0000.png").write_text("mine")
    transparent = tmp_path_factory.mktemp("rgba")
    with Image.open(photo_file) as opened:
        opened.putalpha(Image.linear_gradient("L").resize(opened.size))
        opened.save(transparent / "photo.png")
    line = f"train {transparent}/photo.png -o {transparent}/run --steps 1"
    assert command(f"{line} {TRAIN_FLAGS['consingan']}").code == 0
    shutil.copy(transparent / "run" / "model.safetensors", folder / "rgba.safetensors")
    return folder


def test_reconstruct_writes_what_the_model_knows_of_the_photo(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    model = Model.load(tiny_run)
    photo = model.training_image()
    assert photo is not None
    facts = result(command(f"reconstruct {tiny_run} -o {tmp_path}/r.png --json"))
    assert facts["files"] == [f"{tmp_path}/r.png"]
    assert facts["mse"] == pytest.approx(
        float((model.reconstruct().pixels - photo.pixels).square().mean())
    )
    found = read_photo(tmp_path / "r.png").pixels
    assert float((found - model.reconstruct().pixels).abs().max()) <= 1.01 / 255
    text = command(f"reconstruct {tiny_run} -o {tmp_path}/r.png --overwrite").out
    assert re.fullmatch(
        r"reconstruction in .*/r\.png; mean squared error \d\.\d{5} in \[-1, 1\]\n", text
    )


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
def test_reconstruct_writes_the_format_of_the_suffix(
    suffix: str, tiny_runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    assert command(f"reconstruct {tiny_runs['singan']} -o {tmp_path}/r{suffix}").code == 0
    with Image.open(tmp_path / f"r{suffix}") as opened:
        assert opened.format == {".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF"}[suffix]


def test_what_cannot_be_written_is_one_line(
    bad: Path, good_run: Path, tmp_path: Path, command: Command
) -> None:
    assert_refused(TRANSCRIPT, command, tmp_path, bad=bad, run=good_run)
