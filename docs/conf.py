"""Sphinx configuration: nothing here or in the pages needs the network."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

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
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2}
html_static_path: list[str] = []

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
# The published pages show what the notebooks print; elsewhere they are shown as they are.
nb_execution_mode = "cache" if os.environ.get("READTHEDOCS") == "True" else "off"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
templates_path: list[str] = []

warnings.filterwarnings("ignore", message=".*set_application")  # sphinx_autodoc_typehints speaks to an older Sphinx


def _returns(self: NumpyDocstring, section: str) -> list[str]:
    """Keep the text of a Returns section: it lists the keys written, each a term with its type behind a colon."""
    return self._format_block(":returns: ", self._dedent(self._consume_to_next_section()))


NumpyDocstring._parse_returns_section = _returns
