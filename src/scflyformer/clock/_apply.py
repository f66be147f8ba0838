"""A saved clock, applied to new cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scflyformer import _log
from scflyformer.clock._run import ALL, Arm, GroupClock
from scflyformer.clock._tables import prediction_table, predictions, result_rows
from scflyformer.clock._units import Cells, block_means, deal
from scflyformer.data import _adata
from scflyformer.data._ages import read_ages, target_name, to_target
from scflyformer.data._embedding import embedding
from scflyformer.data._tables import text_index
from scflyformer.genes._coverage import spelling_words
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._vocabulary import Vocabulary

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.clock._request import ClockRequest
    from scflyformer.clock._saved import SavedClock
    from scflyformer.data._reading import Reading

MIN_SHARED = 0.5
"""Least share of an expression clock's genes that new cells must have."""


def apply_clock(
    data: AnnData,
    clock: SavedClock,
    request: ClockRequest,
    running: Running,
    *,
    groups: np.ndarray | None,
    samples: np.ndarray | None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Predict ages by a saved clock.

    Parameters
    ----------
    groups
        Group of each cell: a cell takes its group's clock where there is one, else that of all cells.
    samples
        Sample of each cell, for intervals.

    Returns
    -------
    By ending of the column in `obs`: predicted ages and their intervals, NaN for cells without counts in the clock's
    genes, and whether they lie outside the ages learnt; what goes to `uns`, the clock's settings as its ``params``.
    """
    reading, age_key, seed = request.reading, request.age_key, request.seed
    blocks: list[Any] = []
    heads = clock.heads
    for block in clock.blocks:
        if block == "embedding":
            known = clock.fitted_on_sha256
            x = embedding(data, clock.model, reading, running, use_rep=request.use_rep, sha256=known, tool="age_clock")
            blocks.append(x)
        else:
            values, keep = aligned(data, clock.genes, reading)
            ahead = sum(part.shape[1] for part in blocks)
            heads = [head.restricted(np.concatenate([np.arange(ahead), ahead + keep])) for head in heads]
            blocks.append(values)
    number = np.zeros(data.n_obs, dtype=np.int64)
    if groups is not None:
        number = clock.numbers(groups)
        absent = sorted({str(name) for name in groups[number == 0]} - {"None"})
        if absent:
            _log.info(f"age_clock: no clock of their own, hence that of all cells: {', '.join(absent[:10])}")
    bare = np.zeros(data.n_obs, dtype=bool)
    for part in blocks:
        bare |= np.asarray(abs(part).sum(axis=1)).ravel() == 0
    names = _adata.cell_names(data, layer=reading.layer)
    keys = [number, np.full(data.n_obs, "") if samples is None else samples]
    if age_key in data.obs:
        keys.append(_adata.obs_text(data, age_key, what="age_key"))
    bundles = np.full(data.n_obs, -1)
    bundles[~bare] = deal(
        names[~bare], [key[~bare] for key in keys], clock.aggregate, size=clock.pseudocell_size, seed=seed
    )
    columns = {end: np.full(data.n_obs, np.nan) for end in ("", "_low", "_high")}
    columns["_outside"] = np.zeros(data.n_obs, dtype=bool)
    for at in np.unique(number[~bare]):
        rows = np.flatnonzero((number == at) & ~bare)
        own = np.unique(bundles[rows], return_inverse=True)[1]
        parts = [block_means(name, part[rows], own) if clock.aggregate != "none" else part[rows]
                 for name, part in zip(clock.blocks, blocks, strict=True)]  # fmt: skip
        on_target = heads[at](_joined(parts))[:, 0]
        radius = clock.interval_radii[at]
        for end, values in {"": on_target, "_low": on_target - radius, "_high": on_target + radius}.items():
            columns[end][rows] = clock.to_age(values)[own]
        low, high = clock.age_ranges[at]
        columns["_outside"][rows] = (columns[""][rows] < low) | (columns[""][rows] > high)
    n_outside = int(columns["_outside"].sum())
    if n_outside:
        _log.warning(
            f"age_clock: {n_outside} of {int((~bare).sum())} cells are predicted outside the ages that the clock "
            "has learnt; they are not clipped, and marked in obs."
        )
    uns: dict[str, Any] = {"n_outside": {clock.features: n_outside}}
    names_of = ("features", "target", "aggregate", "pseudocell_size", "level")
    uns["params"] = {name: getattr(clock, name) for name in names_of}
    if age_key in data.obs:
        try:
            uns |= _scored(data, names, columns, clock, groups, samples, age_key, seed)
        except ValueError as error:
            _log.warning(f"age_clock: the predictions are not scored: {error}")
    return columns, uns


def _joined(parts: list[Any]) -> Any:
    """Return feature matrices side by side."""
    if len(parts) == 1:
        return parts[0]
    return np.hstack([part.toarray() if sparse.issparse(part) else np.asarray(part) for part in parts])


def aligned(data: AnnData, genes: list[str], reading: Reading) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return expression in those of the clock's genes that the cells have, and which they are."""
    values, names = _adata.log_expression(data, reading, log_prefix="")
    place = {str(name): at for at, name in enumerate(names)}
    known = np.array(genes, dtype=str)
    blank, n_genes = np.full(len(known), ""), len(known)
    found = resolve_genes(names, Vocabulary(known, blank, np.ones(n_genes), np.zeros(n_genes, np.int64), blank))
    for at, gene in enumerate(found.index.tolist()):
        if gene >= 0:
            place.setdefault(genes[gene], at)
    if said := spelling_words(found, gene_key=reading.gene_key):
        _log.warning(f"age_clock: {said}")
    keep = np.array([at for at, gene in enumerate(genes) if gene in place], dtype=np.int64)
    if len(keep) < MIN_SHARED * len(genes):
        shown = ", ".join([gene for gene in genes if gene not in place][:5])
        raise ValueError(
            f"Only {len(keep)} of the clock's {len(genes)} genes are among the names given (not: {shown}); expected "
            f"at least {MIN_SHARED:.0%}. Name genes as the clock does, by gene_key= where a column of var holds such "
            f"names."
        )
    if len(keep) < len(genes):
        _log.warning(
            f"age_clock: {len(genes) - len(keep)} of the clock's {len(genes)} genes are not measured; taken as average."
        )
    return values[:, [place[genes[at]] for at in keep]], keep


def _scored(
    data: AnnData,
    names: np.ndarray,
    columns: dict[str, np.ndarray],
    clock: SavedClock,
    groups: np.ndarray | None,
    samples: np.ndarray | None,
    age_key: str,
    seed: int,
) -> dict[str, Any]:
    """Return results and predictions of cells whose age is known."""
    from scflyformer.stats._reports import number_scores

    target, features = clock.target, clock.features
    ages = read_ages(data, age_key, target=target)
    known = np.isfinite(ages) & np.isfinite(columns[""])
    every = Cells(names, ages, samples, {})
    rows, tables = [], []
    for group in [ALL, *sorted(set([] if groups is None else groups[known]) - {None})]:
        some = np.flatnonzero(known if group == ALL else known & (groups == group))
        if len(some) < 2:
            continue
        cells, found = every.take(some), {end: values[some] for end, values in columns.items()}
        scores = number_scores(
            cells.ages, found[""], cells.units, target_truth=to_target(cells.ages, target),
            target_predicted=to_target(found[""], target), seed=seed,
        )  # fmt: skip
        arms = {features: Arm(found[""], found["_low"], found["_high"], scores, split="external")}
        found_clock = GroupClock(group, some, np.arange(len(some)), cells, arms, {features: found["_outside"]})
        rows.append(result_rows(found_clock, features, target_name(target, age_key)))
        tables.append(prediction_table(found_clock))
    if not rows:
        return {}
    return {"results": text_index(pd.concat(rows)), "predictions": text_index(predictions(tables))}
