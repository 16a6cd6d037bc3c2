"""HP-VAE-GAN: equal to its transcription, in pictures, losses and trainings of photos and clips.

The transcription was written from the paper and the published code's facts, on tensors by name,
apart from the package's networks. Everything runs in float64. Every comparison is also made with a
small error, which it must see.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from reference.compare import (
    F64,
    MOVING_HP_VAE_GAN,
    SMALL_HP_VAE_GAN,
    TOLERANCE,
    clip_of,
    difference,
    nudged,
    photo,
)
from reference.hp_vae_gan import Shape, Transcribed, generate, plain_state
from singleimage import Trainer, with_overrides
from singleimage.apps.sample import reconstruct, sample
from singleimage.generators.patch_vae import PatchVAE
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Noise, seed_for
from singleimage.recipes.recipe import Recipe
from tiny import slow_but

Flaw = Callable[[dict[str, Any]], dict[str, Any]]
"""What to change in what is given to a step."""


def posterior_noise(learner: PatchVAE, seed: int, batch: int) -> Tensor:
    seeds = tuple(seed_for(seed_for(seed, "posterior"), i) for i in range(batch))
    ladder = learner.ladder
    return Noise(seeds, 5, ladder.sizes[0], learner.amplitudes, ladder.frames(0)).drawn()


def share_of_the_real(seed: int) -> float:
    generator = torch.Generator().manual_seed(seed_for(seed, "uniform", 1))
    return torch.rand((), generator=generator, dtype=F64).item()


class Compared(Trainer):
    """A training beside its transcription, from the same first weights."""

    def __init__(self, paper: Transcribed, recipe: Recipe) -> None:
        given = clip_of(7) if recipe.learns_clips else photo()
        super().__init__(given, recipe, seed=3, device="cpu", precision="fp32", dtype=F64)
        self.paper = paper
        self.copies = recipe.training.batch
        self.reals = [x.expand(self.copies, *x.shape[1:]) for x in self.example.images]
        self.found: dict[str, float] = {}

    @property
    def vae(self) -> PatchVAE:
        assert isinstance(self.learner, PatchVAE)
        return self.learner

    def note(self, kind: str, ours: Tensor | float, theirs: Tensor | float) -> None:
        a, b = (torch.as_tensor(value, dtype=F64) for value in (ours, theirs))
        self.found[kind] = max(self.found.get(kind, 0.0), difference(a, b))

    def _begin_level(self) -> None:
        super()._begin_level()
        level, sizes, paper = self.level, self.shapes(self.level), self.paper
        if level <= 1:  # fresh networks; later blocks are copies
            fresh = plain_state(self.vae)
            paper.g |= {name: value for name, value in fresh.items() if name not in paper.g}
        else:
            for name, value in list(paper.g.items()):
                if name.startswith(f"levels.{level - 1}."):
                    copy = value.detach().clone().requires_grad_(value.requires_grad)
                    paper.g[name.replace(f".{level - 1}.", f".{level}.", 1)] = copy
        if level == 3:
            assert self.players.critic is not None
            paper.d = plain_state(self.players.critic)
        if level > 0:
            epsilon = posterior_noise(self.vae, seed_for(3, level, "level"), self.copies)
            paper.calibrate(self.reals[level], self.reals[0], epsilon, sizes)
            self.note("amplitudes", self.vae.amplitudes[level], paper.amplitudes[-1])
        paper.begin(level)

    def shapes(self, level: int) -> list[Shape]:
        """Height and width, and of clips frames before them, up to a level."""
        return [self.example.ladder.shape(i) for i in range(level + 1)]

    def given(self, level: int, step: int) -> dict[str, Any]:
        """What the transcription's step needs, all that is random included."""
        seed, sizes = seed_for(3, level, step), self.example.ladder.sizes[: level + 1]
        draws = [seed_for(seed, "latent"), seed_for(seed, "latent", 1)][: self.copies]
        return {
            "real": self.reals[level],
            "coarsest": self.reals[0],
            "sizes": self.shapes(level),
            "epsilon": posterior_noise(self.vae, seed, self.copies),
            "maps": list(self.vae.draw(sizes, draws).tensors()),
            "share": share_of_the_real(seed),
        }

    def compare_weights(self, kind: str) -> None:
        for name, value in self.vae.state_dict().items():
            if name in self.paper.g and name != "amplitudes" and not before_norm(name):
                self.note(f"weights after {kind} steps", value, self.paper.g[name])
        if self.players.critic is not None:
            for name, value in self.players.critic.state_dict().items():
                self.note("critics", value, self.paper.d[name])


def largest_differences(
    *, recipe: Recipe = SMALL_HP_VAE_GAN, levels: int = 5, given: Flaw | None = None, **flaws: Any
) -> dict[str, float]:
    """Of each kind, through a training of so many levels."""
    paper = Transcribed(**flaws)
    trainer = Compared(paper, recipe)
    for progress in trainer:
        kind = "variational" if progress.level < 3 else "adversarial"
        arguments = trainer.given(progress.level, progress.step - 1)
        arguments |= given(arguments) if given else {}
        step = paper.variational_step if kind == "variational" else paper.adversarial_step
        for ours, theirs in zip(progress.losses.values(), step(arguments), strict=True):
            trainer.note(f"{kind} losses", ours, theirs)
        trainer.compare_weights(kind)
        if progress.level_done and progress.level == levels - 1:
            break
    return trainer.found


