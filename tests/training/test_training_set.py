"""Photos that are learned together: each once an epoch, mirrored, read again, or refused."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from pathlib import Path

import msgspec
import pytest
import torch

from singleimage import Channels, Photo, Trainer, preset
from singleimage.errors import ImageError, RecipeError, SizeError
from singleimage.images.folder import read_album
from singleimage.multiscale.geometry import Size
from singleimage.training import training_set
from singleimage.training.run import Run
from tiny import album_recipe, pattern, slow_but


def indices(trainer: Trainer, step: int) -> list[int]:
    """Which photos a step looks at."""
    levels = [trainer._set._made(i).images[0][0] for i in range(trainer._set.count)]
    seen = trainer._batch(step).images[0]
    return [next(i for i, x in enumerate(levels) if torch.equal(x, image)) for image in seen]


def test_every_photo_is_met_once_an_epoch_in_another_order(album: Path) -> None:
    recipe = album_recipe(**{"training.batch": "1"})
    trainer = Trainer(read_album(album), recipe, seed=0, device="cpu")
    epochs = [[indices(trainer, 3 * epoch + i)[0] for i in range(3)] for epoch in range(6)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_mirrored_photos_are_photos_of_their_own(album: Path) -> None:
    recipe = album_recipe(**{"training.mirror": "true", "training.batch": "6"})
    trainer = Trainer(read_album(album), recipe, seed=0, device="cpu")
    assert sorted(indices(trainer, 0)) == list(range(6))
    images = [trainer._set._made(i).images[-1] for i in range(6)]
    for image, mirrored in zip(images[:3], images[3:], strict=True):
        torch.testing.assert_close(mirrored, image.flip(-1), rtol=0, atol=0.02)


def weights_after(trainer: Trainer, steps: int) -> dict[str, torch.Tensor]:
    for _ in islice(trainer, steps):
        pass
    return {name: x.clone() for name, x in trainer.learner.state_dict().items()}


@pytest.mark.parametrize("room", slow_but([0, 40_000], 0))
def test_photos_that_are_read_again_train_as_photos_that_are_kept(
    room: int, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a training that is stopped amid an epoch continues in it."""
    recipe = album_recipe(**{"training.mirror": "true"})

    def trainer() -> Trainer:
        return Trainer(read_album(album), recipe, seed=0, device="cpu")

    kept = trainer()
    assert len(kept._set._kept) == 6
    expected = weights_after(kept, 7)
    monkeypatch.setattr(training_set, "KEPT", room)
    streamed = trainer()
    assert len(streamed._set._kept) < 6
    found = weights_after(streamed, 4)
    state = deepcopy(streamed.state_dict())
    continued = trainer()
    continued.load_state_dict(state)
    found = weights_after(continued, 3)
    assert continued.position == kept.position
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_photo_that_is_changed_or_removed_stops_a_training_which_keeps_what_it_has(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_set, "KEPT", 0)
    folder = shutil.copytree(album, tmp_path / "photos")
    away = sorted(folder.iterdir())[1]
    text = away.read_bytes()

    def run() -> Run:
        return Run(tmp_path / "run", read_album(folder), album_recipe(), seed=0, device="cpu")

    def steps(run: Run, change: Callable[[], object]) -> None:
        for progress in run:
            if progress.step == 2:
                change()

    with pytest.raises(ImageError, match=r"was changed while it was in use; put it back"):
        steps(run(), away.unlink)
    away.write_bytes(text)
    resumed = run()
    assert resumed.resumed
    assert resumed.position >= (1, 0, 0)  # two steps are a level
    with pytest.raises(ImageError, match=rf"{away.name} was changed"):
        steps(resumed, lambda: away.write_bytes(text + b" "))


def test_other_methods_learn_one_photo_at_a_time(album: Path) -> None:
    with pytest.raises(RecipeError, match="consingan learns one photo at a time; use meta or"):
        Trainer(read_album(album), preset("consingan"), seed=0)


def test_photos_of_few_colors_each_are_learned_together_and_keep_to_none(album: Path) -> None:
    photos = [
        replace(photo, channels=msgspec.structs.replace(photo.channels, palette=((i, 0, 0),)))
        for i, photo in enumerate(read_album(album))
    ]
    apart = Trainer(photos, album_recipe(), seed=0, device="cpu")
    alike = Trainer([photos[1]] * 2, album_recipe(), seed=0, device="cpu")
    assert apart.photo.channels.palette == ()
    assert alike.photo.channels.palette == ((1, 0, 0),)


@pytest.mark.parametrize(
    ("size", "width", "needed"), [(Size(20, 70), 20, 39), (Size(60, 40), 8, 11)]
)
def test_a_coarsest_level_that_critics_cannot_see_is_told_its_width(
    size: Size, width: int, needed: int
) -> None:
    photo = Photo(pattern(3, size), Channels(mode="RGB"))
    fields = {"pyramid.width": "60", "pyramid.min_width": str(width)}

    def trainer() -> Trainer:
        return Trainer(photo, album_recipe(**fields), seed=0, device="cpu")

    with pytest.raises(SizeError, match=f"set pyramid.min_width={needed} or more"):
        trainer()
    fields["pyramid.min_width"] = str(needed)
    assert min(trainer().example.ladder.sizes[0]) == 11
