"""The demo runs from start to end, writes its figures and tells what it found; it skips what the data cannot answer."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "demo.py"
SMALL = ["--perturb-cells", "4", "--n-null", "6"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:n_jobs value 1 overridden:UserWarning"),  # umap, as it is given a seed
]


@pytest.fixture(scope="module")
def demo():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("demo_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo_script"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["demo_script"]


@pytest.fixture(autouse=True)
def _scanpy_settings():
    """Put scanpy's settings back."""
    import scanpy as sc

    before = sc.settings.verbosity, sc.settings.autoshow
    yield
    sc.settings.verbosity, sc.settings.autoshow = before


def test_simulated(demo, tmp_path, capsys):
    found = demo.main(["--out", str(tmp_path / "demo"), "--n-cells", "126", *SMALL])
    figures = {path.stem for path in (tmp_path / "demo").glob("*.png")}
    assert figures == {"umap", "confusion", "age_clock", "expression", "perturb", "perturb_young"}
    assert set(found["step"]) == {"embedding", "annotation", "age clock", "perturbation"}
    assert (found["baseline"] != "").all()  # nothing is told without what is plainer
    planted = found.set_index("what")["expected"]
    assert planted["delete rising together, 30 → 0"] == "towards"
    assert planted["delete falling together, 0 → 30"] == "towards"
    assert (planted == "towards").sum() == 10 and (planted == "not towards").sum() == 3
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "demo" / "found.tsv", sep="\t", keep_default_na=False), found)
    cells = ad.read_h5ad(tmp_path / "demo" / "cells.h5ad")
    assert {"X_scflyformer", "X_umap"} <= set(cells.obsm)
    assert {"predicted_type", "age_clock"} <= set(cells.obs)
    assert {"perturb", "perturb_young", "truth"} <= set(cells.uns)
    said = capsys.readouterr().out
    assert (
        "simulated cells (not measured ones)" in said
        and "10 deletions of planted drivers should move cells towards the other age" in said
    )
    assert "1,893 of 2,088 genes recognised" in said and "99% of the counts" in said
    told = said[said.index("WHAT WAS FOUND") :]
    assert "The cells are SIMULATED" in told and "says nothing about flies" in told
    assert all(f"  {path.name} " in told for path in (tmp_path / "demo").iterdir())
    assert f'sc.read_h5ad("{tmp_path / "demo" / "cells.h5ad"}")' in told
    assert max(map(len, told.split("WHERE IT IS")[0].splitlines())) <= 110


@pytest.fixture
def run(demo, tiny_model, tmp_path):
    """Run the demo on a file of cells with the tiny model; return the steps in its table."""

    def go(adata, *options: str) -> list[str]:
        adata.write_h5ad(tmp_path / "cells_in.h5ad")
        arguments = ["--data", str(tmp_path / "cells_in.h5ad"), "--out", str(tmp_path / "out")]
        found = demo.main([*arguments, "--model", str(tiny_model), *SMALL, *options])
        assert (tmp_path / "out" / "cells.h5ad").is_file()
        return list(dict.fromkeys(found["step"]))

    return go


def test_cells_of_ones_own(run, cells, capsys):
    cells.obs = cells.obs.rename(columns={"cell_type": "celltype", "batch": "donor"})
    cells.obs["age"] = cells.obs["age"].astype(str).astype("category")  # as the Aging Fly Cell Atlas has it
    assert run(cells, "--max-cells", "52") == ["embedding", "annotation", "age clock", "perturbation"]
    said = capsys.readouterr().out
    assert "label = celltype, age = age, sample = donor" in said
    assert "Taking 52 of 60 cells, spread over the samples" in said
    assert "exploratory" in said and "planted" not in said


def test_columns_that_are_missing_are_told(run, cells, capsys):
    del cells.obs
    assert run(cells) == []
    said = capsys.readouterr().out
    assert "label = none found" in said
    assert "annotation is left out" in said and "ageing clock is left out" in said


def test_named_columns(run, cells, capsys):
    cells.obs["stage"] = [f"{days}d" for days in cells.obs["age"]]
    assert run(cells, "--label-key", "batch", "--age-key", "stage") == ["embedding"]
    said = capsys.readouterr().out
    assert "obs['stage'] is not a number for 60 cells" in said
    assert "annotation is left out: Every class of obs['batch'] comes from one sample only" in said
    with pytest.raises(SystemExit, match="--age-key years: no such column"):
        run(cells, "--age-key", "years")


def test_an_earlier_demo_is_replaced_and_nothing_else(run, cells, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("perturb_young.png", "umap.png", "own.png", "notes.txt"):
        (out / name).write_text("old")
    del cells.obs
    run(cells)
    assert (out / "perturb_young.png").read_text() == "old"  # no demo's: there was no table of one
    run(cells)
    assert "holds an earlier demo" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"umap.png", "own.png", "notes.txt", "found.tsv", "cells.h5ad"}
    assert (out / "own.png").read_text() == "old" and (out / "umap.png").stat().st_size > 1000


@pytest.mark.parametrize("how", [KeyboardInterrupt, RuntimeError])
def test_what_was_done_is_kept(demo, run, cells, tmp_path, monkeypatch, how):
    def stop(*_):
        raise how

    monkeypatch.setattr(demo, "age_clock", stop)
    with pytest.raises(SystemExit if how is KeyboardInterrupt else how) as error:
        run(cells)
    assert how is RuntimeError or "Interrupted" in str(error.value)
    found = pd.read_csv(tmp_path / "out" / "found.tsv", sep="\t")
    assert list(dict.fromkeys(found["step"])) == ["embedding", "annotation"]
    assert "predicted_type" in ad.read_h5ad(tmp_path / "out" / "cells.h5ad").obs
    assert not list((tmp_path / "out").glob("*.part"))


def test_its_own_result_is_not_overwritten(demo, cells, tmp_path, capsys):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(SystemExit):
        demo.main(["--data", str(tmp_path / "cells.h5ad"), "--out", str(tmp_path)])
    assert "would be overwritten by the results" in capsys.readouterr().err


def test_thinning_spreads_over_samples(demo, cells):
    kept = demo.thin(cells, "batch", 22, seed=0)
    assert len(np.unique(kept)) == 22
    assert sorted(cells.obs["batch"].iloc[kept].value_counts()) == [5, 5, 6, 6]


def test_no_such_file(demo, tmp_path, capsys):
    with pytest.raises(SystemExit):
        demo.main(["--data", str(tmp_path / "none.h5ad")])
    assert "no such file" in capsys.readouterr().err
