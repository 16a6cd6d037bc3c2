"""Peak memory and time of a training step and of a sample against the size of the image.

Each point runs in a process of its own, at the finest level of the method, with random weights. The
exponent of cost is fitted over the larger half of the sizes: cost ~ pixels ** exponent.

    python benchmarks/memory.py --json --plot memory.png
"""

import argparse
import json
import math
import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from machine import describe, machine, peak_bytes, photo, random_model
from singleimage import Trainer, preset, with_overrides
from singleimage.multiscale.latent import seed_for

SIDES = (64, 128, 256, 512, 1024)
STEPS = 3


def training_point(method: str, side: int, overrides: dict[str, str]) -> dict[str, float]:
    """The finest level of a photo of 3/4 side x side: seconds a step, peak bytes."""
    recipe = with_overrides(
        preset(method),
        {"pyramid.max_size": str(side), "training.steps": str(STEPS + 1), **overrides},
    )
    trainer = Trainer(photo(side * 3 // 4, side), recipe, seed=0, device="cpu")
    last = trainer.levels - 1
    for level in range(last):  # without training: only the finest level counts
        trainer.learner.grow(trainer.example, seed_for(0, level))
    trainer.level = last
    seconds = [progress.seconds for progress in trainer]
    return {"seconds": statistics.median(seconds[1:]), "bytes": peak_bytes()}


def sampling_point(method: str, side: int, overrides: dict[str, str]) -> dict[str, float]:
    """One sample of side x side from a model of a 250 px photo: seconds, peak bytes."""
    model = random_model(method, photo(188, 250))
    started = time.perf_counter()
    next(model.sample([0], size=(side, side)))
    return {"seconds": time.perf_counter() - started, "bytes": peak_bytes()}


POINTS = {"training": training_point, "sampling": sampling_point}


def measure(kind: str, method: str, side: int, overrides: dict[str, str]) -> dict[str, float]:
    """One point, in a new process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(POINTS[kind], (method, side, overrides))


def exponent(points: list[dict[str, Any]], key: str) -> float:
    """Slope of log cost over log pixels, in the larger half of the sizes."""
    later = points[len(points) // 2 :]
    pixels = [math.log(point["side"] ** 2) for point in later]
    return float(np.polyfit(pixels, [math.log(point[key]) for point in later], 1)[0])


def plot(results: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4))
    for axis, key, label in ((axes[0], "seconds", "s"), (axes[1], "bytes", "bytes")):
        for name, found in results.items():
            sides = [point["side"] for point in found["points"]]
            axis.loglog(sides, [point[key] for point in found["points"]], "o-", label=name)
        axis.set_xlabel("long side, pixels")
        axis.set_ylabel(label)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", nargs="+", type=int, default=list(SIDES))
    parser.add_argument("--methods", nargs="+", default=["consingan"])
    parser.add_argument("--sample-side", type=int, default=8192, help="the largest sample")
    parser.add_argument("--set", nargs="*", default=[], help="recipe fields, PATH=VALUE")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    facts = machine()
    print(describe(facts))
    overrides = dict(field.split("=", 1) for field in args.set)
    results: dict[str, Any] = {}
    for method in args.methods:
        for kind in POINTS:
            sides = args.sides + ([2048, 4096, args.sample_side] if kind == "sampling" else [])
            points = []
            for side in sides:
                point = {"side": side, **measure(kind, method, side, overrides)}
                points.append(point)
                print(
                    f"{method} {kind} {side:5} px: {point['seconds']:8.3f} s, "
                    f"{point['bytes'] / 2**30:6.2f} GiB",
                    flush=True,
                )
            results[f"{method}_{kind}"] = {
                "points": points,
                "seconds_exponent": exponent(points, "seconds"),
                "bytes_exponent": exponent(points, "bytes"),
            }
    if args.plot:
        plot(results, args.plot)
    if args.json:
        print(json.dumps({**results, "machine": facts}))


if __name__ == "__main__":
    main()
