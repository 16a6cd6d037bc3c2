"""A model as a file for other programs: an ONNX graph, or a page for browsers; docs/export.md."""

import importlib.util
import io
import json
import warnings
from contextlib import redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import singleimage
from singleimage.apps.sample import sampled_latent
from singleimage.errors import ArgumentError, OutputError, UnsupportedEntry
from singleimage.generators.base import Generator
from singleimage.machine.files import followed, refuse_existing, require_folder, write_atomically
from singleimage.models.model import Model
from singleimage.models.page import page
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent
from singleimage.nn.precision import use_precision

OPSET = 18
"""Version of the ONNX operators, which onnxruntime has known since 1.14 (2023)."""


def export(
    model: Model,
    path: str | Path,
    size: tuple[int, int] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a model for other programs: one that was trained as `.onnx`, a photo as `.html`.

    An ONNX file computes in float32. Its inputs are the maps of noise, `noise_0` (the coarsest),
    `noise_1`, ..., each (N, C, h, w) and standard normal; its output is `image`, (N, C, H, W) in
    [-1, 1]. N is free, all else is fixed. A page draws by patch flow in a browser, see `page`.

    Args:
        model: trained on a photo, or of a photo without training.
        path: of the file.
        size: (height, width) of the images; None: that of the training image. Pages ask for it.
        overwrite: replace a file that exists.

    Raises:
        OutputError: the file exists and `overwrite` is false, its name has another ending, it
            cannot be written, or the extra `export` is not installed.
        UnsupportedEntry: the model copies its photo's pixels or is of a clip, or was trained and is
            to be a page.
        ArgumentError: a size is given for a page, or the photos of one are several.
        SizeError: the size is too small for the pyramid, or the photo too narrow for a page.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".onnx", ".html"):
        raise OutputError(
            f"{path} is no name of an export; use one that ends in .onnx (of a trained model) or "
            ".html (of a photo)."
        )
    require_folder(path)
    refuse_existing(path, overwrite=overwrite)
    if kind == ".html" and size is not None:
        raise ArgumentError("a page asks for the size of each picture; leave the size out.")
    data = page(model) if kind == ".html" else onnx_file(model, Size(*size) if size else model.size)
    write_atomically(followed(path), lambda stream: stream.write(data))


def onnx_file(model: Model, size: Size) -> bytes:
    """The bytes of the ONNX file that `export` writes.

    Args:
        model: trained on a photo.
        size: of the images.
    """
    network = _network(model)
    if not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        raise OutputError('an ONNX file needs: pip install "singleimage[export]".')
    latent = sampled_latent(model.generator, [0, 1], size=size)
    return _graph(network, latent, _metadata(model, latent))


def _network(model: Model) -> nn.Module:
    """A copy of the model's network that computes in float32 on the CPU."""
    generator = model.generator
    if generator.copier is not None or not isinstance(generator, nn.Module):
        raise UnsupportedEntry(
            f"a {model.recipe.name} model copies its photo's pixels, and a search is no graph of "
            "layers; train one with: singleimage train PHOTO -o RUN --preset consingan (or export "
            "the photo itself as .html)"
        )
    if generator.ladder.moving:
        raise UnsupportedEntry(
            "a model of a clip cannot be exported; give a model of a photo, or draw clips with: "
            "singleimage sample MODEL -o FOLDER"
        )
    network = deepcopy(generator).cpu().float()
    use_precision(network, "fp32")
    return network


class _FromNoise(nn.Module):
    """A generator as a function of its maps of noise alone."""

    def __init__(self, generator: Generator, latent: Latent) -> None:
        super().__init__()
        self.generator = generator
        self.sizes = latent.sizes

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Decode maps (N, C, h, w), coarsest first, to images (N, C, H, W) in [-1, 1]."""
        return self.generator.decode(Latent(maps, self.sizes)).clamp(-1, 1)


def _graph(network: Any, latent: Latent, metadata: dict[str, str]) -> bytes:
    """The bytes of the ONNX file."""
    from onnx.helper import set_model_props

    maps = tuple(values.float().cpu().contiguous() for values in latent.tensors())
    batch = torch.export.Dim("N", min=1)
    with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # what PyTorch tells its own developers
        program = torch.onnx.export(
            _FromNoise(network, latent).eval(),
            (maps,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[f"noise_{level}" for level in range(len(maps))],
            output_names=["image"],
            dynamic_shapes=(tuple({0: batch} for _ in maps),),
            verbose=False,
        )
    assert program is not None
    found = program.model_proto
    set_model_props(found, metadata)
    data: bytes = found.SerializeToString()
    return data


def _metadata(model: Model, latent: Latent) -> dict[str, str]:
    """What the file tells of the model; each value is text, or JSON."""
    levels = range(len(latent.sizes))
    strengths = model.generator.state_dict()["amplitudes"].tolist()
    return {
        "singleimage": singleimage.__version__,
        "recipe": model.recipe.name,
        "channels": model.channels.mode,
        "photo_sha256": model.provenance.image_sha256,
        "sizes": json.dumps([list(size) for size in latent.sizes]),
        "noise_shapes": json.dumps([list(latent.maps[level].shape[1:]) for level in levels]),
        "noise_amplitudes": json.dumps([strengths[level] for level in levels]),
    }
