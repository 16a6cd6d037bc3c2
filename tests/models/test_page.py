"""A page of one file that draws new pictures of its photo in a browser."""

import base64
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from singleimage import Channels, Model, Photo, export, flow
from singleimage.errors import ArgumentError, OutputError, SizeError, UnsupportedEntry
from singleimage.images.values import Mode, to_integers
from singleimage.models.page import LEAST, SIDE
from singleimage.multiscale.geometry import Size
from tiny import Command, pattern, result

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def embedded(file: Path) -> np.ndarray:
    """The photo in a page, (H, W, 3)."""
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', file.read_text())
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_the_command_writes_a_page_with_the_photo(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    file = tmp_path / "page.html"
    told = result(command(f"export {photo_file} -o {file} --json"))
    assert told == {"file": str(file)}
    with Image.open(photo_file) as photo:
        np.testing.assert_array_equal(embedded(file), np.asarray(photo))
    text = file.read_text()
    assert "{{" not in text.split("<script")[0]
    data = re.search(r"data:image/png;base64,[^\"]+", text)
    assert data is not None
    assert len(text) - len(data[0]) < 40_000
    assert not re.findall(r"https?:|//cdn|import\(|fetch\(|XMLHttp|WebSocket|sendBeacon", text)
    assert command(f"export {photo_file} -o {file}").code == 2  # it is there
    assert command(f"export {photo_file} -o {file} --overwrite").code == 0


def test_large_photos_are_reduced_and_what_is_no_color_is_left_out(tmp_path: Path) -> None:
    large = Photo(pattern(4, Size(300, 500)), Channels(mode="RGBA"))
    export(flow(large), tmp_path / "page.html")
    assert embedded(tmp_path / "page.html").shape == (150, SIDE, 3)


@pytest.mark.parametrize(("mode", "colors"), [("LA", 1), ("RGBA", 3)])
def test_a_page_has_the_colors_of_what_is_transparent(
    mode: Mode, colors: int, tmp_path: Path
) -> None:
    """Not a checkerboard, of which it would draw pictures."""
    photo = Photo(pattern(colors + 1, Size(40, 50)), Channels(mode=mode))
    export(flow(photo), tmp_path / "page.html")
    expected = to_integers(photo.pixels[:colors]).repeat(3 // colors, 2)
    np.testing.assert_array_equal(embedded(tmp_path / "page.html"), expected)


def test_what_a_page_cannot_draw_is_refused(good_run: Path, tmp_path: Path) -> None:
    file, rgb = tmp_path / "page.html", Channels(mode="RGB")
    one, other = (Photo(pattern(3, Size(40, 50 + i)), rgb) for i in range(2))
    narrow = Photo(pattern(3, Size(LEAST, 2 * SIDE)), rgb)
    with pytest.raises(UnsupportedEntry, match="give the photo itself"):
        export(Model.load(good_run), file)
    with pytest.raises(ArgumentError, match="draws from one photo"):
        export(flow(one, other), file)
    with pytest.raises(ArgumentError, match="leave the size out"):
        export(flow(one), file, (30, 40))
    with pytest.raises(SizeError, match=f"{LEAST // 2}x{SIDE} on the page, .*; crop it"):
        export(flow(narrow), file)
    with pytest.raises(SizeError, match=r"16x16 on the page, .*; enlarge it"):
        export(flow(Photo(pattern(3, Size(16, 16)), rgb)), file)
    with pytest.raises(OutputError, match="there is no folder"):
        export(flow(one), tmp_path / "none" / "page.html")
    assert not list(tmp_path.iterdir())


class Opened:
    """A page in a browser, from a file."""

    def __init__(self, browser: Any, file: Path) -> None:
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page = browser.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(file.as_uri())
        self._drawn(0)

    def _drawn(self, seed: int) -> None:
        ready = f"() => !busy && document.querySelector('canvas').dataset.seed === '{seed}'"
        self.page.wait_for_function(ready, timeout=120_000)

    def draw(self, seed: int, **fields: Any) -> np.ndarray:
        """Fill the form and press the button; the picture (H, W, 3)."""
        self.page.evaluate("() => { delete document.querySelector('canvas').dataset.seed }")
        for name, value in {"seed": seed, **fields}.items():
            self.page.locator(f"#{name}").fill(str(value))
        self.page.click("#draw")
        self._drawn(seed)
        data = self.page.evaluate("() => document.querySelector('canvas').toDataURL()")
        with Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))) as picture:
            return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no browser; apt-get install chromium")
    file = tmp_path_factory.mktemp("page") / "page.html"
    noise = torch.randn(3, 96, 120, generator=torch.Generator().manual_seed(0))
    pixels = pattern(3, Size(96, 120)) * 0.8 + 0.1 * noise
    export(flow(Photo(pixels.clamp(-1, 1), Channels(mode="RGB"))), file)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        yield (found := Opened(browser, file))
        browser.close()
    assert not found.errors
    assert [url for url in found.asked if not url.startswith(("data:", "blob:"))] == [file.as_uri()]


