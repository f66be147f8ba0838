"""Sphinx configuration: nothing here or in the pages needs the network."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.napoleon import NumpyDocstring

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))

import scflyformer

project = "scflyformer"
author = "scflyformer developers"
copyright = f"2026, {author}"
version = release = scflyformer.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
nitpicky = True
# Types of other packages: their documentation would have to be fetched to link to it.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(anndata|mudata|matplotlib|numpy|np|pandas|pd|scipy|sp|torch|transformers|os|pathlib|collections|typing)\..*",
    ),
    (
        r"py:.*",
        r"(AnnData|MuData|Axes|Figure|Path|PathLike|Any|Literal|None|Iterable|Mapping|Sequence|Iterator|SummaryResult)",
    ),
    (
        r"py:.*",
        r"(int|float|str|bool|dict|list|tuple|object|bytes|type|slice|[A-Z][A-Za-z]*(Error|Exception|Interrupt))",
    ),
    (r"py:.*", r"scflyformer\..*\._.*"),
]

html_theme = "sphinx_book_theme"
html_title = "scflyformer"
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2, "navbar_persistent": []}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = html_favicon = "_static/logo.svg"

autosummary_generate = True
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = True
napoleon_preprocess_types = False
typehints_defaults = "braces-after"
always_use_bars_union = True
typehints_use_rtype = False

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
# The notebooks hold what they print (notebooks/execute.py). They are copied in; links to and from them are written for
# a clone, where they stand beside docs/.
nb_execution_mode = "off"
(HERE / "notebooks").mkdir(exist_ok=True)
for copy in (HERE / "notebooks").glob("*.ipynb"):
    if not (HERE.parent / "notebooks" / copy.name).is_file():
        copy.unlink()
for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
    text = notebook.read_text(encoding="utf-8").replace("](../docs/", "](../")
    copy = HERE / "notebooks" / notebook.name
    if not copy.is_file() or copy.read_text(encoding="utf-8") != text:
        copy.write_text(text, encoding="utf-8")
nb_merge_streams = True
default_role = "literal"
copybutton_exclude = ".linenos, .gp, .go"  # copied examples come without >>> and what they print
templates_path: list[str] = []

warnings.filterwarnings("ignore", message=".*set_application")  # sphinx_autodoc_typehints speaks to an older Sphinx


def _returns(self: NumpyDocstring, section: str) -> list[str]:
    """Keep the text of a Returns section: it lists the keys written, each a term with its type behind a colon."""
    lines = self._dedent(self._consume_to_next_section())
    if lines[:1] == [":"]:
        del lines[0]  # sphinx_autodoc_typehints found no type to put there
    return self._format_block(":returns: ", lines)


NumpyDocstring._parse_returns_section = _returns


def setup(app: Sphinx) -> None:
    """Turn links to notebooks into links to their copies, and links to results into links to the repository."""
    results = "](https://github.com/scflyformer/scflyformer/blob/main/benchmarks/results/"

    def relink(app: Sphinx, name: str, source: list[str]) -> None:
        source[0] = source[0].replace("](../notebooks/", "](notebooks/").replace("](../benchmarks/results/", results)

    app.connect("source-read", relink)
