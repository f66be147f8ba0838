"""Clocks as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scflyformer._adata import open_data
from scflyformer._matrix import missing_key

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

_TABLES = ("results", "predictions", "skipped")


def clock_df(
    adata: AnnData | MuData,
    *,
    key: str = "age_clock",
    table: Literal["results", "predictions", "skipped"] = "results",
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
    A new data frame. ``"results"``: one row for each group × feature set, with R², mean absolute error and Spearman
    correlation, their intervals, and what was held out. ``"predictions"``: one row for each cell × feature set (and
    again for the cell's group) with `cell`, `group`, `sample`, `age`, `features` and `predicted`, ages in the unit of
    `age_key`. ``"skipped"``: groups without a clock and why.

    Raises
    ------
    KeyError
        When there is no such clock or table; lists near names.
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
    if table not in _TABLES:
        raise ValueError(f"table is {table!r}; expected one of {', '.join(map(repr, _TABLES))}.")
    cells = open_data(adata, mod=mod)
    if key not in cells.uns:
        raise KeyError(missing_key(key, list(cells.uns), what="key", place="uns") + " Run tl.age_clock first.")
    stored = cells.uns[key]
    if table not in stored:
        raise KeyError(f"uns[{key!r}] holds no table {table!r}: a saved clock was applied to cells without ages.")
    found = stored[table].reset_index(drop=True)
    if table != "predictions":
        return found
    fixed = ["cell", "group", "sample", "age"]
    return found.melt(id_vars=fixed, var_name="features", value_name="predicted")
