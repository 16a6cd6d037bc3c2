"""Involution: the operation, its gradients, the layer and stacks of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck
from torch.autograd.graph import saved_tensors_hooks

from reference.compare import F64, apart, difference, noise
from singleimage.errors import RecipeError
from singleimage.multiscale.geometry import Size, Window
from singleimage.nn import involution
from singleimage.nn.blocks import init_normal
from singleimage.nn.involution import Involution, InvolutionBody, InvolutionStack, involve
from singleimage.nn.precision import use_precision
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import preset

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
"""Image, what the kernels are made of, and weight and bias that make them."""


def unfolded(inputs: Inputs, *, groups: int, dilation: int, padding: tuple[int, int]) -> Tensor:
    """The same with all kernels at once and an image of K * K times the size."""
    x, hidden, weight, bias = inputs
    (batch, channels, *_), (height, width) = x.shape, hidden.shape[-2:]
    kernel = round((len(bias) / groups) ** 0.5)
    taps = F.unfold(x, kernel, dilation=dilation, padding=padding)
    taps = taps.view(batch, channels, kernel**2, height, width)
    kernels = F.conv2d(hidden, weight, bias).view(batch, -1, groups, height, width).transpose(1, 2)
    return (taps * kernels.repeat_interleave(channels // groups, 1)).sum(2)


def case(
    *,
    channels: int = 8,
    groups: int = 8,
    kernel: int = 3,
    dilation: int = 3,
    size: tuple[int, int] = (9, 12),
    batch: int = 2,
    padding: tuple[int, int] | None = None,
    dtype: torch.dtype = F64,
) -> tuple[Inputs, dict[str, Any]]:
    """By default so padded that an image loses a pixel on every side."""
    span = (kernel - 1) * dilation
    padding = (span // 2 - 1, span // 2 - 1) if padding is None else padding
    (height, width), (tall, wide) = size, padding
    count = kernel**2 * groups
    inputs = (
        noise(batch, channels, height, width, dtype=dtype),
        noise(batch, 3, height + 2 * tall - span, width + 2 * wide - span, seed=1, dtype=dtype),
        noise(count, 3, 1, 1, seed=2, dtype=dtype),
        noise(count, seed=3, dtype=dtype),
    )
    return inputs, {"groups": groups, "dilation": dilation, "padding": padding}


def with_gradients(
    call: Callable[[Inputs], Tensor], inputs: Inputs, order: torch.memory_format
) -> tuple[Tensor, ...]:
    inputs = tuple(  # type: ignore[assignment]
        t.detach().clone().contiguous(memory_format=order if t.ndim == 4 else torch.preserve_format)
        for t in inputs
    )
    for t in inputs:
        t.requires_grad_()
    y = call(inputs)
    arriving = noise(*y.shape, seed=4).to(y.dtype).contiguous(memory_format=order)
    return y, *torch.autograd.grad(y, inputs, arriving)


def compare(
    inputs: Inputs, form: dict[str, Any], order: torch.memory_format = torch.channels_last
) -> float:
    found = with_gradients(lambda t: involve(*t, **form), inputs, order)
    expected = with_gradients(lambda t: unfolded(t, **form), inputs, torch.contiguous_format)
    return max(apart(a, b) for a, b in zip(found, expected, strict=True))


@pytest.fixture(params=[1, 2**18], ids=["row by row", "in one"])
def band(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(involution, "_BAND", request.param)


@pytest.mark.usefixtures("band")
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("groups", [1, 4, 8])
def test_it_is_the_formula(groups: int, order: torch.memory_format) -> None:
    for dilation in range(1, 6):
        assert compare(*case(groups=groups, dilation=dilation), order) < 1e-13, dilation


@pytest.mark.usefixtures("band")
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_it_is_the_formula_for_other_kernels_and_padding(kernel: int) -> None:
    for padding in ((0, 0), (4, 1), (0, 6)):
        inputs, form = case(kernel=kernel, dilation=2, groups=4, padding=padding)
        assert compare(inputs, form) < 1e-13, padding


def test_bands_of_several_rows_meet_at_their_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(involution, "_BAND", 4 * 4 * 72)
    assert compare(*case(size=(17, 6))) < 1e-13


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_threads_change_nothing(batch: int, count: int, threads: int) -> None:
    inputs, form = case(batch=batch, size=(17, 12))
    call = lambda t: involve(*t, **form)  # noqa: E731
    torch.set_num_threads(1)
    expected = with_gradients(call, inputs, torch.channels_last)
    torch.set_num_threads(count)
    found, again = (with_gradients(call, inputs, torch.channels_last) for _ in range(2))
    for a, b, c in zip(found, expected, again, strict=True):
        assert apart(a, b) < 1e-13
        assert torch.equal(a, c)  # whichever thread is first
    with torch.inference_mode():
        assert torch.equal(call(inputs), found[0])
    assert torch.get_num_threads() == count


def test_a_single_value_is_the_sum_that_the_docstring_says() -> None:
    inputs, form = case(groups=4)
    x, hidden, weight, bias = inputs
    height, width = x.shape[-2:]
    i, j, channel, d, p = 3, 7, 5, 3, 2
    total = 0.0
    for t in range(9):
        row, column = i + t // 3 * d - p, j + t % 3 * d - p
        if 0 <= row < height and 0 <= column < width:
            tap = t * 4 + channel * 4 // 8
            kernel = (weight[tap, :, 0, 0] * hidden[1, :, i, j]).sum() + bias[tap]
            total += (kernel * x[1, channel, row, column]).item()
    assert involve(*inputs, **form)[1, channel, i, j].item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(("groups", "dilation"), [(1, 2), (2, 3), (4, 1)])
def test_its_gradients_are_right(groups: int, dilation: int) -> None:
    inputs, form = case(channels=4, groups=groups, dilation=dilation, size=(4, 5), batch=1)
    for t in inputs:
        t.requires_grad_()
    assert gradcheck(lambda *t: involve(*t, **form), inputs)


@pytest.mark.parametrize("which", range(4))
def test_a_gradient_asked_for_alone_is_the_same(which: int) -> None:
    inputs, form = case()
    together = with_gradients(lambda t: involve(*t, **form), inputs, torch.contiguous_format)
    inputs[which].requires_grad_()
    y = involve(*inputs, **form)
    (alone,) = torch.autograd.grad(y, inputs[which], noise(*y.shape, seed=4))
    assert apart(alone, together[1 + which]) < 1e-15


def test_it_is_differentiable_once() -> None:
    inputs, form = case()
    x = inputs[0].requires_grad_()
    (grad,) = torch.autograd.grad(involve(*inputs, **form).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()


@pytest.mark.parametrize("dilation", [1, 3])
def test_the_same_kernel_everywhere_is_a_depthwise_convolution(dilation: int) -> None:
    (x, hidden, weight, bias), form = case(dilation=dilation)
    depthwise = bias.view(9, 8).t().reshape(8, 1, 3, 3)
    expected = F.conv2d(x, depthwise, dilation=dilation, padding=dilation - 1, groups=8)
    assert apart(involve(x, hidden, torch.zeros_like(weight), bias, **form), expected) < 1e-13


@pytest.mark.parametrize("dilation", [1, 3, 20])
def test_a_kernel_of_its_center_alone_leaves_the_image(dilation: int) -> None:
    (x, hidden, weight, bias), form = case(dilation=dilation)
    bias = torch.zeros_like(bias)
    bias[4 * 8 : 5 * 8] = 1
    found = involve(x, hidden, torch.zeros_like(weight), bias, **form)
    assert torch.equal(found, x[:, :, 1:-1, 1:-1])


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_in_bfloat16_it_only_rounds_what_it_returns(groups: int) -> None:
    inputs, form = case(groups=groups, dtype=torch.bfloat16)
    wide: Inputs = tuple(t.float() for t in inputs)  # type: ignore[assignment]
    found, expected = involve(*inputs, **form), involve(*wide, **form)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.to(torch.bfloat16))
    call = lambda t: involve(*t, **form)  # noqa: E731
    exact = with_gradients(call, wide, torch.channels_last)
    for a, b in zip(with_gradients(call, inputs, torch.channels_last), exact, strict=True):
        assert a.dtype == torch.bfloat16
        assert apart(a, b) < 2**-6


def test_sizes_that_do_not_fit_are_refused() -> None:
    (x, hidden, weight, bias), form = case()
    for inputs, changes in (
        ((x, hidden, weight, bias), {"groups": 3}),
        ((x, hidden, weight, bias), {"groups": 4}),
        ((x, hidden, weight, bias), {"padding": (2, 1)}),
        ((x, hidden[..., 1:], weight, bias), {}),
    ):
        with pytest.raises(ValueError, match="groups"):
            involve(*inputs, **(form | changes))


def test_it_keeps_its_inputs_alone_and_results_in_channels_last_order() -> None:
    inputs, form = case()
    inputs = tuple(  # type: ignore[assignment]
        t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in inputs
    )
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        y = involve(inputs[0].requires_grad_(), *inputs[1:], **form)
    assert kept == {t.data_ptr(): 8 * t.numel() for t in inputs}
    y.square().sum().backward()
    assert inputs[0].grad is not None
    for t in (y, inputs[0].grad):
        assert t.is_contiguous(memory_format=torch.channels_last)


def layer(channels: int = 16, *, seed: int = 0, **settings: Any) -> Involution:
    """With weights large enough for its kernels to differ."""
    made = Involution(InvolutionBody(**settings), channels).double()
    for i, parameter in enumerate(made.parameters()):
        parameter.data.copy_(noise(*parameter.shape, seed=10 * seed + i))
    return made


def plain(made: Involution, x: Tensor) -> Tensor:
    """All of the kernels' branch on the whole image, cropped last."""
    h = F.conv2d(x, made.squeeze.weight)
    h = F.relu(F.instance_norm(h, weight=made.norm.weight, bias=made.norm.bias, eps=1e-5))
    padding = (made.reach - 1, made.reach - 1)
    inputs = (x, h[..., 1:-1, 1:-1], made.expand.weight, made.expand.bias)
    return unfolded(inputs, groups=made.groups, dilation=made.dilation, padding=padding)


