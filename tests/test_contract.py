"""Every method against every application: one set of laws, no method named."""

from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from singleimage import PRESETS, Model, Photo, Trainer, train
from singleimage.apps.sample import reconstruct, sample
from singleimage.errors import ArgumentError, SizeError, UnsupportedEntry
from singleimage.generators.base import Generator, Injection
from singleimage.images.channels import Channels
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import mix, splice
from tiny import FEWER, pattern, slow_but, tiny
from tiny import METHODS as TRAINED

METHODS = sorted([*TRAINED, "flow"])
"""What `quick` adds is in generators/test_finished.py."""
DRAFT = {"generator.steps": "6", "generator.redraws": "0"}
"""Of patch flow."""


def photo_in(mode: str) -> Photo:
    channels = Channels(mode=mode)  # type: ignore[arg-type]
    return Photo(pattern(channels.count), channels)


def made(name: str, mode: str = "RGB", **more: str) -> Model:
    recipe = tiny(PRESETS[name], **DRAFT, **more)
    return train(photo_in(mode), recipe, seed=1, device="cpu", precision="fp32")


def trained(name: str, seed: int) -> Trainer:
    photo, recipe = photo_in("RGB"), tiny(PRESETS[name], **FEWER)
    trainer = Trainer(photo, recipe, seed=seed, device="cpu", precision="fp32")
    for _ in trainer:
        pass
    return trainer


@pytest.fixture(scope="module", params=METHODS)
def model(request: pytest.FixtureRequest) -> Model:
    return made(request.param)


@pytest.fixture
def generator(model: Model) -> Generator:
    return model.generator


def test_samples_have_the_size_and_channels_of_the_photo(generator: Generator) -> None:
    images = sample(generator, [0, 1, 2])
    assert images.shape == (3, 3, 38, 46)
    assert images.dtype == torch.float32
    assert bool(torch.isfinite(images).all())


def test_samples_differ_from_each_other_and_from_the_reconstruction(generator: Generator) -> None:
    images = sample(generator, [0, 1])
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[:1], reconstruct(generator))


def test_a_sample_depends_on_its_seed_alone(generator: Generator) -> None:
    together = sample(generator, [5, 6, 7])
    alone = sample(generator, [6])
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-4)  # rounding of batches
    assert torch.equal(alone, sample(generator, [6]))


def test_a_picture_of_a_model_depends_on_its_seed_alone_bit_for_bit(model: Model) -> None:
    alone = next(model.sample([6]))
    assert torch.equal(list(model.sample([5, 6, 7]))[1].pixels, alone.pixels)


@pytest.mark.parametrize("size", [Size(60, 30), Size(25, 90), Size(38, 46)])
def test_samples_of_any_size(generator: Generator, size: Size) -> None:
    assert sample(generator, [0], size=size).shape == (1, 3, *size)


def test_the_smallest_size_works_and_smaller_is_refused_with_it(generator: Generator) -> None:
    least = generator.ladder.minimum()
    assert sample(generator, [0], size=least).shape[-2:] == least
    with pytest.raises(SizeError, match=rf"smallest size it can draw is {least}"):
        sample(generator, [0], size=Size(least.height - 2, least.width))


def lively(model: Model) -> Generator:
    """The generator with weights and amplitudes so large that the noise of all levels shows."""
    copy = deepcopy(model.generator)
    if not list(copy.parameters()):
        return copy
    weights = torch.Generator().manual_seed(2)
    for name, parameter in copy.named_parameters():
        if parameter.ndim == 4:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=weights)
            parameter.data.mul_(0.5 if len(parameter) == 3 else 1.0)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    copy.get_buffer("amplitudes").fill_(1.0)
    return copy


def test_the_higher_the_start_level_the_more_of_the_layout_stays(model: Model) -> None:
    generator, seeds = lively(model), range(8)
    base = reconstruct(generator)
    levels = len(generator.ladder.sizes)
    changes = [
        float((sample(generator, seeds, start_level=k) - base).square().mean())
        for k in range(levels)
    ]
    assert all(lower > 1.02 * higher for lower, higher in pairwise(changes)), changes


def test_a_start_level_is_a_level_and_keeps_the_size(generator: Generator) -> None:
    levels = len(generator.ladder.sizes)
    with pytest.raises(ArgumentError, match=f"use 0 to {levels - 1}"):
        sample(generator, [3], start_level=levels)
    with pytest.raises(ArgumentError, match="keeps the photo's layout"):
        sample(generator, [3], start_level=1, size=Size(60, 60))


