"""Animations: the laws of the walk and of the loop, and the frames of every method."""

from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from moving import RECIPES, lively
from singleimage.apps.animate import Motion, animate, loop, walk
from singleimage.apps.sample import reconstruct, sample
from singleimage.errors import ArgumentError, SizeError
from singleimage.generators.base import Generator
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent, seed_for

PUBLISHED = [(0.1, beta) for beta in (0.8, 0.85, 0.9, 0.95)]
"""alpha and beta of the published animations."""


DOT = (Size(1, 1),)
ORIGIN = Latent((torch.zeros(1, 1, 1, 1, dtype=torch.float64),), DOT)


def impulse(length: int) -> Callable[[int], Latent]:
    """Noise whose map is a unit vector: states then are their weights on the noise of each time."""

    units = torch.eye(length, dtype=torch.float64)

    def draw(time: int) -> Latent:
        return Latent((units[time].view(1, 1, 1, -1),), DOT)

    return draw


def weights(path: Iterator[Latent], count: int) -> NDArray[Any]:
    """(frames, times)."""
    return np.stack([latent.tensors()[0].flatten().numpy() for latent in islice(path, count)])


# The walk -----------------------------------------------------------------------------------------


def published_walk(
    anchor: NDArray[Any],
    noise: list[NDArray[Any]],
    *,
    alpha: float,
    beta: float,
    first: float,
) -> list[NDArray[Any]]:
    """The recurrence of the published codes, literally."""
    z_prev1 = (1 - first) * anchor + first * noise[1]
    z_prev2 = anchor
    shown = []
    for u in noise[2:]:
        diff_curr = beta * (z_prev1 - z_prev2) + (1 - beta) * u
        z_curr = alpha * anchor + (1 - alpha) * (z_prev1 + diff_curr)
        z_prev2, z_prev1 = z_prev1, z_curr
        shown.append(z_curr)
    return shown


@pytest.mark.parametrize("first", [0.05, 0.01])
def test_the_walk_is_the_published_one(first: float) -> None:
    maps = [torch.randn(31, 1, c, 4, 5, generator=torch.Generator().manual_seed(c)) for c in (1, 3)]
    anchor = Latent((maps[0][0], torch.zeros(1, 1, 4, 5)), (Size(4, 5),) * 2)

    def draw(time: int) -> Latent:
        return Latent(tuple(m[time] for m in maps), anchor.sizes)

    for alpha, beta in (*PUBLISHED, (0.0, 0.5), (0.3, 0.0)):
        ours = [*islice(walk(anchor, draw, alpha=alpha, beta=beta, first_step=first), 29)]
        assert ours[0].batch == 1
        for level, start in enumerate(anchor.tensors()):
            noise = [m.double().numpy() for m in maps[level]]
            theirs = published_walk(
                start.double().numpy(), noise, alpha=alpha, beta=beta, first=first
            )
            for latent, expected in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(latent.tensors()[level], expected, atol=1e-5)


def test_spread_and_steps_of_the_walk_in_the_long_run() -> None:
    for alpha, beta in (*PUBLISHED, (0.4, 0.0), (0.05, 0.5)):
        path = weights(walk(ORIGIN, impulse(500), alpha=alpha, beta=beta), 400)
        motion = Motion(alpha, beta)
        assert (path[-1] ** 2).sum() == pytest.approx(motion.variance)
        assert ((path[-1] - path[-2]) ** 2).sum() == pytest.approx(motion.step_variance)


def test_without_a_pull_the_walk_has_no_bound() -> None:
    assert Motion(0, 0.9).variance == np.inf


# The loop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta"), PUBLISHED)
def test_a_loop_is_stationary_around_the_circle(alpha: float, beta: float) -> None:
    for frames in (1, 2, 25, 100):
        states = loop(ORIGIN, impulse(frames), frames=frames, alpha=alpha, beta=beta)
        path = weights(states, frames + 9)
        assert path.shape == (frames, frames)
        for time, frame in enumerate(path):  # frame t is frame 0 with the noise of t steps later
            np.testing.assert_allclose(np.roll(frame, -time), path[0], atol=1e-12)
        assert (path[0] ** 2).sum() == pytest.approx(Motion(alpha, beta).variance)


