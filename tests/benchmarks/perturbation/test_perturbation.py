"""The perturbation benchmark plants what it says, counts calls as it says, compares like with like, and reports."""

from __future__ import annotations

import sys
from copy import deepcopy
from itertools import permutations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from scflyformer.data._reading import Reading

SMALL = {"n_genes": 60, "n_drivers": 3, "n_decoys": 3, "n_targets": 3, "n_samples": 3, "n_cells": 200}


@pytest.fixture(scope="module")
def coded_model(tmp_path_factory, tiny_vocabulary):
    """Folder of a model with random weights and a profile code."""
    import torch

    from scflyformer.models._save import save_folder
    from scflyformer.network._network import CellBert, NetworkShape, make_config

    shape = {"hidden_size": 16, "n_layers": 1, "n_heads": 2, "feed_forward": 32, "max_len": 48, "dropout": 0.0}
    config = make_config(tiny_vocabulary.n_tokens, NetworkShape(objective="cell", code_size=6, n_directions=9, **shape))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CellBert(config)
    folder = tmp_path_factory.mktemp("coded") / "coded"
    save_folder(folder, network, tiny_vocabulary, metrics={}, provenance={}, card="# coded\n")
    return folder


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


def test_calls_are_counted_by_what_the_genes_are():
    from benchmarks.perturbation.planted import score

    kinds = pd.Series(["driver", "driver", "driver", "target", "decoy", "other", "other"], index=list("abcdefg"))
    fdr = [0.01, 0.01, 0.2, 0.05, 0.04, 0.9, 0.06]
    shift = [0.5, -0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    results = pd.DataFrame({"gene": kinds.index, "shift": shift, "null_mean": 0.1, "fdr": fdr})
    fold = pd.Series([-3.0, -2.0, -0.1, -0.5, 0.2, 1.0, 0.0], index=kinds.index)
    both = pd.concat([results.assign(readout="shift", fdr=1.0), results.assign(readout="net_shift")])
    found = score(both, fold, kinds)
    assert found["n"] == 7 and found["called"] == 3  # a, d and e; b is away from the goal
    assert found["recall"] == pytest.approx(1 / 3) and found["recall targets"] == 1
    assert found["false"] == pytest.approx(1 / 3) and found["false either way"] == pytest.approx(1 / 4)
    assert found["auroc"] == pytest.approx(6 / 9)  # a and c above all of e, f, g; b above none
    assert found["fold recall"] == pytest.approx(2 / 3) and found["fold false"] == 0  # a, b and d are taken
    assert found["fold recall targets"] == 1 and found["fold auroc"] == pytest.approx(1)
    nothing = score(both, fold, kinds, readout="shift")
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
    changes = {
        "hidden_size": 8,
        "n_layers": 1,
        "n_heads": 2,
        "code_size": 8,
        "n_directions": 8,
        "max_len": 60,
        "batch_tokens": 1024,
    }
    folder = train(design, tmp_path / "model", corpus="atlas", n_cells=20, epochs=0.2, **changes)
    weights = (folder / "model.safetensors").read_bytes()
    assert train(design, folder, corpus="atlas", n_cells=20) == folder
    assert (folder / "model.safetensors").read_bytes() == weights
    found = scan(design, folder, seed=2, max_cells=30)
    assert set(found) == {"net_shift", "net_shift_linear", "net_shift_transformer", "shift"}
    assert all(one["n"] > 30 and 0 <= one["auroc"] <= 1 and 0 <= one["fold auroc"] <= 1 for one in found.values())
    assert found["net_shift"]["fold auroc"] > 0.9


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


def test_calls_and_uniformity_are_told():
    from benchmarks.perturbation.calibration import describe
    from benchmarks.perturbation.lines import calibration_lines

    random = np.random.default_rng(0)

    def deals(called, power):
        for number in range(20):
            p_values = {name: (random.random(60) ** power).tolist() for name in ("p_value", "p_states")}
            detection = np.repeat([0.05, 0.2, 0.4, 0.6, 0.9, 1.0], 10).tolist()
            yield {"net_shift": {"called": int(number < called), **p_values}, "detection": detection}

    fair = list(deals(1, 1))
    found = describe(fair, "net_shift")
    share = np.mean([np.mean(np.array(each["net_shift"]["p_value"]) <= 0.05) for each in fair])
    assert found["calling"] == 1 and found["n"] == 20 and found["p_value"]["share"] == pytest.approx(share)
    assert found["p_value"]["low"] <= 0.05 <= found["p_value"]["high"] and found["p_value"]["ks_p"] > 0.01
    assert [n for _, n in found["p_value"]["strata"].values()] == [200] * 6
    assert describe(list(deals(1, 3)), "net_shift")["p_states"]["ks_p"] < 1e-6
    for called, passes in ((1, True), (2, False)):
        _, said = calibration_lines([{"case": "x", "deal": each} for each in deals(called, 1)])
        assert said[0].endswith(": passes") == passes


def test_the_measured_knock_down(tmp_path):
    from benchmarks.perturbation.measured import measured

    random = np.random.default_rng(0)
    counts = random.poisson(1000, (7, 30)).astype(np.float32)
    down = np.arange(7) >= 4
    counts[np.ix_(down, [0])] *= 8
    counts[:, 29] = 0
    obs = pd.DataFrame({"condition": np.where(down, "ps_RNAi", "untreated")}, index=[f"s{n}" for n in range(7)])
    var = pd.DataFrame({"FBgn": [f"FBgn{n:07d}" for n in range(30)]}, index=[f"g{n}" for n in range(30)])
    bulk = ad.AnnData(counts, obs=obs, var=var)
    bulk.write_h5ad(tmp_path / "bulk.h5ad")
    table = measured(tmp_path / "bulk.h5ad", "ps_RNAi", "untreated")
    assert len(table) == 29 and table["fdr"].idxmin() == "FBgn0000000"
    cpm = np.log2(counts / counts.sum(1, keepdims=True) * 1e6 + 1)
    gap = cpm[down].mean(0) - cpm[~down].mean(0)
    np.testing.assert_allclose(table["log_fc"], gap[:29], rtol=1e-4, atol=1e-6)
    bulk[[0, 6]].write_h5ad(tmp_path / "few.h5ad")
    with pytest.raises(ValueError, match="needs two samples or more"):
        measured(tmp_path / "few.h5ad", "ps_RNAi", "untreated")


def test_p_values_of_a_measured_knock_down_are_uniform_where_nothing_changed(tmp_path):
    from benchmarks.perturbation.measured import measured

    random = np.random.default_rng(1)
    spread = 0.1 * np.sqrt(8 / random.chisquare(8, 2000))  # variances differ from gene to gene
    counts = 1000 * np.exp(spread * random.normal(size=(4, 2000)))
    obs = pd.DataFrame({"condition": ["a", "a", "b", "b"]}, index=list("wxyz"))
    var = pd.DataFrame({"FBgn": [f"FBgn{n:07d}" for n in range(2000)]}, index=[f"g{n}" for n in range(2000)])
    ad.AnnData(counts, obs=obs, var=var).write_h5ad(tmp_path / "bulk.h5ad")
    found = measured(tmp_path / "bulk.h5ad", "a", "b")["p_value"]
    assert (found <= 0.05).mean() == pytest.approx(0.05, abs=0.02)
    assert (found <= 0.01).mean() == pytest.approx(0.01, abs=0.008)


def test_agreement_with_a_knock_down():
    from benchmarks.perturbation.knock_down import agreement, upper_p

    log_fc = np.array([1.0, -1, 2, -2, 0.5])
    sure = np.array([True, True, True, True, False])
    right = agreement(log_fc + 10, log_fc, sure)
    assert right["sign"] == 1 and right["all"] == pytest.approx(1)
    assert agreement(-log_fc, log_fc, sure)["sign"] == 0
    assert agreement(np.zeros(5), log_fc, sure) == {"sign": 0.5, "sure": 0, "all": 0}
    assert agreement(np.array([1.0, -1, 0, 0, 0]), log_fc, sure)["sign"] == 0.75
    assert upper_p(0.8, np.array([0.1, 0.8, 0.9])) == pytest.approx(3 / 4)


def test_ridge_is_that_of_the_normal_equations():
    from benchmarks.perturbation.linear import PENALTIES, ridge

    random = np.random.default_rng(0)
    features = random.normal(size=(80, 5)) + 3
    truth = random.normal(size=(5, 7))
    centred = features - features.mean(0)
    for noise in (0.1, 30.0):
        targets = features @ truth + noise * random.normal(size=(80, 7))
        targets -= targets.mean(0)
        found = ridge(features, targets)
        size = (np.linalg.svd(centred, compute_uv=False) ** 2).mean()
        scores, all_weights = [], []
        for penalty in PENALTIES * size:
            gram = centred.T @ centred + penalty * np.eye(5)
            weights = np.linalg.solve(gram, centred.T @ targets)
            hat = np.trace(centred @ np.linalg.solve(gram, centred.T))
            scores.append(((targets - centred @ weights) ** 2).sum() / (1 - (hat + 1) / 80) ** 2)
            all_weights.append(weights)
        np.testing.assert_allclose(found, all_weights[int(np.argmin(scores))], atol=1e-10)


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


def test_cells_to_edit_are_those_that_no_pretraining_saw(sets, tiny_model):
    import scflyformer as sf
    from benchmarks.perturbation.cells import read_cells

    model = sf.models.load(tiny_model)
    path = sets / "fly" / "fca_head.h5ad"
    adata = ad.read_h5ad(path)
    kept = {"glia": 0, "neuron": 0}
    for label in kept:
        cells = read_cells(path, model, label=label, n_edited=20, most=50)
        assert len(cells.rows) == cells.expression.shape[0] == 50 and len(cells.edited) == len(cells.edited_rows) == 20
        assert cells.expression.shape[1] == len(cells.genes)
        whole = read_cells(path, model, label=label)
        of_label = adata[(adata.obs["cell_type"] == label).to_numpy()]
        unseen = (of_label.obs["genotype"] == "DGRP-551").to_numpy()
        np.testing.assert_array_equal(whole.edited, np.flatnonzero(unseen))
        assert 0 < unseen.sum() < len(of_label) == len(whole.rows)
        names = model.vocabulary.gene_ids[whole.genes].astype(str)
        found = pd.Series(np.asarray((of_label.X > 0).mean(0)).ravel(), index=of_label.var["FBgn"].astype(str))
        np.testing.assert_allclose(whole.detection, found[names])
        np.testing.assert_array_equal(
            read_cells(path, model, label=label, unseen=False).edited, np.arange(len(of_label))
        )
    with pytest.raises(ValueError, match="no cell of type 'nothing'"):
        read_cells(path, model, label="nothing")


def test_targets_of_factors_are_compared_with_other_genes(sets, coded_model):
    """Genes 1 to 8 rise together in glia; the factors are among them, and so are a third of their targets."""
    import scflyformer as sf
    from benchmarks.perturbation.cells import read_cells
    from benchmarks.perturbation.decoded import correlations, decoded_changes, standing
    from benchmarks.perturbation.linear import linear_changes
    from benchmarks.perturbation.regulators import factor_scores, known_targets

    model = sf.models.load(coded_model)
    cells = read_cells(sets / "fly" / "fca_head.h5ad", model, label="glia", unseen=False)
    table = factor_scores(cells, model, sets, most=4)
    droid = table[table["network"] == "DroID"].set_index("factor")
    assert set(droid.index) == {f"tiny{n}" for n in range(1, 7)} and droid["n_targets"].eq(23).all()
    assert table[table["network"] == "Marbach"]["factor"].tolist() == ["tiny1"]
    assert droid["n_cells"].eq(4).all()
    assert known_targets(sets, "Marbach") == {"FBgn9900001": {f"FBgn99{n:05d}" for n in range(2, 25)}}
    place = 2
    rest = np.delete(np.arange(60), place)
    own = np.isin(rest, np.arange(24))
    changes, _ = decoded_changes(model.network(), cells.rows, np.arange(6), most=4)
    others = np.delete(changes, place, axis=0)
    expected = {
        "change": np.abs(changes[place]),
        "change beside other factors": np.abs((changes[place] - others.mean(0)) / others.std(0)),
        "co-expression": np.abs(correlations(cells.expression, np.array([place]))[0]),
        "mean expression": standing(cells.expression)[:, 1],
        "linear part": np.abs(linear_changes(model.network(), cells, np.array([place]))[0]),
        "other factors' change": np.abs(others).mean(0),
    }
    for score, values in expected.items():
        assert droid.loc["tiny3", f"{score}, all"] == pytest.approx(roc_auc_score(own, values[rest])), score
    near = abs(droid["mean expression"] - 0.5).mean()
    assert near < abs(droid["mean expression, all"] - 0.5).mean()


def test_the_linear_part_takes_a_gene_from_the_linear_numbers(sets, coded_model):
    """Beside a regression on dense arrays: the projections of the same cells with and without the gene."""
    import scflyformer as sf
    from benchmarks.perturbation.cells import read_cells
    from benchmarks.perturbation.linear import linear_changes, ridge
    from scflyformer.genes._vocabulary import N_SPECIAL

    model = sf.models.load(coded_model)
    cells = read_cells(sets / "fly" / "fca_head.h5ad", model, label="glia")
    values = np.zeros((len(cells.rows), model.vocabulary.n_genes))
    for number, (start, stop) in enumerate(zip(cells.rows.indptr, cells.rows.indptr[1:], strict=False)):
        values[number, cells.rows.tokens[start:stop] - N_SPECIAL] = cells.rows.values[start:stop]
    encoder = model.network().profile_encoder
    parts = [values @ one.detach().double().numpy() for one in (encoder.contrast_directions, encoder.directions)]
    sizes = [np.sqrt(part.var(0).sum()) for part in parts]
    dense = cells.expression.toarray().astype(float)
    features = np.hstack([part / size for part, size in zip(parts, sizes, strict=True)])
    weights = ridge(features, (dense - dense.mean(0)) / dense.std(0))
    gene = 3
    held = values[:, gene] > 0
    without = values.copy()
    without[:, gene] = 0
    lost = [
        ((without - values)[held] @ one.detach().double().numpy()).mean(0)
        for one in (encoder.contrast_directions, encoder.directions)
    ]
    expected = np.concatenate([part / size for part, size in zip(lost, sizes, strict=True)]) @ weights
    found = linear_changes(model.network(), cells, np.array([gene, 5]))
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-8)
    assert np.abs(found[1] - found[0]).max() > 1e-6


