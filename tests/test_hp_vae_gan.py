"""HP-VAE-GAN: sizes, networks, losses and training steps equal those of a plain transcription.

The transcription below was written from the paper and the published code's facts, on tensors by
name, apart from the package's networks. Everything runs in float64. Every comparison is also made
with a small error, which it must see.
"""

import json
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singleimage import PRESETS, Channels, Photo, Trainer, with_overrides
from singleimage.apps.sample import reconstruct, sample
from singleimage.apps.upscale import upscale
from singleimage.errors import RecipeError, SizeError
from singleimage.generators import tiles
from singleimage.generators.base import Injection
from singleimage.generators.patch_vae import PatchVAE
from singleimage.images.clip import Clip
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Noise, seed_for
from singleimage.multiscale.pyramid import Pyramid, WidthPyramid
from singleimage.multiscale.resample import bilinear, enlarge
from singleimage.nn.second_order import convolve
from singleimage.nn.spectral import SpectralConv, SpectralCriticSpec
from singleimage.objectives.variational import divergence_from_normal
from singleimage.recipes.base_input import AugmentedInput
from singleimage.recipes.overrides import fields_of
from singleimage.recipes.presets import CONSINGAN, HP_VAE_GAN, SINGAN
from singleimage.recipes.recipe import Recipe
from singleimage.recipes.tasks import for_video
from singleimage.training.planning import count_parameters, plan_training

F64 = torch.float64
TOLERANCE = 1e-10
FIELDS = {
    "pyramid.width": "30",
    "pyramid.min_width": "13",
    "pyramid.quantize": "false",
    "generator.width": "4",
    "generator.latent": "5",
    "generator.depth": "3",
    "critic.width": "4",
    "critic.depth": "3",
    "training.steps": "2",
    "training.clip_generator": "0.5",  # so low that it always acts
}
SMALL = with_overrides(HP_VAE_GAN, FIELDS)
"""Five levels: three variational, and two with a critic."""
MOVING = with_overrides(for_video(HP_VAE_GAN), FIELDS | {"pyramid.strides": "[3, 2, 1]"})
"""The same for clips of seven frames; the levels have 3, 3, 4, 4 and 7."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def photo() -> Photo:
    return Photo(noise(3, 26, 30, seed=77).mul(0.6).clamp(-1, 1), Channels(mode="RGB"))


def clip_of(frames: int) -> Clip:
    pixels = noise(3, frames, 26, 30, seed=77).mul(0.6).clamp(-1, 1)
    return Clip(pixels, Channels(mode="RGB"), fps=12.0)


def trainer_of(recipe: Recipe = SMALL, **settings: Any) -> Trainer:
    settings = {"seed": 3, "device": "cpu", "precision": "fp32", "dtype": F64} | settings
    return Trainer(photo(), recipe, **settings)


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a.detach() - b.detach()).abs().max().item()


# The pyramid --------------------------------------------------------------------------------------


PUBLISHED = "24x33 30x41 38x51 48x65 60x81 76x102 97x129 121x162 153x204 192x256"


def test_sizes_are_those_of_the_published_code() -> None:
    ladder = WidthPyramid().plan(Size(188, 250))
    assert " ".join(map(str, ladder.sizes)) == PUBLISHED
    assert ladder.ratio == pytest.approx(0.7937, abs=1e-4)
    assert ladder.reduction == 256 / 250  # enlarged


@pytest.mark.parametrize("size", [Size(500, 250), Size(90, 640), Size(256, 256)], ids=str)
def test_widths_lead_and_heights_follow(size: Size) -> None:
    ladder = WidthPyramid().plan(size)
    assert [s.width for s in ladder.sizes] == [33, 41, 51, 65, 81, 102, 129, 162, 204, 256]
    for height, width in ladder.sizes:
        assert height == math.floor(width * (size.height / size.width))


def test_other_sizes_of_output_scale_each_level() -> None:
    ladder = WidthPyramid().plan(Size(188, 250))
    sizes = ladder.sizes_for(Size(96, 512))
    assert sizes[0] == Size(12, 66)
    assert sizes[-1] == Size(96, 512)
    assert ladder.sizes_for(ladder.finest) == ladder.sizes


def test_photos_that_do_not_fit_are_refused_with_what_to_do() -> None:
    with pytest.raises(SizeError, match=r"too wide.*pyramid.min_width=40 or more"):
        WidthPyramid().plan(Size(40, 400))
    assert WidthPyramid(min_width=40).plan(Size(40, 400)).sizes[0].height >= 4
    with pytest.raises(SizeError, match=r"set pyramid.width to more than"):
        WidthPyramid(width=32).plan(Size(40, 40))


def plain_bilinear(row: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    """OpenCV's rule for one axis: pixel centers, edges repeated."""
    places = (np.arange(length) + 0.5) * len(row) / length - 0.5
    return np.interp(places, np.arange(len(row)), row)


