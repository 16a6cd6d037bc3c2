"""A photo in a file."""

from pathlib import Path

import pytest

from encoded import noise, save_png


@pytest.fixture
def photo_path(tmp_path: Path) -> Path:
    return save_png(tmp_path / "photo.png", noise(10, 12, 3))
