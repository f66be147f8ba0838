"""Transcription factors taken away: whether known targets change more, in the decoder's eyes, than other genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from scflyformer.data import _adata
from scflyformer.data._reading import Reading
from scflyformer.genes._resolve import resolve_genes

from .decoded import auroc, correlations, decoded_changes, matched, standing

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.models import Model

MIN_DETECTION = 0.3
"""A factor is deleted where at least this share of the cells express it."""
MIN_TARGET = 0.05
"""Share of the cells that express a gene at least, for it to count as a target or not."""
MIN_PAIRS = 20
NETWORKS = ("DroID", "Marbach")
SCORES = ("change", "change beside other factors", "co-expression", "mean expression")
"""Rankings of the genes that may be targets: the model's two, then the baselines."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells: ranked, their log-normalised expression, and which vocabulary gene each column is."""

    rows: Any
    expression: Any
    genes: np.ndarray

    @property
    def detection(self) -> np.ndarray:
        """Share of the cells that express each gene, shape (n_genes,)."""
        return np.asarray((self.expression > 0).mean(0)).ravel()


def read_type(path: Path, label: str | None, model: Model, *, most: int, seed: int = 0) -> Cells:
    """Read at most ``most`` cells of a type, or of all, drawn at random, with the genes that the model knows."""
    adata = ad.read_h5ad(path)
    inside = np.arange(len(adata)) if label is None else np.flatnonzero(adata.obs["cell_type"] == label)
    if not len(inside):
        raise ValueError(f"{path.name} has no cell of type {label!r}.")
    if len(inside) > most:
        inside = np.sort(np.random.default_rng(seed).choice(inside, most, replace=False))
    some = adata[inside].copy()
    rows, _ = _adata.token_rows(some, model, Reading(gene_key="FBgn"), progress=False)
    known = resolve_genes(some.var["FBgn"].to_numpy(dtype=object), model.vocabulary).index
    expression = _adata.log_expression(some)[0].tocsc()[:, known >= 0].tocsr()
    return Cells(rows, expression, known[known >= 0])


def factors(folder: Path) -> set[str]:
    """Return the FlyBase ids of transcription factors."""
    names = (folder / "tables" / "allTFs_dmel.txt").read_text().split()
    ids = pd.read_csv(folder / "tables" / "symbol_to_fbgn_merged.tsv", sep="\t", index_col=0).iloc[:, 0]
    return set(ids.reindex(names).dropna())


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

    A row per network and factor: ``network``, ``factor``, ``n_targets``, ``n_cells``, and each of `SCORES` twice: its
    AUROC of targets over matched genes, and, with ``, all`` behind, over all genes that are not targets.
    """
    ids = model.vocabulary.gene_ids[cells.genes].astype(str)
    common = cells.detection >= MIN_TARGET
    wanted = np.isin(ids, list(factors(folder))) & (cells.detection >= MIN_DETECTION)
    edges = {name: known_targets(folder, name) for name in n_networks}

    def targets(name: str, place: int) -> tuple[np.ndarray, np.ndarray]:
        rest = common & (np.arange(len(ids)) != place)
        return rest, np.isin(ids, list(edges[name].get(ids[place], ())))

    tested = [
        place
        for place in np.flatnonzero(wanted)
        if any(
            min((rest & own).sum(), (rest & ~own).sum()) >= MIN_PAIRS
            for rest, own in (targets(name, place) for name in n_networks)
        )
    ]
    if not tested:
        return pd.DataFrame(columns=["network", "factor", "n_targets", "n_cells"])
    changes, n_cells = decoded_changes(model.network(), cells.rows, cells.genes[tested], most=most)
    changes = changes[:, cells.genes]
    together = correlations(cells.expression, np.asarray(tested))
    features = standing(cells.expression)
    records = []
    for number, place in enumerate(tested):
        others = np.delete(changes, number, axis=0)
        spread = others.std(0, ddof=1) if len(others) > 1 else np.ones(changes.shape[1])
        beside = (changes[number] - others.mean(0)) / np.where(spread > 0, spread, np.inf) if len(others) else spread
        scores = dict(
            zip(
                SCORES, (np.abs(changes[number]), np.abs(beside), np.abs(together[number]), features[:, 1]), strict=True
            )
        )
        for name in n_networks:
            rest, own = targets(name, place)
            if min((rest & own).sum(), (rest & ~own).sum()) < MIN_PAIRS:
                continue
            inside = np.flatnonzero(rest)
            pairs = inside[matched(features[inside], own[inside])]
            record: dict[str, Any] = {"network": name, "factor": str(model.vocabulary.names[cells.genes[place]])}
            record |= {"n_targets": int((rest & own).sum()), "n_cells": int(n_cells[number])}
            record |= {score: auroc(values[pairs], own[pairs]) for score, values in scores.items()}
            record |= {f"{score}, all": auroc(values[inside], own[inside]) for score, values in scores.items()}
            records.append(record)
    return pd.DataFrame(records)