def test_null_genes_stand_nearest_in_all_sets_and_predictions_leave_out_the_gene(sets, coded_model):
    import scflyformer as sf
    from benchmarks.perturbation.cells import read_cells
    from benchmarks.perturbation.decoded import standing
    from benchmarks.perturbation.knock_down import holders, knock_down, null_genes

    model = sf.models.load(coded_model)
    read = {
        label: read_cells(sets / "fly" / "fca_head.h5ad", model, label=label, unseen=False)
        for label in ("glia", "neuron")
    }
    cells = list(read.values())
    null = null_genes(cells, 2, 5)
    assert len(null) == 5 and 2 not in null
    candidates = np.flatnonzero(np.all([holders(one) >= 10 for one in cells], axis=0))
    features = np.column_stack([standing(one.expression)[candidates] for one in cells])
    distance = (((features - features[candidates == 2]) / features.std(0)) ** 2).sum(1)
    inside = np.isin(candidates, null)
    assert distance[inside].max() <= distance[~inside & (candidates != 2)].min()

    random = np.random.default_rng(0)
    ids = model.vocabulary.gene_ids.astype(str)
    effect = pd.DataFrame({"log_fc": random.normal(size=60), "p_value": np.arange(60) / 600}, index=ids)
    found = knock_down(read, effect, ids[2], model, n_cells=3, n_null=5)
    assert found["fold"] == pytest.approx(effect["log_fc"].iloc[2]) and found["n_null"] == 5
    assert found["by_chance"] == pytest.approx(60 * 0.01 / 7) and set(found["sets"]) == {"glia", "neuron"}
    again = knock_down(read, effect.assign(log_fc=lambda table: table["log_fc"].where(table.index != ids[2], 1e9)),
                       ids[2], model, n_cells=3, n_null=5)  # fmt: skip
    for prediction, by_set in found["scores"].items():
        for name, agreements in by_set.items():
            assert [len(values) for values in agreements.values()] == [6, 6, 6]
            assert again["scores"][prediction][name]["sign"][0] == agreements["sign"][0]
    with pytest.raises(ValueError, match="No set has 10 cells"):
        knock_down({"few": read_cells(sets / "fly" / "fca_head.h5ad", model, most=9)}, effect, ids[2], model,
                   n_cells=3, n_null=5)  # fmt: skip


