"""Which device computes, on how many threads, and what it wants of tensors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from singleimage.errors import DeviceError, in_words

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Variable of the environment by which a process knows that `torchrun` started it."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Variable of the environment that names the GPUs a process sees, with commas between."""


def find_device(name: str) -> torch.device:
    """Find the device of that name; nothing is changed.

    Args:
        name: `auto` (the fastest that works), `cpu`, `cuda`, `cuda:1` or `mps`; `cpu:4` means the
            processor, and that `use_device` is to give it four threads. Of several processes that
            `torchrun` started, each has a GPU of its own by `auto` and `cuda`, and none has MPS.

    Raises:
        DeviceError: this machine or this build of PyTorch has no such device.
    """
    launched = LAUNCHED in os.environ
    cuda = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if launched else "cuda"
    if name == "auto":
        name = next(filter(_computes, [cuda] if launched else [cuda, "mps"]), "cpu")
    elif name == "cuda":
        name = cuda
    elif threads_of(name) is not None:
        name = "cpu"
    if not _computes(name) or (launched and name == "mps"):
        raise DeviceError(
            f"device {name!r} is not available here; use auto, cpu, cpu:THREADS, cuda, cuda:INDEX "
            f"or mps."
        )
    return torch.device(name)


def _computes(name: str) -> bool:
    """Whether this build of PyTorch computes there; it may know a GPU and have no kernels for it.

    Raises:
        RuntimeError: the device has no memory left.
    """
    try:
        torch.ones(1, device=name).add_(1).item()
    except (RuntimeError, AssertionError, ValueError) as error:
        if in_words(error) is not None:
            raise
        return False
    return True


def use_device(name: str) -> torch.device:
    """Find the device of that name; with `cpu:4`, also set the threads of this process to four.

    Raises:
        DeviceError: as `find_device`.
    """
    device = find_device(name)
    threads = threads_of(name)
    if threads is not None:
        torch.set_num_threads(threads)
    return device


def gpus() -> list[str]:
    """The CUDA devices of this process, as the variable `CUDA_VISIBLE_DEVICES` names them."""
    count, named = torch.cuda.device_count(), os.environ.get(VISIBLE)
    return named.split(",")[:count] if named else [str(i) for i in range(count)]


def kind_of(device: torch.device) -> str:
    """`cpu` or `mps`, or the model of a GPU on CUDA: each has random numbers of its own."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def release_memory() -> None:
    """Give back what PyTorch keeps of a GPU's memory without a tensor in it."""
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def require_clips(device: torch.device) -> None:
    """Refuse to compute clips on MPS, where convolutions of three axes are wrong or missing.

    Raises:
        DeviceError: it is MPS.
    """
    if device.type == "mps":
        raise DeviceError("clips are not computed on mps; use --device cpu.")


def supported(x: Tensor) -> Tensor:
    """`x` where PyTorch has float64, eigenvectors and bags: as it is, or on MPS in main memory."""
    return x if x.device.type in ("cpu", "cuda") else x.cpu()


@contextmanager
def exact_cudnn() -> Iterator[None]:
    """Within, convolutions on CUDA are the same each time, and those of float32 in float32."""
    enabled = torch.backends.cudnn.enabled
    with torch.backends.cudnn.flags(enabled=enabled, deterministic=True, allow_tf32=False):
        yield


def channels_last(x: Tensor) -> Tensor:
    """`x` in channels-last order, which one-channel tensors lose on the way.

    On MPS channels-first: of PyTorch's layers there, gradients of channels-last tensors are slow,
    and those of batch norm wrong.
    """
    if x.device.type == "mps":
        return x.contiguous()
    clips = x.dim() == 5
    return x.contiguous(memory_format=torch.channels_last_3d if clips else torch.channels_last)


def threads_of(name: str) -> int | None:
    """The threads in `cpu:4`; None: the name has none."""
    kind, _, count = name.partition(":")
    return int(count) if kind == "cpu" and count.isdecimal() and int(count) > 0 else None