@pytest.mark.parametrize(("alpha", "beta"), PUBLISHED)
def test_the_steps_of_a_loop_are_those_of_the_walk(alpha: float, beta: float) -> None:
    motion = Motion(alpha, beta)
    for frames, error in ((200, 0.001), (100, 0.02), (50, 0.15)):
        path = weights(loop(ORIGIN, impulse(frames), frames=frames, alpha=alpha, beta=beta), frames)
        steps = ((path - np.roll(path, 1, axis=0)) ** 2).sum(axis=1)
        assert steps == pytest.approx(motion.step_variance, rel=error)


def test_a_loop_goes_around_the_anchor_on_every_level() -> None:
    anchor = Latent((torch.full((1, 1, 3, 3), 2.0), torch.zeros(1, 1, 90, 90)), (Size(1, 1),) * 2)

    def draw(time: int) -> Latent:
        source = torch.Generator().manual_seed(time)
        maps = (torch.randn(1, 3, *m.shape[2:], generator=source) for m in anchor.tensors())
        return Latent(tuple(maps), anchor.sizes)

    maps = [x.tensors() for x in loop(anchor, draw, frames=60, alpha=0.1, beta=0.9)]
    coarse, fine = (torch.cat(level) for level in zip(*maps, strict=True))
    assert float(coarse.mean()) == pytest.approx(2, abs=0.1)
    assert float(fine.var()) == pytest.approx(Motion(0.1, 0.9).variance, rel=0.05)


def test_a_pull_and_a_memory_are_from_0_to_below_1() -> None:
    for name in ("alpha", "beta"):
        for value in (-0.1, 1.0, float("nan")):
            numbers = {"alpha": 0.1, "beta": 0.9, name: value}
            with pytest.raises(ArgumentError, match=f"{name} .* use 0 up to less than 1"):
                walk(ORIGIN, impulse(3), **numbers)
            with pytest.raises(ArgumentError, match=f"{name} .* use 0 up to less than 1"):
                loop(ORIGIN, impulse(3), frames=3, **numbers)


def test_a_loop_needs_a_pull() -> None:
    with pytest.raises(ArgumentError, match="use more for a loop"):
        loop(ORIGIN, impulse(3), frames=3, alpha=0, beta=0.9)


# Frames, of every method --------------------------------------------------------------------------


@pytest.fixture(scope="module", params=sorted(RECIPES))
def generator(request: pytest.FixtureRequest) -> Generator:
    made: Generator = lively(RECIPES[request.param])
    return made


@pytest.fixture(scope="module")
def cascade() -> Generator:
    """One of them, where the method does not matter."""
    made: Generator = lively(RECIPES["singan"])
    return made


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())


@pytest.mark.parametrize("seamless", [False, True])
def test_near_frames_differ_a_little_and_far_ones_more(
    generator: Generator, seamless: bool
) -> None:
    frames = list(animate(generator, frames=12, seed=3, beta=0.95, seamless=seamless))
    assert len(frames) == 12
    assert all(f.shape == (3, *generator.ladder.finest) and f.isfinite().all() for f in frames)
    near = [distance(a, b) for a, b in pairwise(frames)]
    assert min(near) > 0
    far = [distance(a, b) for a, b in zip(frames[:-5], frames[5:], strict=True)]
    assert np.mean(near) < 0.8 * np.mean(far)
    if seamless:
        assert distance(frames[-1], frames[0]) < 2 * max(near)


def test_a_walk_begins_at_the_photo(generator: Generator) -> None:
    photo = reconstruct(generator)[0]
    frames = list(animate(generator, frames=9, seed=0, first_step=0.01, beta=0.95))
    assert distance(frames[0], photo) < 0.5 * distance(frames[-1], photo)


def test_a_frame_depends_on_its_time_and_the_seed_alone(generator: Generator) -> None:
    few, many = (list(animate(generator, frames=n, seed=5)) for n in (2, 4))
    other = next(animate(generator, frames=1, seed=6))
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=False))
    assert not torch.equal(few[0], other)
    rounds = [torch.stack(list(animate(generator, frames=3, seed=5, seamless=True))) for _ in "ab"]
    assert torch.equal(*rounds)


