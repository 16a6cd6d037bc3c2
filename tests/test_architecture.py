"""The table in docs/architecture.md is the architecture: imports follow it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import singleimage

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "singleimage"
FILES = sorted(SOURCE.rglob("*.py"))
TABLE = (ROOT / "docs" / "architecture.md").read_text().split("## Who may import whom")[1]


def allowed() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `([\w.]+)` \|(.*)\|$", TABLE, flags=re.M)
    return {module: set(re.findall(r"`([\w.]+)`", cell)) for module, cell in rows}


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("singleimage"):
            found.add((node.module or "").removeprefix("singleimage").removeprefix("."))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("singleimage.")}
    return found


MODULES = [path for path in FILES if path.name not in ("__init__.py", "__main__.py")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_what_its_row_allows(path: Path) -> None:
    assert imports_of(path) <= allowed()[name_of(path)]


def test_the_table_lists_every_module_and_no_other() -> None:
    assert set(allowed()) == {name_of(path) for path in MODULES}


def test_the_table_has_no_row_that_nothing_uses() -> None:
    for path in MODULES:
        assert imports_of(path) == allowed()[name_of(path)], name_of(path)


def test_the_table_has_no_cycle() -> None:
    rows = allowed()
    while rows:
        leaves = {module for module, needs in rows.items() if not needs & set(rows)}
        assert leaves, f"a cycle among {sorted(rows)}"
        rows = {module: needs for module, needs in rows.items() if module not in leaves}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 80, node.name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_function_takes_a_bag_of_options(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            names = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
            assert not names & {"opt", "opts", "cfg", "config", "args"}, node.name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_module_is_a_drawer(path: Path) -> None:
    assert path.stem not in {"utils", "functions", "misc", "helpers", "common"}


def test_the_public_names_are_sorted_and_exist() -> None:
    constants = [name for name in singleimage.__all__ if name.isupper()]
    rest = [name for name in singleimage.__all__ if not name.isupper()]
    classes = sorted(name for name in rest if name[0].isupper())
    functions = sorted(name for name in rest if not name[0].isupper())
    assert singleimage.__all__ == [*sorted(constants), *classes, *functions]
    for name in singleimage.__all__:
        assert getattr(singleimage, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = singleimage.nonsense


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, singleimage, singleimage.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
