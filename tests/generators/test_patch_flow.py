"""Patch flow: pictures of pixels of the photo, decided by the seed alone."""

from collections.abc import Iterator

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

import singleimage
from scenes import scene
from singleimage import PRESETS, with_overrides
from singleimage.apps.sample import Tile, reconstruct, sample, seam
from singleimage.errors import ArgumentError, RecipeError, SizeError, UnsupportedEntry
from singleimage.generators.base import Injection
from singleimage.generators.draft import at_once
from singleimage.generators.patch_flow import PatchFlow, PatchFlowSpec
from singleimage.generators.patch_guesses import SMALL
from singleimage.generators.patches import PatchGrid
from singleimage.generators.strip import Strip
from singleimage.images.channels import Channels, Mask
from singleimage.images.photo import Photo
from singleimage.images.rearrangement import together
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import OctavePyramid, Pyramid
from singleimage.multiscale.resample import resize

SPEC = PatchFlowSpec(steps=4, redraws=0)


def model(photo: Tensor, spec: PatchFlowSpec = SPEC) -> PatchFlow:
    return spec.generator_of(Pyramid.build(photo[None], OctavePyramid()))


def small() -> Tensor:
    return scene(60, 75)


@pytest.fixture(scope="module")
def generator() -> PatchFlow:
    """Of three levels, of which the finest copies."""
    return model(small(), replace(SPEC, flow_side=48))


@pytest.fixture(scope="module")
def whole() -> PatchFlow:
    return model(scene())


def test_levels_flow_up_to_96_pixels_and_copy_above(whole: PatchFlow) -> None:
    sizes = whole.ladder.sizes
    assert sizes == (Size(24, 30), Size(48, 60), Size(96, 120), Size(120, 150))
    assert [whole._flows(*level) for level in enumerate(sizes)] == [True, True, True, False]


def test_of_a_large_picture_only_the_coarsest_level_flows(whole: PatchFlow) -> None:
    sizes = whole.ladder.sizes_for(Size(500, 600))
    flowing = [whole._flows(*level) for level in enumerate(sizes)]
    assert flowing == [True, True, False, False]


@pytest.mark.parametrize("size", [Size(60, 75), Size(35, 150), Size(100, 45)])
def test_every_pixel_is_one_of_the_photo_and_its_place_is_known(
    generator: PatchFlow, size: Size
) -> None:
    sizes = generator.ladder.sizes_for(size)
    latent = generator.draw(sizes, [3])
    places = generator.sources(latent)
    assert places.shape == (1, *size)
    assert torch.equal(small().flatten(1)[:, places[0]], generator.decode(latent)[0])


def test_the_anchor_is_the_photo_bit_for_bit(generator: PatchFlow) -> None:
    assert torch.equal(reconstruct(generator)[0], small())


