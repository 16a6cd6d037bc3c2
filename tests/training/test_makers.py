"""Makers: a recipe without a training part makes its model at once, where others train.

It is a made-up generator, `Rolled`: the simplest there can be. Registered by a
fixture, files of models and runs know it as they know the others.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import pytest
import torch
from torch import Tensor, nn

from singleimage import PRESETS, Channels, Model, Photo, Recipe, Run, read_photo, train
from singleimage.errors import ArgumentError, ImageError, RecipeError, RunError, SizeError
from singleimage.generators.base import Generator, Injection
from singleimage.multiscale.geometry import OPEN, Size, Wrap
from singleimage.multiscale.latent import Latent
from singleimage.multiscale.pyramid import ConSinGANPyramid, Ladder, Pyramid
from singleimage.multiscale.resample import resize
from singleimage.recipes.recipe import Phase, TrainingSpec
from singleimage.training.identity import Identity
from singleimage.training.makers import Direct, maker_for
from tiny import Command, draw, pattern, tiny

# A generator that needs no training ---------------------------------------------------------------


@dataclass(frozen=True)
class Rolled:
    """Draws the photo itself, rolled by as many columns as the noise says."""

    example: Pyramid
    entry_levels: frozenset[int] = frozenset()
    copier: None = None

    @property
    def device(self) -> torch.device:
        return self.example.images[-1].device

    @property
    def ladder(self) -> Ladder:
        return self.example.ladder

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        values = torch.tensor([float(seed % 97) for seed in seeds]).view(-1, 1, 1, 1)
        return Latent((values,) * len(sizes), tuple(sizes), wrap)

    def anchor(self) -> Latent:
        return self.draw(self.ladder.sizes, [0])

    def decode(self, latent: Latent, entry: Injection | None = None) -> Tensor:
        photo = resize(self.example.images[-1], latent.sizes[-1])
        return torch.cat([photo.roll(int(shift), -1) for shift in latent.tensors()[-1]])

    def lasting(self, frames: int) -> Generator:
        raise ArgumentError("a model of a photo draws no clips.")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def parameters(self) -> Iterator[nn.Parameter]:
        return iter(())


class RolledSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="roll"):
    """Its settings: there are none."""

    trained: ClassVar[Literal[False]] = False

    def generator_of(self, example: Pyramid) -> Generator:
        return Rolled(example)


class RolledRecipe(Recipe, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `Recipe` would be, were the generator one of `GeneratorSpec`."""

    name: str = "rolled"
    pyramid: ConSinGANPyramid = ConSinGANPyramid(levels=3, max_size=48)
    generator: RolledSpec = RolledSpec()
    training: TrainingSpec | None = None
    phases: tuple[Phase, ...] = ()


