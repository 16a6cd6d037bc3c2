"""Time and memory of an involution, forward and backward, against the form with an unfolded image.

The layer of Fast-Stabilized at its finest level: 64 channels, a kernel each, dilation 3. Both forms
take turns in one process, so that what else the machine does falls on both. Peak memory is by how
much the largest resident set of a fresh process grows in one pass of one form; Linux tells it.

    python benchmarks/involution.py --json
"""

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from machine import describe, machine, timed
from singleimage.machine.memory import kept_heap
from singleimage.nn.blocks import init_normal
from singleimage.nn.involution import Involution, InvolutionBody
from singleimage.nn.precision import use_precision

Form = Callable[[Involution, Tensor], Tensor]


def ours(layer: Involution, x: Tensor) -> Tensor:
    y: Tensor = layer(x)
    return y


def unfolded(layer: Involution, x: Tensor) -> Tensor:
    """All kernels at once, an image of nine times the size, and their product."""
    x = x.to(layer.expand.compute or x.dtype)
    batch, channels, height, width = x.shape
    hidden = F.conv2d(x, layer.squeeze.weight.to(x.dtype))
    hidden = F.relu(F.instance_norm(hidden, weight=layer.norm.weight, bias=layer.norm.bias))
    weight, bias = layer.expand.weight.to(x.dtype), layer.expand.bias.to(x.dtype)
    kernels = F.conv2d(hidden, weight, bias)[..., 1:-1, 1:-1]
    kernels = kernels.reshape(batch, 9, channels, height - 2, width - 2)
    taps = F.unfold(x, 3, dilation=layer.dilation, padding=layer.reach - 1)
    taps = taps.view(batch, channels, 9, height - 2, width - 2)
    return (taps * kernels.transpose(1, 2)).sum(2)


FORMS: dict[str, Form] = {"unfolded": unfolded, "ours": ours}


def case(height: int, width: int, precision: Any) -> tuple[Involution, Tensor]:
    generator = torch.Generator().manual_seed(0)
    layer = Involution(InvolutionBody(), 64)
    init_normal(layer, generator)
    use_precision(layer, precision)
    x = torch.randn(1, 64, height, width, generator=generator)
    return layer, x.contiguous(memory_format=torch.channels_last).requires_grad_()


def step(form: Form, layer: Involution, x: Tensor) -> None:
    y = form(layer, x)
    torch.autograd.grad(y, [x, *layer.parameters()], torch.ones_like(y))


def growth(name: str, height: int, width: int, precision: Any, threads: int) -> int:
    """Bytes by which one pass of a form raises the peak of this process."""
    torch.set_num_threads(threads)
    step(FORMS[name], *case(16, 16, precision))  # the libraries are loaded
    layer, x = case(height, width, precision)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before = resident("VmHWM")
    step(FORMS[name], layer, x)
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """Bytes, from what Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs=2, type=int, default=[188, 250])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    facts = machine()
    print(describe(facts))
    results: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        layer, x = case(*args.size, precision)
        seconds: dict[str, list[float]] = {name: [] for name in FORMS}
        with kept_heap():  # as in training
            for _ in range(args.repeats + 1):
                for name, form in FORMS.items():
                    seconds[name].append(timed(partial(step, form, layer, x)))
        row: dict[str, Any] = {}
        for name, found in seconds.items():
            arguments = (name, *args.size, precision, torch.get_num_threads())
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                memory = pool.apply(growth, arguments)
            row[name] = {"seconds": statistics.median(found[1:]), "bytes": memory}
        pairs = list(zip(seconds["unfolded"], seconds["ours"], strict=True))[1:]
        row["time_ratio"] = statistics.median(plain / fast for plain, fast in pairs)
        row["memory_ratio"] = row["unfolded"]["bytes"] / row["ours"]["bytes"]
        results[precision] = row
        print(
            f"{precision}: unfolded {row['unfolded']['seconds']:.3f} s, ours "
            f"{row['ours']['seconds']:.3f} s, ratio {row['time_ratio']:.1f}; "
            f"{row['unfolded']['bytes'] / 2**20:.0f} and {row['ours']['bytes'] / 2**20:.0f} MiB, "
            f"ratio {row['memory_ratio']:.1f}",
            flush=True,
        )
    if args.json:
        print(json.dumps({**results, "machine": facts}))


if __name__ == "__main__":
    main()
