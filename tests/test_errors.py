"""What a user can get wrong: one line that says what, the limit and the next step; no trace left.

`TRANSCRIPT` lists them: a name, the command, and the message, which has `...` for the words of
libraries and for digests.
"""

import errno
import json
import os
import re
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import tifffile
import torch
from PIL import Image

from tiny import TRAIN_FLAGS, TRAIN_STEPS, Command

# {bad}: a folder of the inputs made below; {photo}: a good photo; {run}: a good run of it, of ten
# steps; {out}: a folder that does not exist. Trainings get flags that make them tiny.
TRANSCRIPT = """
# Images

missing file
$ train {bad}/no.png -o {out}
{bad}/no.png does not exist; check the path.

empty file
$ train {bad}/empty.png -o {out}
{bad}/empty.png is empty (0 bytes); export the image again.

truncated JPEG
$ train {bad}/cut.jpg -o {out}
{bad}/cut.jpg is damaged: ...; export the image again.

truncated PNG
$ train {bad}/cut.png -o {out}
{bad}/cut.png is damaged: ...; export the image again.

truncated TIFF
$ train {bad}/cut.tif -o {out}
{bad}/cut.tif is damaged: it is cut short; export the image again.

text named png
$ train {bad}/text.png -o {out}
{bad}/text.png is not an image in a known format; use JPEG, PNG, WebP or TIFF.

TIFF in name only
$ train {bad}/magic.tif -o {out}
{bad}/magic.tif is a damaged TIFF, or one with a compression or channels that cannot be read; save
it again without compression, or as PNG.

one pixel
$ train {bad}/1x1.png -o {out}
every pixel of the image has the same color, so there is nothing to learn; choose an image with
some texture.

flat
$ train {bad}/8x3000.png -o {out}
the image is 8x3000; its short side must be over 25 pixels to make a pyramid. Use a larger image,
or lower pyramid.min_size.

tall
$ train {bad}/3000x8.png -o {out}
the image is 3000x8; its short side must be over 25 pixels to make a pyramid. Use a larger image,
or lower pyramid.min_size.

narrow once reduced
$ train {bad}/40x200.png -o {out}
the image is 40x200, too narrow: reduced to 40 pixels on the long side, its short side must stay
over 25. Crop it, or set pyramid.max_size=130 or more.

gigapixels
$ train {bad}/40000x40000.png -o {out}
{bad}/40000x40000.png is over 178 megapixels; the limit is 80 megapixels. Reduce it first.

too many pixels
$ train {bad}/9000x9000.png -o {out}
{bad}/9000x9000.png is 9000x9000; the limit is 80 megapixels. Reduce it first.

one color
$ train {bad}/gray.png -o {out}
every pixel of the image has the same color, so there is nothing to learn; choose an image with
some texture.

one color, opaque
$ train {bad}/opaque.png -o {out}
every pixel of the image has the same color, so there is nothing to learn; choose an image with
some texture.

NaN
$ train {bad}/nan.tif -o {out}
{bad}/nan.tif holds 2304 values that are NaN or infinite; replace them before training.

floats out of range
$ train {bad}/bright.tif -o {out}
{bad}/bright.tif holds floats from 0 to 255; scale them to 0..1 before training.

integers of 32 bits
$ train {bad}/deep.tif -o {out}
{bad}/deep.tif stores 32-bit uint32 samples; save it with 8 or 16 bits, or floats in 0..1.

many channels
$ train {bad}/many.tif -o {out}
{bad}/many.tif has 7 channels; 1 to 4 can be read. Give further ones as --mask.

folder as image
$ train {bad} -o {out}
{bad} is a folder; add --each to learn every photo in it, or --preset meta-small for one model of
all.

device as image
$ train /dev/null -o {out}
/dev/null is a device or a pipe; give an image file.

run as image
$ train {run} -o {out}
{run} is a folder; add --each to learn every photo in it, or --preset meta-small for one model of
all.

model as image
$ train {run}/model.safetensors -o {out}
{run}/model.safetensors is a model, not an image; draw from it with: singleimage sample
{run}/model.safetensors -o FOLDER

below a file
$ train {photo}/x.png -o {out}
cannot read {photo}/x.png: Not a directory; check the path.

# Masks

missing mask
$ train {photo} --mask {bad}/no.png -o {out}
{bad}/no.png does not exist; check the path.

mask of another size
$ train {photo} --mask {bad}/gray.png -o {out}
the mask {bad}/gray.png is 48x48, the image 44x52; crop or resize it to that size.

mask with colors
$ train {photo} --mask {photo} -o {out}
the mask {photo} has colors; save it as grayscale or with a palette.

another number of masks
$ train {photo} --mask {bad}/mask.png --steps 10 -o {run}
{run} holds a run with other settings (another photo or other masks); use another folder.

# Folders of runs

no output
$ train {photo}
no folder for the run; add -o RUN.

below a file as output
$ train {photo} -o {photo}/run
cannot create {photo}/run: Not a directory; choose another output.

file as output
$ train {photo} -o {photo}
{photo} is a file, not a folder; choose another output.

folder with other files
$ train {photo} -o {bad}
{bad} is not empty and holds no run; use another folder.

run of another photo
$ train {bad}/good.png --steps 10 -o {run}
{run} holds a run with other settings (another photo or other masks); use another folder.

run with another seed
$ train {photo} --seed 1 --steps 10 -o {run}
{run} holds a run with other settings (seed: 0, now 1); use another folder.

run with another recipe
$ train {photo} --set generator.width=5 --steps 10 -o {run}
{run} holds a run with other settings (generator.width: 4, now 5); use another folder.

damaged run
$ train {photo} --steps 10 -o {bad}/damaged
{bad}/damaged/run.json is damaged: ...; use another folder.

damaged state
$ train {photo} --steps 10 -o {bad}/state
{bad}/state/state.pt is damaged, the run cannot be continued; use another folder.

# Recipes

unknown preset
$ train {photo} --preset singen -o {out}
no preset 'singen'; there are consingan, fast-stabilized, hp-vae-gan, meta, meta-single, meta-small,
preview, singan.

unknown field
$ train {photo} --set training.stps=9 -o {out}
no recipe field training.stps. Did you mean training.steps? `train --dry-run` lists them all.

unknown group
$ train {photo} --set trainer.steps=9 -o {out}
no recipe field trainer.steps. Did you mean training.steps? `train --dry-run` lists them all.

type of a group
$ train {photo} --set generator.type=cascade -o {out}
no recipe field generator.type. Did you mean generator.slope? `train --dry-run` lists them all.

phase that is not there
$ train {photo} --set phases.1.from_level=2 -o {out}
no recipe field phases.1.from_level. Did you mean phases.0.from_level? `train --dry-run` lists
them all.

no field
$ train {photo} --set =3 -o {out}
--set =3 is no assignment; write --set PATH=VALUE.

no value
$ train {photo} --set generator.width -o {out}
--set generator.width is no assignment; write --set PATH=VALUE.

group as field
$ train {photo} --set generator=3 -o {out}
generator is a group of fields; set one of them: body, width, norm, entry_norm, slope, edge,
train_depth, lr_scale, noise_amplitude, anchor, anchor_noise.

list as field
$ train {photo} --set phases=3 -o {out}
phases: expected `array`, got `int`; 3 was given.

mistyped value
$ train {photo} --set generator.width=wide -o {out}
generator.width: expected `int`, got `str`; wide was given.

mistyped word
$ train {photo} --set generator.edge=zeros -o {out}
generator.edge: invalid enum value 'zeros'; use stretch or zero.

value too small
$ train {photo} --set generator.width=0 -o {out}
generator.width: expected `int` >= 1; 0 was given.

value too large
$ train {photo} --set generator.width=5000 -o {out}
generator.width: expected `int` <= 1024; 5000 was given.

rate that is not a number
$ train {photo} --set training.lr_critic=NaN -o {out}
training.lr_critic: expected `float`, got `str`; NaN was given.

field of a list
$ train {photo} --set training.betas.0=9 -o {out}
training.betas.0: expected `float` < 1.0; 9 was given.

phases without a first
$ train {photo} --set phases.0.from_level=1 -o {out}
recipe: the first phase must start at level 0.

no steps
$ train {photo} --steps 0 -o {out}
training.steps: expected `int` >= 1; 0 was given.

no room between the levels
$ train {photo} --set pyramid.min_size=40 -o {out}
the image is 44x52, too narrow: reduced to 40 pixels on the long side, its short side must stay
over 40. Crop it, or set pyramid.max_size=49 or more.

coarsest level below a critic's view
$ train {photo} --set pyramid.min_size=8 -o {out}
the coarsest level is 8x10, but critics need 11 pixels a side; set pyramid.min_size=11 or more.

# Models

missing model
$ sample {bad}/no.safetensors -o {out}
{bad}/no.safetensors does not exist; check the path.

image as model
$ sample {photo} -o {out}
{photo} is an image, not a model; train on it first: singleimage train {photo} -o RUN

text as model
$ info {bad}/text.png
{bad}/text.png is no model, or is damaged: ...; give a file or folder that `singleimage train`
wrote.

device as model
$ info /dev/null
/dev/null is a device or a pipe; give a model file.

folder without a model
$ sample {bad} -o {out}
{bad} holds no model.safetensors; train into it with: singleimage train IMAGE -o {bad}

model cut short
$ info {bad}/cut.safetensors
{bad}/cut.safetensors is no model, or is damaged: ...; give a file or folder that `singleimage
train` wrote.

model of four bytes
$ info {bad}/four.safetensors
{bad}/four.safetensors is no model, or is damaged: ...; give a file or folder that `singleimage
train` wrote.

model of another program
$ info {bad}/foreign.safetensors
{bad}/foreign.safetensors is a safetensors file of another program; give a model of singleimage.

header of exabytes
$ info {bad}/header.safetensors
{bad}/header.safetensors is no model, or is damaged: ...; give a file or folder that `singleimage
train` wrote.

tensor beyond the file
$ info {bad}/beyond.safetensors
{bad}/beyond.safetensors is no model, or is damaged: ...; give a file or folder that `singleimage
train` wrote.

format to come
$ info {bad}/format.safetensors
{bad}/format.safetensors has format singleimage/99, this version reads singleimage/1; upgrade
singleimage.

no recipe
$ info {bad}/no_recipe.safetensors
{bad}/no_recipe.safetensors is damaged: its metadata have no recipe; copy it again, or train
again.

recipe with a field to come
$ info {bad}/field.safetensors
{bad}/field.safetensors is damaged: in its metadata, not a recipe: Object contains unknown field
`temperature` - at `$.generator`; copy it again, or train again.

recipe of a hundred thousand brackets
$ info {bad}/nested.safetensors
{bad}/nested.safetensors is damaged: ....

recipe with a huge width
$ info {bad}/huge.safetensors
{bad}/huge.safetensors is damaged: in its metadata, not a recipe: Expected `int` <= 1024 - at
`$.generator.width`; copy it again, or train again.

recipe with another width
$ info {bad}/wide.safetensors
{bad}/wide.safetensors is damaged: tensor generator.anchor_1 is torch.float32 (1, 4, 36, 41), its
recipe says torch.float32 (1, 1024, 36, 41); copy it again, or train again.

channels that are none
$ info {bad}/channels.safetensors
{bad}/channels.safetensors is damaged: in its metadata, Invalid enum value 'XYZ' - at `$.mode`;
copy it again, or train again.

photo too small for its recipe
$ info {bad}/small.safetensors
{bad}/small.safetensors is damaged: a photo of 4x5 does not fit its recipe; copy it again, or
train again.

levels that are too many
$ info {bad}/levels.safetensors
{bad}/levels.safetensors is damaged: its recipe makes 3 levels, not 9; copy it again, or train
again.

tensor of another shape
$ info {bad}/shape.safetensors
{bad}/shape.safetensors is damaged: tensor generator.head.convs.0.weight is torch.float32 (3, 3,
3, 3), its recipe says torch.float32 (4, 3, 3, 3); copy it again, or train again.

tensor of another type
$ info {bad}/type.safetensors
{bad}/type.safetensors is damaged: tensor generator.head.convs.0.weight is torch.float64 (4, 3, 3,
3), its recipe says torch.float32 (4, 3, 3, 3); copy it again, or train again.

tensor that is not finite
$ info {bad}/finite.safetensors
{bad}/finite.safetensors is damaged: tensor generator.head.convs.0.weight holds values that are
not finite; copy it again, or train again.

tensor missing
$ info {bad}/missing.safetensors
{bad}/missing.safetensors is damaged: tensor generator.head.convs.0.weight is missing; copy it
again, or train again.

tensor too many
$ info {bad}/extra.safetensors
{bad}/extra.safetensors is damaged: unexpected tensor surplus; copy it again, or train again.

image of another shape
$ info {bad}/image.safetensors
{bad}/image.safetensors is damaged: tensor image is not (3, 34, 40) integers; copy it again, or
train again.

# Samples

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
0x0 is too small for this model's pyramid; the smallest size it can draw is 6x6. Ask for that or
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
cannot create {photo}/x: Not a directory; choose another output.

# Reconstructions

file exists
$ reconstruct {run} -o {bad}/done/0000.png
{bad}/done/0000.png exists and would be replaced; choose another output or pass --overwrite.

folder is missing
$ reconstruct {run} -o {out}/r.png
cannot write {out}/r.png: No such file or directory; choose another output.

unknown suffix
$ reconstruct {run} -o {out}.gif
{out}.gif has no suffix of an image; use .png, .jpg, .webp or .tiff.

no suffix
$ reconstruct {run} -o {out}
{out} has no suffix of an image; use .png, .jpg, .webp or .tiff.

folder as file
$ reconstruct {run} -o {bad}/done
{bad}/done exists and would be replaced; choose another output or pass --overwrite.

alpha in JPEG
$ reconstruct {bad}/rgba.safetensors -o {out}.jpg
{out}.jpg: JPEG cannot hold color with alpha; write .png or .tiff.

# Words

unknown command
$ smaple {run} -o {out}
Unknown command "smaple". Did you mean "sample"? Available commands: train, tune, model,
interpolate, sample, reconstruct, info, harmonize, ... See: singleimage --help

unknown flag
$ sample {run} -o {out} --sede 3
Unknown option: --sede. Did you mean --seed? See: singleimage sample --help

flag of another command
$ info {run} --device cpu
Unknown option: --device. See: singleimage info --help

missing image
$ train -o {out}
Command "train" parameter IMAGE requires an argument. See: singleimage train --help

missing model argument
$ sample -o {out}
Command "sample" parameter SOURCE requires an argument. See: singleimage sample --help

missing output
$ sample {run}
Command "sample" parameter --output requires an argument. See: singleimage sample --help

missing value
$ sample {run} -o {out} --seed
Command "sample" parameter --seed requires an argument. See: singleimage sample --help

one word too many
$ sample {run} {run} -o {out}
Unused Tokens: ['{run}']. See: singleimage sample --help

flag given twice
$ sample {run} -o {out} --seed 1 --seed 2
Parameter --seed specified multiple times. See: singleimage sample --help

mistyped whole number
$ sample {run} -o {out} --seed 1.5
Invalid value for --seed: 1.5 is not a whole number. See: singleimage sample --help

mistyped number
$ sample {run} -o {out} --scale two
Invalid value for --scale: unable to convert "two" into float. See: singleimage sample --help

value for a switch
$ sample {run} -o {out} --sheet=perhaps
Invalid value for --sheet: unable to convert "perhaps" into bool. See: singleimage sample --help

unknown device
$ sample {run} -o {out} --device gpu
device 'gpu' is not available here; use auto, cpu, cpu:THREADS, cuda, cuda:INDEX or mps.

absent device
$ train {photo} -o {out} --device cuda:77
device 'cuda:77' is not available here; use auto, cpu, cpu:THREADS, cuda, cuda:INDEX or mps.

device without memory
$ train {photo} -o {out} --device meta
device 'meta' is not available here; use auto, cpu, cpu:THREADS, cuda, cuda:INDEX or mps.
"""


