"""Images decoded in tiles, and in batches, are the same."""

from typing import Literal

import pytest
import torch

from reference.compare import SMALL_CONSINGAN, SMALL_SINGAN, difference, flawed, grown, noise
from singleimage.apps.sample import sample
from singleimage.generators import growing, tiles
from singleimage.generators.base import Injection
from singleimage.generators.cascade import Cascade
from singleimage.generators.growing import Growing
from singleimage.generators.tiles import in_tiles
from singleimage.multiscale.geometry import Size, Window
from singleimage.multiscale.latent import Latent, splice
from singleimage.nn.precision import use_precision
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.recipe import Recipe

GENERATORS: dict[str, Recipe] = {
    "stretched edges": SMALL_CONSINGAN,
    "zero edges": with_overrides(SMALL_CONSINGAN, {"generator.edge": "zero"}),
    "fixed noise": with_overrides(SMALL_CONSINGAN, {"generator.anchor": "noise"}),
    "cascade": SMALL_SINGAN,
    "cascade of 8 bits": with_overrides(SMALL_SINGAN, {"generator.quantize": "true"}),
    "cascade without norm": with_overrides(SMALL_SINGAN, {"generator.norm": "none"}),
    "cascade of a hypernetwork": with_overrides(
        SMALL_SINGAN,
        {
            "generator.norm": "none",
            "generator.noise_border": "finer",
            "generator.base_noise": "color",
            "generator.enlarging": "bilinear",
        },
    ),
}


NORMED_AS_A_WHOLE: dict[str, Recipe] = {
    "growing": with_overrides(SMALL_CONSINGAN, {"generator.norm": "image"}),
    "involutions": with_overrides(SMALL_CONSINGAN, {"generator.body": '{"type": "involution"}'}),
    "cascade": with_overrides(SMALL_SINGAN, {"generator.norm": "image"}),
}


def small_tiles(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    monkeypatch.setattr(tiles, "TILE", side)
    monkeypatch.setattr(tiles, "WHOLE", 100)
    if side != 24:  # level 0 in tiles, too, not once for all of them
        monkeypatch.setattr(growing, "WHOLE", 0)


def entered(g: Cascade | Growing, latent: Latent) -> Injection:
    """An image at the level where one may enter in the middle, or at the start."""
    level = 2 if isinstance(g, Cascade) else 0
    size = latent.sizes[max(level - 1, 0)]
    return Injection(level, noise(latent.batch, 3, *size, seed=8).mul(0.5).clamp(-1, 1))


TILED = [(Size(26, 30), 24), (Size(22, 63), 16), (Size(70, 65), 32)]
"""Sizes, and sides of tiles: two by two, wide, and with a tile that meets no edge."""
QUICK = ("stretched edges", "cascade")
"""Generators that are tried with all of these; the slow tests try the others with them, too."""


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        *((name, *tiled) for name in QUICK for tiled in TILED),
        *((name, *TILED[1]) for name in GENERATORS if name not in QUICK),
        *(
            pytest.param(name, *tiled, marks=pytest.mark.slow)
            for name in GENERATORS
            for tiled in (TILED[0], TILED[2])
            if name not in QUICK
        ),
        *(pytest.param(name, Size(22, 63), 9, marks=pytest.mark.slow) for name in QUICK),
    ],
    ids=str,
)
def test_tiles_make_the_same_image(
    name: str, size: Size, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of noise, of noise over a kept layout, and with an image that enters."""
    g, example = grown(GENERATORS[name])
    ladder = example.ladder
    latent = g.draw(ladder.sizes_for(size), [5, 6])
    entry = entered(g, latent)
    cases: list[tuple[Latent, Injection | None]] = [(latent, None), (latent, entry)]
    if size == ladder.finest:
        cases += [(g.anchor(), None), (splice(g.anchor(), latent, 2), None)]
    whole = [g.decode(*case) for case in cases]
    small_tiles(monkeypatch, side)
    windows = list(in_tiles(size))
    assert len(windows) > 1
    covered = torch.zeros(size)
    for window in windows:
        window.cut(covered).add_(1)
    assert (covered == 1).all()
    for case, expected in zip(cases, whole, strict=True):
        assert difference(g.decode(*case), expected) < 1e-10
    assert difference(whole[0], whole[1]) > 1e-3
    newest = len(latent.sizes) - 1
    assert difference(g.decode(flawed(latent, newest)), whole[0]) > 1e-10


@pytest.mark.parametrize("name", NORMED_AS_A_WHOLE)
def test_an_image_normed_as_a_whole_is_decoded_in_one_piece(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    g, example = grown(NORMED_AS_A_WHOLE[name])
    latent = g.draw(example.ladder.sizes_for(Size(41, 30)), [5, 6])
    whole = [g.decode(latent), g.decode(latent, entered(g, latent))]
    small_tiles(monkeypatch, 16)
    assert torch.equal(g.decode(latent), whole[0])
    assert torch.equal(g.decode(latent, entered(g, latent)), whole[1])


@pytest.mark.parametrize("size", [Size(9, 11), Size(10, 10), Size(11, 10), Size(61, 17)], ids=str)
def test_images_are_cut_into_tiles_from_a_number_of_pixels_on(
    size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_tiles(monkeypatch, 8)
    windows = list(in_tiles(size))
    assert (windows == [Window.whole(size)]) == (size.height * size.width <= 100)
    assert all(max(window[2:]) <= 8 for window in windows) == (len(windows) > 1)


@pytest.mark.parametrize("name", [*GENERATORS, "growing, normed", "cascade, normed"])
def test_a_picture_does_not_depend_on_its_batch(name: str) -> None:
    recipe = GENERATORS.get(name) or NORMED_AS_A_WHOLE[name.split(",")[0]]
    g, _ = grown(recipe)
    g.float()
    tolerances: dict[Literal["fp32", "bf16"], float] = {"fp32": 1e-5, "bf16": 0.02}
    for precision, tolerance in tolerances.items():
        use_precision(g, precision)
        together = sample(g, [5, 6, 7, 8, 9])
        for batch in ([6], [7, 5], [9, 8, 6]):
            for image, seed in zip(sample(g, batch), batch, strict=True):
                assert difference(image, together[seed - 5]) < tolerance, precision
