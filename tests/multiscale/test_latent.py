"""Noise: normal, in blocks that depend on the seed alone, and arithmetic on it."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.compare import F64, SMALL_SINGAN, difference, grown
from singleimage.multiscale.geometry import OPEN, Size, Window, framed
from singleimage.multiscale.latent import (
    BLOCK,
    Latent,
    Noise,
    _normal,
    drawn,
    gaussian,
    mix,
    splice,
)
from wrapping import BOTH, ODD, ROWS, made

F32 = torch.float32


def test_noise_of_clips_has_no_order_and_no_repetition() -> None:
    like = torch.empty(0)
    drawn = Noise((1, 2), 3, Size(150, 9), like, frames=5).drawn()
    assert drawn.shape == (2, 3, 5, 150, 9)
    flat = drawn.transpose(1, 2).reshape(2 * 5 * 3, -1)
    assert (torch.corrcoef(flat) - torch.eye(30)).abs().max() < 0.15
    assert abs(float(drawn.std()) - 1) < 0.03
    window = Noise((1, 2), 3, Size(150, 9), like, frames=5)
    part = window.drawn(Window(120, 2, 20, 4))
    assert torch.equal(part, drawn[..., 120:140, 2:6])


LARGE = Size(2 * BLOCK + 44, BLOCK + 71)


@pytest.mark.parametrize("dtype", [F32, F64], ids=["f32", "f64"])
def test_a_window_of_noise_is_cut_from_the_whole(dtype: torch.dtype) -> None:
    noise = Noise((3, 4), 3, LARGE, torch.zeros((), dtype=dtype))
    assert noise.shape == (2, 3, *LARGE)
    whole = noise.drawn()
    for window in (
        Window.whole(LARGE),
        Window(0, 0, 1, 1),
        Window(BLOCK - 1, BLOCK - 1, 2, 2),
        Window(5, 7, 2 * BLOCK, 9),
        Window(BLOCK, BLOCK, BLOCK, 71),
        Window(2 * BLOCK - 3, 11, 47, BLOCK + 60),
        Window(LARGE.height - 1, LARGE.width - 1, 1, 1),
    ):
        found = noise.drawn(window)
        assert torch.equal(found, window.cut(whole)), window
        assert found.dtype == dtype
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_noise_is_normal() -> None:
    values = gaussian((3, 400, 380), 5, like=torch.zeros(()))
    assert values.shape == (3, 400, 380)
    for part in (values, values[0], values[:, :BLOCK, :BLOCK], values[:, BLOCK:, 1::2]):
        x = part.flatten().double().sort().values
        n = len(x)
        assert abs(x.mean()) < 5 / n**0.5
        assert abs(x.std() - 1) < 5 / (2 * n) ** 0.5
        assert abs((x**3).mean()) < 5 * (15 / n) ** 0.5
        assert abs((x**4).mean() - 3) < 5 * (96 / n) ** 0.5
        expected = torch.special.ndtr(x)
        seen = torch.arange(n + 1, dtype=F64) / n
        distance = torch.maximum((seen[1:] - expected).abs(), (seen[:-1] - expected).abs()).max()
        assert distance < 2.3 / n**0.5  # Kolmogorov and Smirnov, one time in 20000
    assert 4 < values.abs().max() < 5.4


@pytest.mark.parametrize("dtype", [F32, F64], ids=["f32", "f64"])
def test_all_bits_together_make_the_quantiles_of_a_normal_distribution(dtype: torch.dtype) -> None:
    """Each value once: finite at both ends, symmetric, of variance one."""
    values = _normal(np.arange(-(2**15), 2**15).astype(np.int16), dtype, 1.0).double()
    middles = (torch.arange(2**16, dtype=F64) + 0.5) / 2**16
    assert difference(values, torch.special.ndtri(middles)) < (1e-12 if dtype == F64 else 1e-3)
    assert (values.diff() > 0).all()
    assert torch.equal(values, -values.flip(0))
    assert abs(values.std() - 1) < 1e-3


def test_no_part_of_noise_resembles_another() -> None:
    """Images, channels, and blocks of 128 pixels."""
    drawn = Noise((3, 4), 2, Size(2 * BLOCK, 2 * BLOCK), torch.zeros(())).drawn()
    halves = [drawn[..., y : y + BLOCK, x : x + BLOCK] for y in (0, BLOCK) for x in (0, BLOCK)]
    parts = [half[b, c].flatten() for half in halves for b in (0, 1) for c in (0, 1)]
    assert len(parts) == 16
    for a, b in combinations(parts, 2):
        assert abs((a * b).mean()) < 5 / BLOCK
    for lag in range(1, 4):  # nor do neighbors
        assert abs((drawn[..., lag:] * drawn[..., :-lag]).mean()) < 5 / drawn.numel() ** 0.5
        assert abs((drawn[..., lag:, :] * drawn[..., :-lag, :]).mean()) < 5 / drawn.numel() ** 0.5


def test_noise_depends_on_the_seed_alone(threads: int) -> None:
    """Not on the other images, global generators or the number of threads."""

    def draw(*seeds: int) -> Tensor:
        return Noise(seeds, 3, LARGE, torch.zeros(())).drawn()

    torch.set_num_threads(1)
    first = draw(5, 6)
    assert torch.equal(draw(6)[0], first[1])
    assert torch.equal(draw(6, 5).flip(0), first)
    assert not torch.equal(draw(7)[0], first[1])
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.random.get_rng_state()
    torch.set_num_threads(2)
    assert torch.equal(draw(5, 6), first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_scaled_noise_is_noise_times_the_scale() -> None:
    noise = Noise((5,), 3, LARGE, torch.zeros((), dtype=F64))
    for scale in (0.3, torch.tensor(0.3, dtype=F64)):
        assert difference(noise.drawn(scale=scale), 0.3 * noise.drawn()) < 1e-14
    assert noise.drawn(dtype=torch.bfloat16).dtype == torch.bfloat16
    assert difference(noise.drawn(dtype=torch.bfloat16).double(), noise.drawn()) < 0.02


def test_noise_in_float32_is_noise_in_float64_rounded() -> None:
    a, b = (Noise((5,), 3, LARGE, torch.zeros((), dtype=t)).drawn() for t in (F32, F64))
    assert (a - b).abs().mean() < 1e-6
    assert difference(a.double(), b) < 0.1  # beyond 5 sigma


def test_an_item_of_a_latent_is_its_sample_alone() -> None:
    """Drawn or not."""
    g, example = grown(SMALL_SINGAN)
    lazy = g.draw(example.ladder.sizes, [5, 6, 7])
    alone = g.draw(example.ladder.sizes, [6]).tensors()
    for latent in (lazy, Latent(lazy.tensors(), lazy.sizes)):
        item = latent.item(1)
        assert item.batch == 1
        assert all(torch.equal(a, b) for a, b in zip(item.tensors(), alone, strict=True))


def test_noise_goes_on_at_the_opposite_edge() -> None:
    size = Size(BLOCK + 20, 2 * BLOCK - 7)
    source = Noise((3, 4), 2, size, torch.zeros((), dtype=F64))
    whole = source.drawn()
    for window in (Window(-9, -11, 30, 40), Window(100, 200, 90, 90), Window(4, 5, 6, 7)):
        expected = framed(0.5 * whole, Window.whole(size), window, BOTH)
        assert difference(drawn(source, window, scale=0.5), expected) < 1e-12


def test_arithmetic_keeps_what_wraps() -> None:
    g = made("growing, stretch")
    a, b = g.draw(ODD, [0, 1], ROWS), g.draw(ODD, [2, 3], ROWS)
    assert [x.wrap for x in (a, a.item(0), mix(a, b, 0.5), splice(a, b, 1))] == [ROWS] * 4
    assert g.draw(ODD, [0]).wrap == g.anchor().wrap == OPEN
    with pytest.raises(ValueError, match="wrap differently"):
        splice(g.anchor(), a, 1)
    with pytest.raises(ValueError, match="wrap differently"):
        mix(a, g.draw(ODD, [0, 1], BOTH), 0.5)


def test_a_splice_repeats_what_is_one_to_the_batch() -> None:
    """An anchor's noise, drawn or not."""
    g = made("growing, stretch")
    one, three = g.draw(ODD, [7]), g.draw(ODD, [0, 1, 2])
    for below in (one, Latent(one.tensors(), one.sizes)):
        spliced = splice(below, three, 2)
        assert [len(x) for x in spliced.tensors()] == [3] * len(ODD)
        for index in range(3):
            item = spliced.item(index).tensors()
            expected = [*one.tensors()[:2], *three.item(index).tensors()[2:]]
            assert all(torch.equal(a, b) for a, b in zip(item, expected, strict=True))