def cases() -> dict[str, tuple[str, str]]:
    """Name: (command, message) of each block of the transcript."""
    found = {}
    for block in TRANSCRIPT.strip().split("\n\n"):
        if not block.startswith("#"):
            name, line, *message = block.splitlines()
            found[name] = (line.removeprefix("$ "), " ".join(message))
    return found


CASES = cases()


def png_header(height: int, width: int) -> bytes:
    """The start of a PNG of this size with 1 bit a pixel, and not one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000)))


def make_images(folder: Path, photo: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
    for name in ("good.png", "good.jpg"):
        Image.fromarray(values).save(folder / name)
    tifffile.imwrite(folder / "good.tif", values.astype(np.uint16), photometric="rgb")
    for suffix in (".png", ".jpg", ".tif"):
        data = (folder / f"good{suffix}").read_bytes()
        (folder / f"cut{suffix}").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("This is not a picture.")
    (folder / "magic.tif").write_bytes(b"II*\0nonsense")
    for height, width in ((1, 1), (8, 3000), (3000, 8), (40, 200)):
        noise = rng.integers(0, 256, (height, width)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{height}x{width}.png")
    for side in (9000, 40000):
        (folder / f"{side}x{side}.png").write_bytes(png_header(side, side))
    Image.new("RGB", (48, 48), (9, 8, 7)).save(folder / "gray.png")
    Image.new("RGBA", (48, 48), (9, 8, 7, 255)).save(folder / "opaque.png")
    Image.fromarray(np.eye(44, 52, dtype=np.uint8)).save(folder / "mask.png")
    for name, content in {
        "nan": np.full((48, 48), np.nan, np.float32),
        "bright": np.linspace(0, 255, 48 * 48, dtype=np.float32).reshape(48, 48),
        "deep": np.zeros((48, 48), np.uint32),
        "many": np.zeros((48, 48, 7), np.uint16),
    }.items():
        extra = {"planarconfig": "contig"} if content.ndim == 3 else {}
        tifffile.imwrite(folder / f"{name}.tif", content, photometric="minisblack", **extra)


def make_models(folder: Path, run: Path) -> None:
    good = run / "model.safetensors"
    data = good.read_bytes()
    (folder / "cut.safetensors").write_bytes(data[:-100])
    (folder / "four.safetensors").write_bytes(data[:4])
    (folder / "header.safetensors").write_bytes(struct.pack("<Q", 2**60) + data[8:])
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["generator.amplitudes"]["data_offsets"] = [0, 2**50]
    text = json.dumps(header).encode()
    (folder / "beyond.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[-9:])
    with safetensors.safe_open(good, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def save(
        name: str,
        change: Callable[[dict[str, Any]], Any] = lambda _: None,
        texts: Callable[[dict[str, str]], Any] = lambda _: None,
    ) -> None:
        ours, words = dict(tensors), dict(metadata)
        change(ours)
        texts(words)
        safetensors.torch.save_file(ours, folder / f"{name}.safetensors", words)

    def edit(key: str, old: str, new: str) -> Callable[[dict[str, str]], None]:
        def change(words: dict[str, str]) -> None:
            assert old in words[key], words[key]
            words[key] = words[key].replace(old, new)

        return change

    safetensors.torch.save_file({"a": torch.zeros(3)}, folder / "foreign.safetensors")
    save("format", texts=lambda words: words.update(format="singleimage/99"))
    save("no_recipe", texts=lambda words: words.pop("recipe"))
    save("nested", texts=lambda words: words.update(recipe='{"a":' * 100_000))
    save("field", texts=edit("recipe", '"slope"', '"temperature"'))
    save("huge", texts=edit("recipe", '"width":4', '"width":1000000000'))
    save("wide", texts=edit("recipe", '"width":4', '"width":1024'))
    save("channels", texts=edit("channels", "RGB", "XYZ"))
    save("small", texts=edit("provenance", '"photo":[44,52]', '"photo":[4,5]'))
    save("levels", texts=edit("provenance", '"levels":3', '"levels":9'))
    name = "generator.head.convs.0.weight"
    save("shape", lambda ours: ours.update({name: tensors[name][:3].clone()}))
    save("type", lambda ours: ours.update({name: tensors[name].double()}))
    save("finite", lambda ours: ours.update({name: tensors[name] * torch.inf}))
    save("missing", lambda ours: ours.pop(name))
    save("extra", lambda ours: ours.update(surplus=torch.zeros(3)))
    save("image", lambda ours: ours.update(image=tensors["image"][:, 1:].clone()))


def make_folders(folder: Path, run: Path) -> None:
    (folder / "done").mkdir()
    for name in ("0000.png", "sheet.png"):
        (folder / "done" / name).write_text("mine")
    for name, file in (("damaged", "run.json"), ("state", "state.pt")):
        shutil.copytree(run, folder / name)
        (folder / name / file).write_text("{")


@pytest.fixture(scope="session")
def good_run(tiny_runs: dict[str, Path]) -> Path:
    return tiny_runs["consingan"]


@pytest.fixture(scope="session")
def bad(
    tmp_path_factory: pytest.TempPathFactory,
    photo_file: Path,
    good_run: Path,
    command: Command,
) -> Path:
    """A folder of everything that is wrong with images, models and folders."""
    folder = tmp_path_factory.mktemp("bad")
    make_images(folder, photo_file)
    make_models(folder, good_run)
    make_folders(folder, good_run)
    transparent = tmp_path_factory.mktemp("rgba")
    with Image.open(photo_file) as opened:
        opened.putalpha(Image.linear_gradient("L").resize(opened.size))
        opened.save(transparent / "photo.png")
    line = f"train {transparent}/photo.png -o {transparent}/run --steps 1"
    assert command(f"{line} {TRAIN_FLAGS['consingan']}").code == 0
    shutil.copy(transparent / "run" / "model.safetensors", folder / "rgba.safetensors")
    return folder


def snapshot(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Everything below these folders, with size and time."""
    found = [path for folder in folders for path in folder.rglob("*")]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def tiny(line: str) -> str:
    """The command, made short if it is a training, should it begin against our will."""
    first, _, rest = line.partition(" ")
    if first != "train" or "--preset" in rest:
        return line
    steps = "" if "--steps" in rest else "--steps 2"
    return f"train {TRAIN_FLAGS['consingan']} {steps} {rest}"


