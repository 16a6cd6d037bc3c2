"""Movie files: GIF and animated WebP by Pillow, video by PyAV (the extra `video`).

Masks are left out. GIF keeps alpha as opaque or not, with the border at one half, WebP keeps all of
it, and video shows it over a checkerboard.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from singleimage.errors import OutputError
from singleimage.images.channels import Channels
from singleimage.images.photo import Photo
from singleimage.images.values import MODE_CHANNELS
from singleimage.machine.files import (
    clear_parts,
    followed,
    refuse_existing,
    require_folder,
    write_atomically,
)

if TYPE_CHECKING:
    from av import VideoFrame


def write_movie(
    path: str | Path,
    frames: Iterable[Photo],
    *,
    fps: float = 10.0,
    quality: int = 80,
    overwrite: bool = False,
) -> None:
    """Write frames of one size as they come, in the format of the suffix; atomically.

    GIF and WebP repeat forever. Pillow keeps their frames until the last: GIF one byte a pixel of
    each, WebP three, or four with alpha. Video keeps the few that its encoder looks ahead.

    Args:
        path: of the file: .gif, .webp, .mp4 or .webm.
        frames: one or more, all of one size.
        fps: frames a second. GIF rounds the time of a frame to hundredths of a second, and shows a
            frame that looks like the one before by prolonging that.
        quality: 1 to 100, of WebP and video; GIF has 256 colors a frame, whatever it is.
        overwrite: replace a file that exists.

    Raises:
        OutputError: the file exists and `overwrite` is false, it cannot be written, the suffix or a
            number is none of a movie's, PyAV or its codec is missing, or a frame is too large.
    """
    path = Path(path)
    require_movie(path, overwrite=overwrite)
    kind = _FORMATS[path.suffix.lower()]
    if not LEAST_FPS <= fps <= kind.most_fps:
        raise OutputError(
            f"{fps:g} frames a second are out of range for {path.suffix}; use {LEAST_FPS:g} to "
            f"{kind.most_fps:g}."
        )
    if not 1 <= quality <= 100:
        raise OutputError(f"{quality} is no quality of a movie; use 1 to 100.")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise OutputError(f"there are no frames for {path}; give 1 or more.")
    if max(first.size) > kind.longest:
        raise OutputError(
            f"{path}: frames of {first.size} are too large for {path.suffix}; no side may be over "
            f"{kind.longest} pixels."
        )
    reel = chain([first], frames)
    target = followed(path)
    clear_parts(target.parent, {target.name})  # of one that was killed; a movie is written for long
    write_atomically(target, lambda stream: kind.write(stream, reel, fps, quality))


def require_movie(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that no movie can be written to, before its frames are drawn.

    Args:
        path: of the file.
        overwrite: it may exist.

    Raises:
        OutputError: its suffix is none of a movie, it exists, its folder does not, or PyAV or its
            codec is missing.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise OutputError(f"{path} has no suffix of a movie; use .gif, .webp, .mp4 or .webm.")
    refuse_existing(path, overwrite=overwrite)
    require_folder(path)
    if kind.codec is not None:
        _require(kind.codec)


def nearest_fps(path: Path, fps: float) -> float:
    """The frames a second nearest to `fps` that the format of the suffix of `path` takes."""
    kind = _FORMATS.get(path.suffix.lower())
    return fps if kind is None else min(max(fps, LEAST_FPS), kind.most_fps)


# Pillow ------------------------------------------------------------------------------------------


def _write_gif(stream: BinaryIO, frames: Iterator[Photo], fps: float, quality: int) -> None:
    first = next(frames)
    images = map(_gif_frame, chain([first], frames))
    options: dict[str, Any] = {"duration": 10 * round(100 / fps)}
    if first.channels.mode in ("LA", "RGBA"):  # a frame is cleared before the next
        options |= {"transparency": CLEAR, "disposal": 2}
    try:
        _save(stream, "GIF", images, options)
    except (struct.error, OverflowError):  # Pillow adds up the times of frames that look alike
        raise OutputError(
            "a GIF shows a frame for 655 seconds at most, and here they look alike for longer; "
            "take fewer, or write .webp."
        ) from None


def _write_webp(stream: BinaryIO, frames: Iterator[Photo], fps: float, quality: int) -> None:
    options = {"duration": 1000 / fps, "quality": quality, "method": 4}
    _save(stream, "WEBP", map(_with_alpha, frames), options)


def _save(
    stream: BinaryIO, kind: str, images: Iterator[Image.Image], options: dict[str, Any]
) -> None:
    """One picture or many, repeated forever."""
    first = next(images)
    first.save(stream, kind, save_all=True, append_images=images, loop=0, **options)


CLEAR = 255
"""Index of the transparent color in the palettes of GIF frames."""


def _gif_frame(photo: Photo) -> Image.Image:
    """Gray, color, or where there is alpha 255 colors and a transparent one."""
    picture = _with_alpha(photo)
    if picture.mode in ("L", "RGB"):
        return picture
    indices = picture.convert("RGB").quantize(CLEAR, dither=Image.Dither.NONE)
    hidden = picture.getchannel("A").point([255] * 128 + [0] * 128)
    indices.paste(CLEAR, mask=hidden)
    return indices


def _with_alpha(photo: Photo) -> Image.Image:
    """The picture with 8 bits a channel, without masks: gray, color, or color with alpha."""
    mode = photo.channels.mode
    planes = photo.pixels[: MODE_CHANNELS[mode]]
    if mode in ("L", "RGB"):
        shown = Photo(planes, Channels(mode=mode)).preview()
        return shown.convert("L") if mode == "L" else shown
    colors = Photo(planes[:-1], Channels(mode="L" if mode == "LA" else "RGB")).preview()
    colors.putalpha(Photo(planes[-1:], Channels(mode="L")).preview().convert("L"))
    return colors


# PyAV --------------------------------------------------------------------------------------------


class _Codec(NamedTuple):
    name: str
    container: str
    coarsest: int
    """Rate factor (crf) at quality 0; at 100 it is 10, which nobody tells from the original."""
    options: dict[str, str]

    def settings(self, quality: int) -> dict[str, str]:
        factor = self.coarsest + (10 - self.coarsest) * quality / 100
        return {"crf": str(round(factor)), **self.options}


def _require(codec: _Codec) -> None:
    """Raises `OutputError` unless PyAV is installed and has the encoder."""
    try:
        import av
    except ImportError:
        raise OutputError(
            f'.{codec.container} needs PyAV: pip install "singleimage[video]"; or write .gif or '
            f".webp."
        ) from None
    if codec.name not in av.codecs_available:
        raise OutputError(
            f"the installed PyAV cannot encode {codec.name}; pip install --force-reinstall av, or "
            f"write .gif or .webp."
        )


def _write_video(
    stream: BinaryIO, frames: Iterator[Photo], fps: float, quality: int, *, codec: _Codec
) -> None:
    """In 8-bit 4:2:0 by BT.709, which every player shows; quality is that of the codec."""
    import av

    first = next(frames)
    rate = Fraction(fps).limit_denominator(1001)
    try:
        with av.open(stream, "w", format=codec.container) as container:
            track = container.add_stream(codec.name, rate, options=codec.settings(quality))
            assert isinstance(track, av.VideoStream)
            track.height, track.width = (side + side % 2 for side in first.size)
            track.pix_fmt = "yuv420p"
            context = track.codec_context
            context.bit_rate = 0  # the factor decides
            context.colorspace = context.color_primaries = context.color_trc = BT709
            context.color_range = NARROW
            for photo in chain([first], frames):
                container.mux(track.encode(_video_frame(photo)))
            container.mux(track.encode())
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from None


BT709, NARROW = 1, 1
"""The colors of a video in FFmpeg's numbers: ITU-R BT.709, luma from 16 to 235."""


