"""Markers are matched with genes that as many cells express, types with the clusters whose markers they express."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score


def test_auroc_is_that_of_scikit_learn():
    from benchmarks.annotation.markers import auroc

    random = np.random.default_rng(0)
    score, positive = random.integers(0, 6, 50).astype(float), random.random(50) < 0.3
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score))


@pytest.mark.parametrize("n_positive", [12, 50])
def test_matched_genes_are_as_often_detected(n_positive):
    from benchmarks.annotation.markers import matched

    random = np.random.default_rng(0)
    positive = np.arange(80) < n_positive
    detection = np.where(positive, random.uniform(0.6, 1, 80), random.uniform(0, 1, 80))
    own, other = matched(detection, positive)
    assert positive[own].all() and not positive[other].any()
    assert len(set(own)) == len(own) == len(set(other)) == min(n_positive, 80 - n_positive)
    if n_positive == 12:
        assert (
            np.abs(detection[own] - detection[other]).mean()
            < 0.05
            < detection[own].mean() - detection[~positive].mean()
        )


def planted():
    """Ninety cells of three types × 60 genes, and the genes that each type has more of."""
    random = np.random.default_rng(0)
    labels = np.repeat(["7", "neuron", "glia"], 30)
    markers = {name: np.arange(60) // 12 == number for number, name in enumerate(["0", "3", "7", "9"])}
    rate = np.ones((90, 60))
    for label, name in {"7": "7", "neuron": "0", "glia": "9"}.items():
        rate[np.ix_(labels == label, markers[name])] = 4
    return sparse.csr_matrix(random.poisson(rate).astype(np.float32)), labels, markers


def test_types_find_their_clusters():
    from benchmarks.annotation.markers import clusters_of

    x, labels, markers = planted()
    markers["5"] = np.arange(60) == 0  # too few genes to be asked
    assert clusters_of(x, labels, markers) == {"7": "7", "neuron": "0", "glia": "9"}


def test_rankings_are_compared_on_the_same_genes():
    """A ranking by the truth has AUROC 1 and markers alone at the top; its reverse has neither; ties have a half."""
    from benchmarks.annotation.markers import FOLD, L1, OURS, compare, tables

    x, labels, markers = planted()
    cluster = {"7": "7", "neuron": "0", "glia": "9"}
    genes = np.char.add("g", np.arange(60).astype(str))
    query = ad.AnnData(x, pd.DataFrame({"annotation_best": labels}, index=np.arange(90).astype(str)))
    query.var["FBgn"] = genes
    parts = [
        pd.DataFrame({"gene": genes, "gene_id": genes, "group": label, "effect": -1.0 * markers[cluster[label]]})
        for label in cluster
    ]
    query.uns["annotation_genes"] = {"results": pd.concat(parts).sample(frac=1, random_state=0)}
    wrong = {FOLD: lambda label, _: -1.0 * markers[cluster[label]], L1: lambda label, inside: np.zeros(60)}
    found = compare(query, wrong, markers, cluster)
    assert found["cells"].tolist() == [30] * 3 and found["markers"].tolist() == [12] * 3
    assert found[OURS].tolist() == [1.0] * 3 and found[FOLD].tolist() == [0.0] * 3 and found[L1].tolist() == [0.5] * 3
    assert found[f"{OURS}, top"].tolist() == [1.0] * 3 and found[f"{FOLD}, top"].tolist() == [0.0] * 3
    assert "| annotation_genes | 1.000 (1.000 to 1.000) | – |" in tables(found)