class RolledIdentity(Identity, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recipe: RolledRecipe


RECIPE = RolledRecipe()
PHOTO = Photo(pattern(3, Size(44, 52)), Channels(mode="RGB"), "ab")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reads a recipe reads this one, and it is a preset."""
    for module in ("models.modelfile", "recipes.overrides"):
        monkeypatch.setattr(f"singleimage.{module}.Recipe", RolledRecipe)
    for module in ("identity", "makers"):
        monkeypatch.setattr(f"singleimage.training.{module}.Identity", RolledIdentity)
    monkeypatch.setitem(PRESETS, "rolled", RECIPE)


def drawn(model: Model, **how: Any) -> Tensor:
    return torch.stack([photo.pixels for photo in model.sample([3, 4], **how)])


# Recipes without a training part -----------------------------------------------------------------


def test_a_recipe_has_a_training_part_where_its_generator_is_trained_and_only_there() -> None:
    assert RECIPE.direct == RECIPE.generator
    assert PRESETS["consingan"].direct is None
    for use in (lambda: RECIPE.schedule, lambda: RECIPE.with_steps(3)):
        with pytest.raises(RecipeError, match="rolled needs no training; its model is the photo"):
            use()
    trained = PRESETS["consingan"]
    for change in ({"critic": None}, {"training": None}, {"phases": ()}):
        with pytest.raises(ValueError, match="where the generator is trained, and only there"):
            msgspec.structs.replace(trained, **change)
    for field in ("critic", "training", "phases"):
        with pytest.raises(ValueError, match="where the generator is trained, and only there"):
            msgspec.structs.replace(RECIPE, **{field: getattr(trained, field)})


def test_train_makes_a_model_at_once() -> None:
    model = train(PHOTO, RECIPE, seed=5, device="cpu")
    assert isinstance(model.generator, Rolled)
    assert (model.provenance.seed, model.provenance.seconds) == (5, 0.0)
    assert model.provenance.levels == 3
    assert list(model.generator.parameters()) == []
    known = model.training_image()
    assert known is not None
    torch.testing.assert_close(drawn(model)[0], known.pixels.roll(3, -1))
    assert drawn(model, size=(30, 60)).shape == (2, 3, 30, 60)
    torch.testing.assert_close(model.reconstruct().pixels, known.pixels)


def test_what_makes_no_model_at_once_is_refused() -> None:
    with pytest.raises(RecipeError, match="consingan must be trained; use singleimage"):
        Model.of_photo(PHOTO, PRESETS["consingan"])
    with pytest.raises(SizeError, match="short side must be over 25"):
        train(Photo(pattern(3, Size(20, 52)), Channels(mode="RGB")), RECIPE, seed=0, device="cpu")
    with pytest.raises(ImageError):
        train(Photo(torch.zeros(3, 44, 52), PHOTO.channels), RECIPE, seed=0, device="cpu")


# Files and folders -------------------------------------------------------------------------------


@pytest.mark.usefixtures("registered")
def test_a_model_without_weights_is_its_photo(tmp_path: Path) -> None:
    """So its file draws the same pictures, and there is no file without the photo."""
    made = train(PHOTO, RECIPE, seed=5, device="cpu")
    path = tmp_path / "model.safetensors"
    with pytest.raises(ArgumentError, match="a rolled model draws from its photo; it"):
        made.save(path, embed_image=False)
    assert not path.exists()
    made.save(path)
    loaded = Model.load(path)
    assert loaded.recipe == RECIPE
    assert loaded.provenance == made.provenance
    assert torch.equal(drawn(loaded), drawn(made))


@pytest.mark.usefixtures("registered")
def test_a_direct_maker_writes_its_model_and_is_complete_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    maker = maker_for(folder, PHOTO, RECIPE, seed=5, name="a.png", device="cpu")
    assert isinstance(maker, Direct)
    assert {file.name for file in folder.iterdir()} == {".lock", "run.json"}
    assert (maker.photos, maker.levels, maker.seconds, maker.resumed) == (1, 3, 0.0, False)
    assert (maker.finished, maker.position) == (False, (0, 0, 0))
    assert list(maker) == []
    assert (maker.finished, maker.position) == (True, (3, 0, 0))
    assert maker.model_path == folder / "model.safetensors"
    assert torch.equal(drawn(Model.load(folder)), drawn(train(PHOTO, RECIPE, seed=5, device="cpu")))
    before = maker.model_path.stat().st_mtime_ns
    again = maker_for(folder, PHOTO, RECIPE, seed=5, name="a.png", device="cpu")
    assert again.finished
    assert list(again) == []
    assert maker.model_path.stat().st_mtime_ns == before


@pytest.mark.usefixtures("registered")
def test_the_folder_of_a_direct_maker_belongs_to_its_photo_and_recipe(tmp_path: Path) -> None:
    list(Direct(tmp_path, PHOTO, RECIPE, seed=5, device="cpu"))
    other = Photo(PHOTO.pixels, PHOTO.channels, "cd")
    with pytest.raises(RunError, match="another photo or other masks"):
        Direct(tmp_path, other, RECIPE, seed=5, device="cpu")
    with pytest.raises(RunError, match="seed: 5, now 6"):
        Direct(tmp_path, PHOTO, RECIPE, seed=6, device="cpu")
    smaller = msgspec.structs.replace(RECIPE, pyramid=ConSinGANPyramid(levels=3, max_size=40))
    with pytest.raises(RunError, match=r"pyramid\.max_size: 48, now 40"):
        Direct(tmp_path, PHOTO, smaller, seed=5, device="cpu")


def test_maker_for_refuses_what_a_model_without_training_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="leave out --no-embed-image"):
        maker_for(tmp_path, PHOTO, RECIPE, seed=0, device="cpu", embed_image=False)
    with pytest.raises(RecipeError, match="learns one photo at a time"):
        maker_for(tmp_path, [PHOTO, PHOTO], RECIPE, seed=0, device="cpu")
    assert not list(tmp_path.iterdir())


def test_maker_for_trains_what_is_to_be_trained(tmp_path: Path) -> None:
    recipe = tiny(PRESETS["consingan"], **{"training.steps": "1"})
    maker = maker_for(tmp_path / "run", PHOTO, recipe, seed=0, device="cpu")
    assert isinstance(maker, Run)
    assert len(list(maker)) == maker.levels == 4
    assert maker.finished


@pytest.mark.usefixtures("registered")
def test_commands_do_not_ask_which_maker_it_is(tmp_path: Path, command: Command) -> None:
    """`train` makes the model, says later that it is complete, and other commands read it."""
    file = draw(tmp_path / "photo.png", 0)
    line = f"train {file} -o {tmp_path}/run --preset rolled --device cpu --json"
    first = command(line)
    assert first.code == 0, first.err
    facts = json.loads(first.out)
    assert facts["model"] == f"{tmp_path}/run/model.safetensors"
    assert (facts["levels"], facts["seconds"]) == (3, 0.0)
    again = command(line)
    assert (again.code, again.out) == (0, first.out)
    assert "is complete" in again.err
    facts = json.loads(command(f"info {tmp_path}/run --json").out)
    assert (facts["preset"], facts["parameters"], facts["entry_levels"]) == ("rolled", 0, [])
    assert command(f"sample {tmp_path}/run -o {tmp_path}/out -n 2").code == 0
    size = Model.load(tmp_path / "run").size
    assert all(read_photo(file).size == size for file in (tmp_path / "out").glob("[0-9]*.png"))
    assert len(list((tmp_path / "out").glob("[0-9]*.png"))) == 2
    refused = command(f"{line} --no-embed-image")
    assert refused.code == 2
    assert "a rolled model draws from its photo" in refused.err
