"""Transcription factors taken away: whether known targets change more, in the decoder's eyes, than other genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .decoded import auroc, correlations, decoded_changes, matched, standing
from .linear import linear_changes

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.models import Model

    from .cells import Cells

MIN_DETECTION = 0.05
"""A factor is deleted where at least this share of the cells to edit express it, and `MIN_HOLDERS` of them."""
MIN_HOLDERS = 5
MIN_TARGET = 0.05
"""Share of the cells that express a gene at least, for it to count as a target or not."""
MIN_PAIRS = 20
NETWORKS = ("DroID", "Marbach")
JUDGED = "change"
SCORES = (
    JUDGED, "change beside other factors", "co-expression", "mean expression", "linear part", "other factors' change",
)  # fmt: skip
"""Rankings of the genes that may be targets: the model's two, then the baselines."""
BASELINES = SCORES[2:]


def known_targets(folder: Path, network: str) -> dict[str, set[str]]:
    """Return the FlyBase ids of each factor's targets in a published network.

    ``"DroID"``: binding and REDfly, 2018. ``"Marbach"``: the supervised network of Marbach et al. 2012, edges of 0.6
    and above.
    """
    if network == "DroID":
        table = pd.read_csv(folder / "tables" / "droid_tf_target_2018.tsv.gz", sep="\t", usecols=["tf", "target"])
    else:
        path = folder / "tables" / "marbach2012_flynet_supervised_0.6.txt.gz"
        table = pd.read_csv(path, sep="\t", names=["tf", "target", "weight"])
    return {str(tf): set(own) - {tf} for tf, own in table.groupby("tf")["target"]}


def factor_scores(
    cells: Cells, model: Model, folder: Path, *, most: int, n_networks: tuple[str, ...] = NETWORKS
) -> pd.DataFrame:
    """Delete every factor that enough cells express and enough targets are known of, in ``most`` cells each.

    The factors are those that a network gives targets of. A row per network and factor: ``network``, ``factor``,
    ``n_targets``, ``n_cells``, and each of `SCORES` twice: its AUROC of targets over matched genes, and, with ``, all``
    behind, over all genes that are not targets. The model's scores are the change of a gene, whatever its direction,
    and how far that is from what deleting the other factors does, in their standard deviations. The baselines are the
    absolute correlation with the factor over ``cells``, mean expression, the absolute change by the linear part
    (`linear.linear_changes`), and the mean change of the gene when other factors are deleted.
    """
    ids = model.vocabulary.gene_ids[cells.genes].astype(str)
    common = cells.detection >= MIN_TARGET
    least = max(MIN_DETECTION, MIN_HOLDERS / len(cells.edited))
    edges = {name: known_targets(folder, name) for name in n_networks}
    asked = {name: _askable(ids, cells.edited_detection >= least, common, own) for name, own in edges.items()}
    tested = sorted({place for places in asked.values() for place in places})
    if not tested:
        return pd.DataFrame(columns=["network", "factor", "n_targets", "n_cells"])
    changes, n_cells = decoded_changes(model.network(), cells.edited_rows, cells.genes[tested], most=most)
    scores = _rankings(
        changes[:, cells.genes],
        correlations(cells.expression, np.asarray(tested)),
        linear_changes(model.network(), cells, cells.genes[tested]),
    )
    features = standing(cells.expression)
    scores["mean expression"] = np.broadcast_to(features[:, 1], changes[:, cells.genes].shape)
    records = []
    for number, place in enumerate(tested):
        for name in n_networks:
            if place not in asked[name]:
                continue
            inside = np.flatnonzero(common & (np.arange(len(ids)) != place))
            own = np.isin(ids[inside], list(edges[name][ids[place]]))
            pairs = matched(features[inside], own)
            record: dict[str, Any] = {"network": name, "factor": str(model.vocabulary.names[cells.genes[place]])}
            record |= {"n_targets": int(own.sum()), "n_cells": int(n_cells[number])}
            for score in SCORES:
                values = scores[score][number][inside]
                record |= {score: auroc(values[pairs], own[pairs]), f"{score}, all": auroc(values, own)}
            records.append(record)
    return pd.DataFrame(records)


def _askable(ids: np.ndarray, expressed: np.ndarray, common: np.ndarray, edges: dict[str, set[str]]) -> set[int]:
    """Return the places of a network's factors with `MIN_PAIRS` targets, and as many other genes, that are common."""
    places = np.flatnonzero(expressed & np.isin(ids, list(edges)))
    found = set()
    for place in places.tolist():
        own = np.isin(ids, list(edges[ids[place]]))
        rest = common & (np.arange(len(ids)) != place)
        if min((rest & own).sum(), (rest & ~own).sum()) >= MIN_PAIRS:
            found.add(place)
    return found


def _rankings(changes: np.ndarray, together: np.ndarray, linear: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores but for mean expression, each of shape (n_factors, n_genes)."""
    n = len(changes)
    if n > 1:
        total, squares, size = changes.sum(0), (changes**2).sum(0), np.abs(changes).sum(0)
        mean = (total - changes) / (n - 1)
        spread = np.sqrt(np.maximum((squares - changes**2) / (n - 1) - mean**2, 0))
        beside = (changes - mean) / np.where(spread > 0, spread, np.inf)
        others = (size - np.abs(changes)) / (n - 1)
    else:
        beside, others = np.ones_like(changes), np.zeros_like(changes)
    return {
        "change": np.abs(changes), "change beside other factors": np.abs(beside), "co-expression": np.abs(together),
        "linear part": np.abs(linear), "other factors' change": others,
    }  # fmt: skip
