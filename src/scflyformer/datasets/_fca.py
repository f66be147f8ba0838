"""The Fly Cell Atlas, from the file of a tissue."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from anndata import AnnData

TISSUES = (
    "all", "antenna", "body", "body_wall", "fat_body", "gut", "haltere", "head", "heart", "leg",
    "male_reproductive_glands", "malpighian_tubule", "oenocyte", "ovary", "proboscis_and_maxillary_palps", "testis",
    "trachea", "wing",
)  # fmt: skip
"""Tissues as the atlas's files name them; ``"all"`` is all of them together."""


def fca(
    tissue: str,
    path: str | os.PathLike[str] | None = None,
    *,
    batch_key: str | None = None,
    backed: Literal["r"] | None = None,
) -> AnnData:
    """Read a tissue of the Fly Cell Atlas from its file, completed to the columns that the tools read.

    Nuclei of flies of 5 days, by 10x (Li et al. 2022). The file is yours to fetch: it is not downloaded, because no
    hash of it is published; the error without ``path`` says which file, and from where.

    **This was written after what is published of the files, and tested on stand-ins of their shape**, not on the atlas.

    Parameters
    ----------
    tissue
        ``"head"``, ``"body"``, ``"gut"`` and so on, as in the name of the file; ``"all"`` for all together.
    path
        The tissue's loom or h5ad file, of the stringent (``s_``) or the relaxed (``r_``) version.
    batch_key
        Column of `obs` with the library; by default as in :func:`scflyformer.datasets.afca`.
    backed
        ``"r"`` leaves the matrix of an h5ad file on disk (:doc:`/large_data`), where `X` holds all genes.

    Returns
    -------
    An AnnData object. All columns of the file stay; one whose values the tools cannot take as they are is kept with
    ``_in_file`` at the end of its name. Added where they are not there:

    `X` : CSR float32
        Counts, from a loom file or an h5ad file of counts (``v2_…_raw``). Of an h5ad file that holds some genes in `X`
        and all of them in `raw`, that of `raw`: log1p of counts per 10,000, which the tools take as well.
    `obs["cell_type"]` : categorical
        `annotation`; the broad labels stay in `annotation_broad`.
    `obs["age"]` : float64
        Days: 5 where the file does not say.
    `obs["sex"]` : categorical
        As in the file.
    `obs["tissue"]` : categorical
        The file's, else ``tissue``.
    `obs["batch"]` : categorical
        Library, or what stands for it.
    `var["FBgn"]`
        FlyBase id; the gene's own name where no table at hand knows it.
    `uns["source"]` : dict
        `atlas`, `paper`, `file`, and `columns`: what each column was made of.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KeyError
        If `batch_key` is no column of `obs`, or nothing tells libraries apart.
    ValueError
        Without ``path``; for an unknown tissue; if the file is packed, neither loom nor h5ad, or lacks columns of the
        atlas, which are named beside those that it has; with ``backed`` where the matrix cannot be read cell by cell.

    Examples
    --------
    >>> import scflyformer as sf
    >>> try:
    ...     head = sf.datasets.fca("head")
    ... except ValueError as error:
    ...     "s_fca_biohub_head_10x.loom" in str(error)
    True
    """
    from ._atlas import Atlas, complete, read_h5ad, require_file
    from ._loom import read_loom

    name = str(tissue).strip().casefold().replace(" ", "_").replace("-", "_")
    if name not in TISSUES:
        raise ValueError(f"tissue={tissue!r} is unknown; expected one of {', '.join(TISSUES)}.")
    short = "all_wo_blood" if name == "all" else name
    loom = f"s_fca_biohub_{short}_10x.loom"
    files = (
        f"Fetch {loom} (counts; r_ instead of s_ for the relaxed version) or s_fca_biohub_{short}_10x.h5ad from the "
        "table of the Fly Cell Atlas: https://flycellatlas.org/#data."
    )
    atlas = Atlas(
        name="Fly Cell Atlas",
        paper="Li et al., Science 375, eabk2432 (2022)",
        columns={"cell_type": ("annotation",), "age": ("age",), "sex": ("sex",), "tissue": ("tissue",)},
        stated={"age": 5.0} if name == "all" else {"age": 5.0, "tissue": name},
    )
    file = require_file(path, call=f'fca("{name}", "{loom}")', files=files)
    adata = read_loom(file, backed=backed) if file.suffix == ".loom" else read_h5ad(file, backed=backed)
    return complete(adata, atlas, file=file, batch_key=batch_key)