def test_what_passes_on_real_experiments_is_what_was_laid_down():
    from benchmarks.perturbation.real_lines import knock_down_lines, regulators_lines
    from benchmarks.perturbation.regulators import SCORES

    def case(own, judged=True):
        null = np.linspace(0.3, 0.7, 199).tolist()
        told = {"n_cells": 9, "n_genes": 50, "n_sure": 20, "down": 0.5, "detection": 0.1, "null_detection": [0, 0.1, 1]}
        scores = {who: {one: {key: [value, *null] for key in ("sign", "sure", "all")} for one, value in own.items()}
                  for who in ("model", "co-expression", "linear part")}  # fmt: skip
        return {"case": "ps", "gene": "ps", "judged": judged, "fold": -1.0, "by_chance": 0.1, "n_null": 199,
                "sets": dict.fromkeys(own, told), "scores": scores}  # fmt: skip

    for own, word in (({"a": 0.72, "b": 0.71}, "PASS"), ({"a": 0.9, "b": 0.4}, "FAIL"), ({"a": 0.72}, "PASS")):
        lines, said = knock_down_lines([case(own)])
        assert said[0].startswith(f"{word} knock-down, ps")
        assert len(lines) == 9 * (len(own) + (len(own) > 1))
    assert not knock_down_lines([case({"a": 0.72}, judged=False)])[1][0].startswith("PASS")

    def regulated(change, baseline):
        random = np.random.default_rng(0)
        records = []
        for number in range(30):
            record = {"network": "DroID", "factor": f"f{number}", "n_targets": 30, "n_cells": 5}
            for score in SCORES:
                mean = {"change": change, "co-expression": baseline}.get(score, 0.45)
                record |= dict.fromkeys((score, f"{score}, all"), mean + 0.02 * random.normal())
            records.append(record)
        table = pd.DataFrame(records).to_dict("list")
        return [{"case": name, "whole": whole, "table": table} for name, whole in (("a", True), ("b", False))]

    for change, baseline, word in ((0.6, 0.5, "PASS"), (0.6, 0.6, "FAIL"), (0.49, 0.4, "FAIL")):
        lines, said = regulators_lines(regulated(change, baseline))
        assert (
            said[0].startswith(f"{word} regulators, DroID") and sum("PASS" in one or "FAIL" in one for one in said) == 1
        )
        first = lines[0]
        assert first["case"] == "DroID, 1 sets of whole transcriptomes" and first["low"] < change < first["high"]


