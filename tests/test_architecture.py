"""The layers in docs/architecture.md are the architecture: imports follow them."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import singleimage

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "singleimage"
FILES = sorted(SOURCE.rglob("*.py"))
LAYERS = re.findall(
    r"^\| `(\w+)` \|", (ROOT / "docs" / "architecture.md").read_text().split("## Layers")[1], re.M
)
"""From the ground up: each may import itself and those before it."""
CONCRETE = {
    "Cascade", "Growing", "PatchVAE", "HyperCascade",
    "CascadeSpec", "GrowingSpec", "PatchVAESpec", "HyperSpec",
    "PatchNet", "DecodingCritic", "SpectralCritic", "HyperCritic",
    "CriticSpec", "SpectralCriticSpec", "HyperCriticSpec",
    "AdversarialSpec", "VariationalSpec", "NoiseInput", "AugmentedInput", "ShuffledInput",
}  # fmt: skip
"""Classes of single methods."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def wing_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> set[str]:
    """The wings that a module imports, also inside functions and for the type checker."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("singleimage"):
            modules.add(node.module or "")
        elif isinstance(node, ast.Import):
            modules |= {a.name for a in node.names if a.name.startswith("singleimage")}
    return {module.split(".")[1] for module in modules if "." in module}


def test_a_wing_imports_only_wings_below_it() -> None:
    assert {wing_of(path) for path in FILES} - {"__init__", "__main__"} == set(LAYERS)
    for path in FILES:
        wing = wing_of(path)
        if wing in LAYERS:
            allowed = set(LAYERS[: LAYERS.index(wing) + 1])
            assert imports_of(parsed(path)) <= allowed, path


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    needs: dict[str, set[str]] = {}
    for path in FILES:
        name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        nodes = ast.walk(parsed(path))
        tops = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.col_offset == 0]
        needs[name] = {node.module or "" for node in tops} - {"singleimage"}
    while needs:
        leaves = {module for module, wanted in needs.items() if not wanted & needs.keys()}
        assert leaves, f"a circle among {sorted(needs)}"
        needs = {module: wanted for module, wanted in needs.items() if module not in leaves}


def test_only_recipes_and_a_class_itself_ask_for_a_concrete_method() -> None:
    for path in FILES:
        tree = parsed(path)
        own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        for call in ast.walk(tree):
            named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            if named and call.func.id == "isinstance" and wing_of(path) != "recipes":
                asked = {n.id for n in ast.walk(call.args[1]) if isinstance(n, ast.Name)}
                assert not asked & (CONCRETE - own), f"{path}:{call.lineno}"


def test_the_trainer_imports_no_method() -> None:
    for name in ("trainer", "players", "collapse", "training_set", "run", "makers"):
        words = set(re.findall(r"\w+", (SOURCE / "training" / f"{name}.py").read_text()))
        assert not words & CONCRETE, name


def test_files_and_functions_stay_short() -> None:
    for path in FILES:
        text = path.read_text()
        assert len(text.splitlines()) <= 450, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 80, f"{path}: {node.name}"
                names = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
                assert not names & {"opt", "opts", "cfg", "config", "args"}, f"{path}: {node.name}"


def test_no_module_is_a_drawer() -> None:
    assert not {path.stem for path in FILES} & {"utils", "functions", "misc", "helpers", "common"}


def test_the_public_names_exist_and_all_tools_are_among_them() -> None:
    from singleimage.tools.table import TOOLS

    assert singleimage.__all__ == sorted(singleimage.__all__)
    assert {tool.name for tool in TOOLS} <= set(singleimage.__all__)
    for name in singleimage.__all__:
        assert getattr(singleimage, name) is not None
    for tool in TOOLS:
        assert tool.function is getattr(singleimage, tool.name)


def test_type_checkers_see_the_public_names() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {a.name for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    tools = {tool.name for tool in singleimage.TOOLS}  # which a row alone exports, too
    assert set(singleimage.__all__) - tools <= seen <= set(singleimage.__all__)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = singleimage.nonsense


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, singleimage, singleimage.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_names_of_tests_are_the_same_in_every_process() -> None:
    """A set is written in another order in each, and pytest-xdist then refuses to begin."""
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text()
        for call in ast.walk(ast.parse(text)) if "ids=" in text else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("parametrize"):
                named = any(keyword.arg == "ids" for keyword in call.keywords)
                sets = any(
                    isinstance(node, ast.Set) or ast.unparse(node) == "set()"
                    for node in ast.walk(call.args[1])
                )
                assert not (named and sets), f"{path}: {ast.unparse(call)}"
