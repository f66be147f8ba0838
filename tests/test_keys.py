"""Each function that writes to an object writes the documented keys and no others; they survive h5ad and zarr."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mudata_updates import no_pull
from stored import stored

import scflyformer as sf

from .conftest import make_cells

CALLS: dict[str, dict[str, Any]] = {
    "pp.tokenize": {},
    "tl.embed": {},
    "tl.annotate": {"label_key": "cell_type", "sample_key": "batch"},
    "tl.age_clock": {"age_key": "age", "sample_key": "batch"},
    "tl.age_acceleration": {"compare": "batch"},
    "tl.clock_genes": {"genes": ["tiny25", "tiny33", "nonsense"], "sample_key": "batch", "n_null": 5},
    "tl.annotation_genes": {"genes": ["tiny1", "nonsense"], "label_key": "cell_type", "contrast": "glia", "n_null": 5},
    "tl.perturb": {"genes": ["tiny25", "tiny33"], "state_key": "age", "start": 30, "goal": 5, "n_null": 5},
}
WRITES = {
    "pp.tokenize": ["obsm:{}", "obs:n_{}", "uns:{}"],
    "tl.embed": ["obsm:{}", "uns:{}"],
    "tl.annotate": ["obs:{}", "obs:{}_score", "obs:{}_novelty", "obs:{}_best", "obsm:{}_proba", "uns:{}"],
    "tl.age_clock": ["obs:{}", "obs:{}_low", "obs:{}_high", "obs:{}_outside", "uns:{}"],
    "tl.age_acceleration": ["obs:{}", "uns:{}"],
    "tl.clock_genes": ["uns:{}"],
    "tl.annotation_genes": ["uns:{}"],
    "tl.perturb": ["uns:{}"],
}
DEFAULTS = {
    "pp.tokenize": "tokens",
    "tl.embed": "X_scflyformer",
    "tl.annotate": "annotation",
    "tl.age_clock": "age_clock",
    "tl.age_acceleration": "age_acceleration",
    "tl.clock_genes": "clock_genes",
    "tl.annotation_genes": "annotation_genes",
    "tl.perturb": "perturb",
}
AFTER = {"tl.age_acceleration": "tl.age_clock"}
"""Calls that read what another call wrote, and no expression and no model of their own."""
each = pytest.mark.parametrize("name", CALLS)


def call(name: str, data: Any, model: Any, **more: Any) -> Any:
    package, function = name.split(".")
    own = {} if name in AFTER else {"model": model}
    if name == "tl.clock_genes":
        own = {"clock": clock_on(model)}
    if name == "tl.annotation_genes":
        own = {"classifier": classifier_on(model)}
    return getattr(getattr(sf, package), function)(data, **own, **CALLS[name], **more)


def clock_on(model: Any) -> Any:
    """Return the folder of a clock that reads a model, made once."""
    folder = model.parent / "clock"
    if not folder.exists():
        rng = np.random.default_rng(0)
        cells = ad.AnnData(sp.csr_matrix(rng.poisson(3, (60, 60)).astype(np.float32)))
        cells.var_names = [f"tiny{n}" for n in range(1, 61)]
        cells.obs["age"], cells.obs["batch"] = np.repeat([5, 30], 30), [f"s{n // 15}" for n in range(60)]
        sf.tl.age_clock(cells, sample_key="batch", baselines="none", model=model, save=folder)
    return folder


def classifier_on(model: Any) -> Any:
    """Return the folder of a classifier that reads a model, made once."""
    folder = model.parent / "classifier"
    if not folder.exists():
        sf.tl.annotate(make_cells(seed=3), label_key="cell_type", baselines="none", model=model, save=folder)
    return folder


@pytest.fixture(scope="module")
def found(tiny_model) -> Callable[[str], ad.AnnData]:
    """Return a function that gives the cells as a call finds them: after the one that it builds on."""

    @cache
    def make(name: str) -> ad.AnnData:
        cells = make_cells()
        if earlier := AFTER.get(name):
            call(earlier, cells, tiny_model)
        return cells

    return make


@pytest.fixture
def cells(found: Callable, request: pytest.FixtureRequest) -> ad.AnnData:
    """A copy of the cells as a call finds them."""
    return found(request.node.callspec.params["name"]).copy()


@pytest.fixture(scope="module")
def called(found: Callable, tiny_model) -> Callable[[str], ad.AnnData]:
    """Return a function that gives the cells after a call, for tests that only look."""

    @cache
    def make(name: str) -> ad.AnnData:
        cells = found(name).copy()
        assert call(name, cells, tiny_model) is None
        return cells

    return make


def keys(adata: ad.AnnData) -> set[str]:
    places = ("obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")
    return {f"{place}:{key}" for place in places for key in getattr(adata, place)}


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal, categories, columns and missing values included."""
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_dtype=False, check_categorical=False)
        return True
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if sp.issparse(one):
        return (one != other).nnz == 0
    if isinstance(one, np.ndarray | list):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
        return True
    return one == other or (one != one and other != other)


