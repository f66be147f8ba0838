"""Every public function keeps the rules of signature and docstring, and stands in the documentation's API pages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import scflyformer as sf

FIRST = {"tl.pretrain": "source", "pl.training": "model", "get.gene_embeddings": "model"}
"""Functions that start from something other than an annotated matrix."""
DOCS = Path(__file__).parents[1] / "docs" / "api"


PACKAGES = ("pp", "tl", "pl", "get", "models", "datasets")
PUBLIC = [f"{package}.{name}" for package in PACKAGES for name in getattr(sf, package).__all__]
FUNCTIONS = [name for name in PUBLIC if name != "tl.PretrainOptions"]
SHELLS = [name for name in FUNCTIONS if name.split(".")[0] in ("pp", "tl", "pl", "get")]
CLASSES = [f"models.{name}" for name in dir(sf.models) if inspect.isclass(getattr(sf.models, name))]
CLASSES.append("tl.PretrainOptions")
WRITERS = [
    name
    for name in SHELLS
    if name.split(".")[0] in ("pp", "tl") and name not in (*FIRST, "tl.adapt")  # a model folder
]

each = pytest.mark.parametrize("name", FUNCTIONS)
each_shell = pytest.mark.parametrize("name", SHELLS)
each_writer = pytest.mark.parametrize("name", WRITERS)
each_class = pytest.mark.parametrize("name", CLASSES)


def function(name: str) -> Callable:
    package, short = name.split(".")
    return getattr(getattr(sf, package), short)


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function(name)).parameters)


def sections(docstring: str) -> dict[str, str]:
    """Split a numpy-style docstring into its sections."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", inspect.cleandoc(docstring), flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def test_the_contract_is_there() -> None:
    wanted = (
        "pp.tokenize pp.harmonize_labels tl.embed tl.annotate tl.age_clock tl.clock_genes tl.annotation_genes "
        "tl.perturb tl.pretrain tl.adapt pl.perturb_shift pl.confusion pl.age_clock pl.expression pl.training "
        "get.perturb_df get.clock_df get.annotation_df get.clock_genes_df get.gene_embeddings models.list "
        "models.fetch models.load datasets.fly_brain_simulated datasets.flybase_clusters "
        "datasets.olfactory_neurons"
    )
    assert set(wanted.split()) <= set(FUNCTIONS)


@each
def test_at_most_three_positional(name: str) -> None:
    positional = [p.name for p in parameters(name).values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert len(positional) <= 3, positional
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters(name).values())


@each_shell
def test_starts_with_adata(name: str) -> None:
    assert next(iter(parameters(name))) == FIRST.get(name, "adata")


@each_writer
def test_names_its_keys_and_copies_on_request(name: str) -> None:
    known = parameters(name)
    for keyword, default in {"copy": False, "mod": None}.items():
        assert known[keyword].kind is inspect.Parameter.KEYWORD_ONLY
        assert known[keyword].default is default
    assert known["key_added"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", [name for name in SHELLS if name.startswith("pl.")])
def test_plots_take_an_axis(name: str) -> None:
    known = parameters(name)
    assert {"ax", "show", "return_fig"} <= set(known)
    assert "save" not in known


@each
def test_every_parameter_has_a_type(name: str) -> None:
    signature = inspect.signature(function(name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert [p.name for p in signature.parameters.values() if p.annotation is p.empty] == []


@each
def test_docstring_is_complete(name: str) -> None:
    doc = inspect.getdoc(function(name))
    assert doc, "no docstring"
    parts = sections(doc)
    assert parts[""].strip().splitlines()[0].endswith(".")
    for section in ("Returns", "Raises", "Examples"):
        assert parts.get(section, "").strip(), f"no {section}"
    assert list(parts)[-1] == "Examples"
    documented = [
        one.strip()
        for names in re.findall(r"^([^\s:][^:\n]*)(?: :.*)?$", parts.get("Parameters", ""), flags=re.M)
        for one in names.split(",")
    ]
    assert documented == list(parameters(name))


@each
def test_docstring_leaves_types_to_the_signature(name: str) -> None:
    typed = re.findall(r"^\S.* : .*$", sections(inspect.getdoc(function(name)) or "").get("Parameters", ""), flags=re.M)
    assert typed == []


@each
def test_is_in_the_documentation(name: str) -> None:
    package, short = name.split(".")
    page = (DOCS / f"{package}.md").read_text(encoding="utf-8")
    assert re.search(rf"^\s*(~?{re.escape(package)}\.)?{short}\s*$", page, flags=re.M)


@each_class
def test_class_is_in_the_documentation(name: str) -> None:
    """With its public methods and properties."""
    page = (DOCS / f"{name.split('.')[0]}.md").read_text(encoding="utf-8")
    shown = re.search(rf":: scflyformer\.{re.escape(name)}\n((?:   :.*\n)*)", page)
    assert shown, f"{name} is not on the page"
    members = [member for member, value in vars(function(name)).items() if is_member(member, value)]
    assert set(members) <= set(re.findall(r"\w+", shown[1]))


def is_member(name: str, value: object) -> bool:
    """Whether it is a public method or property."""
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))


def test_settings_are_in_the_documentation() -> None:
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    members = next(line for line in page.splitlines() if line.strip().startswith(":members:"))
    known = [name for name, value in vars(type(sf.settings)).items() if is_member(name, value)]
    assert set(known) == set(re.findall(r"\w+", members)) - {"members"}
    for name in type(sf.settings)._names:
        assert f"| `{name}` |" in page


def test_every_page_is_in_the_contents_and_tells_an_order() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages == {*PACKAGES, "settings", "command_line"}
    for page in pages:
        assert re.search(rf"^{page}$", index, flags=re.M), f"{page} is not in the toctree"
        assert f"({page}.md)" in index, f"{page} is not in the table"
        assert "\n## Typical call order\n" in (DOCS / f"{page}.md").read_text(encoding="utf-8")


def test_the_table_of_keys_has_every_writer() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for name in WRITERS:
        assert re.search(rf"^\| {{func}}`{name} <scflyformer\.{name}>` \| `(obs|obsm|uns)\[", index, flags=re.M), name
