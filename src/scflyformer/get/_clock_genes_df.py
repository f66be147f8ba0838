"""Genes that a clock's ages hang on, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from scflyformer._words import one_of
from scflyformer.data._adata import open_data
from scflyformer.data._stored import stored

from ._orthologs import table_of_genes, with_orthologs

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from ._orthologs import Source

Table = Literal["results", "skipped"]


def clock_genes_df(
    adata: AnnData | MuData,
    *,
    key: str = "clock_genes",
    table: Table = "results",
    orthologs: Literal["human"] | Source | None = None,
    mod: str | None = None,
) -> pd.DataFrame:
    """Return what :func:`scflyformer.tl.clock_genes` found.

    Parameters
    ----------
    adata
        Data with such results.
    key
        Key of `uns`: the `key_added` of the run.
    table
        Which table.
    orthologs
        Adds human orthologues to ``"results"``: ``"human"``, or a table of your own, as in
        :func:`scflyformer.get.perturb_df`.
    mod
        Modality of a MuData.

    Returns
    -------
    A copy of the table, numbered from 0; its columns are described at :func:`scflyformer.tl.clock_genes`.

    ``"results"``: a row per gene (set) and group, with the change of the predicted age; with `orthologs` also
    `human_symbol` and `human_score`.

    ``"skipped"``: combinations without a row and why.

    Raises
    ------
    ConnectionError, FileNotFoundError
        When the table of orthologues could not be fetched, or is not there.
    KeyError
        When there is no such run; lists near names.
    ValueError
        When ``table`` is none of its options or has no row per gene to add `orthologs` to, or the table of orthologues
        lacks columns or scores.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.age_clock(
    ...     adata,
    ...     sample_key="batch",
    ...     features="expression",
    ...     baselines="none",
    ...     save="brain-genes",
    ... )
    >>> sf.tl.clock_genes(
    ...     adata,
    ...     clock="brain-genes",
    ...     genes=["Hsp68", "Yeti"],
    ...     sample_key="batch",
    ...     max_cells=20,
    ...     n_null=20,
    ... )
    >>> found = sf.get.clock_genes_df(adata)
    >>> found[["gene", "gene_id", "n_null"]]
        gene      gene_id  n_null
    0  Hsp68  FBgn0001230      20
    1   Yeti  FBgn0267398      20
    """
    one_of("table", table, get_args(Table))
    ids = None if orthologs is None else table_of_genes(table, {"results": "gene_id"})
    found = stored(open_data(adata, mod=mod), key, "clock_genes")[table].reset_index(drop=True).copy()
    return found if ids is None else with_orthologs(found, orthologs, genes=ids)
