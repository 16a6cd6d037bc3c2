"""Numbers of 16 bits: casts follow the weights, and pictures stay about the same."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reference.compare import SMALL_CONSINGAN, SMALL_SINGAN, grown, noise, trained_small
from singleimage.nn.blocks import Conv
from singleimage.nn.precision import resolve_precision, use_precision
from singleimage.recipes.recipe import Recipe
from tiny import slow_but

F32 = torch.float32


@pytest.mark.parametrize(
    "recipe", slow_but([SMALL_CONSINGAN, SMALL_SINGAN], SMALL_CONSINGAN), ids=lambda r: r.name
)
def test_casts_to_bfloat16_follow_the_weights(recipe: Recipe) -> None:
    """A trained generator draws what a fresh one with its weights draws."""
    settings = {"training.steps": "2", "training.lr_generator": "0.01"}
    trainer = trained_small(recipe, settings, "bf16", F32)
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


def test_each_gpu_is_asked_for_its_own_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    @contextmanager
    def current(device: torch.device) -> Iterator[None]:
        asked.append(device)
        yield
        asked.pop()

    monkeypatch.setattr(torch.cuda, "device", current)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: asked[-1].index == 1
    )
    found = [resolve_precision("auto", torch.device(f"cuda:{i}")) for i in range(2)]
    assert found == ["fp32", "bf16"]


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
