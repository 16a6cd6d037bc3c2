"""Every command of the pages to learn from runs, in order, in a folder with a user's files."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from singleimage import PRESETS, with_overrides
from small_jobs import Inline
from tiny import Command, album_recipe, draw

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "start.md", DOCS / "provenance.md", *sorted((DOCS / "how").glob("*.md"))]
SIZE = (48, 56)
SHORT = {
    "train": " --steps 1",
    "bench": " --workers 1",
    "train photos": " --steps 1 --device cpu:1",
}
"""What is added to commands that take long."""


QUICK = {"generator.steps": "2", "generator.redraws": "0", "generator.patches": "200"}
"""Fields that make patch flow fast."""


def mark(path: Path, box: tuple[int, int, int, int]) -> None:
    picture = Image.new("L", SIZE[::-1])
    ImageDraw.Draw(picture).rectangle(box, fill=255)
    picture.save(path)


def sprite(path: Path, color: tuple[int, int, int]) -> None:
    pixels = np.zeros((16, 12, 4), np.uint8)
    pixels[2:14, 3:9] = (*color, 255)
    pixels[4:6, 4:8] = (250, 220, 180, 255)
    Image.fromarray(pixels).save(path)


def edited(folder: Path, name: str, change: Callable[[Image.Image], object]) -> None:
    with Image.open(folder / "photo.jpg") as photo:
        picture = photo.convert("RGB")
    change(picture)
    picture.save(folder / name)


def fill(folder: Path) -> None:
    """The files that the pages speak of."""
    draw(folder / "photo.jpg", 1, SIZE)
    draw(folder / "original.png", 1, (SIZE[0] * 2, SIZE[1] * 2))
    for i, name in enumerate(("brick", "normals", "heights", "scan")):
        draw(folder / f"{name}.png", i, SIZE)
    for i in (1, 2):
        draw(folder / "photos" / f"{i}.jpg", i, SIZE)
    mark(folder / "lesions.png", (8, 8, 20, 24))
    mark(folder / "organ.png", (30, 10, 50, 40))
    mark(folder / "hole.png", (20, 16, 32, 28))
    edited(folder, "painted.png", lambda x: ImageDraw.Draw(x).ellipse((20, 16, 32, 28), "red"))
    edited(folder, "pasted.png", lambda x: x.paste((200, 30, 40), (20, 16, 32, 28)))
    edited(folder, "moved.png", lambda x: x.paste(x.crop((0, 0, 14, 14)), (30, 20)))
    sprite(folder / "sprite.png", (40, 90, 200))
    sprite(folder / "other.png", (200, 60, 40))
    head = Image.new("L", (12, 16))
    ImageDraw.Draw(head).rectangle((3, 2, 8, 6), fill=255)
    head.save(folder / "head.png")


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```\n(.*?)```", page.read_text(), flags=re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("singleimage ")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    fill(folder)
    return folder


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[] if page == PAGES[0] else pytest.mark.slow) for page in PAGES],
    ids=lambda page: page.stem,
)
def test_every_command_of_a_page_runs(
    page: Path,
    files: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
) -> None:
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("singleimage.jobs.local.LocalPool", Inline)
    monkeypatch.setitem(PRESETS, "meta-small", album_recipe())
    monkeypatch.setattr("singleimage.models.flow.FLOW", with_overrides(PRESETS["flow"], QUICK))
    for line in commands(page):
        _, name, first, *_ = line.split()
        more = SHORT.get(f"{name} {first}", SHORT.get(name, ""))
        done = command(line.removeprefix("singleimage ") + more)
        assert done.code == 0, (line, done.err)
        assert "Traceback" not in done.err


def test_the_pages_show_commands_and_lead_to_every_page() -> None:
    counts = {page.stem: len(commands(page)) for page in PAGES}
    without = {name for name, count in counts.items() if not count}
    assert without == {"method"}
    assert sum(counts.values()) >= 35
    index = (DOCS / "index.md").read_text()
    listed = re.findall(r"^([\w/-]+)$", index, flags=re.M)
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")}
    assert {name for name in pages if not name.startswith("_")} == {"index", *listed}
