"""Networks that predict networks: how many numbers they have, and what moves them."""

from typing import Literal

import torch
from torch import Tensor, nn

from singleimage.generators.hyper import HyperSpec
from singleimage.multiscale.geometry import Size
from singleimage.nn.blocks import PatchNet
from singleimage.nn.embedding import EmbeddingSpec
from singleimage.nn.hyper import HyperCritic, HyperCriticSpec
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


def test_of_a_critics_turn_only_the_penalty_moves_a_shared_embedding_of_variant_b() -> None:
    """Scores, penalty and all other gradients are those of a critic that shares in full."""
    small = EmbeddingSpec(blocks=(1, 1, 1, 1), width=1, view=64)
    embedding = small.build(channels=3).double()
    photos, fake, points = torch.rand(3, 2, 3, 14, 15, dtype=torch.float64).unbind()

    def critic_of(shared: Literal["both", "penalty"]) -> HyperCritic:
        spec = HyperCriticSpec(embedding=small, shared=shared, width=3)
        critic = spec.build(level=0, channels=3, generator=torch.Generator().manual_seed(1))
        critic.borrow(embedding)
        return critic.double()

    def gradients(shared: Literal["both", "penalty"]) -> dict[str, list[Tensor]]:
        critic = critic_of(shared)
        said = critic.bind(photos, slice(None)).judge(photos, fake, points, 0)
        unpenalized = critic.bind(photos, slice(None)).judge(photos, fake, points[:0], 0)
        assert len(unpenalized.gradient) == 0
        torch.testing.assert_close(unpenalized[:2], said[:2])
        losses = {"scores": (said.fake - said.real).sum(), "penalty": said.gradient.square().sum()}
        return {
            f"{name} {part}": list(
                torch.autograd.grad(loss, learns, retain_graph=True, materialize_grads=True)
            )
            for name, loss in losses.items()
            for part, learns in (
                ("embedding", list(embedding.parameters())),
                ("head", list(critic.head.parameters())),
            )
        }

    whole, found = gradients("both"), gradients("penalty")
    assert all(not x.any() for x in found.pop("scores embedding"))
    assert any(x.any() for x in whole.pop("scores embedding"))
    for name, values in found.items():
        torch.testing.assert_close(values, whole[name], msg=name)
    assert any(x.any() for x in found["penalty embedding"])


def test_the_critic_of_a_photo_depends_on_it_alone_and_leaves_a_shared_embedding_as_it_is() -> None:
    small = EmbeddingSpec(blocks=(1, 1, 1, 1), width=1, view=64)
    embedding = small.build(channels=3)
    spec = HyperCriticSpec(embedding=small, shared="both", width=3)
    critic = spec.build(level=0, channels=3, generator=torch.Generator().manual_seed(1))
    critic.borrow(embedding)
    photo = torch.rand(1, 3, 24, 25)
    embedding(torch.rand(2, 3, 24, 25))  # running statistics of some batch
    wanted = critic.head(embedding.eval()(photo))
    embedding.train()
    before = [buffer.clone() for buffer in embedding.buffers()]
    found = critic.critic_of(photo)
    assert embedding.training
    for buffer, other in zip(embedding.buffers(), before, strict=True):
        assert torch.equal(buffer, other)
    torch.testing.assert_close(found.last.bias, critic.form.layers(wanted[0])[-1])
