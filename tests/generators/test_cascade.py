"""The cascade (SinGAN): how its levels begin, their noise, and that finished ones stay."""

from itertools import pairwise

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from reference.compare import SMALL_SINGAN, Watched, copied, grown, noise
from singleimage import Channels, Photo, Trainer
from singleimage.generators.base import Injection
from singleimage.generators.cascade import Cascade
from singleimage.multiscale.latent import gaussian, seed_for
from singleimage.multiscale.pyramid import Pyramid
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import SINGAN
from singleimage.recipes.recipe import Recipe
from tiny import pattern, slow_but, tiny, trained


def test_levels_4_and_8_of_singan_start_afresh_and_the_others_from_the_level_below() -> None:
    pixels = torch.rand(1, 3, 188, 250, generator=torch.Generator().manual_seed(0)) * 2 - 1
    example = Pyramid.build(pixels, SINGAN.pyramid)
    generator = SINGAN.generator.build(channels=3, ladder=example.ladder)
    rng = torch.Generator().manual_seed(0)
    for _ in range(10):
        generator.extend(rng)
    states = [level.state_dict() for level in generator.levels]
    warm = [
        level
        for level, (below, above) in enumerate(pairwise(states), start=1)
        if [x.shape for x in below.values()] == [x.shape for x in above.values()]
        and all(torch.equal(below[name], above[name]) for name in below)
    ]
    assert warm == [1, 2, 3, 5, 6, 7, 9]


SHORT = {"training.steps": "2", "pyramid.max_size": "22"}


def anchors(recipe: Recipe) -> list[tuple[Tensor, ...]]:
    """The anchor noise after each step of a short training."""
    trainer = Watched(with_overrides(recipe, SHORT))
    return [copied(*trainer.learner.anchor().maps) for _ in trainer]


@pytest.mark.parametrize("anchor", slow_but(["redrawn", "fixed"], "redrawn"))
def test_anchor_is_noise_at_level_0_and_nothing_above(anchor: str) -> None:
    """redrawn: at each step of level 0, and the last one stays (the code); fixed: once (paper)."""
    found = anchors(with_overrides(SMALL_SINGAN, {"generator.anchor": anchor}))
    coarsest = [maps[0] for maps in found]
    for step in range(2):
        source = seed_for(3, 0, step) if anchor == "redrawn" else seed_for(3, 0, "level")
        expected = gaussian(coarsest[step].shape[1:], seed_for(source, "anchor"), like=noise(1))
        assert torch.equal(coarsest[step], expected[None])
    assert all(torch.equal(later, coarsest[1]) for later in coarsest[2:])
    assert not any(part.any() for maps in found for part in maps[1:])


def test_noise_is_gray_at_level_0_and_colored_above() -> None:
    """Drawn at the size of each level; the border around it is zero."""
    g, example = grown(SMALL_SINGAN)
    latent = g.draw(example.ladder.sizes, [5, 6])
    coarsest, *finer = latent.maps
    assert coarsest.shape == (2, 1, *example.ladder.sizes[0])
    for drawn, size in zip(finer, example.ladder.sizes[1:], strict=True):
        assert drawn.shape == (2, 3, *size)


def test_an_image_enters_without_noise_where_the_recipe_says_so() -> None:
    made = {}
    generator = trained("singan").model().generator
    for noisy in (True, False):
        spec = replace(generator.spec, entry_noise=noisy)
        other = Cascade(spec, channels=3, ladder=generator.full_ladder)
        for _ in generator.levels:
            other.extend(None)
        other.load_state_dict(generator.state_dict())
        other.amplitudes.fill_(0.5)
        sizes = other.ladder.sizes
        entry = Injection(2, pattern(3, sizes[1])[None])
        made[noisy] = [other.decode(other.draw(sizes, [seed]), entry) for seed in (0, 1)]
    assert not torch.equal(*made[True])
    assert torch.equal(*made[False])


def test_running_statistics_see_the_picture_of_the_codes_log() -> None:
    """Once more at steps 0, 500 ... and the last, after the generator has moved."""

    def statistics(every: int | None) -> list[Tensor]:
        recipe = tiny(SINGAN, **{"training.steps": "3"})
        recipe = replace(recipe, generator=replace(recipe.generator, observed_every=every))
        photo = Photo(pattern(3), Channels(mode="RGB"))
        trainer = Trainer(photo, recipe, seed=1, device="cpu", precision="fp32")
        steps = iter(trainer)
        for _ in range(3):
            next(steps)
        found = trainer.learner.state_dict()
        return [v for k, v in found.items() if k.endswith("num_batches_tracked")]

    assert SINGAN.generator.observed_every == 500
    without, every, rarely = statistics(None), statistics(1), statistics(500)
    assert [int(b - a) for a, b in zip(without, every, strict=True)] == [3] * len(without)
    assert [int(b - a) for a, b in zip(without, rarely, strict=True)] == [2] * len(without)


def test_finished_levels_never_change() -> None:
    """Neither by learning nor in their running statistics."""
    trainer = Watched(with_overrides(SMALL_SINGAN, SHORT))
    finished: list[dict[str, Tensor]] = []
    for progress in trainer:
        assert isinstance(trainer.learner, Cascade)
        for net, before in zip(trainer.learner.levels, finished, strict=False):
            assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        if progress.level_done:
            state = trainer.learner.levels[-1].state_dict()
            finished.append({name: value.clone() for name, value in state.items()})
    assert len(finished) == trainer.levels == 3


@pytest.mark.parametrize("head_room", [0.0, 0.5])
def test_head_room_stretches_the_image_of_level_0_and_nothing_else(head_room: float) -> None:
    g, _ = grown(SMALL_SINGAN)
    latent = g.draw(g.ladder.sizes, [5])
    below, above = (g.image(0, n, None, latent) for n in (1, 2))
    roomy, _ = grown(with_overrides(SMALL_SINGAN, {"generator.head_room": head_room}))
    assert roomy.limit == 1 + head_room
    stretched = roomy.image(0, 1, None, latent)
    assert torch.equal(stretched, below * (1 + head_room))
    change = above - g.enlarged(below, latent, 1)
    if not head_room:
        assert torch.equal(roomy.image(1, 2, below, latent), above)
    assert change.abs().max() <= 1
