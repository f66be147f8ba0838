"""The embedding that a call works on: which model made it, whether it still fits the data, and a new one where not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scflyformer import _log
from scflyformer._settings import settings
from scflyformer.data._freshness import reason_not_to_use
from scflyformer.data._matrix import missing_key
from scflyformer.data._vectors import embed_cells

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.data._reading import Reading
    from scflyformer.models import Model

EMBEDDING_KEY = "X_scflyformer"


def made_by(adata: AnnData, use_rep: str) -> dict[str, Any]:
    """Return what `uns` says about how `obsm[use_rep]` was made; empty where there is none or it says nothing."""
    entry = adata.uns.get(use_rep) if use_rep in adata.obsm else None
    return dict(entry.get("params", {})) if isinstance(entry, Mapping) else {}


def choose_model(adata: AnnData, model: str | os.PathLike[str] | None, *, use_rep: str = EMBEDDING_KEY) -> Model | None:
    """Return the model that a call runs: the one named, else the one that made `obsm[use_rep]`, else the default one.

    `None` where `obsm[use_rep]` is to be used as it stands: it names no model, or none that can be opened. That there
    is no `obsm[use_rep]` is an error unless it is the default name.
    """
    from scflyformer import models

    if use_rep not in adata.obsm:
        if use_rep != EMBEDDING_KEY:
            raise KeyError(missing_key(use_rep, list(adata.obsm), what="use_rep", place="obsm"))
        loaded = models.load(settings.model if model is None else model)
        if model is None and (others := [key for key in adata.obsm if "model_sha256" in made_by(adata, key)]):
            _log.warning(
                f"runs model {loaded.name!r} (settings.model), as there is no obsm[{use_rep!r}]; for the embedding in "
                f"obsm[{others[0]!r}] and its model, pass use_rep={others[0]!r}."
            )
        return loaded
    made = made_by(adata, use_rep)
    if model is not None:
        as_it_stands = use_rep != EMBEDDING_KEY and "model_sha256" not in made
        return None if as_it_stands else _as_made(models.load(model), made)
    if "model_sha256" not in made:
        return None
    names = [made.get("model_folder"), made.get("model"), settings.model]
    for name in dict.fromkeys(str(name) for name in names if name):
        try:
            loaded = models.load(name)
        except (ValueError, RuntimeError, OSError):  # its numbers are as good without the model at hand
            continue
        if loaded.sha256 == made["model_sha256"]:
            return _as_made(loaded, made)
    return None


def _as_made(model: Model, made: Mapping[str, Any]) -> Model:
    """Return the model, embedding by the profile code alone where an embedding of its own was made so."""
    code = made.get("pooling") == "code" and made.get("model_sha256") == model.sha256
    return replace(model, reads_code=True) if code else model


def usable_rep(adata: AnnData, use_rep: str, sha256: str) -> str:
    """Return ``use_rep`` where the model of this hash made `obsm[use_rep]`, else no name."""
    return use_rep if made_by(adata, use_rep).get("model_sha256") == sha256 else ""


def reading_of(adata: AnnData, model: Any, use_rep: str, asked: Reading) -> Reading:
    """Return what to read: the layer and gene column asked for, else those that the embedding in use was made from.

    Without ``model`` that is `obsm[use_rep]`; a layer or column that is gone is not asked for.
    """
    made, layer, gene_key = made_by(adata, use_rep) if model is None else {}, asked.layer, asked.gene_key
    if layer is None and made.get("layer") is not None and made["layer"] in adata.layers:
        layer = str(made["layer"])
        _log.info(f"reading layers[{layer!r}], which obsm[{use_rep!r}] was made from")
    if gene_key is None and made.get("gene_key") in adata.var:
        gene_key = str(made["gene_key"])
    return replace(asked, layer=layer, gene_key=gene_key)


def require_model(loaded: Model | None, use_rep: str, *, what: str) -> Model:
    """Return the model; an error where ``what`` needs one and that of `obsm[use_rep]` is not at hand."""
    if loaded is None:
        raise ValueError(
            f"{what} needs the model that made obsm[{use_rep!r}], and uns[{use_rep!r}] names none that can be opened. "
            "Pass it by model=, embed the cells with sf.tl.embed, or, for an embedding without a model, leave it out."
        )
    return loaded


def note_other_model(adata: AnnData, loaded: Model, use_rep: str, *, tool: str) -> None:
    """Say that another model runs than the one that made `obsm[use_rep]`."""
    made = made_by(adata, use_rep)
    if "model_sha256" in made and made["model_sha256"] != loaded.sha256:
        _log.warning(f"{tool}: runs model {loaded.name!r}; obsm[{use_rep!r}] was made by model {made.get('model')!r}.")


def embedding(
    adata: AnnData,
    model: Model | None,
    reading: Reading,
    running: Running,
    *,
    use_rep: str = EMBEDDING_KEY,
    sha256: str | None = None,
    tool: str = "embedding",
    log_prefix: str | None = "",
) -> np.ndarray:
    """Return the cells' embedding: `obsm[use_rep]` where this model made it from the same values, else a new one.

    Float32, shape (n_obs, width), not to be changed; zeros for a cell without tokens. ``model=None`` takes
    `obsm[use_rep]` as it stands. A model that reads the profile code alone takes its columns of a whole embedding. What
    ``reading`` does not name is as the embedding in `obsm` was made from.
    ``sha256``, the hash of the model that this one was derived from, counts as its own. That an embedding is there and
    another one is made is logged at verbosity 1.
    """
    if model is None:
        return given_embedding(adata, use_rep)
    made = made_by(adata, use_rep)
    if use_rep in adata.obsm:
        of_model = made.get("model_sha256") in {model.sha256, sha256} - {None}
        if of_model:
            not_named = [name for name, value in vars(reading).items() if value is None]
            reading = replace(reading, **{name: made[name] for name in not_named if made.get(name, "none") != "none"})
        holds_code = model.reads_code and made.get("pooling") == "cell"
        whole = replace(model, reads_code=False) if holds_code else model
        reason = reason_not_to_use(adata, whole, use_rep, made, reading, tool=tool) if of_model else _other_origin(made)
        if not reason:
            _log.hint(f"using the embedding in .obsm[{use_rep!r}]")
            given = given_embedding(adata, use_rep)
            return given[:, whole.embedding_size - model.embedding_size :] if holds_code else given
        _log.warning(
            f"{tool}: obsm[{use_rep!r}] is not used, since {reason}; the cells are embedded anew by "
            f"model {model.name!r}."
        )
    return embed_cells(adata, model, reading, running, pooling=model.pooling, log_prefix=log_prefix)[0]


def _other_origin(made: Mapping[str, Any]) -> str:
    return f"it was made by model {made.get('model')!r}" if "model_sha256" in made else "it names no model"


def given_embedding(adata: AnnData, use_rep: str) -> np.ndarray:
    """Return `obsm[use_rep]`, float32, read-only; an error where it is no matrix of finite numbers."""
    if use_rep not in adata.obsm:
        raise KeyError(missing_key(use_rep, list(adata.obsm), what="use_rep", place="obsm"))
    given = adata.obsm[use_rep]
    given = np.asarray(given.toarray() if sparse.issparse(given) else given)
    if given.dtype.kind == "O" and all(isinstance(value, int | float | np.number) for value in given.ravel()):
        given = given.astype(np.float64)
    if given.dtype.kind not in "fiub" or given.ndim != 2 or not np.isfinite(given).all():
        raise ValueError(
            f"obsm[{use_rep!r}] holds NaN or infinite values or is no matrix of numbers (type {given.dtype}, shape "
            f"{given.shape}); expected finite numbers, cells × dimensions."
        )
    values = np.array(given, dtype=np.float32, copy=given.dtype != np.float32).view()
    values.flags.writeable = False
    return values


def untrained(adata: AnnData, model: Model, reading: Reading, running: Running, *, seed: int) -> np.ndarray:
    """Return the embedding by a network of the model's configuration with random weights, pooled in the same way.

    The state of the global random generators is left as it was.
    """
    import torch

    from scflyformer.network._network import CellBert
    from scflyformer.network._randomness import own_randomness

    with own_randomness():
        torch.manual_seed(seed)
        network = CellBert(deepcopy(model.network().config))
    changed = model.with_network(network)
    return embed_cells(
        adata, changed, reading, running, pooling=model.pooling, log_prefix=None, desc="untrained network"
    )[0]
