"""Hypernetworks as models: the models that they make of photos, and their files."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from singleimage import Model, Photo
from singleimage.errors import ArgumentError, ImageError, ModelFileError, RunError
from singleimage.images.channels import Channels
from singleimage.images.folder import read_album
from singleimage.models.hypermodel import HyperModel


@pytest.fixture(scope="module")
def photos(album: Path) -> list[Photo]:
    return read_album(album)


@pytest.fixture(scope="module")
def hyper(hyper_run: Path) -> HyperModel:
    return HyperModel.load(hyper_run, precision="fp32")


def test_models_differ_with_the_photo_and_not_with_their_company(
    hyper: HyperModel, photos: list[Photo]
) -> None:
    first, second = (next(hyper.model(photo).sample([1])).pixels for photo in photos[:2])
    assert not torch.equal(first, second)
    assert torch.equal(first, next(hyper.model(photos[0]).sample([1])).pixels)


def test_a_gray_photo_is_modelled_in_color(hyper: HyperModel, photos: list[Photo]) -> None:
    gray = Photo(photos[0].pixels[:1], Channels(mode="L"))
    assert len(next(hyper.model(gray).sample([0])).pixels) == 3
    with pytest.raises(ImageError, match="is color with alpha, the model was trained on color"):
        hyper.model(Photo(torch.ones(4, 44, 52), Channels(mode="RGBA")))


def test_a_training_does_not_begin_with_a_part_of_the_levels(
    hyper: HyperModel, photos: list[Photo]
) -> None:
    unfinished = replace(hyper, provenance=msgspec.structs.replace(hyper.provenance, levels=2))
    with pytest.raises(RunError, match="has 2 of 3 levels"):
        unfinished.start(photos[0])


def test_between_two_photos_lie_their_models(hyper: HyperModel, photos: list[Photo]) -> None:
    def state(t: float, level: int) -> dict[str, torch.Tensor]:
        return hyper.interpolated(photos[0], photos[1], t, level).generator.state_dict()

    ends = [hyper.model(photo).generator.state_dict() for photo in photos[:2]]
    middle = state(0.25, 0)
    for name in (name for name in middle if name.startswith("levels.")):
        mixed = torch.lerp(ends[0][name], ends[1][name], 0.25)
        torch.testing.assert_close(middle[name], mixed, rtol=1e-4, atol=1e-6)
    kept = state(1.0, 1)
    assert all(torch.equal(kept[n], ends[0][n]) for n in kept if n.startswith("levels.0."))
    assert any(not torch.equal(kept[n], ends[0][n]) for n in kept if n.startswith("levels.1."))


def test_among_three_photos_lie_their_weights(hyper: HyperModel, photos: list[Photo]) -> None:
    ends = [hyper.model(photo).generator.state_dict() for photo in photos[:3]]
    weights = [0.5, 0.2, 0.3]
    middle = hyper.mixed(photos[:3], weights, 0).generator.state_dict()
    for name in (name for name in middle if name.startswith("levels.")):
        mean = sum(w * end[name] for w, end in zip(weights, ends, strict=True))
        torch.testing.assert_close(middle[name], mean, rtol=1e-4, atol=1e-6)
    for wrong in ([0.5, 0.5], [0.5, 0.2, 0.2]):
        with pytest.raises(ArgumentError, match="so that their sum is 1"):
            hyper.mixed(photos[:3], wrong, 0)


def test_a_damaged_file_is_refused(hyper_run: Path, tmp_path: Path) -> None:
    data = bytearray((hyper_run / "model.safetensors").read_bytes())
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFileError, match="is no model, or is damaged"):
        HyperModel.load(tmp_path / "cut.safetensors")


def test_models_of_one_photo_and_of_several_are_not_taken_for_each_other(
    hyper: HyperModel, photos: list[Photo], hyper_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError, match="is a hypernetwork, which has no pictures of its own"):
        Model.load(hyper_run)
    hyper.model(photos[0]).save(tmp_path / "one.safetensors")
    with pytest.raises(ModelFileError, match="is a model of one photo, not a hypernetwork"):
        HyperModel.load(tmp_path / "one.safetensors")
