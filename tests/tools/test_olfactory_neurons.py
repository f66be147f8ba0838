"""The file of olfactory neurons gives back what was packed, and refuses what it could not give back."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scflyformer.datasets._olfactory_neurons import unpacked
from tools.olfactory_neurons import packed


@pytest.fixture
def cells() -> ad.AnnData:
    """Eleven cells and 30 genes with counts up to three bytes; the last gene is found nowhere, one has no id."""
    random = np.random.default_rng(0)
    x = (np.exp(random.uniform(0, 16, (11, 30))) * (random.random((11, 30)) < 0.4)).astype(np.int32)
    x[:, -1] = 0
    obs = pd.DataFrame(
        {"cell_type": "a", "age_stage": "adult", "batch": [f"P{n % 2}" for n in range(11)], "min_step_cpm": 1 / 3},
        index=[f"c{number}" for number in range(11)],
    )
    names = ["nan", *(f"gene{number}" for number in range(29))]
    var = pd.DataFrame({"FBgn": ["", *(f"FBgn{number:07d}" for number in range(29))]}, index=names)
    return ad.AnnData(sparse.csr_matrix(x), obs, var, {"source": {"commit": "abc"}})


def test_what_is_packed_comes_back(cells, tmp_path):
    np.savez_compressed(tmp_path / "file.npz", **packed(cells))
    with np.load(tmp_path / "file.npz", allow_pickle=False) as archive:
        back = unpacked(dict(archive))
    assert cells.X.data.max() > 2**16 and (back.X != cells.X).nnz == 0
    assert back.obs_names.equals(cells.obs_names) and back.var_names.tolist() == cells.var_names.tolist()
    assert back.var["FBgn"].tolist() == cells.var["FBgn"].tolist()
    assert back.obs["stage"].tolist() == ["adult"] * 11 and back.obs["batch"].tolist() == cells.obs["batch"].tolist()
    assert back.obs["cpm_per_read"].tolist() == [1 / 3] * 11 and back.uns["source"]["commit"] == "abc"


@pytest.mark.parametrize("value", [0.5, -1, 2**24])
def test_what_is_no_count_is_refused(cells, value):
    cells.X = cells.X.astype(np.float64)
    cells.X.data[0] = value
    with pytest.raises(ValueError, match="expected whole numbers"):
        packed(cells)
