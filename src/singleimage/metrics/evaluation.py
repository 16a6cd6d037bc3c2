"""Everything that is measured on the samples of one photo, in one pass over them."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor

from singleimage.errors import ArgumentError, ImageError, Incomparable
from singleimage.images.photo import Photo
from singleimage.machine.memory import kept_heap
from singleimage.metrics.copying import PatchSearch
from singleimage.metrics.diversity import FeatureDiversity, PixelDiversity
from singleimage.metrics.features import Features
from singleimage.metrics.leakage import PatchOwners
from singleimage.metrics.protocols import PROTOCOLS, ProtocolName
from singleimage.metrics.sifid import fit, frechet
from singleimage.metrics.table import METRICS, Gathered
from singleimage.multiscale.geometry import size_of
from singleimage.multiscale.resample import resize

BATCH = 8
"""Samples whose features are computed together, at most."""
PIXELS = 2_000_000
"""Pixels of them, at most, unless a single one has more."""


class Way(NamedTuple):
    """How numbers were measured: those of one way compare."""

    features: str
    """Network, layer and weights."""
    files: str
    """lossless, or jpeg-QUALITY: what all pictures went through first."""
    protocol: ProtocolName | None = None
    """The paper's protocol by which they were measured, see `protocols`."""

    def __str__(self) -> str:
        by = "" if self.protocol is None else f", protocol {self.protocol}"
        return f"{self.features}, {self.files} pictures{by}"


