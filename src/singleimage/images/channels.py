"""What the channels of an image mean.

They are those of a mode, then further bands, then those of masks. A mask of labels has a channel
for each label: labels are names, and between two names there is no third.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor

from singleimage.images.encode import format_for
from singleimage.images.values import MODE_CHANNELS, Mode
from singleimage.machine.files import refuse_existing, require_folder

MASK_LIMIT = 64
"""Masks of a photo at most."""
LABEL_LIMIT = 32
"""A mask with at most this many distinct values is a label map; samples keep to those values."""
BAND_LIMIT = 64
"""Bands of a photo at most."""
CHANNEL_LIMIT = 256
"""Channels of a photo at most, all together."""
HIDDEN = -1.0
"""Alpha of what is transparent."""

LabelValue = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]


class Mask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mask means, and how its file stores it."""

    labels: Annotated[tuple[LabelValue, ...], msgspec.Meta(max_length=LABEL_LIMIT)] = ()
    """Its values, ascending; empty where they are continuous."""
    bits: Literal[8, 16] = 8
    """Bits of its file."""
    palette: Annotated[tuple[tuple[Byte, Byte, Byte], ...], msgspec.Meta(max_length=256)] = ()
    """Colors of its values, of a file with a palette."""
    ranks: bool = False
    """All labels in one channel, evenly spaced in order, as it was before 2026-12."""

    @property
    def count(self) -> int:
        """Number of channels: one, or of more than two labels one each."""
        return 1 if self.ranks or len(self.labels) <= 2 else len(self.labels)


def same_masks(ours: Sequence[Mask], theirs: Sequence[Mask]) -> bool:
    """Whether masks mean the same, whatever the bits of their files."""
    one, other = (
        [msgspec.structs.replace(mask, bits=8) for mask in masks] for masks in (ours, theirs)
    )
    return one == other


class Channels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the channels of an image mean: those of `mode`, then bands, then those of masks."""

    mode: Mode
    bits: Literal[8, 16] = 8
    """Bits per channel of the file it came from and of the files that are written."""
    bands: Annotated[int, msgspec.Meta(ge=0, le=BAND_LIMIT)] = 0
    """Further channels of a TIFF, such as near infrared."""
    white: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    """The integer that is 1, of 16 bits of which fewer are used; None: the highest."""
    palette: Annotated[tuple[tuple[Byte, ...], ...], msgspec.Meta(max_length=64)] = ()
    """All colors of a picture of few, with alpha where it has some; what is drawn keeps to them."""
    masks: Annotated[tuple[Mask, ...], msgspec.Meta(max_length=MASK_LIMIT)] = ()

    @property
    def picture(self) -> int:
        """Number of channels without those of masks."""
        return MODE_CHANNELS[self.mode] + self.bands

    @property
    def alpha(self) -> int | None:
        """Index of the alpha channel; None: there is none."""
        return MODE_CHANNELS[self.mode] - 1 if self.mode in ("LA", "RGBA") else None

    @property
    def colors(self) -> int:
        """Number of channels of color or gray."""
        return MODE_CHANNELS[self.mode] - (self.alpha is not None)

    @property
    def count(self) -> int:
        """Number of channels, masks included."""
        return self.picture + sum(mask.count for mask in self.masks)

    @property
    def plain(self) -> "Channels":
        """The same without masks and palette."""
        return msgspec.structs.replace(self, masks=(), palette=())

    @property
    def suffix(self) -> str:
        """The suffix of the lossless format that holds such pictures."""
        return ".tiff" if self.bands else ".png"

    @property
    def words(self) -> str:
        """What they are, without masks, for people."""
        kinds = {"L": "gray", "LA": "gray with alpha", "RGB": "color", "RGBA": "color with alpha"}
        more = {0: "", 1: " and a further band"}.get(self.bands, f" and {self.bands} further bands")
        return kinds[self.mode] + more

    def of_masks(self, pixels: Tensor) -> list[Tensor]:
        """Split off the channels of each mask, (n, H, W), from `pixels` (C, H, W)."""
        counts = [self.picture, *(mask.count for mask in self.masks)]
        return list(torch.split(pixels, counts)[1:])

    def require_file(self, path: Path, *, overwrite: bool) -> None:
        """Refuse a file that such a picture cannot be written to, before it is made.

        Args:
            path: of the file.
            overwrite: it may exist.

        Raises:
            OutputError: it exists, its folder does not, or its format cannot hold the picture.
        """
        for file in self.files(path):
            refuse_existing(file, overwrite=overwrite)
        require_folder(path)
        format_for(path, self.mode, self.bits, self.bands)

    def files(self, path: Path) -> list[Path]:
        """The files of a picture saved as `path`: itself, then `NAME_mask.png` for each mask."""
        masks = (f"{path.stem}_mask{i + 1 if i else ''}.png" for i in range(len(self.masks)))
        return [path, *(path.parent / name for name in masks)]


def read_channels(text: str) -> Channels:
    """Read what a model file says of its channels, of this version or of an earlier one.

    Args:
        text: JSON.

    Raises:
        msgspec.DecodeError: it is not that.
    """
    try:
        tree = msgspec.json.decode(text)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
    masks: Any = tree.get("masks") if isinstance(tree, dict) else None
    if isinstance(masks, list):
        tree["masks"] = [
            {"labels": mask, "ranks": True} if isinstance(mask, list) else mask for mask in masks
        ]
    found = msgspec.convert(tree, Channels)
    if any(len(color) != MODE_CHANNELS[found.mode] for color in found.palette):
        raise msgspec.ValidationError("a color of the palette is not as long as a pixel")
    return found
