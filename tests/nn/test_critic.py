"""Warm starts: networks of equal shape inherit all of the one before."""

import torch

from reference.compare import noise
from singleimage.nn.blocks import PatchNet, init_normal
from singleimage.nn.critic import inherit


def test_a_network_of_equal_shape_inherits_all_weights_and_statistics() -> None:
    old = PatchNet(3, 8, 3, norm="batch", slope=0.2)
    init_normal(old, torch.Generator().manual_seed(0))
    old(noise(1, 3, 20, 20).float())  # moves the running statistics
    new = PatchNet(3, 8, 3, norm="batch", slope=0.2)
    init_normal(new, torch.Generator().manual_seed(1))
    inherit(new, old)
    ours, theirs = new.state_dict(), old.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert old.get_buffer("trunk.norms.0.running_mean").any()
    new.last.weight.data.add_(1)
    assert not torch.equal(new.last.weight, old.last.weight)  # a copy, not the same memory


def test_a_network_of_another_width_starts_afresh() -> None:
    old, new = (PatchNet(3, width, 1, norm="image", slope=0.2) for width in (8, 16))
    for i, net in enumerate((old, new)):
        init_normal(net, torch.Generator().manual_seed(i))
    before = {name: value.clone() for name, value in new.state_dict().items()}
    inherit(new, old)
    assert all(torch.equal(value, before[name]) for name, value in new.state_dict().items())