def test_the_report_is_written_and_results_are_kept(sets, coded_model, tmp_path, monkeypatch, capsys):
    from benchmarks.perturbation import __main__ as perturbation
    from benchmarks.perturbation import davie, lines

    genes = {f"tiny{n}": "a gene" for n in (1, 9, 25)}
    monkeypatch.setattr(davie, "AGE_GENES", genes)
    monkeypatch.setattr(lines, "AGE_GENES", genes)
    pasilla = "fly/bulk_pasilla_ps_rnai", "untreated"
    monkeypatch.setattr(perturbation, "KNOCK_DOWNS", {"ps": ("FBgn9900003", pasilla, "ps_RNAi")})
    monkeypatch.setattr(perturbation, "WHOLE", {"one": "fly/fca_head", "other": "fly/davie_brain_aging"})
    for types in ("TYPES", "DEALT"):
        monkeypatch.setattr(perturbation, types, {"davie_brain_aging": "glia"})
    parts = ["calibration", "regulators", "knock-downs", "davie"]
    asked = ["perturbation.py", "--data", str(sets), "--model", str(coded_model), "--scale", "0.1", "--deals", "2"]
    asked += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out" / "report"), "--parts", *parts]
    monkeypatch.setattr(sys, "argv", asked)
    perturbation.main()
    text = (tmp_path / "out" / "report.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {part}" for part in parts]
    verdicts = [line for line in text[: text.index("# Perturbation")].splitlines() if line]
    assert [line.split(" ")[1:3] for line in verdicts] == [["regulators,", "DroID,"], ["knock-down,", "ps,"]]
    assert all(line.startswith(("PASS ", "FAIL ")) for line in verdicts)
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
    good |= {"auroc": 1.0, "fold recall": 1.0, "fold recall targets": 1.0, "fold false": 0.0, "fold auroc": 1.0}
    found = [{"n_genes": 400, "scores": {"net_shift": good, "shift": good | {"false": 0.2}}}]
    lines, said = planted_lines(found)
    assert said[0].endswith(": passes") and said[1].endswith("does NOT pass") and len(lines) == 18
