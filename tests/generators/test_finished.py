"""Pictures that a network begins and the photo's patches finish."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import get_ident

import msgspec
import pytest
import torch
from msgspec.structs import replace
from PIL import Image

import singleimage as si
from pasting import with_square
from scenes import colors, disk, scene
from singleimage import PRESETS, Channels, Model, Photo, Recipe, Trainer, train
from singleimage.apps.inject import entering
from singleimage.apps.sample import sample
from singleimage.errors import ArgumentError, ModelFileError, RecipeError, UnsupportedEntry
from singleimage.generators.base import Injection
from singleimage.generators.finished import Finished, FinishSpec
from singleimage.generators.growing import Growing
from singleimage.images.channels import Mask
from singleimage.machine.blocks import Blocks
from singleimage.models.modelfile import file_of, metadata_of
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent
from singleimage.multiscale.resample import resize
from singleimage.recipes.tasks import for_task
from singleimage.training.run import Run
from tiny import Command, slow_but, tiny

PHOTO = Photo(scene(62, 74), Channels(mode="RGB"))
SMALL = {"pyramid.max_size": "36", "pyramid.min_size": "14", "training.steps": "2"}
DRAFT = FinishSpec(steps=5, redraws=1)
"""Of the finish, so that pictures come at once, if worse."""


def small(name: str = "quick", **more: str) -> Recipe:
    recipe = tiny(PRESETS[name], **{**SMALL, **more})
    return replace(recipe, finish=DRAFT)


def learned(recipe: Recipe, photo: Photo = PHOTO) -> Model:
    return train(photo, recipe, seed=1, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def model() -> Model:
    return learned(small())


@pytest.mark.parametrize(
    "name",
    slow_but(["consingan", "singan", "fast-stabilized", "hp-vae-gan", "meta-single"], "consingan"),
)
def test_every_method_can_be_finished(name: str, tmp_path: Path) -> None:
    """Its network learns and draws as without, bit for bit; pictures are the photo's pixels."""
    least = "16" if name == "singan" else "25"
    recipe = small(name, **{"pyramid.min_size": least})
    finished = learned(recipe)
    plain = learned(replace(recipe, finish=None))
    generator = finished.generator
    assert isinstance(generator, Finished)
    for key, tensor in plain.generator.state_dict().items():
        assert torch.equal(generator.state_dict()[key], tensor)
    sizes = plain.generator.ladder.sizes
    assert generator.ladder.sizes[: len(sizes)] == sizes
    noise = [x.draw(sizes, [4]) for x in (plain.generator, generator.network)]
    one, other = (plain.generator.decode(x) for x in noise)
    assert torch.equal(one, other)
    (picture,) = finished.sample([4])
    assert picture.size == PHOTO.size
    assert colors(picture) <= colors(PHOTO)
    finished.save(tmp_path / "m.safetensors")
    (again,) = Model.load(tmp_path / "m.safetensors", precision="fp32").sample([4])
    assert torch.equal(again.pixels, picture.pixels)


def test_pictures_depend_on_their_seed_alone(model: Model) -> None:
    one, two, three = model.sample([3, 4, 5])
    assert torch.equal(next(model.sample([4])).pixels, two.pixels)
    assert not torch.equal(one.pixels, two.pixels)
    assert not torch.equal(three.pixels, two.pixels)


