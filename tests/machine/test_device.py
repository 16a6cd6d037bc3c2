"""Devices by name: to find one changes nothing, to use one sets its threads."""

import os
from pathlib import Path

import pytest
import torch

from refusals import assert_refused
from singleimage.errors import DeviceError
from singleimage.machine import device
from singleimage.machine.device import find_device, kind_of, use_device
from tiny import Command

TRANSCRIPT = """
unknown device
$ sample {run} -o {out} --device gpu
device 'gpu' is not available here; use auto, cpu, cpu:THREADS, cuda, cuda:INDEX or mps.

absent device
$ train {photo} -o {out} --device cuda:77
device 'cuda:77' is not available here; use auto, cpu, cpu:THREADS, cuda, cuda:INDEX or mps.

device without memory
$ train {photo} -o {out} --device meta
device 'meta' is not available here; use auto, cpu, cpu:THREADS, cuda, cuda:INDEX or mps.
"""


def test_a_device_that_is_not_there_is_one_line(
    photo_file: Path, good_run: Path, tmp_path: Path, command: Command
) -> None:
    assert_refused(TRANSCRIPT, command, tmp_path, photo=photo_file, run=good_run)


def state() -> tuple[object, ...]:
    """What belongs to the whole process."""
    return (
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.get_float32_matmul_precision(),
        torch.get_default_device(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        os.environ.copy(),
        torch.get_rng_state().tolist(),
    )


def test_to_find_a_device_changes_nothing(threads: int) -> None:
    torch.set_num_threads(2)
    before = state()
    for name in ("auto", "cpu", "cpu:1", "cpu:3"):
        assert find_device(name).type in (("cpu",) if name != "auto" else ("cpu", "cuda", "mps"))
        assert state() == before, name
    for name in ("gpu", "meta", "cuda:77", "cpu:-1", "cpu:1.5", "cpu:x", ""):
        for find in (find_device, use_device):
            with pytest.raises(DeviceError, match=f"device '{name}' is not available here; use"):
                find(name)
            assert state() == before, name


def test_processes_of_torchrun_have_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_computes", lambda _: True)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert find_device("auto") == find_device("cuda") == torch.device("cuda")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    assert (
        find_device("auto") == find_device("cuda") == use_device("cuda") == torch.device("cuda:2")
    )
    assert find_device("cuda:1") == torch.device("cuda:1")
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(DeviceError, match="device 'mps' is not available"):
        find_device("mps")
    monkeypatch.setattr(device, "_computes", lambda name: name in ("mps", "cpu"))
    assert find_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("lacking", [("cuda",), ("cuda", "mps"), ()], ids=" ".join)
def test_auto_passes_over_a_gpu_without_kernels(
    monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...]
) -> None:
    def ones(_: int, device: str) -> torch.Tensor:
        if device in lacking:
            raise RuntimeError("CUDA error: no kernel image is available for execution")
        return torch.zeros(1)

    monkeypatch.setattr(torch, "ones", ones)
    expected = next(name for name in ("cuda", "mps", "cpu") if name not in lacking)
    assert find_device("auto").type == expected


def test_models_of_gpus_differ_in_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"model {device.index}")
    kinds = [kind_of(torch.device(name)) for name in ("cpu", "mps", "cuda:0", "cuda:1")]
    assert kinds == ["cpu", "mps", "model 0", "model 1"]


def test_a_full_gpu_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "ones", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        find_device("cuda")


def test_to_use_a_device_sets_the_threads_in_its_name_and_nothing_else(threads: int) -> None:
    torch.set_num_threads(2)
    before = state()
    for name in ("cpu", "auto"):
        assert use_device(name) == find_device(name)
        assert state() == before, name
    for count in (1, 3):
        assert use_device(f"cpu:{count}") == torch.device("cpu")
        assert state() == (count, *before[1:])
