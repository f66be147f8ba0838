"""Results go back into AnnData, under named keys: all of them or none."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer._version import __version__

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.models._model import Model


def check_key_added(key_added: str, ends: Sequence[str], **reads: str | None) -> None:
    """Refuse a key with ``/``, and results written over a column of `obs` that the call reads.

    ``ends`` are what the keys written end with; ``reads`` the columns read, by the name of their argument.
    """
    if "/" in key_added:
        raise ValueError(_slash(key_added))
    for name, key in reads.items():
        if key is not None and key in {f"{key_added}{end}" for end in ends}:
            raise ValueError(
                f"{name} is {key!r}, a column that the result would be written over; pass another key_added, such as "
                "key_added='predicted'."
            )


def write(
    adata: AnnData,
    *,
    obs: Mapping[str, Any] | None = None,
    obsm: Mapping[str, Any] | None = None,
    uns: Mapping[str, Any] | None = None,
) -> None:
    """Write results under named keys: all of them or, where one does not fit or cannot be stored, none.

    The values of ``obs`` are in the order of the cells; their index is not looked at. A view becomes an object of its
    own. Columns that were there without their entry in ``uns`` were not ours; the log says that they are overwritten.
    """
    obs, obsm, uns = dict(obs or {}), dict(obsm or {}), dict(uns or {})
    for place, entries in (("obs", obs), ("obsm", obsm), ("uns", uns)):
        for key, value in entries.items():
            if "/" in key:
                raise ValueError(_slash(key))
            n_rows = adata.n_obs if place == "uns" else value.shape[0] if hasattr(value, "shape") else len(value)
            if n_rows != adata.n_obs:
                raise ValueError(f"{place}[{key!r}] has {n_rows} rows; expected one for each of {adata.n_obs} cells.")
    for key, value in uns.items():
        _check_storable(value, f"uns[{key!r}]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a view says that it becomes an object of its own
        if adata.is_view:
            adata.uns = adata.uns.copy()
    foreign = [key for key in obs if key in adata.obs] if not uns.keys() & adata.uns.keys() else []
    before = {name: dict(getattr(adata, name)) for name in ("obsm", "uns")}
    columns = adata.obs.copy(deep=False)
    try:
        for key, value in obs.items():
            adata.obs[key] = value.array if isinstance(value, pd.Series) else value
        for key, value in obsm.items():
            adata.obsm[key] = value
        for key, value in uns.items():
            adata.uns[key] = value
    except BaseException:
        adata.obs = columns
        adata.obsm, adata.uns = before["obsm"], before["uns"]
        raise
    if foreign:
        names = ", ".join(f"obs[{key!r}]" for key in foreign)
        _log.warning(f"{names} held something else before and is overwritten; key_added= names results otherwise.")


def _slash(key: str) -> str:
    return f"The key {key!r} holds '/', which h5ad and zarr take for a folder; name it otherwise."


def _check_storable(value: Any, path: str) -> None:
    """Refuse what h5ad or zarr could not hold, before anything is written."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or "/" in key:
                raise ValueError(f"{path} holds the key {key!r}; h5ad and zarr need text keys without '/'.")
            _check_storable(inner, f"{path}[{key!r}]")
    elif value is None:
        raise ValueError(f"{path} is None, which h5ad and zarr cannot hold; leave it out or write 'none'.")


def run_params(model: Model | None = None, **params: Any) -> dict[str, Any]:
    """Return what a call ran with, and the version, as plain values that h5ad and zarr hold.

    `None` becomes ``"none"``, a path or another object its text, a list or tuple an array of one type (of text where
    mixed), and a mapping a dictionary with ``/`` in keys replaced by ``|``.
    """
    about = {} if model is None else {"model": model.name, "model_sha256": model.sha256}
    return {"scflyformer_version": __version__, **about, **{key: _as_storable(value) for key, value in params.items()}}


def _as_storable(value: Any) -> Any:
    if value is None:
        return "none"
    if isinstance(value, bool | int | float | str | np.generic):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key).replace("/", "|"): _as_storable(inner) for key, inner in value.items()}
    if isinstance(value, pd.Series | pd.Index):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
        number = all(isinstance(item, int | float | np.number) and not isinstance(item, bool) for item in items)
        return np.asarray(items) if number and items else np.asarray([str(item) for item in items], dtype=object)
    return str(value)
