"""The dilated involution, against the formula written out with PyTorch's unfold."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.autograd.graph import saved_tensors_hooks

from singleimage.nn import involution
from singleimage.nn.blocks import Conv, init_normal
from singleimage.nn.involution import Involution, init_involutions, involve
from singleimage.nn.precision import use_precision

F64 = torch.float64


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a.detach().double() - b.detach().double()).abs().max().item()


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference over the largest value."""
    return difference(a, b) / b.detach().abs().max().item()


def unfolded(x: Tensor, weights: Tensor, dilation: int, groups: int) -> Tensor:
    """The same by an image of nine times the size."""
    batch, channels, height, width = x.shape
    taps = F.unfold(x, 3, dilation=dilation, padding=dilation)
    taps = taps.view(batch, channels, 9, height, width)[..., 1:-1, 1:-1]
    kernels = weights.view(batch, 9, groups, height - 2, width - 2).transpose(1, 2)
    return (taps * kernels.repeat_interleave(channels // groups, 1)).sum(2)


def case(
    *, channels: int = 8, groups: int = 8, size: tuple[int, int] = (9, 12), batch: int = 2
) -> tuple[Tensor, Tensor]:
    height, width = size
    x = noise(batch, channels, height, width)
    return x, noise(batch, 9 * groups, height - 2, width - 2, seed=1)


def with_gradients(
    call: Callable[..., Tensor], x: Tensor, weights: Tensor, *rest: int
) -> tuple[Tensor, Tensor, Tensor]:
    x, weights = (t.detach().clone().requires_grad_() for t in (x, weights))
    y = call(x, weights, *rest)
    grads = torch.autograd.grad(y, (x, weights), noise(*y.shape, seed=2).to(y.dtype))
    return y, *grads


@pytest.fixture(params=[1, 2**18], ids=["row by row", "in one"])
def band(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(involution, "_BAND", request.param)


# The operation -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("band")
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("groups", [1, 4, 8])
@pytest.mark.parametrize("dilation", [1, 2, 3, 5])
def test_it_is_the_formula(dilation: int, groups: int, order: torch.memory_format) -> None:
    x, weights = (t.contiguous(memory_format=order) for t in case(groups=groups))
    found = with_gradients(involve, x, weights, dilation, groups)
    expected = with_gradients(unfolded, *case(groups=groups), dilation, groups)
    for a, b in zip(found, expected, strict=True):
        assert apart(a, b) < 1e-13


def test_bands_of_several_rows_meet_at_their_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weights = case(size=(17, 6))
    expected = with_gradients(unfolded, x, weights, 3, 8)
    monkeypatch.setattr(involution, "_BAND", 4 * (4 * 8))
    for a, b in zip(with_gradients(involve, x, weights, 3, 8), expected, strict=True):
        assert apart(a, b) < 1e-13


def test_a_single_value_is_the_sum_that_the_docstring_says() -> None:
    x, weights = case(groups=4)
    height, width = x.shape[-2:]
    i, j, channel, d = 3, 7, 5, 2
    total = 0.0
    for t in range(9):
        row, column = i + 1 + (t // 3 - 1) * d, j + 1 + (t % 3 - 1) * d
        if 0 <= row < height and 0 <= column < width:
            group = channel * 4 // 8
            value = weights[1, t * 4 + group, i, j] * x[1, channel, row, column]
            total += value.item()
    assert involve(x, weights, d, 4)[1, channel, i, j].item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(("groups", "dilation"), [(1, 2), (2, 3), (4, 1)])
def test_its_gradients_are_right(groups: int, dilation: int) -> None:
    x, weights = case(channels=4, groups=groups, size=(4, 5), batch=1)
    inputs = (x.requires_grad_(), weights.requires_grad_(), dilation, groups)
    assert gradcheck(involve, inputs)


@pytest.mark.parametrize("which", [0, 1])
def test_only_the_gradient_that_is_asked_for_is_made(which: int) -> None:
    inputs = case()
    (expected,) = torch.autograd.grad(
        unfolded(*(t.requires_grad_() for t in inputs), 3, 8).square().sum(), inputs[which]
    )
    inputs = case()
    inputs[which].requires_grad_()
    involve(*inputs, 3, 8).square().sum().backward()
    grad = inputs[which].grad
    assert grad is not None
    assert apart(grad, expected) < 1e-13
    assert inputs[1 - which].grad is None


def test_it_is_differentiable_once() -> None:
    x, weights = case()
    x.requires_grad_()
    (grad,) = torch.autograd.grad(involve(x, weights, 3, 8).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()


@pytest.mark.parametrize("dilation", [1, 3])
def test_the_same_kernel_everywhere_is_a_depthwise_convolution(dilation: int) -> None:
    x, _ = case()
    kernel = noise(9, 8, seed=3)
    weights = kernel.reshape(1, 72, 1, 1).expand(2, -1, 7, 10)
    depthwise = kernel.t().reshape(8, 1, 3, 3)
    expected = F.conv2d(x, depthwise, dilation=dilation, padding=dilation - 1, groups=8)
    assert apart(involve(x, weights, dilation, 8), expected) < 1e-13


@pytest.mark.parametrize("dilation", [1, 3, 20])
def test_a_kernel_of_its_center_alone_leaves_the_image(dilation: int) -> None:
    x, weights = case()
    weights = torch.zeros_like(weights)
    weights[:, 4 * 8 : 5 * 8] = 1
    assert torch.equal(involve(x, weights, dilation, 8), x[:, :, 1:-1, 1:-1])


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_in_bfloat16_it_only_rounds_what_it_returns(groups: int) -> None:
    x, weights = (t.to(torch.bfloat16) for t in case(groups=groups))
    found = with_gradients(involve, x, weights, 3, groups)
    expected = with_gradients(involve, x.float(), weights.float(), 3, groups)
    arriving = noise(*found[0].shape, seed=2)
    rounded = apart(arriving.to(torch.bfloat16).double(), arriving)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.bfloat16
        assert apart(a, b) < 2**-8 + 2 * rounded
    assert torch.equal(found[0], expected[0].to(torch.bfloat16))


def test_sizes_that_do_not_fit_are_refused() -> None:
    x, weights = case()
    for wrong in ((x, weights, 3, 3), (x, weights, 3, 4), (x, weights[..., 1:], 3, 8)):
        with pytest.raises(ValueError, match="groups"):
            involve(*wrong)


@pytest.mark.parametrize("groups", [1, 8])
def test_it_keeps_its_inputs_alone_and_results_in_channels_last_order(groups: int) -> None:
    x, weights = case(groups=groups)
    x, weights = (t.contiguous(memory_format=torch.channels_last) for t in (x, weights))
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        y = involve(x.requires_grad_(), weights.requires_grad_(), 3, groups)
    assert kept == {t.data_ptr(): 8 * t.numel() for t in (x, weights)}
    y.square().sum().backward()
    assert x.grad is not None
    assert weights.grad is not None
    for t in (y, x.grad, weights.grad):
        assert t.is_contiguous(memory_format=torch.channels_last)


# The block ---------------------------------------------------------------------------------------


def block(channels: int = 16, *, seed: int = 0, **settings: int) -> Involution:
    """With weights large enough for its kernels to differ."""
    made = Involution(channels, **settings).double()
    for i, parameter in enumerate(made.parameters()):
        parameter.data.copy_(noise(*parameter.shape, seed=10 * seed + i))
    return made


def plain(made: Involution, x: Tensor) -> Tensor:
    """All of the kernel branch on the whole image, cropped last."""
    h = F.conv2d(x, made.squeeze)
    h = F.relu(F.instance_norm(h, weight=made.norm.weight, bias=made.norm.bias, eps=1e-5))
    kernels = F.conv2d(h, made.expand.weight, made.expand.bias)[..., 1:-1, 1:-1]
    return unfolded(x, kernels.contiguous(), made.dilation, made.groups)


@pytest.mark.parametrize("groups", [1, 4, 16])
@pytest.mark.parametrize("dilation", [1, 3])
def test_the_block_is_its_plain_form(dilation: int, groups: int) -> None:
    made = block(dilation=dilation, groups=groups)
    x = noise(2, 16, 11, 8, seed=5).requires_grad_()
    wanted = [x, *made.parameters()]
    found, expected = made(x), plain(made, x)
    assert found.shape == (2, 16, 9, 6)
    assert apart(found, expected) < 1e-12
    arriving = noise(*found.shape, seed=6)
    for a, b in zip(
        torch.autograd.grad(found, wanted, arriving),
        torch.autograd.grad(expected, wanted, arriving),
        strict=True,
    ):
        assert apart(a, b) < 1e-11


def test_the_norm_sees_the_pixels_that_are_left_out() -> None:
    made = block()
    x = noise(1, 16, 11, 8)
    cropped_first = made.kernels(F.pad(x[..., 1:-1, 1:-1], (1, 1, 1, 1)))
    assert apart(cropped_first, made.kernels(x)) > 1e-2


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 512 + 16 + 4608 + 576),
        ({"reduction": 8, "groups": 1}, 512 + 16 + 72 + 9),
        ({"reduction": 4, "groups": 4}, 1024 + 32 + 576 + 36),
        ({"reduction": 2, "groups": 16}, 2048 + 64 + 4608 + 144),
    ],
)
def test_it_has_as_many_parameters_as_specified(settings: dict[str, int], count: int) -> None:
    assert sum(p.numel() for p in Involution(64, **settings).parameters()) == count


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_a_graph_it_computes_the_same(mode: Callable[[], Any]) -> None:
    made, x = block(), noise(1, 16, 9, 10)
    with mode():
        found = made(x)
    assert not found.requires_grad
    assert torch.equal(found, made(x))


def test_the_images_of_a_batch_do_not_see_each_other() -> None:
    made, x = block(), noise(3, 16, 9, 10)
    together = made(x)
    for image, y in zip(x.split(1), together.split(1), strict=True):
        assert apart(y, made(image)) < 1e-13
    x[1:] *= 5
    assert torch.equal(made(x)[0], together[0])


def test_the_block_in_bfloat16_is_close() -> None:
    made = Involution(64)
    init_involutions(made, torch.Generator().manual_seed(0))
    x = noise(1, 64, 20, 24, dtype=torch.float32)
    expected = made(x)
    use_precision(made, "bf16")
    found = made(x)
    assert found.dtype == torch.bfloat16
    assert apart(found, expected) < 0.03
    found.float().square().sum().backward()
    for parameter in made.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32


def test_it_starts_as_the_other_blocks_do() -> None:
    net = nn.Sequential(Involution(64), Conv(64, 64, kernel=1))
    init_involutions(net, torch.Generator().manual_seed(7))
    made, conv = net
    assert isinstance(made, Involution)
    for weight in (made.squeeze, made.expand.weight, conv.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert abs(weight.mean().item()) < 3e-3
    assert difference(made.norm.weight, torch.ones(8)) < 0.1
    assert not torch.equal(made.norm.weight, torch.ones(8))
    assert not made.norm.bias.any()
    bound = made.expand.bias.abs().max().item()
    assert 0.9 / 8**0.5 < bound <= 1 / 8**0.5

    again = nn.Sequential(Involution(64), Conv(64, 64, kernel=1))
    torch.manual_seed(99)
    init_involutions(again, torch.Generator().manual_seed(7))
    for a, b in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_networks_without_it_start_as_ever() -> None:
    nets = [Conv(4, 4), Conv(4, 4)]
    init_involutions(nets[0], torch.Generator().manual_seed(1))
    init_normal(nets[1], torch.Generator().manual_seed(1))
    assert torch.equal(nets[0].weight, nets[1].weight)


@pytest.mark.parametrize("settings", [{"reduction": 3}, {"groups": 5}, {"dilation": 0}])
def test_settings_that_do_not_fit_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="channels"):
        Involution(64, **settings)
