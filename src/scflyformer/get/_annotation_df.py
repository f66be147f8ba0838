"""Annotations as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import pandas as pd

from scflyformer._words import one_of
from scflyformer.data._adata import obs_column, open_data
from scflyformer.data._stored import stored

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

Table = Literal["cells", "proba", "metrics", "per_class", "groups"]


def annotation_df(
    adata: AnnData | MuData,
    *,
    key: str = "annotation",
    table: Table = "cells",
    mod: str | None = None,
) -> pd.DataFrame:
    """Return what :func:`scflyformer.tl.annotate` wrote as a data frame.

    Parameters
    ----------
    adata
        Annotated cells.
    key
        The `key_added` of the call.
    table
        Which table.
    mod
        Modality of a MuData.

    Returns
    -------
    A new data frame. ``"cells"``: one row a cell (index: its name) with `label`, `best`, `score` and, where they are
    there, `novelty`, `fbbt`, `fbbt_name` and `level`. ``"proba"``: one row a cell, one column a class, with calibrated
    probabilities. ``"metrics"``: one row for each feature set, with held-out scores. ``"per_class"``: one row a class,
    with its held-out scores. ``"groups"``: one row for each group of `groupby`.

    Raises
    ------
    KeyError
        When there is no such annotation or table; lists near names.
    ValueError
        When `table` is none of its options.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.annotate(
    ...     adata,
    ...     label_key="cell_type",
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines="none",
    ... )
    >>> sf.get.annotation_df(adata).columns.tolist()
    ['label', 'best', 'score', 'novelty']
    >>> metrics = sf.get.annotation_df(adata, table="metrics")
    >>> metrics[["features", "n_cells", "n_samples", "split"]]
        features  n_cells  n_samples   split
    0  embedding      200         21  sample
    >>> sf.get.annotation_df(adata, table="per_class").columns.tolist()
    ['label', 'n_cells', 'recall', 'precision', 'f1']
    """
    one_of("table", table, get_args(Table))
    cells = open_data(adata, mod=mod)
    found = stored(cells, key, "annotate")
    if table == "cells":
        columns = {"label": key, "best": f"{key}_best", "score": f"{key}_score"}
        further = ("novelty", "fbbt", "fbbt_name", "level")
        columns |= {name: f"{key}_{name}" for name in further if f"{key}_{name}" in cells.obs}
        return pd.DataFrame({name: obs_column(cells, column, what="key") for name, column in columns.items()})
    if table == "proba":
        return pd.DataFrame(cells.obsm[f"{key}_proba"], index=cells.obs_names, columns=list(found["classes"]))
    if table not in found:
        remedy = "Pass groupby= to sf.tl.annotate." if table == "groups" else "Run sf.tl.annotate again."
        raise KeyError(f"uns[{key!r}] holds no table {table!r}. {remedy}")
    return found[table].reset_index(drop=True)
