"""What level 0 is given in training: noise, or the photo changed in the published ways."""

import pytest
import torch

from singleimage.recipes.base_input import AugmentedInput, GivenInput, NoiseInput, ShuffledInput


def image(channels: int = 3) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(90.0), torch.arange(120.0), indexing="ij")
    planes = [torch.sin(x / (5 + c)) * torch.cos(y / (7 + c)) for c in range(channels)]
    return torch.stack(planes)[None] * 0.9


def test_a_base_input_changes_the_photo_by_its_seed_alone() -> None:
    for channels in (1, 3, 4):
        photo = image(channels)
        before = photo.clone()
        assert NoiseInput().base(photo, 0, channels) is None
        for law in (AugmentedInput(), AugmentedInput(change=1.0), ShuffledInput()):
            found = [law.base(photo, seed, min(channels, 3)) for seed in range(6)]
            assert torch.equal(photo, before)
            for seed, base in enumerate(found):
                assert base is not None
                assert base.shape == photo.shape
                assert bool(torch.isfinite(base).all())
                again = law.base(photo, seed, min(channels, 3))
                assert again is not None
                assert torch.equal(base, again)
            assert len({float(base.sum()) for base in found if base is not None}) > 3


@pytest.mark.parametrize(("colors", "channels"), [(1, 2), (1, 3), (1, 4), (3, 4), (3, 6)])
def test_channels_other_than_color_stay(colors: int, channels: int) -> None:
    """Alpha, further bands and masks; of a gray photo, too, that has as many as a color one."""
    photo = image(channels)
    for seed in range(12):
        base = AugmentedInput(change=1.0, holes=1.0).base(photo, seed, colors)
        assert base is not None
        assert torch.equal(base[:, colors:], photo[:, colors:])
        assert not torch.equal(base[:, :colors], photo[:, :colors])


def test_holes_have_one_color_and_the_published_sizes() -> None:
    photo = image()
    areas = []
    for seed in range(40):
        base = AugmentedInput(change=0.0, holes=1.0).base(photo, seed, 3)
        assert base is not None
        changed = (base != photo).all(dim=1)[0]
        values = base[0][:, changed]
        assert torch.equal(values.amax(dim=1), values.amin(dim=1))
        areas.append(int(changed.sum()))
    assert min(areas) >= 15 * 15
    assert max(areas) <= 60 * 60
    assert max(areas) > 2 * 30 * 30  # some are one large hole


def test_tiles_come_from_the_photo_itself() -> None:
    photo = image()
    moved = 0
    for seed in range(30):
        base = ShuffledInput(noise=0.0).base(photo, seed, 3)
        assert base is not None
        changed = (base != photo).any(dim=1)[0]
        moved += bool(changed.any())
        known = set(photo[0, 0].flatten().tolist())
        assert set(base[0, 0].flatten().tolist()) <= known
        assert float(changed.float().mean()) < 0.6
    assert moved > 20


@pytest.mark.slow
def test_tiles_change_as_much_as_those_of_the_published_code() -> None:
    """Of 25x33 pixels 5.18 %, measured beside it; tiles at far borders are cut."""
    photo = torch.arange(25 * 33.0).view(1, 1, 25, 33).expand(1, 3, -1, -1)
    law, shares = ShuffledInput(noise=0.0), []
    for seed in range(1500):
        base = law.base(photo, seed, 3)
        assert base is not None
        shares.append(float((base != photo).any(dim=1).float().mean()))
    assert abs(sum(shares) / len(shares) - 0.0518) < 0.004


def test_colors_change_in_all_the_published_ways() -> None:
    photo = image()
    found = [AugmentedInput(change=1.0, holes=0.0).base(photo, seed, 3) for seed in range(80)]
    assert any(b is not None and torch.equal(b, -photo) for b in found), "inverted"
    assert any(b is not None and bool((b == -1).all(dim=(0, 2, 3)).any()) for b in found), "dropped"
    orders = [photo[:, list(p)] for p in ((1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1))]
    assert any(b is not None and torch.equal(b, o) for b in found for o in orders), "permuted"
    noisy = [b for b in found if b is not None and 0 < float((b - photo).abs().mean()) < 0.2]
    assert noisy, "noise"


def test_a_given_picture_comes_with_noise_if_the_recipe_trained_with_it() -> None:
    photo = image()
    assert torch.equal(GivenInput(photo, 0.0).base(photo, 1, 3), photo)
    noisy = GivenInput(photo, 0.1).base(photo, 1, 3)
    assert 0.05 < float((noisy - photo).std()) < 0.15
