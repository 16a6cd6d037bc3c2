"""Textured pictures to measure, and scores of them."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from singleimage.images.channels import Channels
from singleimage.images.photo import Photo
from singleimage.metrics.evaluation import Scores
from singleimage.metrics.table import METRICS

LITE = "efficientnet-lite0/block-1-expansion/57934424"
HEIGHT, WIDTH = 48, 60
OF_FILES = tuple(metric for metric in METRICS if metric.name not in ("copy_together", "leaked"))
"""What is measured of pictures of one photo that do not tell where their pixels come from."""


def texture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Colored waves with some grain, (H, W, 3)."""
    numbers = np.random.default_rng(seed)
    y, x = np.indices((height, width))
    values = numbers.normal(0, 10, (height, width, 3))
    for _ in range(12):
        slope, phase = numbers.normal(0, 0.3, 2), numbers.uniform(0, 6.3)
        wave = np.sin(slope[0] * y + slope[1] * x + phase)
        values += wave[..., None] * numbers.normal(0, 20, 3)
    rounded: NDArray[np.uint8] = (values + 128).clip(0, 255).astype(np.uint8)
    return rounded


def photo_of(values: NDArray[np.uint8]) -> Photo:
    pixels = torch.from_numpy(values.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
    return Photo(pixels, Channels(mode="RGB"))


def write(folder: Path, *, count: int = 3) -> tuple[Path, list[Path]]:
    """A photo and samples of it, as files."""
    (folder / "samples").mkdir()
    files = [folder / "samples" / f"{i}.png" for i in range(count)]
    for i, file in enumerate(files):
        Image.fromarray(texture(i + 1)).save(file)
    Image.fromarray(texture(0)).save(folder / "real.png")
    return folder / "real.png", files


def some(features: str = "a", files: str = "lossless", value: float = 1.0) -> Scores:
    """Scores whose numbers are all the same."""
    numbers = {metric.name: value for metric in METRICS}
    return Scores(features=features, files=files, samples=2, numbers=numbers)
