"""Critics are carried from level to level, and each player learns in its turns."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reference.compare import noise
from singleimage.images.channels import Channels
from singleimage.images.folder import read_album
from singleimage.images.photo import Photo
from singleimage.models.hypermodel import HyperModel
from singleimage.objectives.base import Turn
from singleimage.objectives.view import StepView
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import CONSINGAN, SINGAN
from singleimage.recipes.recipe import Recipe
from singleimage.training.trainer import Trainer
from tiny import album_recipe, slow_but


class Opened(Trainer):
    """Notes the weights with which every level begins."""

    def __init__(self, recipe: Recipe, photo: Photo) -> None:
        self.openings: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        super().__init__(photo, recipe, seed=0, device="cpu", precision="fp32")

    def _begin_level(self) -> None:
        super()._begin_level()
        assert self.players.critic is not None
        networks: tuple[nn.Module, nn.Module] = (self.learner, self.players.critic)
        learner, critic = (
            {name: value.clone() for name, value in network.state_dict().items()}
            for network in networks
        )
        self.openings.append((learner, critic))


def opened(recipe: Recipe) -> tuple[Opened, list[dict[str, Tensor]]]:
    """A training of one step a level, and the critics that each level ended with."""
    pixels = noise(3, 26, 31).float().clamp(-1, 1)
    trainer = Opened(recipe, Photo(pixels, Channels(mode="RGB")))
    closings = []
    for _ in trainer:
        assert trainer.players.critic is not None
        critic = trainer.players.critic.state_dict()
        closings.append({name: value.clone() for name, value in critic.items()})
    return trainer, closings


def test_critic_of_singan_is_carried_over_while_its_width_stays() -> None:
    small = {"pyramid.min_size": "13", "training.steps": "1"}
    for part in ("generator", "critic"):
        small |= {f"{part}.width.base": "2", f"{part}.width.double_every": "2"}
    trainer, closings = opened(with_overrides(SINGAN, small))
    assert len(closings) == 5
    carried = [
        all(torch.equal(value, new[name]) for name, value in old.items() if name in new)
        for old, (_, new) in zip(closings, trainer.openings[1:], strict=False)
        if [v.shape for v in old.values()] == [v.shape for v in new.values()]
    ]
    assert carried == [True, True]  # into levels 1 and 3; 2 and 4 have another width
    widths = [new["last.weight"].shape[1] for _, new in trainer.openings]
    assert widths == [2, 2, 4, 4, 8]


def test_consingan_carries_its_critic_always() -> None:
    small = {"pyramid.min_size": "13", "pyramid.levels": "4", "training.steps": "1"}
    small |= {"generator.width": "3", "critic.width.base": "3"}
    trainer, closings = opened(with_overrides(CONSINGAN, small))
    for old, (_, new) in zip(closings, trainer.openings[1:], strict=False):
        assert all(torch.equal(value, new[name]) for name, value in old.items())


@pytest.mark.parametrize("turns", slow_but(["both", "generator", "penalty"], "generator"))
def test_a_shared_embedding_learns_in_the_turns_it_should(
    turns: str, album: Path, tmp_path: Path
) -> None:
    photos = read_album(album)
    recipe = album_recipe(**{"critic.shared": turns, "phases.0.objective.critic_steps": "2"})
    trainer = Trainer(photos, recipe, seed=0, device="cpu", precision="fp32")
    moved: dict[str, bool] = {}
    play = trainer.players.play

    def watched(turn: Turn, view: StepView, *when: int) -> dict[str, torch.Tensor]:
        embedding = trainer.learner.embedding  # type: ignore[union-attr]
        before = embedding.conv1.weight.clone()  # type: ignore[union-attr, operator]
        terms = play(turn, view, *when)
        moved[turn.player] = not torch.equal(before, embedding.conv1.weight)  # type: ignore[union-attr, arg-type]
        return terms

    trainer.players.play = watched  # type: ignore[method-assign]
    for _ in trainer:
        pass
    assert moved == {"critic": turns != "generator", "generator": True}
    assert not any(name.startswith("embedding") for name in trainer.players.critic.state_dict())
    trainer.hyper_model().save(tmp_path / "hyper.safetensors")
    start = HyperModel.load(tmp_path / "hyper.safetensors").start(photos[1])
    assert start.critic is not None