@pytest.fixture
def threads() -> Iterator[None]:
    """What a test sets is set back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_pictures_do_not_depend_on_threads_or_on_their_batch(generator: PatchFlow) -> None:
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(sample(generator, [5]))
        assert torch.get_num_threads() == count
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.equal(sample(generator, [4, 5, 6])[1:2], found[0])


@pytest.mark.usefixtures("threads")
def test_a_photo_is_prepared_alike_by_any_number_of_threads() -> None:
    """Products of large matrices are rounded otherwise by several threads."""
    bases = []
    for count in (1, 2):
        torch.set_num_threads(count)
        bases.append([octave.basis for octave in model(scene())._octaves])
    for one, two in zip(*bases, strict=True):
        assert torch.equal(one, two)


def test_pictures_made_together_are_drawn_again_each_for_itself() -> None:
    """Of six, some copy large pieces: the batch of a try is what is left of that before."""
    drawing = model(small(), replace(SPEC, patch=9, flow_side=48, redraws=2))
    seeds = range(6)
    batch = drawing.sources(drawing.draw(drawing.ladder.sizes, seeds))
    for seed, places in zip(seeds, batch, strict=True):
        assert torch.equal(drawing.sources(drawing.draw(drawing.ladder.sizes, [seed]))[0], places)


def test_the_smallest_share_is_nothing_and_not_denormal() -> None:
    """Times a component that is only rounding, too: a photo of few colors has many of these."""
    numbers, share = torch.finfo(torch.float32), 2**-SMALL
    assert PatchFlowSpec().patches * share < numbers.eps / 100
    assert share * numbers.eps**2 >= numbers.tiny


def test_more_variety_is_farther_from_the_photo() -> None:
    photo = small()
    apart = []
    for variety in (0.02, 0.33, 1.0):
        images = sample(model(photo, PatchFlowSpec(variety=variety, steps=6, redraws=0)), range(2))
        apart.append(float((images - photo).square().mean()))
    assert apart[0] < apart[1] < apart[2]


def test_balance_uses_more_of_the_photo() -> None:
    photo = scene(60, 75)

    def used(balance: float) -> int:
        drawing = model(photo, PatchFlowSpec(balance=balance, variety=1.0, steps=8, redraws=0))
        latent = drawing.draw(drawing.ladder.sizes, range(3))
        return sum(len(places.unique()) for places in drawing.sources(latent))

    assert used(0.4) > 1.05 * used(0.0)


def test_a_picture_that_copies_is_drawn_again() -> None:
    """Where copying is not wanted; near the photo it is."""

    def share(redraws: int, seed: int) -> float:
        spec = replace(SPEC, patch=9, flow_side=48, redraws=redraws)
        drawing = model(small(), spec)
        latent = drawing.draw(drawing.ladder.sizes, [seed])
        places = drawing.sources(latent)[0]
        return together(places // 75, places % 75, drawing.ladder.finest)

    plain = [share(0, seed) for seed in range(2)]
    again = [share(2, seed) for seed in range(2)]
    assert PatchFlowSpec().together == pytest.approx(0.24)
    assert max(plain) > 0.24, "nothing to draw again"
    assert sum(again) < sum(plain)
    for before, after in zip(plain, again, strict=True):
        assert after == before if before <= 0.24 else after <= before
    assert PatchFlowSpec(variety=0).together == 1


@pytest.mark.parametrize("tile", ["x", "y", "xy"])
def test_tiles_have_no_seam(generator: PatchFlow, tile: Tile) -> None:
    plain, tiled = (seam(sample(generator, range(3), tile=how)) for how in (None, tile))
    for axis in tile or "":
        assert getattr(tiled, axis) < 1.6
        assert getattr(tiled, axis) < getattr(plain, axis)


def test_labels_stay_labels_and_go_where_their_pixels_go() -> None:
    photo = scene(60, 75)
    mask = (torch.arange(60)[:, None] > 36).float().expand(60, 75) * 2 - 1
    whole = Photo(
        torch.cat([photo, mask[None]]), Channels(mode="RGB", masks=(Mask(labels=(0, 255)),))
    )
    made = singleimage.flow(whole)
    (picture,) = made.sample([1])
    lookup = {
        tuple(color): label
        for color, label in zip(
            made.image.flatten(1)[:3].T.tolist(), made.image[3].flatten().tolist(), strict=True
        )
    }
    assert made.image is not None
    colors = picture.pixels[:3].flatten(1).T.tolist()
    assert set(picture.pixels[3].unique().tolist()) <= {-1.0, 1.0}
    assert all(
        lookup[tuple(c)] == m
        for c, m in zip(colors, picture.pixels[3].flatten().tolist(), strict=True)
    )


def test_what_cannot_be_is_refused_in_one_line(generator: PatchFlow) -> None:
    photo = Photo(scene(), Channels(mode="RGB"))
    with pytest.raises(ArgumentError, match=r"variety of 2 is out of range; use one from 0 to 1"):
        singleimage.flow(photo, variety=2)
    with pytest.raises(SizeError, match="3x150"):
        singleimage.flow(Photo(scene()[:, :3], Channels(mode="RGB")))
    with pytest.raises(SizeError, match="smallest size it can draw is"):
        sample(generator, [0], size=Size(5, 5))
    with pytest.raises(ArgumentError, match="draws no clips"):
        generator.lasting(5)
    with pytest.raises(UnsupportedEntry, match="cannot move; train a model with"):
        singleimage.animate(singleimage.flow(photo))


@pytest.mark.parametrize("level", [3, 4, 5])
def test_a_picture_of_another_size_that_enters_finds_its_parts(level: int) -> None:
    """Half as high, and made of the lower right part of the photo: it comes from there."""
    photo = scene(256, 256)
    drawing = model(photo, replace(SPEC, flow_side=48))
    sizes = drawing.ladder.sizes_for(Size(128, 256))
    below, size = sizes[level - 1 : level + 1]
    assert not drawing._flows(level, size)
    corner = photo[None, :, 128:, 128:].repeat(1, 1, 1, 2)
    entry = Injection(level, resize(corner, below))
    places = drawing.sources(drawing.draw(sizes, [0]), entry)[0]
    rows, columns = places // 256, places % 256
    assert float(((rows >= 128) & (columns >= 128)).float().mean()) > 0.9
    right = torch.arange(128)[:, None] + 128
    assert float(((rows - right).abs() <= 2).float().mean()) > 0.8


def test_a_drawing_of_a_strip_is_as_large_as_its_photos() -> None:
    """The width of the strip says nothing of that of a picture."""
    photos = [scene(128, 128), -scene(128, 128).flip(1)]
    strip = Strip.of(photos)
    example = Pyramid.build(strip.image[None], OctavePyramid())
    drawing = PatchFlow(replace(SPEC, flow_side=48), example, strip)
    sizes = drawing.ladder.sizes
    entry = Injection(3, resize(photos[1][None], sizes[2]))
    columns = drawing.sources(drawing.draw(sizes, [0]), entry)[0] % example.ladder.finest.width
    right = torch.arange(128) + strip.spans[1][0]
    assert float(((columns - right).abs() <= 2).float().mean()) > 0.9


def test_without_noise_pictures_flow_from_the_image_below() -> None:
    """A share of 0 is allowed, and so are those that are nearly 0."""
    for share in (0.0, 1e-9, 1e-3):
        made = sample(model(small(), replace(SPEC, renoise=share)), [0])
        assert bool(torch.isfinite(made).all())


@pytest.mark.parametrize("field", ["stride", "copy_stride"])
def test_patches_farther_apart_than_they_are_wide_are_refused(field: str) -> None:
    fields = {"generator.patch": "3", "generator.stride": "2", f"generator.{field}": "4"}
    with pytest.raises(RecipeError, match="3 pixels, 4 apart, leave gaps; use a stride of up to 3"):
        with_overrides(PRESETS["flow"], fields)


@pytest.mark.parametrize("patch", [3, 4])
def test_patches_side_by_side_leave_no_gap(patch: int) -> None:
    spec = replace(SPEC, patch=patch, stride=patch, copy_stride=patch)
    made = [sample(model(small(), replace(spec, flow_side=x)), range(3)) for x in (24, 96)]
    assert bool(torch.isfinite(torch.stack(made)).all())


def test_where_few_patches_of_the_photo_are_compared_a_picture_has_no_gaps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However far these are apart, as they are in a wide photo."""
    apart = []
    fold = PatchGrid.fold

    def watched(grid: PatchGrid, patches: Tensor, window: Tensor) -> Tensor:
        apart.append(int(grid.columns.diff().max()))
        return fold(grid, patches, window)

    monkeypatch.setattr(PatchGrid, "fold", watched)
    drawing = model(scene(48, 480), replace(SPEC, patch=3, patches=100))
    assert min(octave.stride for octave in drawing._octaves) > 3
    sample(drawing, [0])
    assert max(apart) == 3


