"""A perturbation analysis, from cells to tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data import _adata, _features
from scflyformer.data._embedding import choose_model, note_other_model, reading_of, require_model
from scflyformer.genes._coverage import place_of
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._cells import EmbeddedCells, Embedder, split_into_groups
from scflyformer.perturbation._edit import DOSED, FOUND_ONLY
from scflyformer.perturbation._edit_plan import MIN_CELLS, plan_edits
from scflyformer.perturbation._gene_sets import distinct_names, read_gene_sets, read_pairs
from scflyformer.perturbation._interactions import interactions
from scflyformer.perturbation._make_readouts import make_readouts
from scflyformer.perturbation._null_sets import NullDraw, token_sizes, warn_of_few
from scflyformer.perturbation._reasons import (
    left_out,
    no_group,
    nothing_to_edit,
    reasons_in_words,
    reasons_unknown,
    reasons_unmeasured,
)
from scflyformer.perturbation._results import (
    GroupContext,
    cell_table,
    edits_of_groups,
    gene_table,
    join_results,
    null_table,
    permutation_weights,
    result_rows,
)
from scflyformer.perturbation._states import log_fold_changes, separability_table
from scflyformer.perturbation._summary import summary
from scflyformer.perturbation._tables import shift_columns

if TYPE_CHECKING:
    import os

    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.data._reading import Reading
    from scflyformer.data._states import State
    from scflyformer.models import Model
    from scflyformer.network._network import Pooling
    from scflyformer.perturbation._cells import StateGroup
    from scflyformer.perturbation._edit_plan import EditPlan
    from scflyformer.perturbation._gene_sets import GeneSet
    from scflyformer.perturbation._make_readouts import Readouts
    from scflyformer.perturbation._request import PerturbRequest
    from scflyformer.tokens._rows import TokenRows


def analyse(
    adata: AnnData, request: PerturbRequest, running: Running, *, checkpoint: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Return what :func:`scflyformer.tl.perturb` writes to `uns`."""
    from scflyformer.perturbation._checkpoint import Checkpoint
    from scflyformer.perturbation._downstream import downstream_genes
    from scflyformer.perturbation._scan_result import run_scan
    from scflyformer.perturbation._screen import compare_with_exact, screen, state_columns

    kind, every = request.kind, request.every_gene
    column = _adata.obs_column(adata, request.state_key, what="state_key")
    states = request.states(column)
    labels = [states[1].label, states[0].label, *(state.label for state in states[2])]
    samples = _features.sample_names(adata, request.sample_key)
    by = None if request.groupby is None else _adata.obs_column(adata, request.groupby, what="groupby")
    model, pooling, reading = _open_model(adata, request)
    vocabulary = model.vocabulary
    sets, unknown = _read_sets(request, model, reading)
    rows, coverage = _adata.token_rows(adata, model, reading)
    names, filled = _adata.cell_names(adata, layer=reading.layer), rows.lengths > 0
    samples = np.full(adata.n_obs, "all", dtype=object) if samples is None else samples
    place = place_of(reading.gene_key)
    absent = reasons_unknown(unknown, vocabulary, _adata.all_gene_names(adata, reading.gene_key), place)
    unmeasured = reasons_unmeasured(sets, rows.panel, place, whole=kind not in FOUND_ONLY)
    if kind not in FOUND_ONLY:  # a gene that was not measured cannot be switched on
        absent |= unmeasured
        sets = [gene_set for gene_set in sets if gene_set.name not in unmeasured]
        if unmeasured and not sets:
            raise ValueError(f"There is nothing to {kind}: {reasons_in_words(unmeasured)}. Ask for other genes.")
    groups, without_states = split_into_groups(
        states, filled, by, samples=samples, names=names, max_cells=request.max_cells, seed=request.seed
    )
    if not groups:
        raise ValueError(no_group(request.groupby, request.state_key, column[filled]))
    if request.sample_key is None:
        _log.warning("perturb: without sample_key cells count as independent, and intervals come out too narrow.")

    embedder = Embedder(model.network(), pooling, running)
    seen = np.unique(np.concatenate([part for group in groups for part in (group.start, group.goal, *group.alt)]))
    cells = EmbeddedCells(names, samples, rows, _embed(embedder, rows, seen))
    separability = separability_table(groups, cells, seed=request.seed)
    _warn(separability, states, sampled=request.sample_key is not None)
    readouts = make_readouts(model, groups, cells, request, states=labels, pooling=pooling)

    ranked = rows.take(np.concatenate([group.cells for group in groups]))
    sizes = token_sizes(embedder.network)
    nulls, gene_names = NullDraw(kind, request.n_null, request.seed, sizes), distinct_names(vocabulary)
    contexts = _contexts(adata, embedder, cells, groups, readouts, separability, model, reading)
    screened = None
    if request.screens:
        screened = screen(embedder, cells, groups, readouts, vocabulary, contexts, nulls=nulls, n_top=request.n_top)
        plan = plan_edits(ranked, groups, screened.sets, replace(nulls, n=0), names=gene_names, chosen=screened.chosen)
    else:
        measured = np.unique(rows.tokens)
        plan = plan_edits(
            ranked, groups, None if every else sets, nulls, names=gene_names, dose=request.dose, measured=measured
        )
    if not len(plan.copies):
        where = f"obs[{request.state_key!r}] = {states[0].label}"
        raise ValueError(nothing_to_edit(plan.sets, unmeasured, where, kind))

    params = _params(model, request, reading, embedder, labels, sets, readouts.params)
    key = _fingerprint(params, rows.take(seen), plan, groups, cells)
    kept = None if checkpoint is None else Checkpoint(checkpoint, key)
    result = run_scan(embedder, cells, plan, readouts, kept)
    columns, edits = readouts.columns, edits_of_groups(plan, result, readouts)
    found = [
        result_rows(
            of_group,
            columns,
            None if screened is not None else permutation_weights(readouts, at),
            about=gene_table(plan, at, vocabulary),
            context=context,
            kind=kind,
            scan=every,
        )
        for at, (of_group, context) in enumerate(zip(edits, contexts, strict=True))
        if plan.sets_of_group[at]
    ]
    tables = {"cells": cell_table(plan, result, columns, cells)}
    names_in_order = [gene_set.name for gene_set in plan.sets]
    if screened is None:
        tables["results"] = join_results(found, columns, names_in_order)
        if not every:
            tables["null"] = null_table(plan, edits, columns, vocabulary)
            warn_of_few(tables["results"], len(np.unique(ranked.tokens)), request.n_null)
    else:
        estimated, exact = pd.concat(screened.results), pd.concat(found)
        tables |= compare_with_exact(screened, exact, groups)
        other = exact[~exact["readout"].isin(state_columns(readouts))]
        other = other.merge(tables["screen"].loc[tables["screen"]["top"], ["gene", "group"]])
        names_in_order = [str(name) for name in gene_names[np.unique(ranked.tokens) - N_SPECIAL]]
        tables["results"] = join_results([estimated, other[list(estimated)]], columns, names_in_order)
        by_group = ", ".join(f"{row.group} {row.spearman:.2f}" for row in tables["agreement"].itertuples())
        _log.info(f"perturb: ranks of first-order and exact shifts agree, Spearman: {by_group}")
    if any(gene_set.is_pair for gene_set in plan.sets):
        tables["interactions"] = interactions(plan, result, samples, vocabulary.names)
    if request.downstream:
        wanted = tables["results"] if screened is None else tables["screen"][tables["screen"]["top"]]
        tables["downstream"] = downstream_genes(
            embedder, rows, plan, result, vocabulary, wanted=wanted, most=request.downstream
        )
    skipped_groups = dict.fromkeys(without_states, "no start or no goal cells")
    if every:
        empty = [group.name for group, in_group in zip(groups, plan.sets_of_group, strict=True) if not in_group]
        skipped_groups |= dict.fromkeys(empty, f"no gene in {MIN_CELLS} perturbed cells")
    unexpressed = "measured, but not expressed in the perturbed cells"
    absent, skipped = left_out(plan, absent, skipped_groups, unmeasured, unexpressed=unexpressed, every=every)
    return {
        **tables,
        "separability": separability,
        "summary": summary(tables["results"], separability, params, groups=groups, screened=screened is not None),
        "absent": np.array(list(absent), dtype=object),
        "skipped": skipped,
        "states": dict(zip(shift_columns(labels[2:]), labels, strict=True)),
        "coverage": coverage,
        "params": params,
    }