def matches(text: str, message: str) -> bool:
    return re.fullmatch(".+".join(map(re.escape, message.split("..."))), text) is not None


@pytest.mark.parametrize("case", CASES)
def test_a_bad_input_is_one_line_and_leaves_no_trace(
    case: str, bad: Path, photo_file: Path, good_run: Path, tmp_path: Path, command: Command
) -> None:
    line, message = CASES[case]
    places = {"bad": bad, "photo": photo_file, "run": good_run, "out": tmp_path / "out"}
    folders = (bad, photo_file.parent, good_run, tmp_path)
    before = snapshot(*folders)
    outcome = command(tiny(line.format(**places)))
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.endswith("\n")
    (text,) = outcome.err.splitlines()
    for name, place in places.items():
        text = text.replace(str(place), "{" + name + "}")
    assert matches(text, f"error: {message}"), text
    assert snapshot(*folders) == before


def test_a_picture_of_gigapixels_is_refused_at_once(bad: Path, command: Command) -> None:
    # The file holds a header alone: had its pixels been asked for, it would be called damaged.
    started = time.perf_counter()
    outcome = command(f"train {bad}/40000x40000.png -o {bad}/run")
    assert "the limit is 80 megapixels" in outcome.err
    assert time.perf_counter() - started < 2


# A disk that is full, folders without permission -------------------------------------------------


