"""Real knock-downs: removing a gene in silico beside the changes that RNAi against it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from scflyformer.genes._resolve import resolve_genes

from .decoded import correlations, decoded_changes, standing
from .linear import linear_changes
from .measured import SURE

if TYPE_CHECKING:
    import pandas as pd

    from scflyformer.models import Model

    from .cells import Cells

MIN_HOLDERS = 10
"""Cells of a set that hold the gene at least, for the set to take part."""
MIN_DETECTION = 0.05
"""Share of a set's cells that express a gene at least, for its change to be predicted."""
PREDICTIONS = ("model", "co-expression", "linear part")
AGREEMENTS = ("sign", "sure", "all")


def agreement(predicted: np.ndarray, log_fc: np.ndarray, sure: np.ndarray) -> dict[str, float]:
    """Compare predicted changes, told from their median, with measured ones.

    ``sign``: share of the genes changed for ``sure`` that are predicted in the measured direction, half for those of no
    direction; ``sure``: Spearman's correlation over them, 0 where all predictions are equal; ``all``: over all genes.
    """
    centred = predicted - np.median(predicted)
    same = (1 + np.sign(centred[sure]) * np.sign(log_fc[sure])) / 2
    return {
        "sign": float(same.mean()),
        "sure": _spearman(centred[sure], log_fc[sure]),
        "all": _spearman(centred, log_fc),
    }


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    return float(stats.spearmanr(first, second).statistic) if np.ptp(first) > 0 else 0.0


def knock_down(
    sets: dict[str, Cells], effect: pd.DataFrame, gene: str, model: Model, *, n_cells: int, n_null: int, seed: int = 0
) -> dict[str, Any]:
    """Delete a gene, and null genes, in cells that express it; hold both against the measured ``effect``.

    Sets with `MIN_HOLDERS` cells that hold the gene take part, ``n_cells`` of each at most. The ``n_null`` null genes
    are the same in all of them: those nearest in detection and mean expression (`decoded.standing`) over all sets, of
    the genes that as many cells hold. Returns ``sets``, what each held, and ``scores``: by prediction, set and
    agreement, the gene's own value, then those of the null genes.
    """
    place = int(resolve_genes([gene], model.vocabulary).index[0])
    used = {name: cells for name, cells in sets.items() if holders(cells)[cells.genes == place].sum() >= MIN_HOLDERS}
    if not used:
        raise ValueError(f"No set has {MIN_HOLDERS} cells that hold {gene}.")
    null = null_genes(list(used.values()), place, n_null)
    tested = np.concatenate([[place], null])
    known = resolve_genes(effect.index.to_numpy(dtype=object), model.vocabulary).index
    log_fc, sure = np.full(model.vocabulary.n_genes, np.nan), np.zeros(model.vocabulary.n_genes, dtype=bool)
    log_fc[known[known >= 0]] = effect["log_fc"].to_numpy()[known >= 0]
    sure[known[known >= 0]] = (effect["p_value"] <= SURE).to_numpy()[known >= 0]

    told, scores = {}, {prediction: {} for prediction in PREDICTIONS}
    for name, cells in used.items():
        where = np.searchsorted(cells.genes, tested)
        own = sure[cells.genes] & (cells.detection >= MIN_DETECTION)
        asked = np.isfinite(log_fc[cells.genes]) & (cells.detection >= MIN_DETECTION)
        changes, n_held = decoded_changes(model.network(), cells.edited_rows, tested, most=n_cells, seed=seed)
        predicted = {
            "model": changes[:, cells.genes],
            "co-expression": -correlations(cells.expression, where),
            "linear part": linear_changes(model.network(), cells, tested),
        }
        for prediction, rows in predicted.items():
            values = []
            for row, column in zip(rows, where, strict=True):
                kept = asked & (np.arange(len(asked)) != column)  # a gene's own loss is no prediction
                values.append(agreement(row[kept], log_fc[cells.genes][kept], own[kept]))
            scores[prediction][name] = {key: [float(one[key]) for one in values] for key in AGREEMENTS}
        held = cells.detection[where]
        told[name] = {
            "n_cells": int(n_held[0]), "n_genes": int(asked.sum()), "n_sure": int(own.sum()),
            "down": float((log_fc[cells.genes][own] < 0).mean()), "detection": float(held[0]),
            "null_detection": [float(held[1:].min()), float(np.median(held[1:])), float(held[1:].max())],
        }  # fmt: skip
    fold = effect["log_fc"].get(gene, np.nan)
    share = len(effect) * SURE / max((effect["p_value"] <= SURE).sum(), 1)
    return {"fold": float(fold), "by_chance": float(share), "n_null": len(null), "sets": told, "scores": scores}


def holders(cells: Cells) -> np.ndarray:
    """Return how many of the cells to edit express each gene, shape (n_columns,)."""
    return np.rint(cells.edited_detection * len(cells.edited)).astype(int)


def null_genes(sets: list[Cells], place: int, n_null: int) -> np.ndarray:
    """Return the genes, positions in the vocabulary, that stand most like ``place`` over all sets; sorted."""
    shared = set.intersection(*({*cells.genes[holders(cells) >= MIN_HOLDERS].tolist()} for cells in sets))
    candidates = np.array(sorted(shared))
    features = np.column_stack([standing(cells.expression)[np.searchsorted(cells.genes, candidates)] for cells in sets])
    spread = features.std(0)
    features /= np.where(spread > 0, spread, 1.0)
    distance = ((features - features[candidates == place]) ** 2).sum(1)
    nearest = candidates[np.argsort(distance, kind="stable")]
    return np.sort(nearest[nearest != place][:n_null])


def upper_p(observed: float, null: np.ndarray) -> float:
    """Return (1 + number of null values at least as high) / (1 + number of null values)."""
    return float((1 + np.sum(null >= observed)) / (1 + len(null)))