def _open_model(adata: AnnData, request: PerturbRequest) -> tuple[Model, Pooling, Reading]:
    """Return the model, how its vectors are pooled, and what is read of the cells."""
    model = require_model(choose_model(adata, request.model, use_rep=request.use_rep), request.use_rep, what="perturb")
    note_other_model(adata, model, request.use_rep, tool="perturb")
    asked = replace(request.reading, synonyms=_adata.synonym_table(request.reading.synonyms))
    reading = reading_of(adata, request.model, request.use_rep, asked)
    if request.pooling in ("cell", "code"):
        model = replace(model, reads_code=request.pooling == "code")
    return model, model.pooling if request.pooling == "auto" else request.pooling, reading


def _read_sets(request: PerturbRequest, model: Model, reading: Reading) -> tuple[list[GeneSet], list[str]]:
    """Return the gene sets asked for, pairs last, none for all genes, and the names that the model does not know."""
    table: Any = reading.synonyms
    genes, pairs = request.split_genes()
    only_pairs = bool(pairs) and not len(genes)
    sets, unknown = ([], []) if request.every_gene or only_pairs else read_gene_sets(genes, model, table)
    return [*sets, *read_pairs(pairs, sets, model, table)], unknown


def _params(
    model: Model,
    request: PerturbRequest,
    reading: Reading,
    embedder: Embedder,
    labels: list[str],
    sets: list[GeneSet],
    of_readouts: dict[str, str | None],
) -> dict[str, Any]:
    """Return what is recorded of a run; ``labels`` are those of goal, start and alternatives."""
    running = embedder.running
    return _adata.run_params(
        model,
        **request.params()
        | {"layer": reading.layer, "gene_key": reading.gene_key, "synonyms": request.reading.synonyms}
        | {"pooling": embedder.pooling}
        | {"genes": "all" if request.every_gene else [gene_set.name for gene_set in sets if not gene_set.is_pair]}
        | {"pairs": [gene_set.name for gene_set in sets if gene_set.is_pair]}
        | {"dose": request.dose if request.kind in DOSED else 1.0}
        | {"start": labels[1], "goal": labels[0], "alt": labels[2:]}
        | {"device": running.device, "dtype": running.dtype, "ci_level": 0.95}
        | {"method": "screen" if request.screens else "exact"}
        | of_readouts,
    )


