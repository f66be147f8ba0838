"""A perturbation analysis, from cells to tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data import _adata, _features
from scflyformer.data._embedding import choose_model, note_other_model, reading_of, require_model
from scflyformer.genes._coverage import place_of
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._cells import EmbeddedCells
from scflyformer.perturbation._check import no_group, nothing_to_edit, reasons_in_words, why_unknown, why_unmeasured
from scflyformer.perturbation._edit import DOSED, FOUND_ONLY
from scflyformer.perturbation._make_readouts import read_probes
from scflyformer.perturbation._pairs import interactions
from scflyformer.perturbation._plan import plan_groups, read_gene_sets, read_pairs
from scflyformer.perturbation._scan import Pool, plan_scan, telling_names
from scflyformer.perturbation._states import log_fold_changes, separability_table
from scflyformer.perturbation._tables import left_out, make_tables, shift_columns

if TYPE_CHECKING:
    import os

    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.data._reading import Reading
    from scflyformer.data._states import State
    from scflyformer.models import Model
    from scflyformer.network._network import CellBert, Pooling
    from scflyformer.perturbation._plan import Group
    from scflyformer.perturbation._request import PerturbRequest
    from scflyformer.perturbation._scan import GeneSet, Scan
    from scflyformer.tokens._rows import TokenRows


def analyse(
    adata: AnnData, request: PerturbRequest, running: Running, *, checkpoint: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Return what :func:`scflyformer.tl.perturb` writes to `uns`.

    Parameters
    ----------
    adata
        The cells.
    request
        What is asked for, checked.
    running
        How the network runs.
    checkpoint
        File for what is done so far.
    """
    from scflyformer.perturbation._checkpoint import Checkpoint
    from scflyformer.perturbation._downstream import downstream_genes
    from scflyformer.perturbation._run import noise_floor, run_scan
    from scflyformer.perturbation._screen import compared, judged_by_screen, screen

    column = _adata.obs_column(adata, request.state_key, what="state_key")
    states = request.states(column)
    labels = [states[1].label, states[0].label, *(state.label for state in states[2])]
    samples = _features.sample_names(adata, request.sample_key)
    by = None if request.groupby is None else _adata.obs_column(adata, request.groupby, what="groupby")
    model, pooling, reading = _open(adata, request)
    genes, unknown = _read_genes(request, model, reading)
    rows, coverage = _adata.token_rows(adata, model, reading)
    names, filled = _adata.cell_names(adata, layer=reading.layer), rows.lengths > 0
    samples = np.full(adata.n_obs, "all", dtype=object) if samples is None else samples
    place = place_of(reading.gene_key)
    absent = why_unknown(unknown, model.vocabulary, _adata.all_gene_names(adata, reading.gene_key), place)
    unmeasured = why_unmeasured([*genes.sets, *genes.pairs], rows.panel, place, whole=request.kind not in FOUND_ONLY)
    if request.kind not in FOUND_ONLY:  # a gene that was not measured cannot be switched on
        genes, lacking = genes.without(unmeasured)
        absent |= lacking
        if lacking and not (genes.sets or genes.pairs):
            raise ValueError(f"There is nothing to {request.kind}: {reasons_in_words(lacking)}. Ask for other genes.")
    choice: dict[str, Any] = {"max_cells": request.max_cells, "seed": request.seed}
    groups, bare = plan_groups(*states, filled, by, samples=samples, names=names, **choice)
    if not groups:
        raise ValueError(no_group(request.groupby, request.state_key, column[filled]))
    if request.sample_key is None:
        _log.warning("perturb: without sample_key cells count as independent, and intervals come out too narrow.")

    network, vocabulary = model.network(), model.vocabulary
    seen = np.unique(np.concatenate([part for group in groups for part in (group.start, group.goal, *group.alt)]))
    vectors = _embed(network, rows, seen, pooling, running)
    cells = EmbeddedCells(names, samples, rows, vectors)
    apart = separability_table(groups, cells, seed=request.seed)
    _warn(apart, states, sampled=request.sample_key is not None)
    probes = read_probes(model, groups, cells, request, states=labels, pooling=pooling)

    pools = [Pool(group.name, group.pool) for group in groups]
    ranked = rows.take(np.concatenate([pool.cells for pool in pools]))
    plan: dict[str, Any] = {"names": telling_names(vocabulary), "kind": request.kind, "seed": request.seed}
    screened = None
    if request.method == "screen":
        screened = screen(
            network, ranked, pools, probes.towards, samples, vocabulary, pooling=pooling, n_top=request.n_top,
            n_null=request.n_null, seed=request.seed, running=running,
        )  # fmt: skip
        scan = plan_scan(ranked, pools, screened.sets, chosen=screened.chosen, n_null=0, **plan)
    else:
        asked = None if request.every_gene else [*genes.sets, *genes.pairs]
        measured = np.unique(rows.tokens)
        scan = plan_scan(ranked, pools, asked, measured=measured, members=genes.places, n_null=request.n_null, **plan)
    if not len(scan.pairs[0]):
        where = f"obs[{request.state_key!r}] = {states[0].label}"
        raise ValueError(nothing_to_edit(scan.sets, unmeasured, where, request.kind))

    params = _adata.run_params(
        model,
        **request.params()
        | {"layer": reading.layer, "gene_key": reading.gene_key, "synonyms": request.reading.synonyms}
        | {"pooling": pooling}
        | {"genes": "all" if request.every_gene else [one.name for one in genes.sets]}
        | {"pairs": [one.name for one in genes.pairs], "dose": request.dose if request.kind in DOSED else 1.0}
        | {"start": labels[1], "goal": labels[0], "alt": labels[2:]}
        | {"device": running.device, "dtype": running.dtype, "ci_level": 0.95}
        | {"fdr_family": "all rows of a readout" if screened is None else "all genes screened"}
        | probes.about,
    )
    key = _fingerprint(params, rows.take(seen), scan, groups, cells)
    kept = None if checkpoint is None else Checkpoint(checkpoint, key)
    fold = log_fold_changes(adata, groups, samples, model, reading)
    edit: dict[str, Any] = {"kind": request.kind, "dose": request.dose}
    found = run_scan(network, cells, scan, probes, pooling=pooling, checkpoint=kept, running=running, **edit)
    tables = make_tables(scan, found, probes.columns, cells, vocabulary, kind=request.kind)
    noise = [
        noise_floor(network, cells, group.pool, goal_centre, pooling=pooling, running=running)
        for group, goal_centre in zip(groups, probes.goals, strict=True)
    ]
    tables["results"] = _with_context(tables["results"], scan, fold, noise, apart)
    if screened is not None:
        tables = judged_by_screen(tables, screened) | compared(screened, scan, found, samples, seed=request.seed)
        told = ", ".join(f"{one.group} {one.spearman:.2f}" for one in tables["agreement"].itertuples())
        _log.info(f"perturb: ranks of first-order and exact shifts agree, Spearman: {told}")
    if genes.pairs:
        tables["interactions"] = interactions(scan, found, genes.places, samples, vocabulary.names, kind=request.kind)
    if request.downstream:
        tables["downstream"] = downstream_genes(
            network, rows, scan, found, vocabulary, tables["results"], most=request.downstream, running=running, **edit
        )
    absent, skipped = left_out(absent, unmeasured, scan, bare, every=request.every_gene)
    return {
        **tables,
        "separability": apart,
        "absent": np.array(list(absent), dtype=object),
        "skipped": skipped,
        "states": dict(zip(shift_columns(labels[2:]), labels, strict=True)),
        "coverage": coverage,
        "params": params,
    }


