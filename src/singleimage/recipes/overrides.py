"""Fields of a recipe by dotted path: changed, listed, compared."""

import difflib
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import msgspec

from singleimage.errors import RecipeError
from singleimage.recipes.recipe import Recipe


def with_overrides(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """Return a recipe with fields changed.

    Args:
        recipe: which stays as it is.
        overrides: by dotted path. Values are those of the fields, or text: JSON, or bare words for
            strings. A group of fields is replaced by a JSON object:
            `{"generator.body": '{"type": "convolution"}'}`, or by a dictionary; one that may be
            missing is taken away by null or None: `{"finish": None}`.

    Raises:
        RecipeError: a path names no field (the nearest is suggested), or a value has a wrong type
            or is out of range.
    """
    tree: Any = msgspec.json.decode(recipe.to_json())  # lists, where to_builtins keeps tuples
    for path, text in overrides.items():
        _assign(tree, recipe, path, text)
    try:
        return msgspec.convert(tree, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(_convert_error(str(error), recipe, tree)) from None


def fields_of(recipe: Recipe) -> dict[str, Any]:
    """Return every field of `recipe` by its dotted path."""
    found: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key, child in node.items():
                if key != "type":
                    walk(child, f"{path}.{key}" if path else key)
        elif isinstance(node, list | tuple) and node and isinstance(node[0], dict):
            for i, child in enumerate(node):
                walk(child, f"{path}.{i}")
        else:
            found[path] = node

    walk(msgspec.to_builtins(recipe), "")
    return found


def differences(old: Recipe, new: Recipe) -> list[str]:
    """The fields in which two recipes differ, as `path: old, now new`."""
    before, after = fields_of(old), fields_of(new)
    return [
        f"{path}: {before.get(path, 'absent')}, now {after.get(path, 'absent')}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path) and path not in ("source", "expects")
    ]


def _assign(tree: Any, recipe: Recipe, path: str, given: Any) -> None:
    *parents, last = path.split(".")
    node = tree
    for part in parents:
        node = node[_key(recipe, node, part, path)]
    key = _key(recipe, node, last, path)
    text = given if isinstance(given, str) else None
    try:
        value = given if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = text
    except (RecursionError, UnicodeError):
        raise RecipeError(f"{path} takes no such value; see `train --dry-run`.") from None
    if isinstance(node[key], dict) and not isinstance(value, dict | None):
        fields = ", ".join(name for name in node[key] if name != "type")
        raise RecipeError(f"{path} is a group of fields; set one of them: {fields}.")
    node[key] = value


def _key(recipe: Recipe, node: Any, key: str, path: str) -> Any:
    if isinstance(node, list | tuple) and key.isdecimal() and int(key) < len(node):
        return int(key)
    if isinstance(node, dict) and key in node and key != "type":
        return key
    known = list(fields_of(recipe))
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise RecipeError(f"no recipe field {path}.{hint} `train --dry-run` lists them all.")


def _convert_error(message: str, recipe: Recipe, tree: Any) -> str:
    """msgspec's `Expected ... - at `$.a[0]`` as `a.0: expected ...`, and what was given or fits."""
    what, _, where = message.partition(" - at `$")
    path = where.strip("`").replace("[", ".").replace("]", "").lstrip(".")
    text = f"{path or 'recipe'}: {what[:1].lower()}{what[1:]}"
    if not path:
        return f"{text}."
    words = _words(recipe, path)
    if words:
        return f"{text}; use {' or '.join(words)}."
    for part in path.split("."):
        tree = tree[int(part) if isinstance(tree, list) else part]
    return f"{text}." if isinstance(tree, dict) else f"{text}; {tree} was given."


def _words(recipe: Recipe, path: str) -> list[str]:
    """The words that a field takes, if it takes words."""
    *parents, last = path.split(".")
    owner: Any = recipe
    for part in parents:
        if isinstance(owner, tuple):
            owner = owner[0] if owner else None
        else:  # None: a group that the recipe does not have
            owner = getattr(owner, _attribute(owner, part), None)
    found = get_args(get_type_hints(type(owner)).get(_attribute(owner, last)))
    return [word for word in found if isinstance(word, str)]


def _attribute(owner: Any, field: str) -> str:
    """The attribute of a group of fields that is called `field` in files."""
    if not isinstance(owner, msgspec.Struct):
        return field
    known = {f.encode_name: f.name for f in msgspec.structs.fields(owner)}
    return known.get(field, field)
