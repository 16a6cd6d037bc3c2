"""Tuning: the finest level of a finished training learns on, for one picture."""

from pathlib import Path

import pytest
import torch

from pasting import with_square
from singleimage import Model, Photo, Recipe, Run, Trainer, for_harmonizing, preset
from singleimage.errors import ImageError, RunError, UnsupportedEntry
from singleimage.images.channels import Channels, Mask
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize
from singleimage.training.run import Tuning
from tiny import pattern, tiny

STEPS = 6
HARMONIZING: Recipe = tiny(
    for_harmonizing(preset("consingan")),
    **{"training.steps": str(STEPS), "pyramid.min_size": "25", "pyramid.levels": "3"},
)
PHOTO = Photo(pattern(3, Size(44, 52)), Channels(mode="RGB"))


def pasted() -> Photo:
    return with_square(PHOTO, 10)[0]


def trained(given: Photo | None) -> Trainer:
    trainer = Trainer(PHOTO, HARMONIZING, seed=0, device="cpu", precision="fp32", given=given)
    for _ in trainer:
        pass
    return trainer


@pytest.fixture(scope="module")
def untuned() -> Trainer:
    """A finished training without a picture to tune on."""
    return trained(None)


def test_tuning_feeds_the_given_picture_to_the_finest_level_alone(untuned: Trainer) -> None:
    trainer = trained(pasted())
    before = untuned.learner.state_dict()
    for name, tensor in before.items():  # what is given waits for `tune`
        assert torch.equal(trainer.learner.state_dict()[name], tensor)
    coarsest = trainer.example.images[0]
    expected = resize(pasted().pixels[None], size_of(coarsest))
    trainer.tune()
    assert torch.equal(torch.as_tensor(trainer._base_input(7)), expected)
    assert [(p.level, p.step) for p in trainer] == [(2, step) for step in range(1, STEPS + 1)]
    assert trainer.finished
    after = trainer.learner.state_dict()
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())


def test_what_cannot_be_tuned_is_said(untuned: Trainer) -> None:
    with pytest.raises(RunError, match="not finished"):
        Trainer(PHOTO, HARMONIZING, seed=0, device="cpu", given=pasted()).tune()
    with pytest.raises(RunError, match="no picture to tune on"):
        untuned.tune()
    with pytest.raises(UnsupportedEntry, match="no picture at level 0"):
        Trainer(PHOTO, tiny(preset("singan")), seed=0, device="cpu", given=pasted())
    gray = Photo(PHOTO.pixels[:1], Channels(mode="L"))
    with pytest.raises(ImageError, match="other channels"):
        Trainer(PHOTO, HARMONIZING, seed=0, device="cpu", given=gray)


@pytest.mark.slow
def test_a_stopped_tuning_ends_as_one_that_was_not(tmp_path: Path) -> None:
    def train(name: str, tuning: Tuning | None = None, stop: int = 0) -> list[int]:
        run = Run(tmp_path / name, PHOTO, HARMONIZING, seed=0, device="cpu", tuning=tuning)
        steps = []
        for progress in run:
            steps.append(progress.step)
            if progress.step == stop:
                run.save()
                break
        return steps

    train("start")
    tuning = Tuning(tmp_path / "start", pasted())
    every = list(range(1, STEPS + 1))
    assert train("whole", tuning) == every
    assert train("parts", tuning, stop=2) + train("parts", tuning) == every
    whole, parts = (Model.load(tmp_path / name).generator for name in ("whole", "parts"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name])


def test_masks_of_a_gray_photo_are_no_colors_that_change() -> None:
    channels = Channels(mode="L", masks=(Mask(labels=(0, 1, 2)),))
    photo = Photo(pattern(channels.count), channels)
    trainer = Trainer(photo, HARMONIZING, seed=0, device="cpu", precision="fp32")
    coarsest = trainer.example.images[0]
    found = [torch.as_tensor(trainer._base_input(seed)) for seed in range(8)]
    assert all(torch.equal(base[:, 1:], coarsest[:, 1:]) for base in found)
    assert not all(torch.equal(base, coarsest) for base in found)


def test_a_run_that_was_stopped_is_not_tuned(tmp_path: Path) -> None:
    run = Run(tmp_path / "start", PHOTO, HARMONIZING, seed=0, device="cpu")
    next(iter(run))
    run.save()
    tuning, short = Tuning(tmp_path / "start", pasted()), HARMONIZING.with_steps(1)
    with pytest.raises(RunError, match="start is not finished; continue it"):
        Run(tmp_path / "tuned", PHOTO, short, seed=0, device="cpu", tuning=tuning)
