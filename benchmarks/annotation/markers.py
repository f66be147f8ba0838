"""Does `tl.annotation_genes` find known markers? Genes ranked by class, beside log fold change and L1 coefficients.

``python -m benchmarks.annotation.markers --work DIR`` learns davie's named types in w1118 with ``fly``, labels the
cells of DGRP-551, deletes every gene in them, and asks how often a published marker of the type stands above a gene
that as many cells of the type express. The published clusters have numbers: a type's is the one whose markers have the
highest log fold change in the type's w1118 cells. Types that the file names by a bare number are the check of that.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

import scflyformer as sf
from scflyformer.data import _adata
from scflyformer.stats._cross import cross_fit
from scflyformer.stats._families import SPARSE_LOGISTIC
from scflyformer.stats._splits import sample_folds

from ..lib.command import command, markdown_table, new_parser
from ..lib.resamples import Resamples
from ..lib.splits import N_INNER, held_out, named_in_both

TABLE = Path("tables") / "davie18_cluster_markers.txt"
MIN_MARKERS = 10
"""Markers among the genes compared that a cluster needs."""
TOP = 10
RANKINGS = OURS, FOLD, L1 = "annotation_genes", "log fold change", "L1 coefficients"


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return how often a positive gene scores above another one; ties count half."""
    n = int(positive.sum())
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def fold_changes(x: sparse.csr_matrix, inside: np.ndarray) -> np.ndarray:
    """Return the difference in mean log expression between some cells and the others, shape (n_genes,)."""
    own, others = (np.asarray(x[cells].mean(axis=0)).ravel() for cells in (inside, ~inside))
    return own - others


def clusters_of(x: sparse.csr_matrix, labels: np.ndarray, markers: dict[str, np.ndarray]) -> dict[str, str]:
    """Return the cluster of each label, whose markers have the highest log fold change in the label's cells.

    ``markers`` are masks over the genes.
    """
    known = {cluster: genes for cluster, genes in markers.items() if genes.sum() >= MIN_MARKERS}
    found = {}
    for label in np.unique(labels):
        change = fold_changes(x, labels == label)
        found[str(label)] = max(known, key=lambda cluster: auroc(change, known[cluster]))
    return found


