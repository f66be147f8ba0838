"""Whole transcriptomes: planted structure is found, nothing of the cells asked is learnt from."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

N_TYPES, N_CELLS, N_GENES = 4, 160, 300


@pytest.fixture(scope="module")
def planted():
    """Counts of cells of four types, 20 genes raised in each; depth varies."""
    random = np.random.default_rng(0)
    labels = np.arange(N_CELLS) % N_TYPES
    rate = random.gamma(1.0, 1.0, N_GENES) + 0.2
    fold = np.ones((N_TYPES, N_GENES))
    for label in range(N_TYPES):
        fold[label, 20 * label : 20 * (label + 1)] = 4
    depth = random.uniform(0.7, 1.5, (N_CELLS, 1))
    return sparse.csr_matrix(random.poisson(rate * fold[labels] * depth).astype(np.float32)), labels


def test_directions_recover_what_was_planted(planted):
    from benchmarks.whole_transcriptome.representations import directions

    counts, labels = planted
    features = directions(counts[:120])(counts[120:])
    leading = features[:, : N_TYPES - 1]
    means = np.array([leading[labels[120:] == label].mean(axis=0) for label in range(N_TYPES)])
    assert means[labels[120:]].var(axis=0).sum() > 0.8 * leading.var(axis=0).sum()
    assert features[:, :3].var(axis=0).sum() > 2 * features[:, 3:].var(axis=0).sum()


def test_halves_add_up(planted):
    from benchmarks.whole_transcriptome.representations import halves

    counts, _ = planted
    a, b = halves(counts, np.random.default_rng(1))
    before = b.copy()
    a.indices[:] = 0  # what happens to one half does not happen to the other
    assert (before != b).nnz == 0
    a, b = halves(counts, np.random.default_rng(1))
    assert (a + b != counts).nnz == 0 and abs(a.sum() / counts.sum() - 0.5) < 0.02


def test_planted_types_are_neighbours_and_probed_in_every_column(planted):
    from benchmarks.whole_transcriptome.__main__ import typed
    from benchmarks.whole_transcriptome.representations import BASELINES

    counts, labels = planted
    cells = ad.AnnData(counts)
    cells.obs["cell_type"] = labels.astype(str)
    cells.obs["batch"] = "one"
    folds = np.where(np.arange(N_CELLS) < 120, -1, 0)
    for name in ("own directions", "HVG + PCA-30", "Pearson residuals + PCA-50", "all genes"):
        share, f1 = typed(cells, folds, BASELINES[name], library="batch", cosine=name == "all genes")["all"]
        assert share > 0.7 and f1 > 0.9, name  # chance is 0.25


def test_probe_never_reads_labels_of_the_cells_asked(planted):
    from benchmarks.whole_transcriptome.representations import log_expression
    from benchmarks.whole_transcriptome.scores import dense, probe, stratified

    counts, labels = planted
    x, train = dense(log_expression(counts)), np.arange(120)
    inner = stratified(labels[train], 3)
    first, penalty = probe(x, labels, inner, train)
    other = labels.copy()
    other[120:] = 99
    second, same = probe(x, other, inner, train)
    np.testing.assert_array_equal(first, second)
    assert penalty == same and (first[120:] == labels[120:]).mean() > 0.9


def test_coordinates_in_the_span_of_training_cells_keep_inner_products():
    from benchmarks.whole_transcriptome.scores import prepared

    x, train = np.random.default_rng(2).normal(size=(40, 90)), np.arange(30)
    z, centred = prepared(x, train), x - x[train].mean(axis=0)
    expected = centred @ centred[train].T / (centred[train] ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(z @ z[train].T, expected, atol=1e-8)
    assert z.shape[1] == 29


def test_residuals_are_those_of_scanpy(planted):
    import scanpy as sc

    from benchmarks.whole_transcriptome.representations import pearson_residuals

    dense = planted[0].toarray().astype(float)
    cells = ad.AnnData(dense.copy())
    sc.experimental.pp.normalize_pearson_residuals(cells)
    mine = pearson_residuals(dense, dense.sum(axis=0) / dense.sum(), np.sqrt(len(dense)))
    np.testing.assert_allclose(mine, cells.X, atol=1e-6)


def test_halves_of_a_cell_are_found_above_chance(planted):
    from benchmarks.whole_transcriptome.__main__ import halved
    from benchmarks.whole_transcriptome.representations import directions

    random = np.random.default_rng(3)
    rate = random.gamma(0.5, 4.0, (90, N_GENES))
    held = np.arange(90) < 40
    scores = halved(sparse.csr_matrix(random.poisson(rate).astype(np.float32)), held, directions)["seeds"]
    assert np.mean(scores, axis=0)[0] > 0.3  # chance is 1 in 90
    noise = sparse.csr_matrix(random.poisson(2.0, (90, N_GENES)).astype(np.float32))
    assert np.mean(halved(noise, held, directions)["seeds"], axis=0)[0] < 0.15


def test_highest_value_of_a_row_is_bold():
    from benchmarks.whole_transcriptome.__main__ import best_in_bold, columns_of

    columns = columns_of(["fly", "some/folder"])
    assert list(columns)[:4] == ["fly", "fly, adapted", "folder", "folder, adapted"]
    assert columns["folder, adapted"] == "some/folder" and not columns["own directions"]
    found = {("a", "recall"): {"fly": "0.200 ± 0.010", "own directions": "0.300 ± 0.010"}}
    text = best_in_bold(found, columns)
    assert "| a | recall | 0.200 ± 0.010 | – | – | – | – | **0.300 ± 0.010** |" in text


def test_interval_is_that_of_a_paired_t_test():
    from scipy import stats

    from benchmarks.whole_transcriptome.intervals import compared

    values, others = np.array([0.7, 0.9, 0.8, 0.86]), np.array([0.6, 0.85, 0.82, 0.7])
    low, high = stats.ttest_rel(values, others).confidence_interval(0.95)
    said = compared(values, others, interval=True)
    assert said == f"0.815, {np.mean(values - others):+.3f} ({low:+.3f} to {high:+.3f})".replace("-", "−")


def test_comparison_has_an_interval_for_three_whole_folds_or_more():
    from benchmarks.whole_transcriptome.intervals import REFERENCE, comparison

    def result(*values):
        return {"folds": {str(number): [0.0, value] for number, value in enumerate(values)}}

    three = {"a": result(0.5, 0.6, 0.7), REFERENCE: result(0.5, 0.5, 0.5)}
    columns = ["a", "missing", REFERENCE]
    assert comparison(three, 1, columns, True) == ["3 folds", "0.600, +0.100 (−0.148 to +0.348)", "–", "0.500"]
    assert comparison(three, 1, columns, False)[:2] == ["3 folds of single cells: no interval", "0.600, +0.100"]
    two = {"a": result(0.4, 0.5), REFERENCE: result(0.5, 0.5)}
    assert comparison(two, 1, columns, True)[:2] == ["2 folds: no interval", "0.450, −0.050"]


def test_models_are_asked_about_cells_of_their_species():
    from benchmarks.whole_transcriptome.__main__ import GUT, columns_of, is_asked
    from benchmarks.whole_transcriptome.human import HUMAN, PANCREAS

    columns = columns_of(["fly", "a/folder"])
    assert "scVI" not in columns and columns["folder, adapted"] == "a/folder"
    assert columns_of(["fly"], "python")["scVI"] == "python"
    assert is_asked("fly, adapted", GUT) and not is_asked("fly, adapted", PANCREAS)
    assert is_asked(HUMAN, PANCREAS) and not is_asked(HUMAN, GUT)
    assert all(is_asked(column, name) for column in ("all genes", "scVI") for name in (GUT, PANCREAS))


def test_no_set_is_pretrained_on_for_cells_of_its_own_study():
    from benchmarks.whole_transcriptome.human import OTHERS, PANCREAS, PBMC

    assert set(OTHERS) == {PANCREAS, PBMC}
    assert all("baron" not in file for file in OTHERS[PANCREAS]) and all("zheng" not in file for file in OTHERS[PBMC])


def _set(genes, counts):
    import pandas as pd

    var = pd.DataFrame({"gene_symbol": genes}, index=genes)
    return ad.AnnData(sparse.csr_matrix(np.array(counts, dtype=np.float32)), var=var)


def test_genes_that_most_cells_of_all_sets_express_are_kept():
    from benchmarks.whole_transcriptome.human import cut, most_expressed

    first = _set(["C", "A", "B"], [[9, 0, 1], [0, 0, 1]])
    second = _set(["A", "B", "D"], [[1, 0, 1], [1, 1, 0], [1, 0, 0]])
    genes = most_expressed([first, second], 2)  # A 3, B 3, C 1, D 1 cells
    assert genes == ["A", "B"] and most_expressed([first, second], 3) == ["A", "B", "C"]
    kept = cut(first, genes)
    assert list(kept.var["gene_symbol"]) == ["A", "B"] and kept.X.toarray().tolist() == [[0, 1], [0, 1]]
    assert list(kept.obs.columns) == []


def test_human_model_is_pretrained_once(tmp_path, planted):
    from benchmarks.whole_transcriptome.human import PBMC, human_model
    from benchmarks.whole_transcriptome.representations import adapted_embedding

    cells = _set([f"gene{number}" for number in range(N_GENES)], planted[0].toarray())
    (tmp_path / "human").mkdir()
    cells.write_h5ad(tmp_path / "human" / "baron_pancreas_human_2142.h5ad")
    small = {"hidden_size": 16, "n_layers": 1, "code_size": 8, "n_directions": 8, "epochs": 0.1, "code_epochs": 1}
    out = human_model(PBMC, tmp_path, tmp_path, **small)
    assert (out / "model.safetensors").exists()
    (tmp_path / "human" / "baron_pancreas_human_2142.h5ad").unlink()
    assert human_model(PBMC, tmp_path, tmp_path) == out
    embedded = adapted_embedding(out, cells.var, "gene_symbol")(planted[0][:120])(planted[0][120:])
    assert embedded.shape[0] == 40 and np.isfinite(embedded).all()


def test_scvi_is_left_out_in_words_where_it_is_missing(monkeypatch, capsys):
    import subprocess

    from benchmarks.whole_transcriptome import scvi

    monkeypatch.setattr(scvi.shutil, "which", lambda python: python)
    answer = {"returncode": 1}
    monkeypatch.setattr(scvi.subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, **answer))
    assert scvi.python_with_scvi("some-python") is None
    assert capsys.readouterr().err.count("\n") == 1
    answer["returncode"] = 0
    assert scvi.python_with_scvi("some-python") == "some-python"
    monkeypatch.undo()
    assert scvi.python_with_scvi("no/such/python") is None


def test_scvi_reads_the_same_genes_of_any_counts(monkeypatch, planted):
    """The script is played by one that sums counts: what is fitted and what is encoded have the same genes."""
    from benchmarks.whole_transcriptome import scvi

    seen = []

    def play(python, what, counts, model, out=None):
        matrix = sparse.load_npz(counts)
        seen.append((what, matrix.shape))
        if what == "encode":
            np.save(out, np.asarray(matrix.sum(axis=1)))

    monkeypatch.setattr(scvi, "called", play)
    counts, _ = planted
    features = scvi.latent_means("python")(counts[:120])(counts[120:])
    assert seen == [("fit", (120, N_GENES)), ("encode", (40, N_GENES))]
    np.testing.assert_allclose(features.ravel(), np.asarray(counts[120:].sum(axis=1)).ravel())
