"""Networks of convolutions: widths, first weights, norms, and how far they see."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reference import singan as paper
from reference.compare import noise, randomize
from singleimage.nn.blocks import Conv, ConvStack, ImageNorm, Norm, PatchNet, Width, init_normal

SINGAN_WIDTHS = [32] * 4 + [64] * 4 + [128] * 2


def test_width_doubles_every_four_levels_up_to_128() -> None:
    width = Width(base=32, double_every=4, limit=128)
    assert [width.at(level) for level in range(10)] == SINGAN_WIDTHS
    assert [width.at(level) for level in range(100)] == [
        paper.singan_width(level) for level in range(100)
    ]
    assert Width(base=64).at(99) == 64


@pytest.mark.parametrize("norm", ["batch", "image"])
def test_first_weights_are_normal_and_conv_biases_uniform(norm: Norm) -> None:
    """DCGAN's initialization, which leaves conv biases at PyTorch's default, as published."""
    net = PatchNet(3, 64, 64, norm=norm, slope=0.2)
    init_normal(net, torch.Generator().manual_seed(1))
    convs = [part for part in net.modules() if isinstance(part, Conv)]
    assert len(convs) == 5
    for conv in convs:
        fan_in = conv.weight[0].numel()
        tolerance = 5 * 0.02 / math.sqrt(conv.weight.numel())
        assert abs(conv.weight.mean().item()) < tolerance
        assert abs(conv.weight.std().item() - 0.02) < tolerance
        bound = 1 / math.sqrt(fan_in)
        assert conv.bias.abs().max() <= bound
        assert abs(conv.bias.std().item() - bound / math.sqrt(3)) < 0.2 * bound
    assert len(net.trunk.norms) == 4
    scales = torch.cat([part.get_parameter("weight") for part in net.trunk.norms])
    assert abs(scales.mean().item() - 1) < 5 * 0.02 / math.sqrt(256)
    assert abs(scales.std().item() - 0.02) < 5 * 0.02 / math.sqrt(2 * 256)
    for part in net.trunk.norms:
        assert not part.get_parameter("bias").any()


def test_a_patch_network_sees_patches_of_11_pixels() -> None:
    net = PatchNet(3, 4, 1, norm="none", slope=0.2).double()
    randomize(net, seed=0)
    x = noise(1, 3, 25, 27).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x)[0, 0, 7, 9], x)
    seen = gradient[0].abs().sum(dim=0) > 0
    expected = torch.zeros_like(seen)
    expected[7:18, 9:20] = True
    assert torch.equal(seen, expected)


def test_image_norm_is_batch_norm_in_train_mode_at_batch_one() -> None:
    ours, theirs = ImageNorm(5).double(), nn.BatchNorm2d(5).double().train()
    for norm in (ours, theirs):
        norm.weight.data.copy_(noise(5, seed=1))
        norm.bias.data.copy_(noise(5, seed=2))
    for mode in (True, False):
        x = (3 * noise(1, 5, 7, 8) + 1).requires_grad_()
        a, b = ours.train(mode)(x), theirs(x)
        assert (a - b).abs().max() < 1e-12
        weights = noise(*a.shape, seed=3)
        (da,), (db,) = (torch.autograd.grad((y * weights).sum(), x) for y in (a, b))
        assert (da - db).abs().max() < 1e-12


def test_image_norm_of_an_image_does_not_depend_on_the_others() -> None:
    norm = ImageNorm(4).double()
    norm.weight.data.copy_(noise(4, seed=1))
    x = noise(3, 4, 6, 5) * torch.tensor([1.0, 10.0, 0.1]).view(3, 1, 1, 1)
    together = norm(x)
    for i in range(3):
        assert (together[i : i + 1] - norm(x[i : i + 1])).abs().max() < 1e-12


def test_a_stack_is_convolution_norm_and_leaky_relu_in_turn() -> None:
    stack = ConvStack((3, 4, 5), norm="image", slope=0.3).double()
    for i, parameter in enumerate(stack.parameters()):
        parameter.data.copy_(noise(*parameter.shape, seed=i))
    x = y = noise(1, 3, 9, 9)
    for conv, norm in zip(stack.convs, stack.norms, strict=True):
        y = F.conv2d(y, conv.get_parameter("weight"), conv.get_parameter("bias"))
        mean, variance = y.mean((2, 3), keepdim=True), y.var((2, 3), keepdim=True, correction=0)
        y = (y - mean) / (variance + 1e-5).sqrt()
        y = y * norm.get_parameter("weight").view(1, -1, 1, 1)
        y = y + norm.get_parameter("bias").view(1, -1, 1, 1)
        y = torch.where(y > 0, y, 0.3 * y)
    assert (stack(x) - y).abs().max() < 1e-12
