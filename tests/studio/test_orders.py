"""Orders are command lines, and nothing else."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import singleimage
from encoded import noise, save_png
from singleimage.errors import ArgumentError
from singleimage.studio.orders import KINDS, TRAINING, as_python, as_shell, flags_of, lines_of
from singleimage.studio.server import PAGE
from tiny import Command

pytestmark = pytest.mark.usefixtures("quick_flow")
PHOTO, FOLDER = Path("/s/photo.png"), Path("/s/made")
LAYERS = {name: Path(f"/s/{name}.png") for name in ("mask", "keep", "picture")}


def lines(kind: str, settings: dict[str, Any], **more: Any) -> list[list[str]]:
    given: dict[str, Any] = {
        "photo": PHOTO,
        "run": None,
        "layers": {name: LAYERS[name] for name in KINDS[kind].needed},
        "folder": FOLDER,
        "suffix": ".png",
        "seeds": range(3, 4),
    }
    return lines_of(kind, settings, **(given | more))


def test_an_order_is_a_line_for_each_picture() -> None:
    made = lines("vary", {"variety": 0.5}, seeds=range(7, 9))
    assert [" ".join(line) for line in made] == [
        f"sample /s/photo.png --variety 0.5 --seed {seed} -n 1 --no-sheet -o /s/made"
        for seed in (7, 8)
    ]
    (line,) = lines("fill", {"exact": True}, run=Path("/s/run"))
    assert " ".join(line) == (
        "fill /s/run /s/photo.png --exact --mask /s/mask.png --seed 3 -o /s/made/0003.png"
    )


def test_what_a_trained_model_mends_is_laid_on_the_photo_itself() -> None:
    """Its training image is small, and what the page sends has the bits of a canvas."""
    for kind in ("edit", "harmonize"):
        (plain,), (line,) = lines(kind, {}), lines(kind, {}, run=Path("/s/run"))
        assert "--background" not in plain
        assert line[line.index("--background") + 1] == "/s/photo.png"
        assert "background=si.read_photo('/s/photo.png')" in as_python(line, ".png")
    assert "--background" not in lines("paint", {}, run=Path("/s/run"))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_is_one_that_the_program_takes(kind: str, command: Command) -> None:
    """It fails for want of the photo, not of a flag."""
    run = Path("/s/run") if KINDS[kind].trained or kind in ("edit", "harmonize") else None
    values = {
        "number": 0.5,
        "whole": 5,
        "switch": True,
        "size": "50x60",
    }
    settings = {
        s.name: s.choices[0]
        if s.kind == "choice"
        else max(values[s.kind], s.low)
        if s.kind in ("number", "whole")
        else values[s.kind]
        for s in KINDS[kind].settings
    }
    (line,) = lines(kind, settings, run=run)
    done = command(" ".join(line))
    assert done.code == 2
    assert "does not exist" in done.err or "there is no" in done.err or "no file" in done.err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"variety": 2}, "variety is a number from 0 to 1"),
        ({"variety": "--overwrite"}, "variety is a number"),
        ({"variety": True}, "variety is a number"),
        ({"variety": float("nan")}, "variety is a number"),
        ({"size": "9x9 --overwrite"}, "size is HEIGHTxWIDTH"),
        ({"size": "0x5"}, "size is HEIGHTxWIDTH"),
        ({"output": "/etc"}, "there is no setting 'output'"),
        ({"device": "cpu"}, "there is no setting"),
    ],
)
def test_settings_are_values_of_known_names(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        lines("vary", settings)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ArgumentError, match="fill needs a mask; draw one"):
        lines("fill", {}, layers={})
    with pytest.raises(ArgumentError, match="animate needs a trained model"):
        lines("animate", {})
    with pytest.raises(ArgumentError, match="there is no 'rm'"):
        lines_of("rm", {}, **dict.fromkeys(("photo", "folder"), PHOTO), run=None, layers={},
                 suffix=".png", seeds=range(1))  # fmt: skip
    with pytest.raises(ArgumentError, match="preset is one of quick"):
        flags_of({"preset": "/etc/passwd"}, TRAINING)


def test_commands_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = lines("vary", {}, photo=Path("/s/a photo's.png"))
    assert as_shell(line).startswith("singleimage sample '/s/a photo'\"'\"'s.png' --seed 3")
    monkeypatch.setattr("sys.platform", "win32")
    assert as_shell(line).startswith('singleimage sample "/s/a photo\'s.png" --seed 3')


def test_a_large_deep_photo_stays_as_it_is_around_what_a_small_model_mends(
    tmp_path: Path, tiny_runs: dict[str, Path], command: Command
) -> None:
    values = noise(90, 110, 3, bits=16)
    tifffile.imwrite(tmp_path / "photo.tif", values, photometric="rgb")
    photo = singleimage.read_photo(tmp_path / "photo.tif")
    photo.preview().save(tmp_path / "composite.png")
    mask = np.zeros((90, 110, 1), np.uint8)
    mask[:6, :6] = 255
    layers = {"picture": tmp_path / "composite.png", "mask": save_png(tmp_path / "m.png", mask)}
    more = {"photo": tmp_path / "photo.tif", "run": tiny_runs["consingan"], "folder": tmp_path}
    (line,) = lines("harmonize", {}, layers=layers, **more)
    done = command(" ".join(line))
    assert done.code == 0, done.err
    drawn = singleimage.read_photo(tmp_path / "0003.png")
    assert drawn.channels.bits == 16
    assert (drawn.pixels == photo.pixels).float().mean() > 0.5


@pytest.mark.parametrize("kind", ["vary", "tile", "fill", "extend"])
def test_the_command_and_the_python_that_are_shown_draw_the_same(
    kind: str, tmp_path: Path, photo_bytes: bytes, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(photo_bytes)
    layers = {}
    if kind == "fill":
        from scenes import disk

        picture = singleimage.read_photo(photo)
        disk(picture.size).save(tmp_path / "mask.png")
        layers = {"mask": tmp_path / "mask.png"}
    if kind == "paint":
        layers = {"picture": photo}
    told: dict[str, dict[str, Any]] = {
        "extend": {"left": 6},
        "tile": {"tile": "x"},
        "vary": {"variety": 0.2, "size": "40x50"},
    }
    settings = told.get(kind, {})
    (line,) = lines(kind, settings, photo=photo, layers=layers, folder=tmp_path / "made")
    for name in ("made", "shell", "python"):
        (tmp_path / name).mkdir()
    assert command(" ".join(line)).code == 0
    monkeypatch.chdir(tmp_path / "shell")
    assert command(as_shell(line).removeprefix("singleimage ")).code == 0
    monkeypatch.chdir(tmp_path / "python")
    exec(as_python(line, ".png"), {})
    drawn = (tmp_path / "made" / "0003.png").read_bytes()
    shown = "pictures/0003.png" if line[0] == "sample" else "picture.png"
    assert (tmp_path / "shell" / shown).read_bytes() == drawn
    assert (tmp_path / "python" / "picture.png").read_bytes() == drawn


def test_the_page_has_a_control_for_each_setting_and_no_other() -> None:
    text = (PAGE / "tools.js").read_text()
    named = dict(re.findall(r'const (\w+) = \{ name: "(\w+)"', text)) | {"one": "count"}
    for part in text.split("kind: ")[1:]:
        kind = re.match(r'"(\w+)", label: "\w+", (?:pace: [\d.]+, )?icon', part)
        if kind is None:
            continue
        inside = text[text.index(f'kind: "{kind[1]}", label') :]
        controls = re.search(r"controls: \[(.*?)\],? ?\n? *run:", inside, re.S)
        assert controls is not None
        names = set(re.findall(r'name: "(\w+)"|side\("(\w+)"', controls[1]))
        found = {one or other for one, other in names}
        plain = re.sub(r"\{.*?\}", "", controls[1], flags=re.S)
        found |= {named[word] for word in re.findall(r"\b(variety|one|exact|count)\b", plain)}
        known = TRAINING if kind[1] == "train" else KINDS[kind[1]].settings
        assert found - {"count", "other"} == {setting.name for setting in known}, kind[1]


def test_the_python_of_an_animation_is_a_movie() -> None:
    (line,) = lines("animate", {"frames": 5, "loop": True}, run=Path("/s/run"))
    assert line[-1] == "/s/made/0003.gif"
    assert as_python(line, ".png").splitlines()[2:] == [
        "model = si.Model.load('/s/run')",
        'si.write_movie("picture.gif", si.animate(model, frames=5, loop=True, seed=3))',
    ]
