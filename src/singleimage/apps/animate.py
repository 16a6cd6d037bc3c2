"""A moving picture: a walk through the noise near the one that reproduces the photo.

SinGAN, section 4 and its supplementary; the recurrence is that of both published codes. A model
whose recipe `methods.for_animating` made moves best: it has learned noise at its borders (SinGAN),
or to start from noise (ConSinGAN). Any other moves too.

With z* the anchor and u fresh noise of every level, the walk is

    z_0 = z*,   z_1 = (1 - f) z* + f u_1,
    z_t+1 = a z* + (1 - a) (z_t + b (z_t - z_t-1) + (1 - b) u_t+1),

and z_2, z_3, ... are shown. `alpha` (a) pulls back to the photo, `beta` (b) keeps the direction.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from singleimage.errors import ArgumentError, UnsupportedEntry
from singleimage.generators.base import Generator
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent, combine, mix, seed_for, splice

FIRST_STEP = 0.05
"""How far the first step of a walk goes, in SinGAN's code."""

Draw = Callable[[int], Latent]
"""Fresh noise of all levels for a time; always the same for the same time."""


@dataclass(frozen=True)
class Motion:
    """The recurrence of the walk as weights, and what follows from it.

    Around the anchor the walk is an autoregression of second order: with y = z - z*,

        y_t+1 = now y_t + before y_t-1 + noise u_t+1.
    """

    alpha: float
    """Pull back to the anchor, from 0 to below 1."""
    beta: float
    """How much of a change the next one keeps, from 0 to below 1."""

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not 0 <= value < 1:
                raise ArgumentError(f"{name} {value:g} is out of range; use 0 up to less than 1.")

    @property
    def now(self) -> float:
        """Weight of y_t in y_t+1."""
        return (1 - self.alpha) * (1 + self.beta)

    @property
    def before(self) -> float:
        """Weight of y_t-1 in y_t+1."""
        return -(1 - self.alpha) * self.beta

    @property
    def noise(self) -> float:
        """Weight of the fresh noise in y_t+1."""
        return (1 - self.alpha) * (1 - self.beta)

    @property
    def variance(self) -> float:
        """Variance of y in the long run (Yule-Walker equations); without a pull it has no bound."""
        if 1 - self.alpha == 1:
            return float("inf")
        still, moving = 1 - self.before, 1 + self.before
        return self.noise**2 * still / (moving * (still**2 - self.now**2))

    @property
    def step_variance(self) -> float:
        """Variance of y_t+1 - y_t: 2 (1 - r) times that of y, r = now / (1 - before)."""
        return 2 * self.noise**2 / ((1 + self.before) * (1 - self.before + self.now))

    def spectrum(self, frames: int) -> NDArray[np.float64]:
        """Power of y at the frequencies that return after `frames`; its mean is the variance of
        the recurrence whose noise repeats after `frames`.
        """
        turn = np.exp(-2j * np.pi * np.arange(frames) / frames)
        gain = np.abs(self.noise / (1 - self.now * turn - self.before * turn**2))
        return np.asarray(gain, np.float64) ** 2

    def closing(self, frames: int) -> NDArray[np.float64]:
        """Return the matrix C that finds a start from which `frames` steps lead back to it.

        With y_n what n = `frames` steps lead to from y = 0, the start is C (y_n, y_n-1).

        From any start (y_0, y_-1) n steps lead to A^n (y_0, y_-1) more than from 0, with A =
        [[now, before], [1, 0]]; so C is the inverse of 1 - A^n.

        Returns:
            (2, 2).
        """
        power = np.linalg.matrix_power(np.array([[self.now, self.before], [1.0, 0.0]]), frames)
        return np.asarray(np.linalg.inv(np.eye(2) - power), np.float64)


def walk(
    anchor: Latent, draw: Draw, *, alpha: float, beta: float, first_step: float = FIRST_STEP
) -> Iterator[Latent]:
    """z_2, z_3, ... without end; z_t uses `draw(1)` to `draw(t)`, all levels at once.

    It keeps the anchor, two states and what they become.

    Args:
        first_step: f; 0.05 in SinGAN's code, 0.01 in ConSinGAN's.

    Raises:
        ArgumentError: `alpha` or `beta` is not from 0 to below 1.
    """
    motion = Motion(alpha, beta)
    return _walk(motion, anchor, mix(anchor, draw(1), first_step), anchor, draw)