@pytest.mark.parametrize(("here", "there"), [(20, 13), (13, 20), (40, 5)])
def test_levels_are_made_by_plain_bilinear_interpolation(here: int, there: int) -> None:
    rows = noise(1, 1, 1, here).clamp(-1, 1)
    found = bilinear(rows, Size(1, there))[0, 0, 0]
    expected = plain_bilinear(rows[0, 0, 0].numpy(), there)
    assert np.abs(found.numpy() - expected).max() < 1e-12
    levels = bilinear(rows, Size(1, there), quantize=True).add(1).mul(127.5)
    assert difference(levels, levels.round()) < 1e-9
    assert np.abs(levels[0, 0, 0].numpy() / 127.5 - 1 - expected).max() <= 0.5 / 127.5 + 1e-9


def test_every_level_is_made_from_the_photo_itself() -> None:
    pixels = photo().pixels[None]
    pyramid = Pyramid.build(pixels, SMALL.pyramid)
    for image, size in zip(pyramid.images, pyramid.ladder.sizes, strict=True):
        assert torch.equal(image, F.interpolate(pixels, size, mode="bilinear"))


def test_between_levels_images_are_enlarged_with_aligned_corners() -> None:
    x = noise(2, 3, 9, 11).requires_grad_()
    found = enlarge(x, Size(14, 18))
    expected = F.interpolate(x, (14, 18), mode="bilinear", align_corners=True)
    assert difference(found, expected) < 1e-12
    weights = noise(*found.shape, seed=1)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected))
    assert difference(ours, theirs) < 1e-12


# Networks -----------------------------------------------------------------------------------------


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_networks_have_the_published_numbers_of_parameters() -> None:
    ladder = HP_VAE_GAN.pyramid.plan(Size(188, 250))
    assert count_parameters(HP_VAE_GAN, ladder) == (2_184_670, 187_009)
    assert count_parameters(HP_VAE_GAN, ladder.truncated(3))[1] == 0  # no critic there
    with torch.device("meta"):
        g = HP_VAE_GAN.generator.build(channels=3, ladder=ladder)
        for _ in range(3):
            g.extend(None)
    assert isinstance(g, PatchVAE)
    assert [count(g.encoder), *map(count, g.levels)] == [223_360, 260_931, 188_931, 188_931]


def test_spectral_norm_tends_to_the_largest_singular_value() -> None:
    layer = SpectralConv(3, 7).double()
    layer.conv.weight.data = noise(7, 3, 3, 3)
    layer.direction.copy_(F.normalize(noise(7, seed=2), dim=0))
    layer.train()
    first, later = (
        float(torch.linalg.matrix_norm(layer.normalized(passes).detach().flatten(1), ord=2))
        for passes in (1, 200)
    )
    assert first > 1.0001
    assert abs(later - 1) < 1e-6
    before = layer.direction.clone()
    layer.eval()
    layer.normalized(5)
    assert torch.equal(layer.direction, before)


@pytest.mark.parametrize("frames", [(), (3,)])
@pytest.mark.parametrize("padding", [0, 1])
def test_gradients_of_padded_convolutions_can_be_differentiated_again(
    padding: int, frames: tuple[int, ...]
) -> None:
    kernel = (3,) * (2 + len(frames))
    inputs = [noise(2, 2, *frames, 4, 5), noise(3, 2, *kernel, seed=1), noise(3, seed=2)]
    arguments = tuple(x.requires_grad_() for x in inputs)

    def ours(*given: Tensor) -> Tensor:
        return convolve(*given, padding=padding)

    assert difference(ours(*arguments), plain_conv(*arguments, padding=padding)) < 1e-12
    assert torch.autograd.gradcheck(ours, arguments)
    assert torch.autograd.gradgradcheck(ours, arguments)


@pytest.mark.parametrize("frames", [(), (4,)])
def test_the_critic_judges_as_plain_autograd_does(frames: tuple[int, ...]) -> None:
    critic = SpectralCriticSpec(width=4, depth=3, axes=3 if frames else 2).build(
        level=0, channels=3, generator=torch.Generator().manual_seed(1)
    )
    critic.double().eval()
    images, between = noise(3, 3, *frames, 8, 9), noise(2, 3, *frames, 8, 9, seed=1)
    assert critic(images).shape == (3, 1, *frames, 8, 9)
    said = critic.judge(images[:2], images[2:], between, 0)
    means = critic(images).flatten(1).mean(1)
    assert difference(torch.cat([said.real, said.fake]), means) < 1e-12
    state = {name: value.detach() for name, value in critic.state_dict().items()}
    point = between.clone().requires_grad_()
    (expected,) = torch.autograd.grad(critic_map(state, point, 1).sum(), point)
    assert difference(said.gradient, expected) < 1e-12


