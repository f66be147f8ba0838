"""The Aging Fly Cell Atlas, from its file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from anndata import AnnData

FILES = (
    "Fetch adata_headBody_S_v1.0.h5ad (head and body, about 3 GB; also adata_head_S_v1.0.h5ad and "
    "adata_body_S_v1.0.h5ad) from the Aging Fly Cell Atlas: https://hongjielilab.org/afca/, or the links of "
    "https://github.com/hongjie-lab/AFCA; its reads are GEO's GSE218661."
)


def afca(
    path: str | os.PathLike[str] | None = None, *, batch_key: str | None = None, backed: Literal["r"] | None = None
) -> AnnData:
    """Read the Aging Fly Cell Atlas from its file, completed to the columns that the tools read.

    566,254 nuclei × 15,992 genes of head and body at 5, 30, 50 and 70 days (Lu et al. 2023). The file is yours to
    fetch: it is not downloaded, because no hash of it is published; the error without ``path`` says from where.

    **This was written after what is published of the file, and tested on stand-ins of its shape**, not on the atlas.

    Parameters
    ----------
    path
        The atlas's h5ad file, of head and body, or of one of them.
    batch_key
        Column of `obs` with the library. By default the first of `batch`, `batch_id`, `library`, `sample` and the like
        that is there and complete; else what stands behind the barcode in the names of cells; else `dataset`,
        `tissue`, `sex` and `age` together, which lumps the libraries of a condition, with a warning.
    backed
        ``"r"`` leaves the matrix on disk: :func:`~scflyformer.tl.embed`, :func:`~scflyformer.pp.tokenize` and
        :func:`~scflyformer.tl.pretrain` read it in pieces, so that memory need not hold the atlas
        (:doc:`/large_data`).

    Returns
    -------
    An AnnData object. All columns of the file stay; one whose values the tools cannot take as they are is kept with
    ``_in_file`` at the end of its name. Added where they are not there:

    `X` : CSR float32
        As in the file: log1p of counts per 10,000. The tools take it as it is and find the whole counts again, so no
        layer of counts is made.
    `obs["cell_type"]` : categorical
        `afca_annotation`, the finer labels; the broad ones stay in `afca_annotation_broad`.
    `obs["age"]` : float64
        Days.
    `obs["sex"]`, `obs["tissue"]` : categorical
        As in the file: ``"female"``, ``"male"``, ``"mix"``; ``"head"``, ``"body"``.
    `obs["batch"]` : categorical
        Library, or what stands for it.
    `var["FBgn"]`
        FlyBase id; the gene's own name where no table at hand knows it (`sf.settings.synonyms` adds one).
    `uns["source"]` : dict
        `atlas`, `paper`, `file`, and `columns`: what each column was made of.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KeyError
        If `batch_key` is no column of `obs`, or nothing tells libraries apart.
    ValueError
        Without ``path``; if the file is packed, no h5ad, or lacks columns of the atlas, which are named beside those
        that it has.

    Notes
    -----
    The nuclei at 5 days are those of the Fly Cell Atlas (`dataset` of ``"FCA"``); see the model cards for what `fly`
    was trained on before you compare it with a model of your own on them.

    Examples
    --------
    >>> import scflyformer as sf
    >>> try:
    ...     atlas = sf.datasets.afca()
    ... except ValueError as error:
    ...     "hongjielilab.org/afca" in str(error)
    True
    """
    from ._atlas import Atlas, complete, read_h5ad, require_file

    atlas = Atlas(
        name="Aging Fly Cell Atlas",
        paper="Lu et al., Science 380, eadg0934 (2023)",
        columns={
            "cell_type": ("afca_annotation",),
            "age": ("age", "development_stage"),
            "sex": ("sex",),
            "tissue": ("tissue",),
        },
        stated={},
    )
    file = require_file(path, call='afca("adata_headBody_S_v1.0.h5ad", backed="r")', files=FILES)
    return complete(read_h5ad(file, backed=backed), atlas, file=file, batch_key=batch_key)
