"""One call of `tl.perturb`, from cells to tables."""

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
from scflyformer.data._states import read_state, read_states, require_disjoint
from scflyformer.genes._coverage import place_of
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._check import no_group, nothing_to_edit, reasons_in_words, why_unknown, why_unmeasured
from scflyformer.perturbation._edit import DOSED, FOUND_ONLY
from scflyformer.perturbation._make_readouts import Centroid, read_probes
from scflyformer.perturbation._nulls import LEAST_NULLS
from scflyformer.perturbation._pairs import interactions
from scflyformer.perturbation._plan import plan_groups, read_gene_sets, read_pairs
from scflyformer.perturbation._scan import Pool, plan_scan, telling_names
from scflyformer.perturbation._states import log_fold_changes, separability_table
from scflyformer.perturbation._tables import left_out, make_tables, shift_columns

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.data._states import State
    from scflyformer.perturbation._edit import Kind
    from scflyformer.perturbation._plan import Group
    from scflyformer.perturbation._scan import Scan
    from scflyformer.tokens._rows import TokenRows


def perturbed(
    cells: AnnData,
    *,
    genes: Any,
    kind: Kind,
    dose: float,
    pairs: Any,
    method: str,
    n_top: int,
    state_key: str,
    start: Any,
    goal: Any,
    alt: Any,
    sample_key: str | None,
    groupby: str | None,
    use_rep: str,
    model: Any,
    pooling: Any,
    centroid: Centroid,
    clock: Any,
    classifier: Any,
    downstream: Any,
    n_null: int,
    n_label: int,
    max_cells: int | None,
    seed: int,
    checkpoint: Any,
    layer: str | None,
    gene_key: str | None,
    synonyms: Any,
    device: str,
    dtype: str,
    batch_tokens: Any,
) -> dict[str, Any]:
    """Return what `tl.perturb`, which documents the arguments, writes to `uns`."""
    from scflyformer.network._infer import embed_rows
    from scflyformer.perturbation._checkpoint import Checkpoint
    from scflyformer.perturbation._downstream import downstream_genes
    from scflyformer.perturbation._run import noise_floor, run_scan
    from scflyformer.perturbation._screen import compared, judged_by_screen, screen

    states = _read_states(cells, state_key, start, goal, alt)
    named = _features.sample_names(cells, sample_key)
    samples = np.full(cells.n_obs, "all", dtype=object) if named is None else named
    by = None if groupby is None else _adata.obs_column(cells, groupby, what="groupby")

    loaded = require_model(choose_model(cells, model, use_rep=use_rep), use_rep, what="perturb")
    note_other_model(cells, loaded, use_rep, tool="perturb")
    reading = reading_of(cells, model, use_rep, layer=layer, gene_key=gene_key)
    layer, gene_key = reading["layer"], reading["gene_key"]
    vocabulary, table = loaded.vocabulary, _adata.synonym_table(synonyms)
    if pooling in ("cell", "code"):
        loaded = replace(loaded, reads_code=pooling == "code")
    pooling = loaded.pooling if pooling == "auto" else pooling
    every = isinstance(genes, str) and genes == "all"
    sets, unknown = ([], []) if every else read_gene_sets(genes, loaded, table)
    together = read_pairs(pairs, sets, loaded, table)
    rows, coverage = _adata.token_rows(cells, loaded, layer=layer, gene_key=gene_key, synonyms=table)
    names, filled = _adata.cell_names(cells, layer=layer), rows.lengths > 0
    place = place_of(gene_key)
    absent = why_unknown(unknown, vocabulary, _adata.all_gene_names(cells, gene_key), place)
    unmeasured = why_unmeasured([*sets, *together], rows.panel, place, whole=kind not in FOUND_ONLY)
    if kind not in FOUND_ONLY:  # a gene that was not measured cannot be switched on
        lacking = {one.name: unmeasured[one.name] for one in (*sets, *together) if one.name in unmeasured}
        sets = [one for one in sets if one.name not in lacking]
        together = [one for one in together if one.name not in lacking]
        absent |= lacking
        if lacking and not sets:
            raise ValueError(f"There is nothing to {kind}: {reasons_in_words(lacking)}. Ask for other genes.")
    groups, bare = plan_groups(*states, filled, by, samples=samples, names=names, max_cells=max_cells, seed=seed)
    if not groups:
        raise ValueError(no_group(groupby, state_key, _adata.obs_column(cells, state_key, what="state_key")[filled]))
    if sample_key is None:
        _log.warning("perturb: without sample_key cells count as independent, and intervals come out too narrow.")

    network = loaded.network()
    run: dict[str, Any] = {"device": device, "batch_tokens": batch_tokens}
    run["dtype"] = "float32" if dtype == "auto" else dtype
    bars: dict[str, Any] = {"progress": _log.progress} | run
    seen = np.unique(np.concatenate([part for group in groups for part in (group.start, group.goal, *group.alt)]))
    vectors = np.zeros((len(rows), network.embedding_size(pooling)), dtype=np.float32)
    with _log.progress(total=len(seen), desc="embedding cells", unit="cell") as bar:
        vectors[seen] = embed_rows(network, rows.take(seen), pooling=pooling, bar=bar, **run)
    apart = separability_table(groups, vectors, samples, names, seed=seed)
    _warn(apart, states, sampled=sample_key is not None)

    probes = read_probes(
        loaded, groups, vectors, samples, names, shifts=shift_columns([state.label for state in states[2]]),
        goal=states[1].label, centroid=centroid, clock=clock, classifier=classifier, pooling=pooling,
        n_label=n_label if method == "exact" and n_null >= LEAST_NULLS else 0,
        decode=bool(downstream) and pooling == "cell" and network.has_cell_token, seed=seed,
    )  # fmt: skip
    pools = [Pool(group.name, group.pool) for group in groups]
    ranked = rows.take(np.concatenate([pool.cells for pool in pools]))
    plan: dict[str, Any] = {"names": telling_names(vocabulary), "kind": kind, "n_null": n_null, "seed": seed}
    screened = None
    if method == "screen":
        screened = screen(
            network, ranked, pools, probes.towards, samples, vocabulary, pooling=pooling, n_top=n_top, n_null=n_null,
            seed=seed, **bars,
        )  # fmt: skip
        scan = plan_scan(ranked, pools, screened.sets, chosen=screened.chosen, **(plan | {"n_null": 0}))
    else:
        pair_places = range(len(sets), len(sets) + len(together))
        asked = None if every else [*sets, *together]
        scan = plan_scan(ranked, pools, asked, measured=np.unique(rows.tokens), members=pair_places, **plan)
    if not len(scan.pairs[0]):
        raise ValueError(nothing_to_edit(scan.sets, unmeasured, f"obs[{state_key!r}] = {states[0].label}", kind))

    params = _adata.run_params(
        loaded,
        genes="all" if every else [one.name for one in sets],
        kind=kind,
        dose=dose if kind in DOSED else 1.0,
        pairs=[one.name for one in together],
        method=method,
        n_top=n_top,
        state_key=state_key,
        start=states[0].label,
        goal=states[1].label,
        alt=[state.label for state in states[2]],
        sample_key=sample_key,
        groupby=groupby,
        use_rep=use_rep,
        pooling=pooling,
        centroid=centroid,
        clock=clock,
        classifier=classifier,
        downstream=downstream,
        n_null=n_null,
        n_label=n_label,
        max_cells=max_cells,
        seed=seed,
        layer=layer,
        gene_key=gene_key,
        synonyms=synonyms,
        device=device,
        dtype=run["dtype"],
        ci_level=0.95,
        fdr_family="all rows of results" if screened is None else "all genes screened",
        **probes.about,
    )
    key = _fingerprint(params, rows.take(seen), scan, groups, names, samples)
    kept = None if checkpoint is None else Checkpoint(checkpoint, key)
    fold = log_fold_changes(cells, groups, samples, loaded, layer=layer, gene_key=gene_key, synonyms=table)
    found = run_scan(
        network, rows, vectors, scan, samples, probes, kind=kind, dose=dose, pooling=pooling,
        checkpoint=kept, **bars,
    )  # fmt: skip
    tables = make_tables(
        scan, found, probes.columns, samples, kind=kind, names=names, gene_ids=vocabulary.gene_ids,
        symbols=vocabulary.names,
    )  # fmt: skip
    noise = [
        noise_floor(network, rows, vectors, group.pool, goal_centre, pooling=pooling, **run)
        for group, goal_centre in zip(groups, probes.goals, strict=True)
    ]
    tables["results"] = _with_context(tables["results"], scan, fold, noise, apart)
    if screened is not None:
        tables = judged_by_screen(tables, screened) | compared(screened, scan, found, samples, seed=seed)
        told = ", ".join(f"{one.group} {one.spearman:.2f}" for one in tables["agreement"].itertuples())
        _log.info(f"perturb: ranks of first-order and exact shifts agree, Spearman: {told}")
    if together:
        tables["interactions"] = interactions(scan, found, pair_places, samples, vocabulary.names, kind=kind)
    if downstream:
        tables["downstream"] = downstream_genes(
            network, rows, scan, found, vocabulary, tables["results"], kind=kind, dose=dose, most=downstream, **bars
        )
    absent, skipped = left_out(absent, unmeasured, scan, bare, every=every)
    labels = [states[1].label, states[0].label, *(state.label for state in states[2])]
    return {
        **tables,
        "separability": apart,
        "absent": np.array(list(absent), dtype=object),
        "skipped": skipped,
        "states": dict(zip(shift_columns(labels[2:]), labels, strict=True)),
        "coverage": coverage,
        "params": params,
    }


