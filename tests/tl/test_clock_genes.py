"""A gene's change in predicted age is what dating the edited cell by hand gives, and is judged beside other genes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from scipy import stats

import scflyformer as sf
from scflyformer.models import ModelFolderError
from scflyformer.perturbation import _copies as _perturbed

COLUMNS = "gene gene_id group kind n_cells n_samples change ci_low ci_high share_older effect p_value fdr".split()
SAMPLES = {"sample_key": "batch"}


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models whose embedding answers to every gene: one with a cell token, one that reads order alone."""
    from scflyformer.models._save import save_folder
    from scflyformer.network._network import CellBert, NetworkShape, make_config

    tiny = sf.models.load(tiny_model)
    config = make_config(
        tiny.vocabulary.n_tokens,
        NetworkShape(
            objective="mlm",
            hidden_size=32,
            n_layers=2,
            n_heads=2,
            feed_forward=64,
            max_len=64,
            dropout=0.0,
        ),
    )
    found = {}
    for name, network in {"cell": copy.deepcopy(tiny.network()), "order": CellBert(config)}.items():
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in network.parameters():
                if weight.ndim == 2:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
        found[name] = tmp_path_factory.mktemp("lively") / name
        save_folder(found[name], network, tiny.vocabulary, metrics={}, provenance={"note": "random"}, card="# lively\n")
    return found


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the clocks, filled by the first test."""
    return tmp_path_factory.mktemp("clocks")


@pytest.fixture
def clocks(models: dict[str, Path], shelf: Path, many_cells: ad.AnnData) -> dict[tuple[str, str, str], Path]:
    """Clocks of all kinds, fitted on other cells, with one of its own for each cell type but one."""
    found = {}
    cells = many_cells[many_cells.obs["cell_type"] != "glia"].copy()
    for model, features, target in [
        ("order", "embedding", "log"),
        ("order", "embedding+expression", "linear"),
        ("cell", "embedding", "linear"),
        ("cell", "expression", "linear"),
        ("cell", "expression", "log"),
    ]:
        path = found[model, features, target] = shelf / f"{model}-{features}-{target}"
        if path.exists():
            continue
        sf.tl.age_clock(
            cells,
            groupby="cell_type",
            features=features,
            target=target,
            baselines="none",
            model=models[model],
            save=path,
            **SAMPLES,
        )
        cells.obsm.clear()
    return found


def run(adata: ad.AnnData, clock: Path, **more: Any) -> pd.DataFrame:
    """Return the results by gene and group."""
    sf.tl.clock_genes(adata, clock=clock, **({"n_null": 0} | SAMPLES | more))
    return adata.uns["clock_genes"]["results"].set_index(["gene", "group"])


def predicted(adata: ad.AnnData, clock: Path, counts: np.ndarray, **more: Any) -> np.ndarray:
    """Date cells with other counts by the public function."""
    other = adata.copy()
    other.X = sp.csr_matrix(counts.astype(np.float32))
    sf.tl.age_clock(other, clock=clock, age_key="none", **more)
    return other.obs["age_clock"].to_numpy()


def by_sample(adata: ad.AnnData, values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Mean of each sample's mean over some cells."""
    return pd.Series(values[cells]).groupby(adata.obs["batch"].to_numpy(dtype=str)[cells]).mean().to_numpy()


def log_values(adata: ad.AnnData) -> np.ndarray:
    """Return log1p of counts per 10,000."""
    counts = adata.X.toarray().astype(float)
    return np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)


def slopes(clock: Path, group: int = 0) -> np.ndarray:
    """Change of the target per unit of each feature, from the folder."""
    tensors = sf.models.load(clock).tensors("clock.")
    return tensors["weight"][group] / tensors["scale"][group]


