"""The table of tools is true: of the functions, the commands, and what the package exports."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

import singleimage
from singleimage import Model, Photo
from singleimage.cli import COMMANDS, app
from singleimage.commands.tool import tool_commands
from singleimage.tools.table import TOOLS, Input, Tool
from tiny import Command

KINDS: dict[str, Any] = {"whole": int, "number": float, "switch": bool}
MOVIES = {"seed", "size"}
"""What a tool without a picture takes in place of seeds: it makes a movie."""
each_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


def parameters(tool: Tool) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(tool.function).parameters)


def kind_of(given: Input) -> Any:
    """The annotation of the function's argument."""
    if given.kind == "photo":
        return Photo if given.required else Photo | None
    if given.kind == "number" and given.default is None:
        return float | None
    return KINDS[given.kind]


@each_tool
def test_a_row_has_the_arguments_of_its_function(tool: Tool) -> None:
    found = parameters(tool)
    assert next(iter(found)) == "model"
    assert found.pop("model").annotation is Model
    if tool.picture != "none":
        picture = found.pop(next(iter(found)))
        optional = tool.picture == "optional"
        assert picture.annotation == (Photo | None if optional else Photo)
        assert picture.default is (None if optional else inspect.Parameter.empty)
    for given in tool.inputs:
        argument = found.pop(given.name)
        assert argument.annotation == kind_of(given), given.name
        default = inspect.Parameter.empty if given.required else given.default
        assert argument.default == default, given.name
    if tool.enters:
        level = found.pop("level")
        assert (level.annotation, level.default) == (int | None, None)
    assert set(found) == (MOVIES if tool.picture == "none" else {"seeds"})


def test_names_are_those_of_functions_of_commands_and_of_the_package() -> None:
    names = [tool.name for tool in TOOLS]
    assert len({*names}) == len(names)
    assert {*names} <= {command.__name__ for command in COMMANDS}
    for tool in TOOLS:
        assert tool.function.__name__ == tool.name
        assert getattr(singleimage, tool.name) is tool.function
        assert tool.name in singleimage.__all__


@each_tool
def test_the_help_of_a_command_names_every_input(
    tool: Tool, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the commands of their own too: they take what the row says."""
    monkeypatch.setenv("COLUMNS", "200")
    for part in (app, app[tool.name]):  # a console keeps the width that it began with
        monkeypatch.setattr(part, "_fallback_console", None)
    done = command(f"{tool.name} --help")
    assert done.code == 0
    lines = [" ".join(line.strip("│ ").split()) for line in done.out.splitlines()]
    assert tool.words in lines
    for given in tool.inputs:
        flag = f"--{given.name.replace('_', '-')} "
        (line,) = (line for line in lines if line.removeprefix("* ").startswith(flag))
        assert given.words in line
        assert line.startswith("*") == given.required
        if not given.required and given.default is not None:
            assert f"[default: {given.default}]" in line
    assert any("--level " in line for line in lines) == tool.enters
    assert any("PICTURE " in line for line in lines) == (tool.picture != "none")


@each_tool
def test_a_command_is_generated_of_every_row(tool: Tool) -> None:
    """Its words become arguments of the kinds of the row."""
    (made,) = (made for made in tool_commands() if made.__name__ == tool.name)
    assert made.__doc__ == tool.words
    words = {"photo": "p.png", "whole": "7", "number": "1.5"}
    values: dict[str, Any] = {"photo": Path("p.png"), "whole": 7, "number": 1.5}
    line = [tool.name, "MODEL", *(["IN.png"] if tool.picture == "required" else [])]
    for given in tool.inputs:
        no = "no-" if given.default is True else ""
        flag = f"--{no}{given.name.replace('_', '-')}"
        line += [flag] if given.kind == "switch" else [flag, words[given.kind]]
    app = App()
    app.command(made)
    _, bound, _ = app.parse_args([*line, "-o", "OUT.png"], exit_on_error=False, print_error=False)
    for given in tool.inputs:
        expected = not given.default if given.kind == "switch" else values[given.kind]
        assert bound.arguments[given.name] == expected, given.name
    assert [c.__name__ for c in tool_commands(without=[tool.name])] == [
        other.name for other in TOOLS if other is not tool
    ]
