"""Files are written whole or not at all: on a full disk, and without permission."""

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from refusals import short
from singleimage.commands.console import say
from singleimage.errors import OutputError
from singleimage.images.channels import Channels, Mask
from singleimage.images.photo import Photo
from singleimage.machine.files import make_folder, quiet_libraries, write_atomically
from singleimage.models.hypermodel import HyperModel
from singleimage.models.model import Model
from tiny import TRAIN_FLAGS, TRAIN_STEPS, Command


def test_libraries_are_quiet_without_standard_error_and_not_in_other_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its number may be any file's then; and two threads would lose it, or each other's words."""
    before, seen = os.fstat(2), []

    def look() -> None:
        with quiet_libraries():
            seen.append(os.fstat(2))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    monkeypatch.setattr("sys.stderr", None)
    look()
    say("a word that nobody hears")
    assert [(one.st_dev, one.st_ino) for one in seen] == [(before.st_dev, before.st_ino)] * 2


class Disk:
    """Stands for `os.fsync`, on a disk that is full after so many files."""

    def __init__(self, files: int) -> None:
        self.files = files

    def __call__(self, descriptor: int) -> None:
        self.files -= 1
        if self.files < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("train {photo} -o {out}", "run.json"),
        ("sample {run} -o {out} -n 1", ".samples.jsonl"),
        ("reconstruct {run} -o {out}.png", "out.png"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_no_file(
    line: str,
    file: str,
    photo_file: Path,
    good_run: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "fsync", Disk(files=0))
    outcome = command(short(line.format(photo=photo_file, run=good_run, out=tmp_path / "out")))
    assert (outcome.code, outcome.out) == (2, "")
    assert re.fullmatch(
        rf"error: cannot write \S+/{file}: No space left on device; choose another output\.\n",
        outcome.err,
    )
    assert files_below(tmp_path) == []


@pytest.mark.slow
def test_a_run_whose_disk_fills_up_continues_once_there_is_space(
    photo_file: Path,
    tiny_runs: dict[str, Path],
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = f"{TRAIN_FLAGS['singan']} --steps {TRAIN_STEPS['singan']}"
    line = f"train {photo_file} -o {tmp_path}/run {flags}"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", Disk(files=6))
        outcome = command(line)
    assert outcome.code == 2
    last = outcome.err.splitlines()[-1]
    assert re.fullmatch(r"error: cannot write .*: No space left on device; choose .*", last)
    assert not [name for name in files_below(tmp_path) if name.endswith(".part")]
    assert command(line).code == 0
    ours, theirs = (
        safetensors.torch.load_file(run / "model.safetensors")
        for run in (tmp_path / "run", tiny_runs["singan"])
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("words", ["train {photo} -o {out}", "sample {run} -o {out}"])
def test_a_folder_that_may_not_be_made_is_one_line(
    words: str,
    photo_file: Path,
    good_run: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    line = short(words.format(photo=photo_file, run=good_run, out=tmp_path / "out"))
    monkeypatch.setattr(Path, "mkdir", refuse)
    outcome = command(line)
    message = f"cannot create {tmp_path}/out: Permission denied; choose another output."
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"error: {message}\n")


@pytest.mark.usefixtures("quick_flow")
@pytest.mark.parametrize("folder", [".", "named.onnx"])
@pytest.mark.parametrize(
    "line",
    [
        "paint {photo} {photo} --map -o",
        "reconstruct {run} --overwrite -o",
        "export {run} --overwrite -o",
        "evaluate {run} --overwrite --report",
    ],
)
def test_a_folder_in_place_of_a_file_is_refused_at_once(
    line: str,
    folder: str,
    photo_file: Path,
    good_run: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "named.onnx").mkdir()
    outcome = command(f"{line.format(photo=photo_file, run=good_run)} {folder}")
    says = f"{folder} is a folder; name a file"
    if line.startswith("export") and folder == ".":
        says = ". is no name of an export"
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {says}")
    assert [path.name for path in tmp_path.iterdir()] == ["named.onnx"]


def test_masks_of_a_picture_without_a_name_are_refused(tmp_path: Path) -> None:
    photo = Photo(torch.zeros(2, 4, 4), Channels(mode="L", masks=(Mask(),)))
    for path in ("", ".", "/", tmp_path):
        with pytest.raises(OutputError, match="is a folder; name a file"):
            photo.save(path)
        with pytest.raises(OutputError, match="is not a regular file"):
            write_atomically(Path(path), lambda stream: stream.write(b""))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sample {run} -o {photo}", "{photo} is a file, not a folder"),
        ("interpolate {meta} {photo} {photo} -o {photo}/x", "{photo} is a file, not a folder"),
        ("model {meta} {photo} -o {out}/m.safetensors", "there is no folder {out}"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    line: str,
    says: str,
    photo_file: Path,
    good_run: Path,
    hyper_run: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError(line)

    for owner, name in ((HyperModel, "mixed"), (HyperModel, "model"), (Model, "sample")):
        monkeypatch.setattr(owner, name, work)
    places = {"photo": photo_file, "run": good_run, "meta": hyper_run, "out": tmp_path / "out"}
    outcome = command(line.format(**places))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {says.format(**places)}; ")


@pytest.mark.usefixtures("weights_kept")
@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("export {photo} --overwrite -o", "page.html"),
        ("evaluate {run} -n 2 --overwrite --report", "page.html"),
        ("paint {run} {photo} --sweep --overwrite -o", "sheet.png"),
        ("model {meta} {photo} --overwrite -o", "one.safetensors"),
    ],
)
def test_a_link_stays_and_leads_to_what_is_written(
    line: str,
    file: str,
    photo_file: Path,
    good_run: Path,
    hyper_run: Path,
    tmp_path: Path,
    command: Command,
) -> None:
    (tmp_path / "there").write_bytes(b"before")
    (tmp_path / file).symlink_to("there")
    places = {"photo": photo_file, "run": good_run, "meta": hyper_run}
    outcome = command(f"{line.format(**places)} {tmp_path / file}")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / file).is_symlink()
    assert (tmp_path / "there").read_bytes() != b"before"


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_of_files_follow_the_umask(mask: int, mode: int, tmp_path: Path) -> None:
    with umask(mask):
        Photo(torch.zeros(1, 4, 4), Channels(mode="L")).save(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_mode & 0o777 == mode


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"/file is a file, not a folder; choose another out"):
            make_folder(path)


@pytest.mark.parametrize(
    ("system", "refusals", "tries"), [("win32", 2, 3), ("win32", 99, 6), ("linux", 2, 1)]
)
def test_windows_tries_again_to_replace_a_file_that_is_read(
    system: str, refusals: int, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls, pauses = Path.replace, list[Path](), list[float]()

    def refuse(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) <= refusals:
            raise PermissionError(errno.EACCES, "Access is denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("sys.platform", system)
    path = tmp_path / "state.pt"
    path.write_bytes(b"before")
    refused = pytest.raises(OutputError, match="Access is denied")
    with refused if refusals >= tries else nullcontext():
        write_atomically(path, lambda stream: stream.write(b"after"))
    assert path.read_bytes() == (b"before" if refusals >= tries else b"after")
    assert (len(calls), files_below(tmp_path)) == (tries, ["state.pt"])
    assert sum(pauses) < 2
