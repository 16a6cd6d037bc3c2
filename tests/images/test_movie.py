"""Movies: what is in a file, what it loses, and how it is written."""

import errno
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from filming import opened
from singleimage import Channels, Photo
from singleimage.errors import OutputError, SingleImageError, SizeError
from singleimage.images.channels import Mask
from singleimage.images.movie import _FORMATS, _write_video, write_movie
from singleimage.multiscale.geometry import Size

SMALL = Size(24, 40)


def reel(mode: str, count: int = 5, size: Size = SMALL, masks: int = 0) -> list[Photo]:
    """Frames of a wave that moves; alpha is clear at the left, half in the middle, then opaque."""
    channels = Channels(mode=mode, masks=(Mask(),) * masks)  # type: ignore[arg-type]
    y, x = np.indices(size)
    photos = []
    for time in range(count):
        planes = [np.sin((x + y * (c + 1)) / 25 + time / 2 + c) for c in range(channels.count)]
        if mode in ("LA", "RGBA"):
            planes[len(mode) - 1] = np.select([x < 10, x < 20], [-1.0, 0.5], 1.0)
        photos.append(Photo(torch.from_numpy(np.stack(planes)).float(), channels))
    return photos


def shown(photo: Photo) -> NDArray[Any]:
    return np.asarray(photo.preview(), dtype=float)


@pytest.mark.parametrize("suffix", sorted(_FORMATS))
def test_a_movie_opens_again(suffix: str, tmp_path: Path) -> None:
    for mode in ("L", "LA", "RGB", "RGBA"):
        path, photos = tmp_path / mode / f"movie{suffix}", reel(mode)
        path.parent.mkdir()
        write_movie(path, iter(photos), fps=20, quality=100)
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        for frame, photo in zip(opened(path), photos, strict=True):
            assert frame.size == (40, 24)
            values = np.asarray(frame.convert("RGBA"), dtype=float)
            if suffix in (".gif", ".webp") and mode in ("LA", "RGBA"):
                half = 255 if suffix == ".gif" else 191
                parts = ((slice(0, 10), 0), (slice(10, 20), half), (slice(20, 40), 255))
                for columns, alpha in parts:
                    assert (values[:, columns, 3] == alpha).all()
            error = np.abs(values[..., :3] - shown(photo))[:, 20:]  # where it is opaque
            assert error.mean() < 5


def test_pictures_repeat_forever_at_their_pace_and_keep_odd_sides(tmp_path: Path) -> None:
    for suffix in (".gif", ".webp"):
        path = tmp_path / f"movie{suffix}"
        write_movie(path, reel("RGB", size=Size(25, 41)), fps=12.5)
        with Image.open(path) as picture:
            assert picture.info["loop"] == 0
            durations, sizes = [], set()
            for frame in ImageSequence.Iterator(picture):
                frame.load()
                durations.append(frame.info["duration"])
                sizes.add(frame.size)
        assert durations == [80] * 5
        assert sizes == {(41, 25)}


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_video_has_its_pace_and_even_sides(suffix: str, tmp_path: Path) -> None:
    path, photos = tmp_path / f"movie{suffix}", reel("RGB", 10, Size(25, 41))
    write_movie(path, photos, fps=12.5, quality=100)
    with av.open(path) as container:
        (track,) = container.streams.video
        assert (track.height, track.width, track.pix_fmt) == (26, 42, "yuv420p")
        assert track.average_rate == pytest.approx(12.5)
        assert container.duration == pytest.approx(0.8 * av.time_base, rel=0.02)
        assert track.codec_context.colorspace == 1
    for frame, photo in zip(opened(path), photos, strict=True):
        values = np.asarray(frame, dtype=float)
        assert np.abs(values[:25, :41] - shown(photo)).mean() < 6
        assert np.abs(values[25] - values[24]).mean() < 10
        assert np.abs(values[:, 41] - values[:, 40]).mean() < 10


@pytest.mark.parametrize("suffix", sorted(_FORMATS))
def test_colors_are_those_of_the_frames(suffix: str, tmp_path: Path) -> None:
    for number, color in enumerate([(242, 51, 102), (25, 217, 13), (255, 255, 255), (0, 0, 0)]):
        pixels = (torch.tensor(color).view(3, 1, 1) / 127.5 - 1).expand(3, 16, 16)
        path = tmp_path / f"{number}{suffix}"
        write_movie(path, [Photo(pixels, Channels(mode="RGB"))], quality=90)
        (frame,) = opened(path)
        assert np.asarray(frame.convert("RGB"))[8, 8] == pytest.approx(color, abs=3)