def _embed(embedder: Embedder, rows: TokenRows, cells: np.ndarray) -> np.ndarray:
    """Return vectors of some cells, zeros for the others."""
    width = embedder.network.embedding_size(embedder.pooling)
    vectors = np.zeros((len(rows), width), dtype=np.float32)
    with _log.progress(total=len(cells), desc="embedding cells", unit="cell") as bar:
        vectors[cells] = embedder.embed(rows.take(cells), bar=bar)
    return vectors


def _warn(separability: pd.DataFrame, states: tuple[State, State, list[State]], *, sampled: bool) -> None:
    for group in separability.loc[~separability["interpretable"]].to_dict(orient="records"):
        either = f"{states[0].label} and {states[1].label}"
        why = (
            f"whether {either} can be told apart cannot be tested, in so few samples."
            if np.isnan(group["auroc"])
            else f"held-out cells of {either} are hardly told apart (AUROC {group['auroc']:.2f}, "
            f"{group['ci_low']:.2f} to {group['ci_high']:.2f})."
        )
        _log.warning(f"perturb: not interpretable in group {group['group']!r}: {why}")
    if sampled and (single := separability.loc[separability["held_out"] == "cell", "group"].tolist()):
        _log.warning(
            f"perturb: a state has a single sample in {', '.join(single[:10])}; what tells the states apart may be "
            "their samples."
        )


def _contexts(
    adata: AnnData,
    embedder: Embedder,
    cells: EmbeddedCells,
    groups: list[StateGroup],
    readouts: Readouts,
    separability: pd.DataFrame,
    model: Model,
    reading: Reading,
) -> list[GroupContext]:
    """Return what is known of each group without the model, how fine shifts count, and whether its states are apart."""
    from scflyformer.perturbation._scan_result import noise_floor

    fold = log_fold_changes(adata, groups, cells.samples, model, reading)
    apart = separability["interpretable"].astype(bool).tolist()
    return [
        GroupContext(group.name, change, noise_floor(embedder, cells, group.cells, goal), told)
        for group, change, goal, told in zip(groups, fold, readouts.goals, apart, strict=True)
    ]


def _fingerprint(
    params: Mapping[str, Any], rows: TokenRows, plan: EditPlan, groups: list[StateGroup], cells: EmbeddedCells
) -> str:
    """Return a hash of all that a scan's results depend on."""
    from scflyformer.perturbation._copies import BLOCK_TOKENS

    recorded = {name: np.asarray(value).tolist() for name, value in params.items() if name != "device"}
    digest = sha256(json.dumps(recorded, sort_keys=True, default=str).encode())
    copies = plan.copies
    for array in (rows.indptr, rows.tokens, rows.values, copies.cells, copies.chosen, copies.sets, plan.cells):
        digest.update(np.ascontiguousarray(array).tobytes())
    for group in groups:
        for part in (group.start, group.cells, group.goal, *group.alt):
            digest.update("\n".join(map(str, [BLOCK_TOKENS, *cells.names[part], *cells.samples[part]])).encode())
    return digest.hexdigest()
