"""Kinds, pairs, scans of all genes, further readouts, resumed scans: each against what it is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scflyformer as sf
from scflyformer.perturbation import _checkpoint
from scflyformer.perturbation import _copies as _perturbed
from scflyformer.perturbation import _screen as _perturb_screen

if TYPE_CHECKING:
    from anndata import AnnData


def test_doses_and_kinds(run: Callable) -> None:
    """Doses move cells differently, in the cells that hold the gene; at dose 1 activation is overexpression."""
    shifts = [run(kind="knockdown", dose=dose)["cells"]["shift"].to_numpy() for dose in (0.1, 0.5, 1.0)]
    assert all(np.abs(one - two).mean() > 1e-3 for one, two in ((shifts[0], shifts[1]), (shifts[1], shifts[2])))
    whole, moved = run(kind="overexpress"), run(kind="activate", dose=1.0)
    np.testing.assert_allclose(moved["cells"]["shift"], whole["cells"]["shift"], atol=2e-6)
    assert moved["params"]["dose"] == 1.0 and (moved["results"]["kind"] == "activate").all()
    hidden, gone = run(kind="mask"), run(kind="delete")
    assert list(hidden["cells"]["cell"]) == list(gone["cells"]["cell"])
    assert not np.allclose(hidden["cells"]["shift"], gone["cells"]["shift"], atol=1e-4)


def test_interaction_is_both_less_each(run: Callable) -> None:
    found = run(genes=["tiny1", "tiny30", "tiny7", ("tiny1", "CG30")], sample_key="batch")
    assert list(found["results"]["gene"]) == ["tiny1", "tiny30", "tiny7", "tiny1+CG30"]
    cells = found["cells"].set_index("cell")
    one, two, both = (cells.loc[cells["gene"] == name, "shift"] for name in ("tiny1", "tiny30", "tiny1+CG30"))
    shared = one.index.intersection(two.index)
    assert len(both) == len(one.index.union(two.index)) > len(shared) > 10
    apart = both[shared] - one[shared] - two[shared]
    samples = cells.loc[cells["gene"] == "tiny1", "sample"][shared].astype(str)
    row = found["interactions"].iloc[0]
    assert (row["gene_a"], row["gene_b"], row["n_cells"]) == ("tiny1", "tiny30", len(shared))
    assert row["interaction"] == pytest.approx(apart.groupby(samples).mean().mean())
    assert 2 <= row["n_null"] <= 10 and 0 < row["p_value"] <= 1 and abs(apart).max() > 1e-3
    with pytest.warns(FutureWarning, match=r"tl\.perturb\(pairs=\.\.\.\) is deprecated.*tuples in genes"):
        every = run(genes=["tiny1", "tiny30", "tiny7"], pairs="all", n_null=2)["interactions"]
    assert list(every["gene"]) == ["tiny1+tiny30", "tiny1+tiny7", "tiny30+tiny7"]
    with pytest.warns(FutureWarning, match="tuples in genes"):  # tuples count beside them
        both = run(genes=["tiny1", ("tiny1", "tiny7")], pairs=[("tiny1", "tiny30")], n_null=2)["interactions"]
    assert sorted(both["gene"]) == ["tiny1+tiny30", "tiny1+tiny7"]


def test_all_genes_each_beside_the_others(run: Callable) -> None:
    found = run(genes="all", method="exact", n_null=25, sample_key="batch")
    results = found["results"]
    assert results["n_cells"].min() >= 10 and len(results) > 30 and "null" not in found
    one = run(genes=[results["gene"][4]], n_null=0)
    np.testing.assert_allclose(one["results"]["shift"].iloc[0], one["cells"]["shift"].mean(), atol=1e-9)
    own = found["cells"].query("gene == @results.gene[4]")
    np.testing.assert_allclose(own["shift"], one["cells"]["shift"], atol=2e-6)
    assert own["cell"].tolist() == one["cells"]["cell"].tolist()
    tested = results["p_value"].notna()
    assert results["n_null"].between(0, 20).all() and set(results["test"]) <= {"null genes", "none"}
    np.testing.assert_allclose(results["fdr"][tested], stats.false_discovery_control(results["p_value"][tested]))


def test_a_screen_runs_the_first_exactly(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are estimates of all genes, and exact shifts of a few, equal to those of the full scan, stand beside."""
    monkeypatch.setattr(_perturb_screen, "CHECKED", 6)
    asked = {"genes": "all", "n_null": 15, "sample_key": "batch"}
    full = run(method="exact", **asked)["every"].query("readout == 'net_shift'").set_index("gene")
    found = run(n_top=4, **asked)
    assert found["params"]["method"] == "screen" and "null" not in found and "first order" in found["summary"]
    results = found["every"].query("readout == 'net_shift'").set_index("gene")
    table = found["screen"].set_index("gene")
    assert set(results.index) == set(full.index)
    order = results.assign(size=results["effect"].abs().fillna(-1), fdr=results["fdr"].fillna(2))
    assert set(table.index[table["top"]]) == set(order.sort_values(["fdr", "size"], ascending=[True, False]).index[:4])
    assert 6 <= len(table) <= 10 and set(found["cells"]["gene"]) == set(table.index)
    np.testing.assert_allclose(table["exact"], full.loc[table.index, "shift"], atol=2e-6)
    np.testing.assert_allclose(table["estimate"], results.loc[table.index, "shift"])
    assert (results["n_cells"] == full.loc[results.index, "n_cells"]).all()
    row = found["agreement"].iloc[0]
    assert (row["n_genes"], row["n_exact"], row["n_top"]) == (len(results), 6, 4)
    top = table[table["top"]]
    assert row["spearman_top"] == pytest.approx(stats.spearmanr(top["estimate"], top["exact"])[0])


