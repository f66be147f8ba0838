"""Counts become ranked tokens."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from scflyformer import _log
from scflyformer._deprecated import moved_to_settings
from scflyformer._settings import settings
from scflyformer.data import _adata
from scflyformer.data._reading import Reading

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@moved_to_settings("synonyms")
def tokenize(
    adata: AnnData | MuData,
    *,
    model: str | os.PathLike[str] | None = None,
    max_len: int | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    key_added: str = "tokens",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Rank-value encode cells: each becomes its expressed genes, ordered by count over the gene's corpus median.

    Theodoris et al. 2023 (Nature 618, 616-624): count ÷ the gene's non-zero median over the pretraining corpus, highest
    first, cut at ``max_len``. A factor common to a cell, such as its size factor, changes nothing. Ties are broken by
    vocabulary order, so tokens are the same on every machine. Genes outside the model's vocabulary, the order of genes
    and cells, and the way the matrix is stored have no influence.

    Parameters
    ----------
    adata
        Cells × genes: counts, or log1p of normalised counts. The scale is found for each cell from its own values in
        the model's genes: whole numbers are counts; other values are counts behind a logarithm (base e, 2 or 10) or a
        normalisation where undoing it gives whole multiples of the cell's smallest value, and are then rebuilt.
        Failing that they are decimals, with or without log1p: a value above 20, many whole values, and values near
        multiples of the most frequent one speak for decimals without. Mixed scales, and values with no counts behind
        them, are warned of.
    model
        Name of a model, or its folder. `None`: the model that made `obsm["X_scflyformer"]`, else `settings.model`
        (``"fly"``).
    max_len
        Most tokens a cell; the model's length by default, and at most that.
    layer
        Layer with the expression; `X` by default.
    gene_key
        Column of `var` with gene names; `var_names` by default. Each name is looked up by itself as FBgn, symbol,
        CG id or synonym, with its case. Several names of one gene are added up.
    mod
        Modality of a MuData.
    key_added
        Name of the keys written.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written are

    `obsm[key_added]` : CSR matrix, int32, n_obs × max_len
        Token ids in rank order; padding is the implicit 0.
    `obs["n_" + key_added]` : int32
        Tokens of the cell; 0 where it has no counts in the model's genes.
    `uns[key_added]` : dict
        ``"coverage"``: genes recognised and by which way, the shares of the vocabulary and of the counts, the scale
        found, cells without tokens, cells with ``max_len`` or more; ``"params"``: arguments, model, model
        hash and package version.

    Raises
    ------
    ValueError
        When the object is empty, values are negative, missing or infinite, too few genes are recognised, or ``max_len``
        is out of range.
    KeyError
        When ``layer``, ``gene_key`` or ``mod`` do not exist; lists near names.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(100)
    >>> sf.pp.tokenize(adata, model="fly-tiny")

    Cells × the most tokens that a cell may have:

    >>> adata.obsm["tokens"].shape
    (100, 2048)
    >>> coverage = adata.uns["tokens"]["coverage"]
    >>> coverage["scale"], coverage["n_genes"], coverage["n_genes_mapped"]
    ('counts', 2088, 1893)
    """
    from scflyformer import models
    from scflyformer.data._embedding import choose_model

    out, cells = _adata.start(adata, mod=mod, copy=copy)
    loaded = choose_model(cells, model) or models.load(settings.model)
    reading = Reading.as_set(layer, gene_key)
    rows, coverage = _adata.token_rows(cells, loaded, reading, max_len=max_len, with_values=False)
    max_len = loaded.max_len if max_len is None else max_len
    params = _adata.run_params(loaded, max_len=max_len, **vars(reading))
    _adata.write(
        cells,
        obs={f"n_{key_added}": rows.lengths.astype(np.int32)},
        obsm={key_added: rows.to_csr(max_len)},
        uns={key_added: {"coverage": coverage, "params": params}},
    )
    _log.info(f"tokenize: {cells.n_obs} cells, median {int(np.median(rows.lengths))} tokens, in .obsm[{key_added!r}]")
    return out if copy else None
