"""Columns of `obs` and `var` and the names of cells, read in one way and checked once for everybody."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data._matrix import missing_key

if TYPE_CHECKING:
    from anndata import AnnData

NO_LABEL = frozenset(
    ("", "nan", "none", "na", "n/a", "<na>", "nat", "unknown", "unannotated", "unassigned", "unlabelled", "unlabeled")
)
"""Words, in any case, that say that a cell has no label."""
_WHOLE = re.compile(r"-?\d+\.0+")
_CHECKSUM_MARK = "\n"
"""What stands between the name of a cell and the checksum that tells it from others of that name."""


def column(frame: Any, key: str, *, place: str) -> pd.Series:
    """Return a column of `obs` or `var`, in memory where the object is lazy; an error where several have this name."""
    values = frame[key]
    if isinstance(values, pd.DataFrame):
        raise ValueError(
            f"adata.{place} has {values.shape[1]} columns called {key!r}; expected one. Rename them, or keep the "
            f"first: adata.{place} = adata.{place}.loc[:, ~adata.{place}.columns.duplicated()]"
        )
    values = values if isinstance(values, pd.Series) else values.to_series()
    if isinstance(values.dtype, np.dtype) and not values.dtype.isnative:  # pandas sorts and groups native numbers only
        values = values.astype(values.dtype.newbyteorder("="))
    return values


def obs_column(adata: AnnData, key: str, *, what: str) -> pd.Series:
    """Return a column of `obs`; an error, which names the argument ``what``, where there is none or several."""
    if key not in adata.obs:
        raise KeyError(missing_key(key, list(adata.obs), what=what, place="obs"))
    return column(adata.obs, key, place="obs")


def obs_text(adata: AnnData, key: str, *, what: str) -> np.ndarray:
    """Return a column of `obs` as text, see `as_text`; arguments as for :func:`obs_column`."""
    return as_text(obs_column(adata, key, what=what))


def as_text(values: pd.Series) -> np.ndarray:
    """Return values as text, object, `None` where they are missing.

    3, 3.0 and "3" give the same, and so does "3.0" where all are whole numbers with a decimal point: such text comes
    from a column of floats.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        names = np.array([*_text_list(values.cat.categories.to_series()), None], dtype=object)
        return names[values.cat.codes.to_numpy()]
    return np.array(_text_list(values), dtype=object)


def _text_list(values: pd.Series) -> list[str | None]:
    missing = values.isna().to_numpy()
    single = values if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f" else values.astype(object)
    objects = single.to_numpy()  # of single precision, so that 0.1 reads so
    texts = [None if is_missing else text_of(value) for value, is_missing in zip(objects, missing, strict=True)]
    words = {text for text in texts if text is not None and _is_label(text)}
    if words and all(_WHOLE.fullmatch(word) for word in words):
        return [text[: text.index(".")] if text in words else text for text in texts]  # type: ignore[index,union-attr]
    return texts


def text_of(value: Any) -> str:
    """Return a value as text, a whole number without a decimal point."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def labels_of(values: pd.Series) -> np.ndarray:
    """Return labels as text, object, `None` for cells without one: missing, or a word of `NO_LABEL`."""
    text = as_text(values)
    text[[not _is_label(label) for label in text]] = None
    return text


def _is_label(text: str | None) -> bool:
    return text is not None and text.strip().casefold() not in NO_LABEL


def cell_names(adata: AnnData, *, layer: str | None) -> np.ndarray:
    """Return a name of each cell that does not depend on the order of cells, as text.

    These are the names in `obs_names`. Where they repeat, a checksum of the cell's values is added, so that cells of
    one name and different values can be told apart; `plain_names` takes it off.
    """
    names = adata.obs_names.to_numpy().astype(str).astype(object)
    repeated = adata.obs_names.duplicated(keep=False)
    if not repeated.any():
        return names
    from scflyformer.data._chunks import value_checksums

    _log.warning(
        f"obs_names repeat: {repeated.sum()} of {adata.n_obs} cells share their name with another cell and are told "
        "apart by their values. adata.obs_names_make_unique() gives each a name of its own."
    )
    sums = value_checksums(adata, layer=layer)
    pairs = zip(names[repeated], sums[repeated], strict=True)
    names[repeated] = [f"{name}{_CHECKSUM_MARK}{checksum:016x}" for name, checksum in pairs]
    return names


def plain_names(names: np.ndarray) -> np.ndarray:
    """Return the names of `cell_names` as they stand in `obs_names`."""
    return np.array([str(name).partition(_CHECKSUM_MARK)[0] for name in names], dtype=object)
