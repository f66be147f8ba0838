"""In silico perturbation: which genes, taken away or switched on, move cells from one state towards another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scflyformer import _adata, _log
from scflyformer._settings import DEFAULT_MODEL
from scflyformer.tl import _features
from scflyformer.tl._perturb_plan import check_edits, plan_groups, read_gene_sets
from scflyformer.tl._perturb_run import run_groups
from scflyformer.tl._perturb_tables import make_tables, shift_columns
from scflyformer.tl._states import present, read_state, read_states, require_disjoint

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scflyformer.tl._perturb_plan import GeneSet, Group
    from scflyformer.tl._perturb_run import Outcome

Kind = Literal["delete", "overexpress"]


def perturb(
    adata: AnnData | MuData,
    *,
    genes: str | Sequence[str] | Mapping[str, str | Sequence[str]],
    kind: Kind = "delete",
    state_key: str,
    start: Any,
    goal: Any,
    alt: Any = None,
    sample_key: str | None = None,
    groupby: str | None = None,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    pooling: Literal["auto", "cell", "mean"] = "auto",
    n_null: int = 100,
    max_cells: int | None = 200,
    seed: int = 0,
    layer: str | None = None,
    gene_key: str | None = None,
    synonyms: str | os.PathLike[str] | None = None,
    mod: str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_tokens: int | Literal["auto"] = "auto",
    key_added: str = "perturb",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Perturb genes in start cells and measure how far the cells move towards the goal state.

    The shift of a cell towards state s is cos(v', m_s) − cos(v, m_s), with v and v' its embedding before and after the
    perturbation and m_s the state's centroid (Theodoris et al. 2023, Nature 618, 616-624); above 0, the perturbation
    moves start cells towards the goal. The goal's centroid is the mean over its cells, which are never perturbed. For
    the shift away from the start (`shift_start`) each cell is held against the start cells of the *other* samples
    (with a single sample: against the other start cells), so that no cell takes part in its own centroid.

    A shift means little by itself: taking any highly expressed gene away moves a cell somewhere. So each gene stands
    beside ``n_null`` null genes that stand alike in the same cells (detection rate and mean rank).

    Parameters
    ----------
    adata
        Cells × genes: counts, or log1p of normalised counts; see :func:`scflyformer.pp.tokenize`.
    genes
        Gene names (FBgn, symbol, CG id or synonym): each is perturbed alone. A dict of set name to names: the genes of
        a set are perturbed together.
    kind
        ``"delete"``: the gene's token goes and later ones move up; done in the start cells that express it (within
        the model's length). ``"overexpress"``: the gene is put in front, with the value of the cell's first gene; done
        in all start cells, whether or not they express it.
    state_key
        Column of `obs` with the state: numbers, text or categories.
    start, goal
        Value of ``state_key`` where cells come from and where they should go, or a list of values taken together.
    alt
        Further states to report shifts towards: a value, or a list with one entry (a value or list of values) each.
    sample_key
        Column of `obs` with the sample (library, animal). Shifts are then averaged within samples first, and samples,
        not cells, count as independent.
    groupby
        Column of `obs`, such as the cell type: each group is perturbed and compared by itself.
    model
        Name of a model, or its folder.
    pooling
        ``"cell"``: v is the cell token. ``"mean"``: v and v' are means over the genes present both before and after.
        ``"auto"``: the cell token where the model has one, else the mean.
    n_null
        Null genes for each tested gene (for a set: null sets of the same size). All that there are, where fewer.
    max_cells
        Most start cells of a group to perturb, drawn as evenly over samples as they allow; `None` for all.
    seed
        Seed of the choice of cells and null genes. Neither depends on the order of cells or genes.
    layer
        Layer with the expression; `X` by default.
    gene_key
        Column of `var` with gene names; `var_names` by default.
    synonyms
        FlyBase synonym file for names that the model does not list; see :func:`scflyformer.pp.tokenize`.
    mod
        Modality of a MuData.
    device
        Where the network runs.
    dtype
        Number format. ``"auto"`` is float32 on every device here, because shifts are small differences.
    batch_tokens
        Tokens a batch.
    key_added
        Key of `uns` to write.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written is `uns[key_added]`, a dict with

    `"results"` : DataFrame, a row per gene (set) and group
        `gene` as asked, `group` (``"all"`` without ``groupby``), `kind`; `n_cells` perturbed and `n_samples` they come
        from (1 without ``sample_key``); `shift`, the mean over sample means; `ci_low`, `ci_high`, its 95 % t interval
        over samples, or over cells where there is one sample (NaN for one cell); `null_mean`, the mean shift of the
        null genes; `effect` = (shift − `null_mean`) / their standard deviation; `p_value` = (1 + number of null genes
        at least as far from the null median) / (1 + number of null genes), two-sided; `fdr`, Benjamini-Hochberg over
        all rows. Then `ci_over` (``"samples"`` or ``"cells"``), `n_null`, `n_start` (start cells looked at), `gene_id`
        (joined by ``+``), `shift_start`, and `shift_<state>` for each of ``alt`` (``/`` written as ``|``).
    `"cells"` : DataFrame, a row per perturbed cell
        `gene`, `group`, `cell` (name in `obs`), `sample`, `shift`, `shift_start`, `shift_<state>`.
    `"null"` : DataFrame, a row per null gene
        `gene` that it stands beside, `group`, `null_gene`, `n_cells`, `shift`.
    `"absent"` : array of names
        Genes asked for that are not in the model's vocabulary or that no start cell expresses.
    `"skipped"` : DataFrame
        `gene`, `group`, `reason`: every combination that has no row, why.
    `"states"` : dict
        Column of the results to the state it is about.
    `"coverage"`, `"params"` : dict
        Genes recognised; arguments, model, model hash and package version.

    Raises
    ------
    KeyError
        When a column is missing; lists near names.
    ValueError
        When a state has no cells (lists those there are), states share cells, no gene is known or expressed, or an
        option is out of range.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated()
    >>> sf.tl.perturb(
    ...     adata, genes=["Hnf4"], state_key="age", start=30, goal=0, sample_key="batch"
    ... )  # doctest: +SKIP
    """
    from scflyformer import models
    from scflyformer.network._infer import embed_rows

    if pooling not in ("auto", "cell", "mean"):
        raise ValueError(f"pooling is {pooling!r}; expected 'auto', 'cell' or 'mean'.")
    check_edits(kind, n_null, max_cells)
    out, cells = _adata.start(adata, mod=mod, copy=copy)
    column = _adata.obs_column(cells, state_key, what="state_key")
    first = read_state(column, start, key=state_key, what="start")
    last = read_state(column, goal, key=state_key, what="goal")
    others = read_states(column, alt, key=state_key, what="alt")
    require_disjoint([("start", first), ("goal", last), *(("alt", state) for state in others)], key=state_key)
    samples = _samples(cells, sample_key)
    groups = None if groupby is None else _adata.obs_column(cells, groupby, what="groupby")

    loaded = models.load(model)
    if pooling == "auto":
        pooling = _features.pooling_of(loaded)
    table = _adata.synonym_table(synonyms)
    sets, unknown = read_gene_sets(genes, loaded, table)
    rows, coverage = _adata.token_rows(cells, loaded, layer=layer, gene_key=gene_key, synonyms=table)
    names = cells.obs_names.to_numpy(dtype=object)
    filled = rows.lengths > 0
    used, bare = plan_groups(
        first, last, others, filled, groups, samples=samples, names=names, max_cells=max_cells, seed=seed
    )
    if not used:
        raise ValueError(_no_group(groupby, state_key, column[filled]))
    if sample_key is None:
        _log.warning("perturb: without sample_key cells count as independent, and intervals come out too narrow.")

    network = loaded.network()
    run: dict[str, Any] = {"device": device, "batch_tokens": batch_tokens}
    run["dtype"] = "float32" if dtype == "auto" else dtype
    seen = np.unique(np.concatenate([part for group in used for part in (group.start, group.goal, *group.alt)]))
    vectors = np.zeros((len(rows), network.embedding_size(pooling)), dtype=np.float32)
    vectors[seen] = embed_rows(network, rows.take(seen), pooling=pooling, progress=_log.progress, **run)
    outcomes = run_groups(
        network,
        rows,
        vectors,
        used,
        sets,
        samples,
        kind=kind,
        pooling=pooling,
        n_tokens=loaded.vocabulary.n_tokens,
        n_null=n_null,
        seed=seed,
        progress=_log.progress,
        **run,
    )
    if not outcomes:
        shown = ", ".join(repr(one.name) for one in sets[:5]) + (", …" if len(sets) > 5 else "")
        raise ValueError(
            f"No start cell (obs[{state_key!r}] = {first.label}) expresses {shown}, so there is nothing to delete. "
            "Ask for other genes or for kind='overexpress'."
        )
    labels = [state.label for state in others]
    tables = make_tables(
        outcomes,
        kind=kind,
        alt=labels,
        names=names,
        samples=samples,
        gene_ids=loaded.vocabulary.gene_ids,
        symbols=loaded.vocabulary.names,
    )
    absent, skipped = _left_out(sets, unknown, used, bare, outcomes)
    params = _adata.run_params(
        loaded,
        kind=kind,
        state_key=state_key,
        start=first.label,
        goal=last.label,
        alt=labels,
        sample_key=sample_key,
        groupby=groupby,
        pooling=pooling,
        n_null=n_null,
        max_cells=max_cells,
        seed=seed,
        layer=layer,
        gene_key=gene_key,
        synonyms=synonyms,
        device=device,
        dtype=run["dtype"],
        ci_level=0.95,
        fdr_family="all rows of results",
    )
    found = {
        **tables,
        "absent": np.array(absent, dtype=object),
        "skipped": skipped,
        "states": dict(zip(shift_columns(labels), [last.label, first.label, *labels], strict=True)),
        "coverage": coverage,
        "params": params,
    }
    _adata.write(cells, uns={key_added: found})
    if absent:
        _log.warning(f"perturb: {len(absent)} of the genes are absent and left out: {', '.join(absent[:10])}")
    _log.info(
        f"perturb: {len(tables['results'])} results from {len(tables['cells'])} perturbed cells, "
        f"in .uns[{key_added!r}]['results']"
    )
    return out if copy else None


