"""What a tool has stored in `uns`, and what to say where it is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scflyformer.data._adata import obs_column
from scflyformer.data._matrix import missing_key

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

#: What tells the results of a tool from those of another: all names of one of its sets.
_MARKS: dict[str, tuple[set[str], ...]] = {
    "annotate": ({"classes", "temperature"},),
    "age_clock": ({"results", "predictions"}, {"n_outside"}),
    "perturb": ({"results", "cells"},),
    "annotation_genes": ({"results", "groups", "absent"},),
    "clock_genes": ({"results", "absent", "skipped"},),
}


def stored(data: AnnData, key: str, tool: str) -> Mapping[str, Any]:
    """Return what ``tl.<tool>`` wrote under a key of `uns`; an error where there is nothing of that tool."""
    results = data.uns.get(key)
    names = set().union(*_MARKS[tool])
    if not isinstance(results, Mapping) or not names & set(results) or (not _is_of(results, tool) and _writer(results)):
        raise KeyError(not_run(data, key, tool))
    return results


def not_run(data: AnnData, key: str, tool: str) -> str:
    """Return the message for results that are not in `uns`: the keys to read instead, else the call that makes them."""
    known = [str(name) for name, value in data.uns.items() if _is_of(value, tool)]
    if key in data.uns:
        writer = _writer(data.uns[key])
        message = f"key: adata.uns[{key!r}] holds no results of tl.{tool}{f' but of tl.{writer}' if writer else ''}."
        message += f" There are: {', '.join(map(repr, known))}." if known else ""
    else:
        message = missing_key(key, known, what="key", place="uns") if known else f"key: no {key!r} in adata.uns."
    if known:
        return f"{message} Pass key={known[0]!r}, or run sf.tl.{tool}(adata, ..., key_added={key!r}) first."
    return f"{message} Run sf.tl.{tool}(adata, ...) first."


def annotated_column(data: AnnData, key: str, *, column: str | None = None) -> pd.Series:
    """Return a column of `obs` that `tl.annotate` wrote: the labels under ``key``, or ``column`` beside them."""
    column = key if column is None else column
    if column in data.obs:
        return obs_column(data, column, what="key")
    written = [str(name) for name, value in data.uns.items() if _is_of(value, "annotate") and name in data.obs]
    message = missing_key(column, written or list(data.obs), what="key", place="obs")
    base = key.removesuffix("_best")
    again = "" if base == "annotation" else f", key_added={base!r}"
    raise KeyError(f"{message} Run sf.tl.annotate(adata, ...{again}) first, or name another column by key=.")


def _is_of(value: object, tool: str) -> bool:
    return isinstance(value, Mapping) and any(marks <= set(value) for marks in _MARKS[tool])


def _writer(value: object) -> str | None:
    """Return the tool that wrote something, where its marks tell."""
    return next((tool for tool in _MARKS if _is_of(value, tool)), None)
