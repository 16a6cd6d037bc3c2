"""What this machine can do at best: the roofline that timings are held against."""

import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage import Channels, Model, Photo, preset, train, with_overrides

Facts = dict[str, Any]


def peak_bytes() -> int:
    """Largest resident memory of this process so far; not on Windows."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def median_seconds(work: Callable[[], object], *, repeats: int) -> float:
    """Median duration of `work` after one call to warm up."""
    work()
    return statistics.median(timed(work) for _ in range(repeats))


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def machine(device: str = "cpu") -> Facts:
    """Processor, threads and versions, and the measured rates of matrix products and convolutions.

    Rates are in GFLOP/s: of 2048x2048 products, and of the 64->64 3x3 convolution of 188x250
    images that all the methods are made of, in both memory orders.
    """
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(2048, 2048, device=device).to(dtype)
        rates[f"matmul_{name}"] = 2 * 2048**3 / median_seconds(lambda a=a: a @ a, repeats=5)
        for order, layout in (
            ("nchw", torch.contiguous_format),
            ("channels_last", torch.channels_last),
        ):
            x = torch.randn(1, 64, 188, 250, device=device).to(dtype)
            x = x.contiguous(memory_format=layout)
            weight = torch.randn(64, 64, 3, 3, device=device).to(dtype)
            weight = weight.contiguous(memory_format=layout)
            rates[f"conv_{name}_{order}"] = CONV_FLOP / median_seconds(
                lambda x=x, weight=weight: convolved(x, weight), repeats=9
            )
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "device": device,
        "gflops": {name: round(rate / 1e9, 1) for name, rate in rates.items()},
    }


CONV_FLOP = 2.0 * 186 * 248 * 64 * 64 * 9


@torch.no_grad()
def convolved(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight)


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            names = {line.split(":")[1].strip() for line in file if line.startswith("model name")}
    except OSError:
        return platform.processor() or platform.machine()
    return ", ".join(sorted(names)) or platform.machine()


def describe(facts: Facts) -> str:
    rates = "  ".join(f"{name} {rate:,.0f}" for name, rate in facts["gflops"].items())
    return (
        f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}, "
        f"Python {facts['python']}, {facts['device']}\nGFLOP/s: {rates}"
    )


def photo(height: int, width: int) -> Photo:
    """Noise: time and memory do not depend on what is seen."""
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    return Photo(pixels * 2 - 1, Channels(mode="RGB"))


def random_model(method: str, picture: Photo) -> Model:
    """A model of all levels after one step of training each."""
    recipe = with_overrides(preset(method), {"training.steps": "1"})
    return train(picture, recipe, seed=0, device="cpu")
