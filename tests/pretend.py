"""A device that is not there: tensors say they are on it, and refuse what a real one refuses.

They compute on the processor, so that whole trainings run and give numbers. Refused are tensors of
two devices together, a generator of another device than what it fills, group norm of two types, and
what PyTorch lacks on MPS, or does wrong there: float64, functions that only new versions have,
layers of tensors in channels-last order, and products written into the middle of a tensor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CPU, PLACE = torch.device("cpu"), torch.device("mps", 0)
CROSSING = {"copy_", "_to_copy", "set_"}
"""What takes tensors of two devices."""
MISSING = {"_linalg_eigh", "_linalg_svd", "_embedding_bag", "_embedding_bag_forward_only"}
"""What PyTorch 2.6 lacks on MPS."""
IN_ORDER = {
    *("native_batch_norm", "native_batch_norm_backward", "convolution_backward"),
    "max_pool2d_with_indices_backward",
}
"""What is wrong, slow or the end of the process on MPS for tensors in channels-last order."""


class Remote(Tensor):
    """A tensor on the device, which really is `inner`."""

    inner: Tensor
    device = PLACE

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Remote":
        if inner.dtype == torch.float64:
            raise TypeError("MPS has no float64")
        with torch.inference_mode(False):
            made = Tensor._make_wrapper_subclass(
                cls,
                inner.size(),
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                device="meta",  # PyTorch's own machinery wants to know all other devices
            )
        made.inner = inner
        return made

    def __repr__(self) -> str:
        return f"Remote({self.inner!r})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: "Remote") -> None:
        Tensor.data.__set__(self, other)  # type: ignore[attr-defined]
        self.inner = other.inner

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        dice = (kwargs or {}).get("generator")
        if dice is not None and dice.device != args[0].device:
            raise RuntimeError(f"a generator on {dice.device} for a tensor on {args[0].device}")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with Pretence():
            return func(*args, **(kwargs or {}))


class Dice(torch.Generator):
    """A generator, on the device or on the processor."""

    place: torch.device

    def __new__(cls, device: Any = CPU) -> "Dice":
        made = super().__new__(cls)
        made.place = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.place


class Pretence(TorchDispatchMode):
    """Computes what the device would, or refuses it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                return func.decompose(*args, **kwargs)
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        here = PLACE if any(isinstance(x, Remote) for x in tensors) else CPU
        name = func.overloadpacket.__name__
        if here == PLACE:
            refuse(name, tensors)
            refuse_layout(name, args, kwargs)
        wanted, place = kwargs.get("device"), here
        if wanted is not None:
            kwargs = {**kwargs, "device": CPU}
            place = CPU if torch.device(wanted) == CPU else PLACE
        args, kwargs = tree_map(unwrapped, (args, kwargs))
        known = {id(x.inner): x for x in tensors if isinstance(x, Remote)}

        def wrapped(x: Any) -> Any:
            if place == CPU or not isinstance(x, Tensor):
                return x
            return known[id(x)] if id(x) in known else Remote(x)

        return tree_map(wrapped, func(*args, **kwargs))


def unwrapped(x: Any) -> Any:
    if isinstance(x, Remote):
        return x.inner
    if isinstance(x, Tensor) and x.is_meta:  # made before anyone could look
        return torch.zeros(x.shape, dtype=x.dtype)
    return x


def refuse(name: str, tensors: list[Tensor]) -> None:
    """Raise where a real device would, for a function of some tensors, one of which is on it."""
    if name in MISSING:
        raise NotImplementedError(f"aten::{name} is not implemented for MPS")
    if name == "native_group_norm" and len({x.dtype for x in tensors}) > 1:
        raise RuntimeError(f"{name}: expected one type, found {[x.dtype for x in tensors]}")
    if name in ("index", "index_put_", "_index_put_impl_"):  # indices may be in main memory
        indices = [x for x in tensors if x.dtype in (torch.long, torch.int, torch.bool)]
        tensors = [x for x in tensors if x.device == PLACE or not any(x is i for i in indices)]
    for x in tensors:
        if x.device != PLACE and x.dim() and name not in CROSSING:
            raise RuntimeError(f"{name}: tensors on {PLACE} and on {x.device}")


def refuse_layout(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    """Raise where MPS goes wrong by where the numbers of a tensor lie."""
    maps = [x for x in args if isinstance(x, Tensor) and x.dim() >= 4 and any(x.stride())]
    if name in IN_ORDER and not all(x.is_contiguous() for x in maps):
        raise RuntimeError(f"{name}: strides {[x.stride() for x in maps]} on {PLACE}")
    out = kwargs.get("out")
    if name == "mm" and out is not None and out.storage_offset():
        raise RuntimeError(f"{name}: a product is never written at {out.storage_offset()}")


@contextmanager
def pretended() -> Iterator[str]:
    """Within, there is another device; gives its name."""
    with mock.patch.object(torch, "Generator", Dice), Pretence():
        yield str(PLACE)