def test_the_divergence_is_that_of_normal_distributions() -> None:
    mean, log_variance = noise(2, 3, 4, 5), noise(2, 3, 4, 5, seed=1)
    here = torch.distributions.Normal(mean, log_variance.mul(0.5).exp())
    unit = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    expected = torch.distributions.kl_divergence(here, unit).mean()
    assert difference(divergence_from_normal(mean, log_variance), expected) < 1e-12


# The transcription --------------------------------------------------------------------------------

State = dict[str, Tensor]


def plain_conv(x: Tensor, weight: Tensor, bias: Tensor, padding: int = 1) -> Tensor:
    return (F.conv3d if x.dim() == 5 else F.conv2d)(x, weight, bias, padding=padding)


def conv(state: State, name: str, x: Tensor) -> Tensor:
    return plain_conv(x, state[f"{name}.weight"], state[f"{name}.bias"])


def spectral(state: State, name: str, iterations: int) -> Tensor:
    """Weights over their largest singular value, after so many iterations, which are kept."""
    weight, u = state[f"{name}.conv.weight"], state[f"{name}.direction"]
    flat = weight.detach().reshape(len(weight), -1)
    for _ in range(iterations):
        v = flat.T @ u
        v = v / v.norm()
        u = flat @ v
        u = u / u.norm()
    state[f"{name}.direction"] = u
    return weight / torch.einsum("o,oi,i->", u, weight.reshape(len(weight), -1), v)


