"""The file of a model: how it is read, checked and refused.

It is `safetensors`: tensors, and metadata as text. Nothing in it is executed. See
docs/file-format.md.
"""

import datetime
import hashlib
import importlib.metadata
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import safetensors
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from singleimage.errors import ModelFileError, RecipeError, SizeError
from singleimage.generators.base import Learner
from singleimage.images.channels import Channels, read_channels
from singleimage.images.folder import SUFFIXES
from singleimage.images.photo import Photo, joined_digest
from singleimage.multiscale.geometry import PIXEL_LIMIT, Size
from singleimage.nn.precision import use_precision
from singleimage.recipes.recipe import Recipe

FORMAT = "singleimage/1"

PhotoSide = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a model came from."""

    photo: tuple[PhotoSide, PhotoSide]
    """Height and width of the photo, before it was reduced to the finest level."""
    image_sha256: str
    fps: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Frames a second of a clip; null: it was a photo."""
    photos: Annotated[int, msgspec.Meta(ge=1)] = 1
    """How many photos were learned together; the rest tells of the first, the digest of all."""
    seed: int
    levels: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    """Trained levels; fewer than the recipe's while training goes on."""
    seconds: float
    """Training time."""
    device: str
    precision: Literal["fp32", "bf16"] = "fp32"
    """In which its convolutions were computed: fp32 or bf16."""
    created: str
    """When training ended, ISO 8601, UTC."""
    versions: dict[str, str]


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of this package and of those it stands on, by name."""
    return {
        "singleimage": importlib.metadata.version("singleimage"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def model_path(path: Path) -> Path:
    """The model file itself, where `path` may be the folder of a run. Raises `ModelFileError`."""
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


def metadata_of(recipe: Recipe, channels: Channels, provenance: Provenance) -> dict[str, str]:
    """Write `recipe`, `channels` and `provenance` as the text that `read_metadata` reads."""
    return {
        "format": FORMAT,
        "recipe": recipe.to_json(),
        "channels": msgspec.json.encode(channels).decode(),
        "provenance": msgspec.json.encode(provenance).decode(),
    }


def file_of(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Make the bytes of a file of `tensors` and `metadata`, with a digest of both."""
    sealed = {**metadata, "sha256": _digest(tensors, metadata)}
    return safetensors.torch.save(tensors, sealed)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Digest of all that a file holds but the digest itself."""
    found = hashlib.sha256()
    for name, text in sorted(metadata.items()):
        if name != "sha256":
            found.update(f"{name}={text}\n".encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def damaged(path: Path, what: str) -> ModelFileError:
    """Make the error for the file `path`, where `what` says what is wrong in it."""
    return ModelFileError(f"{path} is damaged: {what}; copy it again, or train again.")


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read metadata and tensors of a file.

    Args:
        path: of the file.

    Raises:
        ModelFileError: it is missing, or no model of ours.
    """
    try:
        with _named(path) as name, safetensors.safe_open(name, framework="pt") as file:
            metadata = file.metadata() or {}
            if not str(metadata.get("format", "")).startswith("singleimage/"):
                raise ModelFileError(
                    f"{path} is a safetensors file of another program; give a model of singleimage."
                )
            # Copies, since Windows replaces no file that is mapped into memory.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        if _looks_like_image(path):
            named = path.suffix.lower() in SUFFIXES  # what is not is taken for a model
            rename = "" if named else "name it .jpg or .png to draw from it at once, or "
            raise ModelFileError(
                f"{path} is an image, not a model; {rename}train on it first: "
                f"singleimage train {path} -o RUN"
            ) from None
        raise ModelFileError(
            f"{path} is no model, or is damaged: {error}; give a file or folder that "
            f"`singleimage train` wrote."
        ) from None

    sealed = metadata.get("sha256")  # which earlier versions did not write
    if metadata["format"] == FORMAT and sealed not in (None, _digest(tensors, metadata)):
        raise damaged(path, "its digest is another than that of its contents")
    return metadata, tensors