@dataclass(frozen=True, eq=False)
class _Genes:
    """Gene sets to edit, and pairs of genes, which come behind them in a scan."""

    sets: list[GeneSet]
    pairs: list[GeneSet]

    @property
    def places(self) -> range:
        """Places of the pairs among all sets of the scan."""
        return range(len(self.sets), len(self.sets) + len(self.pairs))

    def without(self, reasons: Mapping[str, str]) -> tuple[_Genes, dict[str, str]]:
        """Return these without the sets that there are ``reasons`` against, and the reasons against those left out."""
        kept = ([one for one in part if one.name not in reasons] for part in (self.sets, self.pairs))
        return _Genes(*kept), {one.name: reasons[one.name] for one in (*self.sets, *self.pairs) if one.name in reasons}


def _open(adata: AnnData, request: PerturbRequest) -> tuple[Model, Pooling, Reading]:
    """Return the model, how its vectors are pooled, and what is read of the cells."""
    model = require_model(choose_model(adata, request.model, use_rep=request.use_rep), request.use_rep, what="perturb")
    note_other_model(adata, model, request.use_rep, tool="perturb")
    asked = replace(request.reading, synonyms=_adata.synonym_table(request.reading.synonyms))
    reading = reading_of(adata, request.model, request.use_rep, asked)
    if request.pooling in ("cell", "code"):
        model = replace(model, reads_code=request.pooling == "code")
    return model, model.pooling if request.pooling == "auto" else request.pooling, reading