def divided(state: State, prefix: str, iterations: int) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the layers with spectral norm."""
    names = [name.removesuffix(".direction") for name in state if name.endswith("direction")]
    return [
        (spectral(state, name, iterations), state[f"{name}.conv.bias"])
        for name in names
        if name.startswith(prefix)
    ]


def apply(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    for weight, bias in layers:
        x = F.leaky_relu(plain_conv(x, weight, bias), 0.2)
    return x


def encode(state: State, x: Tensor, iterations: int = 1) -> tuple[Tensor, Tensor]:
    features = apply(divided(state, "encoder.trunk", iterations), x)
    return conv(state, "encoder.mean", features), conv(state, "encoder.log_variance", features)


def normed_net(state: State, level: int, x: Tensor) -> Tensor:
    """Convolutions with batch norm, all by the statistics of the batch."""
    i, prefix = 0, f"levels.{level}"
    while f"{prefix}.convs.{i}.weight" in state:
        x = conv(state, f"{prefix}.convs.{i}", x)
        all_but_channels = [0, *range(2, x.dim())]
        center = x - x.mean(all_but_channels, keepdim=True)
        x = center / (center.square().mean(all_but_channels, keepdim=True) + 1e-5).sqrt()
        scale, shift = (
            state[f"{prefix}.norms.{i}.{n}"].view(-1, *[1] * (x.dim() - 2))
            for n in ("weight", "bias")
        )
        x = F.leaky_relu(x * scale + shift, 0.2)
        i += 1
    return conv(state, f"{prefix}.last", x)


Shape = tuple[int, ...]


def block(state: State, level: int, below: Tensor, shape: Shape, noise: Tensor | float) -> Tensor:
    mode = "trilinear" if below.dim() == 5 else "bilinear"
    up = F.interpolate(below, tuple(shape), mode=mode, align_corners=True)
    return torch.tanh(normed_net(state, level, up + noise) + up)


def generate(
    state: State,
    z: Tensor,
    noises: list[Tensor] | None,
    sizes: Sequence[Shape],
    amplitudes: list[float],
    cut: int = 0,
    silent: int = 0,
) -> list[Tensor]:
    """The images of all levels; what level `cut` - 1 made is detached.

    Up to level `silent` no noise is added.
    """
    images = [torch.tanh(normed_net(state, 0, z))]
    for level in range(1, len(sizes)):
        below = images[-1].detach() if level == cut else images[-1]
        still = noises is None or level <= silent
        drawn = 0.0 if noises is None or still else amplitudes[level] * noises[level]
        images.append(block(state, level, below, sizes[level], drawn))
    return images


def critic_map(state: State, x: Tensor, iterations: int) -> Tensor:
    return conv(state, "last", apply(divided(state, "trunk", iterations), x))


def plain_state(module: nn.Module) -> State:
    """Copies of parameters and buffers by name; parameters are leaves with gradients."""
    parameters = {name for name, _ in module.named_parameters()}
    return {
        name: value.detach().clone().requires_grad_(name in parameters)
        for name, value in module.state_dict().items()
    }


def under(state: State, *prefixes: str) -> list[Tensor]:
    return [value for name, value in state.items() if name.startswith(prefixes) and value.is_leaf]


def clip(tensors: list[Tensor], longest: float) -> None:
    length = math.sqrt(sum(float(t.grad.square().sum()) for t in tensors if t.grad is not None))
    for tensor in tensors:
        if tensor.grad is not None and length > longest:
            tensor.grad.mul_(longest / (length + 1e-6))


class Transcribed:
    """The published training, level by level, given all that is random."""

    flaws: dict[str, Any]

    def __init__(self, **flaws: Any) -> None:
        self.flaws = flaws
        self.g: State = {}
        self.d: State = {}
        self.amplitudes = [1.0]

    def get(self, name: str, value: Any) -> Any:
        return self.flaws.get(name, value)

    def begin(self, level: int) -> None:
        """Fresh optimizers; the newest block and, at the hand-over, the critic are given."""
        lr, scale = 5e-4, self.get("lr_scale", 0.2)
        self.level = level
        if level < 3:
            own = ("encoder.", "levels.0.")
            groups = [{"params": trained(under(self.g, *own)), "lr": lr * scale**level}]
        else:
            groups = []
        if level > 0:
            groups.append({"params": trained(under(self.g, f"levels.{level}.")), "lr": lr})
        self.g_optimizer = torch.optim.Adam(groups, betas=(0.5, 0.999))
        if level >= 3:
            self.d_optimizer = torch.optim.Adam(trained([*self.d.values()]), 5e-4, (0.5, 0.999))

    def sample(self, coarsest: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = encode(self.g, coarsest)
        return mean + (log_variance / 2).exp() * epsilon, mean, log_variance

    def calibrate(self, real: Tensor, coarsest: Tensor, epsilon: Tensor, sizes: Any) -> None:
        with torch.no_grad():
            z, _, _ = self.sample(coarsest, epsilon)
            error = F.mse_loss(generate(self.g, z, None, sizes, [])[-1], real).sqrt()
        self.amplitudes.append(0.1 * float(error) / self.get("batch", len(real)))

    def variational_step(self, a: dict[str, Any]) -> list[Tensor]:
        z, mean, log_variance = self.sample(a["coarsest"], a["epsilon"])
        images = generate(self.g, z, None, a["sizes"], self.amplitudes)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        terms = [
            self.get("weight", 10.0) * F.mse_loss(images[-1], a["real"]),
            10.0 * F.mse_loss(images[0], a["coarsest"]),
            self.get("divergence_weight", 1.0) * divergence.mean(),
        ]
        self.step_generator(sum(terms, torch.zeros((), dtype=F64)))
        return terms

    def adversarial_step(self, a: dict[str, Any]) -> list[Tensor]:
        moving = a["real"].dim() == 5
        silent = self.get("silent", 2 if moving else 0)  # no noise but where there is a critic
        made = generate(self.g, a["maps"][0], a["maps"], a["sizes"], self.amplitudes, 3, silent)
        fake = made[-1]
        layers = divided(self.d, "trunk", self.get("iterations", 3))  # once for all three maps
        shown = fake.detach()
        real_map, fake_map = (conv(self.d, "last", apply(layers, x)) for x in (a["real"], shown))
        between = (a["share"] * a["real"] + (1 - a["share"]) * shown).requires_grad_()
        total = conv(self.d, "last", apply(layers, between)).sum()
        (slope,) = torch.autograd.grad(total, between, create_graph=True)
        penalty = ((slope.square().sum(1).sqrt() - 1) ** 2).mean()
        critic_terms = [-real_map.mean(), fake_map.mean(), self.get("penalty", 0.1) * penalty]
        self.d_optimizer.zero_grad()
        torch.stack(critic_terms).sum().backward()
        self.d_optimizer.step()

        z, _, _ = self.sample(a["coarsest"], a["epsilon"])
        rebuilt = generate(self.g, z, None, a["sizes"], self.amplitudes, cut=3)[-1]
        terms = [
            -critic_map(self.d, fake, 1).mean(),
            self.get("weight", 10.0) * F.mse_loss(rebuilt, a["real"]),
        ]
        self.step_generator(torch.stack(terms).sum())
        return [*critic_terms, *terms]

    def step_generator(self, loss: Tensor) -> None:
        everything = trained([*self.g.values()])
        for tensor in everything:
            tensor.grad = None
        loss.backward()
        if self.get("clip the newest alone", False):
            everything = [t for group in self.g_optimizer.param_groups for t in group["params"]]
        clip(everything, self.get("clip", 0.5))
        self.g_optimizer.step()


def trained(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.requires_grad]


# Whole trainings ----------------------------------------------------------------------------------

Flaw = Callable[[dict[str, Any]], dict[str, Any]]
"""What to change in what is given to a step."""


def nudged(x: Tensor) -> Tensor:
    values = x.detach().flatten().clone()
    values[len(values) // 2] += 1e-3
    return values.view(x.shape)


def posterior_noise(learner: PatchVAE, seed: int, batch: int) -> Tensor:
    seeds = tuple(seed_for(seed_for(seed, "posterior"), i) for i in range(batch))
    ladder = learner.ladder
    return Noise(seeds, 5, ladder.sizes[0], learner.amplitudes, ladder.frames(0)).drawn()


def share_of_the_real(seed: int) -> float:
    generator = torch.Generator().manual_seed(seed_for(seed, "uniform", 1))
    return torch.rand((), generator=generator, dtype=F64).item()


class Compared(Trainer):
    """A training beside its transcription, from the same first weights."""

    def __init__(self, paper: Transcribed, recipe: Recipe) -> None:
        given = clip_of(7) if recipe.learns_clips else photo()
        super().__init__(given, recipe, seed=3, device="cpu", precision="fp32", dtype=F64)
        self.paper = paper
        self.copies = recipe.training.batch
        self.reals = [x.expand(self.copies, *x.shape[1:]) for x in self.example.images]
        self.found: dict[str, float] = {}

    @property
    def vae(self) -> PatchVAE:
        assert isinstance(self.learner, PatchVAE)
        return self.learner

    def note(self, kind: str, ours: Tensor | float, theirs: Tensor | float) -> None:
        a, b = (torch.as_tensor(value, dtype=F64) for value in (ours, theirs))
        self.found[kind] = max(self.found.get(kind, 0.0), difference(a, b))

    def _begin_level(self) -> None:
        super()._begin_level()
        level, sizes, paper = self.level, self.shapes(self.level), self.paper
        if level <= 1:  # fresh networks; later blocks are copies
            fresh = plain_state(self.vae)
            paper.g |= {name: value for name, value in fresh.items() if name not in paper.g}
        else:
            for name, value in list(paper.g.items()):
                if name.startswith(f"levels.{level - 1}."):
                    copy = value.detach().clone().requires_grad_(value.requires_grad)
                    paper.g[name.replace(f".{level - 1}.", f".{level}.", 1)] = copy
        if level == 3:
            assert self.players.critic is not None
            paper.d = plain_state(self.players.critic)
        if level > 0:
            epsilon = posterior_noise(self.vae, seed_for(3, level, "level"), self.copies)
            paper.calibrate(self.reals[level], self.reals[0], epsilon, sizes)
            self.note("amplitudes", self.vae.amplitudes[level], paper.amplitudes[-1])
        paper.begin(level)

    def shapes(self, level: int) -> list[Shape]:
        """Height and width, and of clips frames before them, up to a level."""
        return [self.example.ladder.shape(i) for i in range(level + 1)]

    def given(self, level: int, step: int) -> dict[str, Any]:
        """What the transcription's step needs, all that is random included."""
        seed, sizes = seed_for(3, level, step), self.example.ladder.sizes[: level + 1]
        draws = [seed_for(seed, "latent"), seed_for(seed, "latent", 1)][: self.copies]
        return {
            "real": self.reals[level],
            "coarsest": self.reals[0],
            "sizes": self.shapes(level),
            "epsilon": posterior_noise(self.vae, seed, self.copies),
            "maps": list(self.vae.draw(sizes, draws).tensors()),
            "share": share_of_the_real(seed),
        }

    def compare_weights(self, kind: str) -> None:
        for name, value in self.vae.state_dict().items():
            if name in self.paper.g and name != "amplitudes" and not before_norm(name):
                self.note(f"weights after {kind} steps", value, self.paper.g[name])
        if self.players.critic is not None:
            for name, value in self.players.critic.state_dict().items():
                self.note("critics", value, self.paper.d[name])


