"""The demo runs from start to end, writes its figures and tells what it found; it skips what the data cannot answer."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scflyformer as sf

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
    sys.path.insert(0, str(SCRIPT.parent))  # as for a script that is run
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SCRIPT.parent))
        for name in ("demo_script", "demo_cells", "demo_real"):
            sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def _scanpy_settings():
    """Put scanpy's settings back."""
    import scanpy as sc

    before = sc.settings.verbosity, sc.settings.autoshow
    yield
    sc.settings.verbosity, sc.settings.autoshow = before


def test_what_ships(demo, tmp_path, monkeypatch, capsys):
    """Real cells come first, then those with planted answers; here with few types and without the slowest baseline."""

    def few_types(*arguments):
        neurons = load_neurons(*arguments)
        most = neurons.adata.obs["cell_type"].value_counts().index[:6]
        neurons.adata = neurons.adata[neurons.adata.obs["cell_type"].isin(most)].copy()
        return neurons

    load_neurons = demo.load_neurons
    monkeypatch.setattr(demo, "load_neurons", few_types)
    monkeypatch.setattr(demo, "BASELINES", ("pca", "majority"))
    out = tmp_path / "demo"
    found = demo.main(["--out", str(out), "--n-cells", "126", "--figure", str(tmp_path / "front.png"), *SMALL])
    assert 10_000 < (tmp_path / "front.png").stat().st_size < 200_000
    simulated = {f"simulated_{name}" for name in ("age_clock", "expression", "perturb", "perturb_young")}
    assert {path.stem for path in out.glob("*.png")} == {
        "neurons_umap",
        "neurons_confusion",
        "ageing_clusters",
    } | simulated
    assert list(dict.fromkeys(found["step"])) == [
        "neurons: embedding", "neurons: annotation", "neurons: from the file alone", "ageing: outer photoreceptors",
        "simulated: age clock", "simulated: perturbation",
    ]  # fmt: skip
    assert (found["baseline"] != "").all()  # nothing is told without what is plainer
    by_name = found.set_index("what")
    assert float(by_name.loc["accuracy, plates held out", "embedding"]) > 0.7
    assert "×2.18" in by_name.loc["Drak, 30 → 50 → 70 days", "embedding"]
    planted = by_name["expected"]
    assert planted["delete rising together, 30 → 0"] == "towards"
    assert planted["delete falling together, 0 → 30"] == "towards"
    assert (planted == "towards").sum() == 10 and (planted == "not towards").sum() == 3
    pd.testing.assert_frame_equal(pd.read_csv(out / "found.tsv", sep="\t", keep_default_na=False), found)
    neurons, cells = (ad.read_h5ad(out / f"{kind}_cells.h5ad") for kind in ("neurons", "simulated"))
    assert neurons.n_obs == 143 and {"X_scflyformer", "X_umap"} <= set(neurons.obsm)
    assert {"predicted_type", "shipped_fbbt_name"} <= set(neurons.obs) and "age_clock" in cells.obs
    assert {"perturb", "perturb_young", "truth"} <= set(cells.uns)
    said = capsys.readouterr().out
    assert "266 of them (plates P1, P2) were in the pretraining" in " ".join(said.split())
    assert "embedding above majority" in said and "simulated cells (not measured ones)" in said
    assert "10 deletions of planted drivers should move cells towards the other age" in said
    assert "1,893 of 2,088 genes recognised" in said and "99% of the counts" in said
    told = said[said.index("WHAT WAS FOUND") :]
    assert "are SIMULATED" in told and "say nothing about flies" in " ".join(told.split())
    assert all(f"  {path.name} " in told for path in out.iterdir())
    assert f'sc.read_h5ad("{out / "neurons_cells.h5ad"}")' in told
    assert max(map(len, told.split("WHERE IT IS")[0].splitlines())) <= 110


def test_plates_in_pretraining_are_those_of_the_models(demo):
    """As many cells as the models' provenance counts, in the plates that the demo names."""
    real = sys.modules["demo_real"]
    neurons = sf.datasets.olfactory_neurons()
    n_seen = neurons.obs["batch"].isin(real.IN_PRETRAINING).sum()
    for name in ("fly", "fly-tiny"):
        text = (Path(sf.models.fetch(name)) / "provenance.json").read_text(encoding="utf-8")
        used = {source["name"]: source["n_used"] for source in json.loads(text)["data"]}
        assert used["antenna_orn"] == n_seen == 266


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


@pytest.mark.parametrize("name", ["cells.h5ad", "neurons_cells.h5ad"])
def test_its_own_result_is_not_overwritten(demo, cells, tmp_path, capsys, name):
    cells.write_h5ad(tmp_path / name)
    with pytest.raises(SystemExit):
        demo.main(["--data", str(tmp_path / name), "--out", str(tmp_path)])
    assert "would be overwritten by the results" in capsys.readouterr().err


def test_thinning_spreads_over_samples(demo, cells):
    kept = demo.thin(cells, "batch", 22, seed=0)
    assert len(np.unique(kept)) == 22
    assert sorted(cells.obs["batch"].iloc[kept].value_counts()) == [5, 5, 6, 6]


def test_no_such_file(demo, tmp_path, capsys):
    with pytest.raises(SystemExit):
        demo.main(["--data", str(tmp_path / "none.h5ad")])
    assert "no such file" in capsys.readouterr().err
