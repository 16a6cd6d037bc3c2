"""Directives `presets` and `recipe-fields`: what recipes hold, from their types and docstrings."""

import inspect
import json
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec
from docutils import nodes
from msgspec import inspect as types
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from singleimage import PRESETS, Recipe


class Presets(SphinxDirective):
    """The presets, with their sources and what to expect of them."""

    def run(self) -> list[nodes.Node]:
        """Return a list of definitions."""
        lines = []
        for recipe in PRESETS.values():
            lines += [f"``{recipe.name}``", f"   {recipe.source}", "", f"   {recipe.expects}", ""]
        return self.parse_text_to_nodes("\n".join(lines))


class RecipeFields(SphinxDirective):
    """The fields of all groups of a recipe."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each group."""
        lines: list[str] = []
        for kind, paths in _groups(Recipe).items():
            lines += [*_heading(kind, paths), *_about(kind), *_fields(kind)]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _groups(kind: type) -> dict[type, list[str]]:
    """Every struct that can stand in a recipe, with the paths where it can."""
    found: dict[type, list[str]] = {}

    def walk(kind: type, path: str) -> None:
        paths = found.setdefault(kind, [])
        if path not in paths:
            paths.append(path)
        for field in _info(kind).fields:
            for inner, many in _structs(field.type):
                below = f"{path}.{field.encode_name}" if path else field.encode_name
                walk(inner, f"{below}.N" if many else below)

    walk(kind, "")
    return found


def _info(kind: type) -> types.StructType:
    """What msgspec knows of a struct."""
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    return info


def _structs(kind: types.Type, many: bool = False) -> Iterator[tuple[type, bool]]:
    """The structs in the type of a field, and whether it holds many of them."""
    if isinstance(kind, types.StructType):
        yield kind.cls, many
    elif isinstance(kind, types.UnionType):
        for one in kind.types:
            yield from _structs(one, many)
    elif isinstance(kind, types.VarTupleType):
        yield from _structs(kind.item_type, many=True)
    elif isinstance(kind, types.Metadata):
        yield from _structs(kind.type, many)


def _heading(kind: type, paths: list[str]) -> list[str]:
    tag = _info(kind).tag
    title = ", ".join(f"``{path}``" for path in paths if path) or "A recipe"
    title += f" of type ``{tag}``" if tag else ""
    return [title, "~" * len(title), ""]


def _about(kind: type) -> list[str]:
    return [*(inspect.getdoc(kind) or "").splitlines(), ""]


def _fields(kind: type) -> Iterator[str]:
    """A definition of each field: name, type, meaning, default."""
    documented = _documentation(kind)
    for field in _info(kind).fields:
        yield f"``{field.encode_name}`` ({_words(field.type)})"
        text = "\n".join([*documented.get(field.name, []), "", _default(field)]).strip()
        yield from textwrap.indent(f"{text}\n", "   ").splitlines()
        yield ""


def _documentation(kind: type) -> dict[str, list[str]]:
    """The docstrings of a class's attributes, its bases' included."""
    found: dict[str, list[str]] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("singleimage"):
            analyzer = ModuleAnalyzer.for_module(base.__module__)
            texts = analyzer.find_attr_docs()
            found |= {name: text for (owner, name), text in texts.items() if owner == base.__name__}
    return found


def _default(field: types.Field) -> str:
    if field.required:
        return "It must be given."
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    tree = msgspec.to_builtins(value)
    if isinstance(tree, dict):
        return f"Default: type ``{tree['type']}``." if "type" in tree else "Default: see there."
    nested = isinstance(tree, list | tuple) and any(isinstance(part, dict) for part in tree)
    return f"Default: {f'{len(tree)}, see there' if nested else f'``{json.dumps(tree)}``'}."


def _words(kind: types.Type) -> str:
    """The type of a field in words."""
    match kind:
        case types.Metadata():
            return _words(kind.type)
        case types.UnionType():
            return " or ".join(dict.fromkeys(_words(one) for one in _null_last(kind.types)))
        case types.LiteralType():
            return " or ".join(f"``{value}``" for value in kind.values)
        case types.IntType():
            return f"whole number{_range(kind)}"
        case types.FloatType():
            return f"number{_range(kind)}"
        case types.VarTupleType():
            return f"list of: {_words(kind.item_type)}"
        case types.TupleType():
            return f"list of {len(kind.item_types)}: {_words(kind.item_types[0])}"
        case types.StructType():
            return f"group of type ``{kind.tag}``" if kind.tag else "group of fields"
    names = {types.StrType: "text", types.BoolType: "true or false", types.NoneType: "null"}
    return names[type(kind)]


def _null_last(kinds: tuple[types.Type, ...]) -> list[types.Type]:
    return sorted(kinds, key=lambda kind: isinstance(kind, types.NoneType))


def _range(kind: Any) -> str:
    """The limits of a number."""
    limits = [
        f"{word} {limit:,g}" if isinstance(limit, float) else f"{word} {limit:,}"
        for word, limit in (
            *(("at least", kind.ge), ("over", kind.gt)),
            *(("at most", kind.le), ("under", kind.lt)),
        )
        if limit is not None
    ]
    return f" {' and '.join(limits)}" if limits else ""


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add both directives."""
    app.add_directive("presets", Presets)
    app.add_directive("recipe-fields", RecipeFields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