def alike(one: Any, other: Any) -> None:
    """Assert that two runs gave the same; cells of the tiny model are so alike that readouts scale up its rounding."""
    if sp.issparse(one):
        assert same(one, other)
    elif pd.api.types.is_float_dtype(one):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
    else:
        assert one.astype(str).tolist() == other.astype(str).tolist()


@each
def test_writes_what_it_documents(name: str, cells: ad.AnnData, called: Callable) -> None:
    assert keys(called(name)) - keys(cells) == {each.format(DEFAULTS[name]) for each in WRITES[name]}


@each
def test_key_added_names_all_that_is_written(name: str, cells: ad.AnnData, tiny_model) -> None:
    before = keys(cells)
    assert call(name, cells, tiny_model, key_added="mine") is None
    assert keys(cells) - before == {each.format("mine") for each in WRITES[name]}


@each
def test_says_what_ran(name: str, called: Callable, tiny_model) -> None:
    params = called(name).uns[DEFAULTS[name]]["params"]
    model = sf.models.load(tiny_model)
    assert model.sha256 in params.values()
    assert model.name in params.values()
    assert sf.__version__ in params.values()


@each
def test_leaves_the_rest_alone(name: str, cells: ad.AnnData, called: Callable) -> None:
    after = called(name)
    assert (after.X != cells.X).nnz == 0
    assert after.var.equals(cells.var)
    assert after.obs[cells.obs.columns].equals(cells.obs)


@each
def test_copy_leaves_the_original_alone(name: str, cells: ad.AnnData, tiny_model) -> None:
    before = keys(cells)
    out = call(name, cells, tiny_model, copy=True)
    assert keys(cells) == before
    assert keys(out) > before


@each
@pytest.mark.parametrize("nullable", [False, True], ids=["plain", "nullable"])
@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_survives_the_disk(
    name: str, store: str, nullable: bool, cells: ad.AnnData, called: Callable, tmp_path
) -> None:
    before, cells = keys(cells), called(name).copy()
    with ad.settings.override(allow_write_nullable_strings=nullable):
        back = stored(cells, tmp_path / f"cells.{store}")
    assert keys(back) == keys(cells)
    for written in sorted(keys(cells) - before):
        place, key = written.split(":")
        one, other = getattr(cells, place)[key], getattr(back, place)[key]
        if place == "obs":
            assert one.astype(str).tolist() == other.astype(str).tolist()
        else:
            assert same(one, other), written


@each
def test_nullable_strings_give_the_same(name: str, cells: ad.AnnData, called: Callable, tiny_model, tmp_path) -> None:
    """Labels and samples of pandas' string type, with a round trip through a file that keeps it."""
    before = keys(cells)
    for column in ("cell_type", "batch"):
        cells.obs[column] = cells.obs[column].astype(str).astype("string")
    with ad.settings.override(allow_write_nullable_strings=True):
        cells.write_h5ad(tmp_path / "cells.h5ad", convert_strings_to_categoricals=False)
        cells = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert isinstance(cells.obs["batch"].dtype, pd.StringDtype)
    call(name, cells, tiny_model)
    expected = called(name)
    for written in sorted(keys(expected) - before):
        place, key = written.split(":")
        one, other = getattr(expected, place)[key], getattr(cells, place)[key]
        if place == "obs":
            assert one.astype(str).tolist() == other.astype(str).tolist()
        elif place == "obsm":  # what uns holds of the cells given, such as a checksum, may differ
            assert same(one, other), written
    assert keys(cells) == keys(expected)


@each
def test_mudata_gets_the_same(name: str, cells: ad.AnnData, called: Callable, tiny_model) -> None:
    import mudata

    with no_pull():
        other = ad.AnnData(
            np.ones((cells.n_obs, 1)), obs=pd.DataFrame(index=cells.obs_names), var=pd.DataFrame(index=["adt"])
        )
        data = mudata.MuData({"rna": cells.copy(), "protein": other})
    call(name, data, tiny_model, mod="rna")
    cells = called(name)
    assert keys(data["rna"]) == keys(cells)
    for written in WRITES[name]:
        place, key = written.format(DEFAULTS[name]).split(":")
        if place != "uns":
            alike(getattr(cells, place)[key], getattr(data["rna"], place)[key])


@pytest.mark.parametrize("name", [name for name in CALLS if name not in AFTER])
def test_failure_leaves_the_object_alone(name: str, cells: ad.AnnData, tiny_model) -> None:
    cells.X = cells.X.copy()
    cells.X.data[3] = -1
    before = keys(cells)
    with pytest.raises(ValueError, match="negative"):
        call(name, cells, tiny_model)
    assert keys(cells) == before
