"""What the published fly atlases leave to find out: the library of each cell, the FlyBase id of each gene."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer._settings import settings
from scflyformer.data._columns import as_text, column
from scflyformer.data._gene_names import synonym_table
from scflyformer.data._matrix import missing_key
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._spelling import as_words

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.genes._vocabulary import Vocabulary

LIBRARY_COLUMNS = ("batch", "batch_id", "library", "library_id", "sample", "sample_id", "fca_id", "donor_id")
"""Columns of `obs` that hold the library, the first that is there and complete."""
GROUP_COLUMNS = ("dataset", "tissue", "sex", "age")
"""Columns that together stand for the library where nothing names it."""
MODELS = ("fly", "fly-tiny")
_BARCODE = re.compile(r"[ACGTN]{8,}[-_]*")
_FLYBASE = re.compile(r"FBgn\d{7}")
_LEAST_CELLS = 20
"""Cells a library has on average, where the ends of the cells' names are taken for it."""


def libraries(adata: AnnData, batch_key: str | None = None) -> tuple[np.ndarray, str]:
    """Return the library of each cell as text, and in words where it comes from.

    It is the column ``batch_key``, else the first of `LIBRARY_COLUMNS` without gaps, else what stands behind the
    barcode in the names of cells (``ACGT…-d55c64e6__FCA4_Male_Adult_Head1``), else the columns `GROUP_COLUMNS` joined,
    which is no library: it holds all libraries of a tissue, sex and age.
    """
    obs = adata.obs
    if batch_key is not None:
        if batch_key not in obs:
            raise KeyError(missing_key(batch_key, list(obs), what="batch_key", place="obs"))
        values = as_text(column(obs, batch_key, place="obs"))
        if n_missing := sum(value is None for value in values):
            raise ValueError(f"obs[{batch_key!r}] is missing for {n_missing} cells; expected the library of each cell.")
        return values.astype(str), f"obs[{batch_key!r}]"
    for name in LIBRARY_COLUMNS:
        if name in obs:
            values = as_text(column(obs, name, place="obs"))
            if all(value is not None for value in values):
                return values.astype(str), f"obs[{name!r}]"
    ends = np.array([_library_in(name) for name in adata.obs_names.astype(str)], dtype=object)
    if (ends != "").all() and 2 <= len(set(ends)) <= max(len(ends) / _LEAST_CELLS, 2):
        return ends.astype(str), "the names of the cells"
    groups = [name for name in GROUP_COLUMNS if name in obs]
    if not groups:
        raise KeyError(
            f"There is no library of each cell: obs has none of {', '.join(LIBRARY_COLUMNS)}, nor one of "
            f"{', '.join(GROUP_COLUMNS)}. Its columns: {', '.join(map(str, obs)) or 'none'}. Name the one "
            "that holds it: batch_key= in sf.datasets, sample_key= in tl.pretrain."
        )
    parts = [as_text(column(obs, name, place="obs")) for name in groups]
    return np.array(["_".join(map(str, each)) for each in zip(*parts, strict=True)]), " × ".join(groups)


def _library_in(name: str) -> str:
    """Return what stands behind the barcode in the name of a cell, of several parts the last."""
    barcode = _BARCODE.match(name)
    return "" if barcode is None else name[barcode.end() :].rpartition("__")[2]


def flybase_ids(var: pd.DataFrame) -> tuple[np.ndarray, str]:
    """Return the FlyBase id of each gene as text, its own name where none is known, and in words how many are ids.

    Ids come from a column of `var`, or from the names. Else the names are looked up in `settings.synonyms` and in the
    vocabulary of a model that is on this computer.
    """
    names = np.array([name or "" for name in as_words(var.index)], dtype=object)
    once = var.columns[~var.columns.duplicated(keep=False)]
    others = {name: column(var, name, place="var") for name in once}
    text = {
        name: values for name, values in others.items() if values.dtype == object or values.dtype.kind not in "biuf"
    }
    for place, values in {"the names": names, **text}.items():
        words = np.array([word or "" for word in as_words(values)], dtype=object)
        are_ids = np.array([_FLYBASE.fullmatch(word) is not None for word in words])
        if are_ids.mean() > 0.5:
            return np.where(are_ids, words, names).astype(str), _said(are_ids, place)
    ids, known = names.copy(), np.zeros(len(names), dtype=bool)
    table = synonym_table(settings.synonyms)
    if table is not None:
        for position, name in enumerate(names):
            gene = table.current.get(name) or table.synonyms.get(name)
            ids[position], known[position] = gene or name, gene is not None
    if (vocabulary := _vocabulary()) is not None:
        index = resolve_genes(names, vocabulary, synonyms=table).index
        found = (index >= 0) & ~known
        ids[found], known = vocabulary.gene_ids[index[found]], known | found
    return ids.astype(str), _said(known, "the synonym table and the model's genes" if table else "the model's genes")


def _said(known: np.ndarray, place: str) -> str:
    rest = "" if known.all() else "; the others keep their name (sf.settings.synonyms = 'flybase' knows more)"
    return f"FlyBase ids of {known.sum():,} of {len(known):,} genes, by {place}{rest}"


def _vocabulary() -> Vocabulary | None:
    """Return the genes of the largest fly model that is on this computer."""
    from scflyformer.models._load import at_hand, load

    return next((load(name).vocabulary for name in MODELS if at_hand(name)), None)
