"""Every method against every application that takes a picture; and the laws of masks."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from singleimage import Model, Photo, preset, read_photo, train, with_overrides
from singleimage.apps.inject import inject, suggested_level, working_size
from singleimage.apps.masks import binary, blend, difference, dilated, soften
from singleimage.apps.upscale import bicubic, upscale
from singleimage.errors import ArgumentError, ImageError, MaskError, UnsupportedEntry
from singleimage.images.photo import Channels
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize
from singleimage.recipes.tasks import for_task
from singleimage.tools import channels as channels_module
from singleimage.tools import fill, retouch
from singleimage.tools import upscale as upscaling
from tiny import Command


@pytest.fixture
def model(tiny_run: Path) -> Model:
    return Model.load(tiny_run)


@pytest.fixture
def photo(model: Model) -> Photo:
    found = model.training_image()
    assert found is not None
    return found


def with_square(photo: Photo, size: int = 8) -> tuple[Photo, Photo]:
    """The photo with a white square pasted in, and the mask of the square."""
    pixels, mask = photo.pixels.clone(), torch.full((1, *photo.size), -1.0)
    pixels[:, 10 : 10 + size, 14 : 14 + size] = 1
    mask[:, 10 : 10 + size, 14 : 14 + size] = 1
    return replace(photo, pixels=pixels), Photo(mask, Channels(mode="L"))


Task = Callable[..., list[Photo]]


def small_image(size: Size, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


# Masks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 1.0, 2.5, 7.0, 40.0])
def test_a_mask_is_dilated_by_a_disk(radius: float) -> None:
    mask = torch.zeros(1, 1, 23, 31)
    mask[..., 4, 5] = mask[..., 20, 30] = mask[..., 21, 2] = 1
    y, x = torch.meshgrid(torch.arange(23.0), torch.arange(31.0), indexing="ij")
    near = [
        (y - a).square() + (x - b).square() <= radius**2 for a, b in ((4, 5), (20, 30), (21, 2))
    ]
    assert torch.equal(dilated(mask, radius)[0, 0] > 0, near[0] | near[1] | near[2])


def test_a_softened_mask_is_1_inside_0_far_away_and_between_elsewhere() -> None:
    mask = torch.zeros(1, 1, 80, 90)
    mask[..., 35:45, 40:50] = 1
    soft = soften(mask, 7)
    assert float(soft.amin()) == 0.0
    assert float(soft.amax()) == 1.0
    reach = 7 + 20
    far = torch.ones_like(mask, dtype=torch.bool)
    far[..., 35 - reach : 45 + reach, 40 - reach : 50 + reach] = False
    assert not bool(soft[far].any())
    assert float(soft[..., 40, 45]) > 0.95
    torch.testing.assert_close(soft, soft.flip(-1).roll(0, -1), atol=1e-5, rtol=0)  # symmetric


def test_dilation_is_by_a_disk() -> None:
    mask = torch.zeros(1, 1, 41, 41)
    mask[..., 20, 20] = 1
    grown = soften(mask, 7, sigma=0.01) > 0.5
    y, x = torch.meshgrid(torch.arange(-20, 21), torch.arange(-20, 21), indexing="ij")
    assert torch.equal(grown[0, 0], y.square() + x.square() <= 49)


def test_the_background_stays_bit_for_bit_where_the_mask_is_0() -> None:
    background, new = small_image(Size(60, 70)), small_image(Size(60, 70)).flip(-1)
    mask = torch.zeros(1, 1, 60, 70)
    mask[..., 30:34, 30:34] = 1
    soft = soften(mask, 2, sigma=1)
    mixed = blend(background, new, soft)
    outside = (soft == 0).expand_as(mixed)
    assert torch.equal(mixed[outside], background[outside])
    assert not torch.equal(mixed, background)


def test_a_difference_finds_what_was_pasted_and_no_specks() -> None:
    background = small_image(Size(40, 40)) * 0.5
    picture = background.clone()
    picture[..., 10:20, 12:25] += 0.4
    picture[..., 35, 35] += 0.5
    picture += 0.02  # as JPEG does
    found = difference(picture, background)
    expected = torch.zeros(1, 1, 40, 40)
    expected[..., 10:20, 12:25] = 1
    assert torch.equal(found, expected)


def test_masks_that_mark_nothing_or_all_or_have_another_size_are_refused() -> None:
    size = Size(20, 30)
    with pytest.raises(MaskError, match="is empty; mark"):
        binary(torch.full((1, 20, 30), -1.0), size)
    with pytest.raises(MaskError, match="covers the whole picture"):
        binary(torch.ones(1, 20, 30), size)
    with pytest.raises(MaskError, match=r"is 20x31, the picture 20x30"):
        binary(torch.ones(1, 20, 31), size)
    same = small_image(size)
    with pytest.raises(MaskError, match="difference of picture and background is empty"):
        difference(same, same)


# Methods by applications -------------------------------------------------------------------------


def test_a_picture_enters_at_every_level_it_may(model: Model, photo: Photo) -> None:
    generator = model.generator
    for level in range(len(generator.ladder.sizes) + 1):
        if level in generator.entry_levels:
            images = inject(generator, photo.pixels[None], level=level, seeds=[0, 1])
            assert images.shape == (2, *photo.pixels.shape)
        else:
            with pytest.raises(UnsupportedEntry, match="cannot take an image"):
                inject(generator, photo.pixels[None], level=level)


def test_the_suggested_level_is_one_and_grows_with_the_share(model: Model) -> None:
    levels = [suggested_level(model.generator, share) for share in (0, 0.5, 1)]
    assert set(levels) <= model.generator.entry_levels
    assert levels == sorted(levels)


@pytest.mark.parametrize("task", [retouch.harmonize, retouch.edit])
def test_retouching_changes_the_masked_part_alone(model: Model, photo: Photo, task: Task) -> None:
    composite, mask = with_square(photo)
    for found in (
        task(model, composite, mask=mask),
        task(model, composite),  # the mask is the difference to the training image
    ):
        (image,) = found
        assert image.size == photo.size
        changed = (image.pixels != photo.pixels).any(dim=0)
        assert bool(changed[10:18, 14:22].all())
        assert not torch.equal(image.pixels, composite.pixels)
    # A mask so small and soft that there is an outside at this size.
    soft = soften(binary(mask.pixels, photo.size), 1, sigma=0.5)
    (raw,) = retouch.rendered(model, retouch.HARMONIZE.share, composite.pixels[None], None, [0])
    mixed = blend(photo.pixels[None], raw[None], soft)
    outside = (soft == 0).expand_as(mixed)
    assert torch.equal(mixed[outside], photo.pixels[None][outside])


def test_outside_the_mask_the_file_is_the_background(
    model: Model, photo: Photo, tmp_path: Path
) -> None:
    """Of a large picture: the mask grows with it, but not to its border."""
    big = resize(photo.pixels[None], Size(photo.size.height * 6, photo.size.width * 6))[0]
    background = Photo(big, photo.channels)
    background.save(tmp_path / "background.png")
    background = read_photo(tmp_path / "background.png")
    pixels = background.pixels.clone()
    pixels[:, 4:30, 4:30] = 1
    composite = replace(background, pixels=pixels)
    (image,) = retouch.harmonize(model, composite, background=background)
    image.save(tmp_path / "result.png")
    result = read_photo(tmp_path / "result.png").pixels
    assert torch.equal(result[:, -20:, -20:], background.pixels[:, -20:, -20:])
    assert not torch.equal(result[:, 4:30, 4:30], background.pixels[:, 4:30, 4:30])


def test_around_the_part_fine_detail_of_a_large_picture_stays(model: Model, photo: Photo) -> None:
    size = Size(4 * photo.size.height, 4 * photo.size.width)
    grain = 0.2 * torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    background = replace(photo, pixels=(resize(photo.pixels[None], size) + grain)[0].clamp(-1, 1))
    composite, mask = with_square(background, 40)
    (image,) = retouch.harmonize(model, composite, background=background, mask=mask)

    def fineness(rows: slice) -> float:
        part = image.pixels[:, rows, 24:44]
        return float((part[..., 1:] - part[..., :-1]).abs().mean())

    assert fineness(slice(20, 40)) < 0.5 * fineness(slice(58, 66))  # below the square, but softened


def test_alpha_is_a_mask(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    pixels = torch.cat([composite.pixels, mask.pixels])
    cut_out = Photo(pixels, Channels(mode="RGBA"))
    (by_alpha,) = retouch.harmonize(model, cut_out)
    (by_mask,) = retouch.harmonize(model, composite, background=photo, mask=mask)
    torch.testing.assert_close(by_alpha.pixels, by_mask.pixels, atol=1e-5, rtol=0)


def test_alpha_beside_a_mask_shows_the_background(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    clear = torch.where(mask.pixels > 0, 1.0, -1.0)
    cut_out = Photo(torch.cat([composite.pixels, clear]), Channels(mode="RGBA"))
    (with_alpha,) = retouch.harmonize(model, cut_out, mask=mask)
    (without,) = retouch.harmonize(model, composite, background=photo, mask=mask)
    torch.testing.assert_close(with_alpha.pixels, without.pixels, atol=1e-5, rtol=0)


@pytest.mark.parametrize("task", [retouch.paint, retouch.restyle])
@pytest.mark.parametrize("size", [Size(90, 120), Size(40, 30), Size(30, 80)])
def test_pictures_of_any_size_are_rendered_at_the_models_size(
    model: Model, task: Task, size: Size
) -> None:
    picture = Photo(small_image(size)[0], Channels(mode="RGB"))
    images = task(model, picture, seeds=[0, 1])
    expected = working_size(model.generator, size)
    assert max(expected) == max(model.size)
    assert [image.size for image in images] == [expected, expected]


def test_what_is_not_marked_is_not_filled(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    (image,) = fill.fill(model, composite, mask)
    assert image.size == photo.size
    assert bool((image.pixels[:, 12:16, 16:20] < 0.99).any()), "the white square is still there"
    assert torch.equal(image.pixels[:, -6:, -6:], photo.pixels[:, -6:, -6:])


def test_a_smooth_filling_keeps_what_is_known_and_is_between_it() -> None:
    pixels = torch.zeros(1, 3, 33, 47)
    pixels[..., 24:] = 0.5
    part = torch.zeros(1, 1, 33, 47)
    part[..., 8:20, 15:35] = 1
    filled = fill._smooth(torch.where(part > 0, -1.0, pixels), part)
    assert torch.equal(filled[(part == 0).expand_as(filled)], pixels[(part == 0).expand_as(pixels)])
    assert float(filled.amin()) > -0.1
    assert float(filled.amax()) < 0.6


def test_a_canvas_is_extended_and_the_picture_stays(model: Model, photo: Photo) -> None:
    height, width = photo.size
    (image,) = fill.extend(model, photo, left=20, bottom=6)
    assert image.size == Size(height + 6, width + 20)
    # Its borders to the new part are mixed; beyond, it is as it was.
    assert torch.equal(image.pixels[:, :10, -10:], photo.pixels[:, :10, -10:])
    assert float(image.pixels[:, :, :10].std()) > 0
    with pytest.raises(ArgumentError, match="nothing to add"):
        fill.extend(model, photo)
    with pytest.raises(ArgumentError, match="nothing to add"):
        fill.extend(model, photo, left=-1, right=4)


@pytest.mark.parametrize("factor", [1.5, 2, 3, 4])
def test_enlarging_to_any_factor_or_a_documented_refusal(
    model: Model, photo: Photo, factor: float
) -> None:
    top = len(model.generator.ladder.sizes) - 1
    if top not in model.generator.entry_levels:
        with pytest.raises(UnsupportedEntry, match="cannot take an image"):
            upscaling.upscale(model, factor=factor)
        return
    (image,) = upscaling.upscale(model, factor=factor)
    assert image.size == Size(int(photo.size.height * factor), int(photo.size.width * factor))
    plain = bicubic(photo.pixels[None], factor)
    assert size_of(plain) == image.size
    # The layout is the photo's: no drift towards a corner, whatever the passes.
    error = float((image.pixels - plain[0]).square().mean())
    shifted = float((image.pixels - plain[0].roll((3, 3), (1, 2))).square().mean())
    assert error < shifted


def test_strength_is_the_part_of_a_pass_that_is_kept(tiny_runs: dict[str, Path]) -> None:
    model = Model.load(tiny_runs["singan"])
    photo = model.training_image()
    assert photo is not None
    plain = bicubic(photo.pixels[None], 2)[0].clamp(-1, 1)
    distances = []
    for strength in (0.0, 0.5, 1.0):
        (image,) = upscaling.upscale(model, factor=2, strength=strength, consistent=False)
        distances.append(float((image.pixels - plain).square().mean().sqrt()))
    assert distances[0] < 0.05  # several bicubic passes in place of one
    assert distances[0] < distances[1] < distances[2]
    with pytest.raises(ArgumentError, match=r"a strength of 1\.1 is out of range"):
        upscaling.upscale(model, factor=2, strength=1.1)


@pytest.mark.parametrize("channels", [Channels(mode="L"), Channels(mode="RGB", masks=((0, 255),))])
def test_gray_pictures_and_masks_are_enlarged_too(channels: Channels) -> None:
    waves = torch.sin(torch.arange(40 * 44.0).view(1, 40, 44) / 7)
    photo = Photo(waves.repeat(channels.count, 1, 1), channels)
    small = {"training.steps": "1", "generator.width.base": "4", "critic.width.base": "4"}
    recipe = with_overrides(for_task(preset("singan"), "upscale:2"), small)
    model = train(photo, recipe, seed=0, device="cpu")
    (image,) = upscaling.upscale(model, factor=2)
    assert (image.channels, image.size) == (channels, Size(80, 88))
    assert upscaling.compare_upscaled(model, 2, image, image)["psnr_ours"] > 100


def test_a_consistent_result_reduces_to_the_photo(tiny_runs: dict[str, Path]) -> None:
    model = Model.load(tiny_runs["singan"])
    photo = model.training_image()
    assert photo is not None
    errors = []
    for consistent in (True, False):
        (image,) = upscaling.upscale(model, factor=2, consistent=consistent)
        assert image.size == Size(photo.size.height * 2, photo.size.width * 2)
        reduced = resize(image.pixels[None], photo.size)[0]
        errors.append(float((reduced - photo.pixels).square().mean().sqrt()))
    assert errors[0] < 0.02
    assert errors[0] < errors[1] / 3


def test_factors_out_of_range_are_refused(model: Model, photo: Photo) -> None:
    for factor in (1, 0.5, -2, 17, math.nan):
        with pytest.raises(ArgumentError, match="out of range"):
            upscale(model.generator, photo.pixels[None], factor)


def test_results_depend_on_their_seed_alone(model: Model, photo: Photo) -> None:
    composite, mask = with_square(photo)
    both = retouch.harmonize(model, composite, mask=mask, seeds=[3, 4])
    (alone,) = retouch.harmonize(model, composite, mask=mask, seeds=[4])
    torch.testing.assert_close(both[1].pixels, alone.pixels, atol=1e-5, rtol=0)


def test_channels_are_brought_to_the_models_or_refused(model: Model, photo: Photo) -> None:
    gray = Photo(photo.pixels[:1], Channels(mode="L"))
    assert retouch.paint(model, gray)[0].channels.mode == "RGB"
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 5, 7)
    made_gray = channels_module.as_channels(red, 1, Photo(red, Channels(mode="RGB")))
    torch.testing.assert_close(made_gray, torch.full((1, 5, 7), 2 * 0.299 - 1))
    clear = Photo(torch.cat([photo.pixels, photo.pixels[:1]]), Channels(mode="RGBA"))
    with pytest.raises(ImageError, match="color with alpha, the model color; convert"):
        retouch.paint(model, clear)


# The documentation -------------------------------------------------------------------------------


def test_the_table_of_what_methods_take_is_true(tiny_runs: dict[str, Path]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "tools.md").read_text()
    said = dict(
        re.findall(
            r"^\| `(singan|consingan|hp-vae-gan)`.*? \| ([^|]+) \| [^|]+ \|$", page, flags=re.M
        )
    )
    words = {
        "singan": "all but the coarsest",
        "hp-vae-gan": "all but the coarsest",
        "consingan": "the coarsest",
    }
    assert said == words
    for name, run in tiny_runs.items():
        generator = Model.load(run).generator
        levels = range(len(generator.ladder.sizes))
        expected = {"all but the coarsest": set(levels) - {0}, "the coarsest": {0}}[words[name]]
        assert generator.entry_levels == expected


# The command line --------------------------------------------------------------------------------


@pytest.fixture
def files(model: Model, photo: Photo, tmp_path: Path) -> Path:
    composite, mask = with_square(photo)
    photo.save(tmp_path / "photo.png")
    composite.save(tmp_path / "composite.png")
    mask.save(tmp_path / "mask.png")
    return tmp_path


def test_every_command_writes_a_picture(command: Command, tiny_run: Path, files: Path) -> None:
    picture, mask = files / "composite.png", files / "mask.png"
    for line in (
        f"harmonize {tiny_run} {picture} -o {files}/1.png --mask {mask}",
        f"harmonize {tiny_run} {picture} -o {files}/2.png --background {files}/photo.png",
        f"edit {tiny_run} {picture} -o {files}/3.png --seed 4",
        f"paint {tiny_run} {picture} -o {files}/4.png",
        f"restyle {tiny_run} {picture} -o {files}/5.png --json",
        f"fill {tiny_run} {picture} -o {files}/6.png --mask {mask}",
        f"extend {tiny_run} {picture} -o {files}/7.png --left 9",
        f"paint {tiny_run} {picture} -o {files}/8.png --sweep",
    ):
        done = command(line)
        assert done.code == 0, done.err
    assert read_photo(files / "7.png").size.width == read_photo(picture).size.width + 9


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("harmonize RUN FILES/photo.png -o FILES/x.png", "is empty"),
        (
            "harmonize RUN FILES/composite.png -o FILES/x.png --level 77",
            "level 77 is not|level 77 cannot take",
        ),
        ("harmonize RUN FILES/composite.png -o FILES/photo.png", "exists and would be replaced"),
        (
            "harmonize RUN FILES/composite.png -o FILES/x.png --mask FILES/nope.png",
            "does not exist",
        ),
        ("fill RUN FILES/photo.png -o FILES/x.png", "requires an argument|Missing|--mask"),
        ("extend RUN FILES/photo.png -o FILES/x.png", "nothing to add"),
        ("paint RUN FILES/photo.png -o FILES/x.png --sweep --level 0", "drop --level"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    command: Command, tiny_run: Path, files: Path, line: str, words: str
) -> None:
    done = command(line.replace("RUN", str(tiny_run)).replace("FILES", str(files)))
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert re.search(words, done.err), done.err
    assert not (files / "x.png").exists()
