"""Samples that repeat without a seam: what wraps, wraps exactly, and the rest stays open."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from singleimage import Model
from singleimage.apps.sample import Tile, sample, seam
from singleimage.errors import ArgumentError
from singleimage.generators import tiles
from singleimage.generators.base import Injection
from singleimage.multiscale.geometry import OPEN, Part, Size, Window, Wrap, framed, wrapped_pieces
from singleimage.multiscale.latent import BLOCK, Latent, Noise, drawn, mix, splice
from singleimage.multiscale.resample import (
    resize,
    resize_source,
    stretch,
    stretch_source,
    wrapped_weights,
)
from tiny import Command
from wrapping import (
    BOTH,
    COLUMNS,
    EVEN,
    F64,
    NORMED,
    ODD,
    ROWS,
    SPECS,
    WRAPS,
    grown,
    made,
    rolled,
    tiled,
)

GOLDEN = Path(__file__).parent / "golden" / "format-1.safetensors"

quick = settings(max_examples=25, deadline=None, derandomize=True)
sides = st.integers(4, 24)
wraps = st.sampled_from(WRAPS)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


# Generators with random weights, in float64 -------------------------------------------------------


@pytest.mark.parametrize("wrap", WRAPS, ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_moving_the_noise_moves_the_picture(name: str, wrap: Wrap) -> None:
    g = made(name, EVEN)
    latent = g.draw(EVEN, [3, 4], wrap)
    image = g.decode(latent)
    assert image.std() > 0.05
    for steps in (1, 3):
        expected = torch.roll(image, [4 * steps * around for around in wrap], (2, 3))
        assert difference(g.decode(rolled(latent, steps)), expected) < 1e-12
        assert difference(image, expected) > 1e-2


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


@pytest.mark.parametrize("wrap", WRAPS, ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_repeated_noise_makes_the_repeated_picture(name: str, wrap: Wrap) -> None:
    """At any sizes of levels."""
    g = made(name)
    latent = g.draw(ODD, [3, 4], wrap)
    maps = tuple(tiled(x, wrap) for x in latent.tensors())
    more = Latent(maps, tuple(grown(size, wrap) for size in ODD), wrap)
    assert difference(g.decode(more), tiled(g.decode(latent), wrap)) < 1e-12


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(
    ("size", "side"), [(Size(25, 22), 9), (Size(45, 33), 17), (Size(33, 60), 32)], ids=str
)
def test_windows_around_the_edges_make_the_same_picture(
    name: str, size: Size, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = made(name)
    for wrap in WRAPS:
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


# The seam as a number ----------------------------------------------------------------------------


def across(images: Tensor, dim: int) -> float:
    """Differences across the border over those inside, of pairs that lie alike on all levels.

    Enlarging makes neighbors that lie between two coarse pixels differ more than those on one. In
    `EVEN`, pixels 3 and 4, 7 and 8, ... lie as the last and the first do.
    """
    first, last = (images.movedim(dim, 0)[start::4] for start in (0, 3))
    pairs = (last - first.roll(-1, 0)).abs().flatten(1).mean(1)
    return float(pairs[-1] / pairs[:-1].mean())


@pytest.mark.parametrize("name", [*SPECS, *NORMED])
def test_neighbors_across_the_border_differ_as_those_inside(name: str) -> None:
    """Over many samples; and the measure sees the borders that do not wrap."""
    g = made(name, EVEN)
    tiles: tuple[Tile, ...] = (None, "x", "y", "xy")
    images = {tile: sample(g, range(64), tile=tile) for tile in tiles}
    x, y = ({tile: across(images[tile], dim) for tile in tiles} for dim in (-1, -2))
    for value in (x["x"], x["xy"], y["y"], y["xy"]):
        assert value == pytest.approx(1, abs=0.15), (x, y)
    assert min(x[None], x["y"], y[None], y["x"]) > 1.3, (x, y)
    assert seam(images[None]).x > 1.3 * seam(images["xy"]).x
    assert seam(images[None]).y > 1.3 * seam(images["xy"]).y


def test_the_seam_is_the_ratio_of_differences() -> None:
    image = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 4.0, 6.0]])
    x, y = seam(image)
    assert x == pytest.approx(4.5 / 1.5)
    assert y == pytest.approx(1.0)  # from the last of two rows to the first: the same neighbors
    assert seam(torch.stack([image, -image])) == pytest.approx((x, y))
    assert seam(torch.full((3, 5, 6), 0.3)) == (1.0, 1.0)
    assert seam(image[:, :1]) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("tile", ["x", "y", "xy"])
def test_tiles_go_with_every_size_and_seed(tile: Tile) -> None:
    for name in [*SPECS, *NORMED]:
        g = made(name)
        together = sample(g, [5, 6], size=Size(37, 53), tile=tile)
        assert together.shape == (2, 3, 37, 53)
        assert difference(together[1:], sample(g, [6], size=Size(37, 53), tile=tile)) < 1e-12
        assert sample(g, [5], size=g.ladder.minimum(), tile=tile).isfinite().all()


def test_a_kept_layout_cannot_be_tiled() -> None:
    g = made("cascade")
    with pytest.raises(ArgumentError, match=r"layout, which cannot be tiled along x; drop one"):
        sample(g, [0], start_level=1, tile="x")
    with pytest.raises(ArgumentError, match="tiled along yx; use x, y or xy"):
        sample(g, [0], tile="yx")  # type: ignore[arg-type]


# Resizing ----------------------------------------------------------------------------------------


def middle(x: Tensor) -> Tensor:
    """The tile in the middle of three by three."""
    height, width = x.shape[-2] // 3, x.shape[-1] // 3
    return x[..., height : 2 * height, width : 2 * width]


@quick
@given(here=st.tuples(sides, sides), there=st.tuples(sides, sides))
def test_a_wrapped_resize_is_that_of_the_repeated_image(
    here: tuple[int, int], there: tuple[int, int]
) -> None:
    """And its scale is the ratio of sizes, whatever is given."""
    x = noise(2, 3, *here).mul(0.3).clamp(-1, 1)
    repeated = resize(x.repeat(1, 1, 3, 3), Size(3 * there[0], 3 * there[1]))
    assert difference(resize(x, Size(*there), wrap=BOTH, scale=0.123), middle(repeated)) < 1e-12


@quick
@given(here=st.tuples(sides, sides), there=st.tuples(sides, sides))
def test_a_wrapped_stretch_is_bicubic_interpolation_of_the_repeated_features(
    here: tuple[int, int], there: tuple[int, int]
) -> None:
    x = noise(2, 3, *here)
    size = (3 * there[0], 3 * there[1])
    repeated = F.interpolate(x.repeat(1, 1, 3, 3), size, mode="bicubic", align_corners=False)
    assert difference(stretch(x, Size(*there), wrap=BOTH), middle(repeated)) < 1e-12


@quick
@given(here=st.tuples(sides, sides), there=st.tuples(sides, sides), wrap=wraps)
def test_an_axis_that_does_not_wrap_is_resized_as_ever(
    here: tuple[int, int], there: tuple[int, int], wrap: Wrap
) -> None:
    axes = [0 if around else 1 for around in wrap]  # smooth along what wraps: a constant
    x = noise(1, 2, *(n if axis else 1 for n, axis in zip(here, axes, strict=True)))
    x = x.mul(0.2).clamp(-0.5, 0.5).expand(-1, -1, *here)
    size = Size(*there)
    assert difference(stretch(x, size, wrap=wrap), stretch(x, size)) < 1e-12
    if not any(m < n for n, m in zip(here, there, strict=True)):
        assert difference(resize(x, size, wrap=wrap), resize(x, size)) < 1e-12
        if wrap != BOTH:
            up = 1.01 * max(m / n for n, m in zip(here, there, strict=True))
            assert difference(resize(x, size, scale=up, wrap=wrap), resize(x, size, scale=up)) < (
                1e-12
            )


@pytest.mark.parametrize(("n_in", "n_out"), [(12, 18), (18, 12), (7, 21), (21, 7), (8, 8), (9, 10)])
@pytest.mark.parametrize("kind", ["keys", "aligned"])
def test_wrapped_weights_move_with_the_image_to_the_last_bit(
    kind: str, n_in: int, n_out: int
) -> None:
    weights = wrapped_weights(n_in, n_out, kind)  # type: ignore[arg-type]
    steps = np.gcd(n_in, n_out)
    moved = np.roll(weights, (n_out // steps, n_in // steps), (0, 1))
    assert np.array_equal(moved, weights)
    assert np.abs(weights.sum(axis=1) - 1).max() < 1e-12
    assert np.array_equal(wrapped_weights(n_in, n_out, kind, range(-3, 5)), weights[range(-3, 5)])  # type: ignore[arg-type]
    if n_in == n_out:
        assert np.array_equal(weights, np.eye(n_in))


@pytest.mark.parametrize("wrap", [OPEN, *WRAPS], ids=str)
def test_a_part_of_a_wrapped_image_is_made_of_its_source(wrap: Wrap) -> None:
    here, there = Size(30, 26), Size(41, 40)
    x = noise(1, 2, *here).mul(0.3).clamp(-1, 1)
    windows = [
        Window(top, left, 9, 12)
        for top, left in itertools.product((-5, 0, 36) if wrap[0] else (3,), (-7, 2, 39))
        if wrap[1] or left == 2
    ]
    for window in [*windows, Window.whole(there)]:
        for plan, law in ((resize_source, resize), (stretch_source, stretch)):
            source = plan(here, there, window, wrap=wrap)
            assert window == Window.whole(there) or source.height < here.height
            given_part = framed(x, Window.whole(here), source, wrap)
            part = law(given_part, there, part=Part(window, source, here), wrap=wrap)
            expected = framed(law(x, there, wrap=wrap), Window.whole(there), window, wrap)
            assert difference(part, expected) < 1e-12


def test_gradients_flow_through_wrapped_resizes() -> None:
    x = noise(1, 1, 5, 4).mul(0.2).clamp(-0.5, 0.5).requires_grad_()
    for size in (Size(4, 3), Size(7, 6)):
        assert torch.autograd.gradcheck(lambda v, s=size: resize(v, s, wrap=BOTH), (x,))
        assert torch.autograd.gradcheck(lambda v, s=size: stretch(v, s, wrap=ROWS), (x,))


# Windows and noise -------------------------------------------------------------------------------


@quick
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    corner=st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    extent=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_a_frame_goes_around_where_it_wraps_and_is_zero_elsewhere(
    size: tuple[int, int], corner: tuple[int, int], extent: tuple[int, int]
) -> None:
    x = noise(1, 1, *size)
    wanted = Window(*corner, *extent)
    rows, columns = (np.array(side) for side in (wanted.rows, wanted.columns))
    whole = Window.whole(Size(*size))
    expected = x[..., rows % size[0], :][..., columns % size[1]]
    assert torch.equal(framed(x, whole, wanted, BOTH), expected)
    inside = torch.from_numpy((columns >= 0) & (columns < size[1]))
    if inside.any():
        assert torch.equal(framed(x, whole, wanted, ROWS), expected * inside)
    values = drawn(x, wanted)
    assert torch.equal(values, expected)
    lengths = [len(piece) for piece in wrapped_pieces(wanted.rows, size[0])]
    assert sum(lengths) == extent[0]
    assert [i for piece in wrapped_pieces(wanted.rows, size[0]) for i in piece] == list(
        rows % size[0]
    )


def test_noise_goes_on_at_the_opposite_edge() -> None:
    size = Size(BLOCK + 20, 2 * BLOCK - 7)
    source = Noise((3, 4), 2, size, torch.zeros((), dtype=F64))
    whole = source.drawn()
    for window in (Window(-9, -11, 30, 40), Window(100, 200, 90, 90), Window(4, 5, 6, 7)):
        expected = framed(0.5 * whole, Window.whole(size), window, BOTH)
        assert difference(drawn(source, window, scale=0.5), expected) < 1e-12


def test_windows_of_a_torus_grow_beyond_its_edges_and_fold_when_they_hold_it_all() -> None:
    size = Size(20, 30)
    window = Window(2, 25, 4, 5)
    assert window.grown(3) == Window(-1, 22, 10, 11)
    assert window.grown(3, size) == Window(0, 22, 9, 8)
    assert window.grown(3, size, ROWS) == Window(-1, 22, 10, 8)
    assert window.grown(3, size, BOTH) == Window(-1, 22, 10, 11)
    assert window.grown(8, size, BOTH).folded(size, BOTH) == Window(0, 17, 20, 21)
    assert window.grown(3, size, BOTH).folded(size, BOTH) == Window(-1, 22, 10, 11)


@pytest.mark.parametrize("name", SPECS)
def test_maps_have_no_border_where_they_wrap(name: str) -> None:
    g = made(name)
    shapes = {wrap: [x.shape[-2:] for x in g.draw(ODD, [0], wrap).maps] for wrap in (OPEN, *WRAPS)}
    assert [Size(*shape) for shape in shapes[BOTH]] == list(ODD)
    for mixed, still, open_ in zip(shapes[COLUMNS], shapes[BOTH], shapes[OPEN], strict=True):
        assert mixed == (open_[0], still[1])


def test_arithmetic_keeps_what_wraps() -> None:
    g = made("growing, stretch")
    a, b = g.draw(ODD, [0, 1], ROWS), g.draw(ODD, [2, 3], ROWS)
    assert [x.wrap for x in (a, a.item(0), mix(a, b, 0.5), splice(a, b, 1))] == [ROWS] * 4
    assert g.draw(ODD, [0]).wrap == g.anchor().wrap == OPEN
    with pytest.raises(ValueError, match="wrap differently"):
        splice(g.anchor(), a, 1)
    with pytest.raises(ValueError, match="wrap differently"):
        mix(a, g.draw(ODD, [0, 1], BOTH), 0.5)


# The command -------------------------------------------------------------------------------------


def test_the_command_writes_tiles_and_tells_their_seam(tmp_path: Path, command: Command) -> None:
    done = command(f"sample {GOLDEN} -o {tmp_path} -n 2 --seed 4 --tile xy --size 40x50 --json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    pictures = list(Model.load(GOLDEN).sample([4, 5], tile="xy", size=(40, 50)))
    x, y = np.mean([seam(picture.pixels) for picture in pictures], axis=0)
    assert facts["seam"] == {"x": pytest.approx(x, rel=1e-4), "y": pytest.approx(y, rel=1e-4)}
    for seed, picture in zip((4, 5), pictures, strict=True):
        kept = np.asarray(Image.open(tmp_path / f"{seed:04}.png")).transpose(2, 0, 1)
        assert np.abs(kept - (picture.pixels.numpy() + 1) * 127.5).max() < 1.0

    words = command(
        f"sample {GOLDEN} -o {tmp_path} -n 2 --seed 4 --tile xy --size 40x50 --overwrite"
    )
    assert words.out.splitlines()[1:] == [f"seam {x:.2f} x, {y:.2f} y (1: like inside)"]


def test_the_command_says_nothing_of_seams_unless_asked(tmp_path: Path, command: Command) -> None:
    done = command(f"sample {GOLDEN} -o {tmp_path} -n 1 --json")
    assert list(json.loads(done.out)) == ["files"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--tile z", "--tile"),
        ("--tile yx", "--tile"),
        ("--tile x --start-level 1", "cannot be tiled along x"),
    ],
)
def test_what_cannot_be_tiled_is_refused_in_one_line(
    flags: str, message: str, tmp_path: Path, command: Command
) -> None:
    done = command(f"sample {GOLDEN} -o {tmp_path / 'new'} {flags}")
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "new").exists()
