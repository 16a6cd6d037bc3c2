"""In which type convolutions compute. Weights, losses and optimizers stay in float32.

bfloat16 halves the traffic and, where the processor has matrix units for it (AMX, tensor cores),
is many times faster. Whether it is used depends on what the device can do, never on a timing, so
that the same machine always computes the same.
"""

from typing import Literal

import torch
from torch import nn

from singleimage.nn.blocks import Conv
from singleimage.nn.embedding import Embedding
from singleimage.nn.hyper import WeightHead

Precision = Literal["auto", "fp32", "bf16"]


def resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Choose the type of convolutions.

    Args:
        precision: `auto` becomes bf16 where the device has fast matrix units for it, else fp32;
            others stay.
        device: that computes.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        with torch.cuda.device(device):
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and _has_amx()
    return "bf16" if fast else "fp32"


def use_precision(module: nn.Module, precision: Literal["fp32", "bf16"]) -> None:
    """Make all convolutions of a network compute in one type.

    Args:
        module: changed in place.
        precision: bf16, or fp32, which stands for the type of their input.
    """
    for part in module.modules():
        if isinstance(part, Conv | Embedding | WeightHead):
            part.compute = torch.bfloat16 if precision == "bf16" else None


def _has_amx() -> bool:
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)  # no public probe in PyTorch 2.6
    return probe is not None and bool(probe())
