"""An evaluation as one HTML file that needs nothing else: pictures, charts and numbers."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from singleimage.errors import OutputError
from singleimage.evaluation import Evaluation, Scores
from singleimage.gallery import Gallery
from singleimage.image import Channels, Photo, png_of
from singleimage.metrics.copying import COPY, PatchSearch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 512
"""Pictures are reduced to it."""
FIELD_STEP = 2
"""Pixels between the patches of a nearest-neighbor field that is shown."""

MEANING = {
    "sifid_mean": "distance to the photo in features, mean over samples (SIFID)",
    "sifid_min": "the same of the closest sample (SIFID in Meta Internal Learning)",
    "diversity_intensity": "deviation of pixels over samples against the photo's; 0 for copies",
    "diversity_pooled": "the same with color channels pooled; compare it with the next line",
    "diversity_pooled_floor": "diversity_pooled of copies of the photo",
    "diversity_features": "mean distance of two samples in features; 0 for copies",
    "copy_continuing": "share of patches that continue their neighbor's match; 1 for a copy",
    "copy_compression": "compressed size of the matches against random ones; about 0 for a copy",
    "copies": f"samples of which more than {COPY:.0%} continues",
}
"""What each number says, for tables."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top }
figure img { max-width: 100%; image-rendering: auto; display: block }
figcaption, .note { color: #666; font-size: .85rem; max-width: 34rem }
table { border-collapse: collapse } td, th { padding: .2rem .9rem .2rem 0; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto }
"""


def write_report(
    evaluations: Sequence[Evaluation], gallery: Gallery, real: Photo, *, title: str
) -> str:
    """The page. `evaluations` are of the same samples in different features; the first leads.

    Raises:
        OutputError: matplotlib, which draws the charts, is not installed.
    """
    lead = evaluations[0]
    search = PatchSearch(real.colors())
    shown = dict(zip(("best", "median", "worst"), lead.ranked(), strict=True))
    pictures = [_figure(_reduced(real.preview()), "the photo")]
    fields = [_figure(_field(search, real), "the photo itself: what a copy looks like")]
    for word, index in shown.items():
        sample = gallery[index]
        name = html.escape(gallery.name_of(index))
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


def page(title: str, body: Iterable[str]) -> str:
    """An HTML document with our style."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def chart(draw: Any, *, size: tuple[float, float]) -> str:
    """An SVG element of what `draw(figure)` draws with matplotlib; `size` in inches.

    Raises:
        OutputError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise OutputError(
            "charts need matplotlib; run: pip install 'singleimage[metrics]'."
        ) from None
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "singleimage", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _table(scores: Scores) -> str:
    rows = "".join(
        f'<tr><td>{name}</td><td class="number">{getattr(scores, name):.4g}</td>'
        f"<td>{html.escape(meaning)}</td></tr>"
        for name, meaning in MEANING.items()
    )
    how = f"{scores.samples} samples, features {scores.features}, {scores.files} pictures"
    return f"<h2>{html.escape(how)}</h2><table>{rows}</table>"


def _histograms(evaluation: Evaluation) -> str:
    def draw(figure: Any) -> None:
        axes: Sequence[Axes] = figure.subplots(1, 2)
        axes[0].hist(evaluation.sifid, bins=20, color="#4477aa")
        axes[0].set(xlabel="SIFID", ylabel="samples")
        axes[1].hist(evaluation.continuing, bins=20, range=(0, 1), color="#ee6677")
        axes[1].axvline(COPY, color="#222", linestyle="--", linewidth=1)
        axes[1].set(xlabel="share of patches that continue; copies are right of the line")

    return chart(draw, size=(9, 2.6))


def _deviation(deviation: Tensor) -> str:
    """Black: the same in all samples; white: the largest deviation."""
    scale = float(deviation.max()) or 1.0
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
    data = base64.b64encode(png_of(picture)).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