def test_entries_are_taken_where_declared_and_refused_elsewhere(generator: Generator) -> None:
    sizes = generator.ladder.sizes
    latent = generator.draw(sizes, [0])
    for level in range(len(sizes)):
        image = pattern(3, sizes[max(level - 1, 0)])[None]
        if level in generator.entry_levels:
            entered = generator.decode(latent, Injection(level, image))
            assert entered.shape == (1, 3, *generator.ladder.finest)
            assert not torch.equal(entered, generator.decode(latent, Injection(level, -image)))
        else:
            with pytest.raises(UnsupportedEntry, match=f"level {level} cannot take an image"):
                generator.decode(latent, Injection(level, image))


def test_an_entry_of_a_wrong_size_is_refused_with_the_right_one(generator: Generator) -> None:
    level = min(generator.entry_levels)
    expected = generator.ladder.sizes[max(level - 1, 0)]
    with pytest.raises(UnsupportedEntry, match=f"must be {expected}, not 9x9"):
        generator.decode(
            generator.draw(generator.ladder.sizes, [0]), Injection(level, pattern(3, Size(9, 9)))
        )


def test_decoding_changes_nothing(model: Model) -> None:
    before = {name: t.clone() for name, t in model.generator.state_dict().items()}
    model.generator.train()
    modes = [part.training for part in model.generator.modules()]
    model.sample([0, 1])
    model.reconstruct()
    assert [part.training for part in model.generator.modules()] == modes
    after = model.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    model.generator.eval()


def test_latents_are_arithmetic(model: Model) -> None:
    generator = lively(model)
    sizes = generator.ladder.sizes
    a, b = generator.draw(sizes, [0]), generator.draw(sizes, [1])
    assert all(
        torch.equal(x, y) for x, y in zip(mix(a, b, 0.0).tensors(), a.tensors(), strict=True)
    )
    assert all(
        torch.equal(x, y) for x, y in zip(mix(a, b, 1.0).tensors(), b.tensors(), strict=True)
    )
    joined = splice(a, b, 2)
    assert torch.equal(generator.decode(splice(a, b, 0)), generator.decode(b))
    assert torch.equal(generator.decode(splice(a, b, len(sizes))), generator.decode(a))
    assert not torch.equal(generator.decode(joined), generator.decode(b))


def test_a_saved_model_draws_the_same_pictures(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = Model.load(path, precision="fp32")  # as it was trained
    assert loaded.recipe == model.recipe
    assert loaded.provenance == model.provenance
    for ours, theirs in zip(loaded.sample(range(3)), model.sample(range(3)), strict=True):
        assert torch.equal(ours.pixels, theirs.pixels)
    assert torch.equal(loaded.reconstruct().pixels, model.reconstruct().pixels)
    photo = loaded.training_image()
    assert photo is not None
    finest = model.training_image()
    assert finest is not None
    assert float((photo.pixels - finest.pixels).abs().max()) <= 1 / 255 + 1e-6


def test_a_model_can_be_saved_without_its_photo(model: Model, tmp_path: Path) -> None:
    if model.recipe.direct is not None:
        with pytest.raises(ArgumentError, match="draws from its photo"):
            model.save(tmp_path / "model.safetensors", embed_image=False)
        return
    model.save(tmp_path / "model.safetensors", embed_image=False)
    assert Model.load(tmp_path / "model.safetensors").training_image() is None


def test_a_model_shows_itself_in_a_notebook(model: Model) -> None:
    assert model._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("mode", slow_but(["L", "LA", "RGBA"], "RGBA"))
def test_channels_are_a_property_of_the_model(name: str, mode: str, tmp_path: Path) -> None:
    model = made(name, mode, **FEWER)
    model.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    picture = next(loaded.sample([0]))
    assert picture.channels.mode == mode
    assert picture.pixels.shape[0] == {"L": 1, "LA": 2, "RGBA": 4}[mode]


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_seed_gives_the_same_weights_and_another_others(name: str) -> None:
    ours, theirs, others = (trained(name, seed).learner.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert any(not torch.equal(ours[key], others[key]) for key in ours)


@pytest.mark.parametrize("name", METHODS)
def test_training_leaves_the_global_generator_alone(name: str) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    list(made(name, **FEWER).sample([0]))
    assert torch.equal(torch.random.get_rng_state(), before)