class Scores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of one set of samples, and the `Way` in which they were measured."""

    features: str
    """As `Way.features`."""
    files: str
    """As `Way.files`."""
    samples: int
    """How many were measured."""
    protocol: ProtocolName | None = None
    """As `Way.protocol`."""
    numbers: dict[str, int | float]
    """Numbers by the names of `METRICS`; results of other versions may have fewer or more."""

    @property
    def way(self) -> Way:
        """What must be equal for two to be compared."""
        return Way(self.features, self.files, self.protocol)

    def flat(self) -> dict[str, Any]:
        """All fields and numbers side by side, as the command line prints them."""
        how = {"features": self.features, "files": self.files, "samples": self.samples}
        by = {} if self.protocol is None else {"protocol": self.protocol}
        return {**how, **by, **self.numbers}

    @classmethod
    def from_flat(cls, facts: Mapping[str, Any]) -> "Scores":
        """Read what `flat` gives, or a file of an earlier version holds.

        Args:
            facts: by name.

        Raises:
            msgspec.ValidationError: it is nothing of the kind.
        """
        how = {name: facts.get(name) for name in ("features", "files", "samples", "protocol")}
        numbers = {name: value for name, value in facts.items() if name not in how}
        return msgspec.convert({**how, "numbers": numbers}, cls)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores, and what a report shows beside them."""

    scores: Scores
    sifid: tuple[float, ...]
    """Distance of each sample to the photo."""
    continuing: tuple[float, ...]
    """Share of patches of each sample that continue their neighbor's match."""
    deviation: Tensor
    """(H, W): standard deviation over samples of each pixel's intensity, in [-1, 1] units."""

    def ranked(self) -> tuple[int, int, int]:
        """The indices of the best, the median and the worst sample by SIFID."""
        order = sorted(range(len(self.sifid)), key=self.sifid.__getitem__)
        return order[0], order[(len(order) - 1) // 2], order[-1]


@kept_heap()
def evaluate(
    samples: Iterable[Photo],
    real: Photo,
    features: Features,
    *,
    jpeg: int | None = None,
    protocol: ProtocolName | None = None,
    beside: Sequence[Photo] = (),
) -> Evaluation:
    """Measure samples against their photo; any number of them, in the memory of a few.

    Everything is measured on colors of 8 bits. Samples of another size are resized to the photo's
    for the diversities, and left as they are for the rest.

    Args:
        samples: drawn or read, one after the other.
        real: the photo that they are samples of.
        features: in which distances are taken; see `load_features`.
        jpeg: first pass all pictures, and the photo, through JPEG files of this quality, 1 to 100.
            The published numbers did: the references write samples as JPEG, of quality 75 by
            default.
        protocol: of a paper, for what it takes SIFID of; the rest of it is the caller's to heed.
        beside: photos that were learned together with it, from which patches may leak.

    Raises:
        ArgumentError: there is no sample.
        SizeError: a picture is too small to be measured.
        ImageError: the photo has the same intensity everywhere.
    """
    photo = real.colors(jpeg=jpeg)
    intensity = photo.mean(dim=0)
    if float(intensity.max() - intensity.min()) < 1e-3:  # under any difference of 8-bit colors
        raise ImageError("the photo has the same intensity everywhere; give one with some texture.")
    shares: list[float | None] = []

    def colors() -> Iterator[Tensor]:
        for sample in samples:
            how = sample.rearrangement
            shares.append(None if how is None else how.together)
            yield sample.colors(jpeg=jpeg)

    others = [other.colors(jpeg=jpeg) for other in beside]
    owners = PatchOwners([photo, *others]) if others else None
    gathered = _gathered(colors(), photo, features, shares, owners)
    count = len(gathered.sifid)
    if protocol is not None:
        first = gathered.sifid[: PROTOCOLS[protocol].sifid_samples]
        gathered = replace(gathered, sifid=first)
    numbers = {metric.name: metric.value(gathered) for metric in METRICS}
    scores = Scores(
        features=features.name,
        files="lossless" if jpeg is None else f"jpeg-{jpeg}",
        samples=count,
        protocol=protocol,
        numbers={name: value for name, value in numbers.items() if value is not None},
    )
    deviation = gathered.pixels.deviation_map()
    return Evaluation(scores, gathered.sifid, gathered.continuing, deviation)


def _gathered(
    images: Iterable[Tensor],
    photo: Tensor,
    features: Features,
    together: Sequence[float | None],
    owners: PatchOwners | None,
) -> Gathered:
    """What `METRICS` need of samples (3, H, W), in one pass; it fills `together`."""
    target = fit(features(photo[None]), features.name)[0]
    pixels, deep, search = PixelDiversity(photo), FeatureDiversity(), PatchSearch(photo)
    own = {metric.name: metric.each for metric in METRICS if metric.each is not None}
    each: dict[str, list[float]] = {name: [] for name in own}
    sifid: list[float] = []
    fields: list[tuple[float, float]] = []
    leaked: list[float] = []
    for batch in _batches(images):
        maps = features(batch)
        sifid += [frechet(target, gaussian) for gaussian in fit(maps, features.name)]
        for image in batch:
            field = search.field(image)
            fields.append((field.continuing(), field.compression()))
            if owners is not None:
                leaked.append(owners.leaked(image, 0))
            for name, function in own.items():
                each[name].append(function(image, photo))
        if size_of(batch) != size_of(photo):
            batch = resize(batch, size_of(photo))
            maps = features(batch)
        pixels.add(batch)
        deep.add(maps)
    if not sifid:
        raise ArgumentError("there is no sample to measure; give one or more.")
    return Gathered(
        sifid=tuple(sifid),
        continuing=tuple(share for share, _ in fields),
        compression=tuple(ratio for _, ratio in fields),
        pixels=pixels,
        deep=deep,
        together=tuple(x for x in together if x is not None) if None not in together else (),
        leaked=tuple(leaked),
        each={name: tuple(values) for name, values in each.items()},
    )


def average(scores: Sequence[Scores]) -> dict[str, float]:
    """Average each number that all have over the `scores` of photos.

    Raises:
        Incomparable: they were not measured in one way.
    """
    require_comparable(scores)
    names = [name for name in scores[0].numbers if all(name in s.numbers for s in scores)]
    return {name: statistics.fmean(s.numbers[name] for s in scores) for name in names}


def require_comparable(scores: Sequence[Scores]) -> None:
    """Raise `Incomparable` unless all `scores` were measured in the same way."""
    ways = sorted({str(s.way) for s in scores})
    if len(ways) > 1:
        raise Incomparable(
            f"numbers measured in different ways do not compare ({'; '.join(ways)}); "
            f"measure all in one way."
        )


def _batches(images: Iterable[Tensor]) -> Iterator[Tensor]:
    """A few images of one size at a time."""
    for size, same in groupby(images, key=size_of):
        count = min(BATCH, max(PIXELS // (size.height * size.width), 1))
        batch: list[Tensor] = []
        for image in same:
            batch.append(image)
            if len(batch) == count:
                yield torch.stack(batch)
                batch = []
        if batch:
            yield torch.stack(batch)