@pytest.mark.parametrize(
    ("changes", "method"),
    [({}, "exact"), ({"genes": "all"}, "screen"), ({"genes": "all", "kind": "mask"}, "exact"),
     ({"genes": "all", "downstream": 1}, "exact"), ({"genes": "all", "method": "exact"}, "exact")],
)  # fmt: skip
def test_all_genes_are_screened_where_that_can_be(run: Callable, changes: dict[str, Any], method: str) -> None:
    assert run(max_cells=12, n_null=2, **changes)["params"]["method"] == method


def test_a_clock_and_a_classifier_read_the_same_copies(
    run: Callable, cells: AnnData, lively_model: Path, tmp_path: Path
) -> None:
    """Changes equal what the clock and the classifier say of cells from which the gene was taken."""
    many = cells.copy()
    sf.tl.age_clock(many, model=lively_model, baselines="none", n_splits=3, save=tmp_path / "clock")
    sf.tl.annotate(
        many, label_key="cell_type", model=lively_model, baselines="none", n_splits=3, save=tmp_path / "classifier"
    )
    found = run(
        genes=["tiny30"], state_key="cell_type", start="neuron", goal="glia",
        readouts=[tmp_path / "clock", tmp_path / "classifier"],
        n_null=20, sample_key="batch",
    )  # fmt: skip
    table = found["cells"].set_index("cell")
    without = cells[table.index].copy()
    counts = without.X.toarray()
    counts[:, without.var_names.get_loc("tiny30")] = 0
    without.X = counts
    before = cells[table.index].copy()
    said = {}
    for name, each in (("before", before), ("after", without)):
        each.obs = each.obs[["batch"]].copy()
        sf.tl.age_clock(each, clock=tmp_path / "clock")
        sf.tl.annotate(each, classifier=tmp_path / "classifier")
        glia = list(each.uns["annotation"]["classes"]).index("glia")
        said[name] = each.obs["age_clock"].to_numpy(), each.obsm["annotation_proba"][:, glia]
    # values are scaled over the genes a cell expresses, so taking counts away rescales the others a little
    age, probability = (after - first for first, after in zip(said["before"], said["after"], strict=True))
    assert np.corrcoef(table["age"], age)[0, 1] > 0.9
    assert np.corrcoef(table["probability"], probability)[0, 1] > 0.9
    rows = found["every"].set_index("readout")
    for name in ("age", "probability"):
        assert rows.loc[name, "shift"] == pytest.approx(table.groupby("sample")[name].mean().mean())
        assert rows.loc[name, "test"] == "null genes" and np.isnan(rows.loc[name, "p_states"])
        assert np.isfinite(rows.loc[name, ["ci_low", "p_value", "fdr"]].astype(float)).all()
    assert found["params"]["probability_of"] == "glia" and found["params"]["clock_age_key"] == "age"
    assert {"age", "probability"} <= set(found["null"])