def matched(detection: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return for each positive gene another gene of its own, such that detection rates differ least in all.

    Differences are on the arcsine-square-root scale. Where there are more positive genes than others, each other gene
    has one of them. Returns positions of positive genes and, beside them, of their others, shape (2, n_pairs).
    """
    place, others = np.flatnonzero(positive), np.flatnonzero(~positive)
    angle = np.arcsin(np.sqrt(detection))
    rows, columns = linear_sum_assignment(np.abs(angle[place][:, None] - angle[others]))
    return np.stack([place[rows], others[columns]])


def l1_coefficients(x: sparse.csr_matrix, labels: np.ndarray, libraries: np.ndarray) -> dict[str, np.ndarray]:
    """Return weights per standard deviation of each gene by class, the penalty chosen on held-out libraries."""
    classes, y = np.unique(labels, return_inverse=True)
    folds = sample_folds(libraries, labels=y, n_splits=N_INNER)
    parameter = cross_fit(SPARSE_LOGISTIC, x, y, folds, n_classes=len(classes), samples=libraries).parameter
    head: Any = SPARSE_LOGISTIC.fit(x, y, n_classes=len(classes), parameter=parameter)
    return dict(zip(classes.astype(str), head.weight, strict=True))


def compare(
    query: ad.AnnData, scores_of: dict[str, Any], markers: dict[str, np.ndarray], cluster: dict[str, str]
) -> pd.DataFrame:
    """Return a row for each type with markers enough: how well each ranking finds them, and the first genes of ours.

    ``query`` has what `tl.annotation_genes` found; ``scores_of`` gives further scores of all its genes, by the name of
    the ranking, from a type and a mask of its cells.
    """
    best = query.obs["annotation_best"].to_numpy(dtype=str)
    place = pd.Series(np.arange(query.n_vars), index=query.var["FBgn"].astype(str))
    counts, rows = sparse.csr_matrix(query.X), []
    for label, part in query.uns["annotation_genes"]["results"].groupby("group"):
        label, column, inside = str(label), place[part["gene_id"]].to_numpy(), best == label
        positive = markers[cluster[label]][column]
        if positive.sum() < MIN_MARKERS:
            continue
        detection = counts[inside].getnnz(axis=0)[column] / inside.sum()
        pairs = matched(detection, positive)
        row: dict[str, Any] = {"type": label, "cluster": cluster[label], "cells": int(inside.sum())}
        row |= {"genes": len(part), "markers": int(positive.sum()), "pairs": pairs.shape[1]}
        row["gap"] = float(np.median(np.abs(detection[pairs[0]] - detection[pairs[1]])))
        scores = {OURS: -part["effect"].to_numpy()}
        scores |= {name: score(label, inside)[column] for name, score in scores_of.items()}
        for name, score in scores.items():
            row[name] = auroc(score[pairs.ravel()], positive[pairs.ravel()])
            row[f"{name}, top"] = float(positive[np.argsort(-score, kind="stable")[:TOP]].mean())
        rows.append(row | {"first": ", ".join(part.sort_values("effect")["gene"].head(5))})
    return pd.DataFrame(rows)


def tables(found: pd.DataFrame) -> str:
    """Return means over the types with intervals, and a row for each type."""
    draws, lines = Resamples(found["type"].to_numpy(dtype=str), unit="types"), []
    for name in RANKINGS:
        told = [name]
        for suffix in ("", ", top"):
            ours, mine = (draws.mean(found[f"{each}{suffix}"].to_numpy()) for each in (OURS, name))
            told += [_with_interval(mine), "–" if name == OURS else _with_interval(ours - mine, "+")]
        lines.append(told)
    head = ["genes ranked by", "AUROC", f"{OURS} less this", f"markers among the first {TOP}", f"{OURS} less this"]
    plain = ["type", "cluster", "cells", "genes", "markers"]
    by_type = [
        [*(str(row[name]) for name in plain), *(f"{row[name]:.3f}" for name in RANKINGS), str(row["first"])]
        for row in found.to_dict(orient="records")
    ]
    said = f"Mean over {len(found)} types; 95 % intervals from resampled types."
    return "\n\n".join([said, markdown_table(head, lines), markdown_table([*plain, *RANKINGS, "first five"], by_type)])


def main() -> None:
    """Learn, label, delete, rank, print."""
    parser = new_parser(__doc__)
    parser.add_argument("--model", default="fly", help="name or folder (default: %(default)s)")
    parser.add_argument("--pooling", choices=["cell", "code", "mean"], default="code", help="(default: %(default)s)")
    parser.add_argument("--max-cells", type=int, default=100, help="of a type to edit (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("markers-benchmark"), help="the classifier is kept here")
    parser.add_argument("--out", type=Path, help="write OUT.md, and OUT.tsv with a row a type")
    args = parser.parse_args()
    cells = ad.read_h5ad(args.data / "fly" / "davie_brain_aging.h5ad")
    labels, test = cells.obs["cell_type"].to_numpy(dtype=str), held_out(cells.obs)
    learn, ask = (named_in_both(labels, test) & side for side in (~test, test))
    table = pd.read_csv(args.data / TABLE, sep="\t", dtype=str)
    markers = {str(name): cells.var_names.isin(genes) for name, genes in table.groupby("cluster_id")["gene_name"]}
    x = _adata.log_expression(cells)[0]
    cluster = clusters_of(x[~test], labels[~test], markers)
    checked = [name for name in cluster if re.fullmatch(r"\d+", name) and markers[name].sum() >= MIN_MARKERS]
    right = sum(cluster[name] == name for name in checked)

    reference, query = cells[learn].copy(), cells[ask].copy()
    folder = args.work / f"davie-{Path(args.model).name}-{args.pooling}"
    if not folder.exists():
        sf.tl.embed(reference, model=args.model, pooling=args.pooling)
        sf.tl.annotate(reference, label_key="cell_type", sample_key="batch", baselines="none", save=folder)
    sf.tl.annotate(query, classifier=folder)
    begin = time.perf_counter()
    sf.tl.annotation_genes(query, classifier=folder, sample_key="batch", max_cells=args.max_cells)
    seconds, about = time.perf_counter() - begin, query.uns["annotation_genes"]["groups"]
    weights = l1_coefficients(x[learn], labels[learn], cells.obs["batch"].to_numpy(dtype=str)[learn])
    others = {FOLD: lambda _, inside: fold_changes(x[ask], inside), L1: lambda label, _: weights[label]}
    found = compare(query, others, markers, cluster)

    accuracy = float((query.obs["annotation_best"].astype(str) == query.obs["cell_type"].astype(str)).mean())
    text = (
        f"# Markers of davie's types\n\n`{command()}`\n\nscflyformer {sf.__version__}, {args.model}, pooling "
        f"{args.pooling}; {reference.n_obs:,} w1118 cells to learn from, {query.n_obs:,} DGRP-551 cells labelled "
        f"(accuracy {accuracy:.3f}), {int(about['n_cells'].sum()):,} edited, {seconds:.0f} s for all genes of "
        f"{len(about)} types. Numbered types whose cluster is found: {right} of {len(checked)}. Median gap in "
        f"detection rate between a marker and its gene, mean over types: {found['gap'].mean():.3f}. Mean calibrated "
        f"probability of the types: {about['probability'].mean():.3f}.\n\n{tables(found)}\n"
    )
    print(text)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text(text)
        found.to_csv(args.out.with_suffix(".tsv"), sep="\t", index=False, float_format="%.5g")


def _with_interval(draws: np.ndarray, sign: str = "") -> str:
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return f"{draws[0]:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


if __name__ == "__main__":
    main()
