"""The site: what its pages show runs, its links lead somewhere, and it fetches nothing."""

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

import singleimage
from singleimage import PRESETS, with_overrides
from singleimage.cli import COMMANDS, main
from small_jobs import Inline
from test_docs import ROOT, fences
from tiny import QUICK_FLOW, album_recipe, draw, tiny

DOCS = ROOT / "docs"
PAGES = [DOCS / "start.md", DOCS / "provenance.md", *sorted((DOCS / "how").glob("*.md"))]
"""The pages whose code is run."""
SLOW = {"animate", "compare", "many", "method", "provenance", "sprites", "textures", "upscale"}
"""Those that train, or load the features that distances are taken in."""
PICTURES = {
    "wall.png": (40, 50), "wall2.png": (40, 50), "wall_normal.png": (40, 50),
    "scan.png": (40, 50), "scans/scan.png": (40, 50),
    "small.png": (24, 28), "original.png": (96, 112),
    "photos/a.png": (40, 50), "photos/b.png": (40, 50),
    "samples/a_0.png": (40, 50), "samples/a_1.png": (40, 50), "samples/b_0.png": (40, 50),
}  # fmt: skip
"""Pictures that a reader has before a page begins, beside the photo, and their sizes."""
MASKS = ("hole.png", "object.png", "organ.png", "lesions.png", "labels/scan.png", "face.png")
ELSEWHERE = ("pip install ", "ray start ")
"""Commands that are not run here; nor is what goes to a cluster."""
SMALL = {"pyramid.max_size": "40", "pyramid.levels": "3"}
"""Fields that make trainings smaller still than `tiny` does."""
QUICK = QUICK_FLOW | {"generator.patches": "200", "generator.rank": "8"}
"""Fields that make patch flow quick."""


def lay_out(folder: Path) -> None:
    """The files that pages begin with."""
    for i, (name, size) in enumerate(PICTURES.items()):
        draw(folder / name, i % 3, size)
    photo = Image.fromarray(np.asarray(Image.open(draw(folder / "photo.png", 1, (40, 50)))))
    photo.save(folder / "photo.jpg", quality=95)
    for name in ("moved.png", "pasted.png"):
        changed = photo.copy()
        changed.paste((220, 30, 40), (12, 10, 24, 20))
        changed.save(folder / name)
    photo.convert("L").save(folder / "wall_height.png")
    sprite = photo.quantize(8).convert("RGB")
    sprite.save(folder / "sprite.png")
    sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "sprite2.png")
    mask = np.zeros((40, 50), np.uint8)
    mask[12:22, 15:28] = 255
    for name in MASKS:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / name)


def lines_of(block: str) -> list[str]:
    """The commands of a block that are to be run."""
    kept = (line.partition(" #")[0].strip() for line in block.splitlines())
    return [line for line in kept if not line.startswith(ELSEWHERE) and "--ray" not in line]


def run(line: str) -> None:
    """Run a command, with few pictures and one training."""
    line = re.sub(r"--seeds \d+", "--seeds 1", re.sub(r" -n \d+", " -n 2", line))
    name, *words = shlex.split(line)
    assert name == "singleimage", line
    assert main(words) == 0, line


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page.stem in SLOW else []) for page in PAGES],
    ids=lambda page: page.stem,
)
def test_the_code_of_a_page_runs_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("singleimage.jobs.local.LocalPool", Inline)
    for name, recipe in PRESETS.items():
        small = with_overrides(recipe, QUICK) if name == "flow" else tiny(recipe, **SMALL)
        monkeypatch.setitem(PRESETS, name, small)
    monkeypatch.setitem(PRESETS, "meta-small", album_recipe())
    monkeypatch.setattr("singleimage.models.flow.FLOW", PRESETS["flow"])
    lay_out(tmp_path)
    names: dict[str, object] = {}
    for language, block in fences(page.read_text()):
        if language == "python":
            exec(block, names)
        elif not language:
            for line in lines_of(block):
                run(line)


def test_every_page_shows_code_that_runs() -> None:
    counts = {page.stem: 0 for page in PAGES}
    for page in PAGES:
        for language, block in fences(page.read_text()):
            assert language in ("", "python", "text"), page
            if language != "text":
                counts[page.stem] += len(lines_of(block)) if not language else 1
    assert min(counts.values()) >= 2, counts
    assert sum(counts.values()) >= 60, counts


class Links(HTMLParser):
    """What a page of the site refers to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        """What a browser asks for by itself."""
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a":
            self.links += [found["href"]] if "href" in found else []
        else:
            self.fetched += [found[name] for name in ("src", "href", "srcset") if name in found]


def test_the_python_page_lists_every_public_name() -> None:
    python = (DOCS / "reference" / "python.md").read_text()
    listed = re.findall(r"singleimage\.(\w+)$", python, flags=re.M)
    assert sorted(listed) == singleimage.__all__


def test_the_site_is_whole_and_fetches_nothing() -> None:
    built = DOCS / "_build"
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(built)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sources = [page for page in DOCS.rglob("*.md") if built not in page.parents]
    paths = [built / page.relative_to(DOCS).with_suffix(".html") for page in sources]
    pages = {path: Links(path) for path in paths}
    assert len(pages) >= 30
    for path, page in pages.items():
        for target in page.links:
            url = urlsplit(target)
            if url.scheme:
                continue
            there = (path.parent / unquote(url.path)).resolve() if url.path else path
            assert there.is_file(), f"{path}: {target}"
            if url.fragment and there in pages:
                assert unquote(url.fragment) in pages[there].anchors, f"{path}: {target}"
        for target in page.fetched:
            assert not re.match(r"\w+:|//", target) or target.startswith("data:"), target
    for sheet in (built / "_static").rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text()), sheet
    for name, words in (
        ("commands", [command.__name__.replace("_", "-") for command in COMMANDS]),
        ("recipes", list(PRESETS)),
    ):
        text = (built / "reference" / f"{name}.html").read_text()
        assert [word for word in words if word not in text] == []
