"""What the decoder says that other genes do when one is taken away, and how such a ranking is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from scflyformer._running import Running
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.network._infer import embed_rows
from scflyformer.perturbation._edit import cells_with, delete_tokens

if TYPE_CHECKING:
    from scipy import sparse

    from scflyformer.network._network import CellBert
    from scflyformer.tokens._rows import TokenRows

BLOCK = 512
FLOAT32 = Running(dtype="float32")
"""Copies that exist at a time."""


def decoded_changes(
    network: CellBert, rows: TokenRows, genes: np.ndarray, *, most: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Predict how expression changes where each of ``genes``, positions in the vocabulary, is taken away by itself.

    Returns the mean, over the cells that hold it (``most`` of them at most), of the change in the logarithm of each
    vocabulary gene's share of the cell, shape (n_genes, n_vocabulary), NaN for genes not measured or held by no cell;
    and how many cells.
    """
    rows = rows.cut(network.max_len)
    tokens = (np.asarray(genes) + N_SPECIAL).astype(np.int32)
    cells, which = cells_with(rows, tokens[:, None])
    if most is not None:
        chance = np.random.default_rng(seed).random(len(rows))[cells]
        order = np.lexsort((chance, which))
        first = np.searchsorted(which[order], which[order], side="left")
        kept = np.sort(order[np.arange(len(order)) - first < most])
        cells, which = cells[kept], which[kept]
    panel = np.ones(network.n_genes, dtype=bool) if rows.panel is None else rows.panel
    sums = np.zeros((len(tokens), network.n_genes))
    needed, place = np.unique(cells, return_inverse=True)
    before = log_shares(network, embed_rows(network, rows.take(needed), pooling="cell", running=FLOAT32), panel)
    order = np.argsort(-rows.lengths[cells], kind="stable")
    for block in np.split(order, range(BLOCK, len(order), BLOCK)):
        if not len(block):
            continue
        edited = delete_tokens(rows, tokens[which[block], None], cells[block])
        after = log_shares(network, embed_rows(network, edited.rows, pooling="cell", running=FLOAT32), panel)
        np.add.at(sums, which[block], after - before[place[block]])
    n_cells = np.bincount(which, minlength=len(tokens))
    with np.errstate(invalid="ignore"):
        means = sums / n_cells[:, None]
    means[:, ~panel] = np.nan
    return means, n_cells


def log_shares(network: CellBert, embeddings: np.ndarray, panel: np.ndarray) -> np.ndarray:
    """Decode embeddings: the logarithm of each gene's share of a cell, float64, 0 where it was not measured."""
    with torch.inference_mode():
        cells = torch.from_numpy(embeddings[:, : network.config.hidden_size]).to(network.device)
        logits = network.profile_logits(cells).double().cpu()
        shares = logits.masked_fill(~torch.from_numpy(panel), -torch.inf).log_softmax(-1)
    return np.where(panel, shares.numpy(), 0.0)


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return how often a positive scores above a negative, ties half; NaN where one kind is missing."""
    return float(roc_auc_score(positive, scores)) if 0 < positive.sum() < len(positive) else float("nan")


def matched(features: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return positions of positives, then of their partners: negatives whose standardised features are alike.

    The pairs, no item in two of them, have the least sum of distances. Where negatives are fewer, some positives stay
    out.
    """
    scale = features.std(0)
    scaled = features / np.where(scale > 0, scale, 1.0)
    mine, others = np.flatnonzero(positive), np.flatnonzero(~positive)
    first, second = linear_sum_assignment(cdist(scaled[mine], scaled[others]))
    return np.concatenate([mine[first], others[second]])


def standing(expression: sparse.csr_matrix) -> np.ndarray:
    """Return, gene by gene, detection (arcsine-square-root scale) and mean expression, shape (n_genes, 2)."""
    detection = np.asarray((expression > 0).sum(0)).ravel() / expression.shape[0]
    return np.column_stack([np.arcsin(np.sqrt(detection)), np.asarray(expression.mean(0)).ravel()])


def correlations(expression: sparse.csr_matrix, genes: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each of ``genes`` with all genes over cells, 0 where one does not vary."""
    dense = expression.toarray().astype(np.float64)
    dense -= dense.mean(0)
    length = np.linalg.norm(dense, axis=0)
    dense /= np.where(length > 0, length, 1.0)
    return dense[:, genes].T @ dense
