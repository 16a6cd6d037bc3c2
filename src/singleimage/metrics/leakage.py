"""Do samples of one photo take patches from another that was learned beside it?

One critic for several photos lets their generators exchange patches; a critic for each does not
(Meta Internal Learning, figure 2). Patches are those of `metrics.copying`, sought in all photos.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from singleimage.errors import ArgumentError, SizeError
from singleimage.metrics.copying import PATCH, patches_of, principal
from singleimage.multiscale.geometry import size_of

_CHUNK = 64


class PatchOwners:
    """Finds the photo that the nearest neighbor of a patch lies in."""

    def __init__(self, photos: Sequence[Tensor]) -> None:
        """`photos`: (3, H, W) each, in [-1, 1], learned together.

        Raises:
            ArgumentError: there are less than two.
            SizeError: one is narrower than two patches.
        """
        if len(photos) < 2:
            raise ArgumentError("one photo leaks into no other; give two or more.")
        for photo in photos:
            if min(size_of(photo)) < 2 * PATCH:
                raise SizeError(f"{size_of(photo)} is too small to seek patches in.")
        each = [patches_of(photo.cpu().float(), 1).flatten(0, 1) for photo in photos]
        patches = torch.cat(each)
        self._basis = principal(patches)
        self._patches = patches @ self._basis
        self._norms = self._patches.square().sum(dim=1)
        counts = torch.tensor([len(patches) for patches in each])
        self._owners = torch.repeat_interleave(torch.arange(len(photos)), counts)

    @torch.inference_mode()
    def leaked(self, sample: Tensor, own: int) -> float:
        """Share of the patches of a sample (3, H, W) whose match is not in the photo `own`."""
        queries = patches_of(sample.cpu().float(), PATCH).flatten(0, 1) @ self._basis
        found = [
            torch.addmm(self._norms, part, self._patches.T, alpha=-2).argmin(dim=1)
            for part in torch.split(queries, _CHUNK)
        ]
        return float((self._owners[torch.cat(found)] != own).float().mean())
