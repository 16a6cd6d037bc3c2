"""Samples of one photo, wherever they come from: drawn by a model, or files that others made.

A folder of published samples stands for a method: beside photo `N.jpg` it holds `N.png`, or
`N_0.png`, `N_1.png` and so on; a file with the name of another photo is that one's.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from singleimage.images.folder import pictures_in
from singleimage.images.photo import Photo
from singleimage.images.reader import read_photo
from singleimage.models.model import Model


class Samples(Protocol):
    """Samples that can be walked through, and looked up again."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Photo]: ...

    def __getitem__(self, index: int) -> Photo: ...

    def name_of(self, index: int) -> str:
        """Name the sample number `index`: by its file or its seed."""
        ...


@dataclass(frozen=True)
class DrawnSamples:
    """The samples of a model, one a seed, drawn when they are asked for."""

    model: Model
    seeds: range

    def __len__(self) -> int:
        return len(self.seeds)

    def __iter__(self) -> Iterator[Photo]:
        return self.model.sample(self.seeds)

    def __getitem__(self, index: int) -> Photo:
        return next(self.model.sample([self.seeds[index]]))

    def name_of(self, index: int) -> str:
        """Name the sample number `index` by its seed."""
        return f"seed {self.seeds[index]}"


@dataclass(frozen=True)
class SampleFiles:
    """Samples in image files."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Photo]:
        return map(read_photo, self.paths)

    def __getitem__(self, index: int) -> Photo:
        return read_photo(self.paths[index])

    def name_of(self, index: int) -> str:
        """Name the sample number `index` by its file."""
        return self.paths[index].name


def samples_of(photo: Path, folder: Path, foreign: Collection[str] = ()) -> list[Path]:
    """The samples of a photo in a folder of published samples; maybe none.

    Args:
        photo: of which only the name counts.
        folder: of the samples.
        foreign: names of samples of other photos; see `names_of_others`.

    Raises:
        ImageError: there is no such folder, or no picture in it.
    """
    name = re.compile(re.escape(photo.stem) + r"(_\d+)?")
    found = [path for path in pictures_in(folder) if name.fullmatch(path.stem)]
    return [path for path in found if path.stem not in foreign]


def names_of_others(photos: Iterable[Path]) -> dict[str, tuple[str, ...]]:
    """For each of some `photos`, by name, the names of others that look like its samples'.

    So where there is `img_1.jpg`, `img_1.png` is a sample of it, and none of `img.jpg`.
    """
    stems = {photo.stem for photo in photos}
    found = {stem: list[str]() for stem in stems}
    for stem in sorted(stems):
        name, _, number = stem.rpartition("_")
        if name in stems and number.isdecimal():
            found[name].append(stem)
    return {stem: tuple(names) for stem, names in found.items()}


def digest_of(paths: Sequence[Path]) -> str:
    """SHA-256 of the names and the bytes of the files `paths`, in their order."""
    found = hashlib.sha256()
    for path in paths:
        name = hashlib.sha256(os.fsencode(path.name)).digest()
        found.update(name + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
