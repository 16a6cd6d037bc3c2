"""Which device computes."""

import torch

from singleimage.errors import DeviceError


def find_device(name: str) -> torch.device:
    """The device of that name: `auto` (the fastest there is), `cpu`, `cuda`, `cuda:1` or `mps`.

    `cpu:4` is the processor with four threads, for the whole process.

    Raises:
        DeviceError: this machine or this build of PyTorch has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    kind, _, count = name.partition(":")
    if kind == "cpu" and count.isdecimal() and int(count) > 0:
        torch.set_num_threads(int(count))
        name = kind
    try:
        torch.empty(1, device=name).item()  # of `meta`, there is nothing to read
    except (RuntimeError, AssertionError, ValueError):
        raise DeviceError(
            f"device {name!r} is not available here; use auto, cpu, cpu:THREADS, cuda, cuda:INDEX "
            f"or mps."
        ) from None
    return torch.device(name)
