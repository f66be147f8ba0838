"""The perturbation benchmark plants what it says, counts calls as it says, compares like with like, and reports."""

from __future__ import annotations

import sys
from copy import deepcopy
from itertools import permutations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn.metrics import roc_auc_score

from scflyformer.data._reading import Reading

SMALL = {"n_genes": 60, "n_drivers": 3, "n_decoys": 3, "n_targets": 3, "n_samples": 3, "n_cells": 200}


@pytest.fixture(scope="module")
def planted():
    from benchmarks.perturbation.planted import Design, simulate

    return simulate(Design(**SMALL, sample_sd=0.0, cell_sd=0.0), seed=1)


def test_simulated_cells_have_the_drivers_that_were_planted(planted):
    from benchmarks.perturbation.planted import Design, simulate

    kinds, found = planted.var["kind"], planted.to_df() > 0
    counts = planted.to_df()
    start = (planted.obs["state"] == "start").to_numpy()
    assert kinds.value_counts().to_dict() == {"other": 36, "target": 9, "decoy target": 9, "driver": 3, "decoy": 3}
    rate = planted.var["rate"]
    for gene in kinds.index[kinds == "driver"]:
        seen = 1 - np.exp(-rate[gene] * 4)  # share of active cells in which it is counted, near depth 1
        assert found.loc[start, gene].mean() == pytest.approx(0.8 * seen, abs=0.12)
        assert found.loc[~start, gene].mean() == pytest.approx(0.2 * seen, abs=0.08)
    for gene in kinds.index[kinds == "decoy"]:
        assert found.loc[start, gene].mean() == pytest.approx(found.loc[~start, gene].mean(), abs=0.1)
    assert planted.obs.groupby("sample")["state"].nunique().eq(1).all() and planted.obs["sample"].nunique() == 6
    for gene in kinds.index[kinds.isin(["driver", "decoy"])]:
        members = planted.var.index[
            (planted.var["regulator"] == planted.var["regulator"][gene]) & (kinds != kinds[gene])
        ]
        strangers = planted.var.index[planted.var["regulator"] == -1]
        assert len(members) == 3
        on = found[gene] & start
        ratio = counts.loc[on].mean() / counts.loc[~found[gene] & start].mean()
        assert ratio[members].min() > 1.6 and ratio[strangers].median() == pytest.approx(1, abs=0.15)
    again = simulate(Design(**SMALL, sample_sd=0.0, cell_sd=0.0), seed=1)
    assert (again.X != planted.X).nnz == 0
    assert (simulate(Design(**SMALL, sample_sd=0.0, cell_sd=0.0), seed=2).X != planted.X).nnz


def test_a_corpus_like_an_atlas_knows_no_states():
    from benchmarks.perturbation.planted import Design, simulate

    cells = simulate(Design(**SMALL | {"n_samples": 20, "n_cells": 50}), seed=1, corpus="atlas")
    found = (cells.to_df() > 0).groupby(cells.obs["sample"].to_numpy()).mean()
    heads = cells.var.index[cells.var["kind"].isin(["driver", "decoy"])]
    assert (found[heads].max() > found[heads].min() + 0.3).all()
    states = cells.obs.groupby("sample")["state"].first()
    gap = found[heads][states == "start"].mean() - found[heads][states == "goal"].mean()
    assert gap.abs().max() < 0.3


def test_too_many_regulators_are_refused():
    from benchmarks.perturbation.planted import Design

    with pytest.raises(ValueError, match="need more than 20 genes"):
        Design(n_genes=20, n_drivers=3, n_decoys=3, n_targets=3).genes()


def test_families_leave_modules_among_the_null_genes_or_not(planted):
    from benchmarks.perturbation.planted import families

    found = families(planted.var, n_others=10)
    kinds = {name: planted.var.loc[genes, "kind"].value_counts().to_dict() for name, genes in found.items()}
    assert kinds["regulators"] == {"driver": 3, "decoy": 3, "other": 10}
    assert kinds["regulators and modules"] == {"driver": 3, "decoy": 3, "other": 10, "target": 9, "decoy target": 9}


