"""Pictures are written without loss, whole or not at all."""

import errno
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoded import integers, noise, save_png, with_mask
from singleimage.errors import OutputError
from singleimage.images.channels import Channels
from singleimage.images.photo import Photo
from singleimage.images.reader import read_photo
from singleimage.images.values import MODE_CHANNELS
from singleimage.machine.files import write_atomically

quick = settings(max_examples=25, deadline=None, derandomize=True)


@quick
@given(
    mode=st.sampled_from(list(MODE_CHANNELS)),
    bits=st.sampled_from([8, 16]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    suffix=st.sampled_from(["", ".tif", ".tiff"]),
)
def test_what_is_saved_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    mode: Any,
    bits: Any,
    height: int,
    width: int,
    seed: int,
    suffix: str,
) -> None:
    channels = Channels(mode=mode, bits=bits)
    values = noise(height, width, MODE_CHANNELS[mode], bits=bits, seed=seed)
    pixels = torch.from_numpy(values.astype(np.float64).transpose(2, 0, 1)) / (2**bits - 1) * 2 - 1
    path = tmp_path_factory.mktemp("saved") / f"x{suffix or channels.suffix}"
    assert Photo(pixels.float(), channels).save(path) == [path]
    found = read_photo(path)
    assert found.channels == channels
    assert found.notes == ()
    np.testing.assert_array_equal(integers(found), values)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".webp"])
def test_every_lossless_suffix_keeps_the_colors_under_full_transparency(
    suffix: str, tmp_path: Path
) -> None:
    values = noise(9, 10, 4)
    values[2:7, 2:7, 3] = 0
    photo = read_photo(save_png(tmp_path / "a.png", values))
    photo.save(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(integers(read_photo(tmp_path / f"b{suffix}")), values)


def test_the_suffix_is_that_of_a_format_that_holds_the_bits() -> None:
    assert [Channels(mode=m).suffix for m in MODE_CHANNELS] == [".png"] * 4
    deep = [Channels(mode=m, bits=16).suffix for m in MODE_CHANNELS]
    assert deep == [".png"] * 4
    assert Channels(mode="RGB", bands=1).suffix == ".tiff"


def test_jpeg_is_close(tmp_path: Path) -> None:
    smooth = np.indices((16, 16)).sum(axis=0).astype(np.uint8)[..., None] * 8
    photo = read_photo(save_png(tmp_path / "a.png", np.dstack([smooth] * 3)))
    photo.save(tmp_path / "b.jpg")
    assert float((read_photo(tmp_path / "b.jpg").pixels - photo.pixels).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("x.jpg", Channels(mode="RGBA"), "JPEG cannot hold color with alpha; write .png or .tiff"),
        ("x.jpeg", Channels(mode="L", bits=16), "JPEG cannot hold 16-bit gray; write .png or"),
        ("x.png", Channels(mode="RGB", bands=1), "PNG cannot hold further bands; write .tiff."),
        ("x.webp", Channels(mode="LA", bits=16), "cannot hold 16-bit gray with alpha; write .pn"),
        ("x.gif", Channels(mode="RGB"), "has no suffix of an image; use .png, .jpg, .webp or"),
        ("x", Channels(mode="RGB"), "has no suffix of an image"),
    ],
)
def test_a_format_that_cannot_hold_the_picture_is_refused(
    name: str, channels: Channels, message: str, tmp_path: Path
) -> None:
    photo = Photo(torch.zeros(channels.count, 4, 5), channels)
    with pytest.raises(OutputError, match=message):
        photo.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_side_over_the_limit_of_the_format_is_refused(tmp_path: Path) -> None:
    photo = Photo(torch.zeros(3, 1, 17000), Channels(mode="RGB"))
    with pytest.raises(OutputError, match=r"cannot write .*x\.webp: .*16383.*; write \.png"):
        photo.save(tmp_path / "x.webp")
    assert list(tmp_path.iterdir()) == []


def test_values_out_of_range_are_clamped(tmp_path: Path) -> None:
    photo = Photo(torch.tensor([[[-3.0, -1.0, 0.0, 1.0, 3.0]]]), Channels(mode="L"))
    photo.save(tmp_path / "x.png")
    assert integers(read_photo(tmp_path / "x.png"))[..., 0].tolist() == [[0, 0, 128, 255, 255]]


def test_existing_files_are_kept_unless_overwriting_is_asked_for(
    photo_path: Path, tmp_path: Path
) -> None:
    photo = with_mask(photo_path, noise(10, 12, 1))
    (tmp_path / "x_mask.png").write_text("kept")
    with pytest.raises(OutputError, match=r"x_mask\.png exists and would be replaced; choose"):
        photo.save(tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
    assert (tmp_path / "x_mask.png").read_text() == "kept"
    photo.save(tmp_path / "x.png", overwrite=True)
    again = read_photo(tmp_path / "x.png", masks=[tmp_path / "x_mask.png"])
    assert torch.equal(again.pixels, photo.pixels)


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_everything_as_it_was(
    existing: bool, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.png"
    if existing:
        target.write_bytes(b"before")

    def write(stream: BinaryIO) -> None:
        stream.write(b"half")
        if call == "write":
            no_space()

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", no_space)
    elif call == "replace":
        monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(OutputError, match=r"cannot write .*x\.png: No space left on device; cho"):
        write_atomically(target, write)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == (
        [("x.png", b"before")] if existing else []
    )


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(stream: BinaryIO) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_a_file_below_a_file_or_in_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x.png", tmp_path / "missing" / "x.png"):
        with pytest.raises(OutputError, match=r"cannot write .*; choose another output"):
            write_atomically(path, lambda stream: stream.write(b""))


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="is not a regular file"):
        write_atomically(tmp_path / "pipe", lambda stream: stream.write(b""))
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_stays_and_leads_to_the_new_picture(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "x.png"
    target.write_bytes(b"before")
    (tmp_path / "link.png").symlink_to(target)
    photo = Photo(torch.zeros(3, 4, 5), Channels(mode="RGB"))
    with pytest.raises(OutputError, match="would be replaced"):
        photo.save(tmp_path / "link.png")
    photo.save(tmp_path / "link.png", overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    assert read_photo(target).channels == read_photo(tmp_path / "link.png").channels
