"""The patch VAE (HP-VAE-GAN): what learns, how the posterior is taken, norms, and tiles."""

from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import Tensor

from reference.compare import F64, SMALL_HP_VAE_GAN, TOLERANCE, difference, noise, photo
from reference.hp_vae_gan import encode
from singleimage import Trainer, with_overrides
from singleimage.apps.upscale import upscale
from singleimage.generators import tiles
from singleimage.generators.base import Injection
from singleimage.generators.patch_vae import PatchVAE
from singleimage.multiscale.geometry import Size
from singleimage.recipes.presets import HP_VAE_GAN
from singleimage.recipes.recipe import Recipe
from singleimage.recipes.tasks import for_video
from singleimage.training.planning import count_parameters


def trainer_of(recipe: Recipe = SMALL_HP_VAE_GAN) -> Trainer:
    return Trainer(photo(), recipe, seed=3, device="cpu", precision="fp32", dtype=F64)


@cache
def trained(norm: str, *, over_batch: str = "true", recompute: str = "false") -> Trainer:
    """A training at its end, not to be changed."""
    changes = {
        "generator.decode_norm": norm,
        "generator.amplitude_over_batch": over_batch,
        "training.recompute": recompute,
    }
    trainer = trainer_of(with_overrides(SMALL_HP_VAE_GAN, changes))
    for _ in trainer:
        pass
    return trainer


# Deviations by name ------------------------------------------------------------------------------


def test_the_amplitude_without_the_published_division_is_larger_by_the_batch() -> None:
    ours, larger = (
        trained("image", over_batch=keep).learner.amplitudes[1] for keep in ("true", "false")
    )
    assert difference(2 * ours, larger) < 1e-15


def test_detached_blocks_get_no_gradients_and_steps_differ_by_the_clipping_alone() -> None:
    loose = with_overrides(SMALL_HP_VAE_GAN, {"training.clip_generator": "null"})
    plain, detached, clipped, clipped_detached = (
        [*trainer_of(with_overrides(recipe, {"generator.detach_finished": detach}))][-1].losses
        for recipe in (loose, SMALL_HP_VAE_GAN)
        for detach in ("false", "true")
    )
    for name, value in plain.items():
        assert detached[name] == pytest.approx(value, abs=1e-10)
    assert any(abs(clipped[name] - clipped_detached[name]) > 1e-8 for name in clipped)


# What learns, and what is drawn ------------------------------------------------------------------


def test_levels_learn_as_published() -> None:
    trainer = trainer_of()
    before: dict[str, Tensor] = {}
    for progress in trainer:
        state = {n: v.clone() for n, v in trainer.learner.named_parameters()}
        moved = {
            n.split(".convs")[0].split(".mean")[0] for n in before if name_moved(n, before, state)
        }
        parts = {".".join(n.split(".")[:2]) if n.startswith("levels") else "encoder" for n in moved}
        if progress.step > 1:
            newest = {f"levels.{progress.level}"}
            assert parts == ({"encoder", "levels.0"} | newest if progress.level < 3 else newest)
        assert (trainer.players.critic is None) == (progress.level < 3)
        before = state


def name_moved(name: str, before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return not torch.equal(before[name], after[name])


def test_a_step_samples_the_posterior_and_applications_take_its_mean() -> None:
    trainer = trained("image")
    learner = deepcopy(trainer.learner)
    assert isinstance(learner, PatchVAE)
    learner.eval()
    mean = learner.anchor()
    assert all(torch.equal(a, b) for a, b in zip(mean.maps, learner.anchor().maps, strict=True))
    assert not any(part.any() for part in mean.tensors()[1:])
    state = {name: value.detach() for name, value in learner.state_dict().items()}
    assert difference(mean.tensors()[0], encode(state, trainer.example.images[0])[0]) < TOLERANCE
    samples = []
    for seed in (1, 2):
        learner.refresh(seed)
        samples.append(learner.bind(trainer._batch(0)).anchor().tensors()[0])
    assert samples[0].shape == (2, 5, *learner.ladder.sizes[0])
    assert difference(samples[0][:1], samples[0][1:]) > 0.1
    assert difference(*samples) > 0.1


@pytest.mark.parametrize("norm", ["image", "running"])
def test_large_pictures_are_decoded_in_tiles_if_the_norm_allows(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = deepcopy(trained(norm).learner)
    assert isinstance(g, PatchVAE)
    sizes = g.ladder.sizes_for(Size(41, 50))
    latent = g.draw(sizes, [5, 6])
    entry = Injection(2, noise(2, 3, *sizes[1]).clamp(-1, 1))
    whole = [g.decode(latent), g.decode(latent, entry)]
    monkeypatch.setattr(tiles, "TILE", 16)
    monkeypatch.setattr(tiles, "WHOLE", 100)
    shapes = []
    g.levels[-1].register_forward_hook(lambda _, __, y: shapes.append(y.shape[-1]))
    assert difference(g.decode(latent), whole[0]) < 1e-12
    assert difference(g.decode(latent, entry), whole[1]) < 1e-12
    assert (len(shapes) > 2) == (norm == "running")


def test_an_enlarged_photo_has_the_size_that_was_asked_for() -> None:
    image = upscale(deepcopy(trained("image").learner).float(), photo().pixels[None].float(), 2)
    assert image.shape == (1, 3, 52, 60)
    assert image.isfinite().all()


def test_running_statistics_see_each_picture_of_a_step_once() -> None:
    """Though `recompute` makes the generated ones twice."""
    states = [
        trained("running", recompute=again).learner.state_dict() for again in ("false", "true")
    ]
    for name in states[0]:
        if name.endswith("running_var"):
            assert difference(states[0][name], states[1][name]) < 1e-12, name


def test_networks_have_three_axes_and_the_counts_of_the_published_code() -> None:
    """27 weights in place of 9: counted by hand from the layers."""
    recipe = for_video(HP_VAE_GAN)
    ladder = recipe.pyramid.plan(Size(144, 256))

    def layer(c_in: int, c_out: int) -> int:
        return 27 * c_in * c_out + c_out

    encoder = layer(3, 64) + 2 * layer(64, 64) + 2 * layer(64, 128)
    body = 5 * (layer(64, 64) + 128) + 128 + layer(64, 3)
    decoder, block = layer(128, 64) + body, layer(3, 64) + body
    critic = layer(3, 64) + 5 * layer(64, 64) + layer(64, 1)
    assert count_parameters(recipe, ladder) == (encoder + decoder + 9 * block, critic)
