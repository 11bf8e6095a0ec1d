"""Sphinx configuration."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

project = "cgdft"
author = "The cgdft authors"
copyright = "The cgdft authors, MIT licence"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "cgdft"
html_show_sourcelink = False
html_sidebars = {"**": []}
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"exclude-members": "forward"}
default_role = "literal"  # `name` in a docstring is code


def plain_bars(app, what, name, obj, options, lines):
    """|x| in a formula is no substitution."""
    lines[:] = [line.replace("|", "\\|") for line in lines]


def skip_models(app, what, name, obj, skip, options):
    """Named models have a page of their own; where terms are listed they are left out."""
    return True if what == "module" and getattr(obj, "__module__", "").startswith("cgdft.functionals.models.") else None


def inline_math(writer, node):
    """MathML, which browsers draw themselves: no script from elsewhere."""
    writer.body.append(convert(node.astext()))
    raise SkipNode


def display_math(writer, node):
    """As `inline_math`, on a line of its own."""
    writer.body.append(f'<div style="margin: 1em 0">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
    app.connect("autodoc-process-docstring", plain_bars)
    app.connect("autodoc-skip-member", skip_models)
