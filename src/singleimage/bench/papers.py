"""What papers report, beside which a benchmark shows its own numbers.

All were measured with Inception-v3 features, most likely of 64 channels and on JPEG files; sample
counts and hardware differ. They compare with each other, hardly, and with ours only as a check.
"""

import msgspec


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What a paper reports on the 50 photos of a set; measured with Inception-v3 features."""

    method: str
    photos: str
    sifid: float | None
    msifid: float | None
    diversity: float | None
    """diversity-pooled, as far as is known."""
    minutes: float | None
    parameters: int | None
    levels: int | None
    source: str


def _published(
    method: str,
    source: str,
    places: tuple[float | None, float | None, float | None],
    lsun: tuple[float | None, float | None, float | None],
    minutes: float | None,
    parameters: int | None,
    levels: int,
) -> list[Published]:
    return [
        Published(
            method=method,
            photos=photos,
            sifid=sifid,
            msifid=msifid,
            diversity=diversity,
            minutes=minutes,
            parameters=parameters,
            levels=levels,
            source=source,
        )
        for photos, (sifid, msifid, diversity) in (("Places-50", places), ("LSUN-50", lsun))
    ]


_MIL = "Bensadoun et al., Meta Internal Learning, NeurIPS 2021"
_SINGAN = "Shaham et al., SinGAN, ICCV 2019"
_CONSINGAN = "Hinz et al., Improved Techniques for Training Single-Image GANs, WACV 2021"
_FAST = "Fast Learning a Stabilized Generative Model from a Single Image"
_UNSAID = (None, None, None)
PUBLISHED: tuple[Published, ...] = (
    *_published("SinGAN, its own", _SINGAN, (0.09, None, None), _UNSAID, None, 1_479_966, 10)[:1],
    *_published(
        "SinGAN, by ConSinGAN",
        _CONSINGAN,
        (0.09, None, None),
        (0.23, None, None),
        152,
        1_479_966,
        10,
    ),
    *_published(
        "ConSinGAN, its own", _CONSINGAN, (0.06, None, None), (0.11, None, None), None, 668_227, 6
    ),
    *_published("SinGAN", _MIL, (0.09, 0.15, 0.52), (0.11, 0.20, 0.60), 60, 1_479_966, 10),
    *_published("ConSinGAN", _MIL, (0.06, 0.08, 0.50), (0.08, 0.13, 0.55), 20, 668_227, 6),
    *_published("HP-VAE-GAN", _MIL, (0.17, 0.27, 0.62), (0.40, 0.62, 0.78), 60, 2_184_670, 10),
    *_published("MIL, one photo", _MIL, (0.03, 0.06, 0.57), (0.11, 0.19, 0.65), 30, None, 7),
    *_published("MIL, all photos", _MIL, (0.05, 0.07, 0.50), (0.11, 0.16, 0.48), 5, None, 7),
    *_published(
        "SinGAN, by Fast", _FAST, (0.085, None, 0.52), (0.23, None, 0.64), 65.6, 1_479_966, 10
    ),
    *_published(
        "ConSinGAN, by Fast", _FAST, (0.061, None, 0.50), (0.11, None, 0.54), 22.3, 668_227, 6
    ),
    *_published("Fast-Stabilized", _FAST, (0.046, None, 0.49), (0.09, None, 0.56), 9.9, 181_219, 6),
)
"""SIFID and mSIFID as Meta Internal Learning defines them; parameters and levels are the codes'."""


def published_table() -> tuple[list[str], list[list[str]]]:
    """Header and cells: what papers report."""
    header = ["published", "photos", "SIFID", "mSIFID", "", "pooled", "", "min/photo"]
    header += ["parameters", "levels"]
    cells = [
        [
            p.method,
            p.photos,
            "" if p.sifid is None else f"{p.sifid:g}",
            "" if p.msifid is None else f"{p.msifid:g}",
            "",
            "" if p.diversity is None else f"{p.diversity:.2f}",
            "",
            "" if p.minutes is None else f"{p.minutes:g}",
            "" if p.parameters is None else f"{p.parameters:,}",
            "" if p.levels is None else str(p.levels),
        ]
        for p in PUBLISHED
    ]
    return header, cells
