"""The numbers that the papers published."""

from singleimage.bench.papers import PUBLISHED


def test_published_rows_are_those_of_the_papers() -> None:
    rows = {(p.method, p.photos): p for p in PUBLISHED}
    assert rows["SinGAN", "Places-50"].sifid == 0.09
    assert rows["ConSinGAN", "LSUN-50"].msifid == 0.13
    assert rows["Fast-Stabilized", "Places-50"].minutes == 9.9
    assert rows["ConSinGAN, by Fast", "LSUN-50"].sifid == 0.11
    assert rows["SinGAN, by ConSinGAN", "LSUN-50"].minutes == 152
    assert rows["ConSinGAN, its own", "LSUN-50"].sifid == 0.11
    assert rows["SinGAN, its own", "Places-50"].sifid == 0.09
    assert len(rows) == 21
