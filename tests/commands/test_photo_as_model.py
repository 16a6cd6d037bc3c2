"""A photo where a model can stand: its flags, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from profiles import ADOBE_RGB
from refusals import assert_refused
from scenes import colors, disk, scene, sprite
from singleimage import Channels, Photo, read_photo
from singleimage.images.rearrangement import Rearrangement
from singleimage.multiscale.geometry import Size
from tiny import Command

pytestmark = pytest.mark.usefixtures("quick_flow", "weights_kept")
RGB = Channels(mode="RGB")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a photo of 40x50 pixels, another, a mask and a label map."""
    folder = tmp_path / "files"
    folder.mkdir()
    Photo(scene(40, 50), RGB).save(folder / "photo.png")
    Photo(-scene(40, 50), RGB).save(folder / "other.png")
    disk(Photo(scene(40, 50), RGB).size).save(folder / "mask.png")
    return folder


def told(command: Command, line: str) -> dict[str, list[float]]:
    done = command(line + " --json")
    assert done.code == 0, done.err
    found: dict[str, list[float]] = json.loads(done.out)
    return found


def test_more_variety_is_fewer_neighbors_together(command: Command, files: Path) -> None:
    def shares(variety: float) -> float:
        line = f"sample {files}/photo.png -o {files}/{variety} -n 3 --variety {variety}"
        return sum(told(command, line)["together"])

    assert shares(0.05) > shares(1.0)


def test_that_variety_hardly_matters_to_what_repeats_both_ways_is_told(
    command: Command, files: Path
) -> None:
    def noted(flags: str) -> bool:
        done = command(f"sample {files}/photo.png -o {files}/tiles -n 1 --overwrite {flags}")
        assert done.code == 0, done.err
        return "note: --variety says how much the places of the photo count" in done.err

    assert noted("--tile xy --variety 0.8")
    drawn = read_photo(files / "tiles" / "0000.png").pixels
    assert not noted("--tile xy")
    assert torch.equal(read_photo(files / "tiles" / "0000.png").pixels, drawn)
    assert not noted("--tile x --variety 0.8")


def test_what_is_kept_stays(command: Command, files: Path) -> None:
    told(command, f"sample {files}/photo.png -o {files}/kept -n 2 --keep {files}/mask.png")
    line = f"sample {files}/photo.png -o {files}/kept -n 1 --keep {files}/mask.png --overwrite"
    assert "7% of the picture is marked: what is bright in the mask." in command(line).err
    photo, mask = read_photo(files / "photo.png"), read_photo(files / "mask.png")
    for name in ("0000.png", "0001.png"):
        picture = read_photo(files / "kept" / name)
        same = (picture.pixels == photo.pixels).all(0)
        assert bool(same[mask.pixels[0] > 0].all())
        assert not bool(same.all())


def test_a_map_rearranges_the_photo_as_the_picture(command: Command, files: Path) -> None:
    told(command, f"sample {files}/photo.png -o {files}/out -n 1 --map --tile xy --size 30x44")
    told(command, f"apply {files}/out/0000_map.tiff {files}/photo.png -o {files}/again.png")
    again = read_photo(files / "again.png")
    assert torch.equal(again.pixels, read_photo(files / "out" / "0000.png").pixels)


MAPPED = """
fill {photo} --mask {mask} --exact
extend {photo} --left 12 --bottom 7 --exact
edit {photo} {pasted} --mask {mask} --exact
harmonize {photo} {pasted} --mask {mask} --exact
paint {photo} {other}
restyle {photo} {other}
"""


@pytest.mark.parametrize("line", MAPPED.split("\n")[1:-1], ids=lambda line: line.split()[0])
def test_tools_tell_where_pixels_come_from(command: Command, files: Path, line: str) -> None:
    photo = files / "photo.png"
    pasted = read_photo(photo).pixels.clone()
    pasted[:, 15:25, 20:30] = 1.0
    Photo(pasted, RGB).save(files / "pasted.png")
    names = {name: files / f"{name}.png" for name in ("photo", "mask", "other", "pasted")}
    found = told(command, line.format(**names) + f" -o {files}/out.png --map")
    assert found["files"] == [f"{files}/out.png", f"{files}/out_map.tiff"]
    told(command, f"apply {files}/out_map.tiff {photo} -o {files}/again.png")
    again, result = read_photo(files / "again.png"), read_photo(files / "out.png")
    assert torch.equal(again.pixels, result.pixels)


