"""The site: what its pages show runs, its links lead somewhere, and it fetches nothing."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import singleimage
from singleimage import PRESETS
from singleimage.cli import COMMANDS, main
from singleimage.recipes.overrides import fields_of
from test_docs import ROOT, fences
from tiny import draw, tiny

DOCS = ROOT / "docs"
PAGES = [DOCS / "start.md", *sorted((DOCS / "how").glob("*.md"))]
LARGE = {"original.png": (96, 112), "small.png": (24, 28)}
"""Sizes of pictures that are not 40x50."""
MASKS = {"hole.png", "object.png", "organ.png", "lesions.png", "face.png", "labels/scan.png"}
PICTURES = {
    *("photo.jpg", "photo.png", "wall.png", "wall2.png", "wall_normal.png", "sprite.png"),
    *("sprite2.png", "scan.png", "scans/scan.png", "moved.png", "pasted.png", "small.png"),
    *("original.png", "photos/a.png", "photos/b.png", "samples/a_0.png", "samples/a_1.png"),
    "samples/b_0.png",
}
"""What a reader has before a page begins. Masks are white where they mark."""
ELSEWHERE = ("pip install ", "ray start ")
"""Commands that are not run here; nor is what goes to a cluster."""
SMALL = {
    "pyramid.max_size": "40",
    "pyramid.levels": "3",
    "training.steps": "2",
    "generator.steps": "4",
    "generator.redraws": "0",
}
SLOW = {"animate", "many", "compare", "method", "upscale"}
"""Pages that train, or load the features that distances are taken in."""


def lay_out(folder: Path) -> None:
    """The files that pages begin with."""
    for i, name in enumerate(sorted(PICTURES)):
        draw(folder / name, i % 3, LARGE.get(name, (40, 50)))
    mask = np.zeros((40, 50), np.uint8)
    mask[12:22, 15:28] = 255
    for name in MASKS:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / name)
    drawn = Image.open(folder / "sprite.png").quantize(8).convert("RGB")
    drawn.save(folder / "sprite.png")
    drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "sprite2.png")


def commands_of(block: str) -> Iterator[list[str]]:
    """The commands of a block that are to be run, as words."""
    for line in block.splitlines():
        if not line.startswith(ELSEWHERE) and "--ray" not in line:
            words = shlex.split(line, comments=True)
            assert words[0] == "singleimage", line
            yield words[1:]


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.slow] if p.stem in SLOW else []) for p in PAGES],
    ids=lambda page: page.stem,
)
def test_the_code_of_a_page_runs_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, recipe in PRESETS.items():
        monkeypatch.setitem(PRESETS, name, tiny(recipe, **SMALL))
    lay_out(tmp_path)
    names: dict[str, object] = {}
    for language, block in fences(page.read_text()):
        if language == "python":
            exec(block, names)
        elif not language:
            for words in commands_of(block):
                assert main(words) == 0, words
