"""Pictures that wrap, of every generator, have no seam: they move and repeat with their noise."""

import pytest
import torch

from reference.compare import difference, noise
from singleimage.generators import tiles
from singleimage.generators.base import Injection
from singleimage.multiscale.geometry import OPEN, Size, Wrap
from singleimage.multiscale.latent import Latent
from wrapping import BOTH, COLUMNS, EVEN, ODD, SPECS, WRAPS, grown, made, rolled, tiled


@pytest.mark.parametrize("name", SPECS)
def test_moving_the_noise_moves_the_picture(name: str) -> None:
    g = made(name, EVEN)
    for wrap in WRAPS:
        latent = g.draw(EVEN, [3, 4], wrap)
        image = g.decode(latent)
        assert image.std() > 0.05
        for steps in (1, 3):
            expected = torch.roll(image, [4 * steps * around for around in wrap], (2, 3))
            assert difference(g.decode(rolled(latent, steps)), expected) < 1e-12, wrap
            assert difference(image, expected) > 1e-2, wrap


@pytest.mark.parametrize("name", SPECS)
def test_an_image_that_enters_wraps_too(name: str) -> None:
    g = made(name, EVEN)
    level, latent = max(g.entry_levels), g.draw(EVEN, [3], BOTH)
    image = noise(1, 3, *EVEN[max(level - 1, 0)]).clamp(-1, 1)
    step = 2 ** max(level - 1, 0)
    moved = g.decode(rolled(latent, 1), Injection(level, torch.roll(image, (step, step), (2, 3))))
    expected = torch.roll(g.decode(latent, Injection(level, image)), (4, 4), (2, 3))
    assert difference(moved, expected) < 1e-12


def test_an_open_picture_does_not_move_with_its_noise() -> None:
    for name in SPECS:
        g = made(name, EVEN)
        latent = g.draw(EVEN, [3])
        maps = tuple(torch.roll(x, 4, 2) for x in latent.tensors())
        moved = g.decode(Latent(maps, EVEN))
        assert difference(moved, torch.roll(g.decode(latent), 4, 2)) > 1e-2, name


@pytest.mark.parametrize("name", SPECS)
def test_repeated_noise_makes_the_repeated_picture(name: str) -> None:
    """At any sizes of levels."""
    g = made(name)
    for wrap in WRAPS:
        latent = g.draw(ODD, [3, 4], wrap)
        maps = tuple(tiled(x, wrap) for x in latent.tensors())
        more = Latent(maps, tuple(grown(size, wrap) for size in ODD), wrap)
        assert difference(g.decode(more), tiled(g.decode(latent), wrap)) < 1e-12, wrap


WINDOWS: dict[str, tuple[Size, int, list[Wrap]]] = {
    "small": (Size(25, 22), 9, [BOTH]),  # every tile sees more than a period
    "tall": (Size(45, 33), 17, WRAPS),  # rows: one tile meets no edge, two go around one
    "wide": (Size(33, 60), 32, [COLUMNS, BOTH]),  # a last tile of one row
}
EVERY = ("cascade", "growing, stretch", "patch vae, running norm")
"""Generators that are tried with all of these; the slow tests try the others with them, too."""


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        pytest.param(
            *(name, windows),
            marks=[] if name in EVERY or windows == "wide" else [pytest.mark.slow],
        )
        for name in SPECS
        for windows in WINDOWS
    ],
)
def test_windows_around_the_edges_make_the_same_picture(
    name: str, windows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    g, (size, side, wraps) = made(name), WINDOWS[windows]
    for wrap in wraps:
        latent = g.draw(g.ladder.sizes_for(size), [5, 6], wrap)
        level = max(g.entry_levels)
        entry = Injection(level, noise(2, 3, *latent.sizes[max(level - 1, 0)]).clamp(-1, 1))
        with monkeypatch.context() as whole:
            whole.setattr(tiles, "WHOLE", 10**6)
            expected = [g.decode(latent), g.decode(latent, entry)]
        monkeypatch.setattr(tiles, "TILE", side)
        monkeypatch.setattr(tiles, "WHOLE", 100)
        assert difference(g.decode(latent), expected[0]) < 1e-12
        assert difference(g.decode(latent, entry), expected[1]) < 1e-12


@pytest.mark.parametrize("name", SPECS)
def test_the_trainer_would_see_the_same_picture(name: str) -> None:
    g = made(name)
    latent = g.draw(ODD, [3, 4], BOTH)
    with torch.no_grad():
        (image,) = g.run_trained([(g.run_frozen(latent), latent)])
    assert difference(image, g.decode(latent)) < 1e-12


@pytest.mark.parametrize("name", SPECS)
def test_maps_have_no_border_where_they_wrap(name: str) -> None:
    g = made(name)
    shapes = {wrap: [x.shape[-2:] for x in g.draw(ODD, [0], wrap).maps] for wrap in (OPEN, *WRAPS)}
    assert [Size(*shape) for shape in shapes[BOTH]] == list(ODD)
    for mixed, still, open_ in zip(shapes[COLUMNS], shapes[BOTH], shapes[OPEN], strict=True):
        assert mixed == (open_[0], still[1])
