"""The gene names of an object: read, resolved against a vocabulary, judged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer._settings import DEFAULT_MODEL
from scflyformer.data._columns import column
from scflyformer.data._matrix import missing_key
from scflyformer.genes._coverage import Coverage, require_coverage
from scflyformer.genes._resolve import Resolution, resolve_genes
from scflyformer.genes._spelling import as_words
from scflyformer.genes._synonyms import SynonymTable, read_synonyms

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.models._model import Model


def gene_names(adata: AnnData, gene_key: str | None) -> np.ndarray:
    """Return the gene names, ``var_names`` or the column ``gene_key`` of ``var``, as `as_words` reads them."""
    if gene_key is None:
        return as_words(adata.var_names)
    if gene_key not in adata.var:
        wrong = missing_key(gene_key, list(adata.var), what="gene_key", place="var")
        raise KeyError(f"{wrong} Leave gene_key out to take var_names.")
    return as_words(column(adata.var, gene_key, place="var"))


def unique_gene_names(adata: AnnData, gene_key: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each column among the names that there are, -1 for a column without one, and these names."""
    place, names = pd.factorize(gene_names(adata, gene_key))
    return place.astype(np.int32), np.asarray(names, dtype=object)


def all_gene_names(adata: AnnData, gene_key: str | None) -> set[str]:
    """Return every name that the object has for its genes: the names in use and other columns of text in `var`."""
    others = map(as_words, [adata.var_names, *_other_names(adata, gene_key).values()])
    return {name for names in (gene_names(adata, gene_key), *others) for name in names if name is not None}


def model_reference(model: Model) -> str:
    """Return what `models.load` takes to open a model again: its name where it is a registered one, else its folder."""
    from scflyformer.models._registry import registered

    return model.name if model.name in registered() else str(model.path)


def synonym_table(synonyms: str | os.PathLike[str] | SynonymTable | None) -> SynonymTable | None:
    """Return a synonym table as it is, or read the one named."""
    return synonyms if synonyms is None or isinstance(synonyms, SynonymTable) else read_synonyms(synonyms)


def match_genes(
    adata: AnnData,
    vocabulary: Vocabulary,
    *,
    gene_key: str | None = None,
    synonyms: str | os.PathLike[str] | SynonymTable | None = None,
    model: str = DEFAULT_MODEL,
) -> Resolution:
    """Resolve the gene names of an object; an error, which shows how to open ``model``, where not one is recognised."""
    table = synonym_table(synonyms)
    resolution = resolve_genes(gene_names(adata, gene_key), vocabulary, synonyms=table)
    if resolution.n_mapped == 0:
        coverage_of(adata, vocabulary, resolution, gene_key, table, np.full(2, np.nan), model=model)
    return resolution


def coverage_of(
    adata: AnnData,
    vocabulary: Vocabulary,
    resolution: Resolution,
    gene_key: str | None,
    table: SynonymTable | None,
    counts: np.ndarray,
    *,
    model: str = DEFAULT_MODEL,
) -> tuple[Coverage, str | None]:
    """Return what was recognised, and a warning where more could be; an error below the floor.

    ``counts`` are the sums over known genes and over all, NaN where they were not read.
    """
    kept, total = counts.tolist()
    coverage = Coverage.of(resolution, vocabulary, counts_mapped=kept, counts=total)
    warning = require_coverage(
        coverage,
        vocabulary,
        names=gene_names(adata, gene_key),
        gene_key=gene_key,
        others=_other_names(adata, gene_key),
        with_table=table is not None,
        model=model,
    )
    return coverage, warning


def _other_names(adata: AnnData, gene_key: str | None) -> dict[str, pd.Series]:
    """Return the text columns of `var` that might hold gene names and were not used."""
    once = adata.var.columns[~adata.var.columns.duplicated(keep=False)]
    columns = {name: column(adata.var, name, place="var") for name in once if name != gene_key}
    return {name: values for name, values in columns.items() if _is_text(values)}


def _is_text(values: Any) -> bool:
    """Whether a column holds text, categories of text included."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.cat.categories
    return values.dtype == object or pd.api.types.is_string_dtype(values.dtype)
