"""A critic that redraws the photo: its decoders, what they teach, and which squares they see."""

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretend import pretended
from reference import fast_stabilized as fast
from reference.compare import F64, TOLERANCE, difference, noise, randomize
from reference.translate import decoding_critic_of
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import stretch
from singleimage.nn.blocks import Conv, Norm, PatchNet, Width, init_normal
from singleimage.nn.decoding import DecodersSpec, DecodingCritic, gate, in_box, random_window
from singleimage.nn.patch_critic import CriticSpec
from singleimage.nn.precision import use_precision
from singleimage.recipes.presets import FAST_STABILIZED


def critic(width: int = 8, *, seed: int = 9, **decoders: bool) -> DecodingCritic:
    spec = CriticSpec(
        width=Width(base=width),
        slope=0.05,
        decoders=DecodersSpec(**(decoders or {"full": True, "crop": True})),
    )
    made = spec.build(level=0, channels=3, generator=None).to(F64)
    assert isinstance(made, DecodingCritic)
    randomize(made, seed)
    return made


def errors_of(made: PatchNet | DecodingCritic, real: Tensor, seed: int) -> Mapping[str, Tensor]:
    return made.judge(real, -real, real / 2, seed).errors


def test_the_critic_is_its_transcription() -> None:
    """Scores, and what its decoders redraw of images of other sizes."""
    made = critic()
    ours = decoding_critic_of(made)
    for size in (Size(11, 11), Size(20, 31), Size(27, 18)):
        real = noise(1, 3, *size).mul(0.4).clamp(-1, 1)
        scores = fast.scores(ours, real)
        assert difference(made(real), scores) < TOLERANCE
        assert difference(made.mean_scores(real), scores.mean((1, 2, 3))) < TOLERANCE
        box = random_window(size, 3)
        found = errors_of(made, real, 3)
        place = (box.top, box.left, box.height)
        expected = fast.decoding_terms(ours, real, place, beta=1.0)
        assert list(found) == ["decoded", "decoded_crop"]
        for a, b in zip(found.values(), expected.values(), strict=True):
            assert difference(a, b) < TOLERANCE
        moved = (place[0], place[1] + 1, place[2])
        other = fast.decoding_terms(ours, real, moved, beta=1.0)
        assert difference(found["decoded_crop"], other["crop"]) > TOLERANCE


def test_decoders_teach_the_trunk_and_not_the_scores() -> None:
    """The full one reaches four layers, the one of the crop three."""
    made, real = critic(), noise(1, 3, 20, 20).clamp(-1, 1)
    depth = {"decoded": 4, "decoded_crop": 3}
    for name, error in errors_of(made, real, 0).items():
        weights = [*(conv.weight for conv in made.net.trunk.layers), made.net.last.weight]
        found = torch.autograd.grad(error, weights, retain_graph=True)
        assert [bool(gradient.any()) for gradient in found] == [i < depth[name] for i in range(5)]