@pytest.mark.parametrize("kind", ["delete", "overexpress"])
def test_equals_dating_the_edited_counts(
    clocks: dict, cells: ad.AnnData, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that reads order alone sees a deleted gene as one without counts, and a raised one as the highest."""
    monkeypatch.setattr(_perturbed, "BLOCK_TOKENS", 300)  # many small blocks
    clock = clocks["order", "embedding", "log"]
    with sf.settings.override(batch_tokens=256):
        results = run(cells, clock, genes=["tiny7", "tiny30"], kind=kind)
    counts = cells.X.toarray()
    before = predicted(cells, clock, counts)
    for gene in ("tiny7", "tiny30"):
        column = cells.var_names.get_loc(gene)
        edited = counts.copy()
        edited[:, column] = 0 if kind == "delete" else 1e6
        changed = predicted(cells, clock, edited) - before
        done = np.flatnonzero(counts[:, column] > 0) if kind == "delete" else np.arange(60)
        means = by_sample(cells, changed, done)
        row = results.loc[(gene, "all")]
        assert row["change"] == pytest.approx(means.mean(), rel=1e-4, abs=1e-6)
        assert (row["n_cells"], row["n_samples"], row["ci_over"]) == (len(done), 4, "samples")
        interval = stats.t.interval(0.95, len(means) - 1, loc=means.mean(), scale=stats.sem(means))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(interval, rel=1e-3, abs=1e-6)
        assert row["share_older"] == pytest.approx((changed[done] > 0).mean(), abs=0.02)
        assert changed[done].std() > 0.02  # the comparison is not of zeros


@pytest.mark.parametrize("kind", ["delete", "overexpress"])
def test_equals_a_loop_over_single_cells(clocks: dict, cells: ad.AnnData, kind: str) -> None:
    """The cell token, which reads values: a set of two genes edited in lists, one unpadded cell at a time."""
    clock = clocks["cell", "embedding", "linear"]
    results = run(cells, clock, genes={"two": ["tiny30", "CG3"]}, kind=kind, sample_key=None)
    folder = sf.models.load(clock)
    medians, slope = folder.vocabulary.medians.astype(float), slopes(clock)
    changes = []
    for counts in cells.X.toarray()[:, :60].astype(float):
        held = np.flatnonzero(counts)
        scale = medians[held].sum() / counts[held].sum()
        ranked = sorted(held, key=lambda gene: (-np.float32(counts[gene]) / np.float32(medians[gene]), gene))
        pairs = [(gene + 3, float(np.log1p(counts[gene] / medians[gene] * scale))) for gene in ranked][: folder.max_len]
        rest = [pair for pair in pairs if pair[0] not in (32, 5)]
        if kind == "overexpress":
            rest = [(32, pairs[0][1]), (5, pairs[0][1]), *rest][: folder.max_len]
        elif len(rest) == len(pairs):
            continue
        vectors = []
        for edit in (pairs, rest):
            tokens, values = zip(*edit, strict=True)
            with torch.inference_mode():
                vectors.append(folder.network().embed(torch.tensor([tokens]), torch.tensor([values]))[0].numpy())
        changes.append((vectors[1].astype(float) - vectors[0]) @ slope)
    row = results.loc[("two", "all")]
    assert row["gene_id"] == "FBgn9900030+FBgn9900003"
    assert (row["n_cells"], row["n_samples"], row["ci_over"]) == (len(changes), 1, "cells")
    assert row["change"] == pytest.approx(np.mean(changes), rel=1e-4, abs=1e-6)
    assert row["share_older"] == pytest.approx(np.mean(np.array(changes) > 0), abs=0.02)
    assert np.std(changes) > 0.01


def test_an_expression_clock_by_hand(clocks: dict, cells: ad.AnnData) -> None:
    """Delete: −weight · value / scale; overexpress: weight · (highest − value) / scale; on the log scale from both."""
    clock = clocks["cell", "expression", "linear"]
    x, slope = log_values(cells), slopes(clock)
    deleted = run(cells, clock, genes=["FBgn9900025", "stranger1"], max_cells=None)
    for gene, name in {"FBgn9900025": "tiny25", "stranger1": "stranger1"}.items():
        at = cells.var_names.get_loc(name)
        means = by_sample(cells, -slope[at] * x[:, at], np.flatnonzero(x[:, at]))
        assert deleted.loc[(gene, "all"), "change"] == pytest.approx(means.mean(), rel=1e-4)
    raised = run(cells, clock, genes=["tiny25"], kind="overexpress")
    want = by_sample(cells, slope[24] * (x.max(1) - x[:, 24]), np.arange(60)).mean()
    assert raised.loc[("tiny25", "all"), "change"] == pytest.approx(want, rel=1e-4)
    assert deleted.loc[("FBgn9900025", "all"), "change"] < 0 < raised.loc[("tiny25", "all"), "change"]  # planted

    clock = clocks["cell", "expression", "log"]
    old = predicted(cells, clock, cells.X.toarray())
    new = 2 ** (np.log2(old + 1) - slopes(clock)[24] * x[:, 24]) - 1
    means = by_sample(cells, new - old, np.flatnonzero(x[:, 24]))
    row = run(cells, clock, genes=["tiny25"]).loc[("tiny25", "all")]
    assert row["change"] == pytest.approx(means.mean(), rel=1e-4)
    assert row["share_older"] == 0


def test_a_clock_of_both_adds_both_changes(clocks: dict, models: dict, cells: ad.AnnData) -> None:
    """The embedding of the cell without the gene, plus the value that is gone; a gene unknown to the model has one."""
    clock = clocks["order", "embedding+expression", "linear"]
    results = run(cells, clock, genes=["tiny30", "stranger2"])
    slope, x, counts = slopes(clock), log_values(cells), cells.X.toarray()
    vectors = []
    for keep in (1, 0):
        other = cells.copy()
        other.X = sp.csr_matrix(counts * np.where(other.var_names == "tiny30", keep, 1).astype(np.float32))
        sf.tl.embed(other, model=models["order"])
        vectors.append(other.obsm["X_scflyformer"].astype(float))
    for gene, moved in {"tiny30": vectors[1] - vectors[0], "stranger2": np.zeros((60, 32))}.items():
        at = cells.var_names.get_loc(gene)
        changed = moved @ slope[:32] - slope[32 + at] * x[:, at]
        means = by_sample(cells, changed, np.flatnonzero(x[:, at]))
        assert results.loc[(gene, "all"), "change"] == pytest.approx(means.mean(), rel=1e-4, abs=1e-6)
    assert results.loc[("stranger2", "all"), "gene_id"] == "stranger2"


def test_each_group_by_its_own_clock(clocks: dict, cells: ad.AnnData) -> None:
    clock = clocks["cell", "expression", "linear"]
    groups = json.loads((clock / "clock.json").read_text())["groups"]
    assert groups == ["all", "T4/T5", "neuron"]
    results = run(cells, clock, genes=["tiny25"], groupby="cell_type")
    x = log_values(cells)
    for group in ("T4/T5", "glia", "neuron"):
        inside = np.flatnonzero((cells.obs["cell_type"] == group).to_numpy() & (x[:, 24] > 0))
        slope = slopes(clock, groups.index(group) if group in groups else 0)
        means = by_sample(cells, -slope[24] * x[:, 24], inside)
        assert results.loc[("tiny25", group), "change"] == pytest.approx(means.mean(), rel=1e-4)
    assert list(results.index.get_level_values("group")) == ["T4/T5", "glia", "neuron"]


@pytest.mark.parametrize(
    "name", [("cell", "embedding", "linear"), ("order", "embedding+expression", "linear")], ids=["embedding", "both"]
)
def test_order_batches_and_storage_do_not_matter(clocks: dict, cells: ad.AnnData, name: tuple, tmp_path: Path) -> None:
    asked = {"genes": ["tiny1", "tiny30"], "max_cells": 12, "n_null": 5, "groupby": "cell_type"}
    clock = clocks[name]
    reference = run(cells.copy(), clock, **asked)
    assert reference["n_cells"].max() <= 12 and reference["n_samples"].eq(4).all()
    rng = np.random.default_rng(3)
    shuffled = cells[rng.permutation(60)][:, rng.permutation(65)].copy()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    for other, more in ((shuffled, {}), (cells.copy(), {"batch_tokens": 64}), (backed, {})):
        with sf.settings.override(**more):
            pd.testing.assert_frame_equal(run(other, clock, **asked), reference, rtol=1e-3, atol=1e-5)
    backed.file.close()


@pytest.mark.parametrize("kind", ["delete", "overexpress"])
def test_all_genes_stand_against_each_other(clocks: dict, cells: ad.AnnData, kind: str) -> None:
    """Genes of 10 cells or more, the clock's own included; null genes are the other rows, effects follow from them."""
    clock = clocks["order", "embedding+expression", "linear"]
    rare = cells.X.toarray()
    rare[9:, cells.var_names.get_loc("tiny4")] = 0
    cells.X = sp.csr_matrix(rare)
    results = run(cells, clock, kind=kind, n_null=1000, groupby="age").reset_index()
    assert list(results.columns[:9]) == [
        "gene",
        "group",
        *[name for name in COLUMNS[:9] if name not in ("gene", "group")],
    ]
    for group, part in results.groupby("group"):
        inside = (cells.obs["age"].astype(str) == group).to_numpy()
        n_cells = pd.Series((rare[inside] > 0).sum(0), cells.var_names)
        assert set(part["gene"]) == set(n_cells.index[n_cells >= 10])
        assert "tiny4" not in set(part["gene"]) and "stranger1" in set(part["gene"])
        assert part["n_cells"].eq(n_cells[part["gene"]].to_numpy() if kind == "delete" else 30).all()
        for at, row in part.iterrows():
            others = part["change"].drop(at).to_numpy()
            assert 0 <= row["n_null"] <= 20
            assert not row["n_null"] or others.min() - 1e-6 <= row["null_mean"] <= others.max() + 1e-6
            steps = row["p_value"] * (1 + row["n_null"])
            assert not row["n_null"] or (
                steps == pytest.approx(round(steps)) and 1 <= round(steps) <= 1 + row["n_null"]
            )
    known = results["p_value"].notna()
    assert known.mean() > 0.5
    results = results[known]
    assert results["fdr"].to_numpy() == pytest.approx(stats.false_discovery_control(results["p_value"]))


def test_a_few_genes_get_null_genes(clocks: dict, cells: ad.AnnData) -> None:
    """Null genes are drawn and edited too; genes planted to rise with age stand out, others do not."""
    clock = clocks["cell", "expression", "linear"]
    results = run(cells, clock, genes=["tiny26", "tiny36", "tiny50"], n_null=30)
    assert results["n_null"].between(5, 20).all()
    assert results.loc[("tiny26", "all"), "effect"] < -1 and results.loc[("tiny36", "all"), "effect"] > 1
    assert results["p_value"].between(1 / 21, 1).all()
    again = run(cells, clock, genes=["tiny26"], n_null=0)
    assert again.loc[("tiny26", "all"), "change"] == pytest.approx(results.loc[("tiny26", "all"), "change"], rel=1e-6)
    assert again[["effect", "p_value", "fdr"]].isna().all(axis=None)


def test_finds_what_was_planted_in_simulated_flies(tmp_path: Path) -> None:
    """The clock of a shipped model's embedding hangs on genes that rise or fall with age, not on one that stays."""
    adata = sf.datasets.fly_brain_simulated(300)
    clock = tmp_path / "clock"
    sf.tl.age_clock(adata, model="fly-tiny", baselines="none", save=clock, **SAMPLES)
    results = run(adata, clock, genes=["Hsp68", "cpx", "14-3-3epsilon"], max_cells=60)
    rises, falls, control = (results.loc[(gene, "all")] for gene in ("Hsp68", "cpx", "14-3-3epsilon"))
    assert rises["ci_high"] < 0 < falls["ci_low"]
    assert rises["share_older"] == 0 and falls["share_older"] == 1
    assert abs(control["change"]) < min(-rises["change"], falls["change"])


def test_says_what_is_left_out(clocks: dict, cells: ad.AnnData) -> None:
    counts = cells.X.toarray()
    counts[:, cells.var_names.get_loc("tiny8")] = 0
    counts[(cells.obs["cell_type"] == "glia").to_numpy()] = 0
    cells.X = sp.csr_matrix(counts)
    clock = clocks["cell", "embedding", "linear"]
    results = run(cells, clock, genes=["tiny8", "nonsense", "stranger1", "tiny9"], groupby="cell_type")
    found = cells.uns["clock_genes"]
    assert set(results.index) == {("tiny9", "T4/T5"), ("tiny9", "neuron")}
    assert list(found["absent"]) == ["nonsense", "stranger1", "tiny8"]
    skipped = set(found["skipped"].itertuples(index=False, name=None))
    assert ("nonsense", "all", "not read by the clock") in skipped
    assert ("tiny8", "neuron", "not expressed in the drawn cells") in skipped
    assert any(row[:2] == ("all", "glia") for row in skipped)
    raised = run(cells, clock, genes=["tiny8"], kind="overexpress")
    assert raised.loc[("tiny8", "all"), "n_cells"] == 40


@pytest.mark.parametrize("genes", ["all", ["tiny30"]], ids=["all", "one"])
def test_a_group_without_any_of_the_genes(clocks: dict, cells: ad.AnnData, genes: Any) -> None:
    """It has no rows, and does not disturb the others."""
    counts = cells.X.toarray()
    bare = (cells.obs["cell_type"] == "neuron").to_numpy()
    counts[np.ix_(bare, cells.var_names != "tiny1")] = 0
    counts[bare, cells.var_names.get_loc("tiny1")] = np.arange(20) < 9
    cells.X = sp.csr_matrix(counts)
    for clock in (clocks["cell", "embedding", "linear"], clocks["cell", "expression", "log"]):
        results = run(cells, clock, genes=genes, groupby="cell_type", n_null=3)
        assert set(results.index.get_level_values("group")) == {"T4/T5", "glia"}


def test_nothing_left_to_read_is_no_change(clocks: dict, cells: ad.AnnData) -> None:
    """A cell of one gene has no age without it, and does not count."""
    counts = cells.X.toarray()
    counts[0] = np.where(cells.var_names == "tiny30", 5, 0)
    cells.X = sp.csr_matrix(counts)
    for name in (("cell", "embedding", "linear"), ("cell", "expression", "log")):
        found = run(cells, clocks[name], genes=["tiny30"])
        without = run(cells[1:].copy(), clocks[name], genes=["tiny30"])
        pd.testing.assert_frame_equal(found, without, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"kind": "boost"}, ValueError, "kind is 'boost'; expected 'delete' or 'overexpress'"),
        ({"n_null": -1}, ValueError, "n_null is -1"),
        ({"max_cells": 0}, ValueError, "max_cells is 0; expected 1 or more"),
        ({"genes": []}, ValueError, "genes is empty"),
        ({"genes": 3}, TypeError, "genes is a int"),
        ({"genes": ["nonsense"]}, ValueError, "None of the 1 gene.*'nonsense'"),
        ({"groupby": "celltype"}, KeyError, "cell_type"),
        ({"sample_key": "batches"}, KeyError, "batch"),
        ({"layer": "raw"}, KeyError, "raw"),
    ],
)
def test_bad_input_changes_nothing(clocks: dict, cells: ad.AnnData, more: dict, error: type, message: str) -> None:
    before = set(cells.uns)
    with pytest.raises(error, match=message):
        run(cells, clocks["cell", "expression", "linear"], **({"genes": ["tiny1"]} | more))
    assert set(cells.uns) == before