def test_what_is_not_of_the_photo_is_from_elsewhere(command: Command, files: Path) -> None:
    line = f"fill {files}/photo.png {files}/other.png --mask {files}/mask.png --exact --map"
    told(command, f"{line} -o {files}/out.png")
    told(command, f"apply {files}/out_map.tiff {files}/photo.png -o {files}/again.png")
    again, result = read_photo(files / "again.png"), read_photo(files / "out.png")
    filled = read_photo(files / "mask.png").pixels[0] > 0
    assert torch.equal(again.pixels[:, filled], result.pixels[:, filled])
    assert again.pixels[:, ~filled].unique().tolist() == [-1]


def test_a_photo_is_measured_and_told_of(command: Command, files: Path) -> None:
    Photo(scene(64, 80), RGB).save(files / "large.png")
    done = command(f"evaluate {files}/large.png -n 2 --json")
    assert done.code == 0, done.err
    (numbers,) = json.loads(done.out).values()
    wild = command(f"evaluate {files}/large.png -n 2 --variety 0.9 --json")
    (others,) = json.loads(wild.out).values()
    assert 0 < others["copy_together"] < numbers["copy_together"] < 1
    (line,) = (x for x in command(f"info {files}/large.png").out.split("\n") if "together" in x)
    assert 0 < float(line.split()[-1]) < 1


def test_masks_come_with_every_picture(command: Command, files: Path) -> None:
    told(command, f"sample {files}/photo.png -o {files}/out -n 2 --mask {files}/mask.png")
    for name in ("0000_mask.png", "0001_mask.png"):
        assert len(colors(read_photo(files / "out" / name))) == 2


def test_several_photos_are_one_source(command: Command, files: Path) -> None:
    own = colors(read_photo(files / "photo.png"))
    line = f"sample {files}/photo.png {files}/other.png -o {files}/out -n 1 --variety 0.7"
    told(command, line)
    found = colors(read_photo(files / "out" / "0000.png"))
    assert found & own
    assert found - own
    assert found - own <= colors(read_photo(files / "other.png"))


def test_several_sprites_are_one_source(command: Command, files: Path) -> None:
    """Each of few colors, but not of the same; and gray among color is color."""
    one = sprite()
    one.save(files / "one.png")
    other = Photo(one.pixels.roll(1, 0).flip(2), one.channels)
    other.save(files / "two.png")
    assert read_photo(files / "one.png").channels.palette
    told(command, f"sample {files}/one.png {files}/two.png -o {files}/out -n 2 --variety 0.8")
    found = colors(read_photo(files / "out" / "0000.png"))
    assert found <= colors(one) | colors(other)
    Photo(scene(40, 50)[:1], Channels(mode="L")).save(files / "gray.png")
    told(command, f"sample {files}/gray.png {files}/photo.png -o {files}/mixed -n 1")
    assert read_photo(files / "mixed" / "0000.png").channels.mode == "RGB"
    deep = Photo(scene(40, 50).flip(2), Channels(mode="RGB", bits=16))
    deep.save(files / "deep.png")
    told(command, f"sample {files}/photo.png {files}/deep.png -o {files}/depths -n 1")
    assert read_photo(files / "depths" / "0000.png").channels.bits == 8
    clear = torch.cat([scene(40, 50), scene(40, 50)[:1]])
    Photo(clear, Channels(mode="RGBA")).save(files / "clear.png")
    refused = command(f"sample {files}/photo.png {files}/clear.png -o {files}/no -n 1")
    assert refused.code == 2
    assert "have different channels (color; color with alpha; or other masks)" in refused.err


def test_what_is_kept_of_several_photos_is_of_the_first(command: Command, files: Path) -> None:
    photos = f"{files}/photo.png {files}/other.png"
    told(command, f"sample {photos} -o {files}/kept -n 1 --keep {files}/mask.png")
    photo, mask = read_photo(files / "photo.png"), read_photo(files / "mask.png")
    same = (read_photo(files / "kept" / "0000.png").pixels == photo.pixels).all(0)
    assert bool(same[mask.pixels[0] > 0].all())
    assert not bool(same.all())
    refused = command(f"sample {photos} -o {files}/maps -n 1 --map")
    assert refused.code == 2
    assert "--map tells places of one photo; drop it, or the other photos." in refused.err


