"""Makers turn a photo and a recipe into a model: by training, or at once.

`Run` trains in a folder. `Direct` is for recipes that need no training: their model is the photo
and the recipe. Commands, jobs and benchmarks speak to a `Maker` and do not ask which it is.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from singleimage.errors import RecipeError
from singleimage.images.photo import Photo
from singleimage.images.reader import PhotoLike, as_photo
from singleimage.machine.device import use_device
from singleimage.models.model import Model
from singleimage.nn.precision import Precision
from singleimage.recipes.presets import preset
from singleimage.recipes.recipe import Recipe
from singleimage.training.identity import Identity, claim
from singleimage.training.planning import require_memory
from singleimage.training.progress import Progress
from singleimage.training.run import Run
from singleimage.training.trainer import Trainer
from singleimage.training.training_set import require_few


class Maker(Protocol):
    """Makes a model in a folder while it is iterated, and continues what was stopped."""

    folder: Path
    resumed: bool
    """Whether it continues what an earlier one began."""

    @property
    def model_path(self) -> Path:
        """Where the model is, as soon as there is one."""
        ...

    @property
    def photos(self) -> int:
        """How many photos are learned together."""
        ...

    @property
    def levels(self) -> int:
        """How many levels the model has at the end."""
        ...

    @property
    def position(self) -> tuple[int, int, int]:
        """Level, attempt at it, and steps of it that are done."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the model is complete."""
        ...

    @property
    def seconds(self) -> float:
        """Training time so far."""
        ...

    def __iter__(self) -> Iterator[Progress]:
        """Make the model; yields after every step of a training."""
        ...

    def save(self) -> None:
        """Keep what there is, so that another maker can continue."""
        ...


class Direct:
    """A model that needs no training, in a folder of its own."""

    resumed = False
    photos = 1
    seconds = 0.0

    def __init__(
        self,
        folder: str | Path,
        photo: Photo,
        recipe: Recipe,
        *,
        seed: int,
        name: str = "",
        device: str = "auto",
    ) -> None:
        """Prepare the model; nothing is written before it is iterated. Arguments are as for `Run`.

        Raises:
            RunError: the folder holds something else, or another run.
            SizeError, ImageError, DeviceError: as `Model.of_photo`.
            OutputError: the folder cannot be written.
        """
        self.folder = Path(folder)
        self.model = Model.of_photo(photo, recipe, seed=seed, device=use_device(device))
        identity = Identity(
            recipe=recipe,
            image=name.encode(errors="backslashreplace").decode(),
            image_sha256=photo.sha256,
            seed=seed,
            embed_image=True,
            precision="fp32",
        )
        claim(self.folder, identity)

    @property
    def model_path(self) -> Path:
        """Path of the model file."""
        return self.folder / "model.safetensors"

    @property
    def levels(self) -> int:
        """How many levels the model has."""
        return len(self.model.generator.ladder.sizes)

    @property
    def finished(self) -> bool:
        """Whether the model file is there."""
        return self.model_path.exists()

    @property
    def position(self) -> tuple[int, int, int]:
        """Level, attempt and step: the last level when finished, else nothing done."""
        return (self.levels if self.finished else 0), 0, 0

    def __iter__(self) -> Iterator[Progress]:
        """Write the model. There are no steps to tell of."""
        if not self.finished:
            self.save()
        return iter(())

    def save(self) -> None:
        self.model.save(self.model_path, overwrite=True)


def maker_for(
    folder: str | Path,
    photo: Photo | Sequence[Photo],
    recipe: Recipe,
    *,
    seed: int,
    name: str = "",
    device: str = "auto",
    precision: Precision = "auto",
    embed_image: bool = True,
) -> Maker:
    """What makes a model of a photo in a folder. Arguments and errors are those of `Run`.

    Raises:
        SizeError: a training that is to begin needs more memory than is free.
        RecipeError: the recipe needs no training and several photos are given, or the photo is not
            to be embedded.
    """
    if recipe.draws_from_photo and not embed_image:
        raise RecipeError(
            f"a {recipe.name} model draws from its photo; leave out --no-embed-image."
        )
    if recipe.direct is None:
        if not (Path(folder) / "run.json").exists():
            require_memory(photo, recipe, seed=seed, device=device, precision=precision)
        return Run(
            folder,
            photo,
            recipe,
            seed=seed,
            name=name,
            device=device,
            precision=precision,
            embed_image=embed_image,
        )
    photos = [photo] if isinstance(photo, Photo) else list(photo)
    require_few(photos, recipe)
    return Direct(folder, photos[0], recipe, seed=seed, name=name, device=device)


def train(
    photo: PhotoLike,
    recipe: Recipe | str = "quick",
    *,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "auto",
) -> Model:
    """Make the model of a photo; iterate a `Trainer` to see progress or to stop.

    Args:
        photo: what to learn, see `as_photo`.
        recipe: how, or the name of a preset; with one that needs no training the model is there at
            once.
        seed: decides everything random.
        device: `auto`, `cpu`, `cpu:THREADS`, `cuda`, `cuda:INDEX` or `mps`.
        precision: in which type convolutions compute; auto: bf16 where the device is fast at it.

    Raises:
        SingleImageError: as `Trainer`.
    """
    photo = as_photo(photo)
    recipe = preset(recipe) if isinstance(recipe, str) else recipe
    if recipe.direct is not None:
        return Model.of_photo(photo, recipe, seed=seed, device=use_device(device))
    trainer = Trainer(photo, recipe, seed=seed, device=device, precision=precision)
    for _ in trainer:
        pass
    return trainer.model()