def test_nothing_to_edit(clocks: dict, models: dict, cells: ad.AnnData) -> None:
    clock = clocks["cell", "embedding", "linear"]
    with pytest.raises(ModelFolderError, match="a model without a clock"):
        run(cells, models["cell"])
    with pytest.raises(ValueError, match="expressed in 10 cells or more"):
        run(cells[:9].copy(), clock)
    cells.X = cells.X @ sp.diags_array(np.where(cells.var_names == "tiny8", 0, 1).astype(np.float32), format="csr")
    with pytest.raises(ValueError, match="None of the 60 drawn cells expresses 'tiny8'"):
        run(cells, clock, genes=["tiny8"])
    cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
    with pytest.raises(ValueError, match="counts"):
        run(cells, clock)


def test_survives_the_disk_and_says_what_ran(clocks: dict, models: dict, cells: ad.AnnData, tmp_path: Path) -> None:
    clock = clocks["cell", "embedding", "linear"]
    run(cells, clock, genes=["tiny1", "nonsense"], groupby="cell_type", n_null=3)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    back, here = ad.read_h5ad(tmp_path / "cells.h5ad").uns["clock_genes"], cells.uns["clock_genes"]
    for name in ("results", "skipped"):
        pd.testing.assert_frame_equal(back[name], here[name], check_dtype=False)
    assert list(back["absent"]) == ["nonsense"]
    params = here["params"]
    assert set(params) == set(back["params"])
    assert (params["features"], params["target"], params["age_key"]) == ("embedding", "linear", "age")
    assert params["model_sha256"] == sf.models.load(models["cell"]).sha256
    assert params["clock_sha256"] == sf.models.load(clock).sha256
