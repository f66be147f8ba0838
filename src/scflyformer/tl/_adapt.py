"""A model learns to read every gene of the user's file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from scflyformer import _log
from scflyformer.data._embedding import EMBEDDING_KEY, choose_model, require_model

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def adapt(
    adata: AnnData | MuData,
    *,
    model: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    steps: int = 0,
    seed: int = 0,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
) -> None:
    """Make a model that also reads the genes of your cells that the model lacks.

    It takes seconds, needs no labels, and is computed in closed form. Each new gene is placed by its regression on the
    part of the embedding that known genes give, its token is the mean of those of the known genes most like it, and
    directions of expression of these cells, over all genes, are added to the embedding. What the model makes of the
    genes that it knows stays as it was: for cells without the new genes all other columns hold the same numbers.

    Parameters
    ----------
    adata
        Cells × genes, counts or log1p of normalised counts: a few hundred cells or more of the kind that you want to
        embed, 20,000 of which are used at most. Embed cells that you test on with a model adapted to other cells.
    model
        Name of a model, or its folder, of any species. `None`: the model that made `obsm["X_scflyformer"]`, else
        `settings.model` (``"fly"``).
    out
        Model folder to make.
    steps
        Batches of training after that, in which the tokens of the new genes learn and all else stays. Each takes
        about a second on a CPU.
    seed
        Seed of the halves into which counts are split, of the cells used and of the batches.
    layer
        Layer with the expression; `X` by default.
    gene_key
        Column of `var` with gene names; `var_names` by default. Genes that the model knows are recognised by id, symbol
        or synonym; the others keep the name they have here.
    mod
        Modality of a MuData.

    Returns
    -------
    Nothing. Writes the model folder ``out``, which every function takes as ``model=``; its vectors are wider by the
    further directions, 30 to 128 of them. ``metrics.json`` has, under ``"adapted"``, how many genes and cells there
    were, which share of the counts was read before and is read now, and the new genes with the largest shares. The
    cells are added to those that :func:`scflyformer.models.contamination` knows of ``model``.

    Raises
    ------
    FileExistsError
        When ``out`` is taken.
    KeyError
        When ``layer``, ``gene_key`` or ``mod`` do not exist; lists near names.
    ValueError
        When there are fewer than 50 cells with counts, the model has no profile code (``code_size=0`` or
        ``objective="mlm"``; go on with :func:`scflyformer.tl.pretrain` and ``init=``), or the cells share too few genes
        with it.

    Notes
    -----
    Covariances are taken between two halves of each cell's counts, split binomially, so that the noise of counting
    cancels out, as in molecular cross-validation (Batson et al. 2019, bioRxiv 786269). A new gene's regression is
    multiplied by how well the halves agree on the gene; its median comes from these cells, on the model's scale, and
    its token is the mean of the five known genes most like it. The further directions have twice the variance of the
    model's if the model reads all of the counts, and up to four times if it reads few.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(300)
    >>> adata.var_names = [f"new{n}" if n < 500 else name for n, name in enumerate(adata.var_names)]
    >>> adata.var["FBgn"] = ["" if n < 500 else gene for n, gene in enumerate(adata.var["FBgn"])]
    >>> sf.tl.adapt(adata, model="fly-tiny", out="my-fly")
    >>> sf.tl.embed(adata, model="my-fly")
    >>> adata.uns["X_scflyformer"]["coverage"]["n_genes_mapped"]
    2087
    """
    from scflyformer import models
    from scflyformer.data import _adata
    from scflyformer.training._adapted import write_adapted
    from scflyformer.training._options import require_count

    require_count("steps", steps, least=0)
    require_count("seed", seed, least=0)
    opened = _adata.open_data(adata, mod=mod)
    loaded = models.load(model) if model is not None else choose_model(opened, None, use_rep=EMBEDDING_KEY)
    loaded = require_model(loaded, EMBEDDING_KEY, what="model=None")
    report = write_adapted(
        opened, loaded, Path(out).expanduser().resolve(), layer=layer, gene_key=gene_key, steps=steps, seed=seed
    )
    largest = ", ".join(f"{name} {share:.2%}" for name, share in report["largest_new"].items())
    _log.info(
        f"adapt: {out} reads {report['n_new']:,} further genes, and {report['share_counts']:.1%} of the counts "
        f"(model {loaded.name}: {report['share_counts_before']:.1%}); {report['n_directions']} numbers wider."
        + (f" Largest shares of counts in new genes: {largest}." if largest else "")
    )
