"""Directives that write reference pages from the code: commands, Python names, recipe fields."""

import ast
import inspect
import io
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_args

import msgspec
from docutils import nodes
from rich.console import Console
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

WIDTH = 88
"""Columns of the help of a command."""


class Commands(SphinxDirective):
    """The help of every command, as `--help` prints it."""

    def run(self) -> list[nodes.Node]:
        """Write a section for each."""
        from singleimage.cli import app

        lines = []
        for name in app:
            if name.startswith("-"):
                continue
            stream = io.StringIO()
            app.help_print([name], console=Console(file=stream, width=WIDTH, color_system=None))
            text = "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
            lines += [f"## {name}", "", "```text", text.strip(), "```", ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class Recipes(SphinxDirective):
    """A table for each part of a recipe: its fields, their types, defaults and meaning."""

    def run(self) -> list[nodes.Node]:
        """Write a section for each."""
        from singleimage.recipes import recipe

        lines: list[str] = []
        for kind in _parts(recipe):
            tag = kind.__struct_config__.tag
            title = f"{kind.__name__}, `type` {tag}" if tag else kind.__name__
            about = inspect.cleandoc(kind.__doc__ or "")
            lines += [f"## {title}", "", about, "", "| field | default | |", "|---|---|---|"]
            for name, default, words in _fields(kind):
                lines.append(f"| `{name}` | `{default}` | {words} |")
            lines.append("")
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class PythonNames(SphinxDirective):
    """All public names, each with its docstring."""

    def run(self) -> list[nodes.Node]:
        """Write an entry for each."""
        import singleimage

        lines = ["```{eval-rst}"]
        for name in singleimage.__all__:
            value = getattr(singleimage, name)
            if inspect.isclass(value):
                shown = "" if issubclass(value, Exception) else "\n   :members:"
                lines.append(f".. autoclass:: singleimage.{name}{shown}\n")
            elif callable(value):
                lines.append(f".. autofunction:: singleimage.{name}\n")
        lines.append("```")
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _parts(module: ModuleType) -> list[type]:
    """The recipe and every struct that it may hold, each once."""
    found: list[type] = []
    left: list[Any] = [module.Recipe]
    while left:
        kind = left.pop(0)
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct):
            if kind not in found:
                found.append(kind)
                left += [field.type for field in msgspec.structs.fields(kind)]
        else:
            left += get_args(kind)
    return found


def _fields(kind: type) -> Iterator[tuple[str, str, str]]:
    """Name, default and docstring of each field, those of the class it extends first."""
    words: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            words |= _docstrings(base)
    for field in msgspec.structs.fields(kind):
        default = field.default
        if default is msgspec.NODEFAULT:
            made = field.default_factory
            default = "needed" if made is msgspec.NODEFAULT else made()
        shown = default if default == "needed" else msgspec.json.encode(default).decode()
        shown = "..." if len(shown) > 40 else shown.replace("|", "\\|")
        yield field.name, shown, words.get(field.name, "").replace("|", "\\|")


def _docstrings(kind: type) -> dict[str, str]:
    """The string behind each annotated name in the source of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for first, second in zip(tree.body, tree.body[1:], strict=False):
        match first, second:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=words)):
                found[name] = " ".join(str(words).split())
    return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("commands", Commands)
    app.add_directive("recipe-fields", Recipes)
    app.add_directive("python-names", PythonNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