@pytest.mark.parametrize("norm", ["none", "image"])
def test_one_pass_teaches_what_two_do(norm: Norm) -> None:
    """Scores and decoders share the pass of the photo and its gradient."""
    spec = CriticSpec(width=Width(base=4), norm=norm, decoders=DecodersSpec(full=True, crop=True))
    made = spec.build(level=0, channels=3, generator=None).to(F64)
    assert isinstance(made, DecodingCritic)
    randomize(made, 3)
    real, fake, between = noise(3, 3, 19, 14, seed=2).clamp(-1, 1).split(1)
    said = made.judge(real, fake, between, 5)

    layers = [real]
    for conv, by in zip(made.net.trunk.layers, made.net.trunk.norms, strict=True):
        layers.append(F.leaky_relu(by(F.conv2d(layers[-1], conv.weight, conv.bias)), spec.slope))
    size, box = size_of(real), random_window(size_of(real), 5)
    assert made.full is not None
    assert made.crop is not None
    full = made.full(layers[4], size)
    crop = made.crop(in_box(layers[3], size, box), Size(box.height, box.width))
    errors = {"decoded": (full - real).square(), "decoded_crop": (crop - box.cut(real)).square()}
    plain = {name: error.mean() for name, error in errors.items()}
    assert difference(made(real).mean((1, 2, 3)), said.real) < TOLERANCE
    assert difference(made(fake).mean((1, 2, 3)), said.fake) < TOLERANCE
    for weights in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 3, 4)):
        terms = [said.real - said.fake, *said.errors.values()]
        expected = [(made(real) - made(fake)).mean(), *plain.values()]
        ours, theirs = (
            torch.autograd.grad(
                sum((w * t.sum() for w, t in zip(weights, losses, strict=True)), torch.zeros(())),
                list(made.parameters()),
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            for losses in (terms, expected)
        )
        for a, b in zip(ours, theirs, strict=True):
            assert difference(a, b) < TOLERANCE


def test_the_gate_is_that_of_gated_linear_units() -> None:
    x = noise(2, 6, 5, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    g = noise(2, 3, 5, 4, seed=1)
    assert difference(gate(x), F.glu(x, 1)) < 1e-15
    found, expected = (torch.autograd.grad(y, x, g)[0] for y in (gate(x), F.glu(x, 1)))
    assert difference(found, expected) < 1e-15
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_each_decoder_can_be_left_out() -> None:
    everything = dict(critic(seed=1).named_parameters())
    for full, crop, names in (
        (True, False, ["decoded"]),
        (False, True, ["decoded_crop"]),
        (True, True, ["decoded", "decoded_crop"]),
    ):
        made = critic(full=full, crop=crop)
        assert list(errors_of(made, noise(1, 3, 14, 15), 0)) == names
        assert all(name in everything for name, _ in made.named_parameters())


def test_decoders_take_any_number_of_channels() -> None:
    for width in (1, 2, 3, 6):
        errors = errors_of(critic(width), noise(1, 3, 12, 13), 0)
        assert all(bool(torch.isfinite(error)) for error in errors.values())


def test_features_of_a_square_are_those_of_the_whole() -> None:
    x, size = noise(1, 4, 14, 17), Size(20, 23)
    whole = stretch(x, size)
    plain = F.interpolate(x, size=size, mode="bicubic", align_corners=True)
    for seed in range(20):
        box = random_window(size, seed)
        assert difference(in_box(x, size, box), box.cut(whole)) < 1e-13
        assert difference(in_box(x, size, box), box.cut(plain)) < 1e-13


def test_squares_have_half_the_short_side_and_lie_anywhere() -> None:
    """But at the last row and column, which the published range leaves out."""
    boxes = [random_window(Size(11, 14), seed) for seed in range(400)]
    assert {(box.height, box.width) for box in boxes} == {(5, 5)}
    assert {box.top for box in boxes} == set(range(11 - 5))
    assert {box.left for box in boxes} == set(range(14 - 5))
    assert boxes[7] == random_window(Size(11, 14), 7)


def test_the_papers_forms() -> None:
    """Half the height and half the width, and a norm without a square."""
    boxes = [random_window(Size(11, 14), seed, square=False) for seed in range(300)]
    assert {(box.height, box.width) for box in boxes} == {(5, 7)}
    assert {box.left for box in boxes} == set(range(14 - 7))
    code, real = critic(), noise(1, 3, 14, 15)
    paper = critic()
    paper.load_state_dict(code.state_dict())
    paper.spec = DecodersSpec(full=True, crop=True, error="norm")
    ours, theirs = (errors_of(made, real, 0) for made in (paper, code))
    full = (theirs["decoded"] * real.numel()).sqrt()
    assert ours["decoded"].item() == pytest.approx(full.item(), rel=1e-6)
    square = (theirs["decoded_crop"] * 3 * 7 * 7).sqrt()
    assert ours["decoded_crop"].item() == pytest.approx(square.item(), rel=1e-6)


def test_the_critic_in_bfloat16_is_close() -> None:
    made = critic(16).float()
    init_normal(made, torch.Generator().manual_seed(0))
    real = noise(1, 3, 24, 25).clamp(-1, 1).float()
    expected = errors_of(made, real, 0)
    use_precision(made, "bf16")
    for name, error in errors_of(made, real, 0).items():
        assert error.dtype == torch.float32
        assert error.item() == pytest.approx(expected[name].item(), rel=0.02)


def test_the_critic_in_bfloat16_says_the_same_on_a_device() -> None:
    """Where group norm takes one type alone."""
    made = critic(16).float()
    init_normal(made, torch.Generator().manual_seed(0))
    use_precision(made, "bf16")
    real = noise(1, 3, 24, 25).clamp(-1, 1).float()
    expected = errors_of(made, real, 0)
    with pretended() as device:
        found = errors_of(made.to(device), real.to(device), 0)
        for name, error in found.items():
            assert error.item() == pytest.approx(expected[name].item(), rel=0.01)


def test_decoders_start_as_the_other_layers_do() -> None:
    made = FAST_STABILIZED.critic.build(
        level=0, channels=3, generator=torch.Generator().manual_seed(0)
    )
    assert isinstance(made, DecodingCritic)
    assert made.full is not None
    for part in made.full.modules():
        if isinstance(part, nn.GroupNorm):
            assert 0.01 < part.weight.std() < 0.03
            assert abs(part.weight.mean() - 1) < 0.02
            assert not part.bias.any()
        elif isinstance(part, Conv):
            assert part.get_parameter("weight").std().item() == pytest.approx(0.02, rel=0.3)
