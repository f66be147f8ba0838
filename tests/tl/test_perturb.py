"""Shifts equal a loop over cells, do not depend on order or batches, are judged fairly, and survive storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
import torch
from mudata_updates import no_pull
from scipy import stats
from stored import stored

import scflyformer as sf
from scflyformer import _log
from scflyformer.perturbation import _copies as _perturbed

if TYPE_CHECKING:
    from anndata import AnnData

RESULTS = (
    "gene group readout kind n_cells n_samples shift ci_low ci_high null_mean effect n_null p_value p_states fdr test "
    "log_fc noise interpretable gene_id"
).split()


def naive_tokens(adata: AnnData, row: int, model: sf.models.Model) -> tuple[list[int], list[float]]:
    """Rank one cell with Python lists."""
    vocabulary = model.vocabulary
    column = {name: place for place, name in enumerate(adata.var_names)}
    counts = np.asarray(adata.X[row].todense()).ravel()
    x = {gene: counts[column[name]] for gene, name in enumerate(vocabulary.symbols) if counts[column[name]] > 0}
    medians = vocabulary.medians.astype(float)
    scale = sum(medians[gene] for gene in x) / sum(x.values())
    order = sorted(x, key=lambda gene: (-np.float32(x[gene]) / np.float32(medians[gene]), gene))[: model.max_len]
    return [gene + 3 for gene in order], [float(np.log1p(x[gene] / medians[gene] * scale)) for gene in order]


def naive_states(network: Any, tokens: list[int], values: list[float], pooling: str) -> np.ndarray:
    """One cell, no padding, no mask: the cell token, or the hidden state of every gene."""
    with torch.inference_mode():
        batch = torch.tensor([tokens]), torch.tensor([values], dtype=torch.float32)
        if pooling == "cell":
            return network.cell_vectors(network.encode(*batch))[0].numpy().astype(float)
        return network.encode(*batch, layer=-2)[0, 1:].numpy().astype(float)


def naive_shift(network: Any, cell: tuple, genes: list[int], kind: str, pooling: str, centroid: np.ndarray) -> float:
    """The definition of the shift, with lists."""
    tokens, values = cell
    pairs = [(token, value) for token, value in zip(tokens, values, strict=True) if token not in genes]
    if kind == "overexpress":
        pairs = ([(gene, values[0]) for gene in genes] + pairs)[: network.max_len]
    new = [token for token, _ in pairs]
    before = naive_states(network, tokens, values, pooling)
    after = naive_states(network, new, [value for _, value in pairs], pooling)
    if pooling == "mean":
        both = set(tokens) & set(new)
        before = before[[token in both for token in tokens]].mean(0)
        after = after[[token in both for token in new]].mean(0)
    return cosine(after, centroid) - cosine(before, centroid)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two vectors."""
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("kind", ["delete", "overexpress"])
@pytest.mark.parametrize("pooling", ["cell", "mean"])
def test_shifts_equal_a_loop_over_single_cells(
    run: Callable, cells: AnnData, lively_model: Path, kind: str, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranking, edits, embedding, centroids and cosines against lists, one unpadded cell at a time."""
    monkeypatch.setattr(_perturbed, "BLOCK_TOKENS", 300)  # many small blocks
    with sf.settings.override(batch_tokens=256):
        found = run(genes={"one": ["tiny7"], "two": ["tiny30", "tiny3"]}, kind=kind, pooling=pooling,
                    start="neuron", goal="glia", alt=["T4/T5"], state_key="cell_type", sample_key="batch",
                    groupby="age")  # fmt: skip
    loaded = sf.models.load(lively_model)
    network = loaded.network()
    ranked = [naive_tokens(cells, row, loaded) for row in range(cells.n_obs)]
    pool = naive_states if pooling == "cell" else lambda *cell: naive_states(*cell).mean(0)
    vectors = np.array([pool(network, *cell, pooling) for cell in ranked])
    place = {name: row for row, name in enumerate(cells.obs_names)}
    genes = {"one": [7 + 2], "two": [30 + 2, 3 + 2]}
    obs = cells.obs.astype(str)
    assert len(found["cells"]) >= 30
    for _, line in found["cells"].iterrows():
        row = place[line["cell"]]
        inside = (obs["age"] == line["group"]).to_numpy()
        assert obs["age"].iloc[row] == line["group"] and obs["cell_type"].iloc[row] == "neuron"
        apart = (obs["batch"] != obs["batch"].iloc[row]).to_numpy()
        states = {"shift": inside & (obs["cell_type"] == "glia") & apart,
                  "shift_start": inside & (obs["cell_type"] == "neuron") & apart,
                  "shift_T4|T5": inside & (obs["cell_type"] == "T4/T5")}  # fmt: skip
        for name, mask in states.items():
            centroid = vectors[np.asarray(mask)].mean(0)
            want = naive_shift(network, ranked[row], genes[line["gene"]], kind, pooling, centroid)
            assert line[name] == pytest.approx(want, abs=1e-5)
    assert found["cells"]["shift"].abs().max() > 1e-3  # the comparison is not of zeros


def naive_size(network: Any, cells: list[tuple], samples: pd.Series, gene: int) -> float:
    """How far the directions of cells that hold a gene move when it is deleted: the mean over sample means."""
    lengths, own = [], []
    for (tokens, values), sample in zip(cells, samples, strict=True):
        if gene not in tokens:
            continue
        kept = [place for place, token in enumerate(tokens) if token != gene]
        after = naive_states(network, [tokens[place] for place in kept], [values[place] for place in kept], "cell")
        before = naive_states(network, tokens, values, "cell")
        lengths.append(np.linalg.norm(after / np.linalg.norm(after) - before / np.linalg.norm(before)))
        own.append(sample)
    return float(pd.Series(lengths).groupby(own).mean().mean())


def test_results_follow_from_cells_and_null_genes(run: Callable, cells: AnnData, lively_model: Path) -> None:
    """Means over samples, t intervals, p-values, effects and adjusted p-values from the tables beside them."""
    cells.obs["pair"] = cells.obs["batch"].astype(str) + np.where(np.arange(60) % 2, "x", "y")
    found = run(genes=["tiny1", "tiny30", "CG5", "old9"], sample_key="pair", groupby="cell_type", n_null=25)
    results, null = found["results"], found["null"]
    assert list(results.columns) == RESULTS and len(results) == 12
    assert list(results["gene"].unique()) == ["tiny1", "tiny30", "CG5", "old9"]
    assert set(null["null_gene"]).isdisjoint({"tiny1", "tiny30", "tiny5", "tiny9"})
    for _, line in results.iterrows():
        mine = found["cells"].query("gene == @line.gene and group == @line.group")
        means = mine.groupby("sample")["shift"].mean()
        assert (line["n_cells"], line["n_samples"]) == (len(mine), len(means))
        assert line["shift"] == pytest.approx(means.mean())
        interval = stats.t.interval(0.95, len(means) - 1, loc=means.mean(), scale=stats.sem(means))
        assert (line["ci_low"], line["ci_high"]) == pytest.approx(interval)
        assert len(null.query("gene == @line.gene and group == @line.group")) == line["n_null"] <= 20
    tested = results["p_value"].notna()
    assert results["test"].tolist() == ["null genes" if known else "none" for known in tested] and tested.sum() > 6
    np.testing.assert_allclose(results["fdr"][tested], stats.false_discovery_control(results["p_value"][tested]))
    assert results["fdr"][~tested].isna().all() and results["p_states"].isna().all()  # 4 and 4 samples, 70 ways

    model = sf.models.load(lively_model)
    line = results.sort_values("n_null").iloc[-1]
    inside = np.flatnonzero((cells.obs["cell_type"] == line["group"]) & (cells.obs["age"] == 30))
    ranked, samples = [naive_tokens(cells, row, model) for row in inside], cells.obs["pair"].iloc[inside]
    beside = null.query("gene == @line.gene and group == @line.group")
    symbols = list(model.vocabulary.symbols)
    names = [line["gene_id"].replace("FBgn99", "").lstrip("0"), *(name[4:] for name in beside["null_gene"])]
    places = [symbols.index(f"tiny{number}") + 3 for number in names]
    own, *others = (naive_size(model.network(), ranked, samples, place) for place in places)
    scaled = beside["shift"].to_numpy() * own / np.array(others)
    far = np.abs(scaled - np.median(scaled)) >= abs(line["shift"] - np.median(scaled))
    assert line["p_value"] == pytest.approx((1 + far.sum()) / (1 + len(scaled)))
    assert line["null_mean"] == pytest.approx(scaled.mean(), rel=1e-3)
    assert line["effect"] == pytest.approx((line["shift"] - scaled.mean()) / scaled.std(ddof=1), rel=1e-3)
    assert line["effect"] != pytest.approx((line["shift"] - beside["shift"].mean()) / beside["shift"].std(), rel=0.01)


def without(adata: AnnData, *, row: int | None = None, column: int | None = None) -> sp.csr_matrix:
    """Counts with one cell or one gene emptied."""
    dense = adata.X.toarray()
    if row is not None:
        dense[row] = 0
    if column is not None:
        dense[:, column] = 0
    return sp.csr_matrix(dense)


def same(found: dict[str, Any], reference: dict[str, Any]) -> None:
    """Assert that two runs agree, rows in any order."""
    for name, keys in (("results", ["gene", "group"]), ("cells", ["gene", "group", "cell"])):
        first, second = (one[name].sort_values(keys).reset_index(drop=True) for one in (found, reference))
        pd.testing.assert_frame_equal(first, second, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("sample_key", [None, "batch"])
def test_order_batches_and_storage_do_not_matter(
    run: Callable, cells: AnnData, sample_key: str | None, tmp_path: Path
) -> None:
    """Cells and genes in any order, unknown genes or none, batch size, CSC, dense, view, backed, log1p: one answer."""
    asked = {"max_cells": 12, "sample_key": sample_key, "alt": None}
    reference = run(cells.copy(), **asked)
    assert reference["cells"]["cell"].nunique() == 12
    assert reference["results"]["test"].eq("descriptive" if sample_key is None else "null genes").all()
    rng = np.random.default_rng(3)
    shuffled = cells[rng.permutation(60)][:, rng.permutation(65)].copy()
    same(run(shuffled, **asked), reference)
    with sf.settings.override(batch_tokens=64):
        same(run(cells.copy(), **asked), reference)
    same(run(cells[:, :60].copy(), **asked), reference)
    dense = cells.copy()
    dense.X = dense.X.toarray()
    same(run(dense, **asked), reference)
    csc = cells.copy()
    csc.X = sp.csc_matrix(csc.X)
    same(run(csc, **asked), reference)
    same(run(cells[np.arange(60)], **asked), reference)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    same(run(backed, **asked), reference)
    backed.file.close()


def test_log1p_input_gives_the_same_answer(run: Callable, cells: AnnData) -> None:
    """Raw counts and log1p of counts per 10,000."""
    reference = run(cells.copy())
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    same(run(cells), reference)


def test_gene_list_order_and_company_do_not_matter(run: Callable, cells: AnnData) -> None:
    """A gene's cells and shift are its own; its null genes depend on the set of tested genes, not on their order."""
    both, back = run(genes=["tiny1", "tiny30"]), run(genes=["tiny30", "tiny1"], key_added="back")
    same(both, back)
    alone = run(genes=["tiny30"], key_added="alone")
    columns = ["shift", "ci_low", "ci_high"]
    one = both["results"].set_index("gene").loc["tiny30", columns].astype(float)
    assert one.to_numpy() == pytest.approx(alone["results"][columns].iloc[0].astype(float).to_numpy(), abs=1e-6)


def test_seed_governs_cells_and_null_sets(run: Callable) -> None:
    """The same seed repeats. Null genes are the nearest, whatever the seed; null sets and cells are drawn."""
    sets = {"one": "tiny1", "two": ["tiny30", "tiny44"]}
    first, again = run(genes=sets), run(genes=sets, key_added="again")
    pd.testing.assert_frame_equal(first["null"], again["null"], rtol=1e-4, atol=2e-6)
    other = run(genes=sets, seed=1, key_added="other")
    drawn = [found["null"].groupby("gene")["null_gene"].agg(list) for found in (first, other)]
    assert drawn[0]["one"] == drawn[1]["one"] and drawn[0]["two"] != drawn[1]["two"]
    assert set(first["cells"]["cell"]) == set(other["cells"]["cell"])
    few = [set(run(max_cells=8, seed=seed, key_added="few")["cells"]["cell"]) for seed in (0, 1)]
    assert few[0] != few[1]


def test_without_null_genes_or_samples_there_is_no_test(run: Callable) -> None:
    none = run(n_null=0, sample_key="batch")
    assert none["every"][["p_value", "fdr", "effect"]].isna().all(axis=None) and len(none["null"]) == 0
    assert (none["every"]["test"] == "none").all() and "have no null genes and no test" in none["summary"]
    single = run(key_added="single")
    assert (single["every"]["test"] == "descriptive").all() and (single["every"]["n_samples"] == 1).all()
    assert single["every"][["p_value", "p_states", "fdr"]].isna().all(axis=None)
    assert single["every"][["shift", "ci_low", "effect"]].notna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("within", [False, True])
def test_states_dealt_at_random_give_no_calls(
    many_cells: AnnData, lively_model: Path, within: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To twelve samples, or to the cells within each: scans are silent, and p-values of single genes uniform."""
    from scflyformer.perturbation import _screen

    monkeypatch.setattr(_screen, "CHECKED", 1)
    rng, p_values, calling = np.random.default_rng(0), [], 0
    many_cells.obs["age"] = 0
    for _ in range(60):
        sample = rng.permutation(240) % 12
        state = rng.permutation(240) % 2 if within else rng.permutation(12)[sample] % 2
        many_cells.obs["state"], many_cells.obs["sample"] = np.array(["a", "b"])[state], sample.astype(str)
        sf.tl.perturb(
            many_cells, genes="all", state_key="state", start="a", goal="b", sample_key="sample", model=lively_model,
            n_null=0, n_top=1, max_cells=36,
        )  # fmt: skip
        table = sf.get.perturb_df(many_cells, readout="net_shift")
        assert (table["test"] == "permuted samples").all()
        calling += (table["fdr"] <= 0.05).any()
        p_values.append(rng.choice(table["p_states"]))
    assert calling <= stats.binom(60, 0.05).ppf(0.99)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_states_may_be_numbers_text_categories_or_lists(run: Callable, cells: AnnData) -> None:
    """5, 5.0 and "5" are one state whatever the column's type; a list of values is one state."""
    reference = run(cells.copy())
    for kind in (float, str, "category"):
        other = cells.copy()
        other.obs["age"] = other.obs["age"].astype(kind)
        same(run(other, start="30", goal=5.0), reference)
    same(run(cells.copy(), start=[30], goal=np.array([5])), reference)
    joined = run(cells.copy(), state_key="batch", start=["s2", "s3"], goal=("s0", "s1"))
    same(joined, reference)
    assert joined["params"]["start"] == "s2+s3" and joined["states"] == {"shift": "s0+s1", "shift_start": "s2+s3"}


def test_cells_of_other_states_or_without_counts_take_no_part(run: Callable, cells: AnnData) -> None:
    """A missing state, a missing group and an empty cell leave the rest as it is."""
    cells.obs["age"] = cells.obs["age"].astype(float)
    kept = run(cells[5:].copy())
    cells.obs.loc[cells.obs_names[:4], "age"] = np.nan
    cells.X = without(cells, row=4)
    same(run(cells), kept)


def test_genes_come_by_any_name_and_absent_ones_are_listed(run: Callable, cells: AnnData) -> None:
    """FBgn, symbol, CG id and synonym of one gene agree; what is unknown or not expressed is named with the reason."""
    found = run(genes=["FBgn9900030", "tiny30", "CG30", "old30", "Hnf4"])
    values = found["results"].drop(columns=["gene"])
    for row in range(1, 4):
        pd.testing.assert_series_equal(values.iloc[row], values.iloc[0], check_names=False, rtol=1e-4, atol=2e-6)
    assert list(found["absent"]) == ["Hnf4"] and set(found["results"]["gene_id"]) == {"FBgn9900030"}
    cells.X = without(cells, column=0)
    found = run(cells, genes=["tiny1", "tiny30"], groupby="cell_type")
    assert list(found["absent"]) == ["tiny1"]
    assert found["skipped"]["reason"].tolist() == ["measured, but not expressed in the perturbed cells"] * 3
    pushed = run(cells, genes=["tiny1"], kind="overexpress")["results"]
    assert pushed["n_cells"].tolist() == [30]


def test_groups_without_both_states_are_skipped(run: Callable, cells: AnnData) -> None:
    """A group with start cells only has no row and is listed."""
    found = run(cells[(cells.obs["cell_type"] != "glia") | (cells.obs["age"] == 30)].copy(), groupby="cell_type")
    assert set(found["results"]["group"]) == {"neuron", "T4/T5"}
    assert found["skipped"].to_numpy().tolist() == [["all", "glia", "no start or no goal cells"]]


def test_a_group_that_has_none_of_the_genes_is_skipped(run: Callable, cells: AnnData) -> None:
    glia = (cells.obs["cell_type"] == "glia").to_numpy()[:, None]
    cells.X = cells.X.multiply(~(glia & (cells.var_names == "tiny1"))).tocsr()
    found = run(cells, genes=["tiny1"], groupby="cell_type")
    assert "glia" not in set(found["results"]["group"])
    skipped = found["skipped"].set_index("group")["reason"]
    assert skipped["glia"] == "measured, but not expressed in the perturbed cells"


def test_one_start_cell_gives_a_shift_without_interval(run: Callable, cells: AnnData) -> None:
    """A single start cell: a shift and NaN where nothing can be said."""
    few = cells[np.r_[np.flatnonzero(cells.obs["age"] == 5), np.flatnonzero(cells.obs["age"] == 30)[:1]]].copy()
    line = run(few, genes=["tiny1"])["results"].iloc[0]
    assert np.isfinite(line["shift"]) and line["n_cells"] == 1
    assert np.isnan(line[["ci_low", "ci_high"]].astype(float)).all()


def test_copy_and_mudata(run: Callable, cells: AnnData, lively_model: Path) -> None:
    """copy=True leaves the input alone; in a MuData the modality is written to."""
    import mudata

    asked = {"genes": ["tiny1"], "state_key": "age", "start": 30, "goal": 5, "n_null": 5, "model": lively_model}
    out = sf.tl.perturb(cells, copy=True, **asked)
    assert "perturb" not in cells.uns
    with no_pull():
        data = mudata.MuData({"rna": cells})
    sf.tl.perturb(data, mod="rna", **asked)
    same(data.mod["rna"].uns["perturb"], out.uns["perturb"])


@pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning")  # anndata announces its next default format
@pytest.mark.parametrize("suffix", ["h5ad", pytest.param("zarr", marks=pytest.mark.slow)])
def test_results_survive_storage(run: Callable, cells: AnnData, tmp_path: Path, suffix: str) -> None:
    """Labels with a slash, set names with a slash and empty tables come back as they were."""
    found = run(genes={"a/b": ["tiny1", "Hnf4"], "c": "tiny30"}, state_key="cell_type", start="T4/T5", goal="glia",
                alt="neuron", groupby="age", key_added="with")  # fmt: skip
    plain = run(genes=["tiny1"], n_null=0, key_added="without")
    path = tmp_path / f"cells.{suffix}"
    back = stored(cells, path)
    for key, written in (("with", found), ("without", plain)):
        for name in ("results", "cells", "null", "skipped"):
            table = back.uns[key][name].reset_index(drop=True)
            there = written["every" if name == "results" else name].reset_index(drop=True)
            pd.testing.assert_frame_equal(table, there, check_dtype=False, check_index_type=False)
        assert list(back.uns[key]["absent"]) == list(written["absent"])
        assert back.uns[key]["params"]["model_sha256"] == written["params"]["model_sha256"]
        assert back.uns[key]["summary"] == written["summary"]
        assert back.uns[key]["params"]["dtype"] == "float32" and back.uns[key]["params"]["seed"] == 0
    assert back.uns["with"]["states"]["shift_start"] == "T4/T5"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"state_key": "ages"}, KeyError, "did you mean 'age'"),
        ({"sample_key": "batches"}, KeyError, "did you mean 'batch'"),
        ({"groupby": "celltype"}, KeyError, "did you mean 'cell_type'"),
        ({"goal": 30}, ValueError, r"start \(30\) and goal \(30\) share 30 cells"),
        ({"alt": [30]}, ValueError, r"start \(30\) and alt \(30\) share"),
        ({"goal": 7}, ValueError, r"goal: no cell has obs\['age'\] = 7; the values are 5 \(30 cells\), 30"),
        ({"start": []}, ValueError, "start is empty"),
        ({"genes": ["Drak", "Hnf4"]}, ValueError, r"None of the 2 gene.*'Drak', 'Hnf4'"),
        ({"genes": ["Tiny1"]}, ValueError, "Did you mean 'tiny1' for 'Tiny1'"),
        ({"genes": []}, ValueError, "genes is empty"),
        ({"genes": 5}, TypeError, "genes is a int"),
        ({"kind": "inhibit"}, ValueError, "expected 'delete', 'overexpress', 'knockdown', 'activate' or 'mask'"),
        ({"pooling": "max"}, ValueError, "expected 'auto', 'cell', 'mean' or 'code'"),
        ({"n_null": -1}, ValueError, "n_null is -1"),
        ({"max_cells": 0}, ValueError, "max_cells is 0"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(
    run: Callable, cells: AnnData, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Says what was got and what there is; nothing is written."""
    with pytest.raises(error, match=message):
        run(**changes)
    assert not cells.uns


def test_one_state_only(run: Callable, cells: AnnData) -> None:
    """Data with one state cannot answer; the error says which there is."""
    with pytest.raises(ValueError, match=r"goal: no cell has .* = 5; the values are 30 \(30 cells\)\."):
        run(cells[cells.obs["age"] == 30].copy())


def test_no_start_cell_expresses_the_gene(run: Callable, cells: AnnData) -> None:
    """Nothing to delete anywhere is an error, with nothing written."""
    with pytest.raises(ValueError, match=r"No perturbed cell \(obs\['age'\] = 30\) expresses 'tiny1'"):
        run(without_gene(cells, 0), genes=["tiny1"])
    with pytest.raises(
        ValueError, match=r"nothing to delete: 'tiny1' is not measured \(not in var_names\)\. Ask for oth"
    ):
        run(cells[:, 1:].copy(), genes=["tiny1"])
    with pytest.raises(ValueError, match=r"nothing to overexpress: 'tiny1' and 'tiny2' are not measured"):
        run(cells[:, 2:].copy(), genes=["tiny1", "tiny2"], kind="overexpress")


def without_gene(cells: AnnData, column: int) -> AnnData:
    cells = cells.copy()
    cells.X = without(cells, column=column)
    return cells


def test_says_why_each_gene_was_left_out(run: Callable, cells: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the data, not in the model, not measured, or measured and not expressed: in words and in the table."""
    said: list[str] = []
    monkeypatch.setattr(_log, "warning", said.append)
    few = without_gene(cells, 0)[:, [0, *range(3, 65)]].copy()
    stranger = str(few.var_names[-1])
    asked = ["tiny1", "tiny2", "tiny3", stranger, "tiny300x", "Nonsense", "tiny30"]
    found = run(few, genes=asked, n_null=0)
    why = {
        stranger: "not in the model's vocabulary",
        "tiny300x": "neither in the model's vocabulary nor in var_names (did you mean 'tiny30'?)",
        "Nonsense": "neither in the model's vocabulary nor in var_names",
        "tiny1": "measured, but not expressed in the perturbed cells",
        "tiny2": "not measured (not in var_names)",
        "tiny3": "not measured (not in var_names)",
    }
    assert list(found["absent"]) == list(why)
    assert found["skipped"].set_index("gene")["reason"].to_dict() == why
    words = next(one for one in said if "left out" in one)
    assert f"perturb: left out: {stranger!r} is not in the model's vocabulary; 'tiny300x' is neither in" in words
    assert words.endswith("in the perturbed cells; 'tiny2' and 'tiny3' are not measured (not in var_names).")


def test_near_names_are_offered_once(run: Callable) -> None:
    with pytest.raises(ValueError, match="Did you mean") as caught:
        run(genes=["Tiny1", "tiny333"])
    said = str(caught.value).split("Did you mean")[1]
    assert said.startswith(" 'tiny1' for 'Tiny1' (case tells genes apart), 'tiny3")
    assert said.count("for 'Tiny1'") == said.count("for 'tiny333'") == 1


def test_group_and_sample_gaps(run: Callable, cells: AnnData) -> None:
    """No group with both states, and a cell without a sample, are errors."""
    with pytest.raises(ValueError, match=r"No group of obs\['batch'\] has cells of both"):
        run(groupby="batch")
    cells.obs["run"] = cells.obs["batch"].where(cells.obs_names != "cell0")
    with pytest.raises(ValueError, match=r"obs\['run'\] names no sample for 1 of 60"):
        run(sample_key="run")


def test_a_pair_with_a_gene_that_was_not_measured_is_left_out(cells, tiny_model) -> None:
    cells = cells[:, cells.var_names != "tiny3"].copy()
    sf.tl.perturb(
        cells,
        genes=["tiny1", "tiny2", ("tiny1", "tiny2"), ("tiny1", "tiny3")],
        kind="overexpress",
        state_key="age",
        start=cells.obs["age"].max(),
        goal=cells.obs["age"].min(),
        model=tiny_model,
        n_null=3,
        max_cells=5,
    )
    found = cells.uns["perturb"]
    assert "tiny1+tiny2" in set(found["results"]["gene"])
    assert "tiny1+tiny3" not in set(found["results"]["gene"])
    assert "tiny1+tiny3" in set(found["skipped"]["gene"])
