"""An evaluation as one HTML file that needs nothing else: pictures, charts and numbers."""

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from singleimage.bench.table import PLOTTED, Row
from singleimage.errors import OutputError
from singleimage.images.channels import Channels
from singleimage.images.photo import Photo
from singleimage.images.sheet import png_bytes
from singleimage.metrics.copying import COPY, PatchSearch
from singleimage.metrics.evaluation import Evaluation, Scores
from singleimage.metrics.samples import Samples
from singleimage.metrics.table import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 512
"""Pictures are reduced to it."""
FIELD_STEP = 2
"""Pixels between the patches of a nearest-neighbor field that is shown."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top }
figure img { max-width: 100%; image-rendering: auto; display: block }
figcaption, .note { color: #666; font-size: .85rem; max-width: 34rem }
table { border-collapse: collapse } td, th { padding: .2rem .9rem .2rem 0; text-align: left }
td { vertical-align: top; white-space: nowrap } td.words { white-space: normal }
td.number { text-align: right; font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto }
"""


def write_report(
    evaluations: Sequence[Evaluation], samples: Samples, real: Photo, *, title: str
) -> str:
    """Write the page of an evaluation, HTML in one piece.

    Args:
        evaluations: of the same samples in different features; the first leads.
        samples: that were evaluated.
        real: the photo.
        title: of the page.

    Raises:
        OutputError: matplotlib, which draws the charts, is not installed.
    """
    lead = evaluations[0]
    search = PatchSearch(real.colors())
    shown = dict(zip(("best", "median", "worst"), lead.ranked(), strict=True))
    pictures = [_figure(_reduced(real.preview()), "the photo")]
    fields = [_figure(_field(search, real), "the photo itself: what a copy looks like")]
    for word, index in shown.items():
        sample = samples[index]
        name = html.escape(samples.name_of(index))
        note = f"{word} ({name}): SIFID {lead.sifid[index]:.4g}"
        pictures.append(_figure(_reduced(sample.preview()), note))
        fields.append(
            _figure(_field(search, sample), f"{word}: {lead.continuing[index]:.0%} continues")
        )
    body = [
        f"<h1>{html.escape(title)}</h1>",
        *(_table(evaluation.scores) for evaluation in evaluations),
        "<h2>Samples</h2>",
        *pictures,
        "<h2>Over all samples</h2>",
        _histograms(lead),
        _deviation(lead.deviation),
        "<h2>Where patches match the photo</h2>",
        '<p class="note">Red says from which row of the photo a patch comes, green from which '
        "column; blue matches a mirror image. Smooth areas are pasted, speckle is new.</p>",
        *fields,
    ]
    return page(title, body)


def write_comparison(
    tables: Sequence[tuple[str, tuple[Sequence[str], Sequence[Sequence[str]]]]],
    rows: Sequence[Row],
    points: Mapping[str, Sequence[tuple[float, float]]],
    sheets: Sequence[tuple[str, Path]],
) -> str:
    """The page of a benchmark.

    Args:
        tables: a title, then header and cells, of each.
        rows: the methods, measured in one way.
        points: of each method, the diversity-intensity and the mSIFID of every photo.
        sheets: pictures to show, with a caption each.
    """
    body = ["<h1>Benchmark</h1>"]
    for title, (header, cells) in tables:
        body += [f"<h2>{html.escape(title)}</h2>", _cells(header, cells)]
    body += ["<h2>Quality and diversity</h2>", _pareto(rows, points)]
    body.append(
        '<p class="note">Down and right is better: a sample set that copies its photo is at the '
        "lower left, one of unrelated pictures at the upper right. Small dots are photos, large "
        "ones means with 95 % intervals; a larger ring is a longer training.</p>"
    )
    body.append("<h2>The photo, then its first samples</h2>")
    for caption, path in sheets:
        with Image.open(path) as picture:
            body.append(_figure(picture.convert("RGB"), html.escape(caption)))
    return page("Benchmark", body)


