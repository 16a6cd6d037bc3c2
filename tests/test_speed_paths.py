"""What makes training and sampling fast changes no result: each fast path against a plain one."""

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from reference.compare import SMALL_CONSINGAN, SMALL_SINGAN, flawed, grown, photo
from singleimage.apps.sample import sample
from singleimage.generators import tiles
from singleimage.generators.base import Injection
from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.generators.tiles import in_tiles
from singleimage.images.photo import Photo
from singleimage.multiscale.geometry import Part, Size, Window
from singleimage.multiscale.latent import BLOCK, Latent, Noise, _normal, gaussian, splice
from singleimage.multiscale.resample import resize, resize_source, stretch, stretch_source
from singleimage.nn import convolution
from singleimage.nn.blocks import Conv, Norm, PatchNet, init_normal, run_chain
from singleimage.nn.convolution import Link, chain
from singleimage.nn.precision import Precision, use_precision
from singleimage.nn.second_order import bend, convolve, normalize
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.recipe import Recipe
from singleimage.training.trainer import Trainer

F32, F64 = torch.float32, torch.float64


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a.detach() - b.detach()).abs().max().item()


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference over the largest value."""
    return difference(a, b) / max(b.detach().abs().max().item(), 1e-300)


# A critic's scores and gradient ------------------------------------------------------------------


def random_critic(norm: Norm, *, slope: float = 0.2, seed: int = 0) -> PatchNet:
    """Weights so large that a gradient of 1 is within reach."""
    critic = PatchNet(3, 5, 1, norm=norm, slope=slope).double()
    for i, parameter in enumerate(critic.parameters()):
        drawn = noise(*parameter.shape, seed=100 * seed + i)
        gain = 2 / parameter[0].numel() ** 0.5 if parameter.ndim == 4 else 0.5
        parameter.data.copy_(drawn.mul_(gain))
    return critic


def plain_map(critic: PatchNet, x: Tensor) -> Tensor:
    """The critic's output, by PyTorch's own operations, one image after the other."""
    maps = []
    for image in x.split(1):
        y = image
        for conv, norm in zip(critic.trunk.layers, critic.trunk.norms, strict=True):
            y = F.conv2d(y, conv.weight, conv.bias)
            if isinstance(norm, nn.Module) and list(norm.parameters()):
                variance, mean = torch.var_mean(y, (2, 3), keepdim=True, correction=0)
                scale, shift = (p.view(1, -1, 1, 1) for p in norm.parameters())
                y = (y - mean) / (variance + 1e-5).sqrt() * scale + shift
            y = F.leaky_relu(y, critic.trunk.slope)
        maps.append(F.conv2d(y, critic.last.weight, critic.last.bias))
    return torch.cat(maps)


def plain_judge(critic: PatchNet, images: Tensor, between: Tensor) -> tuple[Tensor, Tensor]:
    between = between.detach().requires_grad_()
    total = plain_map(critic, between).sum()
    (gradient,) = torch.autograd.grad(total, between, create_graph=True)
    return plain_map(critic, images).mean((1, 2, 3)), gradient


def examine(critic: PatchNet) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return lambda images, between: critic.examine(images, between)[:2]


def judged(
    judge: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    critic: PatchNet,
    images: Tensor,
    between: Tensor,
) -> dict[str, Tensor]:
    """Scores, gradient, and what a loss of both makes of the weights and the images."""
    images = images.clone().requires_grad_()
    scores, gradient = judge(images, between)
    weights = torch.linspace(-1, 2, len(scores), dtype=scores.dtype)  # images count differently
    loss = (weights * scores).sum() + (gradient.norm(2, dim=1) - 1).square().mean()
    names = [name for name, _ in critic.named_parameters()]
    wanted = [*critic.parameters(), images]
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return {
        "scores": scores,
        "gradient": gradient,
        **dict(zip([*names, "images"], found, strict=True)),
    }


def farthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest relative difference of all; of values that are zero but for rounding, the
    absolute one."""
    assert found.keys() == expected.keys()
    return max(min(apart(found[k], expected[k]), difference(found[k], expected[k])) for k in found)