@pytest.mark.parametrize("groups", [1, 4, None])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (3, 3), (5, 2)])
def test_the_layer_is_its_plain_form(kernel: int, dilation: int, groups: int | None) -> None:
    made = layer(kernel=kernel, dilation=dilation, groups=groups)
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
    made, x = layer(), noise(1, 16, 11, 8)
    other = x.clone()
    other[..., 0, 0] += 5  # a corner, which no tap of the middle meets
    assert difference(made(x)[..., 4:5, 3:4], made(other)[..., 4:5, 3:4]) > 1e-3


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 512 + 16 + 4608 + 576),
        ({"groups": 64}, 512 + 16 + 4608 + 576),
        ({"reduction": 8, "groups": 1}, 512 + 16 + 72 + 9),
        ({"reduction": 4, "groups": 4}, 1024 + 32 + 576 + 36),
        ({"reduction": 2, "groups": 16}, 2048 + 64 + 4608 + 144),
        ({"reduction": 100}, 64 + 2 + 576 + 576),
    ],
)
def test_it_has_as_many_parameters_as_specified(settings: dict[str, int], count: int) -> None:
    made = Involution(InvolutionBody(**settings), 64)
    assert sum(p.numel() for p in made.parameters()) == count


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_a_graph_it_computes_the_same(mode: Callable[[], Any]) -> None:
    made, x = layer(), noise(1, 16, 9, 10)
    with mode():
        found = made(x)
    assert not found.requires_grad
    assert torch.equal(found, made(x))