def page(title: str, body: Iterable[str]) -> str:
    """Join the parts of `body` to an HTML document with our style, called `title`."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="generator" content="singleimage">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def require_charts() -> None:
    """Raises `OutputError` if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise OutputError('charts need matplotlib; run: pip install "singleimage[metrics]".')


def chart(draw: Any, *, size: tuple[float, float]) -> str:
    """An SVG element of what `draw(figure)` draws with matplotlib; `size` in inches.

    Raises:
        OutputError: matplotlib is not installed.
    """
    require_charts()
    import matplotlib
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "singleimage", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _cells(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    lines = (
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in cells
    )
    return f"<table><tr>{titles}</tr>{''.join(lines)}</table>"


def _pareto(rows: Sequence[Row], points: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    def draw(figure: Any) -> None:
        axes: Axes = figure.subplots()
        colors = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
        for row, color in zip(rows, cycle(colors), strict=False):
            if row.samples == 1 or not set(PLOTTED) <= row.numbers.keys():  # has no diversity
                continue
            x, y = (row.numbers[name] for name in PLOTTED)
            for diversity, distance in points[row.method]:
                axes.plot(diversity, distance, ".", color=color, alpha=0.4)
            axes.errorbar(
                x.mean,
                y.mean,
                xerr=[[x.mean - x.low], [x.high - x.mean]],
                yerr=[[y.mean - y.low], [y.high - y.mean]],
                fmt="o",
                color=color,
                label=f"{row.method}, {row.minutes.mean:.1f} min" if row.levels else row.method,
            )
            size = 8 + 4 * math.sqrt(row.minutes.mean)
            axes.plot(x.mean, y.mean, "o", color=color, fillstyle="none", markersize=size)
        axes.set(xlabel="diversity-intensity", ylabel="mSIFID", yscale="log")
        axes.legend(frameon=False)

    return chart(draw, size=(7, 4.5))


def _table(scores: Scores) -> str:
    rows = "".join(
        f'<tr><td>{metric.name}</td><td class="number">{scores.numbers[metric.name]:.4g}</td>'
        f'<td class="words">{html.escape(metric.meaning)}</td></tr>'
        for metric in METRICS
        if metric.name in scores.numbers
    )
    how = f"{scores.samples} samples, features {scores.way}"
    return f"<h2>{html.escape(how)}</h2><table>{rows}</table>"


def _histograms(evaluation: Evaluation) -> str:
    def draw(figure: Any) -> None:
        axes: Sequence[Axes] = figure.subplots(1, 2)
        low, high = min(evaluation.sifid), max(evaluation.sifid)
        around = max(1e-3 * high, 1e-9) - (high - low)  # copies may differ by rounding alone
        around = max(around, 0.0)
        span = (low - around / 2, high + around / 2)
        axes[0].hist(evaluation.sifid, bins=20, range=span, color="#4477aa")
        axes[0].set(xlabel="SIFID", ylabel="samples")
        axes[1].hist(evaluation.continuing, bins=20, range=(0, 1), color="#ee6677")
        axes[1].axvline(COPY, color="#222", linestyle="--", linewidth=1)
        axes[1].set(xlabel="share of patches that continue; copies are right of the line")

    return chart(draw, size=(9, 2.6))


def _deviation(deviation: Tensor) -> str:
    """Black: the same in all samples; white: the largest deviation."""
    scale = max(float(deviation.max()), 2 / 255)  # under one gray level it may be rounding
    plane = (deviation / scale * 2 - 1).float()[None]
    note = f"standard deviation of each pixel; white is {scale * 127.5:.0f} of 255"
    return _figure(_reduced(Photo(plane, Channels(mode="L")).preview()), note)


def _field(search: PatchSearch, photo: Photo) -> Image.Image:
    with torch.inference_mode():
        field = search.field(photo.colors(), step=FIELD_STEP).picture()
    picture = Photo(field, Channels(mode="RGB")).preview()
    scale = min(SIDE, max(photo.size)) / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.NEAREST)


def _reduced(picture: Image.Image) -> Image.Image:
    picture.thumbnail((SIDE, SIDE))
    return picture


def _figure(picture: Image.Image, caption: str) -> str:
    data = base64.b64encode(png_bytes(picture)).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
