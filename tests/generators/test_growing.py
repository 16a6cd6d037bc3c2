"""The growing generator (ConSinGAN, Fast-Stabilized): its blocks, its noise, and its edges."""

import pytest
import torch
from torch import Tensor

from reference import singan as paper
from reference.compare import (
    F64,
    SMALL_CONSINGAN,
    SMALL_FAST_STABILIZED,
    TOLERANCE,
    Watched,
    copied,
    difference,
    grown,
    photo,
    randomize,
    tame,
    tame_and_grown,
)
from singleimage.generators import tiles
from singleimage.generators.base import Injection
from singleimage.generators.growing import Growing, GrowingSpec
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent, gaussian, seed_for
from singleimage.multiscale.pyramid import Ladder, Pyramid
from singleimage.nn.involution import InvolutionBody
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import preset
from singleimage.recipes.recipe import Recipe
from singleimage.recipes.tasks import for_editing
from singleimage.training.trainer import Trainer
from tiny import tiny
from wrapping import EVEN, ODD, WRAPS, rolled, tiled
from wrapping import grown as enlarged


def test_a_new_block_is_a_copy_of_the_newest() -> None:
    pixels = photo().pixels[None]
    example = Pyramid.build(pixels, SMALL_CONSINGAN.pyramid)
    g = SMALL_CONSINGAN.generator.build(channels=3, ladder=example.ladder).to(F64)
    assert isinstance(g, Growing)
    for level in range(4):
        g.grow(example, level)
        if level > 0:
            newest, below = g.blocks[level].state_dict(), g.blocks[level - 1].state_dict()
            assert all(torch.equal(value, below[name]) for name, value in newest.items())
        randomize(g, seed=level)


SHORT = {"training.steps": "2", "pyramid.max_size": "22"}


def anchors(recipe: Recipe) -> list[tuple[Tensor, ...]]:
    """The anchor noise after each step of a short training."""
    trainer = Watched(with_overrides(recipe, SHORT))
    return [copied(*trainer.learner.anchor().maps) for _ in trainer]


@pytest.mark.parametrize("anchor", ["image", "noise"])
def test_anchor_is_fixed_noise_above_level_0(anchor: str) -> None:
    """At level 0 it is the photo of that size, or, for animation, fixed noise."""
    found = anchors(with_overrides(SMALL_CONSINGAN, {"generator.anchor": anchor}))
    last = found[-1]
    assert len(last) == 5
    for maps in found:
        assert all(torch.equal(a, b) for a, b in zip(maps, last, strict=False))
    for level, part in enumerate(last):
        if level > 0 or anchor == "noise":
            seed = seed_for(seed_for(3, level, "level"), "anchor", level)
            assert torch.equal(part, gaussian(part.shape[1:], seed, like=part)[None])
    pixels = photo().pixels[None]
    options = {"stages": 5, "min_size": 13, "max_size": 22}
    coarsest, *_ = paper.consingan_pyramid(pixels, quantise=False, **options)
    assert (difference(last[0], coarsest) < TOLERANCE) == (anchor == "image")


def test_noise_is_colored_at_level_0_and_of_features_above() -> None:
    """With stretched features it covers the 6 pixels by which they exceed their level."""
    for edge, border in (("stretch", 6), ("zero", 0)):
        g, example = grown(with_overrides(SMALL_CONSINGAN, {"generator.edge": edge}))
        latent = g.draw(example.ladder.sizes, [5, 6])
        coarsest, *finer = latent.maps
        assert coarsest.shape == (2, 3, *example.ladder.sizes[0])
        for drawn, (height, width) in zip(finer, example.ladder.sizes[1:], strict=True):
            assert drawn.shape == (2, 4, height + border, width + border)


# With involutions --------------------------------------------------------------------------------


def test_large_images_of_involutions_are_decoded_in_one_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The norm in the kernels' branch looks at the whole image."""
    g, example = tame_and_grown(SMALL_FAST_STABILIZED)
    latent = g.draw(example.ladder.sizes_for(Size(41, 30)), [5])
    whole = g.decode(latent)
    monkeypatch.setattr(tiles, "TILE", 16)
    monkeypatch.setattr(tiles, "WHOLE", 100)
    assert torch.equal(g.decode(latent), whole)


def periodic(spec: GrowingSpec, sizes: tuple[Size, ...]) -> Growing:
    scales = tuple(size.height / sizes[-1].height for size in sizes)
    ladder = Ladder(sizes, scales, 1.0, 0.5, "nearest")
    g = spec.build(channels=3, ladder=ladder).to(F64)
    for _ in sizes:
        g.extend(torch.Generator().manual_seed(0))
    randomize(g, seed=5)
    tame(g)
    g.amplitudes.copy_(torch.tensor([1.0, 0.1, 0.03]))
    return g.requires_grad_(False).eval()


BODIES = {
    "dilation 3": GrowingSpec(width=4, body=InvolutionBody(reduction=2)),
    "wide, zero edges": GrowingSpec(
        width=4, edge="zero", body=InvolutionBody(dilation=5, kernel=5, groups=2)
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_pictures_of_involutions_that_wrap_have_no_seam(name: str) -> None:
    """Moved noise moves the picture; repeated noise repeats it."""
    even, odd = periodic(BODIES[name], EVEN), periodic(BODIES[name], ODD)
    for wrap in WRAPS:
        latent = even.draw(EVEN, [3, 4], wrap)
        image = even.decode(latent)
        moved = torch.roll(image, [4 * around for around in wrap], (2, 3))
        assert difference(even.decode(rolled(latent, 1)), moved) < 1e-10
        assert difference(image, moved) > 1e-2

        latent = odd.draw(ODD, [3], wrap)
        maps = tuple(tiled(x, wrap) for x in latent.tensors())
        more = Latent(maps, tuple(enlarged(size, wrap) for size in ODD), wrap)
        assert difference(odd.decode(more), tiled(odd.decode(latent), wrap)) < 1e-10


def test_norms_hold_the_photos_statistics_for_a_picture_that_enters() -> None:
    """So the photo itself is reproduced, and a change here does nothing far away."""
    fields = {"pyramid.min_size": "26", "pyramid.levels": "3"}
    held = tiny(for_editing(preset("consingan")), **fields)
    own = with_overrides(held, {"generator.entry_norm": "own"})
    trainer = Trainer(photo(44, 52), own, seed=0, device="cpu", precision="fp32")
    for _ in trainer:
        pass
    learned = trainer.learner
    assert isinstance(learned, Growing)
    other = held.schedule.generator.build(channels=3, ladder=learned.ladder)
    assert isinstance(other, Growing)
    for _ in learned.ladder.sizes:
        other.extend(None)
    other.load_state_dict(learned.state_dict())
    anchor = learned.anchor()
    base = torch.as_tensor(anchor.maps[0])
    changed = base.clone()
    changed[..., :4, :4] = 3.0
    far = slice(-8, None)
    shifts = []
    for generator in (learned, other):
        whole = generator.decode(anchor)
        torch.testing.assert_close(generator.decode(anchor, Injection(0, base)), whole)
        moved = generator.decode(anchor, Injection(0, changed))
        shifts.append(float((moved - whole)[..., far, far].abs().max()))
        assert torch.equal(generator.decode(anchor), whole)  # nothing is held afterwards
    assert shifts[1] < 1e-5 < 1e-4 < shifts[0]