def _read_states(cells: AnnData, key: str, start: Any, goal: Any, alt: Any) -> tuple[State, State, list[State]]:
    column = _adata.obs_column(cells, key, what="state_key")
    first = read_state(column, start, key=key, what="start")
    last = read_state(column, goal, key=key, what="goal")
    others = read_states(column, alt, key=key, what="alt")
    require_disjoint([("start", first), ("goal", last), *(("alt", state) for state in others)], key=key)
    return first, last, others


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
    params: Mapping[str, Any], rows: TokenRows, scan: Scan, groups: list[Group], names: np.ndarray, samples: np.ndarray
) -> str:
    """Return a hash of all that a scan's results depend on."""
    from scflyformer.perturbation._copies import BLOCK_TOKENS

    free = ("device", "batch_tokens")
    told = {name: np.asarray(value).tolist() for name, value in params.items() if name not in free}
    made = sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for array in (rows.indptr, rows.tokens, rows.values, *scan.pairs, scan.table.matrix(), scan.cells):
        made.update(np.ascontiguousarray(array).tobytes())
    for group in groups:
        for part in (group.start, group.pool, group.goal, *group.alt):
            made.update("\n".join(map(str, [BLOCK_TOKENS, *names[part], *samples[part]])).encode())
    return made.hexdigest()
