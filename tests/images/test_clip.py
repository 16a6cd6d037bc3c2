"""Clips: read from movies and folders of frames, and written."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor

from clips import clip, waves
from singleimage.errors import ImageError
from singleimage.images.channels import Channels
from singleimage.images.clip import Clip, read_clip
from singleimage.images.reader import read_photo
from singleimage.multiscale.geometry import Size


def as_bytes(pixels: Tensor) -> np.ndarray[Any, Any]:
    """(T, H, W, 3)."""
    return pixels.add(1).mul(127.5).round().byte().permute(1, 2, 3, 0).numpy()


@pytest.mark.parametrize(
    ("suffix", "apart"), [(".gif", 0.2), (".webp", 0.12), (".mp4", 0.25), (".webm", 0.25)]
)
def test_a_clip_comes_back_from_its_file(suffix: str, apart: float, tmp_path: Path) -> None:
    """As far as its format keeps colors."""
    made = clip()
    made.save(tmp_path / f"a{suffix}")
    read = read_clip(tmp_path / f"a{suffix}")
    assert read.pixels.shape == made.pixels.shape
    assert read.fps == pytest.approx(8, rel=0.05)
    assert (read.pixels - made.pixels).abs().mean() < apart
    assert read.sha256
    shifted = made.pixels.roll(1, 1)
    assert (read.pixels - made.pixels).abs().mean() < (read.pixels - shifted).abs().mean()


@pytest.mark.parametrize(
    ("name", "fps", "played"),
    [("a.gif", 60.0, 50.0), ("a.gif", 0.05, 0.1), ("a.webp", 300.0, 250.0), ("a.mp4", 60.0, 60.0)],
)
def test_a_clip_too_fast_for_its_file_is_played_as_fast_as_that_can(
    name: str, fps: float, played: float, tmp_path: Path
) -> None:
    """A model of a clip of 60 frames a second draws GIFs."""
    replace(clip(3), fps=fps).save(tmp_path / name)
    assert read_clip(tmp_path / name).fps == pytest.approx(played, rel=0.01)


def test_a_folder_of_frames_is_a_clip_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = as_bytes(waves(11))
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame{i}.png")
    read = read_clip(tmp_path)
    assert read.fps == 10
    assert (as_bytes(read.pixels) == frames).all()
    assert [photo.size for photo in read.frames] == [Size(20, 24)] * 11
    assert torch.equal(read.frames[10].pixels, read_photo(tmp_path / "frame10.png").pixels)


def test_frames_in_a_folder_keep_their_alpha(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 4)).astype(np.uint8)
    for i, frame in enumerate(values):
        Image.fromarray(frame).save(tmp_path / f"{i}.png")
    read = read_clip(tmp_path)
    assert read.channels.mode == "RGBA"
    assert (as_bytes(read.pixels)[..., 3] == values[..., 3]).all()


def test_frames_of_a_gif_are_those_that_were_written(tmp_path: Path) -> None:
    colors = [Image.new("RGB", (5, 4), color) for color in ("red", "lime", "blue")]
    colors[0].save(tmp_path / "a.gif", save_all=True, append_images=colors[1:], duration=250)
    read = read_clip(tmp_path / "a.gif")
    assert as_bytes(read.pixels)[:, 0, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert read.fps == 4


def broken(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(b"nothing that moves")
        return path

    return write


def unlike(folder: Path) -> Path:
    for i, size in enumerate([(5, 4), (6, 4)]):
        Image.new("RGB", size).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (broken("a.gif"), "is no movie, or is damaged"),
        (broken("a.mp4"), "is no video, or is damaged"),
        (lambda folder: folder / "a.gif", "does not exist"),
        (unlike, "1.png is 4x6, RGB, the first frame 4x5, RGB"),
        (lambda folder: folder, "holds no pictures"),
    ],
    ids=["gif", "video", "nothing", "unlike", "empty"],
)
def test_what_is_no_clip_is_refused(
    write: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=words):
        read_clip(write(tmp_path))


def test_a_clip_with_too_many_pixels_is_refused_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip(40).save(tmp_path / "a.gif")
    monkeypatch.setattr("singleimage.images.reel.PIXEL_LIMIT", 39 * 20 * 24)
    with pytest.raises(ImageError, match="megapixels in all its frames; cut or reduce it"):
        read_clip(tmp_path / "a.gif")
    (tmp_path / "frames").mkdir()
    for i, frame in enumerate(clip(3).frames):
        frame.save(tmp_path / "frames" / f"{i}.png")
    assert read_clip(tmp_path / "frames").pixels.shape == (3, 3, 20, 24)
    monkeypatch.setattr("singleimage.images.clip.PIXEL_LIMIT", 3 * 20 * 24 - 1)
    with pytest.raises(ImageError, match="megapixels in all its frames; take some out"):
        read_clip(tmp_path / "frames")


def test_a_frame_too_large_to_be_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip().save(tmp_path / "a.gif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"is no movie, or is damaged: .* exceeds limit"):
        read_clip(tmp_path / "a.gif")


def test_a_preview_shows_five_frames_from_the_first_to_the_last() -> None:
    strip = np.asarray(clip().preview())
    frames = as_bytes(waves(9))
    assert (strip == np.concatenate(frames[[0, 2, 4, 6, 8]], axis=1)).all()
    assert Clip(waves(2), Channels(mode="RGB")).preview(10).size == (20, 8)


def test_large_frames_are_halved_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip(40).save(tmp_path / "a.gif")
    whole = read_clip(tmp_path / "a.gif")
    monkeypatch.setattr("singleimage.images.reel.PIXEL_LIMIT", 39 * 20 * 24)
    monkeypatch.setattr("singleimage.images.reel.LEAST_SIDE", 10)
    read = read_clip(tmp_path / "a.gif")
    assert read.pixels.shape == (3, 40, 10, 12)
    assert read.notes == (
        "the frames of a.gif are over 0 megapixels together; they are reduced to 10x12.",
    )
    small = torch.nn.functional.avg_pool2d(whole.pixels.transpose(0, 1), 2).transpose(0, 1)
    assert (read.pixels - small).abs().max() < 0.02


def test_a_phone_s_clip_is_turned_upright(tmp_path: Path) -> None:
    """Stored on its side, with a matrix that says so."""
    frames = as_bytes(waves(4))
    with av.open(tmp_path / "a.mp4", "w") as container:
        track = container.add_stream("libx264", 10)
        assert isinstance(track, av.VideoStream)
        track.height, track.width, track.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for values in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(track.encode())
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    still = read_clip(tmp_path / "a.mp4")
    unit = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # a quarter clockwise
    place = data.index(unit, data.index(b"tkhd"))
    data[place : place + 36] = turned
    (tmp_path / "b.mp4").write_bytes(data)
    upright = read_clip(tmp_path / "b.mp4")
    assert torch.equal(upright.pixels, still.pixels.rot90(-1, (2, 3)))


def test_sound_is_no_clip(tmp_path: Path) -> None:
    with av.open(tmp_path / "a.mp4", "w") as container:
        track = container.add_stream("aac", 44100)
        assert isinstance(track, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(track.encode(frame))
        container.mux(track.encode())
    with pytest.raises(ImageError, match="has sound but no picture; give a video"):
        read_clip(tmp_path / "a.mp4")


@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_a_stack_is_scaled_as_photos_are(top: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, top + 1, (4, 20, 24))
    values[0, 0, 0] = top
    kind = np.uint8 if top == 255 else np.uint16
    tifffile.imwrite(tmp_path / "a.tif", values.astype(kind), photometric="minisblack")
    read = read_clip(tmp_path / "a.tif")
    assert read.pixels.shape == (3, 4, 20, 24)
    assert np.abs((read.pixels[1].numpy() + 1) / 2 - values / top).max() < 1 / 255