@pytest.mark.parametrize("norm", ["none", "image"])
@pytest.mark.parametrize("slope", [0.05, 0.2])
@pytest.mark.parametrize("size", [(11, 11), (12, 11), (11, 13), (15, 15), (24, 17)], ids=str)
@pytest.mark.parametrize("batches", [(1, 1), (2, 1), (3, 2), (1, 3)], ids=str)
def test_a_critic_judges_as_plain_autograd_does(
    norm: Norm, slope: float, size: tuple[int, int], batches: tuple[int, int]
) -> None:
    critic = random_critic(norm, slope=slope, seed=sum(size) + sum(batches))
    images, between = (noise(n, 3, *size, seed=n + 7) for n in batches)
    found = judged(examine(critic), critic, images, between)
    expected = judged(lambda a, b: plain_judge(critic, a, b), critic, images, between)
    assert farthest(found, expected) < 1e-9
    alone = judged(lambda a, b: (critic.mean_scores(a), b), critic, images, between)
    plain = judged(lambda a, b: (plain_map(critic, a).mean((1, 2, 3)), b), critic, images, between)
    assert farthest(alone, plain) < 1e-9


@pytest.mark.parametrize("norm", ["none", "image"])
def test_the_comparison_of_judgements_sees_a_wrong_slope_and_a_wrong_weight(norm: Norm) -> None:
    critic, other = random_critic(norm), random_critic(norm)
    images, between = noise(2, 3, 12, 13, seed=1), noise(1, 3, 12, 13, seed=2)
    expected = judged(lambda a, b: plain_judge(other, a, b), other, images, between)
    assert farthest(judged(examine(critic), critic, images, between), expected) < 1e-9
    critic.trunk.slope += 1e-6
    assert farthest(judged(examine(critic), critic, images, between), expected) > 1e-8
    critic.trunk.slope -= 1e-6
    critic.last.weight.data[0, 0, 0, 0] += 1e-6
    found = judged(examine(critic), critic, images, between)
    assert all(apart(found[k], expected[k]) > 1e-8 for k in ("scores", "gradient", "images"))


