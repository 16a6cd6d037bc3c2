"""How much of a picture comes from the wrong photo."""

from pathlib import Path

import pytest
import torch

from singleimage.errors import ArgumentError
from singleimage.images.folder import read_album
from singleimage.metrics.leakage import PatchOwners


def test_patches_are_found_in_the_photo_they_come_from(album: Path) -> None:
    images = [photo.colors() for photo in read_album(album)]
    owners = PatchOwners(images)
    assert [owners.leaked(image, i) for i, image in enumerate(images)] == [0.0, 0.0, 0.0]
    assert owners.leaked(images[0], 1) == 1.0
    half = torch.cat([images[0][:, :24], images[2][:, 24:40]], 1)
    assert owners.leaked(half, 0) == pytest.approx(16 / 40)
    with pytest.raises(ArgumentError, match="one photo leaks into no other"):
        PatchOwners(images[:1])
