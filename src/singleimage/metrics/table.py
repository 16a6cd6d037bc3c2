"""The metrics, one row each: what evaluations, benchmarks and reports read.

A row takes its number from what one pass over the samples gathers. One that needs something of its
own of every sample says so by `each`, a function of a sample and the photo.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from singleimage.metrics.copying import COPY
from singleimage.metrics.diversity import FeatureDiversity, PixelDiversity


@dataclass(frozen=True, eq=False)
class Gathered:
    """What one pass over the samples of a photo gathers."""

    sifid: tuple[float, ...]
    """Distance of each sample to the photo (`metrics.sifid`)."""
    continuing: tuple[float, ...]
    """Share of patches of each sample that continue their neighbor's match."""
    compression: tuple[float, ...]
    """Compressed size of the nearest-neighbor field of each sample."""
    pixels: PixelDiversity
    """Deviations of pixels over all samples."""
    deep: FeatureDiversity
    """Distances of samples in features."""
    together: tuple[float, ...]
    """Share of pieces of each sample that moved together; empty where places are not known."""
    leaked: tuple[float, ...]
    """Share of patches of each sample that are another photo's; empty where none was learned
    beside it."""
    each: Mapping[str, tuple[float, ...]]
    """What `each` of a metric gives of each sample, by the name of the metric."""

    @property
    def several(self) -> bool:
        """Whether there is more than one sample, without which diversity means nothing."""
        return len(self.sifid) > 1


@dataclass(frozen=True)
class Metric:
    """One row."""

    name: str
    """Name of the number, in results and on pages."""
    meaning: str
    """What it says, for people."""
    better: Literal["lower", "higher", "neither"]
    """What is better, all else being equal; neither: it is there to compare another one with."""
    value: Callable[[Gathered], float | None]
    """The number; None where it cannot be told."""
    each: Callable[[Tensor, Tensor], float] | None = None
    """What is needed of a sample (3, H, W), given the photo (3, H', W'), both in [-1, 1]."""


METRICS: tuple[Metric, ...] = (
    Metric(
        "sifid_mean",
        "distance to the photo in features, mean over samples (SIFID)",
        "lower",
        lambda gathered: statistics.fmean(gathered.sifid),
    ),
    Metric(
        "sifid_min",
        "the same of the closest sample (SIFID in Meta Internal Learning)",
        "lower",
        lambda gathered: min(gathered.sifid),
    ),
    Metric(
        "diversity_intensity",
        "deviation of pixels over samples against the photo's; 0 for copies",
        "higher",
        lambda gathered: gathered.pixels.intensity if gathered.several else None,
    ),
    Metric(
        "diversity_pooled",
        "the same with color channels pooled; compare it with the next line",
        "higher",
        lambda gathered: gathered.pixels.pooled if gathered.several else None,
    ),
    Metric(
        "diversity_pooled_floor",
        "diversity_pooled of copies of the photo",
        "neither",
        lambda gathered: gathered.pixels.floor if gathered.several else None,
    ),
    Metric(
        "diversity_features",
        "mean distance of two samples in features; 0 for copies",
        "higher",
        lambda gathered: gathered.deep.value if gathered.several else None,
    ),
    Metric(
        "copy_continuing",
        "share of patches that continue their neighbor's match; 1 for a copy",
        "lower",
        lambda gathered: statistics.fmean(gathered.continuing),
    ),
    Metric(
        "copy_compression",
        "compressed size of the matches against random ones; about 0 for a copy",
        "higher",
        lambda gathered: statistics.fmean(gathered.compression),
    ),
    Metric(
        "copy_together",
        "share of pieces that moved with their neighbors, by a model that copies",
        "lower",
        lambda gathered: statistics.fmean(gathered.together) if gathered.together else None,
    ),
    Metric(
        "copies",
        f"samples of which more than {COPY:.0%} continues",
        "lower",
        lambda gathered: sum(share > COPY for share in gathered.continuing),
    ),
    Metric(
        "leaked",
        "share of patches that are nearest to one of another photo, learned beside it",
        "lower",
        lambda gathered: statistics.fmean(gathered.leaked) if gathered.leaked else None,
    ),
)
"""In the order in which they are shown."""
