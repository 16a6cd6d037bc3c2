"""Weights do not depend on the device that they are drawn for."""

import pytest
import torch
from torch import nn

from pretend import pretended
from singleimage.nn.blocks import PatchNet, init_normal
from singleimage.nn.embedding import EmbeddingSpec, init_embedding
from singleimage.nn.hyper import WeightHead
from singleimage.nn.initial import draw
from singleimage.nn.spectral import SpectralCritic, init_uniform
from tiny import slow_but


def dice() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def networks() -> list[nn.Module]:
    embedding = EmbeddingSpec(view=64, blocks=(1, 1, 1, 1), width=4)
    return [
        PatchNet(3, 5, 2, norm="batch", slope=0.2),
        SpectralCritic(3, 5, depth=2, slope=0.2),
        embedding.build(channels=3),
        WeightHead(6, 40, rank=4),
    ]


def begin(network: nn.Module) -> None:
    if isinstance(network, WeightHead):
        network.init(dice())
    elif isinstance(network, PatchNet):
        init_normal(network, dice())
    elif isinstance(network, SpectralCritic):
        init_uniform(network, dice())
    else:
        init_embedding(network, dice())


@pytest.mark.parametrize("index", slow_but(range(4), 0, 1, 3))
def test_a_seed_gives_the_same_weights_on_every_device(index: int) -> None:
    here = networks()[index]
    begin(here)
    with pretended() as device:
        there = networks()[index].to(device)
        begin(there)
        found = {name: tensor.cpu() for name, tensor in there.state_dict().items()}
    for name, tensor in here.state_dict().items():
        assert torch.equal(found[name], tensor), name
        assert there.state_dict()[name].is_contiguous(), name


def test_weights_are_drawn_in_channels_last_order() -> None:
    """As drawing into them does, which fills a channels-last tensor otherwise than a plain one."""
    weight = torch.zeros(8, 6, 3, 3).contiguous(memory_format=torch.channels_last)
    expected = torch.empty_like(weight).normal_(1.0, 0.02, generator=dice())
    for parameter in (weight, weight.contiguous()):
        draw(parameter, torch.Tensor.normal_, 1.0, 0.02, generator=dice())
        assert torch.equal(parameter, expected)
