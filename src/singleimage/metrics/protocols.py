"""How papers measured: the number of samples, the statistic and the files, by name.

A number is only as good as a paper's protocol is known; what is not said there stands in `source`.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

ProtocolName = Literal["singan", "fast-stabilized", "meta"]


class Protocol(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a paper measured."""

    samples: int
    """Samples of each photo that are drawn."""
    sifid_samples: int
    """How many of them, the first ones, SIFID is taken of."""
    features: Literal["inception-64"] = "inception-64"
    jpeg: int = 75
    """Quality of the JPEG files: SinGAN's script reads such, and its code writes samples with the
    usual quality; of the other papers it is likely."""
    numbers: tuple[str, ...]
    """Names of the metrics that the paper reports."""
    source: str


PROTOCOLS: Mapping[ProtocolName, Protocol] = {
    "singan": Protocol(
        samples=100,
        sifid_samples=100,
        numbers=("sifid_mean", "diversity_intensity"),
        source="SinGAN and its SIFID script; its SIFID is of one sample of each photo, "
        "whose expectation is the mean taken here.",
    ),
    "fast-stabilized": Protocol(
        samples=100,
        sifid_samples=100,
        numbers=("sifid_mean", "diversity_pooled"),
        source="Fast-Stabilized, its text and script; the script also prints the least.",
    ),
    "meta": Protocol(
        samples=150,
        sifid_samples=100,
        numbers=("sifid_min", "sifid_mean", "diversity_pooled"),
        source="Meta Internal Learning: SIFID is the least of 100 samples, mSIFID their "
        "mean, diversity that of 150; which features it took is not said.",
    ),
}
"""The papers whose protocol is known."""