def test_calls_are_counted_by_what_the_genes_are():
    from benchmarks.perturbation.planted import score

    kinds = pd.Series(["driver", "driver", "driver", "target", "decoy", "other", "other"], index=list("abcdefg"))
    fdr = [0.01, 0.01, 0.2, 0.05, 0.04, 0.9, 0.06]
    shift = [0.5, -0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    results = pd.DataFrame({"gene": kinds.index, "shift": shift, "null_mean": 0.1, "fdr": fdr})
    results["effect"] = [5.0, -9, 1, 2, 3, 0, 4]
    results["p_label"] = [0.01, 0.2, 0.05, 0.01, 0.9, 0.04, 0.5]
    fold = pd.Series([-3.0, -2.0, -0.1, -0.5, 0.2, 1.0, 0.0], index=kinds.index)
    results["readout"] = "shift"
    found = score(results, fold, kinds)
    assert found["n"] == 7 and found["called"] == 3  # a, d and e; b is away from the goal
    assert found["recall"] == pytest.approx(1 / 3) and found["recall targets"] == 1
    assert found["false"] == pytest.approx(1 / 3) and found["false either way"] == pytest.approx(1 / 4)
    assert found["auroc"] == pytest.approx(6 / 9)  # a and c above all of e, f, g; b above none
    assert found["fold recall"] == pytest.approx(2 / 3) and found["fold false"] == 0  # a, b and d are taken
    assert found["fold auroc"] == pytest.approx(1)
    assert found["top"] == pytest.approx(1 / 3)  # a, g and e have the largest
    assert found["label drivers"] == pytest.approx(2 / 3) and found["label rest"] == pytest.approx(1 / 3)
    net = results.assign(readout="net_shift", fdr_tail=results["fdr"], p_label=np.nan)
    both = pd.concat([results.assign(fdr=1.0), net])
    by_net = score(both, fold, kinds, call="net shift, p-value in a fitted tail")
    assert by_net == pytest.approx(found)
    nothing = score(results.assign(fdr=1.0), fold, kinds)
    assert nothing["recall"] == 0 and np.isnan(nothing["false"]) and np.isnan(nothing["fold false"])


def test_log_fold_changes_are_those_of_shares():
    from benchmarks.perturbation.planted import log_fold_changes

    counts = sparse.csr_matrix(np.array([[1.0, 9], [2, 18], [5, 5], [50, 50]]))
    cells = ad.AnnData(counts, obs=pd.DataFrame({"state": ["start", "start", "goal", "goal"]}, index=list("abcd")))
    expected = np.log2([5000.1 / 1000.1, 5000.1 / 9000.1])
    np.testing.assert_allclose(log_fold_changes(cells), expected)


def test_scan_of_planted_drivers(tmp_path):
    """One call from simulation to scores, at a size at which nothing is learnt."""
    from benchmarks.perturbation.planted import Design, scan, train

    design = Design(**SMALL | {"n_cells": 12})
    changes = {"hidden_size": 8, "n_layers": 1, "n_heads": 2, "code_size": 0, "max_len": 60, "batch_tokens": 1024}
    folder = train(design, tmp_path / "model", corpus="atlas", n_cells=20, epochs=0.2, **changes)
    weights = (folder / "model.safetensors").read_bytes()
    assert train(design, folder, corpus="atlas", n_cells=20) == folder
    assert (folder / "model.safetensors").read_bytes() == weights
    found = scan(design, folder, seed=2, n_others=5, n_null=20, max_cells=30)
    assert set(found) == {"regulators", "regulators and modules", "all genes"}
    n = {family: calls["shift, p-value by rank"]["n"] for family, calls in found.items()}
    assert n["regulators"] <= 11 < n["regulators and modules"] <= 29 < n["all genes"]
    scores = [one for calls in found.values() for one in calls.values()]
    assert len(scores) == 12 and all(0 <= one["auroc"] <= 1 and 0 <= one["fold auroc"] <= 1 for one in scores)
    assert found["regulators"]["net shift, p-value by rank"]["fold auroc"] > 0.9


@pytest.mark.parametrize("n_positive", [2, 4])
def test_partners_are_the_nearest_that_can_be(n_positive):
    from benchmarks.perturbation.decoded import matched

    random = np.random.default_rng(1)
    features = random.normal(size=(6, 2)) * [1, 100]
    positive = np.arange(6) < n_positive
    found = matched(features, positive)
    n = min(n_positive, 6 - n_positive)
    assert len(np.unique(found)) == len(found) == 2 * n
    assert positive[found[:n]].all() and not positive[found[n:]].any()
    scaled = features / features.std(0)

    def cost(mine, others):
        return sum(np.linalg.norm(scaled[one] - scaled[other]) for one, other in zip(mine, others, strict=True))

    mine, others = np.flatnonzero(positive), np.flatnonzero(~positive)
    best = min(cost(a, b) for a in permutations(mine, n) for b in permutations(others, n))
    assert cost(found[:n], found[n:]) == pytest.approx(best)


def test_correlations_are_pearsons():
    from benchmarks.perturbation.decoded import correlations

    dense = np.random.default_rng(2).poisson(1.0, (30, 5)).astype(float)
    dense[:, 3] = 1
    found = correlations(sparse.csr_matrix(dense), np.array([1, 3]))
    expected = np.corrcoef(dense[:, [0, 1, 2, 4]].T)[1]
    np.testing.assert_allclose(found[0, [0, 1, 2, 4]], expected)
    assert not found[1].any() and not found[:, 3].any()


def test_decoded_changes_are_those_of_cells_without_the_gene(tiny_model, cells):
    """Cell by cell: the gene is taken out of the list of tokens, and the profile decoded again."""
    import torch

    import scflyformer as sf
    from benchmarks.perturbation.decoded import decoded_changes
    from scflyformer.data import _adata
    from scflyformer.genes._vocabulary import N_SPECIAL

    model = sf.models.load(tiny_model)
    network = deepcopy(model.network())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in network.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    rows, _ = _adata.token_rows(cells, model, Reading(gene_key="FBgn"), progress=False)
    wanted = np.array([4, 7])
    changes, n_cells = decoded_changes(network, rows, wanted)

    def shares(tokens, values):
        with torch.no_grad():
            cell = network.embed(torch.tensor([tokens]).long(), torch.tensor([values]))
            return network.profile_logits(cell[:, :32]).double().log_softmax(-1).numpy()[0]

    for gene, change, n in zip(wanted, changes, n_cells, strict=True):
        found = []
        for start, stop in zip(rows.indptr, rows.indptr[1:], strict=False):
            tokens, values = rows.tokens[start:stop].tolist(), rows.values[start:stop].tolist()
            if gene + N_SPECIAL in tokens:
                place = tokens.index(gene + N_SPECIAL)
                rest = [each[:place] + each[place + 1 :] for each in (tokens, values)]
                found.append(shares(*rest) - shares(tokens, values))
        assert n == len(found) > 5
        np.testing.assert_allclose(change, np.mean(found, axis=0), atol=1e-5)
    assert np.abs(changes).max() > 1e-3
    few, n_few = decoded_changes(network, rows, wanted, most=5)
    assert n_few.tolist() == [5, 5] and not np.allclose(few, changes)


def test_states_are_dealt_evenly_to_samples_or_within_them():
    from benchmarks.perturbation.calibration import deal

    samples = np.repeat([f"s{number}" for number in range(7)], 11)
    whole = deal(samples, "samples", np.random.default_rng(0))
    by_sample = pd.Series(whole).groupby(samples).agg(["nunique", "first"])
    assert by_sample["nunique"].eq(1).all() and sorted(by_sample["first"].value_counts()) == [3, 4]
    within = pd.crosstab(samples, deal(samples, "cells", np.random.default_rng(0)))
    assert within.isin([5, 6]).all().all()
    assert (deal(samples, "samples", np.random.default_rng(1)) != whole).any()


def test_uniformity_is_told_from_its_opposite():
    from benchmarks.perturbation.calibration import describe
    from benchmarks.perturbation.lines import calibration_lines

    random = np.random.default_rng(0)
    fair = [{"p_value": random.random(50).tolist()} for _ in range(10)]
    found = describe(fair)["p_value"]
    everything = np.concatenate([each["p_value"] for each in fair])
    assert found["n"] == 500 and found["ks_p"] == pytest.approx(stats.kstest(everything, "uniform").pvalue)
    assert (
        found["share"] == pytest.approx((everything <= 0.05).mean()) and found["low"] <= found["share"] <= found["high"]
    )
    unfair = [{"p_value": (random.random(50) ** 3).tolist()} for _ in range(10)]
    for deals, passes in ((fair, True), (unfair, False)):
        _, said = calibration_lines([{"case": "x", "p_values": each} for each in deals])
        assert said[0].endswith(": passes") == passes


def test_the_measured_knock_down(tmp_path):
    from benchmarks.perturbation.pasilla import agreement, measured, upper_p

    random = np.random.default_rng(0)
    counts = random.poisson(1000, (7, 30)).astype(np.float32)
    down = np.arange(7) >= 4
    counts[np.ix_(down, [0])] *= 8
    counts[:, 29] = 0
    obs = pd.DataFrame({"condition": np.where(down, "ps_RNAi", "untreated")}, index=[f"s{n}" for n in range(7)])
    var = pd.DataFrame({"FBgn": [f"FBgn{n:07d}" for n in range(30)]}, index=[f"g{n}" for n in range(30)])
    ad.AnnData(counts, obs=obs, var=var).write_h5ad(tmp_path / "bulk.h5ad")
    table = measured(tmp_path / "bulk.h5ad")
    assert len(table) == 29 and table["fdr"].idxmin() == "FBgn0000000"
    cpm = np.log2(counts / counts.sum(1, keepdims=True) * 1e6 + 1)
    expected = stats.ttest_ind(cpm[down, 3], cpm[~down, 3], equal_var=False)
    assert table.loc["FBgn0000003", "p_value"] == pytest.approx(expected.pvalue, rel=1e-4)
    assert table.loc["FBgn0000000", "log_fc"] == pytest.approx(cpm[down, 0].mean() - cpm[~down, 0].mean(), rel=1e-5)

    log_fc = np.array([1.0, -1, 2, -2, 0.5])
    sure = np.array([True, True, True, True, False])
    right = agreement(log_fc + 10, log_fc, sure)
    assert right["sign"] == 1 and right["all"] == pytest.approx(1)
    assert agreement(-log_fc, log_fc, sure)["sign"] == 0
    assert upper_p(0.8, np.array([0.1, 0.8, 0.9])) == pytest.approx(3 / 4)


def test_old_and_young_cells_are_counted_by_type():
    from benchmarks.perturbation.davie import old_and_young

    kinds = [("A", 30, "x"), ("A", 30, "x"), ("A", 30, "y"), ("A", 1, "x"), ("B", 30, "x"), ("B", 30, "y")]
    kinds += [("B", 30, "y"), ("B", 30, "x"), ("B", 0, "y"), ("B", 3, "y"), ("7", 30, "x"), ("C", 9, "x")]
    table = old_and_young(pd.DataFrame(kinds, columns=["cell_type", "age", "genotype"]))
    assert table.index[:2].tolist() == ["B", "A"] and "7" not in table.index
    assert table.loc["B"].to_dict() == {"old": 4, "young": 2, "strain": 2}
    assert table.loc["C"].to_dict() == {"old": 0, "young": 0, "strain": 0}


@pytest.fixture
def sets(tmp_path, many_cells):
    """Two sets of cells, the knock-down and the tables, over the tiny model's genes."""
    many_cells.obs["genotype"] = np.where(many_cells.obs["batch"].isin(["s0", "s2"]), "w1118", "DGRP-551")
    many_cells.obs["age"] = many_cells.obs["age"].replace({5: 3}).astype(float)
    many_cells.obs["cell_type"] = many_cells.obs["cell_type"].astype(str)
    (tmp_path / "fly").mkdir()
    (tmp_path / "tables").mkdir()
    many_cells.write_h5ad(tmp_path / "fly" / "davie_brain_aging.h5ad")
    many_cells.write_h5ad(tmp_path / "fly" / "fca_head.h5ad")
    ids = many_cells.var["FBgn"].astype(str)
    bulk = np.random.default_rng(0).poisson(500, (7, len(ids))).astype(np.float32)
    bulk[4:, ::2] *= 4
    obs = pd.DataFrame({"condition": ["untreated"] * 4 + ["ps_RNAi"] * 3}, index=[f"b{n}" for n in range(7)])
    ad.AnnData(bulk, obs=obs, var=many_cells.var).write_h5ad(tmp_path / "fly" / "bulk_pasilla_ps_rnai.h5ad")
    factors = [f"tiny{n}" for n in range(1, 7)]
    (tmp_path / "tables" / "allTFs_dmel.txt").write_text("\n".join([*factors, "unknown"]) + "\n")
    names = pd.DataFrame({"symbol_or_annotation": many_cells.var_names, "FBgn": ids})
    names.to_csv(tmp_path / "tables" / "symbol_to_fbgn_merged.tsv", sep="\t", index=False)
    edges = pd.DataFrame([{"tf": ids[name], "target": ids[f"tiny{n}"]} for name in factors for n in range(1, 25)])
    edges.to_csv(tmp_path / "tables" / "droid_tf_target_2018.tsv.gz", sep="\t", index=False)
    marbach = edges.assign(weight=0.9).iloc[:24]
    path = tmp_path / "tables" / "marbach2012_flynet_supervised_0.6.txt.gz"
    marbach.to_csv(path, sep="\t", index=False, header=False)
    return tmp_path


def test_targets_of_factors_are_compared_with_other_genes(sets, tiny_model):
    """Genes 1 to 8 rise together in glia; the factors are among them, and so are a third of their targets."""
    import scflyformer as sf
    from benchmarks.perturbation.decoded import correlations, standing
    from benchmarks.perturbation.regulators import Cells, factor_scores, known_targets, read_type

    model = sf.models.load(tiny_model)
    parts = [read_type(sets / "fly" / "fca_head.h5ad", label, model, most=40) for label in ("glia", "neuron")]
    assert all(len(part.rows) == 40 and part.expression.shape == (40, 60) for part in parts)
    whole = read_type(sets / "fly" / "fca_head.h5ad", "glia", model, most=10**6)
    cells = Cells(whole.rows, whole.expression, whole.genes)
    table = factor_scores(cells, model, sets, most=4)
    droid = table[table["network"] == "DroID"].set_index("factor")
    assert set(droid.index) == {f"tiny{n}" for n in range(1, 7)} and droid["n_targets"].eq(23).all()
    assert table[table["network"] == "Marbach"]["factor"].tolist() == ["tiny1"]
    assert droid["n_cells"].eq(4).all()
    assert known_targets(sets, "Marbach") == {"FBgn9900001": {f"FBgn99{n:05d}" for n in range(2, 25)}}
    place = 2
    rest = np.delete(np.arange(60), place)
    own = np.isin(rest, np.arange(24))
    r = np.abs(correlations(whole.expression, np.array([place]))[0])
    assert droid.loc["tiny3", "co-expression, all"] == pytest.approx(roc_auc_score(own, r[rest]))
    mean = standing(whole.expression)[:, 1]
    assert droid.loc["tiny3", "mean expression, all"] == pytest.approx(roc_auc_score(own, mean[rest]))
    near = abs(droid["mean expression"] - 0.5).mean()
    assert near < abs(droid["mean expression, all"] - 0.5).mean()


def test_the_report_is_written_and_results_are_kept(sets, tiny_model, tmp_path, monkeypatch, capsys):
    from benchmarks.perturbation import __main__ as perturbation
    from benchmarks.perturbation import davie, lines
    from benchmarks.perturbation import pasilla as knock_down

    genes = {f"tiny{n}": "a gene" for n in (1, 9, 25)}
    monkeypatch.setattr(davie, "AGE_GENES", genes)
    monkeypatch.setattr(lines, "AGE_GENES", genes)
    monkeypatch.setattr(knock_down, "PS", "FBgn9900003")
    for types in ("TYPES", "DEALT"):
        monkeypatch.setattr(perturbation, types, {"davie_brain_aging": "glia"})
    parts = ["calibration", "regulators", "pasilla", "davie"]
    asked = ["perturbation.py", "--data", str(sets), "--model", str(tiny_model), "--scale", "0.1", "--deals", "2"]
    asked += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out" / "report"), "--parts", *parts]
    monkeypatch.setattr(sys, "argv", asked)
    perturbation.main()
    text = (tmp_path / "out" / "report.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {part}" for part in parts]
    assert "dealt to samples" in text and "AUROC over matched genes: change |" in text
    assert "changed genes in the measured direction" in text and "shift of tiny9" in text
    table = pd.read_csv(tmp_path / "out" / "report.tsv", sep="\t")
    assert set(table["part"]) == set(parts) and table["value"].notna().all()
    assert {path.name for path in (tmp_path / "out" / "report-figures").iterdir()} == {"expression.png", "shifts.png"}
    capsys.readouterr()
    perturbation.main()
    assert capsys.readouterr().err == ""  # nothing was computed again
    assert (tmp_path / "out" / "report.md").read_text() == text


def test_what_passes_is_said():
    from benchmarks.perturbation.lines import planted_lines

    good = {"n": 84, "called": 20, "recall": 0.9, "recall targets": 0.5, "false": 0.02, "false either way": 0.1}
    good |= {
        "label drivers": 0.6,
        "label rest": 0.05,
        "auroc": 1.0,
        "top": 1.0,
        "fold recall": 1.0,
        "fold false": 0.0,
        "fold auroc": 1.0,
    }
    found = [{"corpus": "atlas", "families": {"a": {"x": good}, "b": {"x": good | {"false": 0.2}}}}]
    lines, said = planted_lines(found)
    assert said[0].endswith(": passes") and said[1].endswith("does NOT pass") and len(lines) == 22