def largest_differences(
    *, recipe: Recipe = SMALL, levels: int = 5, given: Flaw | None = None, **flaws: Any
) -> dict[str, float]:
    """Of each kind, through a training of so many levels."""
    paper = Transcribed(**flaws)
    trainer = Compared(paper, recipe)
    for progress in trainer:
        kind = "variational" if progress.level < 3 else "adversarial"
        arguments = trainer.given(progress.level, progress.step - 1)
        arguments |= given(arguments) if given else {}
        step = paper.variational_step if kind == "variational" else paper.adversarial_step
        for ours, theirs in zip(progress.losses.values(), step(arguments), strict=True):
            trainer.note(f"{kind} losses", ours, theirs)
        trainer.compare_weights(kind)
        if progress.level_done and progress.level == levels - 1:
            break
    return trainer.found


def before_norm(name: str) -> bool:
    """Biases that a norm takes out again: their gradient is rounding, which Adam magnifies."""
    return ".convs." in name and name.endswith("bias") and name.startswith("levels.")


@pytest.mark.parametrize("recipe", [SMALL, MOVING], ids=["photo", "clip"])
def test_training_equals_its_transcription(recipe: Recipe) -> None:
    found = largest_differences(recipe=recipe)
    kinds = {"amplitudes", "critics"}
    for kind in ("variational", "adversarial"):
        kinds |= {f"{kind} losses", f"weights after {kind} steps"}
    assert set(found) == kinds
    assert max(found.values()) < TOLERANCE, found


