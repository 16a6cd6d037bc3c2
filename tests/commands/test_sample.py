"""`singleimage sample`: which pictures it draws, of which size, and what it refuses."""

import json
import os
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refusals import assert_refused
from singleimage.apps.sample import seam
from singleimage.images.channels import Mask
from singleimage.images.photo import Photo
from singleimage.images.reader import read_photo
from singleimage.models.model import Model
from tiny import TRAIN_FLAGS, Command, Outcome, pixels, result

TRANSCRIPT = """
no pictures
$ sample {run} -o {out} -n 0
cannot draw 0 pictures; ask for 1 or more.

size of nothing
$ sample {run} -o {out} --size large
--size large is no size; write HEIGHTxWIDTH, such as 200x300.

size of one number
$ sample {run} -o {out} --size 200
--size 200 is no size; write HEIGHTxWIDTH, such as 200x300.

size with a sign
$ sample {run} -o {out} --size -20x30
Command "sample" parameter --size requires an argument. See: singleimage sample --help

size too small
$ sample {run} -o {out} --size 5x30
5x30 is too small for this model's pyramid; the smallest size it can draw is 6x6. Ask for that or
more.

size of zero
$ sample {run} -o {out} --size 0x0
0x0 is too small for this model's pyramid; the smallest size it can draw is 6x6. Ask for that or
more.

size too large
$ sample {run} -o {out} --size 90000x90000
90000x90000 is too large; ask for up to 80 megapixels.

size and scale
$ sample {run} -o {out} --size 50x50 --scale 2
both --size and --scale are given; drop one.

scale negative
$ sample {run} -o {out} --scale -1
--scale -1 is out of range; use a factor from 0 up to 100.

scale not a number
$ sample {run} -o {out} --scale nan
--scale nan is out of range; use a factor from 0 up to 100.

scale too small
$ sample {run} -o {out} --scale 0.01
1x1 is too small for this model's pyramid; the smallest size it can draw is 6x6. Ask for that or
more.

scale too large
$ sample {run} -o {out} --scale 1000
--scale 1000 is out of range; use a factor from 0 up to 100.

start level too high
$ sample {run} -o {out} --start-level 3
start level 3 is not one of this model's levels; use 0 to 2.

start level negative
$ sample {run} -o {out} --start-level -1
start level -1 is not one of this model's levels; use 0 to 2.

start level and size
$ sample {run} -o {out} --start-level 1 --size 50x50
a start level of 1 keeps the photo's layout and so its size 34x40, not 50x50; drop one of the two.

picture exists
$ sample {run} -o {bad}/done -n 1
{bad}/done/0000.png exists and would be replaced; choose another output or pass --overwrite.

sheet exists
$ sample {run} -o {bad}/done -n 1 --seed 1
{bad}/done/sheet.png exists and would be replaced; choose another output or pass --overwrite.

file as folder
$ sample {run} -o {photo}
{photo} is a file, not a folder; choose another output.

folder below a file
$ sample {run} -o {photo}/x
{photo} is a file, not a folder; choose another output.
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pictures that would be drawn exist."""
    folder = tmp_path_factory.mktemp("bad") / "done"
    folder.mkdir()
    for name in ("0000.png", "sheet.png"):
        (folder / name).write_text("mine")
    return folder.parent


