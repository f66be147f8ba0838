"""Clocks as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from scflyformer._adata import open_data
from scflyformer._matrix import missing_key

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

Table = Literal["results", "predictions", "per_age", "genes", "scale_trap", "skipped"]
#: Why a table may not be there.
_ABSENT = {
    "genes": "no clock on expression was fitted. Run tl.age_clock with baselines='auto' or features='expression'.",
    "scale_trap": "the article's recipe was not run. Run tl.age_clock with baselines='auto'.",
}


def clock_df(
    adata: AnnData | MuData,
    *,
    key: str = "age_clock",
    table: Table = "results",
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
    those fits that agree on the sign) and `top_share` (share of those fits in which it is among the 50 largest).

    ``"scale_trap"``: the R² of the article's recipe (`r2`) for each group × `scale` by which its features were
    multiplied, which a sound recipe would not notice.

    ``"skipped"``: groups without a clock and why.

    Raises
    ------
    KeyError
        When there is no such clock, or the call made no such table; says what makes it.
    ValueError
        When `table` is none of its options.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated()
    >>> sf.tl.age_clock(adata, sample_key="batch", baselines="none")
    >>> sf.get.clock_df(adata)["features"].tolist()
    ['embedding', 'depth', 'mean']
    """
    if table not in get_args(Table):
        raise ValueError(f"table is {table!r}; expected one of {', '.join(map(repr, get_args(Table)))}.")
    cells = open_data(adata, mod=mod)
    if key not in cells.uns:
        raise KeyError(missing_key(key, list(cells.uns), what="key", place="uns") + " Run tl.age_clock first.")
    stored = cells.uns[key]
    if table not in stored:
        raise KeyError(f"uns[{key!r}] holds no table {table!r}: {_why_absent(stored, table)}")
    found = stored[table].reset_index(drop=True)
    if table != "predictions":
        return found
    fixed = ["cell", "group", "sample", "age"]
    return found.melt(id_vars=fixed, var_name="features", value_name="predicted")


def _why_absent(stored: Mapping[str, Any], table: str) -> str:
    """Say why a table is not there, and what makes it."""
    if "results" not in stored:
        return "a saved clock was applied to cells without ages."
    if (stored["results"]["split"].astype(str) == "external").all():
        return "a saved clock was applied, and only a call that fits clocks writes it."
    return _ABSENT.get(table, "it is not among what this version of the clock wrote. Run tl.age_clock again.")
