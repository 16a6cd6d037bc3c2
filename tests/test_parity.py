"""Generators, losses and training steps equal those transcribed from the papers.

`transcription` was written from the papers and their published code, apart from this package.
Everything runs in float64, where the two differ by rounding alone: by 1e-15 to 1e-13 as measured.
Every comparison is also made against a copy with a small error, which it must see.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import transcription as paper
from torch import Tensor, nn

from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.image import Channels, Photo
from singleimage.latent import Latent, seed_for
from singleimage.methods import CONSINGAN, SINGAN
from singleimage.nn.blocks import Conv, ConvStack, PatchNet
from singleimage.objectives.base import StepView
from singleimage.pyramid import Pyramid
from singleimage.recipe import Recipe, with_overrides
from singleimage.resample import Size, size_of
from singleimage.trainer import Trainer

TOLERANCE = 1e-9
"""Of images and losses, and of weights after training: far over rounding, far under an error."""

F64 = torch.float64

SMALL_CONSINGAN = with_overrides(
    CONSINGAN,
    {
        "pyramid.levels": "5",  # the oldest two blocks get frozen
        "pyramid.min_size": "13",
        "pyramid.max_size": "30",
        "pyramid.quantize": "false",
        "generator.width": "4",
        "critic.width.base": "4",
        "training.steps": "3",
        "training.decay_at": "2",
    },
)
SMALL_SINGAN = with_overrides(
    SINGAN,
    {
        "pyramid.min_size": "13",
        "pyramid.max_size": "30",
        "pyramid.quantize": "false",
        "generator.quantize": "false",
        "generator.width.base": "3",
        "generator.width.double_every": "2",
        "critic.width.base": "3",
        "critic.width.double_every": "2",
        "training.steps": "3",
        "training.decay_at": "2",
    },
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def photo(height: int = 26, width: int = 30) -> Photo:
    return Photo(noise(3, height, width, seed=77).mul(0.6).clamp(-1, 1), Channels(mode="RGB"))


def randomize(module: nn.Module, seed: int) -> None:
    """Weights large enough that every layer matters, and running statistics unlike the start."""
    for i, (name, value) in enumerate([*module.named_parameters(), *module.named_buffers()]):
        if not value.is_floating_point() or "anchor" in name:
            continue
        drawn = noise(*value.shape, seed=1000 * seed + i)
        with torch.no_grad():
            if value.ndim == 4:
                value.copy_(drawn / value[0].numel() ** 0.5)
            elif name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
                value.copy_(1 + 0.2 * drawn.tanh())
            else:
                value.copy_(0.2 * drawn)


# From the package's modules to the transcription's plain tensors


def copied(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone() for tensor in tensors)


def conv_of(conv: nn.Module) -> paper.Conv:
    assert isinstance(conv, Conv)
    return copied(conv.weight, conv.bias)


def convs_of(stack: nn.Module) -> list[paper.Conv]:
    assert isinstance(stack, ConvStack)
    return [
        (*conv_of(conv), *copied(*norm.parameters()))
        for conv, norm in zip(stack.convs, stack.norms, strict=True)
    ]


def consingan_of(g: Growing) -> paper.ConSinGAN:
    bodies = [convs_of(block) for block in g.blocks]
    return paper.ConSinGAN(convs_of(g.head)[0], bodies, conv_of(g.tail), g.spec.slope)


def critic_of(critic: nn.Module) -> list[paper.Conv]:
    assert isinstance(critic, PatchNet)
    return [*convs_of(critic.trunk), conv_of(critic.last)]


def level_of(net: nn.Module) -> paper.SinGANLevel:
    """A network of SinGAN; norms without running statistics get those of a fresh norm."""
    assert isinstance(net, PatchNet)
    blocks = []
    for convolved, norm in zip(convs_of(net.trunk), net.trunk.norms, strict=True):
        weight, bias, gamma, beta = convolved
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, variance = copied(norm.running_mean, norm.running_var)
        else:
            mean, variance = torch.zeros_like(bias), torch.ones_like(bias)
        blocks.append(paper.NormConv(weight, bias, gamma, beta, mean, variance))
    return paper.SinGANLevel(blocks, (conv_of(net.last)[0], conv_of(net.last)[1]))


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a.detach() - b.detach()).abs().max().item()


def nudged(image: Tensor) -> Tensor:
    """A copy in which one value in the middle is off by a thousandth."""
    image = image.clone()
    image.view(-1)[image.numel() // 2] += 1e-3
    return image


# Untrained generators of both methods -----------------------------------------------------------


def grown(recipe: Recipe, *, seed: int = 0) -> tuple[Any, Pyramid]:
    """A generator with all its levels, all weights and amplitudes random, and its example."""
    example = Pyramid.build(photo().pixels[None], recipe.pyramid)
    learner = recipe.generator.build(channels=3, ladder=example.ladder).to(F64)
    for level in range(len(example.ladder.sizes)):
        learner.grow(example, seed_for(seed, level))
    randomize(learner, seed)
    if isinstance(learner, Growing):
        learner.amplitudes[0] = 1.0
    return learner, example


def latents(learner: Cascade | Growing, sizes: tuple[Size, ...]) -> dict[str, Latent]:
    return {"random": learner.draw(sizes, [5]), "anchor": learner.anchor()}


OTHER_SIZES = [Size(26, 30), Size(39, 30), Size(22, 47)]


def consingan_image(g: Growing, latent: Latent, flaw: Tensor | None = None) -> Tensor:
    maps = list(latent.maps)
    if flaw is not None:
        maps[1] = flaw
    return paper.consingan_generate(
        consingan_of(g), maps, g.amplitudes.tolist(), list(latent.sizes), edge=g.spec.edge
    )


@pytest.mark.parametrize("edge", ["stretch", "zero"])
@pytest.mark.parametrize("norm", ["none", "image"])
@pytest.mark.parametrize("size", OTHER_SIZES, ids=str)
def test_consingan_draws_what_its_transcription_draws(edge: str, norm: str, size: Size) -> None:
    recipe = with_overrides(SMALL_CONSINGAN, {"generator.edge": edge, "generator.norm": norm})
    g, example = grown(recipe)
    latent = g.draw(example.ladder.sizes_for(size), [5])
    found = g.decode(latent)
    assert size_of(found) == size
    assert difference(found, consingan_image(g, latent)) < TOLERANCE
    assert difference(found, consingan_image(g, latent, nudged(latent.maps[1]))) > TOLERANCE


@pytest.mark.parametrize("edge", ["stretch", "zero"])
@pytest.mark.parametrize("norm", ["none", "image"])
@pytest.mark.parametrize("anchor", ["image", "noise"])
def test_consingan_reproduces_from_the_anchor_what_its_transcription_does(
    edge: str, norm: str, anchor: str
) -> None:
    settings = {"generator.edge": edge, "generator.norm": norm, "generator.anchor": anchor}
    g, _ = grown(with_overrides(SMALL_CONSINGAN, settings))
    latent = g.anchor()
    found = g.decode(latent)
    assert difference(found, consingan_image(g, latent)) < TOLERANCE
    assert difference(found, consingan_image(g, latent, nudged(latent.maps[1]))) > TOLERANCE
    trained = g.refine(g.approach(latent), latent)  # the way of training: in two parts
    assert difference(trained, found) < TOLERANCE
