"""A baseline of random weights has the shape of the model and nothing else of it."""

from __future__ import annotations

import numpy as np


def test_random_weights_differ_from_the_model(tiny_model, cells, tmp_path):
    from benchmarks.lib.data import Data, Fit
    from benchmarks.lib.representations import Frozen, random_weights

    cells = cells.copy()
    cells.obs["batch"] = "one"
    cells.var["FBgn"] = cells.var_names
    cells.write_h5ad(tmp_path / "set.h5ad")
    data = Data(tmp_path / "set.h5ad", lambda obs: np.arange(0, len(obs), 2))
    fit = Fit("all", np.ones(cells.n_obs, dtype=bool))
    model = Frozen(tmp_path, tiny_model)
    mine = model.blocks(data, fit)["embedding"]
    other = random_weights(tmp_path, model.model, seed=1)
    assert mine.shape == other.blocks(data, fit)["embedding"].shape and len(mine) == len(data.used)
    assert not np.allclose(mine, other.blocks(data, fit)["embedding"])
    again = random_weights(tmp_path, model.model, seed=1).blocks(data, fit)["embedding"]
    np.testing.assert_allclose(again, other.blocks(data, fit)["embedding"], atol=1e-5)
