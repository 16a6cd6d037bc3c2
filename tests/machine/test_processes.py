"""Several processes that share a batch of photos."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch

from singleimage import preset
from singleimage.errors import RunError
from singleimage.machine import processes as parallel
from singleimage.models.hypermodel import HyperModel
from singleimage.recipes.overrides import fields_of
from tiny import album_recipe


def test_processes_that_cannot_share_a_batch_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "processes", lambda: 2)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    assert parallel.share_of(6) == slice(3, 6)
    with pytest.raises(RunError, match="2 processes cannot share a batch of 3 photos equally; set"):
        parallel.share_of(3)


def test_without_torch_distributed_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in PyTorch's builds for AMD's GPUs on Windows, where the module is empty."""
    monkeypatch.setattr("torch.distributed.is_available", lambda: False)
    monkeypatch.delattr("torch.distributed.is_initialized")
    parallel.join(torch.device("cpu"))
    parallel.leave()
    assert (parallel.processes(), parallel.share_of(3)) == (1, slice(None))
    assert parallel.leading()


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_a_process_meets_the_others_on_its_own_gpu(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all of them would take the first one, which nccl refuses; Windows has no nccl."""
    calls: list[object] = []
    monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: backend == "nccl")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, timeout: calls.append(backend)
    )
    parallel.join(torch.device("cuda:1"))
    assert calls == [torch.device("cuda:1"), backend]
    parallel.join(torch.device("cpu"))
    assert calls[2:] == ["gloo"]


@pytest.mark.slow
def test_two_processes_take_the_same_course_as_one(
    tmp_path: Path, album: Path, hyper_run: Path
) -> None:
    before = fields_of(preset("meta-small"))
    changed = {path: x for path, x in fields_of(album_recipe()).items() if x != before[path]}
    words = ["train", str(album), "--preset", "meta-small", "-o", str(tmp_path / "two")]
    words += ["--seed", "3", "--precision", "fp32", "--device", "cpu:1"]
    for path, value in changed.items():
        words += ["--set", f"{path}={msgspec.json.encode(value).decode()}"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, "-m", "singleimage", *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    homes = hyper_run, tmp_path / "two"
    one, two = (
        [json.loads(line) for line in (home / "log.jsonl").read_text().splitlines()]
        for home in homes
    )
    assert len(one) == len(two) == 3
    for ours, theirs in zip(one, two, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"seconds"}:
            assert ours[name] == pytest.approx(theirs[name], rel=2e-4, abs=1e-6), name
    a, b = (HyperModel.load(home).hyper.state_dict() for home in homes)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=2e-3, atol=2e-5, msg=name)
    assert any(not torch.equal(a[name], b[name]) for name in a)  # two did share the work