def _video_frame(photo: Photo) -> "VideoFrame":
    """Color with even sides: where one is odd, its last row or column is there twice."""
    from av import VideoFrame

    count = MODE_CHANNELS[photo.channels.mode]
    shown = Photo(photo.pixels[:count], Channels(mode=photo.channels.mode)).preview()
    odd = ((0, shown.height % 2), (0, shown.width % 2), (0, 0))
    values = np.pad(np.asarray(shown), odd, mode="edge")
    frame = VideoFrame.from_ndarray(values, format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=NARROW)


# Formats -----------------------------------------------------------------------------------------


class _Format(NamedTuple):
    write: Callable[[BinaryIO, Iterator[Photo], float, int], None]
    most_fps: float
    longest: int
    """Pixels of a side, at most."""
    codec: _Codec | None = None


def _video(codec: _Codec) -> _Format:
    return _Format(partial(_write_video, codec=codec), 240.0, 16382, codec)


LEAST_FPS = 0.1
_FORMATS = {
    ".gif": _Format(_write_gif, 50.0, 65535),  # browsers slow down what is faster
    ".webp": _Format(_write_webp, 240.0, 16383),
    ".mp4": _video(_Codec("libx264", "mp4", 51, {})),
    ".webm": _video(_Codec("libvpx-vp9", "webm", 63, {"row-mt": "1", "cpu-used": "2"})),
}
"""Suffixes that are written."""
