"""Samples are drawn or read when they are asked for; published ones are told by their names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from measuring import HEIGHT, WIDTH, write
from singleimage.errors import ImageError
from singleimage.generators.base import Generator
from singleimage.images.reader import read_photo
from singleimage.metrics.samples import DrawnSamples, SampleFiles, samples_of
from singleimage.models import model as models
from singleimage.models.model import Model


def test_a_model_draws_samples_one_by_one(
    tiny_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(tiny_runs["consingan"])
    drawn: list[int] = []
    original = models.sample

    def noted(generator: Generator, seeds: Sequence[int], **options: Any) -> torch.Tensor:
        drawn.extend(seeds)
        return original(generator, seeds, **options)

    monkeypatch.setattr(models, "sample", noted)
    samples = DrawnSamples(model, range(3, 43))
    pictures = iter(samples)
    first = next(pictures)
    assert drawn == [3]
    assert 1 + sum(1 for _ in pictures) == len(samples) == 40
    assert drawn == list(range(3, 43))
    assert torch.equal(samples[0].pixels, first.pixels)
    assert (drawn[-1], samples.name_of(0), samples.name_of(39)) == (3, "seed 3", "seed 42")


def touch(folder: Path, names: str) -> None:
    for name in names.split():
        (folder / name).touch()


def test_published_samples_are_those_of_the_photo(tmp_path: Path) -> None:
    touch(tmp_path, "1_0.png 1_10.png 1_2.png 11_0.png 1.png 21.png 1_a.png 1_2_3.png 10.jpg")
    names = {stem: [p.name for p in samples_of(Path(f"{stem}.jpg"), tmp_path)] for stem in "12"}
    assert names == {"1": ["1.png", "1_0.png", "1_2.png", "1_10.png"], "2": []}
    assert [p.name for p in samples_of(tmp_path / "x" / "10.png", tmp_path)] == ["10.jpg"]
    touch(tmp_path, "a.b_1.png axb_2.png")
    assert [p.name for p in samples_of(Path("a.b.jpg"), tmp_path)] == ["a.b_1.png"]


def test_files_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    _, files = write(tmp_path)
    gallery = SampleFiles([*files, tmp_path / "missing.png"])
    assert len(gallery) == 4
    assert torch.equal(gallery[1].pixels, read_photo(files[1]).pixels)
    assert gallery.name_of(2) == "2.png"
    pictures = iter(gallery)
    assert [next(pictures).size for _ in range(3)] == [(HEIGHT, WIDTH)] * 3
    with pytest.raises(ImageError):
        next(pictures)