def test_sample_writes_a_file_for_each_seed_and_a_sheet(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    outcome = command(f"sample {tiny_run} -o {tmp_path}/out -n 3 --seed 9998")
    assert outcome == Outcome(0, f"3 pictures in {tmp_path}/out\n", "")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["10000.png", "9998.png", "9999.png", "sheet.png"]
    model = Model.load(tiny_run)
    for seed, picture in zip((9998, 9999), model.sample([9998, 9999]), strict=True):
        picture.save(tmp_path / "expected.png", overwrite=True)
        expected = pixels(tmp_path / "expected.png")
        np.testing.assert_array_equal(pixels(tmp_path / "out" / f"{seed}.png"), expected)


def test_eight_pictures_are_drawn_unless_told_otherwise(
    tiny_runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    facts = result(command(f"sample {tiny_runs['consingan']} -o {tmp_path} --json"))
    names = [Path(file).name for file in facts["files"]]
    assert names == [f"{i:04}.png" for i in range(8)] + ["sheet.png"]
    assert all(Path(file).is_file() for file in facts["files"])


def test_the_sheet_begins_with_the_photo(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    command(f"sample {tiny_run} -o {tmp_path}/out -n 2")
    height, width = Model.load(tiny_run).size
    page = pixels(tmp_path / "out" / "sheet.png")
    photo = Model.load(tiny_run).training_image()
    assert photo is not None
    first = page[4 : 4 + height, 4 : 4 + width]
    np.testing.assert_array_equal(first, np.asarray(photo.preview()))
    second = page[4 : 4 + height, 8 + width : 8 + 2 * width]
    np.testing.assert_array_equal(second, pixels(tmp_path / "out" / "0000.png"))


def test_no_sheet_writes_none(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    facts = result(command(f"sample {tiny_run} -o {tmp_path}/out --count 1 --no-sheet --json"))
    assert facts["files"] == [f"{tmp_path}/out/0000.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0000.png"]


def test_the_same_seed_gives_the_same_picture(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    for folder in ("a", "b"):
        command(f"sample {tiny_run}/model.safetensors -o {tmp_path}/{folder} -n 2 --seed 5")
    names = ["0005.png", "0006.png", "sheet.png"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / names[0]).read_bytes() != (tmp_path / "a" / names[1]).read_bytes()


def test_a_picture_does_not_depend_on_how_many_are_drawn(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    command(f"sample {tiny_run} -o {tmp_path}/many -n 19")
    for seed in (0, 2, 18):
        command(f"sample {tiny_run} -o {tmp_path}/one -n 1 --seed {seed} --overwrite")
        one, many = (tmp_path / folder / f"{seed:04}.png" for folder in ("one", "many"))
        np.testing.assert_array_equal(pixels(one), pixels(many))


@pytest.mark.parametrize(
    ("flag", "size"),
    [("--size 60x50", (60, 50)), ("--size 30X44", (30, 44)), ("--scale 1.5", None)],
)
def test_pictures_have_the_size_that_was_asked_for(
    flag: str, size: tuple[int, int] | None, tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    assert command(f"sample {tiny_run} -o {tmp_path}/out -n 2 {flag}").code == 0
    if size is None:
        size = tuple(round(side * 1.5) for side in Model.load(tiny_run).size)
    for name in ("0000.png", "0001.png"):
        assert pixels(tmp_path / "out" / name).shape == (*size, 3)


def test_the_smallest_size_that_info_names_can_be_drawn(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    height, width = result(command(f"info {tiny_run} --json"))["smallest_sample"]
    line = f"sample {tiny_run} -o {tmp_path}/out -n 1 --overwrite --size"
    assert command(f"{line} {height}x{width}").code == 0
    assert command(f"{line} {height // 2}x{width}").code == 2


def test_a_start_level_keeps_the_layout_below_it(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    command(f"reconstruct {tiny_run} -o {tmp_path}/r.png")
    known = pixels(tmp_path / "r.png").astype(float)
    gaps = []
    for level in (0, 2):
        command(f"sample {tiny_run} -o {tmp_path}/{level} -n 4 --start-level {level}")
        drawn = [pixels(tmp_path / f"{level}" / f"{i:04}.png") for i in range(4)]
        gaps.append(np.mean([np.abs(picture - known).mean() for picture in drawn]))
    assert gaps[1] < gaps[0]


def test_overwriting_is_done_on_demand_only(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    line = f"sample {tiny_run} -o {tmp_path}/out -n 1"
    assert command(line).code == 0
    before = (tmp_path / "out" / "0000.png").read_bytes()
    (tmp_path / "out" / "0000.png").write_text("mine")
    assert command(line).code == 2
    assert (tmp_path / "out" / "0000.png").read_text() == "mine"
    assert command(f"{line} --overwrite").code == 0
    assert (tmp_path / "out" / "0000.png").read_bytes() == before


def rewrite(photo_file: Path, path: Path, mode: str) -> Path:
    """The photo as gray, with alpha, or with 16 bits, where `mode` says so."""
    values = pixels(photo_file)
    if mode.startswith("L"):
        values = values[..., :1]
    if mode.rstrip("16").endswith("A"):
        alpha = np.where(np.indices(values.shape[:2]).sum(axis=0) % 20 < 10, 255, 40)
        values = np.dstack([values, alpha.astype(np.uint8)])
    if mode.endswith("16"):
        import tifffile

        values = values.astype(np.uint16) * 257 - (values > 0)
        photometric = "rgb" if values.shape[2] > 2 else "minisblack"
        tifffile.imwrite(path, values.squeeze(), photometric=photometric)
    else:
        Image.fromarray(values.squeeze()).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "preset"),
    [
        ("L", "consingan"),
        ("L", "singan"),
        ("LA", "singan"),
        ("RGBA", "consingan"),
        ("RGBA", "singan"),
        ("L16", "consingan"),
        ("RGB16", "consingan"),
    ],
)
def test_samples_have_the_channels_of_the_photo(
    mode: str, preset: str, photo_file: Path, tmp_path: Path, command: Command
) -> None:
    photo = rewrite(photo_file, tmp_path / "photo.tif", mode)
    line = f"train {photo} -o {tmp_path}/run {TRAIN_FLAGS[preset]} --steps 1"
    assert command(line).code == 0
    facts = result(command(f"sample {tmp_path}/run -o {tmp_path}/out -n 1 --json"))
    assert Path(facts["files"][0]).name == ("0000.png")
    drawn = read_photo(facts["files"][0])
    assert drawn.channels.plain == read_photo(photo).channels.plain
    assert drawn.channels.mode + ("16" if drawn.channels.bits == 16 else "") == mode


@pytest.mark.parametrize("preset", TRAIN_FLAGS)
def test_samples_come_with_their_masks(
    preset: str, photo_file: Path, tmp_path: Path, command: Command
) -> None:
    rows, columns = np.indices((44, 52))
    labels = (columns // 18).astype(np.uint8)
    Image.fromarray(labels * 3).save(tmp_path / "labels.png")
    Image.fromarray(((rows // 11) % 2 * 255).astype(np.uint8)).save(tmp_path / "binary.png")
    masks = f"--mask {tmp_path}/labels.png --mask {tmp_path}/binary.png"
    line = f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS[preset]} --steps 1 {masks}"
    assert command(line).code == 0
    assert Model.load(tmp_path / "run").channels.masks == (
        Mask(labels=(0, 3, 6)),
        Mask(labels=(0, 255)),
    )
    facts = result(command(f"sample {tmp_path}/run -o {tmp_path}/out -n 2 --json"))
    names = [Path(file).name for file in facts["files"]]
    assert names == [f"000{i}{part}.png" for i in (0, 1) for part in ("", "_mask", "_mask2")] + [
        "sheet.png"
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)
    height, width = Model.load(tmp_path / "run").size
    assert pixels(tmp_path / "out" / "0000.png").shape == (height, width, 3)
    for name, known in (("0000_mask.png", {0, 3, 6}), ("0001_mask2.png", {0, 255})):
        mask = pixels(tmp_path / "out" / name)
        assert mask.shape == (height, width)
        assert set(np.unique(mask).tolist()) <= known


def test_an_existing_mask_is_not_replaced_either(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    Image.fromarray(np.eye(44, 52, dtype=np.uint8) * 255).save(tmp_path / "m.png")
    flags = f"{TRAIN_FLAGS['consingan']} --steps 1 --mask {tmp_path}/m.png"
    assert command(f"train {photo_file} -o {tmp_path}/run {flags}").code == 0
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0001_mask.png").write_text("mine")
    outcome = command(f"sample {tmp_path}/run -o {tmp_path}/out -n 2")
    assert outcome.code == 2
    assert "0001_mask.png exists and would be replaced" in outcome.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0001_mask.png"]


def test_what_cannot_be_drawn_is_one_line(
    bad: Path, photo_file: Path, good_run: Path, tmp_path: Path, command: Command
) -> None:
    assert_refused(TRANSCRIPT, command, tmp_path, bad=bad, photo=photo_file, run=good_run)


GOLDEN = Path(__file__).parents[1] / "golden" / "format-1.safetensors"


def test_the_command_writes_tiles_and_tells_their_seam(tmp_path: Path, command: Command) -> None:
    done = command(f"sample {GOLDEN} -o {tmp_path} -n 2 --seed 4 --tile xy --size 40x50 --json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    pictures = list(Model.load(GOLDEN).sample([4, 5], tile="xy", size=(40, 50)))
    x, y = np.mean([seam(picture.pixels) for picture in pictures], axis=0)
    assert facts["seam"] == {"x": pytest.approx(x, rel=1e-4), "y": pytest.approx(y, rel=1e-4)}
    for seed, picture in zip((4, 5), pictures, strict=True):
        kept = np.asarray(Image.open(tmp_path / f"{seed:04}.png")).transpose(2, 0, 1)
        assert np.abs(kept - (picture.pixels.numpy() + 1) * 127.5).max() < 1.0

    words = command(
        f"sample {GOLDEN} -o {tmp_path} -n 2 --seed 4 --tile xy --size 40x50 --overwrite"
    )
    assert words.out.splitlines()[1:] == [f"seam {x:.2f} x, {y:.2f} y (1: like inside)"]


def test_the_command_says_nothing_of_seams_unless_asked(tmp_path: Path, command: Command) -> None:
    done = command(f"sample {GOLDEN} -o {tmp_path} -n 1 --json")
    assert list(json.loads(done.out)) == ["files"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--tile z", "--tile"),
        ("--tile yx", "--tile"),
        ("--tile x --start-level 1", "cannot be tiled along x"),
    ],
)
def test_what_cannot_be_tiled_is_refused_in_one_line(
    flags: str, message: str, tmp_path: Path, command: Command
) -> None:
    done = command(f"sample {GOLDEN} -o {tmp_path / 'new'} {flags}")
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Has Ctrl-C come while the second picture is saved; the names of those that are."""
    save, saved = Photo.save, list[str]()

    def interrupt(photo: Photo, path: Path, *, overwrite: bool = False) -> list[Path]:
        saved.append(Path(path).name)
        if len(saved) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return save(photo, path, overwrite=overwrite)

    monkeypatch.setattr(Photo, "save", interrupt)
    return saved


def test_what_was_stopped_is_continued_to_the_same_files(
    tiny_run: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends it after a picture; the same command keeps what is there, another is refused."""
    line = f"sample {tiny_run} -o {{}} -n 5"
    assert command(line.format(tmp_path / "whole")).code == 0
    saved = interrupted(monkeypatch)
    stopped = command(line.format(tmp_path / "out"))
    assert stopped.code == 128 + signal.SIGINT
    assert f"stopped with 2 of 5 pictures in {tmp_path}/out; the same command" in stopped.err
    assert saved == ["0000.png", "0001.png"]
    refused = command(f"{line.format(tmp_path / 'out')} --tile x")
    assert (refused.code, "exists and would be replaced" in refused.err) == (2, True)
    again = command(line.format(tmp_path / "out"))
    assert (again.code, again.err) == (0, "2 of 5 pictures are there; drawing the rest.\n")
    assert saved[2:] == ["0002.png", "0003.png", "0004.png"]
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert command(line.format(tmp_path / "out")).code == 2, "what is complete is not replaced"


def test_what_was_overwritten_in_part_is_continued_by_the_same_command_alone(
    tiny_run: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of other settings that are still there are not taken for these."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert command(f"sample {tiny_run} -o {out} -n 4 --scale 1.5").code == 0
    assert command(f"sample {tiny_run} -o {whole} -n 4").code == 0
    line, saved = f"sample {tiny_run} -o {out} -n 4", interrupted(monkeypatch)
    assert command(f"{line} --overwrite").code == 128 + signal.SIGINT
    refused = command(line)
    assert (refused.code, "0003.png exists and would be replaced" in refused.err) == (2, True)
    again = command(f"{line} --overwrite")
    assert (again.code, again.err) == (0, "2 of 4 pictures are there; drawing the rest.\n")
    assert saved[2:] == ["0002.png", "0003.png"]
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    for name in names:
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.usefixtures("quick_flow")
def test_what_is_told_and_shown_of_a_stopped_drawing_is_of_all_its_pictures(
    photo_file: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((44, 52), np.uint8)
    mask[10:30, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    line = f"sample {photo_file} -n 3 --mask {tmp_path}/mask.png --json -o {tmp_path}"
    whole = result(command(f"{line}/whole"))
    interrupted(monkeypatch)
    assert command(f"{line}/out").code == 128 + signal.SIGINT
    with (tmp_path / "out" / ".samples.jsonl").open("a") as stream:
        stream.write('{"seed": 2, "toge')  # killed while it wrote
    told = result(command(f"{line}/out"))
    assert told["together"] == whole["together"]
    sheets = [(tmp_path / name / "sheet.png").read_bytes() for name in ("whole", "out")]
    assert sheets[0] == sheets[1]


def test_a_billion_pictures_cost_no_memory_before_the_first(
    tiny_run: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Photo.save

    def interrupt(photo: Photo, path: Path, *, overwrite: bool = False) -> list[Path]:
        os.kill(os.getpid(), signal.SIGTERM)
        return save(photo, path, overwrite=overwrite)

    monkeypatch.setattr(Photo, "save", interrupt)
    tracemalloc.start()
    done = command(f"sample {tiny_run} -o {tmp_path}/out -n 1000000000")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.code == 128 + signal.SIGTERM
    assert "stopped with 1 of 1000000000 pictures" in done.err
    assert peak < 50_000_000
