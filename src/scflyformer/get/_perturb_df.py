"""Perturbation results as a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import pandas as pd

from scflyformer._words import one_of
from scflyformer.data._adata import open_data
from scflyformer.data._matrix import missing_key
from scflyformer.data._stored import not_run, stored

from ._orthologs import table_of_genes, with_orthologs

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from ._orthologs import Source

Table = Literal[
    "results", "cells", "null", "separability", "screen", "agreement", "interactions", "downstream", "skipped"
]
#: Why a table may not be there.
_ABSENT = {
    "null": "all genes were asked for, and each is a null gene of others: their shifts are in the results.",
    "screen": "the genes were not screened. Run sf.tl.perturb with genes='all' and method='screen'.",
    "agreement": "the genes were not screened. Run sf.tl.perturb with genes='all' and method='screen'.",
    "interactions": "no pairs were perturbed. Run sf.tl.perturb with tuples of two names in genes.",
    "downstream": "no downstream genes were asked for. Run sf.tl.perturb with downstream=20.",
}
_MAKES = {
    "age": " Run sf.tl.perturb with the folder of a clock in readouts=.",
    "probability": " Run sf.tl.perturb with the folder of a classifier in readouts=.",
}
"""What makes a readout that not every run has."""
#: Columns that name the gene of a row: those of a pair are found by the pair and by either gene.
_GENES = ("gene", "gene_a", "gene_b")
#: Tables with a row per gene, and the column with its id.
_IDS = {"results": "gene_id", "screen": "gene_id", "downstream": "target_id"}


def perturb_df(
    adata: AnnData | MuData,
    *,
    key: str = "perturb",
    table: Table = "results",
    readout: str | None = "shift",
    genes: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    orthologs: Literal["human"] | Source | None = None,
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
        Which table.
    readout
        Rows of ``"results"``: ``"shift"``, towards the goal; ``"net_shift"``, less that towards the start, and its
        parts ``"net_shift_linear"`` and ``"net_shift_transformer"``; ``"shift_start"``, ``"shift_<state>"``; ``"age"``
        and ``"probability"``, where a clock or a classifier was read off. `None`: all.
    genes
        Only these, named as they were asked for. Of ``"interactions"``: pairs of that name, or with one of these
        genes. Tables without genes come whole.
    groups
        Only these groups.
    orthologs
        Adds human orthologues to ``"results"`` and ``"screen"``, and to ``"downstream"`` those of its targets.
        ``"human"``: FlyBase's table of DIOPT scores, fetched once and kept in the cache folder. Else a table of your
        own, a DataFrame or the path of a file of tab-separated columns: `fly` (FBgn), `human` and `score`; FlyBase's
        and babelgene's are read as they are.
    mod
        Modality of a MuData.

    Returns
    -------
    A copy of the table, numbered from 0; its columns are described at :func:`scflyformer.tl.perturb`.

    ``"results"``: a row per gene (set) and group, with its shift (or the change in another ``readout``), interval and
    p-value.

    ``"cells"``: a row per perturbed cell.

    ``"null"``: a row per null gene of genes asked for by name.

    ``"separability"``: a row per group: how well start and goal cells can be told apart.

    ``"screen"``: a row per gene and group that a screen ran exactly, with the first-order estimate and the exact net
    shift. ``"agreement"``: a row per group with the rank correlation of the two.

    ``"interactions"``: a row per pair and group: the shift of both together less the sum of each alone.

    ``"downstream"``: a row per gene, group and target: the genes that change most.

    ``"skipped"``: combinations without a row and why.

    With `orthologs` two columns follow: `human_symbol`, the human gene of the highest score, empty where none is
    listed, and where several share that score all of them, in the order of the alphabet, joined by ``|``; and
    `human_score`, NaN where none is listed. Scores are those of the table: of ``"human"``, how many methods of DIOPT
    find the pair. Of a gene set the symbols are joined by ``+`` in the order of `gene_id`, ``-`` for a gene without
    one, and the score is the lowest, NaN where a gene has none.

    Raises
    ------
    ConnectionError
        When FlyBase's table of orthologues could not be fetched; says which file to download.
    FileNotFoundError
        When there is no table of orthologues at the path.
    KeyError
        When there is no such run, gene, group or readout (lists near names), or the run made no such table (says what
        makes it).
    ValueError
        When ``table`` is none of its options or has no row per gene to add `orthologs` to, or the table of orthologues
        lacks columns or scores.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.perturb(
    ...     adata,
    ...     genes=["Msp300", "Hsp68"],
    ...     state_key="age",
    ...     start=30,
    ...     goal=0,
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     n_null=10,
    ...     max_cells=10,
    ... )
    >>> results = sf.get.perturb_df(adata)
    >>> results[["gene", "group", "n_cells", "n_samples", "test"]]
         gene group  n_cells  n_samples        test
    0  Msp300   all        9          3  null genes
    1   Hsp68   all       10          3  null genes
    >>> cells = sf.get.perturb_df(adata, table="cells", genes="Hsp68")
    >>> len(cells)
    10
    >>> sf.get.perturb_df(adata, table="null").columns.tolist()[:6]
    ['gene', 'group', 'null_gene', 'n_cells', 'shift', 'shift_start']

    With human orthologues from a table of your own (these scores are made up):

    >>> import pandas as pd
    >>> pairs = pd.DataFrame(
    ...     {
    ...         "fly": ["FBgn0001230", "FBgn0001230"],
    ...         "human": ["HSPA1B", "HSPA1A"],
    ...         "score": [9, 9],
    ...     }
    ... )
    >>> human = sf.get.perturb_df(adata, orthologs=pairs)
    >>> human[["gene", "human_symbol", "human_score"]]
         gene   human_symbol  human_score
    0  Msp300                         NaN
    1   Hsp68  HSPA1A|HSPA1B          9.0
    """
    one_of("table", table, get_args(Table))
    ids = None if orthologs is None else table_of_genes(table, _IDS)
    data = open_data(adata, mod=mod)
    run = stored(data, key, "perturb")
    if not {"results", "cells"} <= set(run):
        raise KeyError(not_run(data, key, "perturb"))
    if table not in run:
        why = _ABSENT.get(table, "it is not among what this version of the run wrote. Run sf.tl.perturb again.")
        raise KeyError(f"uns[{key!r}] holds no table {table!r}: {why}")
    found = run[table]
    if table == "results" and readout is not None:
        if "readout" not in found:
            raise KeyError(
                f"uns[{key!r}]['results'] has no column 'readout': an earlier version wrote it. Run sf.tl.perturb "
                "again, or pass readout=None for the table as it is."
            )
        known = list(dict.fromkeys(found["readout"].astype(str)))
        if readout not in known:
            wrong = missing_key(readout, known, what="readout", place=f"uns[{key!r}]['results']")
            raise KeyError(wrong + _MAKES.get(readout, ""))
        found = found[found["readout"].astype(str) == readout]
    keep = pd.Series(True, index=found.index)
    for columns, wanted, what in ((_GENES, genes, "genes"), (("group",), groups, "groups")):
        if wanted is None:
            continue
        names = [wanted] if isinstance(wanted, str) else [str(name) for name in wanted]
        own = [found[column].astype(str) for column in columns if column in found]
        known = list(dict.fromkeys(pd.concat([run["results"][columns[0]].astype(str), *own])))
        for name in names:
            if name not in known:
                raise KeyError(missing_key(name, known, what=what, place=f"uns[{key!r}]['results']"))
        if own:
            keep &= pd.concat([column.isin(names) for column in own], axis=1).any(axis=1)
    found = found[keep].reset_index(drop=True).copy()
    return found if ids is None else with_orthologs(found, orthologs, genes=ids)
