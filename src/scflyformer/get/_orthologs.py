"""Columns of human orthologues for a table of genes."""

from __future__ import annotations

import os
from typing import TypeAlias

import pandas as pd

from scflyformer import _log
from scflyformer.genes._orthologs import NONE, read_orthologs

Source: TypeAlias = str | os.PathLike[str] | pd.DataFrame
"""``"human"``, the path of a table of orthologues, or the table."""


def with_orthologs(table: pd.DataFrame, source: Source | None, *, genes: str) -> pd.DataFrame:
    """Return a table with `human_symbol` and `human_score` of its column ``genes``; as it is for `None`."""
    if source is None:
        return table
    found = read_orthologs(source).of(table[genes].astype(str))
    if len(found) and (found["human_symbol"] == NONE).all():
        _log.warning(
            f"orthologs: none of the {table[genes].nunique()} genes (such as {table[genes].iloc[0]}) has a human "
            "orthologue there. Fly genes are looked up by id, or by the symbol where the table has it."
        )
    return table.assign(**{name: column.to_numpy() for name, column in found.items()})


def table_of_genes(table: str, known: dict[str, str]) -> str:
    """Return the column with the genes of a table that has a row for each; an error for other tables."""
    if table not in known:
        raise ValueError(
            f"orthologs goes with table {' or '.join(map(repr, known))}, which has a row per gene; got {table!r}."
        )
    return known[table]
