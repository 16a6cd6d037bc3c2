"""A trained model: its generator, its recipe and where it came from, in one file.

The file is `safetensors`: tensors, and metadata as text. Nothing in it is executed. See
docs/file-format.md.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import safetensors
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from singleimage.apps.sample import Tile, reconstruct, sample
from singleimage.errors import ModelFileError, RecipeError, SizeError
from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.generators.patch_vae import PatchVAE
from singleimage.image import Channels, Photo, png_of, refuse_existing, sheet, write_atomically
from singleimage.memory import kept_heap
from singleimage.nn.blocks import restore_order
from singleimage.nn.precision import Precision, resolve_precision, use_precision
from singleimage.recipe import Recipe
from singleimage.resample import Size

FORMAT = "singleimage/1"
BATCH_PIXELS = 1_000_000
"""Samples are decoded in batches of about this many pixels; pictures do not depend on it."""

PhotoSide = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a model came from."""

    photo: tuple[PhotoSide, PhotoSide]
    """Height and width of the photo, before it was reduced to the finest level."""
    image_sha256: str
    seed: int
    levels: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    """Trained levels; fewer than the recipe's while training goes on."""
    seconds: float
    """Training time."""
    device: str
    precision: str = "fp32"
    """In which its convolutions were computed: fp32 or bf16."""
    created: str
    """When training ended, ISO 8601, UTC."""
    versions: dict[str, str]


@dataclass(frozen=True, eq=False)
class Model:
    """A generator of one photo. `Model.load(path)`, then `model.sample(seeds)`."""

    generator: Cascade | Growing | PatchVAE
    recipe: Recipe
    channels: Channels
    provenance: Provenance
    image: Tensor | None
    """The photo at the finest trained level, (C, H, W) in [-1, 1]; None if it was not embedded."""

    @property
    def size(self) -> Size:
        """Size of the training image at the finest trained level, and of samples by default."""
        return self.generator.ladder.finest

    def sample(
        self,
        seeds: Sequence[int],
        *,
        size: tuple[int, int] | None = None,
        start_level: int = 0,
        tile: Tile = None,
    ) -> list[Photo]:
        """One new picture a seed; picture i depends on `seeds[i]` alone.

        Args:
            size: (height, width) of the pictures; None: that of the training image.
            start_level: keep the photo's layout below this level; 0 keeps nothing.
            tile: pictures without a seam when repeated: "x" side by side, "y" over each other,
                "xy" both.

        Raises:
            SizeError: the size is too small for the pyramid, the level does not exist, or what
                is asked for does not go together.
        """
        target = Size(*size) if size else self.size
        batch = max(1, BATCH_PIXELS // (target.height * target.width))
        pictures: list[Photo] = []
        large = target.height * target.width > BATCH_PIXELS
        with contextlib.nullcontext() if large else kept_heap():  # which would keep the peak
            for first in range(0, len(seeds), batch):
                part = seeds[first : first + batch]
                images = sample(
                    self.generator, part, size=target, start_level=start_level, tile=tile
                )
                pictures.extend(self._photo(image) for image in images)
        return pictures

    def reconstruct(self) -> Photo:
        """The picture the model makes of its anchor noise: how well it knows the photo."""
        return self._photo(reconstruct(self.generator)[0])

    def training_image(self) -> Photo | None:
        """The photo at the finest trained level, if it is embedded."""
        return None if self.image is None else Photo(self.image, self.channels)

    def sheet(self, seeds: Sequence[int] = range(5)) -> Image.Image:
        """The training image, where it is embedded, then samples, on one page."""
        photo = self.training_image()
        return sheet([p.preview() for p in ([photo] if photo else []) + self.sample(seeds)])

    @torch.inference_mode()
    def _photo(self, image: Tensor) -> Photo:
        """`image` belongs to nobody else: it may be as large as memory allows."""
        return Photo(image.float().clamp_(-1, 1).cpu(), self.channels)

    def _repr_png_(self) -> bytes:
        return png_of(self.sheet())

    def save(self, path: str | Path, *, embed_image: bool = True, overwrite: bool = False) -> None:
        """Write the model to one file, atomically.

        Args:
            embed_image: store the training image too; without it, a few uses need the photo again.

        Raises:
            OutputError: the file exists and `overwrite` is false, or it cannot be written.
        """
        path = Path(path)
        refuse_existing(path, overwrite=overwrite)
        state = self.generator.state_dict()
        tensors = {f"generator.{name}": t.contiguous().cpu() for name, t in state.items()}
        if embed_image and self.image is not None:
            tensors["image"] = _to_stored(self.image, self.channels.bits)
        metadata = {
            "format": FORMAT,
            "recipe": self.recipe.to_json(),
            "channels": msgspec.json.encode(self.channels).decode(),
            "provenance": msgspec.json.encode(self.provenance).decode(),
        }
        data = safetensors.torch.save(tensors, metadata)
        write_atomically(path, lambda stream: stream.write(data))

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "auto",
    ) -> "Model":
        """Read a model file, or the model in a run folder.

        Args:
            precision: in which type it will draw; auto: bf16 where the device is fast at it.

        Raises:
            ModelFileError: the file is missing, damaged, no model, of another format, or its
                tensors are not those of its recipe; the first wrong one is named.
        """
        path = _model_path(Path(path))
        metadata, tensors = _read_tensors(path)
        recipe, channels, provenance = _read_metadata(path, metadata)
        photo = Size(*provenance.photo)
        try:
            ladder = recipe.pyramid.plan(photo)
        except SizeError:
            raise _damaged(path, f"a photo of {photo} does not fit its recipe") from None
        if provenance.levels > len(ladder.sizes):
            raise _damaged(
                path, f"its recipe makes {len(ladder.sizes)} levels, not {provenance.levels}"
            )
        with torch.device("meta"):
            generator = recipe.generator.build(channels=channels.count, ladder=ladder)
            for _ in range(provenance.levels):
                generator.extend(None)
        stored = tensors.pop("image", None)
        weights = {name.removeprefix("generator."): t for name, t in tensors.items()}
        _compare(path, generator.state_dict(), weights)
        generator.load_state_dict(weights, assign=True)
        restore_order(generator.to(device))
        use_precision(generator, resolve_precision(precision, torch.device(device)))
        generator.requires_grad_(False).eval()
        image = None
        if stored is not None:
            expected = (channels.count, *generator.ladder.finest)
            if tuple(stored.shape) != expected or stored.dtype not in (torch.uint8, torch.uint16):
                raise _damaged(path, f"tensor image is not {expected} integers")
            image = _from_stored(stored)
        return cls(generator, recipe, channels, provenance, image)


