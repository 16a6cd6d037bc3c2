"""How many pictures a second a model draws, at the size of its training image.

The generator has the size and the cost of a trained one, with random weights: time does not depend
on what it learned.

    python benchmarks/sampling.py --json
"""

import argparse
import json
import statistics
import time

import torch

from machine import describe, machine, photo, random_model
from singleimage.nn.precision import Precision, resolve_precision, use_precision


def rate(method: str, precision: Precision, count: int, repeats: int) -> dict[str, float]:
    """Pictures a second in calls of `count` pictures: the median call, and the best."""
    model = random_model(method, photo(188, 250))
    use_precision(model.generator, resolve_precision(precision, torch.device("cpu")))
    model.sample(range(count))
    seconds = []
    for repeat in range(repeats):
        started = time.perf_counter()
        model.sample(range(repeat * count, (repeat + 1) * count))
        seconds.append((time.perf_counter() - started) / count)
    return {"median": 1 / statistics.median(seconds), "best": 1 / min(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=32, help="pictures a call")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    facts = machine()
    print(describe(facts))
    results = {}
    for method in ("consingan", "singan"):
        for precision in ("auto", "fp32"):
            found = rate(method, precision, args.count, args.repeats)
            results[f"{method}_{precision}"] = found
            print(
                f"{method} {precision}: {found['median']:.1f} pictures of 188x250 a second, "
                f"{found['best']:.1f} at best",
                flush=True,
            )
    if args.json:
        first = results["consingan_auto"]["median"]
        print(json.dumps({"images_per_second": first, **results, "machine": facts}))


if __name__ == "__main__":
    main()
