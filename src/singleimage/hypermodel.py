"""A trained hypernetwork, in one file, and the models that it makes of photos."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import safetensors.torch
import torch

from singleimage.album import fitted
from singleimage.device import find_device
from singleimage.errors import ModelFileError
from singleimage.generators.base import evaluating
from singleimage.generators.cascade import Cascade
from singleimage.generators.hyper import HyperCascade, HyperSpec
from singleimage.image import Channels, Photo, refuse_existing, write_atomically
from singleimage.model import Model
from singleimage.modelfile import (
    Provenance,
    compare_tensors,
    metadata_of,
    model_path,
    read_metadata,
    read_tensors,
)
from singleimage.nn.blocks import PatchNet
from singleimage.nn.hyper import HyperCritic
from singleimage.nn.precision import Precision, resolve_precision, use_precision
from singleimage.pyramid import Pyramid
from singleimage.recipe import Recipe
from singleimage.resample import Size


@dataclass(frozen=True, eq=False)
class Start:
    """What a training begins with instead of fresh networks."""

    generator: Cascade
    """Of the recipe's form, with all levels."""
    critic: PatchNet | None = None
    sha256: str = ""
    """Of the file they come from."""


@dataclass(frozen=True, eq=False)
class HyperModel:
    """A hypernetwork that was trained on photos (Meta Internal Learning).

    `HyperModel.load(path).model(photo)` is an ordinary model of a photo it may never have seen.
    """

    hyper: HyperCascade
    critic: HyperCritic | None
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
        return self._made(photo, photo, 0.0, 0)

    def interpolated(self, first: Photo, second: Photo, t: float, level: int) -> Model:
        """A model between two photos: the first below `level`, from it on `t` of the way.

        The embeddings are mixed, which with linear projections is the same as mixing weights.
        Size and image are those of the first photo.

        Raises:
            SizeError: `level` is no level; and as for `model`.
        """
        self.hyper.ladder.require_level(level)
        return self._made(first, second, t, level)

    def fitted(self, photo: Photo, name: str = "the photo") -> Photo:
        """A photo as the hypernetwork takes it; `name` is for the note of what is cropped."""
        return fitted(photo, self.channels, Size(*self.provenance.photo), name)

    def start(self, photo: Photo) -> Start:
        """What a training on the photo can begin with: the predicted generator and critic."""
        example = self._pyramid(photo)
        generator = self.hyper.cascade_of(self.hyper.embed(example), example.ladder)
        critic = None
        if self.critic is not None:
            with evaluating(self.critic), torch.no_grad():
                critic = self.critic.bind(example.images[-1], slice(None)).net(0)
        return Start(generator, critic, self.sha256)

    def _made(self, first: Photo, second: Photo, t: float, level: int) -> Model:
        first = self.fitted(first)
        example = self._pyramid(first)
        vector = self.hyper.embed(example)
        other = vector if t == 0 else self.hyper.embed(self._pyramid(second))
        levels = len(self.hyper.heads)
        vectors = [vector if i < level else torch.lerp(vector, other, t) for i in range(levels)]
        generator: Cascade = self.hyper.cascade_of(vectors, example.ladder)
        use_precision(generator, resolve_precision(self.provenance.precision, vector.device))
        provenance = msgspec.structs.replace(
            self.provenance,
            photo=(first.size.height, first.size.width),
            image_sha256=first.sha256,
            photos=1,
            seconds=0.0,
        )
        image = example.images[levels - 1][0].float().cpu()
        recipe = self.recipe.of_one()
        return Model(generator.eval(), recipe, self.channels, provenance, image)

    def _pyramid(self, photo: Photo) -> Pyramid:
        pixels = self.fitted(photo).pixels[None].to(self.hyper.amplitudes)
        return Pyramid.build(pixels, self.recipe.pyramid)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the hypernetwork to one file, atomically.

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
        data = safetensors.torch.save(tensors, metadata)
        write_atomically(path, lambda stream: stream.write(data))

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "cpu", precision: Precision = "auto"
    ) -> "HyperModel":
        """Read a hypernetwork from its file or run folder.

        Args:
            precision: in which type it and its models compute; auto: bf16 where that is fast.

        Raises:
            ModelFileError: the file is missing, damaged, of another format, or an ordinary model.
        """
        path = model_path(Path(path))
        metadata, tensors = read_tensors(path)
        recipe, channels, provenance = read_metadata(path, metadata)
        if not isinstance(recipe.generator, HyperSpec):
            raise ModelFileError(
                f"{path} is a model of one photo, not a hypernetwork; train one with: "
                f"singleimage train FOLDER --preset meta-small -o RUN"
            )
        has_critic = any(name.startswith("critic.") for name in tensors)
        with torch.device("meta"):
            ladder = recipe.pyramid.plan(Size(*provenance.photo))
            hyper = recipe.generator.build(channels=channels.count, ladder=ladder)
            for _ in range(provenance.levels):
                hyper.extend(None)
            critic = None
            if has_critic:
                top = provenance.levels - 1
                critic = recipe.critic.build(level=top, channels=channels.count, generator=None)
        parts = {"generator": hyper, **({"critic": critic} if critic is not None else {})}
        expected = {
            f"{part}.{name}": like
            for part, module in parts.items()
            for name, like in module.state_dict().items()
        }
        compare_tensors(path, expected, tensors)
        where = find_device(device)
        chosen = resolve_precision(precision, where)
        for part, module in parts.items():
            own = {
                name.removeprefix(f"{part}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{part}.")
            }
            module.load_state_dict(own, assign=True)
            use_precision(module.to(where), chosen)
            module.requires_grad_(False).eval()
        assert critic is None or isinstance(critic, HyperCritic)
        if critic is not None:
            critic.share(hyper.embedding)
        provenance = msgspec.structs.replace(provenance, precision=chosen)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(hyper, critic, recipe, channels, provenance, digest)