@contextmanager
def _named(path: Path) -> Iterator[str]:
    """A name of a file that safetensors takes, which is text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as stream:
            yield f"/proc/self/fd/{stream.fileno()}"
    else:
        yield str(path)


def read_metadata(path: Path, metadata: dict[str, str]) -> tuple[Recipe, Channels, Provenance]:
    """Read what the metadata of a file mean.

    Args:
        path: for messages.
        metadata: as `metadata_of` wrote it.

    Raises:
        ModelFileError: it is damaged or of another format.
    """
    if metadata["format"] != FORMAT:
        raise ModelFileError(
            f"{path} has format {metadata['format']}, this version reads {FORMAT}; "
            f"upgrade singleimage."
        )
    try:
        recipe = Recipe.from_json(metadata["recipe"])
        channels = read_channels(metadata["channels"])
        provenance = msgspec.json.decode(metadata["provenance"], type=Provenance)
    except KeyError as error:
        raise damaged(path, f"its metadata have no {error.args[0]}") from None
    except (RecipeError, msgspec.DecodeError) as error:
        raise damaged(path, f"in its metadata, {str(error).rstrip('.')}") from None
    return recipe, channels, provenance


def compare_tensors(path: Path, expected: dict[str, Any], found: dict[str, Tensor]) -> None:
    """Compare the tensors of a file with those its recipe asks for.

    Args:
        path: for messages.
        expected: the tensors of the networks, by name.
        found: those of the file.

    Raises:
        ModelFileError: names the first tensor that is missing, wrong or too many.
    """
    for name, like in expected.items():
        if name not in found:
            raise damaged(path, f"tensor {name} is missing")
        here = found[name]
        if here.shape != like.shape or here.dtype != like.dtype:
            raise damaged(
                path,
                f"tensor {name} is {here.dtype} {tuple(here.shape)}, its recipe says "
                f"{like.dtype} {tuple(like.shape)}",
            )
        if here.is_floating_point() and not bool(torch.isfinite(here).all()):
            raise damaged(path, f"tensor {name} holds values that are not finite")
    for name in found:
        if name not in expected:
            raise damaged(path, f"unexpected tensor {name}")


def read_learner(path: Path, recipe: Recipe, channels: Channels, provenance: Provenance) -> Learner:
    """Build the generator that a file describes, with all levels; `fill_networks` gives it weights.

    Args:
        path: for messages.
        recipe, channels, provenance: what `read_metadata` read.

    Raises:
        ModelFileError: recipe and provenance do not go together.
    """
    photo = Size(*provenance.photo)
    try:
        ladder = recipe.pyramid.plan(photo)
    except SizeError:
        raise damaged(path, f"a photo of {photo} does not fit its recipe") from None
    if math.prod(ladder.finest) > PIXEL_LIMIT:
        raise damaged(path, f"its pictures would be {ladder.finest}")
    if provenance.levels > len(ladder.sizes):
        raise damaged(path, f"its recipe makes {len(ladder.sizes)} levels, not {provenance.levels}")
    with torch.device("meta"):
        learner = recipe.schedule.generator.build(channels=channels.count, ladder=ladder)
        for _ in range(provenance.levels):
            learner.extend(None)
    return learner


def fill_networks(
    path: Path,
    parts: Mapping[str, nn.Module],
    tensors: dict[str, Tensor],
    device: str | torch.device,
    precision: Literal["fp32", "bf16"],
) -> None:
    """Give networks the weights of a file, ready to draw.

    Args:
        path: for messages.
        parts: the networks, by the prefix of their tensors.
        tensors: all of the file but the image.
        device: where they will be.
        precision: in which type they will compute.

    Raises:
        ModelFileError: a tensor is missing, wrong or too many; the first is named.
    """
    expected = {
        f"{part}.{name}": like
        for part, module in parts.items()
        for name, like in module.state_dict().items()
    }
    compare_tensors(path, expected, tensors)
    for part, module in parts.items():
        prefix = f"{part}."
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        module.load_state_dict(own, assign=True)
        module.to(device)
        use_precision(module, precision)
        module.requires_grad_(False).eval()


def _looks_like_image(path: Path) -> bool:
    try:
        with Image.open(path):
            return True
    except Exception:  # whatever Pillow thinks of it, it is not an image we could name
        return False


def to_stored(image: Tensor, channels: Channels) -> Tensor:
    """Convert an image to integers of 8 or 16 bits.

    Args:
        image: of any shape, in [-1, 1].
        channels: what it means.
    """
    top, dtype = _top(channels), torch.uint8 if channels.bits == 8 else torch.uint16
    return image.cpu().double().add(1).mul(top / 2).round().clamp(0, top).to(dtype).contiguous()


def from_stored(stored: Tensor, channels: Channels) -> Tensor:
    """What `to_stored` was given with these `channels`, rounded."""
    return stored.double().mul(2 / _top(channels)).sub(1).float()


def _top(channels: Channels) -> int:
    return channels.white or 2**channels.bits - 1


def made_at_once(
    photo: Photo, levels: int, device: str, *, seed: int = 0, more: Sequence[Photo] = ()
) -> Provenance:
    """Say where a model comes from that was not trained.

    Args:
        photo: what it draws from.
        levels: of its pyramid.
        device: that it was made on.
        seed: it was made with.
        more: further photos it draws from.
    """
    digests = [one.sha256 or "" for one in (photo, *more)]
    return Provenance(
        photo=(photo.size.height, photo.size.width),
        image_sha256=joined_digest(digests) if more else photo.sha256,
        photos=len(digests),
        seed=seed,
        levels=levels,
        seconds=0.0,
        device=device,
        created=now(),
        versions=versions(),
    )
