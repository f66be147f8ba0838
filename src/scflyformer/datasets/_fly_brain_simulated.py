"""Simulated ageing fly brain, drawn from profiles fitted to real cells, with planted truth."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

if TYPE_CHECKING:
    from anndata import AnnData

_SUMMARY = "fly_brain_simulated.npz"
#: Share of a cell's counts that a planted gene takes where it is high, and how many times less where it is low.
_HIGH_SHARE, _FOLD = 0.006, 64.0
#: What is left of the fitted age slopes of all other genes.
_BACKGROUND = 0.5
#: Largest dispersion of a planted gene, and spread (natural log) of depth between libraries.
_PLANTED_DISPERSION, _DEPTH_SD = 0.3, 0.1


def fly_brain_simulated(
    n_cells: int = 2000, *, seed: int = 0, n_libraries: int = 3, depth: float = 0.3, library_sd: float = 0.155
) -> AnnData:
    """Draw simulated cells of an ageing fly brain, with known types, ages and age-driving genes.

    **These are simulated cells, not measured ones**; nothing found in them is a finding about flies. They are there so
    that examples and tests have answers to check.

    The counts of a gene are negative binomial around a profile for each cell type and age. The profiles (for each type
    and gene a level and a slope over ``log2(days + 1)``, so that they are smooth in age), a dispersion for each gene,
    and the depth and frequency of each type were fitted to 3,409 cells of the strain w1118 in the ageing brain atlas of
    Davie et al. (2018, GSE107451); no cell of the strain DGRP-551 took part. Genes carry their real FlyBase ids and
    symbols: the 2,088 genes that were measured in every cluster of that data, not the whole transcriptome. Planted on
    top are:

    - *driver genes*: in all types alike, ``rises`` genes go up 64-fold from the youngest to the oldest age and
      ``falls`` genes go down 64-fold. The other genes keep half of their fitted slopes, so age is not in the drivers
      alone.
    - *control genes*: as high as the drivers at their highest, in all types and at all ages.
    - *library effects*: every library scales each gene by its own log-normal factor and has its own depth.

    Removing a ``rises`` gene from old cells moves their profile towards the young, and removing a ``falls`` gene from
    young cells moves it towards the old; removing a control gene does neither.

    Parameters
    ----------
    n_cells
        Number of cells, spread evenly over the libraries.
    seed
        Seed of the draw; the same arguments give the same cells.
    n_libraries
        Libraries (sequencing runs) for each age. A library holds all types and one age, as in the real data.
    depth
        Depth of a cell as a share of the real one. The default leaves about 300 expressed genes a cell, which keeps
        examples quick.
    library_sd
        Standard deviation of the library effects (natural log), about that of the fitted cells.

    Returns
    -------
    An AnnData object of `n_cells` × 2,088 genes:

    `X` : CSR float32
        Raw counts.
    `obs["cell_type"]` : categorical
        One of nine types.
    `obs["age"]` : int64
        Age in days: 0, 1, 3, 6, 9, 15 or 30.
    `obs["batch"]` : categorical
        Library.
    `var_names`, `var["FBgn"]`
        Symbol and FlyBase id.
    `uns["truth"]` : dict
        `genes`, a data frame of the planted genes (index symbol; `FBgn`, `role`, `log2_fold` from youngest to oldest);
        `cell_types`; `ages`; `library_sd`; `seed`; `note`.
    `uns["source"]` : dict
        What the profiles were fitted to.

    Raises
    ------
    ValueError
        If there are fewer cells than libraries, or a number is out of its range.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(500)
    >>> adata.shape, adata.obs.columns.tolist()
    ((500, 2088), ['cell_type', 'age', 'batch'])
    >>> adata.uns["source"]["simulated"]
    True
    >>> adata.uns["truth"]["genes"].head(3)
                 FBgn   role  log2_fold
    gene
    Hsp68  FBgn0001230  rises        6.0
    aqz    FBgn0286516  rises        6.0
    jim    FBgn0027339  rises        6.0
    """
    from anndata import AnnData

    summary = _summary()
    ages = summary["age"]
    _check(n_cells, n_libraries, n_libraries * len(ages), depth, library_sd)
    rng = np.random.default_rng(seed)

    library = np.sort(np.arange(n_cells) % (n_libraries * len(ages)))
    age_code = library // n_libraries
    type_code = _types(rng, summary["proportion"], n_cells)
    planted, dispersion, level, slope = _with_planted(summary)
    effect = rng.normal(0.0, library_sd, (n_libraries * len(ages), level.shape[1]))
    depth_effect = rng.normal(0.0, _DEPTH_SD, n_libraries * len(ages))
    log_depth = rng.normal(summary["log_depth_mean"][type_code], summary["log_depth_sd"][type_code])
    cell_depth = depth * np.exp(log_depth + depth_effect[library])

    u = _log_age(ages)
    blocks = []
    for number in range(n_libraries * len(ages)):  # one library at a time: dense blocks stay small
        cells = np.flatnonzero(library == number)
        share = np.exp(level + slope * u[number // n_libraries] + effect[number])
        share /= share.sum(axis=1, keepdims=True)
        mean = cell_depth[cells, None] * share[type_code[cells]]
        counts = rng.poisson(mean * rng.gamma(1 / dispersion, dispersion, mean.shape))
        blocks.append(sp.csr_matrix(counts.astype(np.float32)))

    names = [f"sim_{ages[number // n_libraries]}d_r{number % n_libraries + 1}" for number in range(len(effect))]
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(type_code, summary["cell_type"].tolist()),
            "age": ages[age_code],
            "batch": pd.Categorical.from_codes(library, names),
        },
        index=[f"{names[number]}-{cell}" for cell, number in enumerate(library)],
    )
    var = pd.DataFrame({"FBgn": summary["gene_id"].astype(object)}, index=summary["symbol"].astype(object))
    truth = {
        "genes": planted,
        "cell_types": summary["cell_type"],
        "ages": ages,
        "library_sd": float(library_sd),
        "seed": int(seed),
        "note": "Simulated cells: the genes listed were planted and are not a finding about flies.",
    }
    source = {"simulated": True, "fitted_to": str(summary["source"]), "n_cells_fitted": int(summary["n_cells_fitted"])}
    return AnnData(sp.vstack(blocks, format="csr"), obs=obs, var=var, uns={"truth": truth, "source": source})


@cache
def _summary() -> dict[str, np.ndarray]:
    """Read the shipped summary; it holds plain arrays and is opened without pickle."""
    with as_file(files(__package__) / _SUMMARY) as path, np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _check(n_cells: int, n_libraries: int, n_runs: int, depth: float, library_sd: float) -> None:
    if n_libraries < 1:
        raise ValueError(f"n_libraries is {n_libraries}; expected at least 1 library for each age.")
    if n_cells < n_runs:
        raise ValueError(
            f"n_cells is {n_cells}; expected at least {n_runs}, one cell for each of the {n_runs} libraries."
        )
    if not 0 < depth <= 10:
        raise ValueError(f"depth is {depth}; expected a share of the real depth, above 0 and at most 10.")
    if not 0 <= library_sd <= 1:
        raise ValueError(f"library_sd is {library_sd}; expected 0 to 1 (natural log).")


def _log_age(ages: np.ndarray) -> np.ndarray:
    """Age on the scale of the slopes: log2(days + 1), centred between the youngest and the oldest."""
    u = np.log2(ages + 1.0)
    return u - (u.min() + u.max()) / 2


def _types(rng: np.random.Generator, proportion: np.ndarray, n_cells: int) -> np.ndarray:
    """Draw a type for each cell."""
    share = np.asarray(proportion, dtype=np.float64)
    return rng.choice(len(share), size=n_cells, p=share / share.sum())


def _with_planted(summary: dict[str, np.ndarray]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Put the planted genes into the fitted profiles; return their table, the dispersion, levels and slopes."""
    level, slope = summary["level"].astype(np.float64), summary["slope"].astype(np.float64)
    dispersion = summary["dispersion"].astype(np.float64)
    u = _log_age(summary["age"])
    genes, roles = summary["planted_gene"], summary["planted_role"]
    slope *= _BACKGROUND
    sign = np.array([{"rises": 1, "falls": -1, "control": 0}[role] for role in roles])
    slope[:, genes] = sign * np.log(_FOLD) / (u.max() - u.min())
    level[:, genes] = np.log(_HIGH_SHARE) - np.abs(sign) * np.log(_FOLD) / 2
    dispersion[genes] = np.minimum(dispersion[genes], _PLANTED_DISPERSION)
    ids, symbols = (summary[name][genes].astype(object) for name in ("gene_id", "symbol"))
    columns = {"FBgn": ids, "role": roles.astype(object), "log2_fold": sign * np.log2(_FOLD)}
    table = pd.DataFrame(columns, index=pd.Index(symbols, name="gene"))
    return table, dispersion, level, slope
