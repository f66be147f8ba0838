"""Splits are the agreed ones, tables say what is below what, and results are read again where they are kept."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

STRAINS = {"w1118": 4, "DGRP-551": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A davie-like set: 10 libraries, types that two strains share, counts that tell type and age."""
    random = np.random.default_rng(0)
    obs = pd.DataFrame(
        [
            {"batch": f"{strain}_{number}", "genotype": strain, "age": age, "cell_type": label}
            for strain, n in STRAINS.items()
            for number in range(n)
            for age in [[0.0, 3.0, 30.0, 50.0, 9.0, 15.0][number]]
            for label in ["A", "B", "7", "only " + strain] * 8
        ]
    )
    obs.index = obs.index.astype(str)
    rate = np.ones((len(obs), 20))
    rate[:, 0] += 20 * (obs["cell_type"] == "A")
    rate[:, 1:6] += 2 * np.log2(obs["age"].to_numpy()[:, None] + 1)
    counts = sparse.csr_matrix(random.poisson(rate).astype(np.float32))
    var = pd.DataFrame({"FBgn": [f"FBgn{number:07d}" for number in range(20)]}, index=[f"g{n}" for n in range(20)])
    path = tmp_path_factory.mktemp("data")
    (path / "fly").mkdir()
    ad.AnnData(counts, obs=obs, var=var).write_h5ad(path / "fly" / "davie_brain_aging.h5ad")
    return path


def test_splits(folder):
    from pretraining import Bench

    bench = Bench(folder)
    task = bench.makers["davie labels"]()
    (split,) = task.splits
    obs = task.data.obs
    assert set(obs["cell_type"].iloc[split.train]) == set(obs["cell_type"].iloc[split.test]) == {"A", "B"}
    assert set(obs["genotype"].iloc[split.test]) == {"DGRP-551"} and (obs["genotype"][split.fit.cells] == "w1118").all()
    clock = bench.makers["clock libraries"]()
    assert sorted(clock.test) == list(range(len(obs)))
    for each in clock.splits:
        assert not set(clock.data.libraries[each.train]) & set(clock.data.libraries[each.test])
        assert not each.fit.cells[each.test].any()
    strain = bench.makers["clock w1118 → DGRP-551"]()
    assert strain.views["to 30 days"].sum() < strain.views["with 50 days"].sum() == len(strain.test)


def test_compare_keeps_results(folder, tmp_path, capsys, monkeypatch):
    import pretraining
    from _representations import Expression, Joined, Pca
    from pretraining import Bench, compare, long_table, markdown, verdicts

    expression, pca = Expression(tmp_path), Pca(tmp_path, 3)
    columns = [expression, pca, Joined(pca, expression)]
    tasks = ["davie labels", "davie neighbours", "clock w1118 → DGRP-551"]
    results = compare(Bench(folder), columns, tasks, tmp_path, n_boot=30)
    monkeypatch.setattr(pretraining, "run", None)
    assert compare(Bench(folder), columns, tasks, tmp_path, n_boot=30) == results
    table = long_table(results, "expression")
    value = table.set_index(["task", "metric", "representation"])["value"]
    assert value["davie labels", "accuracy", "expression"] > 0.8
    assert value["clock w1118 → DGRP-551, with 50 days", "Spearman", "expression"] > 0.3
    text = markdown(table, "expression")
    assert "PCA-3 + expression" in text and "6 libraries" in text and "libraries" in table["resampled"].unique()
    assert len(verdicts(table, "expression")) == 7


def _view(values):
    return {"metrics": values, "n_train": 1, "n_test": 2, "n_libraries": 2, "resampled": "libraries", "split": "s"}


def test_losses_are_told_plainly():
    from pretraining import long_table, verdicts

    draws = np.linspace(-0.01, 0.01, 21)
    results = [
        ("t", "fly", _view({"accuracy": [0.8, *(0.8 + draws)], "nats a gene": [3.0, *(3 + draws)]})),
        ("t", "pca", _view({"accuracy": [0.9, *(0.9 - draws)], "nats a gene": [4.0, *(4 + draws)]})),
        ("t", "same", _view({"accuracy": [0.8, *(0.8 - draws)]})),
    ]
    first, second = verdicts(long_table(results, "fly"), "fly")
    assert "BELOW pca (-0.100" in first and "not told from same" in first
    assert "better than pca (-1.000" in second


def test_subset_leaves_evaluation_out_and_validation_whole(folder, tmp_path):
    from pretraining import n_tokens, subset

    (path,) = subset(folder, tmp_path, ["davie_brain_aging"], 0.5)
    kept = ad.read_h5ad(path)
    assert set(kept.obs["genotype"]) == {"w1118"} and 32 < kept.n_obs < 96
    assert n_tokens([path]) == kept.X.nnz


def test_random_weights_differ_from_the_model(tiny_model, cells, tmp_path):
    from _representations import Data, Fit, Frozen, random_weights

    cells = cells.copy()
    cells.obs["batch"] = "one"
    cells.var["FBgn"] = cells.var_names
    cells.write_h5ad(tmp_path / "set.h5ad")
    data = Data(tmp_path / "set.h5ad", lambda obs: np.arange(0, len(obs), 2))
    fit = Fit("all", np.ones(cells.n_obs, dtype=bool))
    model = Frozen(tmp_path, tiny_model)
    mine = model.blocks(data, fit)["embedding"]
    other = random_weights(tmp_path, model.model, seed=1)
    assert mine.shape == other.blocks(data, fit)["embedding"].shape and len(mine) == len(data.used)
    assert not np.allclose(mine, other.blocks(data, fit)["embedding"])
    np.testing.assert_array_equal(random_weights(tmp_path, model.model, seed=1).blocks(data, fit)["embedding"],
                                  other.blocks(data, fit)["embedding"])  # fmt: skip
