"""What a tool does not change stays bit for bit, whatever the picture's file holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import singleimage as si
from encoded import Array, save_png
from profiles import DISPLAY_P3
from scenes import disk, scene
from singleimage.errors import ImageError
from singleimage.multiscale.geometry import Size
from tiny import Command, result

pytestmark = pytest.mark.usefixtures("quick_flow")
SIZE = Size(60, 75)
MASK = disk(SIZE)
OUTSIDE = MASK.pixels[0].numpy() <= 0


def values(bits: int, channels: int) -> Array:
    """A scene as integers, with alpha that hides noise for 2 or 4 channels."""
    top = 2**bits - 1
    found = (scene(*SIZE).permute(1, 2, 0).numpy() + 1) / 2 * top
    found = found[..., :1] if channels < 3 else found
    if channels in (2, 4):
        alpha = np.full((*SIZE, 1), float(top))
        alpha[:10] = 0
        alpha[10:14] = top // 2
        found = np.concatenate([found, alpha], 2)
    return found.round().astype(np.uint8 if bits == 8 else np.uint16)


def stored(path: Path, pixels: Array, *, profile: bytes = b"") -> Path:
    extra = ["unassalpha"] if pixels.shape[2] in (2, 4) else None
    kind: Any = "rgb" if pixels.shape[2] > 2 else "minisblack"
    shown = pixels if pixels.shape[2] > 1 else pixels[..., 0]
    given = {"extrasamples": extra, "iccprofile": profile or None}
    tifffile.imwrite(path, shown, photometric=kind, **given)
    return path


KINDS = [
    (8, 3, b""),
    (16, 3, b""),
    (8, 3, DISPLAY_P3),
    (16, 3, DISPLAY_P3),
    (8, 4, b""),
    (16, 1, b""),
]


@pytest.mark.parametrize(
    ("tool", "bits", "channels", "profile"),
    [(tool, *kind) for tool in ("fill", "extend") for kind in KINDS]
    + [(tool, *kind) for tool in ("harmonize", "edit") for kind in (KINDS[3], KINDS[5])],
)
def test_a_photo_without_a_model_stays_outside(
    tool: str, bits: int, channels: int, profile: bytes, tmp_path: Path, command: Command
) -> None:
    given = values(bits, channels)
    photo = stored(tmp_path / "photo.tif", given, profile=profile)
    MASK.save(tmp_path / "mask.png")
    line = f"{tool} {photo} -o {tmp_path}/out.tif"
    if tool == "extend":
        line += " --left 9 --top 5"
    elif tool == "fill":
        line += f" --mask {tmp_path}/mask.png"
    else:
        line = f"{tool} {photo} {photo} --mask {tmp_path}/mask.png -o {tmp_path}/out.tif"
    assert command(line).code == 0
    made = tifffile.imread(tmp_path / "out.tif").reshape(
        -1, SIZE.width + 9 * (tool == "extend"), channels
    )
    assert made.dtype == given.dtype
    if tool == "extend":
        np.testing.assert_array_equal(made[5:, 9:], given)
    else:
        far = torch.nn.functional.max_pool2d((MASK.pixels > 0).float()[None], 41, 1, 20)[0, 0] == 0
        outside = OUTSIDE if tool == "fill" else far.numpy()
        assert outside.mean() > 0.2
        np.testing.assert_array_equal(made[outside], given[outside])
        assert (made[~OUTSIDE] != given[~OUTSIDE]).any()
    again = si.read_photo(tmp_path / "out.tif")
    assert again.original is not None
    assert again.original.about.profile == profile


def test_a_gray_model_leaves_the_colors_of_a_picture(tmp_path: Path) -> None:
    gray = si.Photo(scene(*SIZE)[:1], si.Channels(mode="L"))
    color = si.read_photo(save_png(tmp_path / "c.png", values(8, 3)))
    (made,) = si.fill(si.flow(gray), color, mask=MASK)
    assert made.channels.mode == "RGB"
    np.testing.assert_array_equal(made.integers()[OUTSIDE], values(8, 3)[OUTSIDE])
    inside = made.integers()[~OUTSIDE]
    assert (inside == inside[:, :1]).all()


def test_a_trained_model_gives_a_deep_picture_back_in_its_bits(
    model: si.Model, tmp_path: Path
) -> None:
    picture = si.read_photo(stored(tmp_path / "p.tif", values(16, 3), profile=DISPLAY_P3))
    (made,) = si.fill(model, picture, mask=MASK)
    changed = (made.integers() != values(16, 3)).any(2)
    assert not changed[:8, :8].any()
    assert changed[~OUTSIDE].any()
    assert made.channels.bits == 16
    if max(model.generator.entry_levels) == 0:
        return  # such a model cannot enlarge
    (larger,) = si.upscale(model, picture, factor=2.0)
    assert larger.channels.bits == 16
    assert larger.original is not None
    assert larger.original.about.profile == DISPLAY_P3


def test_a_cut_out_is_not_laid_on_its_own_hidden_colors(tmp_path: Path) -> None:
    pixels = values(8, 4)[:40, :50]
    cut = si.read_photo(save_png(tmp_path / "cut.png", pixels))
    photo = si.Photo(scene(*SIZE), si.Channels(mode="RGB"))
    with pytest.raises(ImageError, match="is a cut-out, and nothing of its size lies under it"):
        si.harmonize(si.flow(photo), cut)


def test_what_a_mask_marks_is_said(tmp_path: Path, command: Command) -> None:
    photo = save_png(tmp_path / "p.png", values(8, 3))
    painted = values(8, 3)
    painted[~OUTSIDE] = 255, 0, 0
    for name, mask in (("paint", painted), ("plain", (~OUTSIDE * 255).astype(np.uint8)[..., None])):
        save_png(tmp_path / f"{name}.png", mask)
        done = command(f"fill {photo} --mask {tmp_path}/{name}.png -o {tmp_path}/{name}-out.png")
        assert done.code == 0
        what = "the paint on the picture" if name == "paint" else "what is bright"
        assert f"{(~OUTSIDE).mean():.0%} of the picture is marked: {what} in the mask." in done.err
    made = [np.asarray(Image.open(tmp_path / f"{name}-out.png")) for name in ("paint", "plain")]
    np.testing.assert_array_equal(*made)
    assert result(command(f"info {photo} --json"))
