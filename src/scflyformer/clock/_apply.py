"""A saved clock, applied to new cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scflyformer import _log
from scflyformer.clock._fit import ALL, FeatureSetResult, GroupClock
from scflyformer.clock._predictions import AgePredictions
from scflyformer.clock._tables import no_interval_table, prediction_table, predictions_of, result_rows
from scflyformer.clock._units import Cells, assign_pseudocells, block_means
from scflyformer.data import _adata, _features
from scflyformer.data._ages import read_ages, target_name, to_target
from scflyformer.data._embedding import embedding, usable_rep
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
    from scflyformer.stats._linear import LinearHead

MIN_KNOWN = 0.5
"""Least share of cells that must be like those that a clock that ships has learnt from."""
MIN_SHARED = 0.5
"""Least share of an expression clock's genes that new cells must have."""
FEW = "the clock has learnt from too few samples"


def apply_clock(
    data: AnnData,
    clock: SavedClock,
    request: ClockRequest,
    running: Running,
    *,
    groups: np.ndarray | None,
    samples: np.ndarray | None,
) -> tuple[AgePredictions, dict[str, Any]]:
    """Return predicted ages, and what goes to `uns`, with the clock's settings as its ``params``.

    A cell takes the clock of its group where there is one, else that of all cells. Cells without counts in the clock's
    genes are not predicted.
    """
    age_key = request.age_key
    heads, blocks = _read_blocks(data, clock, request, running)
    number = np.zeros(data.n_obs, dtype=np.int64)
    if groups is not None:
        number = clock.numbers(groups)
        absent = sorted({str(name) for name in groups[number == 0]} - {"None"})
        if absent:
            _log.info(f"age_clock: no clock of their own, hence that of all cells: {', '.join(absent[:10])}")
    bare = np.zeros(data.n_obs, dtype=bool)
    for block in blocks:
        bare |= np.asarray(abs(block).sum(axis=1)).ravel() == 0
    if clock.near is not None:
        bare |= ~_known(blocks[0], bare, clock)
    names = _adata.cell_names(data, layer=request.reading.layer)
    keys = [number, np.full(data.n_obs, "") if samples is None else samples]
    if age_key in data.obs:
        keys.append(_adata.obs_text(data, age_key, what="age_key"))
    pseudocells = np.full(data.n_obs, -1)
    pseudocells[~bare] = assign_pseudocells(
        names[~bare], [key[~bare] for key in keys], clock.aggregate, size=clock.pseudocell_size, seed=request.seed
    )
    found = AgePredictions.none(data.n_obs)
    for at in np.unique(number[~bare]):
        rows = np.flatnonzero((number == at) & ~bare)
        unit = np.unique(pseudocells[rows], return_inverse=True)[1]
        parts = [block_means(name, block[rows], unit) if clock.aggregate != "none" else block[rows]
                 for name, block in zip(clock.blocks, blocks, strict=True)]  # fmt: skip
        on_target = heads[at](_joined(parts))[:, 0]
        reach = clock.intervals[at](on_target)
        ages, low, high = (clock.to_age(on_target + shift) for shift in (0.0, -reach, reach))
        youngest, oldest = clock.age_ranges[at]
        outside = (ages < youngest) | (ages > oldest)
        found.put(rows, AgePredictions(ages, low, high, outside).take(unit))
    n_outside = int(found.outside.sum())
    if n_outside:
        _log.warning(
            f"age_clock: {n_outside} of {int((~bare).sum())} cells are predicted outside the ages that the clock "
            "has learnt; they are not clipped, and marked in obs."
        )
    if clock.held_out:
        _log.info(f"age_clock: {clock.held_out}")
    uns: dict[str, Any] = {"held_out": clock.held_out, "n_outside": {clock.features: n_outside}}
    bare_of = {clock.groups[at]: FEW for at in np.unique(number[~bare]) if np.isnan(clock.intervals[at].half).any()}
    uns["no_interval"] = text_index(no_interval_table(bare_of))
    settings = ("features", "target", "aggregate", "pseudocell_size", "level")
    uns["params"] = {name: getattr(clock, name) for name in settings}
    if age_key in data.obs:
        try:
            ages = read_ages(data, age_key, target=clock.target)
            uns |= _scored(Cells(names, ages, samples, {}), found, groups, clock, request)
        except ValueError as error:
            _log.warning(f"age_clock: the predictions are not scored: {error}")
    return found, uns


def _read_blocks(
    data: AnnData, clock: SavedClock, request: ClockRequest, running: Running
) -> tuple[list[LinearHead], list[Any]]:
    """Return the feature matrices that a clock reads, and its heads, restricted to the genes that the cells have."""
    heads, blocks = clock.heads, []
    for name in clock.blocks:
        if name == "embedding":
            known, use_rep = clock.fitted_on_sha256, request.use_rep
            if clock.near is not None:  # one that ships: its model is its own affair
                use_rep = usable_rep(data, use_rep, known)
            blocks.append(
                embedding(data, clock.model, request.reading, running, use_rep=use_rep, sha256=known, tool="age_clock")
            )
        else:
            values, keep = aligned(data, clock.genes, request.reading)
            ahead = sum(block.shape[1] for block in blocks)
            heads = [head.restricted(np.concatenate([np.arange(ahead), ahead + keep])) for head in heads]
            blocks.append(values)
    return heads, blocks


def _known(x: np.ndarray, bare: np.ndarray, clock: SavedClock) -> np.ndarray:
    """Return which cells are like those that the clock has learnt from; an error where most are not."""
    assert clock.near is not None
    known = clock.near(x[:, _features.contrast_columns(clock.model)])
    share = known[~bare].mean() if not bare.all() else 0.0
    if share < MIN_KNOWN:
        raise ValueError(
            f"Only {share:.0%} of the cells are like those that this clock has learnt from, and expected are "
            f"{MIN_KNOWN:.0%} or more, so that their ages would mean nothing. It is for cells of adult brains. Learn a "
            "clock from cells of your tissue whose ages are known: sf.tl.age_clock(adata, age_key=…, sample_key=…)."
        )
    if n_strange := int((~known & ~bare).sum()):
        _log.warning(f"age_clock: {n_strange} cells are unlike those that the clock has learnt from, and get no age.")
    return known


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
    cells: Cells, predictions: AgePredictions, groups: np.ndarray | None, clock: SavedClock, request: ClockRequest
) -> dict[str, Any]:
    """Return results and predictions of cells whose age is known; ages are NaN elsewhere."""
    from scflyformer.stats._reports import number_scores

    target, features = clock.target, clock.features
    known = np.isfinite(cells.ages) & np.isfinite(predictions.predicted)
    rows, tables = [], []
    for group in [ALL, *sorted(set([] if groups is None else groups[known]) - {None})]:
        inside = np.flatnonzero(known if group == ALL else known & (groups == group))
        if len(inside) < 2:
            continue
        units, found = cells.take(inside), predictions.take(inside)
        scores = number_scores(
            units.ages, found.predicted, units.units, target_truth=to_target(units.ages, target),
            target_predicted=to_target(found.predicted, target),
        )  # fmt: skip
        result = FeatureSetResult(
            found.predicted, found.low, found.high, scores, split="external", outside=found.outside
        )
        group_clock = GroupClock(group, inside, np.arange(len(inside)), units, {features: result})
        rows.append(result_rows(group_clock, features, target_name(target, request.age_key)))
        tables.append(prediction_table(group_clock))
    if not rows:
        return {}
    return {"results": text_index(pd.concat(rows)), "predictions": text_index(predictions_of(tables))}
