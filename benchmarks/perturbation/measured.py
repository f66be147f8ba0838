"""What RNAi did to every gene in bulk samples: fold changes, and which are sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from pathlib import Path

SURE = 0.01
"""P-value up to which a gene counts as changed by the knock-down; the share of them expected by chance is told."""
MIN_CPM = 5.0
"""Mean counts per million from which a gene takes part."""


def measured(path: Path, down: str, control: str) -> pd.DataFrame:
    """Return a knock-down's effect by FlyBase id: ``log_fc`` (log2, ``down`` over ``control``), ``p_value``, ``fdr``.

    A moderated t-test (Smyth 2004) on log2(counts per million + 1), genes of `MIN_CPM` and above: with two to four
    samples a side, the variance of a gene is drawn towards that of all genes. The first column of an id counts.
    """
    bulk = ad.read_h5ad(path)
    condition = bulk.obs["condition"].astype(str).to_numpy()
    sides = [condition == down, condition == control]
    if min(side.sum() for side in sides) < 2:
        raise ValueError(f"{path.name} needs two samples or more of {down!r} and of {control!r}.")
    counts = bulk.X.toarray() if hasattr(bulk.X, "toarray") else np.asarray(bulk.X)
    counts = counts[sides[0] | sides[1]].astype(np.float64)
    sides = [side[sides[0] | sides[1]] for side in sides]
    cpm = counts / counts.sum(1, keepdims=True) * 1e6
    ids = bulk.var["FBgn"].astype(str).to_numpy()
    used = (cpm.mean(0) >= MIN_CPM) & ~pd.Index(ids).duplicated()
    first, second = (np.log2(cpm[side][:, used] + 1) for side in sides)
    log_fc = first.mean(0) - second.mean(0)
    freedom = len(first) + len(second) - 2
    variance = (((first - first.mean(0)) ** 2).sum(0) + ((second - second.mean(0)) ** 2).sum(0)) / freedom
    more, usual = _prior(variance, freedom)
    pooled = usual if np.isinf(more) else (more * usual + freedom * variance) / (more + freedom)
    t = log_fc / np.sqrt(pooled * (1 / len(first) + 1 / len(second)))
    p_value = 2 * stats.t.sf(np.abs(t), freedom + more)
    table = pd.DataFrame({"log_fc": log_fc, "p_value": p_value}, index=pd.Index(ids[used]))
    return table.assign(fdr=false_discovery_rate(p_value))


def _prior(variance: np.ndarray, freedom: int) -> tuple[float, float]:
    """Return the degrees of freedom and the variance that all genes lend to each, from the spread of log variances."""
    logs = np.log(variance[variance > 0]) - special.digamma(freedom / 2) + np.log(freedom / 2)
    excess = logs.var(ddof=1) - special.polygamma(1, freedom / 2)
    if excess <= 0:
        return np.inf, float(np.exp(logs.mean()))
    half = optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e6)
    return 2 * half, float(np.exp(logs.mean() + special.digamma(half) - np.log(half)))
