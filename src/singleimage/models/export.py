"""A model as a file for other programs: an ONNX graph from noise to image. See docs/export.md."""

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
from singleimage.errors import OutputError, UnsupportedEntry
from singleimage.generators.base import Generator
from singleimage.machine.files import refuse_existing, require_folder, write_atomically
from singleimage.models.model import Model
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
    """Write the network of a trained model as an ONNX file, in float32.

    Its inputs are the maps of noise, `noise_0` (coarsest), `noise_1`, ..., each (N, C, h, w) and
    standard normal; its output is `image`, (N, C, H, W) in [-1, 1]. N is free, all else is fixed.

    Args:
        model: trained on a photo.
        path: of the file, `.onnx`.
        size: (height, width) of its images; None: that of the training image.
        overwrite: replace a file that exists.

    Raises:
        OutputError: the file exists and `overwrite` is false, its name does not end in .onnx, it
            cannot be written, or the extra `export` is not installed.
        UnsupportedEntry: the model copies its photo's pixels, or is of a clip.
        SizeError: the size is too small for the pyramid.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise OutputError(f"{path} is no name of an ONNX file; use one that ends in .onnx.")
    require_folder(path)
    refuse_existing(path, overwrite=overwrite)
    network = _network(model)
    if not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        raise OutputError("an ONNX file needs: pip install 'singleimage[export]'.")
    latent = sampled_latent(model.generator, [0, 1], size=Size(*size) if size else model.size)
    data = _graph(network, latent, _metadata(model, latent))
    write_atomically(path, lambda stream: stream.write(data))


def _network(model: Model) -> nn.Module:
    """A copy of the model's network that computes in float32 on the CPU."""
    generator = model.generator
    if generator.copier is not None or not isinstance(generator, nn.Module):
        raise UnsupportedEntry(
            f"a {model.recipe.name} model copies its photo's pixels, and a search is no graph of "
            "layers; train one with: singleimage train PHOTO -o RUN --preset consingan"
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