def colors(values: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in values.reshape(-1, 3).tolist()}


@pytest.mark.slow
def test_a_seed_gives_one_picture_of_the_photos_pixels(opened: Opened) -> None:
    photo = embedded(Path(opened.page.url.removeprefix("file://")))
    first, second, again = (opened.draw(seed) for seed in (1, 2, 1))
    assert first.shape == photo.shape
    assert colors(first) <= colors(photo)
    assert colors(second) <= colors(photo)
    assert (first != photo).any(-1).mean() > 0.3
    assert (first != second).any(-1).mean() > 0.3
    np.testing.assert_array_equal(first, again)


@pytest.mark.slow
def test_pictures_have_the_size_that_is_asked_for_and_are_downloaded(
    opened: Opened, tmp_path: Path
) -> None:
    photo = embedded(Path(opened.page.url.removeprefix("file://")))
    picture = opened.draw(7, height=60, width=200)
    assert picture.shape == (60, 200, 3)
    assert colors(picture) <= colors(photo)
    with opened.page.expect_download() as begun:
        opened.page.click("#save")
    assert begun.value.suggested_filename == "7.png"
    begun.value.save_as(tmp_path / "7.png")
    with Image.open(tmp_path / "7.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved.convert("RGB")), picture)


OF_WORKER = """() => {
    const code = document.getElementById("worker").textContent;
    const { prepare, draw, gridOf } = Function(code + "return { prepare, draw, gridOf }")();
    const photo = { h: 232, w: 232, d: Float64Array.from({ length: 3 * 232 ** 2 }, Math.sin) };
    prepare(photo);
    const drawn = draw({ seed: 1, variety: 0.33, h: 24, w: 25 }, () => {}).d.length;
    const patches = (below, side) => {
        const { rows, columns } = gridOf({ stride: 1 }, below, side, side);
        return rows.length * columns.length;
    };
    return [drawn, patches(null, 300), patches(null, 1000)];
}"""


@pytest.mark.slow
def test_tiny_and_huge_pictures_of_any_photo_are_drawn(opened: Opened) -> None:
    """Three rows of patches are fewer than a step to a neighbor; patches of all pixels too many."""
    drawn, few, many = opened.page.evaluate(OF_WORKER)
    assert drawn == 3 * 24 * 25
    assert few == 294**2
    assert 50_000 < many < 110_000


@pytest.mark.slow
def test_the_more_variety_the_less_a_picture_is_the_photo(opened: Opened) -> None:
    photo = embedded(Path(opened.page.url.removeprefix("file://"))).astype(float)
    height, width = photo.shape[:2]
    errors = [
        np.abs(opened.draw(3, height=height, width=width, variety=share) - photo).mean()
        for share in (0, 0.33, 1)
    ]
    assert errors[0] < errors[1] < errors[2]
