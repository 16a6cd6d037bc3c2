"""Files that are no models, or damaged: each is refused in one line."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from refusals import assert_refused
from singleimage import Model
from singleimage.errors import ModelFileError
from singleimage.models.modelfile import read_tensors
from tiny import Command

TRANSCRIPT = """
missing model
$ sample {bad}/no.safetensors -o {out}
{bad}/no.safetensors does not exist; check the path.

text as photo
$ info {bad}/text.png
{bad}/text.png is not an image in a known format; use JPEG, PNG, WebP or TIFF.

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

one bit changed
$ info {bad}/flipped.safetensors
{bad}/flipped.safetensors is damaged: its digest is another than that of its contents; copy it
again, or train again.

image without a shape
$ info {bad}/flat.safetensors
{bad}/flat.safetensors is damaged: tensor image is not of 3 channels; copy it again, or train again.

channels of a hundred thousand brackets
$ info {bad}/deep.safetensors
{bad}/deep.safetensors is damaged: ....

palette of colors of two kinds
$ info {bad}/palette.safetensors
{bad}/palette.safetensors is damaged: ....

image of another shape
$ info {bad}/image.safetensors
{bad}/image.safetensors is damaged: tensor image is not (3, 34, 40) integers; copy it again, or
train again.
"""


def make_models(folder: Path, run: Path) -> None:
    good = run / "model.safetensors"
    data = good.read_bytes()
    (folder / "cut.safetensors").write_bytes(data[:-100])
    (folder / "four.safetensors").write_bytes(data[:4])
    (folder / "header.safetensors").write_bytes(struct.pack("<Q", 2**60) + data[8:])
    flipped = bytearray(data)
    flipped[-5] ^= 4
    (folder / "flipped.safetensors").write_bytes(flipped)
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["generator.amplitudes"]["data_offsets"] = [0, 2**50]
    text = json.dumps(header).encode()
    (folder / "beyond.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[-9:])
    with safetensors.safe_open(good, framework="pt") as file:
        metadata = dict(file.metadata())
        del metadata["sha256"]  # which would tell of every change below
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
    save("deep", texts=lambda words: words.update(channels='{"a":' * 100_000))
    save("palette", texts=edit("channels", '"palette":[]', '"palette":[[1,2,3],[4]]'))
    save("small", texts=edit("provenance", '"photo":[44,52]', '"photo":[4,5]'))
    save("levels", texts=edit("provenance", '"levels":3', '"levels":9'))
    name = "generator.head.convs.0.weight"
    save("shape", lambda ours: ours.update({name: tensors[name][:3].clone()}))
    save("type", lambda ours: ours.update({name: tensors[name].double()}))
    save("finite", lambda ours: ours.update({name: tensors[name] * torch.inf}))
    save("missing", lambda ours: ours.pop(name))
    save("extra", lambda ours: ours.update(surplus=torch.zeros(3)))
    save("flat", lambda ours: ours.update(image=torch.tensor(3, dtype=torch.uint8)))
    save("image", lambda ours: ours.update(image=tensors["image"][:, 1:].clone()))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, good_run: Path) -> Path:
    """A folder of everything that is wrong with models, and of a text."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.png").write_text("This is not a picture.")
    make_models(folder, good_run)
    return folder


def test_a_bad_model_is_one_line_and_leaves_no_trace(
    bad: Path, photo_file: Path, good_run: Path, tmp_path: Path, command: Command
) -> None:
    assert_refused(TRANSCRIPT, command, tmp_path, bad=bad, photo=photo_file, run=good_run)


def test_values_that_are_not_finite_are_never_a_picture(tiny_run: Path, tmp_path: Path) -> None:
    model = Model.load(tiny_run)
    model.generator.amplitudes.fill_(3e38)  # type: ignore[attr-defined]
    with pytest.raises(ModelFileError, match="not finite"):
        next(model.sample([0]))


def test_a_model_does_not_change_with_its_file(good_run: Path, tmp_path: Path) -> None:
    """It holds no part of the file, which Windows could not replace then."""
    path = tmp_path / "model.safetensors"
    data = (good_run / path.name).read_bytes()
    path.write_bytes(data)
    _, tensors = read_tensors(path)
    with path.open("r+b") as file:
        file.write(bytes(len(data)))
    _, before = read_tensors(good_run / path.name)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in before.items())