class Spy:
    """A generator that shows the latents it is given, and decodes nothing."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.ladder = generator.ladder
        self.entry_levels = generator.entry_levels
        self.draw = generator.draw
        self.anchor = generator.anchor
        self.copier = generator.copier
        self.seen: list[Latent] = []

    def decode(self, latent: Latent, entry: object = None) -> Tensor:
        self.seen.append(latent)
        return torch.zeros(1, 3, *latent.sizes[-1])


def test_levels_under_the_start_keep_the_anchor_and_the_rest_move_alike(
    generator: Generator,
) -> None:
    anchor = generator.anchor().tensors()
    for seamless in (False, True):
        all_levels, upper = Spy(generator), Spy(generator)
        for spy, start in ((all_levels, 0), (upper, 2)):
            list(animate(spy, frames=3, seed=1, start_level=start, seamless=seamless))
        for free, kept in zip(all_levels.seen, upper.seen, strict=True):
            pairs = list(zip(free.tensors(), kept.tensors(), strict=True))
            assert all(torch.equal(k, a) for (_, k), a in zip(pairs[:2], anchor, strict=False))
            assert not any(torch.equal(f, k) for f, k in pairs[:2])
            assert all(torch.equal(f, k) for f, k in pairs[2:])


def test_the_walk_is_that_of_the_noise_which_the_generator_draws(generator: Generator) -> None:
    spy, sizes = Spy(generator), generator.ladder.sizes
    list(animate(spy, frames=5, seed=9))
    drawn = [generator.draw(sizes, [seed_for(9, "walk", t)]).tensors() for t in range(7)]
    for level in (0, 1):
        noise = [maps[level].numpy() for maps in drawn]
        anchor = generator.anchor().tensors()[level].numpy()
        expected = published_walk(anchor, noise, alpha=0.1, beta=0.9, first=0.05)
        for latent, values in zip(spy.seen, expected, strict=True):
            np.testing.assert_allclose(latent.tensors()[level], values, atol=1e-5)


def test_other_sizes_move_about_the_sample_of_the_seed(generator: Generator) -> None:
    size = Size(60, 34)
    frames = list(
        animate(generator, frames=3, seed=4, size=size, alpha=0.99, first_step=0, start_level=1)
    )
    (still,) = sample(generator, [4], size=size)
    assert [f.shape for f in frames] == [(3, 60, 34)] * 3
    assert 0 < distance(frames[-1], still) < 0.05 * float(still.var())


def test_frames_are_drawn_when_they_are_asked_for(cascade: Generator) -> None:
    spy = Spy(cascade)
    frames = animate(spy, frames=10**9, seed=0)
    assert not spy.seen
    list(islice(frames, 3))
    assert len(spy.seen) == 3
    spy.seen.clear()
    next(animate(spy, frames=4, seed=0, seamless=True))
    assert len(spy.seen) == 1


def test_what_cannot_be_animated_is_refused_at_once(cascade: Generator) -> None:
    levels = len(cascade.ladder.sizes)
    for wrong, words in (
        ({"start_level": levels}, f"use 0 to {levels - 1}"),
        ({"frames": 0}, "ask for 1 or more"),
        ({"size": Size(5, 5)}, "too small"),
        ({"alpha": 1.0}, "alpha 1 is out of range"),
    ):
        with pytest.raises(SizeError if "size" in wrong else ArgumentError, match=words):
            animate(cascade, **{"frames": 2, "seed": 0, **wrong})  # type: ignore[arg-type]


def test_a_pull_too_weak_to_count_is_none() -> None:
    """Rounded, a walk with it never comes back; it was a division by zero."""
    assert Motion(1e-17, 0.9).variance == float("inf")
    with pytest.raises(ArgumentError, match="alpha 1e-17 never comes back; use more for a loop"):
        next(iter(loop(ORIGIN, impulse(4), frames=4, alpha=1e-17, beta=0.9)))
