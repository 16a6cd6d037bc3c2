"""Labels go along with their photo through every tool, from a photo and from a trained model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import singleimage as si
from encoded import Array, save_png
from scenes import disk, scene
from singleimage.images.channels import Mask
from tiny import TRAIN_FLAGS, Command, result

pytestmark = pytest.mark.usefixtures("quick_flow")
LABELS = (0, 7, 200)


def labels(height: int, width: int) -> Array:
    """Bands of three labels, (H, W)."""
    bands = np.arange(height) * 3 // height
    return np.array(LABELS, np.uint8)[bands][:, None].repeat(width, 1)


def labelled(height: int = 60, width: int = 75) -> si.Photo:
    planes = [torch.from_numpy(labels(height, width) == label) for label in LABELS]
    pixels = torch.cat([scene(height, width), torch.stack(planes).float() * 2 - 1])
    return si.Photo(pixels, si.Channels(mode="RGB", masks=(Mask(labels=LABELS),)))


def mask_of(photo: si.Photo, folder: Path) -> Array:
    _, path = photo.save(folder / "x.png", overwrite=True)
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_labels_go_along_where_pixels_are_copied(tmp_path: Path) -> None:
    photo = labelled()
    model, hole = si.flow(photo), disk(photo.size)
    outside = hole.pixels[0].numpy() < 0
    known = labels(60, 75)
    (filled,) = si.fill(model, mask=hole)
    (wider,) = si.extend(model, left=6)
    (larger,) = si.upscale(model, factor=2.0)
    np.testing.assert_array_equal(mask_of(filled, tmp_path)[outside], known[outside])
    np.testing.assert_array_equal(mask_of(wider, tmp_path)[:, 6:], known)
    assert (mask_of(larger, tmp_path)[::2, ::2] == known).mean() > 0.97
    for made in (filled, wider, *model.sample([1, 2]), model.reconstruct()):
        assert set(np.unique(mask_of(made, tmp_path))) <= set(LABELS)
        assert made.rearrangement is not None
        index = made.rearrangement.places.clamp(min=0).flatten()
        copied = made.rearrangement.places.flatten() >= 0
        expected = known.reshape(-1)[index.numpy()]
        found = mask_of(made, tmp_path).reshape(-1)
        np.testing.assert_array_equal(found[copied.numpy()], expected[copied.numpy()])


@pytest.mark.parametrize("preset", ["flow", "consingan", "singan"])
def test_a_model_of_a_photo_with_labels_fills_by_command(
    preset: str, tmp_path: Path, command: Command
) -> None:
    si.Photo(scene(44, 52), si.Channels(mode="RGB")).save(tmp_path / "p.png")
    save_png(tmp_path / "m.png", labels(44, 52)[..., None])
    flags = "--preset flow" if preset == "flow" else f"{TRAIN_FLAGS[preset]} --steps 1"
    line = f"train {tmp_path}/p.png --mask {tmp_path}/m.png -o {tmp_path}/run {flags}"
    assert command(line).code == 0
    size = si.Model.load(tmp_path / "run").size
    disk(size).save(tmp_path / "hole.png")
    done = command(f"fill {tmp_path}/run --mask {tmp_path}/hole.png -o {tmp_path}/f.png --json")
    assert done.code == 0, done.err
    picture, mask = result(done)["files"]
    with Image.open(mask) as opened:
        found = np.asarray(opened)
    assert Path(picture).name == "f.png"
    assert found.shape == tuple(size)
    assert set(np.unique(found)) <= set(LABELS)
    assert len(np.unique(found[:3])) == 1  # outside the hole as it was
