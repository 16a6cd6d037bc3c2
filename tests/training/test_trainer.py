"""The training loop, of every method: stopping, drafts, phases, batches, and what it refuses."""

from copy import deepcopy
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reference.compare import F64, SMALL_CONSINGAN, SMALL_SINGAN, difference, trained_small
from singleimage import PRESETS, Channels, Photo, Trainer
from singleimage.errors import RecipeError, RunError
from singleimage.images.folder import read_album
from singleimage.models.hypermodel import Start
from singleimage.multiscale.geometry import Size
from singleimage.nn.precision import Precision
from singleimage.recipes.recipe import Recipe
from tiny import METHODS, ONE_TURN, album_recipe, pattern, slow_but, tiny

State = dict[str, Any]
SIZES = {
    "pyramid.min_size": "20",
    "pyramid.max_size": "38",
    "pyramid.min_width": "19",
    "pyramid.width": "36",
}
"""Four levels; of hp-vae-gan five, three variational ones and two with a critic."""
ROUNDED = ("fast-stabilized", "hp-vae-gan")
"""Methods whose stops are tried in bfloat16."""
TWICE = {"training.steps": "2", **dict.fromkeys(ONE_TURN, "2")}
"""Two steps a level, of two turns each."""


def recipe_of(name: str, **more: str) -> Recipe:
    return tiny(PRESETS[name], **SIZES, **more)


def trainer_of(name: str, precision: Precision = "fp32", **settings: Any) -> Trainer:
    photo = Photo(pattern(3), Channels(mode="RGB"))
    return Trainer(photo, recipe_of(name), seed=3, device="cpu", precision=precision, **settings)


def finish(trainer: Trainer) -> State:
    for _ in trainer:
        pass
    assert trainer.finished
    return trainer.state_dict()


def test_cudnn_is_exact_in_each_step_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = lambda: (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32)  # noqa: E731
    seen: list[object] = []

    def look(trainer: Trainer) -> None:
        seen.append(flags())
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_begin_level", look)
    before = flags()
    with pytest.raises(KeyboardInterrupt):
        next(iter(trainer_of("consingan")))
    assert seen == [(True, False)]
    assert flags() == before


@cache
def stops_and_end(name: str, precision: Precision) -> tuple[list[State], State]:
    """The states after each step of a training, and at its end; two steps a level."""
    trainer = trainer_of(name, precision)
    states = [deepcopy(trainer.state_dict()) for _ in trainer]
    return states, states[-1]


def require_equal(ours: State, theirs: State) -> None:
    for part in ("learner", "critic"):
        assert ours[part].keys() == theirs[part].keys()
        assert all(torch.equal(value, theirs[part][name]) for name, value in ours[part].items())