def _model_path(path: Path) -> Path:
    if path.is_dir():
        inside = path / "model.safetensors"
        if not inside.exists():
            raise ModelFileError(
                f"{path} holds no model.safetensors; train into it with: "
                f"singleimage train IMAGE -o {path}"
            )
        return inside
    if not path.exists():
        raise ModelFileError(f"{path} does not exist; check the path.")
    if not path.is_file():
        raise ModelFileError(f"{path} is a device or a pipe; give a model file.")
    return path


def _damaged(path: Path, what: str) -> ModelFileError:
    return ModelFileError(f"{path} is damaged: {what}; copy it again, or train again.")


def _read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if not str(metadata.get("format", "")).startswith("singleimage/"):
                raise ModelFileError(
                    f"{path} is a safetensors file of another program; give a model of singleimage."
                )
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        if _looks_like_image(path):
            raise ModelFileError(
                f"{path} is an image, not a model; train on it first: "
                f"singleimage train {path} -o RUN"
            ) from None
        raise ModelFileError(
            f"{path} is no model, or is damaged: {error}; give a file or folder that "
            f"`singleimage train` wrote."
        ) from None


def _read_metadata(path: Path, metadata: dict[str, str]) -> tuple[Recipe, Channels, Provenance]:
    if metadata["format"] != FORMAT:
        raise ModelFileError(
            f"{path} has format {metadata['format']}, this version reads {FORMAT}; "
            f"upgrade singleimage."
        )
    try:
        recipe = Recipe.from_json(metadata["recipe"])
        channels = msgspec.json.decode(metadata["channels"], type=Channels)
        provenance = msgspec.json.decode(metadata["provenance"], type=Provenance)
    except KeyError as error:
        raise _damaged(path, f"its metadata have no {error.args[0]}") from None
    except (RecipeError, msgspec.DecodeError) as error:
        raise _damaged(path, f"in its metadata, {str(error).rstrip('.')}") from None
    return recipe, channels, provenance


def _compare(path: Path, expected: dict[str, Any], found: dict[str, Tensor]) -> None:
    """Raises `ModelFileError` naming the first tensor that is missing, wrong or too many."""
    for name, like in expected.items():
        if name not in found:
            raise _damaged(path, f"tensor generator.{name} is missing")
        here = found[name]
        if here.shape != like.shape or here.dtype != like.dtype:
            raise _damaged(
                path,
                f"tensor generator.{name} is {here.dtype} {tuple(here.shape)}, its recipe says "
                f"{like.dtype} {tuple(like.shape)}",
            )
        if here.is_floating_point() and not bool(torch.isfinite(here).all()):
            raise _damaged(path, f"tensor generator.{name} holds values that are not finite")
    for name in found:
        if name not in expected:
            raise _damaged(path, f"unexpected tensor {name}")


def _looks_like_image(path: Path) -> bool:
    try:
        with Image.open(path):
            return True
    except Exception:  # whatever Pillow thinks of it, it is not an image we could name
        return False


def _to_stored(image: Tensor, bits: int) -> Tensor:
    top, dtype = (255, torch.uint8) if bits == 8 else (65535, torch.uint16)
    return image.cpu().double().add(1).mul(top / 2).round().clamp(0, top).to(dtype).contiguous()


def _from_stored(stored: Tensor) -> Tensor:
    top = 255 if stored.dtype == torch.uint8 else 65535
    return stored.double().mul(2 / top).sub(1).float()
