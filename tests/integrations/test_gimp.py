"""The plug-in in a stub of GIMP 3, with the real command."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestAssertRewriteWarning"),
    pytest.mark.usefixtures("quick_flow"),
]
sys.path.insert(0, str(Path(__file__).parent))
import gimp_stub as gimp  # noqa: E402

from tiny import call  # noqa: E402


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The plug-in's module; its commands run in this process."""
    gimp.install(monkeypatch)
    gimp.Image.open.clear()
    spec = spec_from_file_location("singleimage_gimp", gimp.PLUG_IN)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(line: list[str], **how: Any) -> "subprocess.CompletedProcess[str]":
        assert line[0] == "/the/singleimage"
        assert how["env"].keys().isdisjoint({"PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"})
        done = call(" ".join(line[1:]))
        return subprocess.CompletedProcess(line, done.code, done.out, done.err)

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setenv("SINGLEIMAGE", "/the/singleimage")
    monkeypatch.setenv("PYTHONPATH", "/of/gimp")
    yield module
    assert gimp.Context.foreground == "red"
    assert not gimp.Context.stack


@pytest.fixture
def picture(photo_file: Path) -> Any:
    """An image of two layers, the upper one clear but for a square."""
    with Image.open(photo_file) as opened:
        below = opened.convert("RGB")
    above = Image.new("RGBA", below.size)
    above.paste((200, 30, 30, 255), (4, 4, 12, 12))
    return gimp.Image([above, below])


def run(
    module: ModuleType, tool: str, picture: Any, *, ask: bool = False, **chosen: Any
) -> tuple[Any, Any]:
    """Call a procedure as GIMP does; the values that it returns, and its layers in order."""
    before = list(picture.layers)
    procedure = module.SingleImage().do_create_procedure(f"singleimage-{tool}")
    config = gimp.Config({**procedure.defaults, **({} if ask else chosen)})
    if ask:
        gimp.ProcedureDialog.chosen = chosen or None
    mode = gimp.RunMode.INTERACTIVE if ask else gimp.RunMode.NONINTERACTIVE
    found = procedure.call(procedure, mode, picture, picture.get_layers()[:1], config, None)
    new = [layer for layer in picture.layers if layer not in before]
    assert picture.layers == [*new, *before]  # on top
    assert gimp.Image.open == [picture]  # ours are closed
    assert picture.undo == (["start", "end"] if new else [])
    return found, new


def seen(picture: Any) -> np.ndarray:
    """What is seen of an image, (H, W, 3)."""
    return np.asarray(picture.duplicate().flatten().picture)


def colors(values: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in values.reshape(-1, values.shape[-1]).tolist()}


def test_the_plug_in_declares_three_procedures(plug_in: ModuleType) -> None:
    instance = plug_in.SingleImage()
    names = instance.do_query_procedures()
    assert names == ["singleimage-variations", "singleimage-tile", "singleimage-fill"]
    assert not instance.do_set_i18n(names[0])
    for name in names:
        procedure = instance.do_create_procedure(name)
        assert procedure.get_name() == name
        assert procedure.said["menu"] == "<Image>/Filters/Single Image"
        assert procedure.said["help"][2] == name
        assert procedure.said.keys() >= {"types", "label", "attribution", "sensitivity"}
        assert procedure.defaults.keys() >= {"count", "seed"}
    assert os.access(gimp.PLUG_IN, os.X_OK)
    assert gimp.PLUG_IN.stem == gimp.PLUG_IN.parent.name  # else GIMP does not find it


def test_variations_are_layers_of_the_pixels_that_are_seen(
    plug_in: ModuleType, picture: Any
) -> None:
    found, new = run(plug_in, "variations", picture, count=2, seed=9999, variety=0.4)
    assert (found.status, found.error) == (gimp.PDBStatusType.SUCCESS, None)
    assert [layer.get_name() for layer in new] == ["variations 9999", "variations 10000"]
    whole = seen(gimp.Image([x.picture for x in picture.layers[2:]]))
    first, second = (np.asarray(layer.picture) for layer in new)
    assert colors(first[..., :3]) <= colors(whole)
    assert (first != second).any()


def test_the_dialog_is_asked_and_its_answer_counts(plug_in: ModuleType, picture: Any) -> None:
    found, new = run(plug_in, "tile", picture, ask=True, count=1, seed=8)
    assert found.status is gimp.PDBStatusType.SUCCESS
    assert [layer.get_name() for layer in new] == ["tile 0008"]
    tile = np.asarray(new[0].picture).astype(float)
    for axis in (0, 1):
        across = np.abs(tile.take(0, axis) - tile.take(-1, axis)).mean()
        assert across < 2 * np.abs(np.diff(tile, axis=axis)).mean()


def test_a_dialog_that_is_left_changes_nothing(plug_in: ModuleType, picture: Any) -> None:
    found, new = run(plug_in, "variations", picture, ask=True)
    assert found.status is gimp.PDBStatusType.CANCEL
    assert not new


def test_a_filling_is_new_where_the_image_was_selected(plug_in: ModuleType, picture: Any) -> None:
    before = seen(picture)
    gimp.Image.open.pop()
    picture.selection.paste(255, (2, 2, 16, 14))
    inside = np.asarray(picture.selection) > 0
    found, (layer, *rest) = run(plug_in, "fill", picture, seed=4)
    assert found.status is gimp.PDBStatusType.SUCCESS
    assert not rest
    assert layer.get_name() == "fill 4"
    changed = (np.asarray(layer.picture)[..., :3] != before).any(-1)
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.5


def test_what_cannot_be_done_is_said_in_a_line(
    plug_in: ModuleType, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = gimp.PDBStatusType.EXECUTION_ERROR
    found, _ = run(plug_in, "fill", picture)
    assert (found.status, str(found.error)) == (
        failed, "Nothing is selected; select what is to be filled.",
    )  # fmt: skip
    picture.selection.paste(255, (0, 0, *picture.selection.size))
    found, _ = run(plug_in, "fill", picture)
    assert found.status is failed
    assert "covers the whole picture" in str(found.error)
    monkeypatch.delenv("SINGLEIMAGE")
    monkeypatch.setenv("PATH", "")
    found, _ = run(plug_in, "variations", picture)
    assert found.status is failed
    assert "command singleimage is not found; install" in str(found.error)


def test_a_command_that_cannot_run_is_named(
    plug_in: ModuleType, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # real processes
    with pytest.MonkeyPatch.context() as here:
        gimp.install(here)
        here.setenv("SINGLEIMAGE", "/no/such/command")
        found, _ = run(plug_in, "variations", picture)
    assert "Cannot run /no/such/command: No such file" in str(found.error)
