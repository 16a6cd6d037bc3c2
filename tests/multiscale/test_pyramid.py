"""The sizes of levels, and the levels of a photo."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from clips import TINY, waves
from reference.compare import SMALL_HP_VAE_GAN, difference, photo
from reference.singan import (
    consingan_pyramid,
    consingan_sizes,
    singan_pyramid,
    singan_sizes,
    singan_sr_sizes,
)
from singleimage.errors import SizeError
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.pyramid import (
    SMALLEST_LEVEL,
    ConSinGANPyramid,
    Ladder,
    OctavePyramid,
    Pyramid,
    PyramidLaw,
    SinGANPyramid,
    WidthPyramid,
)
from singleimage.multiscale.resample import bilinear, resize, scaled
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import HP_VAE_GAN, preset
from singleimage.recipes.tasks import for_animating, for_upscaling, for_video

PUBLISHED = "24x33 30x41 38x51 48x65 60x81 76x102 97x129 121x162 153x204 192x256"


def test_sizes_by_width_are_those_of_the_published_code() -> None:
    ladder = WidthPyramid().plan(Size(188, 250))
    assert " ".join(map(str, ladder.sizes)) == PUBLISHED
    assert ladder.ratio == pytest.approx(0.7937, abs=1e-4)
    assert ladder.reduction == 256 / 250  # enlarged


def test_widths_lead_and_heights_follow() -> None:
    for size in (Size(500, 250), Size(90, 640), Size(256, 256)):
        ladder = WidthPyramid().plan(size)
        assert [s.width for s in ladder.sizes] == [33, 41, 51, 65, 81, 102, 129, 162, 204, 256]
        for height, width in ladder.sizes:
            assert height == math.floor(width * (size.height / size.width))


def test_other_sizes_of_output_scale_each_level() -> None:
    ladder = WidthPyramid().plan(Size(188, 250))
    sizes = ladder.sizes_for(Size(96, 512))
    assert sizes[0] == Size(12, 66)
    assert sizes[-1] == Size(96, 512)
    assert ladder.sizes_for(ladder.finest) == ladder.sizes


def test_photos_that_do_not_fit_a_width_are_refused_with_what_to_do() -> None:
    with pytest.raises(SizeError, match=r"too wide.*pyramid.min_width=40 or more"):
        WidthPyramid().plan(Size(40, 400))
    assert WidthPyramid(min_width=40).plan(Size(40, 400)).sizes[0].height >= 4
    with pytest.raises(SizeError, match=r"set pyramid.width to more than"):
        WidthPyramid(width=32).plan(Size(40, 40))


def test_every_level_is_made_from_the_photo_itself() -> None:
    pixels = photo().pixels[None]
    pyramid = Pyramid.build(pixels, SMALL_HP_VAE_GAN.pyramid)
    for image, size in zip(pyramid.images, pyramid.ladder.sizes, strict=True):
        assert torch.equal(image, F.interpolate(pixels, size, mode="bilinear"))


quick = settings(max_examples=60, deadline=None, derandomize=True)
photo_sizes = st.builds(Size, st.integers(4, 700), st.integers(4, 700))
laws = st.one_of(
    st.builds(
        SinGANPyramid,
        min_size=st.integers(4, 60),
        max_size=st.integers(40, 400),
        factor=st.floats(0.5, 0.9),
    ),
    st.builds(
        ConSinGANPyramid,
        levels=st.integers(3, 14),
        min_size=st.integers(4, 60),
        max_size=st.integers(40, 400),
        rescaling=st.sampled_from(["new", "old"]),
    ),
)
LANDSCAPE = Size(188, 250)


def table(text: str) -> tuple[Size, ...]:
    return tuple(Size(*map(int, pair.split("x"))) for pair in text.split())


def plan(law: PyramidLaw, size: Size) -> Ladder:
    """The ladder of a photo that the law accepts; others are not this test's affair."""
    try:
        return law.plan(size)
    except SizeError:
        assume(False)
        raise


