"""Pictures of patch flow that are not finished, and which of several tries are."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor

from singleimage.generators.field import Field
from singleimage.images.rearrangement import together
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent, Noise, seed_for

AT_ONCE = 4
"""Pictures that a thread makes together: small ones are many calls for little arithmetic."""
AT_ONCE_PIXELS = 200_000
"""Pixels of them, at most."""
Places = tuple[Tensor, Tensor]
"""Row and column in the photo that every pixel of pictures comes from, (..., H, W) each."""


@dataclass(frozen=True, eq=False)
class Draft:
    """Pictures up to some level."""

    latent: Latent
    levels: int
    """How many are made."""
    images: Tensor | None
    """(B, C, H, W) of the last of them, or of what enters; not of the finest that copies."""
    field: Field | None

    def items(self, indices: Sequence[int]) -> "Draft":
        """The drafts of these numbers."""
        return Draft(
            self.latent.items(indices),
            self.levels,
            None if self.images is None else self.images[list(indices)],
            None if self.field is None else self.field.items(indices),
        )

    def shares(self, photo: Size) -> list[float]:
        """Tell how much of each moved in one piece, as `images.rearrangement.together`.

        Args:
            photo: its size at the last level that is made.
        """
        assert self.field is not None
        return [together(*found, photo) for found in zip(*self.field.sources(), strict=True)]


@dataclass(frozen=True)
class Tries:
    """Draws pictures again that copy the photo in large pieces."""

    limit: float
    """Share of a picture that may move in one piece."""
    redraws: int
    """How often, at most."""
    drafted: Size
    """The photo's size at the last level of a draft."""
    finest: Size
    """The photo's size."""

    def best(
        self,
        latent: Latent,
        draft_of: Callable[[Latent, list[int]], Draft],
        finish: Callable[[Draft], Field],
    ) -> Places:
        """Return of each picture the first try that is within the limit, or else the best.

        Mostly a draft shows whether it copies, so that few pictures are finished for nothing.

        Args:
            latent: noise of the pictures.
            draft_of: begins some pictures, given their noise and their numbers.
            finish: makes the rest of them.

        Returns:
            Row and column in the photo that every pixel comes from, (B, H, W) each.
        """
        found: dict[int, tuple[float, Places]] = {}
        refused: dict[int, tuple[float, Draft]] = {}
        waiting = list(range(latent.batch))
        for count in range(self.redraws + 1):
            noise = latent.items(waiting)
            draft = draft_of(noise if count == 0 else again(noise, count - 1), waiting)
            shares = draft.shares(self.drafted)
            for index, (picture, share) in enumerate(zip(waiting, shares, strict=True)):
                if self.limit < share < refused.get(picture, (math.inf,))[0]:
                    refused[picture] = share, draft.items([index])
            good = [index for index, share in enumerate(shares) if share <= self.limit]
            if good:
                places = zip(*finish(draft.items(good)).sources(), strict=True)
                for index, (rows, columns) in zip(good, places, strict=True):
                    whole = together(rows, columns, self.finest), (rows, columns)
                    kept = found.setdefault(waiting[index], whole)
                    found[waiting[index]] = min(kept, whole, key=itemgetter(0))
            waiting = [i for i in waiting if found.get(i, (math.inf,))[0] > self.limit]
            if not waiting:
                break
        for picture, (_, draft) in refused.items():
            if picture not in found:
                ((rows, columns),) = zip(*finish(draft).sources(), strict=True)
                found[picture] = math.inf, (rows, columns)
        rows, columns = zip(*(found[i][1] for i in range(latent.batch)), strict=True)
        return torch.stack(rows), torch.stack(columns)


def again(latent: Latent, count: int) -> Latent:
    """Return other noise in place of that of a latent, the same for the same `count`."""
    maps = (
        replace(x, seeds=tuple(seed_for(seed, "again", count) for seed in x.seeds))
        for x in latent.maps
        if isinstance(x, Noise)
    )
    return Latent(tuple(maps), latent.sizes, latent.wrap)


def at_once(size: Size, photo: Size) -> int:
    """How many pictures of a size, of a photo of another one, a thread makes together."""
    return max(1, min(AT_ONCE, AT_ONCE_PIXELS // max(math.prod(size), math.prod(photo))))
