"""Clocks as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from scflyformer._words import one_of
from scflyformer.data._adata import open_data
from scflyformer.data._stored import stored

from ._orthologs import table_of_genes, with_orthologs

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from ._orthologs import Source

Table = Literal["results", "predictions", "per_age", "genes", "scale_trap", "skipped", "no_interval"]
#: Why a table may not be there.
_ABSENT = {
    "genes": "no clock on expression was fitted. Run sf.tl.age_clock with baselines='auto' or features='expression'.",
    "scale_trap": "the article's recipe was not run. Run sf.tl.age_clock with baselines='auto'.",
}


def clock_df(
    adata: AnnData | MuData,
    *,
    key: str = "age_clock",
    table: Table = "results",
    orthologs: Literal["human"] | Source | None = None,
    mod: str | None = None,
) -> pd.DataFrame:
    """Return what :func:`scflyformer.tl.age_clock` wrote as a data frame.

    Parameters
    ----------
    adata
        Cells with predicted ages.
    key
        The `key_added` of the call.
    table
        Which table.
    orthologs
        Adds human orthologues to ``"genes"``: ``"human"``, or a table of your own, as in
        :func:`scflyformer.get.perturb_df`. Genes are looked up by FBgn, or by the symbol where the table has it.
    mod
        Modality of a MuData.

    Returns
    -------
    A new data frame; ages and errors are in the unit of `age_key`.

    ``"results"``: one row for each group × feature set, with R², mean absolute error and Spearman correlation, their
    intervals, how the prediction intervals cover, and what was held out.

    ``"predictions"``: one row for each cell × feature set (and again for the cell's group) with `cell`, `group`,
    `sample`, `age`, `features` and `predicted`.

    ``"per_age"``: one row for each group × feature set × age with `n_cells`, `n_samples`, `bias` (mean over samples of
    predicted less true age) and `mae`: clocks are too old for the young and too young for the old.

    ``"genes"``: one row for each group × gene on which the expression clock leans, with `weight` (change of the target
    per standard deviation of log expression), `weight_sd` (over the fits that leave a fold out), `same_sign` (share of
    those fits that agree on the sign) and `top_share` (share of those fits in which it is among the 50 largest). With
    `orthologs` also `human_symbol` and `human_score`.

    ``"scale_trap"``: the R² of the article's recipe (`r2`) for each group × `scale` by which its features were
    multiplied, which a sound recipe would not notice.

    ``"skipped"``: groups without a clock and why. ``"no_interval"``: groups without prediction intervals and why.

    Raises
    ------
    ConnectionError, FileNotFoundError
        When the table of orthologues could not be fetched, or is not there.
    KeyError
        When there is no such clock, or the call made no such table; says what makes it.
    ValueError
        When `table` is none of its options or has no row per gene to add `orthologs` to, or the table of orthologues
        lacks columns or scores.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.age_clock(
    ...     adata,
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines=["expression"],
    ... )
    >>> results = sf.get.clock_df(adata)
    >>> results[["features", "n_cells", "n_samples", "split"]]
         features  n_cells  n_samples   split
    0   embedding      200         21  sample
    1  expression      200         21  sample
    2       depth      200         21  sample
    3        mean      200         21  sample
    >>> sf.get.clock_df(adata, table="predictions").columns.tolist()
    ['cell', 'group', 'sample', 'age', 'features', 'predicted']
    >>> ages = sf.get.clock_df(adata, table="per_age")
    >>> ages.loc[ages["features"] == "embedding", "age"].tolist()
    [0.0, 1.0, 3.0, 6.0, 9.0, 15.0, 30.0]
    """
    one_of("table", table, get_args(Table))
    names = None if orthologs is None else table_of_genes(table, {"genes": "gene"})
    cells = open_data(adata, mod=mod)
    run = stored(cells, key, "age_clock")
    if table not in run:
        raise KeyError(f"uns[{key!r}] holds no table {table!r}: {_why_absent(run, table)}")
    found = run[table].reset_index(drop=True)
    if names is not None:
        return with_orthologs(found, orthologs, genes=names)
    if table != "predictions":
        return found
    fixed = ["cell", "group", "sample", "age"]
    return found.melt(id_vars=fixed, var_name="features", value_name="predicted")


def _why_absent(run: Mapping[str, Any], table: str) -> str:
    """Say why a table is not there, and what makes it."""
    if "results" not in run:
        return (
            "a clock was applied to cells without known ages, so that there is nothing to score. Ages are in obs[key]."
        )
    if (run["results"]["split"].astype(str) == "external").all():
        return "a saved clock was applied, and only a call that fits clocks writes it."
    return _ABSENT.get(table, "it is not among what this version of the clock wrote. Run sf.tl.age_clock again.")