def rough_photo(height: int, width: int, *, seed: int = 0) -> Tensor:
    """Smooth and rough parts, and values at both ends of [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, height, width, generator=generator, dtype=torch.float64).clamp(-1, 1)


def test_singan_sizes_of_a_188x250_photo() -> None:
    ladder = SinGANPyramid().plan(LANDSCAPE)
    assert ladder.sizes == table(
        "26x34 32x42 40x53 49x66 62x82 77x102 96x128 121x160 151x200 188x250"
    )
    assert round(ladder.ratio, 5) == 0.79918
    assert ladder.reduction == 1


@pytest.mark.parametrize(
    ("size", "levels"),
    [(Size(188, 250), 10), (Size(250, 250), 11), (Size(480, 640), 9)],
    ids=str,
)
def test_singan_number_of_levels(size: Size, levels: int) -> None:
    assert len(SinGANPyramid().plan(size).sizes) == levels


@pytest.mark.parametrize(
    ("law", "sizes"),
    [
        (ConSinGANPyramid(), "25x34 32x42 42x56 63x84 126x167 188x250"),
        (ConSinGANPyramid(rescaling="old"), "25x34 38x50 57x75 84x112 126x167 188x250"),
        (
            ConSinGANPyramid(levels=10),
            "26x34 28x37 31x41 35x47 41x54 49x65 62x82 86x114 151x200 188x250",
        ),
        (ConSinGANPyramid(min_size=20), "20x27 26x35 36x47 56x74 121x160 188x250"),
        (
            ConSinGANPyramid(levels=3, min_size=120, rescaling="old"),
            "120x160 151x200 188x250",
        ),
    ],
    ids=["generation", "old", "ten levels", "animation", "harmonization"],
)
def test_consingan_sizes_of_a_188x250_photo(law: ConSinGANPyramid, sizes: str) -> None:
    assert law.plan(LANDSCAPE).sizes == table(sizes)


def test_consingan_ratio_of_a_188x250_photo() -> None:
    assert round(ConSinGANPyramid().plan(LANDSCAPE).ratio, 5) == 0.66797


def test_float_ceil_trap_gives_26_pixels_where_exact_numbers_give_25() -> None:
    """188 (25/188)^(9/9) is 25, but in float64 lies just above; the published code rounds it up."""
    ladder = SinGANPyramid().plan(LANDSCAPE)
    product = 188 * ladder.scales[0]
    assert product == pytest.approx(25, abs=1e-12)
    assert product > 25
    assert scaled(LANDSCAPE, ladder.scales[0]).height == ladder.sizes[0].height == 26


@quick
@given(law=laws, size=photo_sizes)
def test_sizes_never_shrink_towards_the_fine_levels(law: PyramidLaw, size: Size) -> None:
    ladder = plan(law, size)
    for coarse, fine in pairwise(ladder.sizes):
        assert coarse.height <= fine.height
        assert coarse.width <= fine.width
    assert all(a < b for a, b in pairwise(ladder.scales))
    assert ladder.scales[-1] == 1
    assert len(ladder.scales) == len(ladder.sizes)


@quick
@given(law=laws, size=photo_sizes)
def test_coarsest_level_has_the_least_short_side(
    law: SinGANPyramid | ConSinGANPyramid, size: Size
) -> None:
    assert min(plan(law, size).sizes[0]) in (law.min_size, law.min_size + 1)


@quick
@given(law=laws, size=photo_sizes)
def test_a_photo_within_the_largest_size_is_its_own_finest_level(
    law: SinGANPyramid | ConSinGANPyramid, size: Size
) -> None:
    ladder = plan(law, size)
    if max(size) <= law.max_size:
        assert ladder.finest == size
        assert ladder.reduction == 1
    else:
        assert max(ladder.finest) in (law.max_size, law.max_size + 1)
        assert ladder.reduction == law.max_size / max(size)


@quick
@given(size=photo_sizes, min_size=st.integers(8, 40), max_size=st.integers(60, 400))
def test_sizes_equal_the_transcription(size: Size, min_size: int, max_size: int) -> None:
    options = {"min_size": min_size, "max_size": max_size}
    ladder = plan(SinGANPyramid(**options), size)
    assert list(ladder.sizes) == singan_sizes(*size, **options)
    for stages in (3, 6, 9):
        for old in (False, True):
            law = ConSinGANPyramid(levels=stages, rescaling="old" if old else "new", **options)
            expected = consingan_sizes(*size, stages=stages, old_rescaling=old, **options)
            assert list(law.plan(size).sizes) == expected


@pytest.mark.parametrize("size", [Size(40, 53), Size(61, 44)], ids=str)
@pytest.mark.parametrize("max_size", [48, 64])
def test_images_equal_the_transcription(size: Size, max_size: int) -> None:
    x = rough_photo(*size)
    options = {"min_size": 12, "max_size": max_size}
    pairs = [
        (
            Pyramid.build(x, SinGANPyramid(quantize=False, **options)),
            singan_pyramid(x, quantise=False, **options),
        ),
        (
            Pyramid.build(x, ConSinGANPyramid(quantize=False, **options)),
            consingan_pyramid(x, quantise=False, **options),
        ),
        (
            Pyramid.build(
                x, ConSinGANPyramid(quantize=False, rescaling="old", levels=4, **options)
            ),
            consingan_pyramid(x, quantise=False, old_rescaling=True, stages=4, **options),
        ),
    ]
    for found, expected in pairs:
        assert [tuple(image.shape[-2:]) for image in found.images] == list(found.ladder.sizes)
        for a, b in zip(found.images, expected, strict=True):
            assert (a - b).abs().max() < 1e-12


def forgiven(x: Tensor) -> Tensor:
    """Where `x` lies within a thousandth under an 8-bit level, or on one.

    There plain truncation goes by chance of rounding to this level or the one below; ours does not.
    """
    levels = 127.5 * (x + 1)
    return ((levels + 1.1e-3).frac() < 1.2e-3) & (x.abs() < 1)


def test_images_truncated_to_8_bits_equal_the_transcription() -> None:
    x = rough_photo(40, 53, seed=0).clamp(-0.9, 0.9).add(1).mul(127.5).floor().add(0.3)
    x = x.div(127.5).sub(1)
    options = {"min_size": 12, "max_size": 24}
    consingan, singan = consingan_pyramid(x, **options), singan_pyramid(x, **options)
    assert not forgiven(consingan[-1]).any()  # a photo that decides nothing by rounding
    for law, expected in (
        (ConSinGANPyramid(**options), consingan),
        (SinGANPyramid(**options), singan),
    ):
        for a, b in zip(Pyramid.build(x, law).images, expected, strict=True):
            assert (a - b).abs().max() < 1e-12
    assert (consingan[0] - consingan_pyramid(x, quantise=False, **options)[0]).abs().max() > 1e-3


def test_the_comparison_of_images_sees_a_photo_that_is_off_by_a_thousandth() -> None:
    x = rough_photo(40, 53)
    options = {"min_size": 12, "max_size": 48}
    found = Pyramid.build(0.999 * x, SinGANPyramid(quantize=False, **options)).images
    expected = singan_pyramid(x, quantise=False, **options)
    assert all((a - b).abs().max() > 1e-6 for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("law", [SinGANPyramid(), ConSinGANPyramid()], ids=["singan", "consingan"])
def test_an_8_bit_photo_under_the_largest_size_is_its_own_finest_image(law: PyramidLaw) -> None:
    levels = torch.arange(30 * 40, dtype=torch.float32).view(1, 1, 30, 40) % 256
    x = (levels / 255 * 2 - 1).expand(-1, 3, -1, -1)
    assert (Pyramid.build(x, law).images[-1] - x).abs().max() < 1e-6


def test_every_level_is_made_from_the_finest_and_not_from_the_level_above() -> None:
    law = SinGANPyramid(min_size=12, max_size=48, quantize=False)
    pyramid = Pyramid.build(rough_photo(40, 53), law)
    finest, ladder = pyramid.images[-1], pyramid.ladder
    for image, size, scale in zip(pyramid.images, ladder.sizes, ladder.scales, strict=True):
        assert torch.equal(image, resize(finest, size, scale=scale))


def test_a_photo_that_is_too_small_is_refused_and_told_the_limit() -> None:
    for law in (SinGANPyramid(), ConSinGANPyramid()):
        with pytest.raises(SizeError, match=r"25x40.*over 25 pixels.*pyramid\.min_size"):
            law.plan(Size(25, 40))
        law.plan(Size(26, 40))


def test_a_photo_that_is_too_narrow_is_refused() -> None:
    """Here the published codes plan no level at all, or fewer, and crash."""
    for law in (SinGANPyramid(), ConSinGANPyramid()):
        with pytest.raises(SizeError, match=r"100x2000, too narrow.*pyramid\.max_size=520"):
            law.plan(Size(100, 2000))


@quick
@given(law=laws, short=st.integers(5, 300), ratio=st.floats(1, 40), tall=st.booleans())
def test_the_largest_size_named_in_the_refusal_works(
    law: SinGANPyramid | ConSinGANPyramid, short: int, ratio: float, tall: bool
) -> None:
    long = round(short * ratio)
    size = Size(long, short) if tall else Size(short, long)
    try:
        law.plan(size)
    except SizeError as error:
        named = re.search(r"pyramid\.max_size=(\d+)", str(error))
        if named is None:
            assert short <= law.min_size
        else:
            msgspec.structs.replace(law, max_size=int(named[1])).plan(size)


@pytest.mark.parametrize(
    ("law", "to_int"),
    [(SinGANPyramid(), round), (ConSinGANPyramid(), int)],
    ids=["singan", "consingan"],
)
def test_sizes_of_another_output_round_as_the_published_code(
    law: PyramidLaw, to_int: Callable[[float], int]
) -> None:
    """SinGAN rounds to the nearest, ConSinGAN cuts."""
    ladder = law.plan(LANDSCAPE)
    for finest in (Size(188, 400), Size(282, 250), Size(130, 201)):
        tall, wide = finest.height / 188, finest.width / 250
        found = ladder.sizes_for(finest)
        assert found[-1] == finest
        expected = [Size(to_int(h * tall), to_int(w * wide)) for h, w in ladder.sizes[:-1]]
        assert list(found[:-1]) == expected


def test_the_two_roundings_differ() -> None:
    nearest = SinGANPyramid().plan(LANDSCAPE)
    down = replace(nearest, rounding="down")
    assert nearest.sizes_for(Size(130, 201)) != down.sizes_for(Size(130, 201))


@quick
@given(law=laws, size=photo_sizes)
def test_sizes_of_the_training_size_are_those_of_the_training(law: PyramidLaw, size: Size) -> None:
    ladder = plan(law, size)
    assert ladder.sizes_for(ladder.finest) == ladder.sizes


def accepts(ladder: Ladder, size: Size) -> bool:
    try:
        return min(min(level) for level in ladder.sizes_for(size)) >= SMALLEST_LEVEL
    except SizeError:
        return False


@pytest.mark.parametrize("law", [SinGANPyramid(), ConSinGANPyramid()], ids=["singan", "consingan"])
def test_the_smallest_output_is_accepted(law: PyramidLaw) -> None:
    for side in range(26, 250, 13):
        for size in (Size(side, 250), Size(250, side)):
            ladder = law.plan(size)
            assert accepts(ladder, ladder.minimum()), size


def test_nothing_under_the_smallest_output_of_consingan_is_accepted() -> None:
    for side in range(26, 250, 13):
        ladder = ConSinGANPyramid().plan(Size(side, 250))
        height, width = ladder.minimum()
        assert not accepts(ladder, Size(height - 1, width)), side
        assert not accepts(ladder, Size(height, width - 1)), side


def test_nothing_under_the_smallest_output_of_singan_is_accepted() -> None:
    ladder = SinGANPyramid().plan(LANDSCAPE)
    height, width = ladder.minimum()
    assert not accepts(ladder, Size(height - 1, width))
    assert not accepts(ladder, Size(height, width - 1))


def test_the_smallest_output_is_accepted_where_the_exact_size_is_whole() -> None:
    ladder = ConSinGANPyramid(min_size=49).plan(Size(98, 98))
    assert accepts(ladder, ladder.minimum())


def test_an_output_that_is_too_small_is_refused_and_told_one_that_works() -> None:
    for law in (SinGANPyramid(), ConSinGANPyramid()):
        ladder = law.plan(LANDSCAPE)
        with pytest.raises(SizeError, match="20x250 is too small") as caught:
            ladder.sizes_for(Size(20, 250))
        named = re.search(r"smallest size it can draw is (\d+)x(\d+)", str(caught.value))
        assert named is not None
        assert accepts(ladder, Size(int(named[1]), int(named[2])))


def test_a_truncated_ladder_is_the_coarse_part() -> None:
    whole = SinGANPyramid().plan(LANDSCAPE)
    part = whole.truncated(4)
    assert part.sizes == whole.sizes[:4]
    assert part.scales == whole.scales[:4]
    assert part.finest == Size(49, 66)
    assert part.sizes_for(part.finest) == part.sizes
    assert part.sizes_for(Size(98, 66))[-1] == Size(98, 66)
    assert (part.ratio, part.reduction, part.rounding) == (
        whole.ratio,
        whole.reduction,
        whole.rounding,
    )
    assert whole.truncated(10) == whole


# Clips -------------------------------------------------------------------------------------------


def test_levels_have_the_published_numbers_of_frames() -> None:
    """Frame rates follow the level: floor(3 i / 9) of strides 4, 3, 2, 1; 12 frames are spanned."""
    ladder = for_video(HP_VAE_GAN).pyramid.plan(Size(144, 256))
    assert [ladder.frames(level) for level in range(10)] == [4, 4, 4, 5, 5, 5, 7, 7, 7, 13]
    assert ladder.shape(9) == (13, 144, 256)
    assert ladder.truncated(4).shape(-1) == (5, *ladder.sizes[3])


def test_levels_begin_and_end_with_the_same_frames() -> None:
    law = WidthPyramid(width=24, min_width=13, strides=(3, 2, 1), quantize=False)
    pixels = waves(9)[None]
    reel = Pyramid.build(pixels, law)
    for start in (0, 2):
        part = reel.excerpt(start)
        strides = (3, 3, 2, 2, 1)
        for image, size, stride in zip(part.images, part.ladder.sizes, strides, strict=True):
            chosen = pixels[:, :, start : start + 7 : stride]
            ends = pixels[:, :, start], pixels[:, :, start + 6]
            assert difference(image[:, :, 0], bilinear(ends[0], size)) < 1e-6
            assert difference(image[:, :, -1], bilinear(ends[1], size)) < 1e-6
            assert difference(image, bilinear(chosen, size)) < 1e-6


def test_clips_are_reduced_frame_by_frame_by_either_law() -> None:
    pixels = waves(7)[None]
    for resampling, reduce in (("bilinear", bilinear), ("bicubic", resize)):
        fields = {"pyramid.resampling": resampling, "pyramid.quantize": "false"}
        law = with_overrides(TINY, fields).pyramid
        reel = Pyramid.build(pixels, law)
        for image, size in zip(reel.images, reel.ladder.sizes, strict=True):
            frames = [reduce(frame, size) for frame in pixels.unbind(2)]
            assert difference(image, torch.stack(frames, 2)) < 1e-5


def test_octaves_then_finer_steps_then_octaves_again() -> None:
    ladder = OctavePyramid().plan(Size(1000, 1400))
    shorts = [min(size) for size in ladder.sizes]
    assert shorts[:3] == [24, 48, 96]
    assert shorts[-3:] == [256, 506, 1000]
    for below, above in pairwise(shorts[2:-2]):
        assert 0.7 < below / above < 0.8
    assert ladder.sizes[-1] == Size(1000, 1400)
    assert [min(s) for s in OctavePyramid().plan(Size(60, 50)).sizes] == [24, 50]
    assert OctavePyramid().plan(Size(24, 90)).sizes == (Size(24, 90),)
    with pytest.raises(SizeError, match="20x60"):
        OctavePyramid().plan(Size(20, 60))


@pytest.mark.parametrize("side", range(100, 300, 7))
def test_no_two_levels_of_octaves_have_one_size(side: int) -> None:
    """Rounding of the last scale once asked for one more level."""
    for law in (OctavePyramid(), OctavePyramid(min_size=49, octaves_to=49, factor=0.6)):
        sizes = law.plan(Size(side, side * 3 // 2)).sizes
        for below, above in pairwise(sizes):
            assert min(above) > min(below)


def test_levels_made_of_patches_are_never_narrower_than_a_patch() -> None:
    ladder = OctavePyramid().plan(Size(256, 256))
    assert min(min(size) for size in ladder.sizes_for(Size(10, 300))) == 10
    assert ladder.minimum() == Size(10, 10)
    with pytest.raises(SizeError, match="smallest size it can draw is 10x10"):
        ladder.sizes_for(Size(9, 300))


def test_the_finest_level_is_the_photo_bit_for_bit() -> None:
    photo = rough_photo(70, 90)
    assert torch.equal(Pyramid.build(photo, OctavePyramid()).images[-1], photo)
    reduced = Pyramid.build(photo, OctavePyramid(max_size=60)).images[-1]
    assert size_of(reduced) == Size(47, 60)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize(
    "size", [(187, 250), (188, 250), (333, 500), (500, 333), (62, 62), (250, 166)]
)
def test_pyramids_for_super_resolution_are_those_of_the_code(
    size: tuple[int, int], factor: int
) -> None:
    law = for_upscaling(preset("singan"), factor).pyramid
    assert list(law.plan(Size(*size)).sizes) == singan_sr_sizes(*size, factor)


@pytest.mark.parametrize("name", ["consingan", "fast-stabilized"])
def test_the_pyramid_for_animation_is_that_of_the_code(name: str) -> None:
    sizes = for_animating(preset(name)).pyramid.plan(Size(188, 250)).sizes
    assert " ".join(map(str, sizes)) == "20x27 26x35 36x47 56x74 121x160 188x250"
