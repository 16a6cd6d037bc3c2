"""Everything that is measured on the samples of one photo, in one pass over them."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import msgspec
import torch
from torch import Tensor

from singleimage.errors import ImageError, Incomparable, SizeError
from singleimage.image import Photo
from singleimage.memory import kept_heap
from singleimage.metrics.copying import COPY, PatchSearch
from singleimage.metrics.diversity import FeatureDiversity, PixelDiversity
from singleimage.metrics.sifid import fit, frechet
from singleimage.nn.features import Features
from singleimage.resample import resize, size_of

BATCH = 8


class Scores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of one set of samples. Those of other features or files do not compare."""

    features: str
    """Network, layer and weights."""
    files: str
    """lossless, or jpeg-QUALITY: what all pictures went through first."""
    samples: int
    sifid_mean: float
    """Mean over samples of the distance to the photo (SIFID; over photos, mSIFID)."""
    sifid_min: float
    """The least of them (SIFID in Meta Internal Learning)."""
    diversity_intensity: float
    """0 for copies (SinGAN, section 3)."""
    diversity_pooled: float
    """As Fast-Stabilized's code computes it; never under `diversity_pooled_floor` by much."""
    diversity_pooled_floor: float
    """`diversity_pooled` of copies of the photo."""
    diversity_features: float
    """Mean distance of pairs in these features, each scaled to length 1; 0 for copies."""
    copy_continuing: float
    """Mean share of patches that continue their neighbor's match in the photo; 1 for copies."""
    copy_compression: float
    """Mean compressed size of the nearest-neighbor field, over that of random matches."""
    copies: int
    """Samples of which more than a third continues."""

    def comparable(self) -> tuple[str, str]:
        """What must be equal for two to be compared."""
        return self.features, self.files


NUMBERS = tuple(field.name for field in msgspec.structs.fields(Scores) if field.type is float)
"""The fields of `Scores` that can be averaged."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores, and what a report shows beside them."""

    scores: Scores
    sifid: tuple[float, ...]
    """Of each sample."""
    continuing: tuple[float, ...]
    """`copy_continuing` of each sample."""
    deviation: Tensor
    """(H, W): standard deviation over samples of each pixel's intensity, in [-1, 1] units."""

    def ranked(self) -> tuple[int, int, int]:
        """The indices of the best, the median and the worst sample by SIFID."""
        order = sorted(range(len(self.sifid)), key=self.sifid.__getitem__)
        return order[0], order[(len(order) - 1) // 2], order[-1]


@kept_heap()
def evaluate(
    samples: Iterable[Photo], real: Photo, features: Features, *, jpeg: int | None = None
) -> Evaluation:
    """Measure samples against their photo; any number of them, in the memory of a few.

    Everything is measured on colors of 8 bits. Samples of another size are resized to the photo's
    for the diversities, and left as they are for the rest.

    Args:
        jpeg: first pass all pictures, and the photo, through JPEG files of this quality. The
            published numbers did: the references write samples as JPEG, of quality 75 by default.

    Raises:
        SizeError: there is no sample, or a picture is too small to be measured.
        ImageError: the photo has the same intensity everywhere.
    """
    photo = real.colors(jpeg=jpeg)
    intensity = photo.mean(dim=0)
    if float(intensity.max() - intensity.min()) < 1e-3:  # under any difference of 8-bit colors
        raise ImageError("the photo has the same intensity everywhere; give one with some texture.")
    target = fit(features(photo[None]), features.name)[0]
    pixels, deep, search = PixelDiversity(photo), FeatureDiversity(), PatchSearch(photo)
    sifid: list[float] = []
    fields: list[tuple[float, float]] = []
    for images in _batches(sample.colors(jpeg=jpeg) for sample in samples):
        maps = features(images)
        sifid += [frechet(target, gaussian) for gaussian in fit(maps, features.name)]
        for image in images:
            field = search.field(image)
            fields.append((field.continuing(), field.compression()))
        if size_of(images) != size_of(photo):
            images = resize(images, size_of(photo))
            maps = features(images)
        pixels.add(images)
        deep.add(maps)
    if not sifid:
        raise SizeError("there is no sample to measure; give one or more.")
    continuing = tuple(share for share, _ in fields)
    scores = Scores(
        features=features.name,
        files="lossless" if jpeg is None else f"jpeg-{jpeg}",
        samples=len(sifid),
        sifid_mean=statistics.fmean(sifid),
        sifid_min=min(sifid),
        diversity_intensity=pixels.intensity,
        diversity_pooled=pixels.pooled,
        diversity_pooled_floor=pixels.floor,
        diversity_features=deep.value,
        copy_continuing=statistics.fmean(continuing),
        copy_compression=statistics.fmean(ratio for _, ratio in fields),
        copies=sum(share > COPY for share in continuing),
    )
    return Evaluation(scores, tuple(sifid), continuing, pixels.deviation_map())


def average(scores: Sequence[Scores]) -> dict[str, float]:
    """The mean over photos of each number.

    Raises:
        Incomparable: they were measured with different features or files.
    """
    require_comparable(scores)
    return {name: statistics.fmean(getattr(s, name) for s in scores) for name in NUMBERS}


def require_comparable(scores: Sequence[Scores]) -> None:
    """Raises `Incomparable` unless all were measured in the same way."""
    ways = sorted({" with files ".join(s.comparable()) for s in scores})
    if len(ways) > 1:
        raise Incomparable(
            f"numbers measured in different ways do not compare ({'; '.join(ways)}); "
            f"measure all in one way."
        )


def _batches(images: Iterable[Tensor]) -> Iterator[Tensor]:
    """A few images of one size at a time."""
    for _, same in groupby(images, key=size_of):
        batch: list[Tensor] = []
        for image in same:
            batch.append(image)
            if len(batch) == BATCH:
                yield torch.stack(batch)
                batch = []
        if batch:
            yield torch.stack(batch)
