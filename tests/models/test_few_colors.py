"""Sprites: few colors and hard alpha stay, at any size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import singleimage as si
from encoded import Array, save_png
from singleimage.images.palette import snapped
from singleimage.multiscale.resample import resize
from tiny import TRAIN_FLAGS, Command, result

pytestmark = pytest.mark.usefixtures("quick_flow")


def face(side: int) -> Array:
    """A round sprite of five colors on what is transparent, whose hidden color is black."""
    y, x = np.indices((side, side))
    far = np.hypot(y - side / 2 + 0.5, x - side / 2 + 0.5)
    found = np.zeros((side, side, 4), np.uint8)
    found[far < side * 0.48] = 30, 30, 40, 255
    found[far < side * 0.40] = 243, 212, 32, 255
    found[(far < side * 0.40) & (x + y > side * 1.2)] = 190, 140, 20, 255
    found[(abs(y - side * 0.65) < 1 + side // 16) & (far < side * 0.25)] = 200, 40, 40, 255
    return found


def distinct(values: Array) -> set[tuple[int, ...]]:
    return {tuple(color) for color in values.reshape(-1, values.shape[2]).tolist()}


def test_few_colors_are_a_palette_and_many_are_none(tmp_path: Path) -> None:
    photo = si.read_photo(save_png(tmp_path / "f.png", face(32)))
    assert set(photo.channels.palette) == distinct(face(32))
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    assert si.read_photo(save_png(tmp_path / "n.png", noise)).channels.palette == ()


def test_edges_are_not_darkened_by_what_is_hidden(tmp_path: Path) -> None:
    values = np.zeros((40, 40, 4), np.uint8)
    values[8:32, 8:32] = 243, 212, 32, 255
    photo = si.read_photo(save_png(tmp_path / "f.png", values))
    small = (resize(photo.pixels[None], photo.size._replace(height=17, width=17))[0] + 1) * 127.5
    seen = small[3] > 8
    wanted = torch.tensor([243.0, 212.0, 32.0])[:, None]
    assert float((small[:3, seen] - wanted).abs().max()) < 2


@pytest.mark.parametrize("side", [6, 16, 48])
def test_sprites_of_any_size_are_drawn_in_their_colors(side: int, tmp_path: Path) -> None:
    photo = si.read_photo(save_png(tmp_path / "f.png", face(side)))
    for picture in [
        *si.flow(photo).sample([1, 2]),
        *si.flow(photo).sample([3], size=(40, 50)),
        *si.upscale(si.flow(photo), factor=2.0),
    ]:
        assert distinct(picture.integers()) <= distinct(face(side))


def test_a_trained_model_keeps_to_the_colors_unless_told_otherwise(
    tmp_path: Path, command: Command
) -> None:
    path = save_png(tmp_path / "f.png", face(44))
    line = f"train {path} -o {tmp_path}/run {TRAIN_FLAGS['consingan']} --steps 2"
    assert command(line).code == 0
    for flag, kept in (("", True), ("--no-palette", False)):
        facts = result(command(f"sample {tmp_path}/run -o {tmp_path}/o{flag} -n 1 --json {flag}"))
        with Image.open(facts["files"][0]) as opened:
            found = distinct(np.asarray(opened))
        assert (found <= distinct(face(44))) == kept


def test_the_nearest_color_is_of_the_nearest_alpha() -> None:
    channels = si.Channels(mode="LA", palette=((0, 0), (10, 255), (200, 255)))
    pixels = torch.tensor([[30.0, 30.0, 180.0, 90.0], [100.0, 140.0, 255.0, 0.0]])
    found = snapped(pixels[:, None] / 127.5 - 1, channels)
    levels = ((found + 1) * 127.5).round().long()[:, 0]
    assert levels.tolist() == [[0, 10, 200, 0], [0, 255, 255, 0]]
    plain = replace(si.Photo(pixels[:, None], si.Channels(mode="LA")))
    assert snapped(plain.pixels, plain.channels) is plain.pixels
