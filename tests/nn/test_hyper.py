"""Networks that predict networks: how many numbers they have."""

import torch
from torch import nn

from singleimage.generators.hyper import HyperSpec
from singleimage.multiscale.geometry import Size
from singleimage.nn.blocks import PatchNet
from singleimage.nn.hyper import HyperCriticSpec
from singleimage.recipes.presets import META, META_SINGLE


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_as_many_as_in_the_published_code() -> None:
    with torch.device("meta"):
        hyper = HyperSpec().build(channels=3, ladder=META.pyramid.plan(Size(188, 250)))
        hyper.extend(None)
        critic = HyperCriticSpec().build(level=0, channels=3, generator=None)
        net = PatchNet(3, 64, 3, norm="none", slope=0.02)
        classic = META_SINGLE.critic.build(level=0, channels=3, generator=None)
    assert (META.generator, META.critic) == (HyperSpec(), HyperCriticSpec())
    assert (hyper.form.numbers, count(net), critic.form.numbers) == (114_307, 114_307, 113_153)
    assert (count(hyper.heads[0]), count(critic.head)) == (58_639_491, 58_047_489)
    for embedding in (hyper.embedding, critic.embedding):
        assert embedding.linear is not None
        assert count(embedding.linear) == 262_656
        assert count(embedding) - 262_656 == 21_284_672
    assert count(classic) == 113_153
