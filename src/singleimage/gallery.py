"""Samples of one photo, wherever they come from: drawn by a model, or files that others made.

A folder of published samples stands for a method: beside photo `N.jpg` it holds `N.png`, or
`N_0.png`, `N_1.png` and so on.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from singleimage.image import Photo, read_photo
from singleimage.imagefile import pictures_in
from singleimage.model import Model

_DRAWN_AT_ONCE = 16


class Gallery(Protocol):
    """Samples that can be walked through, and looked up again."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Photo]: ...

    def __getitem__(self, index: int) -> Photo: ...

    def name_of(self, index: int) -> str:
        """What to call a sample: its file or its seed."""
        ...


@dataclass(frozen=True)
class Drawn:
    """The samples of a model, one a seed, drawn when they are asked for."""

    model: Model
    seeds: range

    def __len__(self) -> int:
        return len(self.seeds)

    def __iter__(self) -> Iterator[Photo]:
        for first in range(0, len(self.seeds), _DRAWN_AT_ONCE):
            yield from self.model.sample(self.seeds[first : first + _DRAWN_AT_ONCE])

    def __getitem__(self, index: int) -> Photo:
        return self.model.sample([self.seeds[index]])[0]

    def name_of(self, index: int) -> str:
        return f"seed {self.seeds[index]}"


@dataclass(frozen=True)
class Files:
    """Samples in image files."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Photo]:
        return map(read_photo, self.paths)

    def __getitem__(self, index: int) -> Photo:
        return read_photo(self.paths[index])

    def name_of(self, index: int) -> str:
        return self.paths[index].name


def published(folder: Path, photo: Path) -> list[Path]:
    """The samples of a photo in a folder of published samples; maybe none."""
    name = re.compile(re.escape(photo.stem) + r"(_\d+)?")
    return [path for path in pictures_in(folder) if name.fullmatch(path.stem)]
