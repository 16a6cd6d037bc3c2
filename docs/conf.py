"""Sphinx settings of the site: `sphinx-build -W docs docs/_build`."""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

import singleimage

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "singleimage"
author = "The singleimage developers"
copyright = author
version = release = singleimage.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "cyclopts.ext.sphinx",
    "recipe_fields",
    "mathml",
]
exclude_patterns = ["_build", "_ext"]
default_role = "literal"  # docstrings have plain backticks
highlight_language = "sh"
smartquotes = False  # which makes a dash of the two in `--flag`

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 70
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "singleimage"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False


def keep_colons(_app: Sphinx, what: str, *about: object) -> None:
    """Begin docstrings of attributes with a blank line: else napoleon takes `a: b` for a type."""
    lines = about[-1]
    if what in ("attribute", "property") and isinstance(lines, list):
        lines.insert(0, "")


def put_dashes(_app: Sphinx, page: nodes.document) -> None:
    """Write a dash between a parameter and what it is, as smart quotes would."""
    for text in list(page.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def setup(app: Sphinx) -> None:
    """Go before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    app.connect("doctree-read", put_dashes)
