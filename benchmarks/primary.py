"""Predicted networks image by image against one grouped convolution over the batch.

python benchmarks/primary.py [--batch 16] [--width 64]

Forward and backward of the same networks on the same images, in the type the device is fast at;
medians of interleaved runs, as ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from singleimage.nn.hyper import TANH, GivenNets, PrimaryShape
from singleimage.nn.precision import resolve_precision

SIZES = ((19, 26), (40, 54), (87, 117), (188, 250))
RUNS = 5


def grouped(form: PrimaryShape, predicted: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """The batch in the channels, a group an image, with PyTorch's own gradients."""
    batch = len(x)
    layers = [torch.stack(each) for each in zip(*map(form.layers, predicted), strict=True)]
    y = x.to(dtype).reshape(1, -1, *x.shape[2:])
    for index, (weight, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        flat = weight.flatten(0, 1).to(dtype)
        y = F.conv2d(y, flat, bias.flatten().to(dtype), groups=batch)
        if form.slopes[index] is not None:
            y = F.leaky_relu(y, form.slope)
    return y.reshape(batch, -1, *y.shape[2:]).to(x.dtype)


def seconds(work: Callable[[], Tensor], predicted: Tensor) -> float:
    started = time.perf_counter()
    torch.autograd.grad(work().square().mean(), predicted)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=64)
    args = parser.parse_args()
    form = PrimaryShape(3, args.width, 3, 0.02, TANH)
    low = resolve_precision("auto", torch.device("cpu")) == "bf16"
    dtype = torch.bfloat16 if low else torch.float32
    predicted = torch.randn(args.batch, form.numbers).mul_(0.3).requires_grad_()
    print(f"batch {args.batch}, width {args.width}, {dtype}, {torch.get_num_threads()} threads")
    for size in SIZES:
        x = torch.randn(args.batch, 3, *size)
        ways: list[Callable[[], Tensor]] = [
            lambda x=x: GivenNets(form, predicted, dtype)(x),
            lambda x=x: grouped(form, predicted, x, dtype),
        ]
        times = [[seconds(way, predicted) for way in ways] for _ in range(RUNS + 1)][1:]
        each, group = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{size[0]}x{size[1]}: {each:.3f} s each, {group:.3f} s grouped, {group / each:.2f}")


if __name__ == "__main__":
    main()
