"""Perturbation results as a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import pandas as pd

from scflyformer._adata import open_data
from scflyformer._matrix import missing_key

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def perturb_df(
    adata: AnnData | MuData,
    *,
    key: str = "perturb",
    table: Literal["results", "cells", "null"] = "results",
    genes: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    mod: str | None = None,
) -> pd.DataFrame:
    """Return what :func:`scflyformer.tl.perturb` found.

    Parameters
    ----------
    adata
        Data with perturbation results.
    key
        Key of `uns`: the `key_added` of the run.
    table
        ``"results"``: a row per gene (set) and group. ``"cells"``: a row per perturbed cell. ``"null"``: a row per null
        gene.
    genes
        Only these, named as they were asked for.
    groups
        Only these groups.
    mod
        Modality of a MuData.

    Returns
    -------
    A copy of the table, numbered from 0; its columns are described at :func:`scflyformer.tl.perturb`.

    Raises
    ------
    KeyError
        When there is no such run, gene or group; lists near names.
    ValueError
        When ``table`` is none of its options.

    Examples
    --------
    >>> import scflyformer as sf
    >>> sf.get.perturb_df(adata, table="cells")  # doctest: +SKIP
    """
    if table not in ("results", "cells", "null"):
        raise ValueError(f"table is {table!r}; expected 'results', 'cells' or 'null'.")
    data = open_data(adata, mod=mod)
    run = data.uns.get(key)
    if not hasattr(run, "keys") or "results" not in run or "cells" not in run:
        known = [
            name for name, value in data.uns.items() if hasattr(value, "keys") and {"results", "null"} <= set(value)
        ]
        raise KeyError(missing_key(key, known, what="key", place="uns") + " Run tl.perturb first.")
    found = run[table]
    keep = pd.Series(True, index=found.index)
    for column, wanted, what in (("gene", genes, "genes"), ("group", groups, "groups")):
        if wanted is None:
            continue
        names = [wanted] if isinstance(wanted, str) else [str(name) for name in wanted]
        known = list(dict.fromkeys(run["results"][column].astype(str)))
        for name in names:
            if name not in known:
                raise KeyError(missing_key(name, known, what=what, place=f"uns[{key!r}]['results']"))
        keep &= found[column].astype(str).isin(names)
    return found[keep].reset_index(drop=True).copy()
