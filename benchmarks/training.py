"""Time our trainer against a plain transcription of the published algorithms.

Both take the same steps of the same levels, in turn, so that what else the machine does falls on
both. Each has its process, of which one always sleeps: ours changes how its process allocates
memory, which must not help the other. The plain side is `tests/reference/singan.py`: float32, NCHW,
autograd's double backward, one generated image for each critic step, `interpolate` or numpy for
resizing.

    python benchmarks/training.py --json
"""

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from machine import describe, machine, photo, timed
from singleimage import Photo, Trainer, preset, read_photo, with_overrides
from singleimage.multiscale.pyramid import Ladder

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import singan as paper

Step = Callable[[], object]

BURST = 5
"""Steps of ours in one go: a real training finds warm caches."""


# The plain side ----------------------------------------------------------------------------------


def conv(c_in: int, c_out: int) -> paper.Conv:
    return torch.randn(c_out, c_in, 3, 3) * 0.02, torch.zeros(c_out)


def plain_consingan(ladder: Ladder, level: int) -> Step:
    """One iteration of ConSinGAN's newest stage, from random weights."""
    shapes = [tuple(size) for size in ladder.sizes[: level + 1]]
    bodies = [[conv(64, 64) for _ in range(3)] for _ in shapes]
    g = paper.ConSinGAN(conv(3, 64), bodies, conv(64, 3))
    critic = [conv(3, 64), *(conv(64, 64) for _ in range(3)), conv(64, 1)]
    real = torch.rand(1, 3, *shapes[-1]) * 2 - 1
    state: dict[str, paper.AdamState] = {}

    def noises() -> list[Tensor]:
        base = torch.randn(1, 3, *shapes[0])
        return [base, *(torch.randn(1, 64, h + 6, w + 6) for h, w in shapes[1:])]

    anchor = noises()

    def step() -> None:
        paper.consingan_iteration(
            g,
            critic,
            real,
            noises=noises(),
            reconstruction_noises=anchor,
            amplitudes=[1.0] + [0.1] * level,
            sizes=shapes,
            epsilons=torch.rand(3).tolist(),
            state=state,
        )

    return step


def plain_singan(ladder: Ladder, level: int) -> Step:
    """One iteration of SinGAN's newest scale, from random weights."""
    shapes = [tuple(size) for size in ladder.sizes[: level + 1]]

    def network(scale: int, c_out: int) -> paper.SinGANLevel:
        width = paper.singan_width(scale)
        blocks = [
            paper.NormConv(*conv(c_in, width), *(f(width) for f in (ones, zeros, zeros, ones)))
            for c_in in (3, width, width, width)
        ]
        last = conv(width, c_out)
        return paper.SinGANLevel(blocks, (last[0], last[1]))

    ones, zeros = torch.ones, torch.zeros
    levels = [network(scale, 3) for scale in range(level + 1)]
    critic = network(level, 1)
    real = torch.rand(1, 3, *shapes[-1]) * 2 - 1
    state: dict[str, paper.AdamState] = {}
    prefix_shapes = [(1 if i == 0 else 3, *shape) for i, shape in enumerate(shapes[:-1])]

    def step() -> None:
        paper.singan_iteration(
            levels,
            critic,
            real,
            noise=torch.randn(1, 1 if level == 0 else 3, *shapes[-1]),
            prefix_noises=[[torch.randn(1, *shape) for shape in prefix_shapes] for _ in range(3)],
            reconstruction_noise=torch.zeros(1, 1, *shapes[-1]),
            reconstruction_previous=torch.zeros_like(real),
            amplitudes=[1.0] + [0.1] * level,
            sizes=shapes,
            r=ladder.ratio,
            epsilons=torch.rand(3).tolist(),
            state=state,
        )

    return step


PLAIN = {"consingan": plain_consingan, "singan": plain_singan}


# Both sides, in turn -----------------------------------------------------------------------------


