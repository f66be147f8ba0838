"""The code of the guide's shorter pages runs as it stands, and what the pages name is there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import scflyformer as sf

DOCS = Path(__file__).resolve().parents[1] / "docs"

pytestmark = [
    pytest.mark.filterwarnings("ignore:n_jobs value 1 overridden:UserWarning"),  # umap, as it is given a seed
    pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive:UserWarning"),
    pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning"),  # scanpy's figures
]


@pytest.fixture(autouse=True)
def _scanpy_settings():
    """Put scanpy's settings back."""
    import scanpy as sc

    before = sc.settings.verbosity
    yield
    sc.settings.verbosity = before


def test_ten_minutes(tmp_path: Path, run_page: Callable[[Path], dict]) -> None:
    """The page, with fewer cells and null genes than it shows, so that the test is quick."""
    text = (DOCS / "start.md").read_text(encoding="utf-8")
    for shown, small in [
        ("simulated(600)", "simulated(126)"),
        ("max_cells=30", "max_cells=4"),
        ("n_null=100", "n_null=20"),
    ]:
        assert text.count(shown) == 1
        text = text.replace(shown, small)
    (tmp_path / "start.md").write_text(text, encoding="utf-8")
    names = run_page(tmp_path / "start.md")
    adata, planted = names["adata"], names["adata"].uns["truth"]["genes"]["role"]
    assert [planted[gene] for gene in ("Msp300", "Hsp68", "cype")] == ["rises", "rises", "control"]
    assert {"annotation", "age_clock"} <= set(adata.obs) and {"perturb", "X_scflyformer"} <= set(adata.uns)
    assert (tmp_path / "result.h5ad").is_file() and (tmp_path / "perturb.csv").is_file()


def test_genes(run_page: Callable[[Path], dict]) -> None:
    names = run_page(DOCS / "genes.md")
    coverage, by_id = names["coverage"], names["by_id"]
    assert coverage["n_genes_mapped"] == coverage["n_by_id"] + coverage["n_by_symbol"] + coverage["n_by_synonym"]
    assert by_id["n_by_id"] + 1 == by_id["n_genes_mapped"] > 1_800
    assert by_id["n_by_synonym"] == 1  # Cpsf5, by a former id
    assert names["missing"] == ["repo"]
    assert names["nearest"].index[0] == "RpL32" and names["nearest"].index.str.match(r"Rp[LS]").all()


def test_devices(run_page: Callable[[Path], dict]) -> None:
    try:
        names = run_page(DOCS / "devices.md")
    finally:
        sf.settings.reset()
    assert names["adata"].obsm["X_scflyformer"].shape == (50, 180)
    assert sf.models.load("fly").embedding_size == 704


def test_large_data(tmp_path: Path, run_page: Callable[[Path], dict]) -> None:
    pytest.importorskip("dask")
    names = run_page(DOCS / "large_data.md")
    backed, lazy = names["adata"].obsm["X_scflyformer"], names["lazy"].obsm["X_scflyformer"]
    np.testing.assert_allclose(backed, lazy, atol=1e-4)
    assert (tmp_path / "atlas_embedding.h5ad").is_file()
    names["adata"].file.close()


def test_own_species(tmp_path: Path, run_page: Callable[[Path], dict]) -> None:
    names = run_page(DOCS / "own_species.md")
    assert {"X_mine"} <= set(names["adata"].obsm)
    said = json.loads((tmp_path / "my-fly" / "provenance.json").read_text(encoding="utf-8"))
    assert "fly-tiny" in json.dumps(said)


def test_models(run_page: Callable[[Path], dict]) -> None:
    names = run_page(DOCS / "models.md")
    assert {"fly", "fly-tiny"} <= set(names["known"]["name"])
    assert names["loaded"].sha256 == sf.models.load("fly-tiny").sha256


def test_citing(run_page: Callable[[Path], dict]) -> None:
    assert run_page(DOCS / "cite.md")["params"]["model"] == "fly-tiny"


def test_every_page_is_listed() -> None:
    """The front page names every page twice: for those who read it built, and for those who read it on GitHub."""
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([\w/]+)$", text, flags=re.MULTILINE))
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    linked = {link.removeprefix("../").removesuffix(".md").removesuffix(".ipynb") for link in links}
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages | {"api/index"} == {page for page in listed if not page.startswith("notebooks/")}
    assert listed == linked | {"code_of_conduct"}
    notebooks = {f"notebooks/{path.stem}" for path in (DOCS.parent / "notebooks").glob("*.ipynb")}
    assert notebooks <= listed
