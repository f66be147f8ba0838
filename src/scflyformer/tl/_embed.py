"""Cells become vectors."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from scflyformer import _log
from scflyformer._deprecated import moved_to_settings
from scflyformer._running import Running
from scflyformer._settings import DEFAULT_MODEL, settings
from scflyformer.data import _adata
from scflyformer.data._embedding import EMBEDDING_KEY, choose_model, made_by, require_model
from scflyformer.data._freshness import token_sample
from scflyformer.data._gene_names import model_reference
from scflyformer.data._reading import Reading
from scflyformer.data._vectors import embed_cells

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@moved_to_settings("synonyms", "device", "dtype", "batch_tokens")
def embed(
    adata: AnnData | MuData,
    *,
    use_rep: str = EMBEDDING_KEY,
    model: str | os.PathLike[str] | None = None,
    pooling: Literal["auto", "cell", "code", "mean"] = "auto",
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    key_added: str = EMBEDDING_KEY,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Embed cells with a pretrained model.

    The vector of a cell depends on its own counts in the model's genes alone: not on other cells, their order, the
    order of genes, genes outside the vocabulary, or the size of batches (up to rounding, about 1e-6 in float32).

    Parameters
    ----------
    adata
        Cells × genes: counts, or log1p of normalised counts (found for each cell from its values, see
        :func:`scflyformer.pp.tokenize`). In memory, backed by a file, or lazy (a dask array, from
        :func:`anndata.experimental.read_lazy` or your own), whose row chunks are embedded by the dask scheduler in
        force, on a cluster too. Tokens exist for a block of cells at a time.
    use_rep
        With ``model=None``: key of `obsm` with an earlier embedding, whose model runs again.
    model
        Name of a model, or its folder. `None`: the model that made `obsm[use_rep]`, else `settings.model` (``"fly"``).
    pooling
        ``"cell"``: the cell token and, where the model has one, the profile code. ``"code"``: the profile code alone;
        BERT does not run, which is many times faster, and other functions then use it likewise. ``"mean"``: the mean
        over gene tokens of the second-to-last layer, as Geneformer does. ``"auto"``: ``"cell"`` where the model has a
        cell token, else the mean.
    layer
        Layer with the expression; `X` by default.
    gene_key
        Column of `var` with gene names; `var_names` by default. FBgn, symbol, CG id or synonym, each gene by itself.
    mod
        Modality of a MuData.
    key_added
        Name of the keys written.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written are

    `obsm[key_added]` : ndarray, float32, n_obs × width
        The embedding; zeros for a cell without counts in the model's genes.
    `uns[key_added]` : dict
        ``"coverage"``: genes recognised, shares of the vocabulary and of the counts, cells without tokens, cells cut
        at the model's length; ``"params"``: arguments (device and number format those that ran; for lazy data those
        asked for), model, model hash and package version; ``"checksum"``: the tokens of some cells, by which other
        functions notice that the expression has changed since; ``"parts"``: first and last column of each part of the
        vectors: ``token``, ``directions``, with an adapted model ``adapted``, and ``contrast``.

    Raises
    ------
    ValueError
        When the object is empty, values are negative, missing or infinite, too few genes are recognised, the model has
        no cell token to read.
    RuntimeError
        When memory does not hold a single cell.
    KeyError
        When ``layer``, ``gene_key`` or ``mod`` do not exist; lists near names.

    Examples
    --------
    Without ``model=`` the default model ``"fly"`` runs; ``"fly-tiny"`` is quicker. Other functions then work on this
    embedding and its model.

    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(100)
    >>> sf.tl.embed(adata, model="fly-tiny")
    >>> adata.obsm["X_scflyformer"].shape
    (100, 180)
    >>> adata.uns["X_scflyformer"]["parts"]
    {'token': [0, 35], 'directions': [36, 147], 'contrast': [148, 179]}

    Look at the coverage first: what the model cannot read is not in the embedding.

    >>> coverage = adata.uns["X_scflyformer"]["coverage"]
    >>> coverage["n_genes"], coverage["n_genes_mapped"]
    (2088, 1893)
    >>> adata.uns["X_scflyformer"]["params"]["model"]
    'fly-tiny'

    Then to scanpy, such as ``sc.pp.neighbors(adata, use_rep="X_scflyformer")``.
    """
    from scflyformer import models
    from scflyformer.network._device import pick_place

    opened = _adata.open_data(adata, mod=mod)
    made = made_by(opened, use_rep)
    if model is None and use_rep == EMBEDDING_KEY and "model_sha256" not in made:
        model = settings.model
    loaded = models.load(model) if model is not None else choose_model(opened, None, use_rep=use_rep)
    loaded = require_model(loaded, use_rep, what="model=None")
    if model is None and "model_sha256" in made and str(settings.model) not in (DEFAULT_MODEL, loaded.name):
        _log.warning(f"embed: runs model {loaded.name!r}, which made obsm[{use_rep!r}]; pass model= for another.")
    if pooling == "auto":
        pooling = loaded.pooling
    out, cells = _adata.start(adata, mod=mod, copy=copy)
    running = Running.as_set()
    if not _adata.is_lazy(cells, layer):
        place, number = pick_place(running)
        running = replace(running, device=str(place), dtype=str(number).removeprefix("torch."))
    reading = Reading.as_set(layer, gene_key)
    vectors, coverage = embed_cells(cells, loaded, reading, running, pooling=pooling)
    ran = {"device": running.device, "dtype": running.dtype}
    params = _adata.run_params(loaded, pooling=pooling, **vars(reading), **ran)
    if (folder := model_reference(loaded)) != loaded.name:
        params["model_folder"] = folder
    found = {
        "coverage": coverage,
        "params": params,
        "parts": loaded.parts(pooling),
        "checksum": token_sample(cells, loaded, reading),
    }
    _adata.write(cells, obsm={key_added: vectors}, uns={key_added: found})
    _log.info(f"embed: {cells.n_obs} cells, width {vectors.shape[1]}, model {loaded.name}, in .obsm[{key_added!r}]")
    return out if copy else None