def before_norm(name: str) -> bool:
    """Biases that a norm takes out again: their gradient is rounding, which Adam magnifies."""
    return ".convs." in name and name.endswith("bias") and name.startswith("levels.")


@pytest.mark.parametrize("recipe", [SMALL_HP_VAE_GAN, MOVING_HP_VAE_GAN], ids=["photo", "clip"])
def test_training_equals_its_transcription(recipe: Recipe) -> None:
    found = largest_differences(recipe=recipe)
    kinds = {"amplitudes", "critics"}
    for kind in ("variational", "adversarial"):
        kinds |= {f"{kind} losses", f"weights after {kind} steps"}
    assert set(found) == kinds
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.slow
def test_the_comparison_sees_noise_where_clips_have_none() -> None:
    found = largest_differences(recipe=MOVING_HP_VAE_GAN, silent=0)
    assert found["weights after adversarial steps"] > TOLERANCE
    assert found["weights after variational steps"] < TOLERANCE


FLAWS: dict[str, dict[str, Any]] = {
    "weight of the reconstruction": {"weight": 10.001},
    "weight of the divergence": {"divergence_weight": 1.001},
    "rate of encoder and decoder": {"lr_scale": 0.2001},
    "clipping": {"clip": 0.5005},
    "amplitude not over the batch": {"batch": 1},
}


CRITIC_FLAWS: dict[str, dict[str, Any]] = {
    "penalty": {"penalty": 0.1001},
    "power iterations": {"iterations": 2},
}


GIVEN: dict[str, Flaw] = {
    "photo": lambda a: {"real": nudged(a["real"])},
    "photo at level 0": lambda a: {"coarsest": nudged(a["coarsest"])},
    "one sample of the posterior": lambda a: {"epsilon": a["epsilon"][:1].expand(2, -1, -1, -1)},
    "posterior": lambda a: {"epsilon": nudged(a["epsilon"])},
}


GIVEN_CRITIC: dict[str, Flaw] = {
    "noise of level 0": lambda a: {"maps": [nudged(a["maps"][0]), *a["maps"][1:]]},
    "noise": lambda a: {"maps": [*a["maps"][:-1], nudged(a["maps"][-1])]},
    "share of the real image": lambda a: {"share": a["share"] + 0.03},
}


@pytest.mark.parametrize("flaw", slow_but(FLAWS, "rate of encoder and decoder"))
def test_the_comparison_sees_a_wrong(flaw: str) -> None:
    found = largest_differences(levels=2, **FLAWS[flaw])
    kind = "amplitudes" if flaw.startswith("amplitude") else "weights after variational steps"
    assert found[kind] > TOLERANCE


@pytest.mark.parametrize("flaw", slow_but(CRITIC_FLAWS, "power iterations"))
def test_the_comparison_sees_with_a_critic_a_wrong(flaw: str) -> None:
    found = largest_differences(levels=4, **CRITIC_FLAWS[flaw])
    assert max(found["critics"], found["weights after adversarial steps"]) > TOLERANCE
    assert found["weights after variational steps"] < TOLERANCE


@pytest.mark.slow
def test_the_comparison_sees_whether_finished_blocks_count_when_gradients_are_clipped() -> None:
    found = largest_differences(**{"clip the newest alone": True})
    assert found["weights after adversarial steps"] > TOLERANCE


@pytest.mark.parametrize("flaw", slow_but(GIVEN, "posterior"))
def test_the_comparison_sees_another(flaw: str) -> None:
    found = largest_differences(levels=2, given=GIVEN[flaw])
    assert found["weights after variational steps"] > TOLERANCE


@pytest.mark.parametrize("flaw", slow_but(GIVEN_CRITIC, "share of the real image"))
def test_the_comparison_sees_with_a_critic_another(flaw: str) -> None:
    found = largest_differences(levels=4, given=GIVEN_CRITIC[flaw])
    assert max(found["critics"], found["weights after adversarial steps"]) > TOLERANCE
    assert found["weights after variational steps"] < TOLERANCE


@pytest.mark.parametrize("norm", ["image", "running"])
def test_pictures_are_those_of_the_transcription(norm: str) -> None:
    """With the statistics of each image alone, or with the running ones."""
    recipe = with_overrides(SMALL_HP_VAE_GAN, {"generator.decode_norm": norm})
    trainer = Trainer(photo(), recipe, seed=3, device="cpu", precision="fp32", dtype=F64)
    for _ in trainer:
        pass
    g = trainer.learner
    assert isinstance(g, PatchVAE)
    state, amplitudes = plain_state(g), g.amplitudes.tolist()
    for size in (g.ladder.finest, Size(31, 44)):
        sizes = g.ladder.sizes_for(size)
        latent = g.draw(sizes, [5, 6])
        found = g.decode(latent)
        for i in range(2):
            maps = list(latent.item(i).tensors())
            expected = generate(state, maps[0], maps, sizes, amplitudes)[-1]
            assert (difference(found[i : i + 1], expected) < TOLERANCE) == (norm == "image")
            maps[1] = nudged(maps[1])
            wrong = generate(state, maps[0], maps, sizes, amplitudes)[-1]
            assert difference(found[i : i + 1], wrong) > TOLERANCE
    assert reconstruct(g).shape[-2:] == g.ladder.finest
    assert sample(g, [1], tile="xy").isfinite().all()