def _read_genes(request: PerturbRequest, model: Model, reading: Reading) -> tuple[_Genes, list[str]]:
    """Return the gene sets and pairs asked for, none for all genes, and the names that the model does not know."""
    table: Any = reading.synonyms
    genes, pairs = request.split_genes()
    alone = request.every_gene or (bool(pairs) and not len(genes))
    sets, unknown = ([], []) if alone else read_gene_sets(genes, model, table)
    return _Genes(sets, read_pairs(pairs, sets, model, table)), unknown


def _embed(network: CellBert, rows: TokenRows, cells: np.ndarray, pooling: Pooling, running: Running) -> np.ndarray:
    """Return vectors of some cells, zeros for the others."""
    from scflyformer.network._infer import embed_rows

    vectors = np.zeros((len(rows), network.embedding_size(pooling)), dtype=np.float32)
    with _log.progress(total=len(cells), desc="embedding cells", unit="cell") as bar:
        vectors[cells] = embed_rows(network, rows.take(cells), pooling=pooling, bar=bar, running=running)
    return vectors


def _warn(apart: pd.DataFrame, states: tuple[State, State, list[State]], *, sampled: bool) -> None:
    for group in apart.loc[~apart["interpretable"]].to_dict(orient="records"):
        _log.warning(
            f"perturb: not interpretable in group {group['group']!r}: held-out cells of {states[0].label} and "
            f"{states[1].label} are hardly told apart (AUROC {group['auroc']:.2f}, {group['ci_low']:.2f} to "
            f"{group['ci_high']:.2f})."
        )
    if sampled and (single := apart.loc[apart["held_out"] == "cell", "group"].tolist()):
        _log.warning(
            f"perturb: a state has a single sample in {', '.join(single[:10])}; what tells the states apart may be "
            "their samples."
        )


def _with_context(
    results: pd.DataFrame, scan: Scan, fold: np.ndarray, noise: list[float], apart: pd.DataFrame
) -> pd.DataFrame:
    """Add to the results what is known without the model, how fine it counts, and whether the states are apart."""
    tokens = {one.name: np.array(one.tokens) - N_SPECIAL for one in scan.sets}
    number = {pool.name: at for at, pool in enumerate(scan.pools)}
    at = results["group"].map(number).to_numpy()
    change = [np.nanmean(fold[group, tokens[gene]]) if np.isfinite(fold[group, tokens[gene]]).any() else np.nan
              for gene, group in zip(results["gene"], at, strict=True)]  # fmt: skip
    told = apart.set_index("group")["interpretable"]
    return results.assign(
        log_fc=change, noise=np.array(noise)[at], interpretable=results["group"].map(told).astype(bool)
    )


def _fingerprint(
    params: Mapping[str, Any], rows: TokenRows, scan: Scan, groups: list[Group], cells: EmbeddedCells
) -> str:
    """Return a hash of all that a scan's results depend on."""
    from scflyformer.perturbation._copies import BLOCK_TOKENS

    told = {name: np.asarray(value).tolist() for name, value in params.items() if name != "device"}
    made = sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for array in (rows.indptr, rows.tokens, rows.values, *scan.pairs, scan.table.matrix(), scan.cells):
        made.update(np.ascontiguousarray(array).tobytes())
    for group in groups:
        for part in (group.start, group.pool, group.goal, *group.alt):
            made.update("\n".join(map(str, [BLOCK_TOKENS, *cells.names[part], *cells.samples[part]])).encode())
    return made.hexdigest()