def test_masks_are_left_out_and_one_frame_is_a_movie(tmp_path: Path) -> None:
    for suffix in _FORMATS:
        path = tmp_path / f"movie{suffix}"
        write_movie(path, reel("RGB", 1, masks=2))
        assert [frame.size for frame in opened(path)] == [(40, 24)]


def test_less_quality_is_a_smaller_file(tmp_path: Path) -> None:
    for suffix in (".webp", ".mp4", ".webm"):
        sizes = []
        for quality in (1, 50, 100):
            path = tmp_path / f"{quality}{suffix}"
            write_movie(path, reel("RGB", size=Size(64, 64)), quality=quality)
            sizes.append(path.stat().st_size)
        assert sizes[0] < sizes[1] < sizes[2], suffix


def test_video_is_written_while_frames_come(tmp_path: Path) -> None:
    """The encoder looks ahead for less than all frames, and nothing else keeps them."""
    stream, drawn, written = io.BytesIO(), 0, 0

    def frames() -> Iterator[Photo]:
        nonlocal drawn, written
        noise = torch.Generator().manual_seed(0)
        for _ in range(150):
            drawn += 1
            yield Photo(torch.rand(3, 32, 32, generator=noise) * 2 - 1, Channels(mode="RGB"))
            written = max(written, len(stream.getvalue()) if drawn < 150 else 0)

    codec = _FORMATS[".mp4"].codec
    assert codec is not None
    _write_video(stream, frames(), 10, 80, codec=codec)
    assert drawn == 150
    assert written > len(stream.getvalue()) / 4


def test_what_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def frames(error: type[BaseException]) -> Iterator[Photo]:
        yield from reel("RGB", 3)
        raise error

    for suffix in _FORMATS:
        for error in (KeyboardInterrupt, SizeError):
            with pytest.raises(error):
                write_movie(tmp_path / f"movie{suffix}", frames(error))
            assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.gif.0123abcd.part", ".b.gif.0123abcd.part", ".a.gif.part"):
        (tmp_path / name).touch()
    frame = Photo(torch.zeros(3, 8, 8), Channels(mode="RGB"))
    write_movie(tmp_path / "a.gif", [frame, frame])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.gif", ".b.gif.0123abcd.part", ".a.gif.part"}


def test_a_movie_is_replaced_only_when_told(tmp_path: Path) -> None:
    for suffix in _FORMATS:
        path = tmp_path / f"movie{suffix}"
        path.write_bytes(b"mine")
        frames = iter(reel("L", 2))
        with pytest.raises(OutputError, match="exists and would be replaced"):
            write_movie(path, frames)
        assert path.read_bytes() == b"mine"
        assert len(list(frames)) == 2  # none was drawn
        write_movie(path, reel("L", 2), overwrite=True)
        assert len(opened(path)) == 2


def refusal(path: Path, frames: list[Photo], **numbers: Any) -> str:
    """The message, which is one line."""
    with pytest.raises(SingleImageError) as raised:
        write_movie(path, frames, **numbers)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_written_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = reel("RGB", 2)
    assert "use .gif, .webp, .mp4 or .webm" in refusal(tmp_path / "a.avi", photos)
    assert "use 0.1 to 50" in refusal(tmp_path / "a.gif", photos, fps=60)
    assert "use 0.1 to 240" in refusal(tmp_path / "a.mp4", photos, fps=float("nan"))
    assert "use 1 to 100" in refusal(tmp_path / "a.webp", photos, quality=0)
    assert "give 1 or more" in refusal(tmp_path / "a.gif", [])
    assert "there is no folder" in refusal(tmp_path / "no" / "a.gif", photos)
    still = reel("L", 1, Size(1, 1)) * 70
    assert "655 seconds at most" in refusal(tmp_path / "a.gif", still, fps=0.1)
    wide = [Photo(torch.zeros(1, 1, 16384), Channels(mode="L"))]
    assert "over 16383 pixels" in refusal(tmp_path / "a.webp", wide)
    monkeypatch.setattr(av, "codecs_available", {"libvpx-vp9"})
    assert "cannot encode libx264" in refusal(tmp_path / "a.mp4", photos)
    monkeypatch.setitem(sys.modules, "av", None)
    assert 'pip install "singleimage[video]"' in refusal(tmp_path / "a.mp4", photos)
    write_movie(tmp_path / "a.gif", photos)  # which does not need it
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_a_full_disk_under_a_video_is_an_error_of_the_system() -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    codec = _FORMATS[".mp4"].codec
    assert codec is not None
    with pytest.raises(OSError, match="No space left"):
        _write_video(Full(), iter(reel("RGB")), 10, 80, codec=codec)
