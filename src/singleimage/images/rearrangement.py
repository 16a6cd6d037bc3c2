"""Where every pixel of a picture comes from in its photo: as a picture, and put to use (ours)."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from singleimage.images.encode import write_picture
from singleimage.images.values import to_integers
from singleimage.machine.files import refuse_existing
from singleimage.multiscale.geometry import Size

ELSEWHERE = -1
"""The place of a pixel that does not come from the photo."""
PIECE = 8
"""Side of a piece, in pixels of a photo of about 16,000 pixels; as `metrics.copying` has it."""


@dataclass(frozen=True, eq=False)
class Rearrangement:
    """A rearrangement of the pixels of a photo."""

    places: Tensor
    """(H, W) integers: row times width plus column in the photo, or `ELSEWHERE`."""
    photo: Size
    """Size of the photo."""

    @property
    def together(self) -> float:
        """Share of neighboring pieces that are neighbors in the photo, too: 1 for a copy."""
        return together(self.places // self.photo.width, self.places % self.photo.width, self.photo)

    def applied(self, image: Tensor) -> Tensor:
        """Rearrange an image of the photo's size (C, h, w): (C, H, W); black where from elsewhere.

        Any map of the same scene can be rearranged alike: labels, heights, normals.
        """
        index = self.places.clamp(min=0).flatten()
        found = image.flatten(1).contiguous().index_select(1, index).view(-1, *self.places.shape)
        return torch.where(self.places == ELSEWHERE, -1.0, found)

    def moved(self, values: NDArray[Any]) -> NDArray[Any]:
        """Rearrange integers of the photo's size (h, w, C): (H, W, C); 0 where from elsewhere."""
        places = self.places.numpy()
        found: NDArray[Any] = values.reshape(-1, values.shape[2])[places.clip(min=0)]
        found[places == ELSEWHERE] = 0
        return found

    def shown(self) -> Tensor:
        """Show the places as colors, (3, H, W) in [-1, 1].

        Red is the column over that of the photo's last, green the row alike; blue is full where a
        pixel does not come from the photo. On 16 bits `read` gives the places back.
        """
        known = self.places != ELSEWHERE
        places = self.places.clamp(min=0)
        across = (places % self.photo.width) / max(self.photo.width - 1, 1)
        down = (places // self.photo.width) / max(self.photo.height - 1, 1)
        planes = [across * known, down * known, (~known).float()]
        return torch.stack(planes) * 2 - 1

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write what `shown` shows with 16 bits, a TIFF.

        Args:
            path: of the file.
            overwrite: replace a file that exists.

        Raises:
            OutputError: the file exists and `overwrite` is false, or it cannot be written.
        """
        refuse_existing(path, overwrite=overwrite)
        write_picture(path, to_integers(self.shown(), 16))

    @classmethod
    def read(cls, colors: Tensor, photo: Size) -> Self:
        """Read places from colors that `shown` made.

        Args:
            colors: (3, H, W) in [-1, 1].
            photo: size of the image to rearrange; if it is another than that of the photo the
                places were told of, they are taken in proportion.
        """
        across, down = (
            ((plane.double() + 1) / 2 * (side - 1)).round().long()
            for plane, side in zip(colors[:2], (photo.width, photo.height), strict=True)
        )
        places = down * photo.width + across
        return cls(torch.where(colors[2] > 0, ELSEWHERE, places), photo)


def map_file(picture: Path) -> Path:
    """The file beside a picture that tells where its pixels come from: `NAME_map.tiff`."""
    return picture.parent / f"{picture.stem}_map.tiff"


def together(rows: Tensor, columns: Tensor, photo: Size) -> float:
    """Share of neighboring pieces of a picture that are neighbors in the photo, too, from 0 to 1.

    Args:
        rows, columns: (H, W), where the pixels of the picture come from.
        photo: size of the photo, pixels.
    """
    apart = max(round(PIECE * math.sqrt(photo.height * photo.width / 16_000)), 2)
    step = apart // 2
    down = (rows - torch.arange(len(rows))[:, None])[::step, ::step]
    across = (columns - torch.arange(columns.shape[1]))[::step, ::step]
    offsets = torch.stack([down, across])

    def alike(a: Tensor, b: Tensor) -> Tensor:
        return ((a - b).abs() <= apart / PIECE).all(0)

    beside = alike(offsets[:, :, 2:], offsets[:, :, :-2])
    below = alike(offsets[:, 2:], offsets[:, :-2])
    count = beside.numel() + below.numel()
    return float(beside.sum() + below.sum()) / max(count, 1)