def require_the_same(ours: Any, theirs: Any) -> None:
    """Of whole states, whatever they hold."""
    assert type(ours) is type(theirs)
    if isinstance(ours, Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            require_the_same(value, theirs[key])
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            require_the_same(one, other)
    else:
        assert ours == theirs


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("consingan", "fp32"),
        ("meta", "fp32"),
        ("fast-stabilized", "bf16"),
        pytest.param("singan", "fp32", marks=pytest.mark.slow),
        pytest.param("hp-vae-gan", "fp32", marks=pytest.mark.slow),
        pytest.param("hp-vae-gan", "bf16", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_training_ends_with_the_same_weights(name: str, precision: Precision) -> None:
    """Bit for bit: stopped in levels and between two, early and late, with a critic and without.

    From each stop it comes to the whole state of the next one, and from the last to the end.
    """
    states, end = stops_and_end(name, precision)
    stops = (1, 5, 6, 7, 9, 10) if name == "hp-vae-gan" else (1, 4, 7, 8)
    assert len(states) == stops[-1]
    for stop, following in pairwise(stops):
        second = trainer_of(name, precision)
        second.load_state_dict(deepcopy(states[stop - 1]))
        for _ in islice(second, following - stop):
            pass
        reached, expected = second.state_dict(), states[following - 1]
        require_the_same({**reached, "seconds": 0}, {**expected, "seconds": 0})
    assert second.finished
    require_equal(second.state_dict(), end)


@pytest.mark.slow
def test_a_stopped_training_of_several_photos_ends_with_the_same_weights(album: Path) -> None:
    """Stopped in the middle of an epoch too."""
    whole, first, second = (
        Trainer(read_album(album), album_recipe(), seed=3, device="cpu") for _ in range(3)
    )
    for _, _ in zip(range(3), first, strict=False):
        pass
    second.load_state_dict(deepcopy(first.state_dict()))
    require_equal(finish(second), finish(whole))


@cache
def drafted(name: str) -> tuple[list[tuple[int, int, set[Size]]], State]:
    """A training that draws from a draft after each step: what it drew, and the state at its end.

    Of each draft: its levels, also as its origin tells, and the sizes of its pictures.
    """
    trainer, found = trainer_of(name), []
    for _ in trainer:
        draft = trainer.draft()
        image = draft.training_image()
        assert image is not None
        pictures = [next(draft.sample([0])), draft.reconstruct(), image]
        assert all(picture.pixels.isfinite().all() for picture in pictures)
        levels = len(draft.generator.ladder.sizes)
        found.append((levels, draft.provenance.levels, {picture.size for picture in pictures}))
    return found, trainer.state_dict()


@pytest.mark.parametrize("name", slow_but(METHODS, "consingan", "meta"))
def test_a_draft_has_the_levels_so_far_and_draws_pictures_of_its_size(name: str) -> None:
    """In the middle of a level too, with the one that is in training."""
    sizes = trainer_of(name).example.ladder.sizes
    found, _ = drafted(name)
    assert len(found) == 2 * len(sizes)
    for index, draft in enumerate(found):
        level = index // 2
        assert draft == (level + 1, level + 1, {sizes[level]})


@pytest.mark.parametrize("name", slow_but(METHODS, "consingan", "meta"))
def test_drawing_from_drafts_changes_nothing_of_the_training(name: str) -> None:
    _, end = stops_and_end(name, "fp32")
    require_equal(drafted(name)[1], end)


@pytest.mark.parametrize("name", METHODS)
def test_a_draft_before_the_first_step_is_refused(name: str) -> None:
    with pytest.raises(RunError, match="no step is done yet, so there is nothing to draw from"):
        trainer_of(name).draft()


def test_networks_to_start_from_are_refused_where_none_are_taken() -> None:
    """When the trainer is made, not at the first step; and by a cascade, unless it is one."""
    cascade, growing = (Start(trainer_of(name).learner) for name in ("singan", "consingan"))
    for name in set(METHODS) - {"singan"}:
        with pytest.raises(RecipeError, match="this generator cannot begin from other networks"):
            trainer_of(name, start=cascade)
    with pytest.raises(RecipeError, match="a cascade begins from a cascade"):
        trainer_of("singan", start=growing)


def test_levels_of_a_phase_learn_for_its_steps() -> None:
    """And the rest of the time is guessed from them."""
    recipe = recipe_of("hp-vae-gan", **{"phases.0.steps": "4"})
    trainer = Trainer(Photo(pattern(3), Channels(mode="RGB")), recipe, seed=3, device="cpu")
    seen, left = [], []
    for progress in trainer:
        seen.append((progress.level, progress.step))
        left.append(progress.remaining)
    steps = [4, 4, 4, 2, 2]
    assert seen == [(i, step + 1) for i, count in enumerate(steps) for step in range(count)]
    assert left[-1] == 0


def test_a_penalty_of_every_second_step_goes_by_the_steps_of_a_level() -> None:
    """Also in a training that was stopped between."""
    every = {"phases.0.objective.penalty_every": "2", "phases.0.objective.critic_steps": "1"}
    recipe = recipe_of("consingan", **{"training.steps": "4"}, **every)

    def fresh() -> Trainer:
        return Trainer(Photo(pattern(3), Channels(mode="RGB")), recipe, seed=3, device="cpu")

    trainer = fresh()
    seen = {p.step: "penalty" in p.losses for p in islice(trainer, 3)}
    assert seen == {1: False, 2: True, 3: False}
    again = fresh()
    again.load_state_dict(deepcopy(trainer.state_dict()))
    (one,), (other,) = (list(islice(x, 1)) for x in (trainer, again))
    assert one.losses == other.losses
    assert "penalty" in one.losses
    require_the_same(again.state_dict()["learner"], trainer.state_dict()["learner"])


@pytest.mark.parametrize("name", slow_but(METHODS, "consingan", "hp-vae-gan"))
def test_every_method_trains_in_batches_and_clips_gradients(name: str) -> None:
    fields = {"training.steps": "1", "training.batch": "3", "training.clip_generator": "0.1"}
    recipe = recipe_of(name, **fields)
    photo = Photo(pattern(3), Channels(mode="RGB"))
    trainer = Trainer(photo, recipe, seed=0, device="cpu")
    for _ in trainer:
        norm = sum(
            float(p.grad.square().sum()) for p in trainer.learner.parameters() if p.grad is not None
        )
        assert norm**0.5 < 0.1 + 1e-4
        for parameter in trainer.learner.parameters():
            parameter.grad = None
    assert next(trainer.model().sample([0])).pixels.isfinite().all()


@pytest.mark.parametrize(
    "recipe",
    [SMALL_CONSINGAN, pytest.param(SMALL_SINGAN, marks=pytest.mark.slow)],
    ids=lambda recipe: recipe.name,
)
def test_images_made_again_train_as_images_kept(recipe: Recipe) -> None:
    """Weights and running statistics; not how many passes these have seen, which nobody asks."""
    kept, again = (
        trained_small(recipe, TWICE | {"training.recompute": how}, "fp32", F64).learner.state_dict()
        for how in ("false", "true")
    )
    assert kept.keys() == again.keys()
    for name, value in kept.items():
        if not name.endswith("num_batches_tracked"):
            assert difference(value, again[name]) < 1e-12, name
