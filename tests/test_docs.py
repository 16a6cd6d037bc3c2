"""What README and docs show is true and runs."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import singleimage
from singleimage import PRESETS, Channels, Model, Photo, Recipe, with_overrides
from singleimage.cli import app
from singleimage.multiscale.geometry import Size
from singleimage.recipes.overrides import fields_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in p.parts),
]


def fences(text: str) -> list[tuple[str, str]]:
    """The language and the code of every block, in order."""
    return re.findall(r"^```(.*?)\n(.*?)^```$", text, flags=re.S | re.M)


def blocks(language: str, text: str = README) -> list[str]:
    return [code for said, code in fences(text) if said == language]


def commands() -> list[str]:
    code = [block for page in PAGES for block in blocks("", page.read_text())]
    lines = [line.split("#")[0].strip() for block in code for line in block.splitlines()]
    return [line for line in lines if line.startswith("singleimage ")]


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_pages_parses(line: str) -> None:
    app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1
    Photo(pixels, Channels(mode="RGB")).save("photo.jpg")
    small = {"training.steps": "1", "pyramid.max_size": "48", "generator.width": "4"}
    small |= {"critic.width.base": "4", "pyramid.levels": "4"}
    made = {name: with_overrides(PRESETS[name], small) for name in ("preview", "consingan")}

    def preset(name: str) -> Recipe:
        return made[name]

    real = singleimage.flow

    def flow(photo: Photo, variety: float) -> Model:
        recipe = with_overrides(real(photo, variety=variety).recipe, {"generator.steps": "2"})
        quick = {"generator.redraws": "0", "generator.patches": "200", "generator.rank": "8"}
        return Model.of_photo(photo, with_overrides(recipe, quick))

    monkeypatch.setattr(singleimage, "preset", preset, raising=False)
    monkeypatch.setattr(singleimage, "flow", flow, raising=False)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(block, names)
    assert (tmp_path / "7.png").exists()


def test_the_table_of_methods_is_true() -> None:
    from singleimage.training.planning import count_parameters

    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d+) \| ([\d,]+) \|$", README, flags=re.M)
    assert {row[0] for row in rows} == set(PRESETS)
    for name, levels, parameters in rows:
        ladder = PRESETS[name].pyramid.plan(Size(188, 250))
        assert len(ladder.sizes) == int(levels)
        assert count_parameters(PRESETS[name], ladder)[0] == int(parameters.replace(",", ""))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", ["consingan", "fast-stabilized", "hp-vae-gan", "meta", "singan"])
def test_the_fields_in_a_method_page_are_those_of_its_recipe(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text()
    known = fields_of(PRESETS[name])
    for cell in re.findall(r"^\| (`.*?) \|", text, flags=re.M):
        first, *rest = re.findall(r"`([\w.]+)`", cell)
        group = first.rpartition(".")[0]
        for path in (first, *(p if "." in p else f"{group}.{p}" for p in rest)):
            assert any(field == path or field.startswith(f"{path}.") for field in known), path


def test_the_table_of_what_tools_take_is_true(tiny_runs: dict[str, Path]) -> None:
    page = (ROOT / "docs" / "tools.md").read_text()
    rows = r"^\| `(singan|consingan|hp-vae-gan)`.*? \| ([^|]+) \| [^|]+ \|$"
    said = dict(re.findall(rows, page, flags=re.M))
    assert said == {
        "singan": "all but the coarsest",
        "hp-vae-gan": "all but the coarsest",
        "consingan": "the coarsest",
    }
    for name, run in tiny_runs.items():
        generator = Model.load(run).generator
        levels = range(len(generator.ladder.sizes))
        expected = {"all but the coarsest": set(levels) - {0}, "the coarsest": {0}}[said[name]]
        assert generator.entry_levels == expected