class Disk:
    """Stands for `os.fsync`, on a disk that is full after so many files."""

    def __init__(self, files: int) -> None:
        self.files = files

    def __call__(self, descriptor: int) -> None:
        self.files -= 1
        if self.files < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("train {photo} -o {out}", "run.json"),
        ("sample {run} -o {out} -n 1", "0000.png"),
        ("reconstruct {run} -o {out}.png", "out.png"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_no_file(
    line: str,
    file: str,
    photo_file: Path,
    good_run: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "fsync", Disk(files=0))
    outcome = command(tiny(line.format(photo=photo_file, run=good_run, out=tmp_path / "out")))
    assert (outcome.code, outcome.out) == (2, "")
    assert re.fullmatch(
        rf"error: cannot write \S+/{file}: No space left on device; choose another output\.\n",
        outcome.err,
    )
    assert files_below(tmp_path) == []


def test_a_run_whose_disk_fills_up_continues_once_there_is_space(
    photo_file: Path,
    tiny_runs: dict[str, Path],
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['singan']} --steps {TRAIN_STEPS['singan']}"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", Disk(files=6))
        outcome = command(line)
    assert outcome.code == 2
    last = outcome.err.splitlines()[-1]
    assert re.fullmatch(r"error: cannot write .*: No space left on device; choose .*", last)
    assert not [name for name in files_below(tmp_path) if name.endswith(".part")]
    assert command(line).code == 0
    ours, theirs = (
        safetensors.torch.load_file(run / "model.safetensors")
        for run in (tmp_path / "run", tiny_runs["singan"])
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("words", ["train {photo} -o {out}", "sample {run} -o {out}"])
def test_a_folder_that_may_not_be_made_is_one_line(
    words: str,
    photo_file: Path,
    good_run: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    line = tiny(words.format(photo=photo_file, run=good_run, out=tmp_path / "out"))
    monkeypatch.setattr(Path, "mkdir", refuse)
    outcome = command(line)
    message = f"cannot create {tmp_path}/out: Permission denied; choose another output."
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"error: {message}\n")


def test_a_file_that_may_not_be_read_is_one_line(
    photo_file: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    outcome = command(f"train {photo_file} -o {tmp_path}/out")
    message = f"cannot read {photo_file}: Permission denied; check the path."
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"error: {message}\n")
