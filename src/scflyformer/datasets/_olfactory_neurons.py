"""Olfactory neurons of McLaughlin et al. (2021)."""

from __future__ import annotations

from importlib.resources import as_file, files
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

if TYPE_CHECKING:
    from anndata import AnnData

_COUNTS, _LICENCE = "olfactory_neurons.npz", "olfactory_neurons_LICENSE.txt"
_CATEGORIES = ("cell_type", "stage", "batch")


def olfactory_neurons() -> AnnData:
    """Load real cells: 429 olfactory receptor neurons of 24 types, from five plates, with all genes.

    The cells were sequenced with Smart-seq2 by McLaughlin et al. (2021): 340 cells of pupae, 24 hours after puparium
    formation, and 89 nuclei of adults. A type is named after the glomerulus that its axons reach; some hold the neurons
    of two or three glomeruli. The counts are of **reads, not molecules**: a cell has 630,000 in the median.

    These are 429 of the study's cells, those of the clusters whose files in its repository are small. The published
    values are log2(CPM + 1); counts were recovered as CPM over the lowest CPM of the cell, rounded, so that a cell's
    numbers are right up to a common factor.

    The models `fly` and `fly-tiny` read the 266 cells of plates P1 and P2 in pretraining, without their labels; those
    of P5, P6 and P7 they have not seen.

    Returns
    -------
    An AnnData object of 429 cells × 17,472 genes:

    `X` : CSR float32
        Read counts.
    `obs["cell_type"]` : categorical
        Type, such as ``"ORN DA1"``, by the study's authors.
    `obs["stage"]` : categorical
        ``"24h APF"`` (hours after puparium formation) or ``"adult"``.
    `obs["batch"]` : categorical
        Plate: P1, P2, P5, P6 or P7.
    `obs["cpm_per_read"]` : float64
        Counts per million of one read, for those who want CPM.
    `var_names`, `var["FBgn"]`
        Symbol as in the study, and FlyBase id; empty for 419 symbols that were no current ones. Nine ids stand twice.
    `uns["source"]` : dict
        `name`, `paper`, `geo`, `repository`, `commit`, `path`, `technology`, `tissue`, `licence`, `licence_text`,
        `changes`.

    Raises
    ------
    FileNotFoundError
        If the installed package lacks the file.

    Notes
    -----
    From `colleenmclaughlin/ORN_seq <https://github.com/colleenmclaughlin/ORN_seq>`_ under the MIT licence, copyright
    2020 colleenmclaughlin; GSE162121. Please cite McLaughlin et al., *eLife* 10, e63856 (2021).
    ``python -m tools.olfactory_neurons`` made the shipped file.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.olfactory_neurons()
    >>> adata.shape, adata.uns["source"]["licence"]
    ((429, 17472), 'MIT')
    >>> adata.obs["batch"].value_counts().sort_index().to_dict()
    {'P1': 108, 'P2': 158, 'P5': 49, 'P6': 56, 'P7': 58}
    """
    here = files(__package__)
    for name in (_COUNTS, _LICENCE):
        if not (here / name).is_file():
            raise FileNotFoundError(f"{here / name} is missing; it comes with the package, so install it again.")
    with as_file(here / _COUNTS) as path, np.load(path, allow_pickle=False) as archive:
        adata = unpacked({name: archive[name] for name in archive.files})
    adata.uns["source"]["licence_text"] = (here / _LICENCE).read_text(encoding="utf-8")
    return adata


def unpacked(arrays: dict[str, Any]) -> AnnData:
    """Return the cells that the arrays of the shipped file hold, without the text of the licence."""
    from anndata import AnnData

    obs = pd.read_csv(BytesIO(arrays["obs"].tobytes()), sep="\t", index_col=0, dtype=str).rename_axis(None)
    obs["cpm_per_read"] = obs["cpm_per_read"].astype(object).map(float)  # to the last digit
    for name in _CATEGORIES:
        obs[name] = obs[name].astype("category")
    expressed = np.unpackbits(arrays["expressed"], axis=1, count=len(obs)).astype(bool)
    gene, cell = np.nonzero(expressed)
    counts = sum(arrays[f"counts_{byte}"].astype(np.uint32) << np.uint32(8 * byte) for byte in range(3))
    x = sp.csr_matrix((counts.astype(np.float32), (cell, gene)), shape=expressed.T.shape)
    names, ids = (arrays[name].tobytes().decode().split("\n") for name in ("name", "FBgn"))
    var = pd.DataFrame({"FBgn": np.array(ids, dtype=object)}, index=np.array(names, dtype=object))
    return AnnData(x, obs=obs, var=var, uns={"source": _source(str(arrays["commit"]))})


def _source(commit: str) -> dict[str, str]:
    """Return where the cells come from, and what was done to them."""
    return {
        "name": "Olfactory receptor neurons of the antenna, pupal and adult",
        "paper": "McLaughlin et al. 2021, eLife 10, e63856",
        "geo": "GSE162121",
        "repository": "https://github.com/colleenmclaughlin/ORN_seq",
        "commit": commit,
        "path": "data/Figure7/{24h,adult}/cell_names/test/df_test_N.csv",
        "technology": "Smart-seq2",
        "tissue": "antenna",
        "licence": "MIT",
        "changes": (
            "Read counts recovered from log2(CPM + 1): CPM over the lowest CPM above zero of the cell, rounded. "
            "Clusters whose file is below 4 MiB: all 20 of the pupae, and those present of the adults."
        ),
    }
