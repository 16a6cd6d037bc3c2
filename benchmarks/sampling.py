"""How many pictures a second a model draws, at the size of its training image.

Networks have the size and the cost of trained ones, with random weights: time does not depend on
what they learned. That of methods that copy depends on the photo; give one that is no noise.

    python benchmarks/sampling.py photo.jpg --json
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator

import torch
from torch import nn

from machine import describe, machine, photo, random_model
from singleimage import Model, Photo, flow, read_photo
from singleimage.nn.precision import Precision, resolve_precision, use_precision


def rate(model: Model, count: int, repeats: int) -> dict[str, float]:
    """Pictures a second in calls of `count` pictures: the median call, and the best."""
    list(model.sample(range(2)))
    seconds = []
    for repeat in range(repeats):
        started = time.perf_counter()
        for _ in model.sample(range(repeat * count, (repeat + 1) * count)):
            pass
        seconds.append((time.perf_counter() - started) / count)
    return {"median": 1 / statistics.median(seconds), "best": 1 / min(seconds)}


def models(picture: Photo) -> Iterator[tuple[str, Model]]:
    """By name; of a network in both types of its convolutions."""
    yield "flow", flow(picture)
    yield "quick", random_model("quick", picture)
    for method in ("consingan", "singan"):
        model = random_model(method, picture)
        assert isinstance(model.generator, nn.Module)
        precisions: tuple[Precision, ...] = ("auto", "fp32")
        for precision in precisions:
            chosen = resolve_precision(precision, torch.device("cpu"))
            use_precision(model.generator, chosen)
            yield f"{method}_{precision}", model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", nargs="?", help="of 188x250; default: noise")
    parser.add_argument("--count", type=int, default=16, help="pictures a call")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    facts = machine()
    print(describe(facts))
    picture = photo(188, 250) if args.photo is None else read_photo(args.photo)
    results = {}
    for name, model in models(picture):
        results[name] = found = rate(model, args.count, args.repeats)
        print(
            f"{name}: {found['median']:.1f} pictures of {model.size} a second, "
            f"{found['best']:.1f} at best",
            flush=True,
        )
    if args.json:
        first = results["consingan_auto"]["median"]
        print(json.dumps({"images_per_second": first, **results, "machine": facts}))


if __name__ == "__main__":
    main()