def test_the_comparison_sees_noise_where_clips_have_none() -> None:
    found = largest_differences(recipe=MOVING, silent=0)
    assert found["weights after adversarial steps"] > TOLERANCE
    assert found["weights after variational steps"] < TOLERANCE


FLAWS: dict[str, dict[str, Any]] = {
    "weight of the reconstruction": {"weight": 10.001},
    "weight of the divergence": {"divergence_weight": 1.001},
    "rate of encoder and decoder": {"lr_scale": 0.2001},
    "clipping": {"clip": 0.5005},
    "amplitude not over the batch": {"batch": 1},
}
CRITIC_FLAWS: dict[str, dict[str, Any]] = {
    "penalty": {"penalty": 0.1001},
    "power iterations": {"iterations": 2},
}
GIVEN: dict[str, Flaw] = {
    "photo": lambda a: {"real": nudged(a["real"])},
    "photo at level 0": lambda a: {"coarsest": nudged(a["coarsest"])},
    "one sample of the posterior": lambda a: {"epsilon": a["epsilon"][:1].expand(2, -1, -1, -1)},
    "posterior": lambda a: {"epsilon": nudged(a["epsilon"])},
}
GIVEN_CRITIC: dict[str, Flaw] = {
    "noise of level 0": lambda a: {"maps": [nudged(a["maps"][0]), *a["maps"][1:]]},
    "noise": lambda a: {"maps": [*a["maps"][:-1], nudged(a["maps"][-1])]},
    "share of the real image": lambda a: {"share": a["share"] + 0.03},
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_comparison_sees_a_wrong(flaw: str) -> None:
    found = largest_differences(levels=2, **FLAWS[flaw])
    kind = "amplitudes" if flaw.startswith("amplitude") else "weights after variational steps"
    assert found[kind] > TOLERANCE


@pytest.mark.parametrize("flaw", CRITIC_FLAWS)
def test_the_comparison_sees_with_a_critic_a_wrong(flaw: str) -> None:
    found = largest_differences(**CRITIC_FLAWS[flaw])
    assert max(found["critics"], found["weights after adversarial steps"]) > TOLERANCE
    assert found["weights after variational steps"] < TOLERANCE


def test_the_comparison_sees_whether_finished_blocks_count_when_gradients_are_clipped() -> None:
    found = largest_differences(**{"clip the newest alone": True})
    assert found["weights after adversarial steps"] > TOLERANCE


@pytest.mark.parametrize("flaw", GIVEN)
def test_the_comparison_sees_another(flaw: str) -> None:
    found = largest_differences(levels=2, given=GIVEN[flaw])
    assert found["weights after variational steps"] > TOLERANCE


@pytest.mark.parametrize("flaw", GIVEN_CRITIC)
def test_the_comparison_sees_with_a_critic_another(flaw: str) -> None:
    found = largest_differences(levels=4, given=GIVEN_CRITIC[flaw])
    assert max(found["critics"], found["weights after adversarial steps"]) > TOLERANCE
    assert found["weights after variational steps"] < TOLERANCE


# Deviations by name -------------------------------------------------------------------------------


def test_the_amplitude_without_the_published_division_is_larger_by_the_batch() -> None:
    trainers = [
        trainer_of(with_overrides(SMALL, {"generator.amplitude_over_batch": keep}))
        for keep in ("true", "false")
    ]
    for trainer in trainers:
        for progress in trainer:
            if progress.level == 1:
                break
    ours, larger = (trainer.learner.amplitudes[1] for trainer in trainers)
    assert difference(2 * ours, larger) < 1e-15


def test_detached_blocks_get_no_gradients_and_steps_differ_by_the_clipping_alone() -> None:
    loose = with_overrides(SMALL, {"training.clip_generator": "null"})
    plain, detached, clipped, clipped_detached = (
        [*trainer_of(with_overrides(recipe, {"generator.detach_finished": detach}))][-1].losses
        for recipe in (loose, SMALL)
        for detach in ("false", "true")
    )
    for name, value in plain.items():
        assert detached[name] == pytest.approx(value, abs=1e-10)
    assert any(abs(clipped[name] - clipped_detached[name]) > 1e-8 for name in clipped)


# What moves, and what stays -----------------------------------------------------------------------


def test_levels_learn_as_published() -> None:
    trainer = trainer_of()
    before: dict[str, Tensor] = {}
    for progress in trainer:
        state = {n: v.clone() for n, v in trainer.learner.named_parameters()}
        moved = {
            n.split(".convs")[0].split(".mean")[0] for n in before if name_moved(n, before, state)
        }
        parts = {".".join(n.split(".")[:2]) if n.startswith("levels") else "encoder" for n in moved}
        if progress.step > 1:
            newest = {f"levels.{progress.level}"}
            assert parts == ({"encoder", "levels.0"} | newest if progress.level < 3 else newest)
        assert (trainer.players.critic is None) == (progress.level < 3)
        before = state


def name_moved(name: str, before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return not torch.equal(before[name], after[name])


def test_a_step_samples_the_posterior_and_applications_take_its_mean() -> None:
    trainer = trainer_of()
    for _ in trainer:
        pass
    learner = trainer.learner
    assert isinstance(learner, PatchVAE)
    learner.eval()
    mean = learner.anchor()
    assert all(torch.equal(a, b) for a, b in zip(mean.maps, learner.anchor().maps, strict=True))
    assert not any(part.any() for part in mean.tensors()[1:])
    state = {name: value.detach() for name, value in learner.state_dict().items()}
    assert difference(mean.tensors()[0], encode(state, trainer.example.images[0])[0]) < TOLERANCE
    samples = []
    for seed in (1, 2):
        learner.refresh(seed)
        samples.append(learner.bind(trainer._batch(0)).anchor().tensors()[0])
    assert samples[0].shape == (2, 5, *learner.ladder.sizes[0])
    assert difference(samples[0][:1], samples[0][1:]) > 0.1
    assert difference(*samples) > 0.1


@pytest.mark.parametrize("norm", ["image", "running"])
@pytest.mark.parametrize("size", [None, Size(31, 44)])
def test_pictures_are_those_of_the_transcription(norm: str, size: Size | None) -> None:
    """With the statistics of each image alone, or with the running ones."""
    trainer = trainer_of(with_overrides(SMALL, {"generator.decode_norm": norm}))
    for _ in trainer:
        pass
    g = trainer.learner
    assert isinstance(g, PatchVAE)
    sizes = g.ladder.sizes_for(size or g.ladder.finest)
    latent = g.draw(sizes, [5, 6])
    found = g.decode(latent)
    state, amplitudes = plain_state(g), g.amplitudes.tolist()
    for i in range(2):
        maps = list(latent.item(i).tensors())
        expected = generate(state, maps[0], maps, sizes, amplitudes)[-1]
        assert (difference(found[i : i + 1], expected) < TOLERANCE) == (norm == "image")
        maps[1] = nudged(maps[1])
        wrong = generate(state, maps[0], maps, sizes, amplitudes)[-1]
        assert difference(found[i : i + 1], wrong) > TOLERANCE
    assert reconstruct(g).shape[-2:] == g.ladder.finest
    assert sample(g, [1], tile="xy").isfinite().all()


@pytest.mark.parametrize("norm", ["image", "running"])
def test_large_pictures_are_decoded_in_tiles_if_the_norm_allows(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(with_overrides(SMALL, {"generator.decode_norm": norm}))
    for _ in trainer:
        pass
    g = trainer.learner
    sizes = g.ladder.sizes_for(Size(41, 50))
    latent = g.draw(sizes, [5, 6])
    entry = Injection(2, noise(2, 3, *sizes[1]).clamp(-1, 1))
    whole = [g.decode(latent), g.decode(latent, entry)]
    monkeypatch.setattr(tiles, "TILE", 16)
    monkeypatch.setattr(tiles, "WHOLE", 100)
    shapes = []
    g.levels[-1].register_forward_hook(lambda _, __, y: shapes.append(y.shape[-1]))
    assert difference(g.decode(latent), whole[0]) < 1e-12
    assert difference(g.decode(latent, entry), whole[1]) < 1e-12
    assert (len(shapes) > 2) == (norm == "running")


def test_levels_of_a_phase_learn_for_its_steps() -> None:
    """And the rest of the time is guessed from them."""
    recipe = with_overrides(SMALL, {"phases.0.steps": "4"})
    trainer = trainer_of(recipe)
    seen, left = [], []
    for progress in trainer:
        seen.append((progress.level, progress.step))
        left.append(progress.remaining)
    steps = [4, 4, 4, 2, 2]
    assert seen == [(i, step + 1) for i, count in enumerate(steps) for step in range(count)]
    assert left[-1] == 0
    planned = plan_training(photo(), recipe, seed=0, device="cpu")
    assert [level.steps for level in planned] == steps


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stopped_training_ends_with_the_same_weights(stop: int, precision: str) -> None:
    """Stopped in a level and between two, with a critic and without: two steps a level."""
    settings: Any = {"precision": precision, "dtype": torch.float32}
    whole, first, second = (trainer_of(**settings) for _ in range(3))
    for _ in whole:
        pass
    for _, _ in zip(range(stop), first, strict=False):
        pass
    second.load_state_dict(deepcopy(first.state_dict()))
    for _ in second:
        pass
    ours, theirs = whole.state_dict(), second.state_dict()
    for part in ("learner", "critic"):
        assert ours[part].keys() == theirs[part].keys()
        assert all(torch.equal(value, theirs[part][name]) for name, value in ours[part].items())


def test_an_enlarged_photo_has_the_size_that_was_asked_for() -> None:
    trainer = trainer_of(dtype=torch.float32)
    for _ in trainer:
        pass
    image = upscale(trainer.learner, photo().pixels[None].float(), 2)
    assert image.shape == (1, 3, 52, 60)
    assert image.isfinite().all()


def test_running_statistics_see_each_picture_of_a_step_once() -> None:
    """Though `recompute` makes the generated ones twice."""
    states = []
    for again in ("false", "true"):
        overrides = {"generator.decode_norm": "running", "training.recompute": again}
        trainer = trainer_of(with_overrides(SMALL, overrides))
        for _ in trainer:
            pass
        states.append(trainer.learner.state_dict())
    for name in states[0]:
        if name.endswith("running_var"):
            assert difference(states[0][name], states[1][name]) < 1e-12, name


# The recipe ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"generator.vae_levels": "2"}, "here these are the first 2"),
        ({"phases.1.from_level": "4"}, "here these are the first 3"),
        ({"training.batch": "0"}, "training.batch: expected `int` >= 1"),
        ({"generator.decode_norm": "batch"}, "use image or running"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(
    overrides: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        with_overrides(HP_VAE_GAN, overrides)


def test_the_hand_over_moves_in_one_piece() -> None:
    moved = {"generator.vae_levels": "2", "phases.1.from_level": "2"}
    recipe = with_overrides(SMALL, moved)
    levels = [p.level for p in trainer_of(recipe) if "adversarial" in p.losses]
    assert min(levels) == 2


def test_other_generators_take_no_variational_objective() -> None:
    with pytest.raises(ValueError, match="here these are the first 0"):
        msgspec.structs.replace(SINGAN, phases=HP_VAE_GAN.phases)
    with pytest.raises(ValueError, match="fed with noise"):
        msgspec.structs.replace(HP_VAE_GAN, base_input=AugmentedInput())


def test_recipes_of_earlier_versions_are_read_and_keep_their_digests() -> None:
    """They had one kind of critic, no batches and no clipping."""
    for recipe in (SINGAN, CONSINGAN):
        tree = json.loads(recipe.to_json())
        assert tree["critic"].pop("type") == "patch"
        del tree["training"]["batch"], tree["training"]["clip_generator"]
        del tree["training"]["restarts"]
        assert Recipe.from_json(json.dumps(tree)) == recipe
    assert SINGAN.digest() == "15b62017d240a4ae"
    assert CONSINGAN.digest() == "d3304974383d46ad"
    larger = with_overrides(SINGAN, {"training.batch": "2"})
    assert larger.digest() != SINGAN.digest()


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"meta-single", "meta-small"}))
def test_every_method_trains_in_batches(name: str) -> None:
    small = {
        "pyramid.width": "46",
        "pyramid.max_size": "40",
        "pyramid.levels": "3",
        "generator.width": "4",
        "generator.width.base": "4",
        "critic.width": "4",
        "critic.width.base": "4",
        "training.steps": "1",
        "training.batch": "3",
        "training.clip_generator": "0.1",
        "generator.embedding.width": "4",
        "generator.embedding.view": "64",
        "generator.embedding.blocks": "[1, 1, 1, 1]",
        "critic.embedding.width": "4",
        "critic.embedding.view": "64",
        "critic.embedding.blocks": "[1, 1, 1, 1]",
    }
    recipe = PRESETS[name]
    recipe = with_overrides(recipe, {k: v for k, v in small.items() if k in fields_of(recipe)})
    trainer = Trainer(
        Photo(noise(3, 34, 40).float(), Channels(mode="RGB")), recipe, seed=0, device="cpu"
    )
    for _ in trainer:
        norm = sum(
            float(p.grad.square().sum()) for p in trainer.learner.parameters() if p.grad is not None
        )
        assert norm**0.5 < 0.1 + 1e-4
        for parameter in trainer.learner.parameters():
            parameter.grad = None
    assert next(trainer.model().sample([0])).pixels.isfinite().all()
