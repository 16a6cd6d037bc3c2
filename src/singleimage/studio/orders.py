"""What can be ordered on the page: each order is command lines, one for each picture.

The server draws by running these very lines, so a picture of the page is that of the command line,
byte for byte. This module imports nothing heavy.
"""

import math
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from singleimage.errors import ArgumentError
from singleimage.tools.table import TOOLS

MOST = 24
"""Pictures of one order at most."""
ID = re.compile(r"[0-9a-f]{16}")
"""Names of photos, orders and runs: no client names a file."""
SAVED = "picture"
"""What a picture is called by commands that are shown to people."""


@dataclass(frozen=True)
class Setting:
    """A control of the page."""

    name: str
    """Of the flag, with underscores."""
    kind: Literal["number", "whole", "choice", "switch", "size"]
    low: float = 0.0
    high: float = math.inf
    choices: tuple[str, ...] = ()

    def flags(self, value: Any) -> list[str]:
        """The words that say the value on a command line; none for a switch that is off.

        Raises:
            ArgumentError: it is no such value.
        """
        flag = f"--{self.name.replace('_', '-')}"
        if self.kind == "switch":
            if not isinstance(value, bool):
                raise ArgumentError(f"{self.name} is on or off.")
            return [flag] if value else []
        if self.kind == "choice":
            if value not in self.choices:
                raise ArgumentError(f"{self.name} is one of {', '.join(self.choices)}.")
            return [flag, str(value)]
        if self.kind == "size":
            if not (isinstance(value, str) and re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", value)):
                raise ArgumentError(f"{self.name} is HEIGHTxWIDTH, such as 200x300.")
            return [flag, value]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:
            raise ArgumentError(f"{self.name} is a number from {self.low:g} to {self.high:g}.")
        if self.kind == "whole" and value != int(value):
            raise ArgumentError(f"{self.name} is a whole number.")
        return [flag, f"{value:g}" if self.kind == "number" else str(int(value))]


@dataclass(frozen=True)
class Kind:
    """One thing to do with a photo."""

    command: str
    """Of the command line."""
    settings: tuple[Setting, ...] = ()
    layers: tuple[str, ...] = ()
    """Pictures the page sends along: mask, keep, picture."""
    needed: tuple[str, ...] = ()
    """Those without which it does nothing."""
    suffix: str | None = None
    """Of what is made; None: as the photo needs it."""
    trained: bool = False
    """Whether it takes a trained model alone."""


_EXACT = Setting("exact", "switch")
_VARIETY = Setting("variety", "number", 0, 1)
_SIDES = tuple(Setting(side, "whole", 0, 8192) for side in ("top", "bottom", "left", "right"))

KINDS: dict[str, Kind] = {
    "vary": Kind("sample", (_VARIETY, Setting("size", "size")), ("keep",)),
    "tile": Kind(
        "sample",
        (_VARIETY, Setting("tile", "choice", choices=("x", "y", "xy")), Setting("size", "size")),
    ),
    "fill": Kind("fill", (_EXACT,), ("mask",), ("mask",)),
    "extend": Kind("extend", (*_SIDES, _EXACT)),
    "edit": Kind("edit", (), ("picture", "mask"), ("picture",)),
    "harmonize": Kind("harmonize", (), ("picture", "mask"), ("picture",)),
    "paint": Kind("paint", (), ("picture",), ("picture",)),
    "restyle": Kind("restyle", (), ("picture",), ("picture",)),
    "upscale": Kind(
        "upscale", (Setting("factor", "number", 1.05, 16), Setting("strength", "number", 0, 1))
    ),
    "animate": Kind(
        "animate",
        (
            Setting("frames", "whole", 2, 400),
            Setting("beta", "number", 0, 0.99),
            Setting("loop", "switch"),
        ),
        suffix=".gif",
        trained=True,
    ),
}
"""By name."""
_ON_THE_PHOTO = {tool.name for tool in TOOLS if tool.picture == "optional"}
"""Commands that take a model and then what to work on."""
_ON_A_BACKGROUND = {tool.name for tool in TOOLS if any(i.name == "background" for i in tool.inputs)}
"""Commands that lay what they draw on a photo."""
TRAINING: tuple[Setting, ...] = (
    Setting(
        "preset",
        "choice",
        choices=(
            "quick",
            "standard",
            "preview",
            "consingan",
            "singan",
            "fast-stabilized",
            "hp-vae-gan",
        ),
    ),
    Setting("for", "choice", choices=("harmonize", "edit", "paint", "animate")),
)
"""What can be said of a training."""


def flags_of(settings: Mapping[str, Any], known: tuple[Setting, ...]) -> list[str]:
    """The words that say `settings`; raises `ArgumentError` for one that is not `known`."""
    by_name = {setting.name: setting for setting in known}
    words: list[str] = []
    for name, value in settings.items():
        if name not in by_name:
            raise ArgumentError(f"there is no setting {name[:40]!r} here.")
        words += by_name[name].flags(value)
    return words


def lines_of(
    kind: str,
    settings: Mapping[str, Any],
    *,
    photo: Path,
    run: Path | None,
    layers: Mapping[str, Path],
    folder: Path,
    suffix: str,
    seeds: range,
) -> list[list[str]]:
    """The command lines of an order, without the name of the program: one for each seed.

    Args:
        kind: one of `KINDS`.
        settings: of its controls, by name.
        photo: to draw from or to work on.
        run: a trained model to use; None: the photo itself.
        layers: pictures that go along.
        folder: for what is made.
        suffix: of pictures that have the photo's bits and bands.
        seeds: one a picture.

    Raises:
        ArgumentError: there is no such kind or setting, or something is missing.
    """
    what = KINDS.get(kind)
    if what is None:
        raise ArgumentError(f"there is no {kind[:40]!r}; there are {', '.join(KINDS)}.")
    missing = [name for name in what.needed if name not in layers]
    if missing:
        raise ArgumentError(f"{kind} needs a {missing[0]}; draw one.")
    if what.trained and run is None:
        raise ArgumentError(f"{kind} needs a trained model; train one first.")
    words = flags_of(settings, what.settings)
    source = str(photo if run is None else run)
    given = [source]
    if run is not None and what.command in _ON_THE_PHOTO:
        given.append(str(photo))
    if "picture" in layers:
        given.append(str(layers["picture"]))
    under = {"background": photo} if run is not None and what.command in _ON_A_BACKGROUND else {}
    files = {**layers, **under}  # the photo that a model holds may be smaller
    for name in ("mask", "keep", "background"):
        if name in files:
            words += [f"--{name}", str(files[name])]
    lines = []
    for seed in seeds:
        line = [what.command, *given, *words, "--seed", str(seed)]
        if what.command == "sample":
            line += ["-n", "1", "--no-sheet", "-o", str(folder)]
        else:
            line += ["-o", str(folder / f"{seed:04}{what.suffix or suffix}")]
        lines.append(line)
    return lines


def as_shell(line: list[str]) -> str:
    """A command `line`, one of `lines_of`, to paste into a terminal: it writes where that is."""
    made = "pictures" if line[0] == "sample" else SAVED + Path(line[-1]).suffix
    quoted = subprocess.list2cmdline if sys.platform == "win32" else shlex.join
    return quoted(["singleimage", *line[:-1], made])


def as_python(line: list[str], suffix: str) -> str:
    """The same as Python; `line` and `suffix` are those of `lines_of`."""
    return _sample(line, suffix) if line[0] == "sample" else _tool(line, suffix)


def _value(line: list[str], flag: str) -> str | None:
    return line[line.index(flag) + 1] if flag in line else None


def _model(line: list[str]) -> str:
    source, variety = line[1], _value(line, "--variety")
    if not Path(source).suffix:  # the folder of a run
        return f"model = si.Model.load({source!r})"
    more = "" if variety is None else f", variety={variety}"
    return f"model = si.flow({source!r}{more})"


def _script(line: list[str], *drawing: str) -> str:
    return "\n".join(["import singleimage as si", "", _model(line), *drawing])


def _saved(suffix: str) -> str:
    return f'picture.save("{SAVED}{suffix}")'


def _sample(line: list[str], suffix: str) -> str:
    words = [f"[{_value(line, '--seed')}]"]
    if (size := _value(line, "--size")) is not None:
        words.append(f"size=({size.replace('x', ', ')})")
    if (tile := _value(line, "--tile")) is not None:
        words.append(f"tile={tile!r}")
    if (keep := _value(line, "--keep")) is not None:
        words.append(f"keep=si.read_photo({keep!r})")
    return _script(line, f"(picture,) = model.sample({', '.join(words)})", _saved(suffix))


def _tool(line: list[str], suffix: str) -> str:
    moves = line[0] == "animate"
    at = next(i for i, word in enumerate(line) if word.startswith("-"))
    words = [f"si.read_photo({word!r})" for word in line[2:at]]
    rest = line[at:]
    while rest:
        name, value = rest[0].removeprefix("--"), rest[1] if len(rest) > 1 else ""
        if name in ("exact", "loop"):
            words.append(f"{name}=True")
            rest = rest[1:]
            continue
        if name in ("mask", "background"):
            words.append(f"{name}=si.read_photo({value!r})")
        elif name == "seed" and not moves:
            words.append(f"seeds=[{value}]")
        elif name != "-o":
            words.append(f"{name}={value}")
        rest = rest[2:]
    call = f"si.{line[0]}({', '.join(['model', *words])})"
    if moves:
        return _script(line, f'si.write_movie("{SAVED}.gif", {call})')
    return _script(line, f"(picture,) = {call}", _saved(suffix))
