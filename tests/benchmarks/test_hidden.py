"""Hidden genes are scored for every network and by counting, once."""

from __future__ import annotations

import numpy as np


def test_masked_genes_are_kept(tiny_model, cells, tmp_path, monkeypatch):
    import _hidden
    from _hidden import masked_genes
    from _representations import Frozen, random_weights
    from pretrain_fly import EXCLUDE

    cells.obs["batch"] = np.where(np.arange(cells.n_obs) % 2, EXCLUDE["batch"][0], "seen")
    (tmp_path / "fly").mkdir()
    cells.write_h5ad(tmp_path / "fly" / "set.h5ad")
    monkeypatch.setattr(_hidden, "SETS", ["set"])
    model = Frozen(tmp_path, tiny_model)
    columns = [model, random_weights(tmp_path, model.model, seed=1)]
    found = list(masked_genes(tmp_path, columns, tmp_path, n_boot=5))
    assert [name for _, name, _ in found][-2:] == [model.name, "random weights"] and len(found) == 6
    for _, _, view in found:
        assert view["n_test"] == cells.n_obs // 2 and view["metrics"]["nats a gene"][0] > 0
    monkeypatch.setattr(_hidden, "_ranked", None)
    assert list(masked_genes(tmp_path, columns, tmp_path, n_boot=5)) == found