def test_what_is_applied_moves_the_numbers_of_a_file_as_they_are(
    command: Command, files: Path
) -> None:
    """Indices of a palette; colors where alpha is 0; values in a color space of their own."""
    told(command, f"sample {files}/photo.png -o {files}/out -n 1 --map")
    y, x = np.indices((40, 50))
    labels = Image.fromarray((x // 9 + y // 13).astype(np.uint8)).convert("P")
    labels.putpalette([7, 90, 200, *range(3, 200)])
    normals = np.stack([x * 5, y * 6, x + y, (x > 25) * 90], -1).astype(np.uint8)
    labels.save(files / "labels.png", transparency=b"\0\x80", dpi=(300, 300))
    Image.fromarray(normals).save(files / "normals.png", icc_profile=ADOBE_RGB)
    places = read_photo(files / "out" / "0000_map.tiff").pixels
    index = Rearrangement.read(places, Size(40, 50)).places.numpy()
    for name, values in (("labels", np.asarray(labels)), ("normals", normals)):
        told(command, f"apply {files}/out/0000_map.tiff {files}/{name}.png -o {files}/moved.png")
        with Image.open(files / "moved.png") as moved:
            assert (moved.mode == "P") == (name == "labels")
            if name == "labels":
                assert moved.info["transparency"] == b"\0\x80"
                assert moved.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            expected = values.reshape(2000, -1)[index].squeeze()
            assert (np.asarray(moved) == expected).all(), name
        (files / "moved.png").unlink()


def test_every_tool_works_on_a_photo(command: Command, files: Path) -> None:
    photo, other, mask = (files / f"{name}.png" for name in ("photo", "other", "mask"))
    for index, line in enumerate(
        (
            f"fill {photo} --mask {mask} --exact",
            f"extend {photo} --left 9",
            f"edit {photo} {other} --mask {mask} --exact",
            f"harmonize {photo} {other} --mask {mask} --no-exact",
            f"paint {photo} {other} --variety 0.5",
            f"restyle {photo} {other}",
            f"upscale {photo} --factor 1.5",
            f"fill {photo} --mask {mask} --sweep",
        )
    ):
        done = command(f"{line} -o {files}/{index}.png")
        assert done.code == 0, done.err
    assert colors(read_photo(files / "0.png")) <= colors(read_photo(photo))
    assert read_photo(files / "1.png").size.width == 59


TRANSCRIPT = """
variety out of range
$ sample {photo} -o {out} --variety 2
a variety of 2 is out of range; use one from 0 to 1.

variety of a model
$ sample {run} -o {out} --variety 0.5
--variety is for photos, and {run} is none; a model draws as it was made.

keep of another size
$ sample {photo} -o {out} --keep {mask} --size 60x60
what stays has its place in a picture of the photo's size 40x50 that is no tile; drop the size or
the tile.

keep with a model
$ sample {run} -o {out} --keep {mask}
a trained model does not copy its photo's pixels, so it cannot keep some or tell where they come
from; give the photo itself instead of a model.

map with a model
$ sample {run} -o {out} --map
a trained model does not copy its photo's pixels, so it cannot keep some or tell where they come
from; give the photo itself instead of a model.

map of a tool with a model
$ fill {run} --mask {mask} -o {out}.png --map
a trained model does not copy its photo's pixels, so it cannot keep some or tell where they come
from; give the photo itself instead of a model.

map of a sheet
$ fill {photo} --mask {mask} -o {out}.png --map --sweep
--map is of one result, --sweep writes a sheet; drop one of the two.

variety of measured files
$ evaluate {photo} --real {photo} --variety 0.4
--variety is for a photo that samples are drawn of; leave it out.

masks of several photos
$ sample {photo} {photo} -o {out} --mask {mask}
--mask goes with one photo; drop it, or the other photos.

frames of a photo
$ sample {photo} -o {out} --frames 5
a model of a photo draws no clips; train one with --for video.

no map
$ apply {photo} {photo} -o {out}
{photo} is no map; make one with: singleimage sample PHOTO --map -o FOLDER

a photo that moves
$ animate {photo} -o {out}.gif
copied pixels jump from picture to picture and cannot move; train a model with: singleimage
train PHOTO -o RUN --for animate
"""


def test_what_a_photo_cannot_is_one_line(
    command: Command, files: Path, tiny_run: Path, tmp_path: Path
) -> None:
    places = {"photo": files / "photo.png", "mask": files / "mask.png", "run": tiny_run}
    assert_refused(TRANSCRIPT, command, tmp_path, **places)


@pytest.mark.parametrize("tool", ["fill", "upscale", "apply"])
def test_a_tiff_is_said_to_have_no_exif(tool: str, command: Command, files: Path) -> None:
    words = Image.Exif()
    words[271] = "Maker"
    photo = files / "words.jpg"
    with Image.open(files / "photo.png") as opened:
        opened.save(photo, exif=words)
    if tool == "apply":
        told(command, f"sample {photo} -o {files}/out -n 1 --map")
    lines = {
        "fill": f"fill {photo} --mask {files}/mask.png",
        "upscale": f"upscale {photo} --factor 1.2",
        "apply": f"apply {files}/out/0000_map.tiff {photo}",
    }
    for suffix, noted in ((".tif", True), (".png", False)):
        done = command(f"{lines[tool]} -o {files}/made{suffix}")
        assert done.code == 0, done.err
        assert (f"made{suffix} is a TIFF, which is written without EXIF" in done.err) == noted
