"""Contact sheets."""

from pathlib import Path

import numpy as np
import pytest
import torch

from singleimage.errors import OutputError
from singleimage.images.channels import Channels
from singleimage.images.photo import Photo
from singleimage.images.sheet import save_sheet, sheet


def test_a_sheet_shows_pictures_in_reading_order() -> None:
    grays = [-1.0, -0.5, 0.0, 0.5, 0.75]
    photos = [Photo(torch.full((1, 5, 6), g), Channels(mode="L")) for g in grays]
    page = np.asarray(sheet([p.preview() for p in photos], columns=2, gap=3))
    assert page.shape == (3 * 8 + 3, 2 * 9 + 3, 3)
    found = [int(page[3 + i // 2 * 8, 3 + i % 2 * 9, 0]) for i in range(5)]
    assert found == [round((g + 1) * 127.5) for g in grays]
    assert (page[-4, -4] == 255).all()


def test_a_sheet_is_about_square_by_itself() -> None:
    photos = [Photo(torch.zeros(1, 5, 5), Channels(mode="L"))] * 7
    tiles = [photo.preview() for photo in photos]
    assert sheet(tiles, gap=1).size == (19, 19)
    assert sheet(tiles[:1], gap=1).size == (7, 7)


def test_a_sheet_is_saved_once(tmp_path: Path) -> None:
    page = sheet([Photo(torch.zeros(1, 5, 5), Channels(mode="L")).preview()])
    save_sheet(page, tmp_path / "sheet.png", overwrite=False)
    with pytest.raises(OutputError, match="exists and would be replaced"):
        save_sheet(page, tmp_path / "sheet.png", overwrite=False)
    save_sheet(page, tmp_path / "sheet.png", overwrite=True)
