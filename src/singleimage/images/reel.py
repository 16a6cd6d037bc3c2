"""The frames of movie files: GIF and WebP by Pillow, TIFF by tifffile, video by PyAV."""

import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from singleimage.errors import ImageError
from singleimage.images.decoded import Notes
from singleimage.images.tiff import is_tiff
from singleimage.multiscale.geometry import PIXEL_LIMIT, Size

VIDEO_SUFFIXES = {".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v"}
LEAST_SIDE = 256
"""Frames of a large movie are halved while their short side stays as long, pixels."""
RATE = 10.0
"""Frames a second of a file that does not tell."""


class Reel(NamedTuple):
    """The frames of a movie."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3)."""
    fps: float
    """Frames a second."""
    notes: Notes = ()
    """What was changed, in words for the user."""


def moving_picture(path: Path, data: bytes) -> Reel:
    """Decode a GIF, WebP, or TIFF of several pages.

    Args:
        path: for messages.
        data: bytes of the file.

    Raises:
        ImageError: it is no such file, or too large.
    """
    times: list[float] = []

    def shown(opened: Image.Image) -> Iterator[NDArray[np.uint8]]:
        for frame in ImageSequence.Iterator(opened):
            picture = frame.convert("RGB")  # WebP tells the time of a frame it has read
            times.append(frame.info.get("duration") or 1000 / RATE)
            yield np.asarray(picture)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if is_tiff(data):
                frames, notes = _stacked(path, iter(_pages(path, data)))
                return Reel(frames, RATE, notes)
            with Image.open(BytesIO(data), formats=("GIF", "WEBP", "PNG")) as opened:
                frames, notes = _stacked(path, shown(opened))
                return Reel(frames, 1000 * len(times) / sum(times), notes)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow raises many kinds on damaged and on huge files
        raise ImageError(
            f"{path} is no movie, or is damaged: {error}; give a GIF, a WebP, a video or a folder "
            f"of frames."
        ) from None


def _pages(path: Path, data: bytes) -> NDArray[np.uint8]:
    """All pages of a TIFF as colors; more than 8 bits are scaled to the brightest of all."""
    import tifffile

    stack = np.asarray(tifffile.imread(BytesIO(data)))
    if stack.ndim == 3 and stack.shape[-1] not in (3, 4):
        stack = stack[..., None]
    if stack.ndim != 4 or stack.dtype.kind not in "uif":
        raise ImageError(f"{path} is no stack of pictures; save its pages with 8 or 16 bits.")
    if stack.dtype != np.uint8:
        top = 1.0 if stack.dtype.kind == "f" else 2 ** int(stack.max()).bit_length() - 1.0
        stack = (stack / max(top, 1.0)).clip(0, 1) * 255
    colors = stack[..., :3] if stack.shape[-1] > 2 else stack[..., :1].repeat(3, -1)
    return np.asarray(np.round(colors).astype(np.uint8))


def frames_of_video(path: Path, data: bytes) -> Reel:
    """Decode a video with PyAV, upright.

    Args:
        path: for messages.
        data: bytes of the file.

    Raises:
        ImageError: it is no video, too large, or PyAV is missing.
    """
    try:
        import av
    except ImportError:
        raise ImageError(
            f'{path} needs PyAV: pip install "singleimage[video]"; or give a GIF or a folder of '
            f"frames."
        ) from None

    def upright(frame: Any) -> NDArray[np.uint8]:
        turned = np.rot90(np.asarray(frame.to_image()), getattr(frame, "rotation", 0) // 90)
        return np.ascontiguousarray(turned)

    try:
        with av.open(BytesIO(data), "r") as container:
            if not container.streams.video:
                raise ImageError(f"{path} has sound but no picture; give a video.")
            decoded = container.decode(video=0)
            frames, notes = _stacked(path, map(upright, decoded))
            rate = container.streams.video[0].average_rate
    except av.FFmpegError as error:
        raise ImageError(f"{path} is no video, or is damaged: {error}; convert it.") from None
    return Reel(frames, float(rate or 25), notes)


def _stacked(path: Path, frames: Iterator[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], Notes]:
    """All frames in one array, halved as often as they would be over `PIXEL_LIMIT` together."""
    kept: list[NDArray[np.uint8]] = []
    halved = 0
    for frame in frames:
        for _ in range(halved):
            frame = _half(frame)
        kept.append(frame)
        while len(kept) * frame.shape[0] * frame.shape[1] > PIXEL_LIMIT:
            if min(frame.shape[:2]) < 2 * LEAST_SIDE:
                raise ImageError(
                    f"{path} has over {PIXEL_LIMIT // 10**6} megapixels in all its frames; cut or "
                    f"reduce it."
                )
            kept, halved = [_half(one) for one in kept], halved + 1
            frame = kept[-1]
    if not kept:
        raise ImageError(f"{path} has no frames; convert it, or give another.")
    stack = np.stack(kept)
    if not halved:
        return stack, ()
    size = Size(*stack.shape[1:3])
    limit = PIXEL_LIMIT // 10**6
    return stack, (
        f"the frames of {path.name} are over {limit} megapixels together; they are reduced to "
        f"{size}.",
    )


def _half(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).reduce(2))