def test_the_images_of_a_batch_do_not_see_each_other() -> None:
    made, x = layer(), noise(3, 16, 9, 10)
    together = made(x)
    for image, y in zip(x.split(1), together.split(1), strict=True):
        assert apart(y, made(image)) < 1e-13
    x[1:] *= 5
    assert torch.equal(made(x)[0], together[0])


def test_the_layer_in_bfloat16_is_close() -> None:
    made = Involution(InvolutionBody(), 64)
    init_normal(made, torch.Generator().manual_seed(0))
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


@pytest.mark.parametrize("wrap", [(True, True), (True, False), (False, True)], ids=str)
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (3, 3), (5, 4)])
def test_on_an_axis_that_wraps_it_is_periodic_and_loses_nothing(
    wrap: tuple[bool, bool], kernel: int, dilation: int
) -> None:
    """Even where it sees more than a period."""
    made, x = layer(kernel=kernel, dilation=dilation), noise(1, 16, 7, 6)
    y = made(x, wrap)
    assert y.shape[-2:] == tuple(n if w else n - 2 for n, w in zip((7, 6), wrap, strict=True))
    steps = [3 * around for around in wrap]
    moved = made(x.roll(steps, (2, 3)), wrap)
    assert apart(moved, y.roll(steps, (2, 3))) < 1e-12
    times = [3 if around else 1 for around in wrap]
    assert apart(made(x.repeat(1, 1, *times), wrap), y.repeat(1, 1, *times)) < 1e-11


def test_a_stack_loses_a_pixel_a_layer_and_sees_zeros_beyond_its_window() -> None:
    stack = InvolutionStack(InvolutionBody(reduction=2), 4, norm="none", slope=0.05).double()
    init_normal(stack, torch.Generator().manual_seed(0))
    x = noise(1, 4, 12, 13)
    assert stack(x).shape == (1, 4, 6, 7)
    here = Window(2, 3, 12, 13)
    found = stack.within(x, here, Window.whole(Size(17, 19)), (False, False))
    assert torch.equal(found, stack(F.pad(x, (6, 6, 5, 6))))


def test_a_stack_starts_as_the_other_blocks_do() -> None:
    made = InvolutionStack(InvolutionBody(), 64, norm="none", slope=0.05)
    state = torch.random.get_rng_state()
    init_normal(made, torch.Generator().manual_seed(7))
    assert torch.equal(torch.random.get_rng_state(), state)
    (first, *_), (conv, *_) = made.involutions, made.convs
    for weight in (first.squeeze.weight, first.expand.weight, conv.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert abs(weight.mean().item()) < 3e-3
    assert difference(first.norm.weight, torch.ones(8)) < 0.1
    assert not torch.equal(first.norm.weight, torch.ones(8))
    assert not first.norm.bias.any()
    bound = first.expand.bias.abs().max().item()
    assert 0.9 / 8**0.5 < bound <= 1 / 8**0.5


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("generator.body.groups", "5", "5 groups do not divide 64 channels"),
        ("generator.body.kernel", "4", "generator.body.kernel: invalid enum value 4"),
        ("generator.body.dilation", "0", "generator.body.dilation: expected `int` >= 1"),
        ("generator.body", "convolution", "generator.body is a group of fields"),
        ("generator.body", '{"type": "x"}', "generator.body.type: invalid value 'x'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(field: str, value: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_overrides(preset("fast-stabilized"), {field: value})
