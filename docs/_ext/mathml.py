"""Equations as MathML, which browsers show without a script or a font from elsewhere."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator


def visit_math(page: HTML5Translator, node: nodes.Element) -> None:
    """Write an equation within a line."""
    page.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_displaymath(page: HTML5Translator, node: nodes.Element) -> None:
    """Write an equation on lines of its own, which scrolls where the page is narrow."""
    equation = tex2mathml(node.astext(), as_block=True)
    page.body.append(f'<div class="equation">{equation}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
