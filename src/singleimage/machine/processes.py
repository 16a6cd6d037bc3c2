"""Several processes that share a batch, started by `torchrun`.

Each holds all weights, computes a part of the batch and averages its gradients with the others, so
that a training takes the same course as in one process. Without `torchrun` there is one process and
nothing here does anything.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from singleimage.errors import RunError
from singleimage.machine.device import LAUNCHED

Result = TypeVar("Result")
PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others."""


def join(device: torch.device) -> None:
    """Meet the processes that `torchrun` started with this one, if it did.

    Args:
        device: where tensors are, from `find_device`; on CUDA they meet by nccl where there is one,
            else by gloo.
    """
    if LAUNCHED not in os.environ or _met():
        return
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where nccl exchanges
        backend = "nccl" if distributed.is_nccl_available() else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)


def _met() -> bool:
    """Whether this process has met others; some builds of PyTorch know of none."""
    return distributed.is_available() and distributed.is_initialized()


def leave() -> None:
    """Part from the other processes, if there are any."""
    if _met():
        distributed.destroy_process_group()


def processes() -> int:
    """How many processes share the work."""
    return distributed.get_world_size() if _met() else 1


def leading() -> bool:
    """Whether this process writes files and talks; one of all does."""
    return not _met() or distributed.get_rank() == 0


def share_of(batch: int) -> slice:
    """The part of a batch that this process computes.

    Raises:
        RunError: the batch cannot be shared equally.
    """
    count = processes()
    if count == 1:
        return slice(None)
    if batch % count:
        raise RunError(
            f"{count} processes cannot share a batch of {batch} photos equally; set "
            f"training.batch to a multiple of {count}, or start another number of processes."
        )
    part, rank = batch // count, distributed.get_rank()
    return slice(rank * part, (rank + 1) * part)


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of the `values` of all processes, a tensor of the same shape."""
    if processes() == 1:
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total.div_(processes())


def average(tensors: list[Tensor]) -> list[Tensor]:
    """Return the means of `tensors` over all processes, exchanged in one message."""
    if processes() == 1:
        return tensors
    flat = mean_over_processes(torch.cat([tensor.flatten() for tensor in tensors]))
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [
        torch.empty_like(tensor).copy_(part.view(tensor.shape))
        for part, tensor in zip(parts, tensors, strict=True)
    ]


def in_turn(work: Callable[[], Result]) -> Result:
    """The result of `work` in every process: first in the leading one, then in the others."""
    if processes() == 1:
        return work()
    if leading():
        result = work()
        distributed.barrier()
        return result
    distributed.barrier()
    return work()


def anywhere(here: bool) -> bool:
    """Tell whether `here` is true in any process."""
    if processes() == 1:
        return here
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    count = torch.tensor(float(here), device=device)
    distributed.all_reduce(count)
    return bool(count > 0)
