"""FlyBase's summaries of single-cell clusters."""

from __future__ import annotations

from importlib.resources import as_file, files
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

if TYPE_CHECKING:
    from anndata import AnnData

_SUMMARIES = "flybase_clusters.npz"
_CATEGORIES = ("dataset", "dataset_label", "accession", "cell_type", "cell_type_name", "stage", "sex")
_NUMBERS = ("cell_count", "cutoff_extent", "age_days")


def flybase_clusters() -> AnnData:
    """Load FlyBase's cluster summaries: mean expression in 1,042 clusters of 15 fly data sets, with FBbt terms.

    **A row is a cluster, not a cell.** Of each gene FlyBase gives the mean over the cells that express it and the share
    of cells that do. Among the sets is the Aging Fly Cell Atlas at 30, 50 and 70 days: 464 clusters, and 92 cell types
    with all three ages. Its sets at 5 days are not among them.

    **A gene that is not listed for a cluster is unknown there, not zero**: FlyBase lists those found in a share of
    cells of at least ``obs["cutoff_extent"]``, about 0.2 in most sets and 0.05 in some. Unknown pairs of cluster and
    gene have no entry in the sparse matrices, and every entry is above zero; ``X != 0`` says which pairs are known. To
    fill the others with zeros, as most tools do without asking, makes a clock or a classifier read the depth of a set.

    There are no single cells, libraries or replicates here, so no spread and no test between ages or sets. Some sets
    hold the same cells twice, at several grains or by sex: of the aging atlas take the rows with ``obs["sex"]`` of
    ``"MIXED"``, each cell once. The brains of Davie and Baker are also in data that the model `fly` was trained on or
    tested with.

    Returns
    -------
    An AnnData object of 1,042 clusters × 10,569 genes:

    `X` : CSR float32
        Mean over all cells of the cluster in counts per million, `mean_in_expressing` × `extent`.
    `layers["mean_in_expressing"]` : CSR float32
        Mean over the cells that express the gene, in counts per million. Within 0.025 % of FlyBase's number.
    `layers["extent"]` : CSR float32
        Share of cells that express the gene, FlyBase's to six decimals.
    `obs["cell_type"]`, `obs["cell_type_name"]` : categorical
        Term of FBbt, such as ``"FBbt:00006007"``, and its name.
    `obs["cell_count"]` : int64
        Cells of the cluster.
    `obs["cutoff_extent"]` : float64
        Share of cells below which the cluster's genes are not listed.
    `obs["age_days"]` : float64
        Age in days, where the set has one age: 30, 50 or 70.
    `obs["stage"]`, `obs["sex"]` : categorical
        Term of FBdv; ``"FEMALE"``, ``"MALE"`` or ``"MIXED"``. Missing where FlyBase gives none.
    `obs["dataset"]`, `obs["dataset_label"]`, `obs["accession"]` : categorical
        The set's id and name in FlyBase, and where its reads are.
    `obs["label"]`, `obs["description"]` : str
        Name of the cluster in FlyBase, and a sentence about it.
    `obs_names`
        FlyBase ids of clusters.
    `var_names`, `var["FBgn"]`
        Symbol (FlyBase id where there is none) and FlyBase id.
    `uns["source"]` : dict
        `name`, `repository`, `commit`, `licence`, `licence_url`, `changes`, `note`.
    `uns["datasets"]` : data frame
        The sets by `dataset_label`, with their `reference` in FlyBase: please cite the studies that you use.

    Raises
    ------
    FileNotFoundError
        If the installed package lacks the file.

    Notes
    -----
    From `VirtualFlyBrain/vfb-scRNAseq-ontology <https://github.com/VirtualFlyBrain/vfb-scRNAseq-ontology>`_: FlyBase's
    summaries of sets in EMBL-EBI's Single Cell Expression Atlas, under `CC BY 4.0
    <https://creativecommons.org/licenses/by/4.0/>`_. ``python -m tools.cluster_summaries`` made the shipped file.

    Examples
    --------
    >>> import scflyformer as sf
    >>> clusters = sf.datasets.flybase_clusters()
    >>> clusters.shape, clusters.uns["source"]["licence"]
    ((1042, 10569), 'CC BY 4.0')

    *Drak* in outer photoreceptors, in counts per million, at three ages:

    >>> of_type = clusters.obs["cell_type_name"] == "outer photoreceptor cell"
    >>> aging = clusters[of_type & (clusters.obs["sex"] == "MIXED")]
    >>> drak = aging[:, "Drak"].X.toarray().ravel()
    >>> dict(zip(aging.obs["age_days"], drak.round().tolist(), strict=True))
    {30.0: 322.0, 50.0: 749.0, 70.0: 702.0}
    """
    summaries = files(__package__) / _SUMMARIES
    if not summaries.is_file():
        raise FileNotFoundError(f"{summaries} is missing; it comes with the package, so install scflyformer again.")
    with as_file(summaries) as path, np.load(path, allow_pickle=False) as archive:
        return unpacked({name: archive[name] for name in archive.files})


def unpacked(arrays: dict[str, Any]) -> AnnData:
    """Return the clusters that the arrays of the shipped file hold."""
    from anndata import AnnData

    obs = _table(arrays["obs"])
    for name in _CATEGORIES:
        obs[name] = obs[name].replace("", np.nan).astype("category")
    for name in _NUMBERS:
        obs[name] = pd.to_numeric(obs[name])
    listed = np.unpackbits(arrays["listed"], axis=1, count=len(obs)).astype(bool)
    gene, cluster = np.nonzero(listed)
    n_cells, steps = (_sixteen(arrays, name) for name in ("cells", "mean"))
    mean = arrays["mean_least"] * np.exp(arrays["mean_step"] * steps)
    extent = n_cells / obs["cell_count"].to_numpy()[cluster]

    def matrix(values: np.ndarray) -> sp.csr_matrix:
        return sp.csr_matrix((values.astype(np.float32), (cluster, gene)), shape=listed.T.shape)

    ids, symbols = (arrays[name].astype(object) for name in ("FBgn", "symbol"))
    var = pd.DataFrame({"FBgn": ids}, index=np.where(symbols == "", ids, symbols))
    uns = {"source": _source(str(arrays["commit"])), "datasets": _table(arrays["datasets"])}
    layers = {"mean_in_expressing": matrix(mean), "extent": matrix(extent)}
    return AnnData(matrix(mean * extent), obs=obs, var=var, layers=layers, uns=uns)


def _table(text: np.ndarray) -> pd.DataFrame:
    """Read a table of text whose first column names the rows."""
    return pd.read_csv(BytesIO(text.tobytes()), sep="\t", index_col=0, dtype=str, keep_default_na=False)


def _sixteen(arrays: dict[str, Any], name: str) -> np.ndarray:
    """Join low and high bytes."""
    return arrays[f"{name}_low"].astype(np.uint16) | arrays[f"{name}_high"].astype(np.uint16) << 8


def _source(commit: str) -> dict[str, str]:
    """Return where the summaries come from, and what was done to them."""
    return {
        "name": "FlyBase scRNA-seq summaries, from EMBL-EBI's Single Cell Expression Atlas",
        "repository": "https://github.com/VirtualFlyBrain/vfb-scRNAseq-ontology",
        "commit": commit,
        "licence": "CC BY 4.0",
        "licence_url": "https://creativecommons.org/licenses/by/4.0/",
        "changes": "Read from OWL files into matrices; means rounded to within 0.025 %.",
        "note": "Clusters, not cells. A pair of cluster and gene without an entry is unknown, not zero.",
    }
