"""Results are written all or none, on any kind of object, and survive h5ad and zarr."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scflyformer import _log
from scflyformer._version import __version__
from scflyformer.data._write import check_key_added, run_params, write

GOOD = {
    "obs": {"label": pd.Categorical(["T4/T5", "glia"] * 30), "age": np.arange(60.0)},
    "obsm": {"X_new": np.ones((60, 4), np.float32), "tokens": sp.csr_matrix((60, 3), dtype=np.int32)},
    "uns": {"new": {"params": {"a": 1, "b": "none"}, "table": pd.DataFrame({"x": ["a/b", "c"], "y": [1.0, 2.0]})}},
}


def state(adata):
    return (list(adata.obs), list(adata.obsm), list(adata.uns), adata.is_view, adata.shape)


def check(adata, rows=slice(None)):
    assert adata.obs["label"].tolist() == (["T4/T5", "glia"] * 30)[rows]
    np.testing.assert_array_equal(adata.obsm["X_new"], np.ones((60, 4))[rows])
    assert sp.issparse(adata.obsm["tokens"])
    assert adata.uns["new"]["params"]["b"] == "none"
    assert adata.uns["new"]["table"]["x"].tolist() == ["a/b", "c"]


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_round_trip(cells, tmp_path, kind):
    write(cells, **GOOD)
    check(cells)
    getattr(cells, f"write_{kind}")(tmp_path / f"a.{kind}")
    check(getattr(ad, f"read_{kind}")(tmp_path / f"a.{kind}"))


def test_again_over_the_first(cells):
    write(cells, **GOOD)
    write(cells, obs={"age": np.zeros(60)}, uns={"new": {"only": 1}})
    assert cells.obs["age"].sum() == 0
    assert cells.uns["new"] == {"only": 1}


def test_view_becomes_an_object_of_its_own(cells):
    view = cells[10:50]
    part = {
        "obs": {"label": GOOD["obs"]["label"][10:50]},
        "obsm": {key: value[10:50] for key, value in GOOD["obsm"].items()},
        "uns": GOOD["uns"],
    }
    write(view, **part)  # warnings are errors here, so this says nothing
    assert not view.is_view
    check(view, slice(10, 50))
    assert "label" not in cells.obs


def test_backed(cells, tmp_path):
    cells.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    try:
        write(backed, **GOOD)
        check(backed)
        assert backed.isbacked
    finally:
        backed.file.close()


def test_an_index_is_not_looked_at(cells):
    cells.obs_names = ["same"] * 60
    write(cells, obs={"number": pd.Series(np.arange(60), index=np.arange(60)[::-1])})
    assert cells.obs["number"].tolist() == list(range(60))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"obs": {"short": np.zeros(59)}}, r"obs\['short'\] has 59 rows; expected one for each of 60 cells"),
        ({"obsm": {"X_short": np.zeros((3, 2))}}, r"obsm\['X_short'\] has 3 rows"),
        ({"obs": {"a/b": np.zeros(60)}}, r"The key 'a/b' holds '/'"),
        ({"uns": {"a/b": {}}}, r"The key 'a/b' holds '/'"),
        ({"uns": {"a": {"params": {"x": None}}}}, r"uns\['a'\]\['params'\]\['x'\] is None"),
        ({"uns": {"a": {"T4/T5": 1}}}, r"uns\['a'\] holds the key 'T4/T5'"),
        ({"uns": {"a": {3: 1}}}, r"uns\['a'\] holds the key 3"),
    ],
)
@pytest.mark.parametrize("view", [False, True])
def test_all_or_none(cells, bad, message, view):
    adata = cells[:] if view else cells
    before = state(adata)
    mixed = {place: GOOD.get(place, {}) | bad.get(place, {}) for place in GOOD}
    with pytest.raises(ValueError, match=message):
        write(adata, **mixed)
    assert state(adata) == before


def test_what_anndata_refuses_is_undone(cells):
    cells.obs["label"] = "before"
    before = state(cells)
    wrong = np.empty((60, 2, 2, 2), dtype=object)
    cells_refuse = {"X_odd": SimpleNamespace(shape=(60,), values=wrong)}
    with pytest.raises((TypeError, ValueError, AttributeError)):
        write(cells, obs=GOOD["obs"], obsm=GOOD["obsm"] | cells_refuse, uns=GOOD["uns"])
    assert state(cells) == before
    assert set(cells.obs["label"]) == {"before"}


def test_run_params(cells, tmp_path):
    model = SimpleNamespace(name="tiny", sha256="abc")
    params = run_params(
        model,
        nothing=None,
        path=Path("a") / "b",
        number=3,
        share=0.5,
        flag=True,
        genes=["Drak", "fz2"],
        sets={"T4/T5": ["Drak"], "x": ("a", 1)},
        ages=(5, 30.5),
        labels=pd.Series(["x", "y"]),
        empty=[],
        chosen={"b", "a"},
        odd=slice(3),
        array=np.arange(3),
        scalar=np.float32(2),
    )
    assert params["scflyformer_version"] == __version__
    assert (params["model"], params["model_sha256"]) == ("tiny", "abc")
    assert params["nothing"] == "none"
    assert params["path"] == str(Path("a") / "b")
    assert list(params["sets"]) == ["T4|T5", "x"]
    assert params["sets"]["x"].tolist() == ["a", "1"]
    assert params["ages"].tolist() == [5.0, 30.5]
    assert params["chosen"].tolist() == ["a", "b"]
    assert params["odd"] == "slice(None, 3, None)"
    write(cells, uns={"run": {"params": params}})
    cells.write_h5ad(tmp_path / "a.h5ad")
    cells.write_zarr(tmp_path / "a.zarr")
    for back in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        found = back.uns["run"]["params"]
        assert set(found) == set(params)
        assert list(found["genes"]) == ["Drak", "fz2"]
        assert found["number"] == 3
        assert bool(found["flag"]) is True


def test_run_params_without_model():
    assert run_params(a=1) == {"scflyformer_version": __version__, "a": 1}


def test_a_column_of_somebody_else_is_told(cells, monkeypatch):
    said = []
    monkeypatch.setattr(_log, "warning", said.append)
    cells.obs["age"] = 1.0
    write(cells, **GOOD)
    assert said == ["obs['age'] held something else before and is overwritten; key_added= names results otherwise."]
    write(cells, **GOOD)  # now it is ours: its entry in uns says so
    assert len(said) == 1


def test_a_column_that_is_read_is_refused():
    check_key_added("mine", ("", "_low"), age_key="age", groupby=None)
    with pytest.raises(ValueError, match="age_key is 'mine_low', a column .* pass another key_added"):
        check_key_added("mine", ("", "_low"), age_key="mine_low")