def test_a_readout_of_another_model_is_refused(run: Callable, cells: AnnData, tiny_model: Path, tmp_path: Path) -> None:
    sf.tl.age_clock(cells, model=tiny_model, baselines="none", n_splits=3, save=tmp_path / "clock")
    with pytest.raises(ValueError, match="fitted on another model than 'lively'"):
        run(readouts=[tmp_path / "clock"])
    sf.tl.age_clock(
        cells, model=tiny_model, features="expression", baselines="none", n_splits=3, save=tmp_path / "expression"
    )
    with pytest.raises(ValueError, match="reads expression; tl.perturb takes a clock of the embedding"):
        run(readouts=[tmp_path / "expression"], model=tiny_model)


def test_downstream_genes(run: Callable, lively_model: Path) -> None:
    """The decoder's change is that of the mean move of the cell token; the perturbed gene is not its own target."""
    found = run(genes=["tiny30", "tiny7"], downstream="all", n_null=12, sample_key="batch")
    table = found["downstream"]
    assert set(table["gene"]) == {"tiny30", "tiny7"} and "tiny30" not in set(table.query("gene == 'tiny30'")["target"])
    assert table["moved"].dropna().between(0, 2).all() and (table["n_cells"] <= 30).all()
    assert table["p_value"].between(0, 1).all() and table["fdr"].ge(table["p_value"] - 1e-12).all()
    own = table[table["gene"] == "tiny30"].set_index("target")
    network = sf.models.load(lively_model).network()
    assert own["expression_change"].abs().max() > 1e-3
    few = run(genes=["tiny30", "tiny7"], downstream=3, n_null=12, sample_key="batch")["downstream"]
    assert len(few) == 6
    pd.testing.assert_frame_equal(
        few.head(3).reset_index(drop=True),
        table[table["gene"] == "tiny30"].head(3).reset_index(drop=True),
        rtol=1e-4,
        atol=1e-5,
    )
    assert network.profile_decoder.weight.shape[0] == 60
    mean = run(genes=["tiny30"], downstream=3, pooling="mean", n_null=4)["downstream"]
    assert mean["expression_change"].isna().all() and mean["moved"].is_monotonic_decreasing