def serve(method: str, ladder: Ladder, threads: int, commands: Connection) -> None:
    """The plain side's process: begin a level, or take steps and answer how long they took."""
    torch.set_num_threads(threads)
    step: Step = lambda: None  # noqa: E731
    while (command := commands.recv()) is not None:
        kind, number = command
        if kind == "level":
            step = PLAIN[method](ladder, number)
            with FlopCounterMode(display=False) as counter:
                step()
            commands.send(counter.get_total_flops())
        else:
            commands.send([timed(step) for _ in range(number)])


def compare(method: str, picture: Photo, *, rounds: int, precision: Any) -> list[dict[str, Any]]:
    """A row a level: its size and the median seconds of an iteration, plain and ours.

    In every round ours takes `BURST` steps, then plain as many as fit in about the same time, at
    least one. Before the first round each takes one to warm up.
    """
    recipe = with_overrides(preset(method), {"training.steps": str(rounds * BURST + 1)})
    trainer = Trainer(picture, recipe, seed=0, device="cpu", precision=precision)
    ladder = trainer.example.ladder
    context = multiprocessing.get_context("spawn")
    plain_side, theirs = context.Pipe()
    worker = context.Process(
        target=serve, args=(method, ladder, torch.get_num_threads(), theirs), daemon=True
    )
    worker.start()

    def ask(kind: str, number: int) -> Any:
        plain_side.send((kind, number))
        return plain_side.recv()

    rows: list[dict[str, Any]] = []
    burst: list[float] = []
    pairs: list[tuple[float, float]] = []
    flop, count = 0, 1
    for progress in trainer:
        if progress.step == 1:
            flop, count, burst, pairs = ask("level", progress.level), 1, [], []
            continue
        burst.append(progress.seconds)
        if len(burst) == BURST:
            seconds = ask("steps", count)
            pairs.append((statistics.median(seconds), statistics.median(burst)))
            count = max(1, round(sum(burst) / pairs[-1][0]))
            burst = []
        if progress.level_done:
            row = {
                "size": list(ladder.sizes[progress.level]),
                "plain": statistics.median(plain for plain, _ in pairs),
                "ours": statistics.median(ours for _, ours in pairs),
                "ratio": statistics.median(plain / ours for plain, ours in pairs),
                "plain_gflop": flop / 1e9,
            }
            rows.append(row)
            print(
                f"{method} level {progress.level} {ladder.sizes[progress.level]!s:>8}: plain "
                f"{row['plain']:7.3f} s, ours {row['ours']:7.3f} s, ratio {row['ratio']:5.2f}",
                flush=True,
            )
    plain_side.send(None)
    return rows


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    plain, ours = (sum(row[side] for row in rows) for side in ("plain", "ours"))
    return {
        "levels": rows,
        "seconds_per_iteration": rows[-1]["ours"],
        "ratio_finest": rows[-1]["ratio"],
        "ratio_total": plain / ours,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--image", type=Path, help="a photo; default: noise of 188x250")
    parser.add_argument("--methods", nargs="+", choices=list(PLAIN), default=list(PLAIN))
    parser.add_argument("--rounds", type=int, help="default: 4 for consingan, 1 for singan")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    facts = machine()
    print(describe(facts))
    picture = read_photo(args.image) if args.image else photo(188, 250)
    results: dict[str, Any] = {}
    for method in args.methods:
        rounds = args.rounds or {"consingan": 4, "singan": 1}[method]
        rows = compare(method, picture, rounds=rounds, precision=args.precision)
        results[method] = totals(rows)
        print(
            f"{method}: ratio {results[method]['ratio_finest']:.2f} at the finest level, "
            f"{results[method]['ratio_total']:.2f} in total"
        )
    if args.json:
        first = results[args.methods[0]]
        keys = ("ratio_finest", "ratio_total", "seconds_per_iteration")
        print(json.dumps({key: first[key] for key in keys} | {"machine": facts, **results}))


if __name__ == "__main__":
    main()