@pytest.mark.parametrize("entering", [False, True])
def test_threads_do_not_switch_the_mode_of_the_network(
    entering: bool, model: Model, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """One that has just been trained; what enters sets its norms, so threads take no turns then."""
    generator = model.generator
    assert isinstance(generator, Finished)
    network = generator.network
    assert isinstance(network, Growing)
    sizes, found, decode = generator.ladder.sizes, [], network.decode

    def watched(latent: Latent, entry: Injection | None = None) -> torch.Tensor:
        found.append((network.training, get_ident()))
        return decode(latent, entry)

    monkeypatch.setattr(network, "decode", watched)
    torch.set_num_threads(2)
    small = resize(PHOTO.pixels[None], sizes[0]).repeat(4, 1, 1, 1)
    before = network.training
    network.train()
    try:
        generator.sources(
            generator.draw(sizes, range(4)), Injection(0, small) if entering else None
        )
        assert network.training
    finally:
        network.train(before)
    assert [training for training, _ in found] == [False] * 4
    assert ({thread for _, thread in found} == {get_ident()}) == entering


def test_the_network_draws_one_by_one_on_every_device(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where blocks of work are larger, so that rounding does not depend on the batch."""
    generator = model.generator
    assert isinstance(generator, Finished)
    network, batches = generator.network, []
    decode, sizes = network.decode, generator.ladder.sizes
    latent = generator.draw(sizes, range(3))
    usual = generator.sources(latent)

    def watched(latent: Latent, entry: Injection | None = None) -> torch.Tensor:
        batches.append(latent.batch)
        return decode(latent, entry)

    monkeypatch.setattr(network, "decode", watched)
    larger = nullcontext(Blocks(None, 64))
    monkeypatch.setattr("singleimage.generators.finished.in_blocks", lambda _: larger)
    assert torch.equal(generator.sources(latent), usual)
    assert batches == [1, 1, 1]


def test_any_size_and_tiles(model: Model) -> None:
    for size in (Size(40, 96), Size(72, 60), model.generator.ladder.minimum()):
        (picture,) = model.sample([0], size=size)
        assert picture.size == size
    (tile,) = model.sample([0], tile="xy")
    assert tile.size == PHOTO.size


def test_pictures_enter_where_it_is_said(model: Model) -> None:
    generator = model.generator
    assert isinstance(generator, Finished)
    sizes, count = generator.ladder.sizes, len(generator.network.ladder.sizes)
    latent = generator.draw(sizes, [0])
    assert generator.entry_levels == {0, *range(count, len(sizes))}
    for level in sorted(generator.entry_levels):
        image = resize(PHOTO.pixels[None], sizes[max(level - 1, 0)])
        entered = generator.decode(latent, Injection(level, image))
        assert entered.shape == (1, 3, *PHOTO.size)
        if level >= count:
            assert not torch.equal(entered, generator.decode(latent, Injection(level, -image)))
    with pytest.raises(UnsupportedEntry, match="level 1 cannot take an image"):
        generator.decode(latent, Injection(1, PHOTO.pixels[None]))


def test_the_network_decides_the_layout(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it draws, bright above or below, is where the picture is bright."""
    generator = model.generator
    assert isinstance(generator, Finished)
    generator = Finished(generator.network, FinishSpec(variety=1.0, renoise=0.5), PHOTO.pixels)
    sizes, pictures = generator.ladder.sizes, []
    for flipped in (False, True):
        photo = resize(PHOTO.pixels[None], generator.network.ladder.finest)
        image = photo.flip(-2) if flipped else photo
        monkeypatch.setattr(generator.network, "decode", lambda *_, image=image: image)
        pictures.append(generator.decode(generator.draw(sizes, [0])))
    upright, upended = ((x[0, 1, :16].mean() - x[0, 1, -16:].mean()) for x in pictures)
    assert float(upended) > float(upright) + 0.2


@pytest.mark.parametrize(
    "setting",
    slow_but(
        [
            {"renoise": 0.0},
            {"renoise": 0.3},
            {"variety": 0.1},
            {"stride": 1},
            {"steps": 2},
            {"factor": 0.9},
            {"redraws": 0},
        ],
        {"renoise": 0.3},
        {"variety": 0.1},
        {"redraws": 0},
    ),
    ids=str,
)
def test_every_setting_of_the_finish_changes_pictures(
    setting: dict[str, float], model: Model
) -> None:
    generator = model.generator
    assert isinstance(generator, Finished)
    fields = {"steps": 6, "redraws": 4}
    usual, other = (
        Finished(generator.network, msgspec.convert(fields | more, FinishSpec), PHOTO.pixels)
        for more in ({}, setting)
    )
    one, two = (x.decode(x.draw(x.ladder.sizes, [4])) for x in (usual, other))
    assert not torch.equal(one, two)


def test_a_start_level_keeps_layout(model: Model) -> None:
    last = len(model.generator.ladder.sizes) - 1
    (picture,) = model.sample([0], start_level=last)
    whole = model.reconstruct()
    assert picture.size == whole.size == PHOTO.size
    with pytest.raises(ArgumentError, match=f"use 0 to {last}"):
        model.sample([0], start_level=last + 1)


@pytest.mark.slow
def test_from_any_start_level_a_picture_is_what_its_seed_gives_alone(model: Model) -> None:
    network = model.generator.network  # type: ignore[attr-defined]
    spec = FinishSpec(factor=0.8, steps=2, redraws=0)
    generator = Finished(network, spec, PHOTO.pixels)
    count = len(generator.ladder.sizes)
    assert count >= len(network.ladder.sizes) + 2
    for level in range(count):
        several = sample(generator, [3, 4], start_level=level)
        alone = sample(generator, [4], start_level=level)
        assert torch.equal(several[1:], alone), level


TOOLS: dict[str, Callable[[Model], list[Photo]]] = {
    "fill": lambda model: si.fill(model, PHOTO, mask=disk(PHOTO.size), seeds=[0, 1]),
    "extend": lambda model: si.extend(model, PHOTO, left=12, seeds=[0, 1]),
    "harmonize": lambda model: si.harmonize(model, *pasted(), seeds=[0, 1]),
    "edit": lambda model: si.edit(model, *pasted(), seeds=[0, 1]),
    "paint": lambda model: si.paint(model, PHOTO, seeds=[0, 1]),
    "upscale": lambda model: si.upscale(model, factor=1.5),
}


def pasted() -> tuple[Photo]:
    return (with_square(PHOTO)[0],)


@pytest.mark.parametrize("tool", TOOLS)
def test_tools_work(tool: str, model: Model) -> None:
    for picture in TOOLS[tool](model):
        assert bool(torch.isfinite(picture.pixels).all())
        assert min(picture.size) >= min(PHOTO.size)


def test_keep_and_masks_go_along() -> None:
    mask = (PHOTO.pixels[:1] > 0).float() * 2 - 1
    channels = Channels(mode="RGB", masks=(Mask(),))
    model = learned(small(), Photo(torch.cat([PHOTO.pixels, mask]), channels))
    (picture,) = model.sample([0])
    assert picture.pixels.shape[0] == 4
    torch.testing.assert_close(picture.pixels[3:], (picture.pixels[:1] > 0).float() * 2 - 1)
    keep = disk(PHOTO.size)
    (kept,) = model.sample([0], keep=keep)
    stays = keep.pixels[0] > 0
    whole = model.training_image()
    assert whole is not None
    assert torch.equal(kept.pixels[:, stays], whole.pixels[:, stays])


def test_a_photo_that_the_network_learns_whole_is_not_finished() -> None:
    photo = Photo(scene(28, 36), Channels(mode="RGB"))
    model = learned(small(), photo)
    assert model.generator.copier is None
    assert next(model.sample([0])).size == photo.size


def test_large_photos_are_finished_up_to_a_size(tmp_path: Path) -> None:
    spec = replace(DRAFT, max_size=48)
    model = learned(replace(small(), finish=spec))
    assert model.size == next(model.sample([0])).size == Size(41, 48)
    model.save(tmp_path / "m.safetensors")
    again = Model.load(tmp_path / "m.safetensors", precision="fp32")
    assert torch.equal(next(again.sample([0])).pixels, next(model.sample([0])).pixels)
    assert spec.reduced(PHOTO.pixels[:, :30, :40]).shape == (3, 30, 40)
    whole = FinishSpec(max_size=None)
    assert whole.reduced(PHOTO.pixels).shape == PHOTO.pixels.shape


def test_drafts_are_finished_too() -> None:
    trainer = Trainer(PHOTO, small(), seed=1, device="cpu", precision="fp32")
    next(iter(trainer))
    (picture,) = trainer.draft().sample([0])
    assert picture.size == PHOTO.size


def test_previews_before_the_last_level_are_the_network_s(tmp_path: Path) -> None:
    """Finishing them would take longer than training, and show little of it."""
    recipe = small()
    for progress in Run(tmp_path, PHOTO, recipe, seed=1, device="cpu"):
        if progress.level_done:
            with Image.open(tmp_path / f"previews/level-{progress.level}.png") as page:
                width = page.width / 3
            last = progress.level == progress.levels - 1
            assert width >= PHOTO.size.width if last else width < PHOTO.size.width / 2


def test_what_the_network_alone_draws(model: Model) -> None:
    alone = model.unfinished()
    assert alone.unfinished() is alone
    assert alone.recipe.finish is None
    (picture,) = alone.sample([0])
    assert picture.size == alone.size == model.generator.network.ladder.finest  # type: ignore[attr-defined]
    assert picture.rearrangement is None


def test_it_is_saved_with_its_photo(model: Model, tmp_path: Path, command: Command) -> None:
    with pytest.raises(ArgumentError, match="draws from its photo"):
        model.save(tmp_path / "m.safetensors", embed_image=False)
    PHOTO.save(tmp_path / "photo.png")
    done = command(f"train {tmp_path}/photo.png -o {tmp_path}/r --no-embed-image")
    assert done.code == 2
    assert "a quick model draws from its photo; leave out --no-embed-image" in done.err
    state = model.generator.state_dict()
    tensors = {f"generator.{name}": tensor.contiguous() for name, tensor in state.items()}
    metadata = metadata_of(model.recipe, model.channels, model.provenance)
    (tmp_path / "bare.safetensors").write_bytes(file_of(tensors, metadata))
    with pytest.raises(ModelFileError, match="it holds no photo"):
        Model.load(tmp_path / "bare.safetensors")


def test_it_does_not_move_and_what_is_made_for_that_is_not_finished(model: Model) -> None:
    with pytest.raises(UnsupportedEntry, match="--for animate"):
        si.animate(model, frames=2)
    for name in ("quick", "standard"):
        moving = for_task(PRESETS[name], "animate")
        assert moving.finish is None
        ladder = moving.pyramid.plan(Size(188, 250))
        assert (len(ladder.sizes), ladder.finest) == (5, Size(85, 112))
        for task in ("harmonize", "edit", "paint"):
            assert for_task(PRESETS[name], task) == PRESETS[name]


def test_only_networks_of_photos_are_finished() -> None:
    with pytest.raises(ValueError, match="finish goes with a network of photos"):
        replace(PRESETS["flow"], finish=FinishSpec())
    with pytest.raises((RecipeError, ValueError), match="finish goes with"):
        replace(for_task(PRESETS["hp-vae-gan"], "video"), finish=FinishSpec())


def test_all_of_a_drawing_enters(model: Model) -> None:
    """Mirrored, it enters mirrored, though the network's sizes are rounded."""
    drawing = resize(PHOTO.pixels[None], model.generator.ladder.finest)
    for level in sorted(model.generator.entry_levels):
        one, other = (
            entering(model.generator, x, level=level)[1].image for x in (drawing, drawing.flip(3))
        )
        assert float((one - other.flip(3)).abs().max()) < 0.05, level
