"""Clips: photos that move."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from singleimage.errors import ImageError
from singleimage.images.channels import Channels
from singleimage.images.decode import read_bytes
from singleimage.images.decoded import Notes
from singleimage.images.folder import pictures_in
from singleimage.images.movie import nearest_fps, write_movie
from singleimage.images.photo import Photo, joined_digest
from singleimage.images.reader import read_photo
from singleimage.images.reel import VIDEO_SUFFIXES, frames_of_video, moving_picture
from singleimage.multiscale.geometry import PIXEL_LIMIT

STRIP = 5
"""Frames that a preview shows, evenly spaced."""


@dataclass(frozen=True, eq=False)
class Clip(Photo):
    """Frames and the meaning of their channels; `pixels` are (C, T, H, W). It has no masks."""

    fps: float = 10.0
    """Frames a second."""

    @property
    def frames(self) -> list[Photo]:
        """Every frame, as a photo of its own."""
        return [Photo(pixels, self.channels) for pixels in self.pixels.unbind(1)]

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write a movie in the format of the suffix: GIF, WebP, MP4 or WebM.

        A clip that is too fast or too slow for the format is played as fast or as slowly as it can:
        a GIF has at most 50 frames a second.

        Args:
            path: of the file.
            overwrite: replace a file that exists.

        Raises:
            OutputError: as `movie.write_movie`.
        """
        path = Path(path)
        write_movie(path, self.frames, fps=nearest_fps(path, self.fps), overwrite=overwrite)
        return [path]

    def colors(self, *, jpeg: int | None = None) -> Tensor:
        """Raise `ImageError`, with or without `jpeg`: what is measured are photos."""
        raise ImageError("a clip is not measured as a whole; take its `frames`.")

    def preview(self, limit: int | None = None) -> Image.Image:
        """Some frames side by side, 8-bit RGB, from the first to the last.

        `limit`: of the sides of each frame.
        """
        count = min(STRIP, self.pixels.shape[1])
        chosen = torch.linspace(0, self.pixels.shape[1] - 1, count).round().int().tolist()
        shown = [Photo(self.pixels[:, i], self.channels).preview(limit) for i in chosen]
        width, height = shown[0].size
        strip = Image.new("RGB", (width * count, height))
        for i, frame in enumerate(shown):
            strip.paste(frame, (i * width, 0))
        return strip


def read_clip(path: str | Path) -> Clip:
    """Read a GIF, an animated WebP, a video (with the extra `video`), or a folder of frames.

    Alpha of a file is left out, that of frames in a folder is kept.

    Args:
        path: of the file or folder. The frames of a folder are in the order of their numbers, at 10
            a second.

    Raises:
        ImageError: the file or folder is missing, damaged or no movie, all its frames together have
            too many pixels, or the frames of a folder differ in size or channels.
    """
    path = Path(path)
    if path.is_dir():
        return _of_frames(path, pictures_in(path))
    data = read_bytes(path)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        reel = frames_of_video(path, data)
    else:
        reel = moving_picture(path, data)
    pixels = torch.from_numpy(reel.frames).permute(3, 0, 1, 2).float().div_(127.5).sub_(1)
    digest = hashlib.sha256(data).hexdigest()
    return Clip(pixels, Channels(mode="RGB"), digest, reel.notes, fps=reel.fps)


def _of_frames(folder: Path, files: Sequence[Path]) -> Clip:
    first = read_photo(files[0])
    if len(files) * first.size.height * first.size.width > PIXEL_LIMIT:
        raise ImageError(
            f"{folder} has over {PIXEL_LIMIT // 10**6} megapixels in all its frames; take some out "
            f"or reduce them."
        )
    photos = [first, *map(read_photo, files[1:])]
    for photo, file in zip(photos, files, strict=True):
        if (photo.size, photo.channels.mode) != (first.size, first.channels.mode):
            raise ImageError(
                f"{file} is {photo.size}, {photo.channels.mode}, the first frame "
                f"{first.size}, {first.channels.mode}; make them alike."
            )
    digest = joined_digest([photo.sha256 for photo in photos])
    notes: Notes = tuple(dict.fromkeys(note for photo in photos for note in photo.notes))
    pixels = torch.stack([photo.pixels for photo in photos], 1)
    return Clip(pixels, Channels(mode=first.channels.mode), digest, notes)
