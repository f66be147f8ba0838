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
    from _whole_representations import directions

    counts, labels = planted
    features = directions(counts[:120])(counts[120:])
    leading = features[:, : N_TYPES - 1]
    means = np.array([leading[labels[120:] == label].mean(axis=0) for label in range(N_TYPES)])
    assert means[labels[120:]].var(axis=0).sum() > 0.8 * leading.var(axis=0).sum()
    assert features[:, :3].var(axis=0).sum() > 2 * features[:, 3:].var(axis=0).sum()


def test_halves_add_up(planted):
    from _whole_representations import halves

    counts, _ = planted
    a, b = halves(counts, np.random.default_rng(1))
    assert (a + b != counts).nnz == 0 and abs(a.sum() / counts.sum() - 0.5) < 0.02


def test_planted_types_are_neighbours_and_probed_in_every_column(planted):
    from _whole_representations import BASELINES
    from whole_transcriptome import typed

    counts, labels = planted
    cells = ad.AnnData(counts)
    cells.obs["cell_type"] = labels.astype(str)
    cells.obs["batch"] = "one"
    folds = np.where(np.arange(N_CELLS) < 120, -1, 0)
    for name in ("own directions", "HVG + PCA-30", "Pearson residuals + PCA-50", "all genes"):
        share, f1 = typed(cells, folds, BASELINES[name], library="batch", cosine=name == "all genes")["all"]
        assert share > 0.7 and f1 > 0.9, name  # chance is 0.25


def test_probe_never_reads_labels_of_the_cells_asked(planted):
    from _whole_representations import log_expression
    from _whole_scores import dense, probe, stratified

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
    from _whole_scores import prepared

    x, train = np.random.default_rng(2).normal(size=(40, 90)), np.arange(30)
    z, centred = prepared(x, train), x - x[train].mean(axis=0)
    expected = centred @ centred[train].T / (centred[train] ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(z @ z[train].T, expected, atol=1e-8)
    assert z.shape[1] == 29


def test_residuals_are_those_of_scanpy(planted):
    import scanpy as sc
    from _whole_representations import pearson_residuals

    dense = planted[0].toarray().astype(float)
    cells = ad.AnnData(dense.copy())
    sc.experimental.pp.normalize_pearson_residuals(cells)
    mine = pearson_residuals(dense, dense.sum(axis=0) / dense.sum(), np.sqrt(len(dense)))
    np.testing.assert_allclose(mine, cells.X, atol=1e-6)


def test_halves_of_a_cell_are_found_above_chance(planted):
    from _whole_representations import directions
    from whole_transcriptome import halved

    random = np.random.default_rng(3)
    rate = random.gamma(0.5, 4.0, (90, N_GENES))
    held = np.arange(90) < 40
    scores = halved(sparse.csr_matrix(random.poisson(rate).astype(np.float32)), held, directions)["seeds"]
    assert np.mean(scores, axis=0)[0] > 0.3  # chance is 1 in 90
    noise = sparse.csr_matrix(random.poisson(2.0, (90, N_GENES)).astype(np.float32))
    assert np.mean(halved(noise, held, directions)["seeds"], axis=0)[0] < 0.15


def test_highest_value_of_a_row_is_bold():
    from whole_transcriptome import columns_of, markdown

    columns = columns_of(["fly", "some/folder"])
    assert list(columns)[:4] == ["fly", "fly, adapted", "folder", "folder, adapted"]
    assert columns["folder, adapted"] == "some/folder" and not columns["own directions"]
    found = {("a", "recall"): {"fly": "0.200 ± 0.010", "own directions": "0.300 ± 0.010"}}
    text = markdown(found, columns)
    assert "| a | recall | 0.200 ± 0.010 | – | – | – | **0.300 ± 0.010** |" in text