def test_a_scan_goes_on_where_it_stopped(
    run: Callable, cells: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped call leaves a file; the same call reads it, runs the rest alone, and gives the same answer."""
    monkeypatch.setattr(_perturbed, "BLOCK_TOKENS", 400)
    monkeypatch.setattr(_checkpoint, "EVERY_SECONDS", -1.0)
    asked: dict[str, Any] = {"checkpoint": tmp_path / "scan.npz", "downstream": 2, "sample_key": "batch"}
    reference = run(cells.copy(), downstream=2, sample_key="batch")
    plain, seen = _perturbed.edit_block, []

    def stopping(*args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    monkeypatch.setattr(_perturbed, "edit_block", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(**asked)
    assert "perturb" not in cells.uns and asked["checkpoint"].exists()
    n_before = len(seen)
    with pytest.raises(ValueError, match="beginning of another scan"):
        run(**asked, seed=1)
    found = run(**asked)
    assert not asked["checkpoint"].exists()
    for name in ("results", "cells", "null", "downstream"):
        pd.testing.assert_frame_equal(found[name], reference[name], rtol=1e-4, atol=2e-6)
    n_resumed = len(seen) - n_before
    run(cells.copy(), sample_key="batch", downstream=2)
    assert n_resumed == len(seen) - n_before - n_resumed - 3  # three blocks were done


def test_what_stands_beside_a_shift(run: Callable, cells: AnnData) -> None:
    """Separability, noise and fold change are told of every row."""
    found = run(sample_key="batch", groupby="cell_type", n_null=20)
    results, apart = found["results"], found["separability"].set_index("group")
    assert results["interpretable"].dtype == bool
    assert (results["interpretable"] == results["group"].map(apart["interpretable"])).all()
    assert results["noise"].between(0, 1e-5).all()
    row = results[(results["gene"] == "tiny30") & (results["group"] == "glia")].iloc[0]
    genes = [f"tiny{number}" for number in range(1, 61)]
    known = cells[cells.obs["cell_type"] == "glia", genes]
    counts = known.X.toarray()
    logs = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))[:, genes.index("tiny30")]
    means = pd.Series(logs).groupby([known.obs["age"].to_numpy(), known.obs["batch"].astype(str).to_numpy()]).mean()
    old, young = (np.expm1(means[age].mean()) for age in (30, 5))
    assert row["log_fc"] == pytest.approx(np.log2(young / old), rel=1e-3)


def test_the_net_shift_is_that_towards_the_goal_less_that_towards_the_start(run: Callable) -> None:
    found = run(n_null=40, sample_key="batch")
    cells = found["cells"]
    np.testing.assert_allclose(cells["net_shift"], cells["shift"] - cells["shift_start"])
    rows = found["every"].query("gene == 'tiny1'").set_index("readout")
    assert list(found["every"]["readout"].unique())[:3] == ["shift", "shift_start", "net_shift"]
    assert rows.loc["net_shift", "shift"] == pytest.approx(
        rows.loc["shift", "shift"] - rows.loc["shift_start", "shift"]
    )
    if "net_shift_linear" in cells:
        parts = cells["net_shift_linear"] + cells["net_shift_transformer"]
        np.testing.assert_allclose(parts, cells["net_shift"])
    for _, rows in found["every"].groupby("readout"):
        np.testing.assert_allclose(rows["fdr"], stats.false_discovery_control(rows["p_value"]))


def test_enough_samples_are_permuted(run: Callable, cells: AnnData) -> None:
    """Twelve samples of one state each: named genes need both p-values, scans have a rate of their own."""
    cells.obs["animal"] = np.char.add(cells.obs["batch"].to_numpy(dtype=str), (np.arange(60) // 12 % 3).astype(str))
    named = run(sample_key="animal", n_null=20)["every"]
    net = named[named["readout"] == "net_shift"]
    assert (net["test"] == "null genes and permuted samples").all() and (net["p_states"] >= 1 / 1001).all()
    np.testing.assert_allclose(net["fdr"], stats.false_discovery_control(net[["p_value", "p_states"]].max(axis=1)))
    start = named[named["readout"] == "shift_start"]
    assert (start["test"] == "null genes").all() and start["p_states"].isna().all()
    scan = run(genes="all", sample_key="animal", n_null=0)["every"].query("readout == 'net_shift'")
    assert (scan["test"] == "permuted samples").all() and scan["fdr"].between(1 / 1001, 1).all()
    assert (scan["effect"].isna() & scan["p_value"].isna()).all()


@pytest.mark.parametrize("n_young", [1, 2])
def test_few_samples_are_not_permuted(run: Callable, cells: AnnData, n_young: int) -> None:
    """Four samples can be dealt to the states in four or six ways."""
    samples = sorted(set(cells.obs["batch"]))
    cells.obs["age"] = np.where(cells.obs["batch"].isin(samples[:n_young]), 5, 30)
    results = run(genes="all", n_null=20, sample_key="batch")["every"]
    assert results["p_states"].isna().all() and set(results["test"]) <= {"null genes", "none"}


def test_trimmed_centroids(run: Callable, cells: AnnData, lively_model: Path) -> None:
    """The goal lies at the mean of the nine tenths of its cells that are nearest to it."""
    with pytest.warns(FutureWarning, match=r"perturb\(centroid=...\) is deprecated.*It will be 'mean'"):
        found = run(cells.copy(), centroid="trimmed", n_null=0)["cells"]["shift"]
    plain = run(cells.copy(), n_null=0)["cells"]["shift"]
    assert np.abs(found - plain).max() > 1e-5
    sf.tl.embed(cells, model=lively_model)
    young = np.flatnonzero((cells.obs["age"] == 5).to_numpy())
    vectors = cells.obsm["X_scflyformer"][young].astype(float)
    near = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) @ vectors.mean(0)
    strangers = young[np.argsort(near)[:3]]
    kept = cells[np.setdiff1d(np.arange(60), strangers)].copy()
    np.testing.assert_allclose(run(kept, n_null=0)["cells"]["shift"], found, atol=2e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "knockdown", "dose": 0}, "dose is 0; expected above 0"),
        ({"method": "fast"}, "method is 'fast'; expected 'auto', 'exact' or 'screen'"),
        ({"method": "screen"}, "the deletion of every gene does.*genes='all'"),
        ({"downstream": "some"}, "downstream is 'some'; expected a whole number of genes, or 'all'"),
        (
            {"genes": ["tiny30", ("tiny1", "nothing")]},
            r"genes holds the pair \['tiny1', 'nothing'\].*not known: nothing",
        ),
        ({"genes": ["tiny30", ("tiny1", "CG1")]}, "expected two different genes"),
    ],
)
def test_bad_options(run: Callable, cells: AnnData, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(**changes)
    assert "perturb" not in cells.uns


@pytest.mark.parametrize("suffix", ["h5ad", pytest.param("zarr", marks=pytest.mark.slow)])
def test_every_table_survives_storage(run: Callable, cells: AnnData, tmp_path: Path, suffix: str) -> None:
    run(genes=["tiny1", "tiny30", ("tiny1", "tiny30")], downstream=2, key_added="one", groupby="cell_type")
    run(genes="all", method="screen", n_top=2, key_added="two")
    getattr(cells, f"write_{suffix}")(tmp_path / f"cells.{suffix}")
    again = getattr(ad, f"read_{suffix}")(tmp_path / f"cells.{suffix}")
    for key in ("one", "two"):
        for name, table in cells.uns[key].items():
            if isinstance(table, pd.DataFrame):
                back = again.uns[key][name].astype(table.dtypes.to_dict())
                pd.testing.assert_frame_equal(
                    back.reset_index(drop=True), table.reset_index(drop=True), check_categorical=False
                )


def test_null_pairs_are_different_and_need_no_cell_to_be_switched_on(run: Callable) -> None:
    """Each null pair counts once; genes to switch on need not be expressed together."""
    found = run(genes=["tiny1", "CG1", "tiny30", ("tiny1", "tiny30")], n_null=30, kind="overexpress", max_cells=4)
    assert list(found["interactions"]["gene"]) == ["tiny1+tiny30"]
    null = found["null"].query("gene == 'tiny1+tiny30'")["null_gene"]
    assert 5 < len(null) == len({frozenset(pair.split("+")) for pair in null}) <= 30
    assert all(len(set(pair.split("+"))) == 2 for pair in null)


def test_another_goal_is_another_scan(
    run: Callable, cells: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint is refused where other cells make the goal, though the same cells are perturbed."""
    monkeypatch.setattr(_perturbed, "BLOCK_TOKENS", 400)
    monkeypatch.setattr(_checkpoint, "EVERY_SECONDS", -1.0)
    cells.obs["state"] = np.where(cells.obs["age"] == 30, "old", np.where(np.arange(60) % 2, "one", "two"))
    asked: dict[str, Any] = {"state_key": "state", "start": "old", "goal": "one", "alt": "two"}
    asked["checkpoint"] = tmp_path / "scan.npz"

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        save = _checkpoint.Checkpoint.save
        patch.setattr(_checkpoint.Checkpoint, "save", lambda *given: (save(*given), stop()))
        with pytest.raises(KeyboardInterrupt):
            run(**asked)
    cells.obs["state"] = cells.obs["state"].replace({"one": "two", "two": "one"})
    with pytest.raises(ValueError, match="beginning of another scan"):
        run(**asked)


def test_a_small_group_does_not_spoil_a_screen(run: Callable, cells: AnnData, tmp_path: Path) -> None:
    cells.obs["part"] = np.where(np.arange(60) % 12 == 0, "small", "large")
    found = run(genes="all", method="screen", n_top=3, n_null=10, groupby="part")
    assert set(found["results"]["group"]) == {"large"} and found["screen"]["top"].sum() == 3
    assert found["skipped"]["group"].tolist() == ["small"]
    cells.write_h5ad(tmp_path / "cells.h5ad")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"genes": "all", "method": "screen", "kind": "mask"}, "Pass genes='all' and kind='delete'"),
        ({"readouts": ["no/such/folder"]}, "readouts holds 'no/such/folder'; expected folders of saved clocks"),
        ({"checkpoint": "no/such/folder/scan.npz"}, "there is no folder no/such/folder"),
    ],
)
def test_options_that_do_not_go_together(run: Callable, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(**changes)


def test_a_clock_reads_its_own_pooling(run: Callable, cells: AnnData, lively_model: Path, tmp_path: Path) -> None:
    sf.tl.age_clock(cells, model=lively_model, baselines="none", n_splits=3, save=tmp_path / "clock")
    with pytest.raises(ValueError, match="pooling is 'mean'; clocks and classifiers of 'lively' read 'cell'"):
        run(readouts=[tmp_path / "clock"], pooling="mean")