def _samples(cells: AnnData, key: str | None) -> np.ndarray:
    """Return the sample of each cell as text; ``"all"`` where there are none."""
    if key is None:
        return np.full(cells.n_obs, "all", dtype=object)
    column = _adata.obs_column(cells, key, what="sample_key")
    n_missing = int(column.isna().sum())
    if n_missing:
        raise ValueError(
            f"sample_key: obs[{key!r}] is missing in {n_missing} of {len(column)} cells; drop those cells."
        )
    return column.astype(str).to_numpy(dtype=object)


def _left_out(
    sets: list[GeneSet], unknown: list[str], groups: list[Group], bare: list[str], outcomes: list[Outcome]
) -> tuple[list[str], pd.DataFrame]:
    """Return the names without any result, and why each combination of gene and group has none."""
    done = {(outcome.one.name, outcome.group.name) for outcome in outcomes}
    with_result = {name for name, _ in done}
    reasons = [(name, "all", "not in the model's vocabulary") for name in unknown]
    reasons += [("all", label, "no start or no goal cells") for label in bare]
    reasons += [
        (one.name, group.name, "not expressed in the start cells")
        for one in sets
        for group in groups
        if (one.name, group.name) not in done
    ]
    absent = [*unknown, *(one.name for one in sets if one.name not in with_result)]
    return absent, pd.DataFrame(reasons, columns=["gene", "group", "reason"], dtype=object)


def _no_group(groupby: str | None, state_key: str, column: pd.Series) -> str:
    what = "No cells" if groupby is None else f"No group of obs[{groupby!r}] has cells"
    return (
        f"{what} of both start and goal with counts in the model's genes; obs[{state_key!r}] of cells with counts: "
        f"{present(column)}."
    )
