"""Cells that several benchmarks are tried on."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

STRAINS = {"w1118": 4, "DGRP-551": 6}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A davie-like set: 10 libraries, types that two strains share, counts that tell type and age."""
    random = np.random.default_rng(0)
    obs = pd.DataFrame(
        [
            {"batch": f"{strain}_{number}", "genotype": strain, "age": age, "cell_type": label}
            for strain, n in STRAINS.items()
            for number in range(n)
            for age in [[0.0, 3.0, 30.0, 50.0, 9.0, 15.0][number]]
            for label in ["A", "B", "7", "only " + strain] * 8
        ]
    )
    obs.index = obs.index.astype(str)
    rate = np.ones((len(obs), 20))
    rate[:, 0] += 20 * (obs["cell_type"] == "A")
    rate[:, 1:6] += 2 * np.log2(obs["age"].to_numpy()[:, None] + 1)
    counts = sparse.csr_matrix(random.poisson(rate).astype(np.float32))
    var = pd.DataFrame({"FBgn": [f"FBgn{number:07d}" for number in range(20)]}, index=[f"g{n}" for n in range(20)])
    path = tmp_path_factory.mktemp("data")
    (path / "fly").mkdir()
    ad.AnnData(counts, obs=obs, var=var).write_h5ad(path / "fly" / "davie_brain_aging.h5ad")
    return path