def test_a_small_picture_is_drawn_from_all_of_the_photo() -> None:
    """Though its coarse levels are no smaller than patches, while the photo's grow."""
    drawing = model(scene(400, 500))
    sizes = drawing.ladder.sizes_for(Size(16, 100))
    rows = drawing.sources(drawing.draw(sizes, range(4))) // 500
    assert 0.4 < float(rows.float().mean()) / 400 < 0.6
    assert int(rows.max()) > 300


def test_pictures_of_a_large_photo_are_made_one_at_a_time() -> None:
    small = Size(100, 100)
    assert at_once(small, small) == 4
    assert at_once(small, Size(3000, 4000)) == at_once(Size(3000, 4000), small) == 1


def test_a_coarsest_level_without_room_for_a_patch_is_refused() -> None:
    pyramid = Pyramid.build(small()[None], OctavePyramid(min_size=5))
    with pytest.raises(RecipeError, match=r"a patch 7 pixels; set pyramid.min_size=7 or more"):
        SPEC.generator_of(pyramid)


def test_pictures_of_sprites_may_be_as_small_as_sprites() -> None:
    grains = torch.Generator().manual_seed(0)
    one, two = (Photo(torch.rand(3, 8, 8, generator=grains), Channels(mode="RGB")) for _ in "12")
    assert next(singleimage.flow(one).sample([0], size=(8, 16))).size == Size(8, 16)
    assert next(singleimage.flow(one, two).sample([0])).size == Size(8, 8)
    assert singleimage.extend(singleimage.flow(one), one, right=4)[0].size == Size(8, 12)
