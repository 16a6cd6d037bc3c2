"""A trained hypernetwork, in one file, and the models that it makes of photos."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import nn

from singleimage.errors import ArgumentError, ModelFileError, RunError
from singleimage.generators.base import Generator, Learner
from singleimage.images.channels import Channels
from singleimage.images.folder import fitted
from singleimage.images.photo import Photo
from singleimage.machine.device import use_device
from singleimage.machine.files import followed, refuse_existing, write_atomically
from singleimage.models.model import Model
from singleimage.models.modelfile import (
    Provenance,
    file_of,
    fill_networks,
    metadata_of,
    model_path,
    read_learner,
    read_metadata,
    read_tensors,
)
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import Pyramid
from singleimage.nn.critic import Critic
from singleimage.nn.precision import Precision, resolve_precision
from singleimage.recipes.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Start:
    """What a training begins with instead of fresh networks."""

    generator: Generator
    """Generator that the recipe describes, with all levels."""
    critic: Critic | None = None
    sha256: str = ""
    """Digest of the file they come from."""


@dataclass(frozen=True, eq=False)
class HyperModel:
    """A hypernetwork that was trained on photos (Meta Internal Learning).

    `HyperModel.load(path).model(photo)` is an ordinary model of a photo it may never have seen.
    """

    hyper: Learner
    """What predicts the models; its `embed` and `predict` do."""
    critic: Critic | None
    """Predicts a photo's critic, to go on training with; None where training had one for all."""
    recipe: Recipe
    channels: Channels
    provenance: Provenance
    sha256: str = ""
    """Digest of the file that it was read from."""

    def model(self, photo: Photo) -> Model:
        """The model of a photo, by one pass through the hypernetwork.

        The photo is cropped to the aspect of those of training.

        Raises:
            ImageError: the photo has other channels than those of training.
            SizeError: the photo does not fit the pyramid.
        """
        return self._made([photo], [1.0], 0)

    def interpolated(self, first: Photo, second: Photo, t: float, level: int) -> Model:
        """Make a model between two photos, with the size and image of the first.

        The embeddings are mixed, which with linear projections is the same as mixing weights.

        Args:
            first: the photo whose model the levels below `level` have.
            second: the other photo.
            t: how far the levels from `level` on are towards it, from 0 to 1.
            level: 0 mixes all levels.

        Raises:
            ArgumentError: `level` is no level; and as for `model`.
        """
        return self.mixed([first, second], [1 - t, t], level)

    def mixed(self, photos: Sequence[Photo], weights: Sequence[float], level: int) -> Model:
        """Make a model among several photos, with the size and image of the first.

        Args:
            photos: the first is the one whose model the levels below `level` have.
            weights: of each photo at the levels from `level` on; they sum to 1.
            level: 0 mixes all levels.

        Raises:
            ArgumentError: `level` is no level, or the weights are not those of the photos or do not
                sum to 1; and as for `model`.
        """
        self.hyper.ladder.require_level(level)
        if len(weights) != len(photos) or abs(sum(weights) - 1) > 1e-6:
            raise ArgumentError(
                f"weights {', '.join(f'{w:g}' for w in weights)} of {len(photos)} photos; give one "
                f"for each, so that their sum is 1."
            )
        return self._made(photos, weights, level)

    def fitted(self, photo: Photo, name: str = "the photo") -> Photo:
        """A photo as the hypernetwork takes it; `name` is for the note of what is cropped."""
        size = None if self.recipe.stretches else Size(*self.provenance.photo)
        return fitted(photo, self.channels, size, name)

    def start(self, photo: Photo) -> Start:
        """What a training on the photo can begin with: the predicted generator and critic.

        Raises:
            RunError: the hypernetwork's training is not finished; and as for `model`.
        """
        example = self._pyramid(photo)
        trained, planned = self.provenance.levels, len(example.ladder.sizes)
        if trained < planned:
            raise RunError(
                f"the hypernetwork has {trained} of {planned} levels, all of which are needed to "
                f"go on from; continue its training first."
            )
        generator = self.hyper.predict(self.hyper.embed(example), example.ladder)
        critic = None if self.critic is None else self.critic.critic_of(example.seen)
        return Start(generator, critic, self.sha256)

    def _made(self, photos: Sequence[Photo], weights: Sequence[float], level: int) -> Model:
        first = self.fitted(photos[0])
        example = self._pyramid(first)
        vector = mean = self.hyper.embed(example)
        for photo, weight in zip(photos[1:], weights[1:], strict=True):
            if weight:
                mean = mean + weight * (self.hyper.embed(self._pyramid(photo)) - vector)
        levels = len(self.hyper.ladder.sizes)
        vectors = [vector if i < level else mean for i in range(levels)]
        generator = self.hyper.predict(vectors, example.ladder)
        provenance = msgspec.structs.replace(
            self.provenance,
            photo=(first.size.height, first.size.width),
            image_sha256=first.sha256,
            photos=1,
            seconds=0.0,
        )
        image = example.images[levels - 1][0].float().cpu()
        recipe = self.recipe.of_one()
        return Model.of_network(generator, recipe, self.channels, provenance, image, first)

    def _pyramid(self, photo: Photo) -> Pyramid:
        pixels = self.fitted(photo).pixels[None].to(self.hyper.amplitudes)
        return Pyramid.build(pixels, self.recipe.pyramid)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the hypernetwork to one file, atomically.

        Args:
            path: of the file, `.safetensors`.
            overwrite: replace a file that exists.

        Raises:
            OutputError: the file exists and `overwrite` is false, or it cannot be written.
        """
        path = Path(path)
        refuse_existing(path, overwrite=overwrite)
        parts = {
            "generator": self.hyper,
            **({} if self.critic is None else {"critic": self.critic}),
        }
        tensors = {
            f"{part}.{name}": tensor.contiguous().cpu()
            for part, module in parts.items()
            for name, tensor in module.state_dict().items()
        }
        metadata = metadata_of(self.recipe, self.channels, self.provenance)
        data = file_of(tensors, metadata)
        write_atomically(followed(path), lambda stream: stream.write(data))

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "cpu", precision: Precision = "auto"
    ) -> "HyperModel":
        """Read a hypernetwork from its file or run folder.

        Args:
            path: of the file or the folder.
            device: where it and its models compute.
            precision: in which type; auto: bf16 where the device is fast at it.

        Raises:
            ModelFileError: the file is missing, damaged, of another format, or an ordinary model.
        """
        path = model_path(Path(path))
        metadata, tensors = read_tensors(path)
        recipe, channels, provenance = read_metadata(path, metadata)
        if not recipe.learns_several:
            raise ModelFileError(
                f"{path} is a model of one photo, not a hypernetwork; train one with: "
                f"singleimage train FOLDER --preset meta-small -o RUN"
            )
        hyper = read_learner(path, recipe, channels, provenance)
        parts: dict[str, nn.Module] = {"generator": hyper}
        critic: Critic | None = None
        if any(name.startswith("critic.") for name in tensors):
            with torch.device("meta"):
                critic = recipe.schedule.critic.build(
                    level=provenance.levels - 1, channels=channels.count, generator=None
                )
            parts["critic"] = critic
        where = use_device(device)
        chosen = resolve_precision(precision, where)
        fill_networks(path, parts, tensors, where, chosen)
        if critic is not None:
            hyper.lend_to(critic)
        provenance = msgspec.structs.replace(provenance, precision=chosen)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(hyper, critic, recipe, channels, provenance, digest)
