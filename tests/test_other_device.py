"""On another device than the processor: nothing needs tensors of both, or what is missing there."""

from collections.abc import Iterator

import pytest
import torch

import singleimage as si
from clips import TINY, clip
from pretend import pretended
from singleimage import PRESETS, Channels, Photo, Trainer
from singleimage.errors import DeviceError
from singleimage.metrics.evaluation import evaluate
from singleimage.metrics.features import Features, load_features
from singleimage.models.hypermodel import HyperModel
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.resample import resize
from singleimage.nn.precision import Precision
from tiny import FEWER, METHODS, PHOTO, album_recipe, pattern, slow_but, tiny

PRECISIONS: dict[str, Precision] = {"fast-stabilized": "bf16", "singan": "bf16"}
"""Of the methods with norms, whose weights stay in float32; fp32 of the others."""
RGB = Channels(mode="RGB")
LEFT = Photo(
    torch.where(torch.arange(PHOTO.width) < 20, 1.0, -1.0).expand(1, *PHOTO).clone(),
    Channels(mode="L"),
)
"""A mask of the left part."""


@pytest.fixture
def device() -> Iterator[str]:
    """The name of a device that is there meanwhile."""
    with pretended() as name:
        yield name


def trained(name: str, device: str) -> Trainer:
    precision = PRECISIONS.get(name, "fp32")
    recipe = tiny(PRESETS[name], **FEWER)
    trainer = Trainer(Photo(pattern(3), RGB), recipe, seed=1, device=device, precision=precision)
    for _ in trainer:
        pass
    return trainer


def assert_drawn(*pictures: Photo) -> None:
    for picture in pictures:
        assert picture.pixels.device.type == "cpu"
        assert bool(picture.pixels.isfinite().all())


@pytest.mark.parametrize("name", slow_but(METHODS, "consingan"))
def test_every_method_trains_and_draws(name: str, device: str) -> None:
    trainer = trained(name, device)
    assert trainer.learner.device == torch.device(device)
    model = trainer.model()
    assert_drawn(*model.sample([0]), model.reconstruct())


@pytest.mark.slow
def test_a_hypernetwork_makes_models_and_adapts_them(device: str) -> None:
    photos = [Photo(pattern(3).roll(5 * i, 2), RGB) for i in range(2)]
    recipe = album_recipe(**{"training.steps": "1"})
    trainer = Trainer(photos, recipe, seed=1, device=device, precision="fp32")
    for _ in trainer:
        pass
    hyper: HyperModel = trainer.hyper_model()
    assert_drawn(*hyper.interpolated(*photos, 0.5, 1).sample([0]))
    start = hyper.start(photos[0])
    adapting = Trainer(
        photos[0], recipe.of_one(), seed=1, device=device, precision="fp32", start=start
    )
    for _ in adapting:
        pass
    assert_drawn(*adapting.model().sample([0]))


@pytest.mark.slow
def test_pictures_enter_a_network(device: str) -> None:
    model, photo = trained("singan", device).model(), Photo(pattern(3), RGB)
    assert_drawn(*si.fill(model, photo, mask=LEFT), *si.harmonize(model, photo, mask=LEFT))
    assert_drawn(*si.paint(model, photo), *si.upscale(model, factor=2.0))
    assert_drawn(*si.animate(model, frames=2, loop=True))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_flow")
def test_a_photo_draws_and_is_retouched(device: str) -> None:
    photo = Photo(pattern(3), RGB)
    model = si.flow(photo, device=device)
    assert_drawn(*model.sample([0, 1]), *model.sample([0], keep=LEFT), model.reconstruct())
    assert_drawn(*si.fill(model, mask=LEFT), *si.extend(model, left=8))
    assert_drawn(*si.harmonize(model, photo, mask=LEFT), *si.upscale(model, factor=1.5))
    assert_drawn(*si.flow(photo, Photo(-photo.pixels, RGB), device=device).sample([0], tile="xy"))


def test_an_evaluation_gives_the_same_numbers(features: Features) -> None:
    photo = Photo(pattern(3), RGB)
    samples = [Photo(pattern(3).roll(shift, 2), RGB) for shift in (3, 9)]
    expected = evaluate(samples, photo, features).scores.numbers
    with pretended() as device:
        there = load_features("efficientnet-lite0", device=device)
        assert evaluate(samples, photo, there).scores.numbers == pytest.approx(expected, rel=1e-6)


def test_a_large_picture_is_resized_alike(device: str) -> None:
    column = torch.linspace(-1, 1, 330).view(1, 1, -1, 1)
    found = resize(column.to(device), Size(340, 1)).cpu()
    assert torch.allclose(found, resize(column, Size(340, 1)), atol=1e-6)


def test_clips_are_refused_on_mps(device: str) -> None:
    with pytest.raises(DeviceError, match="use --device cpu"):
        Trainer(clip(), TINY, seed=1, device=device)