@pytest.mark.parametrize("norm", ["none", "image"])
def test_a_critic_that_rests_still_moves_the_images(norm: Norm) -> None:
    """In the generator's turn its weights need no gradient."""
    critic = random_critic(norm).requires_grad_(False)
    images = noise(2, 3, 14, 12, seed=3).requires_grad_()
    results = [critic.mean_scores(images), plain_map(critic, images).mean((1, 2, 3))]
    found, expected = (torch.autograd.grad(scores[1], images)[0] for scores in results)
    assert found[1].any()
    assert not found[0].any()
    assert apart(found, expected) < 1e-9


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("size", [(11, 11), (23, 30)], ids=str)
def test_a_critic_judges_in_float32_as_in_float64(
    fused: bool, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the fused operation, which float64 never takes."""
    if not fused:
        monkeypatch.setattr(convolution, "_fuses", lambda dtype: False)
    exact, critic = random_critic("none"), random_critic("none").float()
    images, between = noise(2, 3, *size, seed=1), noise(1, 3, *size, seed=2)
    expected = judged(lambda a, b: plain_judge(exact, a, b), exact, images, between)
    found = judged(examine(critic), critic, images.float(), between.float())
    assert all(value.dtype == F32 for value in found.values())
    assert farthest({k: v.double() for k, v in found.items()}, expected) < 1e-4


@pytest.mark.parametrize("norm", ["none", "image"])
def test_a_critic_judges_in_bfloat16_about_as_in_float32(norm: Norm) -> None:
    critic = random_critic(norm).float()
    images, between = noise(2, 3, 40, 40, seed=1, dtype=F32), noise(1, 3, 40, 40, seed=2, dtype=F32)
    expected = judged(examine(critic), critic, images, between)
    use_precision(critic, "bf16")
    found = judged(examine(critic), critic, images, between)
    for name, value in found.items():
        assert value.dtype == F32
        assert (value - expected[name]).norm() <= 0.2 * expected[name].norm() + 0.01, name
    assert not torch.equal(found["gradient"], expected["gradient"])


@pytest.mark.parametrize("size", [(25, 34), (60, 80)], ids=str)
def test_a_bias_that_moves_all_scores_alike_has_no_gradient(size: tuple[int, int]) -> None:
    """Exactly: Adam would make a step of full length of what rounding leaves.

    Most biases of a fresh critic's fourth convolution are such: their channel is of one sign
    everywhere, so that what they add to the score of the photo they add to that of the fake.
    """
    critic = PatchNet(3, 64, 1, norm="none", slope=0.2)
    init_normal(critic, torch.Generator().manual_seed(0))
    images = noise(2, 3, *size, dtype=F32).clamp(-1, 1)
    bias = critic.trunk.layers[-1].bias
    results = [critic.mean_scores(images), plain_map(critic, images).mean((1, 2, 3))]
    found, expected = (torch.autograd.grad(real - fake, bias)[0] for real, fake in results)
    assert (expected == 0).sum() > 40
    assert not found[expected == 0].any()


# Convolutions and chains of them -----------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 3, 4, 3), (2, 2, 3, 4, 5, 3), (1, 3, 1, 5, 3, 3), (2, 2, 2, 3, 3, 1)]
)
def test_a_convolution_can_be_differentiated_twice(shape: tuple[int, ...]) -> None:
    """By its input, its weights and its bias; batch, channels in and out, height, width, kernel."""
    batch, c_in, c_out, height, width, kernel = shape
    x = noise(batch, c_in, height, width).requires_grad_()
    weight = noise(c_out, c_in, kernel, kernel, seed=1).requires_grad_()
    bias = noise(c_out, seed=2).requires_grad_()
    assert difference(convolve(x, weight, bias), F.conv2d(x, weight, bias)) < 1e-12
    assert gradcheck(convolve, (x, weight, bias))
    assert gradgradcheck(convolve, (x, weight, bias))


def test_a_convolution_can_be_differentiated_three_times() -> None:
    """As often as one likes: its gradients are convolutions too."""
    x = noise(1, 2, 4, 4).requires_grad_()
    weight, bias = noise(2, 2, 3, 3, seed=1).requires_grad_(), noise(2, seed=2).requires_grad_()

    def third(convolution: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        value = convolution(x, weight, bias).pow(4).sum()
        for _ in range(2):
            (slope,) = torch.autograd.grad(value, x, create_graph=True)
            value = slope.square().sum()
        return torch.autograd.grad(value, (x, weight, bias))

    for found, expected in zip(third(convolve), third(F.conv2d), strict=True):
        assert apart(found, expected) < 1e-10


def links_of(
    parameters: Sequence[Tensor], slopes: Sequence[float | None], padding: int
) -> list[Link]:
    pairs = zip(parameters[::2], parameters[1::2], slopes, strict=True)
    return [Link(w.detach(), b.detach(), slope, padding) for w, b, slope in pairs]


def random_chain(widths: Sequence[int], seed: int = 0) -> list[Tensor]:
    parameters = []
    for i, (c_in, c_out) in enumerate(pairwise(widths)):
        parameters += [
            noise(c_out, c_in, 3, 3, seed=seed + 2 * i),
            noise(c_out, seed=seed + 50 + i),
        ]
    return [parameter.requires_grad_() for parameter in parameters]


CHAINS: list[tuple[list[int], list[float | None]]] = [
    ([2, 3], [None]),
    ([2, 1], [0.2]),
    ([1, 2, 2], [0.05, None]),
    ([2, 3, 2, 2], [0.2, 0.2, 0.2]),
]


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("widths", "slopes"), CHAINS, ids=[str(w) for w, _ in CHAINS])
def test_a_chain_has_the_gradients_of_finite_differences(
    widths: list[int], slopes: list[float | None], padding: int
) -> None:
    parameters = random_chain(widths)
    x = noise(2, widths[0], 7, 8, seed=9).requires_grad_()

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return chain(x, links_of(parameters, slopes, padding), parameters)

    assert gradcheck(run, (x, *parameters))


@pytest.mark.parametrize("dtype", [F64, F32], ids=["f64", "f32"])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("frozen", [(), (0,), (1, 2), (0, 1, 2, 3, 4)], ids=str)
def test_a_chain_is_convolutions_and_leaky_relus_in_turn(
    frozen: tuple[int, ...], padding: int, dtype: torch.dtype
) -> None:
    """Also where some of its input and weights need no gradient."""
    convs = [Conv(c_in, c_out, padding=padding) for c_in, c_out in ((3, 4), (4, 2), (2, 3))]
    slopes = [0.2, 0.05, None]
    for i, conv in enumerate(convs):
        conv.to(dtype)
        conv.weight.data.copy_(noise(*conv.weight.shape, seed=i))
        conv.bias.data.copy_(noise(*conv.bias.shape, seed=i + 9))
    x = noise(2, 3, 9, 8, seed=20, dtype=dtype)
    inputs = [x, *(p for conv in convs for p in (conv.weight, conv.bias))]
    wanted = [t.requires_grad_(i not in frozen) for i, t in enumerate(inputs)]
    wanted = [t for t in wanted if t.requires_grad]

    def plain() -> Tensor:
        y = x
        for conv, slope in zip(convs, slopes, strict=True):
            y = F.conv2d(y, conv.weight, conv.bias, padding=padding)
            y = y if slope is None else F.leaky_relu(y, slope)
        return y

    found, expected = run_chain(x, convs, slopes), plain()
    tolerance = 1e-12 if dtype == F64 else 1e-4
    assert apart(found, expected) < tolerance
    pull = noise(*found.shape, seed=30, dtype=dtype)
    ours, theirs = (torch.autograd.grad((y * pull).sum(), wanted) for y in (found, expected))
    assert all(apart(a, b) < tolerance for a, b in zip(ours, theirs, strict=True))
    with torch.no_grad():
        assert torch.equal(run_chain(x, convs, slopes), found)


# Layers that are differentiated twice -----------------------------------------------------------


def gradient_by_input(layer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What a critic with norm is penalized for, as a function of its own."""

    def gradient(x: Tensor, pull: Tensor, *parameters: Tensor) -> Tensor:
        total = (layer(x, *parameters) * pull).sum()
        return torch.autograd.grad(total, x, create_graph=True)[0]

    return gradient


@pytest.mark.parametrize("batch", [1, 3])
def test_a_norm_has_the_gradients_of_finite_differences_twice(batch: int) -> None:
    x, pull = (noise(batch, 2, 3, 4, seed=s).requires_grad_() for s in (1, 2))
    weight, bias = (noise(2, seed=s).requires_grad_() for s in (3, 4))

    def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normalize(x, weight, bias, 1e-5)

    assert gradcheck(norm, (x, weight, bias))
    assert gradcheck(
        gradient_by_input(norm), (x, pull, weight, bias.detach()), check_undefined_grad=False
    )


@pytest.mark.parametrize("slope", [0.0, 0.05, 0.2])
def test_a_bend_has_the_gradients_of_finite_differences_twice(slope: float) -> None:
    x, pull = (noise(2, 3, 4, 2, seed=s).requires_grad_() for s in (1, 2))
    assert torch.equal(bend(x, slope), F.leaky_relu(x, slope))
    assert gradcheck(lambda x: bend(x, slope), (x,))
    assert gradgradcheck(lambda x: bend(x, slope), (x,))
    assert gradcheck(gradient_by_input(lambda x: bend(x, slope)), (x, pull))


# Parts of resized images -------------------------------------------------------------------------


WINDOWS = {
    "whole": lambda size: Window.whole(size),
    "top left": lambda size: Window(0, 0, 4, 5),
    "top right": lambda size: Window(0, size.width - 5, 3, 5),
    "bottom left": lambda size: Window(size.height - 4, 0, 4, 6),
    "bottom right": lambda size: Window(size.height - 1, size.width - 1, 1, 1),
    "middle": lambda size: Window(size.height // 2 - 2, size.width // 2 - 3, 4, 5),
    "row": lambda size: Window(size.height // 3, 0, 1, size.width),
    "column": lambda size: Window(0, size.width // 3, size.height, 1),
}
SIZES = [
    (Size(12, 15), Size(16, 20)),
    (Size(12, 15), Size(12, 15)),
    (Size(13, 11), Size(31, 29)),
    (Size(25, 31), Size(14, 17)),
]


Resized = tuple[Callable[[Tensor, Part | None], Tensor], Callable[[Window], Window]]


def ways(here: Size, there: Size) -> dict[str, Resized]:
    """Each resize of `here` to `there`, and what it says it must know of `here` for a window."""
    scale = 1.01 * there.height / here.height
    return {
        "stretch": (
            lambda x, part: stretch(x, there, part=part),
            lambda window: stretch_source(here, there, window),
        ),
        "resize": (
            lambda x, part: resize(x, there, part=part),
            lambda window: resize_source(here, there, window),
        ),
        "resize by a scale": (
            lambda x, part: resize(x, there, scale=scale, part=part),
            lambda window: resize_source(here, there, window, scale=scale),
        ),
        "8 bits": (
            lambda x, part: resize(x, there, quantize=True, part=part),
            lambda window: resize_source(here, there, window),
        ),
    }


@pytest.mark.parametrize(("here", "there"), SIZES, ids=str)
@pytest.mark.parametrize("way", ["stretch", "resize", "resize by a scale", "8 bits"])
@pytest.mark.parametrize("place", WINDOWS)
def test_a_part_of_a_resized_image_is_cut_from_the_whole(
    place: str, way: str, here: Size, there: Size
) -> None:
    run, source_of = ways(here, there)[way]
    x = noise(2, 3, *here, seed=4).clamp(-1, 1)
    window = WINDOWS[place](there)
    source = source_of(window)
    expected = window.cut(run(x, None))
    assert difference(run(source.cut(x), Part(window, source, here)), expected) < 1e-12
    wider = source.grown(2, here)  # more than it takes
    assert difference(run(wider.cut(x), Part(window, wider, here)), expected) < 1e-12


def cells(source: Window, edge: str) -> tuple[slice, slice]:
    """The outermost line of a window at one of its edges."""
    rows, columns = (slice(side.start, side.stop) for side in (source.rows, source.columns))
    return {
        "top": (slice(rows.start, rows.start + 1), columns),
        "bottom": (slice(rows.stop - 1, rows.stop), columns),
        "left": (rows, slice(columns.start, columns.start + 1)),
        "right": (rows, slice(columns.stop - 1, columns.stop)),
    }[edge]


@pytest.mark.parametrize(("here", "there"), SIZES, ids=str)
@pytest.mark.parametrize("way", ["stretch", "resize", "resize by a scale"])
@pytest.mark.parametrize("place", [place for place in WINDOWS if place != "whole"])
def test_a_part_of_a_resized_image_needs_its_source_and_no_more(
    place: str, way: str, here: Size, there: Size
) -> None:
    """What lies around does not matter, even where it is nothing; every line of it does."""
    run, source_of = ways(here, there)[way]
    x = 0.2 * noise(1, 1, *here, seed=5).clamp(-1, 1)
    window = WINDOWS[place](there)
    source = source_of(window)
    expected = window.cut(run(x, None))
    around = noise(1, 1, *here, seed=6).clamp(-1, 1)
    source.cut(around).copy_(source.cut(x))
    assert difference(window.cut(run(around, None)), expected) < 1e-12
    lines = []
    if window.height < there.height:
        lines += ["top", "bottom"]
    if window.width < there.width:
        lines += ["left", "right"]
    for line in lines:
        changed = x.clone()
        rows, columns = cells(source, line)
        changed[..., rows, columns] += 0.5
        assert difference(window.cut(run(changed, None)), expected) > 1e-9, line


def test_what_is_added_to_a_stretched_part_is_added_to_the_whole() -> None:
    here, there, window = Size(9, 8), Size(20, 17), Window(3, 5, 7, 6)
    x, plus = noise(2, 3, *here), noise(2, 3, *there, seed=1)
    source = stretch_source(here, there, window)
    found = stretch(source.cut(x), there, window.cut(plus), part=Part(window, source, here))
    assert difference(found, window.cut(stretch(x, there) + plus)) < 1e-12
    assert difference(stretch(x, there, plus), stretch(x, there) + plus) < 1e-12


def test_gradients_flow_through_a_part_and_what_is_added_to_it() -> None:
    here, there, window = Size(5, 6), Size(9, 8), Window(3, 0, 3, 4)
    source = stretch_source(here, there, window)
    x = source.cut(noise(1, 2, *here)).clone().requires_grad_()
    plus = noise(1, 2, 3, 4, seed=1).requires_grad_()
    part = Part(window, source, here)
    assert gradcheck(lambda x, plus: stretch(x, there, plus, part=part), (x, plus))
    assert gradgradcheck(lambda x, plus: stretch(x, there, plus, part=part), (x, plus))


# Noise in blocks ---------------------------------------------------------------------------------

LARGE = Size(2 * BLOCK + 44, BLOCK + 71)


@pytest.mark.parametrize("dtype", [F32, F64], ids=["f32", "f64"])
@pytest.mark.parametrize(
    "window",
    [
        Window.whole(LARGE),
        Window(0, 0, 1, 1),
        Window(BLOCK - 1, BLOCK - 1, 2, 2),
        Window(5, 7, 2 * BLOCK, 9),
        Window(BLOCK, BLOCK, BLOCK, 71),
        Window(2 * BLOCK - 3, 11, 47, BLOCK + 60),
        Window(LARGE.height - 1, LARGE.width - 1, 1, 1),
    ],
    ids=str,
)
def test_a_window_of_noise_is_cut_from_the_whole(window: Window, dtype: torch.dtype) -> None:
    noise = Noise((3, 4), 3, LARGE, torch.zeros((), dtype=dtype))
    found = noise.drawn(window)
    assert torch.equal(found, window.cut(noise.drawn()))
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert noise.shape == (2, 3, *LARGE)


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


# Decoding in tiles -------------------------------------------------------------------------------

GENERATORS: dict[str, Recipe] = {
    "stretched edges": SMALL_CONSINGAN,
    "zero edges": with_overrides(SMALL_CONSINGAN, {"generator.edge": "zero"}),
    "fixed noise": with_overrides(SMALL_CONSINGAN, {"generator.anchor": "noise"}),
    "cascade": SMALL_SINGAN,
    "cascade of 8 bits": with_overrides(SMALL_SINGAN, {"generator.quantize": "true"}),
    "cascade without norm": with_overrides(SMALL_SINGAN, {"generator.norm": "none"}),
    "cascade of a hypernetwork": with_overrides(
        SMALL_SINGAN,
        {
            "generator.norm": "none",
            "generator.noise_border": "finer",
            "generator.base_noise": "color",
            "generator.enlarging": "bilinear",
        },
    ),
}
NORMED: dict[str, Recipe] = {
    "growing": with_overrides(SMALL_CONSINGAN, {"generator.norm": "image"}),
    "involutions": with_overrides(SMALL_CONSINGAN, {"generator.body": '{"type": "involution"}'}),
    "cascade": with_overrides(SMALL_SINGAN, {"generator.norm": "image"}),
}


def small_tiles(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    monkeypatch.setattr(tiles, "TILE", side)
    monkeypatch.setattr(tiles, "WHOLE", 100)


def entered(g: Cascade | Growing, latent: Latent) -> Injection:
    """An image at the level where one may enter in the middle, or at the start."""
    level = 2 if isinstance(g, Cascade) else 0
    size = latent.sizes[max(level - 1, 0)]
    return Injection(level, noise(latent.batch, 3, *size, seed=8).mul(0.5).clamp(-1, 1))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(
    ("size", "side"),
    [(Size(26, 30), 24), (Size(41, 30), 16), (Size(22, 63), 9), (Size(70, 65), 32)],
    ids=str,
)
def test_tiles_make_the_same_image(
    name: str, size: Size, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of noise, of noise over a kept layout, and with an image that enters."""
    g, example = grown(GENERATORS[name])
    ladder = example.ladder
    latent = g.draw(ladder.sizes_for(size), [5, 6])
    entry = entered(g, latent)
    cases: list[tuple[Latent, Injection | None]] = [(latent, None), (latent, entry)]
    if size == ladder.finest:
        cases += [(g.anchor(), None), (splice(g.anchor(), latent, 2), None)]
    whole = [g.decode(*case) for case in cases]
    small_tiles(monkeypatch, side)
    windows = list(in_tiles(size))
    assert len(windows) > 1
    covered = torch.zeros(size)
    for window in windows:
        window.cut(covered).add_(1)
    assert (covered == 1).all()
    for case, expected in zip(cases, whole, strict=True):
        assert difference(g.decode(*case), expected) < 1e-10
    assert difference(whole[0], whole[1]) > 1e-3
    newest = len(latent.sizes) - 1
    assert difference(g.decode(flawed(latent, newest)), whole[0]) > 1e-10


@pytest.mark.parametrize("name", NORMED)
def test_an_image_normed_as_a_whole_is_decoded_in_one_piece(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    g, example = grown(NORMED[name])
    latent = g.draw(example.ladder.sizes_for(Size(41, 30)), [5, 6])
    whole = [g.decode(latent), g.decode(latent, entered(g, latent))]
    small_tiles(monkeypatch, 16)
    assert torch.equal(g.decode(latent), whole[0])
    assert torch.equal(g.decode(latent, entered(g, latent)), whole[1])


@pytest.mark.parametrize("size", [Size(9, 11), Size(10, 10), Size(11, 10), Size(61, 17)], ids=str)
def test_images_are_cut_into_tiles_from_a_number_of_pixels_on(
    size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_tiles(monkeypatch, 8)
    windows = list(in_tiles(size))
    assert (windows == [Window.whole(size)]) == (size.height * size.width <= 100)
    assert all(max(window[2:]) <= 8 for window in windows) == (len(windows) > 1)


# Numbers of 16 bits ------------------------------------------------------------------------------


def trained(
    recipe: Recipe, settings: dict[str, str], precision: Precision, dtype: torch.dtype = F32
) -> Trainer:
    recipe, image = with_overrides(recipe, settings), photo()
    pixels = Photo(image.pixels.to(dtype), image.channels)
    trainer = Trainer(pixels, recipe, seed=3, device="cpu", precision=precision, dtype=dtype)
    for _ in trainer:
        pass
    return trainer


@pytest.mark.parametrize("recipe", [SMALL_CONSINGAN, SMALL_SINGAN], ids=lambda r: r.name)
def test_casts_to_bfloat16_follow_the_weights(recipe: Recipe) -> None:
    """A trained generator draws what a fresh one with its weights draws."""
    settings = {"training.steps": "2", "training.lr_generator": "0.01"}
    trainer = trained(recipe, settings, "bf16")
    g = trainer.learner
    fresh = recipe.generator.build(channels=3, ladder=trainer.example.ladder)
    for _ in trainer.example.ladder.sizes:
        fresh.extend(None)
    fresh.load_state_dict(g.state_dict())
    use_precision(fresh, "bf16")
    latent = g.draw(g.ladder.sizes, [5, 6])
    image = g.decode(latent)
    assert torch.equal(fresh.decode(latent), image)

    for parameter in g.parameters():  # as an optimizer does, in place
        parameter.data.mul_(1.5)
    use_precision(g, "bf16")
    fresh.load_state_dict(g.state_dict())
    assert not torch.equal(fresh.decode(latent), image)


def test_a_cast_is_renewed_when_an_optimizer_moves_the_weights() -> None:
    """Whatever changes them in place; and kept while they rest."""
    conv = Conv(3, 4)
    nn.init.normal_(conv.weight)
    nn.init.zeros_(conv.bias)
    use_precision(conv, "bf16")
    x = noise(1, 3, 6, 6, dtype=F32)
    before = conv(x)
    kept = conv.link(torch.bfloat16, None).weight
    assert conv.link(torch.bfloat16, None).weight is kept
    adam = torch.optim.Adam(conv.parameters(), lr=0.1)
    conv(x).float().sum().backward()
    adam.step()
    after = conv(x)
    assert not torch.equal(after, before)
    expected = F.conv2d(x.bfloat16(), conv.weight.bfloat16(), conv.bias.bfloat16())
    assert torch.equal(after, expected)


@pytest.mark.parametrize("recipe", [SMALL_CONSINGAN, SMALL_SINGAN], ids=lambda r: r.name)
def test_a_model_draws_in_bfloat16_about_what_it_draws_in_float32(recipe: Recipe) -> None:
    g, example = grown(recipe)
    g.float()
    latent = g.draw(example.ladder.sizes, [5, 6])
    exact = g.decode(latent)
    use_precision(g, "bf16")
    rounded = g.decode(latent)
    assert rounded.dtype == F32
    assert 0 < (rounded - exact).abs().mean() < 0.02
    use_precision(g, "fp32")
    assert torch.equal(g.decode(latent), exact)


# Batches and memory ------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [*GENERATORS, "growing, normed", "cascade, normed"])
def test_a_picture_does_not_depend_on_its_batch(
    name: str, precision: Literal["fp32", "bf16"]
) -> None:
    recipe = GENERATORS.get(name) or NORMED[name.split(",")[0]]
    g, _ = grown(recipe)
    g.float()
    use_precision(g, precision)
    together = sample(g, [5, 6, 7, 8, 9])
    for batch in ([6], [7, 5], [9, 8, 6]):
        for image, seed in zip(sample(g, batch), batch, strict=True):
            assert difference(image, together[seed - 5]) < (1e-5 if precision == "fp32" else 0.02)


@pytest.mark.parametrize("recipe", [SMALL_CONSINGAN, SMALL_SINGAN], ids=lambda r: r.name)
def test_images_made_again_train_as_images_kept(recipe: Recipe) -> None:
    """Weights and running statistics; not how many passes these have seen, which nobody asks."""
    kept, again = (
        trained(recipe, {"training.recompute": setting}, "fp32", F64).learner.state_dict()
        for setting in ("false", "true")
    )
    assert kept.keys() == again.keys()
    for name, value in kept.items():
        if not name.endswith("num_batches_tracked"):
            assert difference(value, again[name]) < 1e-12, name


def test_an_item_of_a_latent_is_its_sample_alone() -> None:
    """Drawn or not."""
    g, example = grown(SMALL_SINGAN)
    lazy = g.draw(example.ladder.sizes, [5, 6, 7])
    alone = g.draw(example.ladder.sizes, [6]).tensors()
    for latent in (lazy, Latent(lazy.tensors(), lazy.sizes)):
        item = latent.item(1)
        assert item.batch == 1
        assert all(torch.equal(a, b) for a, b in zip(item.tensors(), alone, strict=True))