def loop(anchor: Latent, draw: Draw, *, frames: int, alpha: float, beta: float) -> Iterator[Latent]:
    """Yield `frames` latents in a circle: the last leads to the first as each does to the next.

    It is the walk whose noise repeats, u_t+n = u_t, from the one start that n steps lead back to: a
    stationary Gaussian path with the spectrum of the walk, at the frequencies of the circle. Its
    noise is scaled so that its spread around the anchor is the walk's in the long run. Its steps
    then are the walk's too, but where the loop is shorter than what the walk remembers.

    Finding the start takes the noise of all frames once more, and no decoding.

    Args:
        anchor: the latent that the loop moves about.
        draw: fresh noise for a time.
        frames: how many, 1 or more.
        alpha: pull back to the anchor, over 0 and under 1.
        beta: how much of a change is kept, from 0 to below 1.

    Raises:
        ArgumentError: `alpha` or `beta` is out of range.
    """
    motion = Motion(alpha, beta)
    if 1 - alpha == 1:
        raise ArgumentError(
            f"a walk with alpha {alpha:g} never comes back; use more for a loop, such as 0.01."
        )
    scale = float(np.sqrt(motion.variance / motion.spectrum(frames).mean()))

    def repeated(time: int) -> Latent:
        return draw(time % frames)

    def states() -> Iterator[Latent]:
        now, before = anchor, anchor
        for state in islice(_walk(motion, anchor, now, before, repeated, scale), frames):
            now, before = state, now
        now, before = (
            combine((a, now), (b, before), (1 - a - b, anchor))
            for a, b in motion.closing(frames).tolist()
        )
        yield from islice(_walk(motion, anchor, now, before, repeated, scale), frames)

    return states()


def animate(
    generator: Generator,
    *,
    frames: int,
    seed: int,
    alpha: float = 0.1,
    beta: float = 0.9,
    first_step: float = FIRST_STEP,
    start_level: int = 0,
    size: Size | None = None,
    seamless: bool = False,
) -> Iterator[Tensor]:
    """Frames (C, H, W) about [-1, 1], one at a time; of a walk, frame t is the same for any number.

    The noise under `start_level` moves too, as in SinGAN's code, and is not used; ConSinGAN's holds
    it still. Levels do not mix, so the pictures are the same.

    Args:
        alpha: pull back to the photo, from 0 to below 1; less wanders further.
        beta: how much of a change is kept, from 0 to below 1; more is smoother.
        first_step: how far the first step of a walk goes.
        start_level: levels under it keep the noise of the reconstruction, and so the layout of the
            photo. 0: everything moves.
        size: size of the frames; None: that of the training image. Noise that reproduces the photo
            has only that size, so that any other size moves about the sample which `seed` draws.
        seamless: a loop, see `loop`; otherwise a walk that begins at the photo.

    Raises:
        SizeError: `size` is too small for the pyramid.
        ArgumentError: `start_level` is no level of the model, there are no frames, or `alpha` or
            `beta` is out of range.
        UnsupportedEntry: the generator is one of clips, or copies its photo.
    """
    ladder = generator.ladder
    if ladder.moving:
        raise UnsupportedEntry("a model of a clip moves by itself; draw its samples.")
    if generator.copier is not None:
        raise UnsupportedEntry(
            "copied pixels jump from picture to picture and cannot move; train a model "
            "with: singleimage train PHOTO -o RUN --for animate"
        )
    ladder.require_level(start_level)
    if frames < 1:
        raise ArgumentError(f"cannot draw {frames} frames; ask for 1 or more.")
    sizes = ladder.sizes_for(size or ladder.finest)
    center = generator.anchor() if sizes == ladder.sizes else generator.draw(sizes, [seed])
    anchor = Latent(center.tensors(), sizes)

    def draw(time: int) -> Latent:
        return generator.draw(sizes, [seed_for(seed, "walk", time)])

    if seamless:
        path = loop(anchor, draw, frames=frames, alpha=alpha, beta=beta)
    else:
        path = walk(anchor, draw, alpha=alpha, beta=beta, first_step=first_step)
    return (
        generator.decode(splice(anchor, latent, start_level))[0] for latent in islice(path, frames)
    )


def _walk(
    motion: Motion, anchor: Latent, now: Latent, before: Latent, draw: Draw, scale: float = 1.0
) -> Iterator[Latent]:
    """The states after `now`, from time 2 on; the noise is multiplied by `scale`."""
    for time in count(2):
        terms = ((motion.now, now), (motion.before, before), (motion.alpha, anchor))
        now, before = combine((scale * motion.noise, draw(time)), *terms), now
        yield now
