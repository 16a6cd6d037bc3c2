"""Reports are one file, hold all they need, and are the same for the same samples."""

import json
import re
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from measuring import LITE, OF_FILES, photo_of, some, texture, write
from singleimage.bench.report import write_comparison, write_report
from singleimage.bench.table import Interval, Row
from singleimage.errors import OutputError
from singleimage.images.folder import pictures_in
from singleimage.images.photo import Photo
from singleimage.images.reader import read_photo
from singleimage.metrics.evaluation import Evaluation, Way, evaluate
from singleimage.metrics.features import Features, load_features
from singleimage.metrics.table import METRICS
from tiny import Command

pytestmark = pytest.mark.usefixtures("weights_kept")


class Outside(HTMLParser):
    """Notes what a page would fetch, and its words."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.pictures: list[str] = []
        self.tags: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "src" and (value or "").startswith("data:image/png;base64,"):
                self.pictures.append(value or "")
            elif name in {"src", "srcset", "href", "xlink:href", "data", "action", "poster"}:
                if not (value or "").startswith("#"):
                    self.fetched.append(f"{tag} {name}={value}")
            elif re.search(r"url\((?!#|&quot;#)", value or ""):
                self.fetched.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_the_report_holds_all_it_needs_and_says_the_numbers(
    tmp_path: Path, command: Command
) -> None:
    photo, _ = write(tmp_path)
    report = tmp_path / "page.html"
    done = command(f"evaluate {tmp_path / 'samples'} --real {photo} --report {report} --json")
    scores = json.loads(done.out)[LITE]
    assert done.err == f"report in {report}\n"
    text = report.read_text("utf-8")
    page = Outside()
    page.feed(text)
    assert page.fetched == []
    assert len(page.pictures) == 4 + 1 + 4  # photo and three samples, deviations, their fields
    assert page.tags.count("svg") == 1
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\(\s*['\"]?http", text)
    for address in re.findall(r"https?://[^\s\"'<>]+", text):
        assert re.match(
            r"http://(www\.w3\.org|purl\.org|creativecommons\.org)|https://matplotlib", address
        )
    words = " ".join(page.words.split())
    assert "samples against real.png" in words
    assert f"3 samples, features {LITE}, lossless pictures" in words
    for metric in OF_FILES:
        assert f"{metric.name} {scores[metric.name]:.4g} {metric.meaning}" in words
    for word in ("best", "median", "worst"):
        assert re.search(rf"{word} \(\d\.png\): SIFID \d", words)
    assert f"best ({best_of(tmp_path)}): SIFID {scores['sifid_min']:.4g}" in words


def best_of(folder: Path) -> str:
    files = pictures_in(folder / "samples")
    photo = read_photo(folder / "real.png")
    found = evaluate(map(read_photo, files), photo, load_features("efficientnet-lite0"))
    return files[int(np.argmin(found.sifid))].name


def test_the_report_of_the_same_samples_is_the_same_to_the_byte(
    tmp_path: Path, command: Command, tiny_runs: dict[str, Path]
) -> None:
    a, b = tmp_path / "a.html", tmp_path / "b.html"
    for path in (a, b):
        done = command(f"evaluate {tiny_runs['consingan']} -n 4 --report {path}")
        assert done.code == 0, done.err
    assert a.read_bytes() == b.read_bytes()
    assert "(seed " in a.read_text()
    assert "against its photo" in a.read_text()


class Listed(list[Photo]):
    def __init__(self, photos: Sequence[Photo], name: str = "x") -> None:
        super().__init__(photos)
        self._name = name

    def name_of(self, index: int) -> str:
        return f"{self._name}{index}"


@pytest.mark.slow
def test_a_report_can_be_made_of_any_distances() -> None:
    """Also of those that differ in their last digit alone, as copies may."""
    photo = photo_of(texture(0, 16, 18))
    for lowest, step in ((0.0, 0.0), (0.0, 5e-324), (0.1, 1.4e-17), (9.9, 1e-14), (2e4, 1e5)):
        distances = tuple(lowest + i * step for i in range(3))
        found = Evaluation(some(), distances, (0.0, 0.5, 1.0), torch.zeros(photo.size))
        text = write_report([found], Listed([photo] * 3), photo, title="copies")
        assert "<svg" in text
        assert "deviation of each pixel; white is 1 of 255" in text


def test_names_in_a_report_are_words_and_no_markup(features: Features) -> None:
    name = "<script>alert(1)</script>&"
    real, *samples = (photo_of(texture(seed)) for seed in range(3))
    found = evaluate(samples, real, features)
    text = write_report([found, found], Listed(samples, name), real, title=name)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;") >= 4
    assert text.count("<table>") == 2


def test_a_report_without_matplotlib_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    photo = photo_of(texture(0))
    found = Evaluation(some(), (1.0,), (0.0,), torch.zeros(4, 4))
    with pytest.raises(OutputError, match=r'pip install "singleimage\[metrics\]"'):
        write_report([found], Listed([photo]), photo, title="x")


def test_a_comparison_holds_its_tables_and_sheets_and_only_methods_with_a_diversity(
    tmp_path: Path,
) -> None:
    sheet = tmp_path / "sheet.png"
    Image.fromarray(texture(0)).save(sheet)
    interval = Interval(0.5, 0.4, 0.6)
    row = Row(
        method="ours",
        way=Way("net", "lossless"),
        photos=2,
        results=2,
        samples=4,
        numbers={metric.name: interval for metric in METRICS},
        copies=0.0,
        minutes=interval,
        parameters=10,
        levels=3,
    )
    single = msgspec.structs.replace(row, method="a single sample", samples=1)
    text = write_comparison(
        [("net <1>", (["method", "SIFID"], [["ours & theirs", "0.5"]]))],
        [row, single],
        {"ours": [(0.4, 0.5), (0.6, 0.5)]},
        [("ours/<1>", sheet)],
    )
    page = Outside()
    page.feed(text)
    assert page.fetched == []
    assert len(page.pictures) == page.tags.count("svg") == page.tags.count("table") == 1
    for words in ("net <1>", "ours & theirs", "ours/<1>", "Quality and diversity"):
        assert words in page.words
    assert "<1>" not in text
