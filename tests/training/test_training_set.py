"""Photos that are learned together: each once an epoch, mirrored, or refused."""

from pathlib import Path

import pytest
import torch

from singleimage import Trainer, preset
from singleimage.errors import RecipeError
from singleimage.images.folder import read_album
from tiny import album_recipe


def test_every_photo_is_met_once_an_epoch_in_another_order(album: Path) -> None:
    trainer = Trainer(
        read_album(album), album_recipe(**{"training.batch": "1"}), seed=0, device="cpu"
    )
    coarsest = trainer.example.images[0]

    def met(step: int) -> int:
        (image,) = trainer._batch(step).images[0]
        return next(i for i, one in enumerate(coarsest) if torch.equal(one, image))

    epochs = [[met(3 * epoch + i) for i in range(3)] for epoch in range(6)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_mirrored_photos_are_photos_of_their_own(album: Path) -> None:
    trainer = Trainer(
        read_album(album), album_recipe(**{"training.mirror": "true"}), seed=0, device="cpu"
    )
    images = trainer.example.images[-1]
    assert len(images) == 6
    torch.testing.assert_close(images[3:], images[:3].flip(-1), rtol=0, atol=0.02)


def test_other_methods_learn_one_photo_at_a_time(album: Path) -> None:
    with pytest.raises(RecipeError, match="consingan learns one photo at a time; use meta or"):
        Trainer(read_album(album), preset("consingan"), seed=0)
