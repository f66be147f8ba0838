"""The simulated brain is deterministic, holds what it claims, and its planted genes do what the truth says."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from stored import stored

from scflyformer.datasets import fly_brain_simulated


@pytest.fixture(scope="module")
def brain():
    return fly_brain_simulated(1050, seed=3)


def log_normalised(adata) -> np.ndarray:
    counts = adata.X.toarray()
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


def cosine(cells: np.ndarray, centroid: np.ndarray) -> np.ndarray:
    return cells @ centroid / np.linalg.norm(cells, axis=1) / np.linalg.norm(centroid)


def test_counts_and_columns(brain):
    assert sp.isspmatrix_csr(brain.X) and brain.X.dtype == np.float32 and brain.X.has_canonical_format
    assert (brain.X.data > 0).all() and (brain.X.data == np.round(brain.X.data)).all()
    assert (np.diff(brain.X.indptr) > 0).all()
    assert brain.shape == (1050, 2088)
    assert brain.obs_names.is_unique and brain.var_names.is_unique
    assert brain.var["FBgn"].str.fullmatch(r"FBgn\d{7}").all()
    assert brain.obs["cell_type"].cat.categories.size == 9
    assert sorted(brain.obs["age"].unique()) == [0, 1, 3, 6, 9, 15, 30]
    per_library = brain.obs.groupby("batch", observed=True)["age"]
    assert (per_library.nunique() == 1).all() and (per_library.size() == 50).all()
    assert 200 < np.diff(brain.X.indptr).mean() < 450


def test_same_seed_same_cells(brain):
    again, other = fly_brain_simulated(1050, seed=3), fly_brain_simulated(1050, seed=4)
    assert (again.X != brain.X).nnz == 0
    pd.testing.assert_frame_equal(again.obs, brain.obs)
    assert (other.X != brain.X).nnz > 0


@pytest.mark.parametrize(("start", "goal", "driver"), [(30, 0, "rises"), (0, 30, "falls")])
def test_removing_a_driver_moves_cells_to_the_other_age(brain, start, goal, driver):
    genes = brain.uns["truth"]["genes"]
    expression, age = log_normalised(brain), brain.obs["age"].to_numpy()
    cells, centroid = expression[age == start], expression[age == goal].mean(axis=0)
    shift = {}
    for gene in genes.index:
        removed = cells.copy()
        removed[:, brain.var_names.get_loc(gene)] = 0
        shift[gene] = (cosine(removed, centroid) - cosine(cells, centroid)).mean()
    shift = pd.Series(shift)
    assert (shift[genes["role"] == driver] > 0).all()
    assert (shift[genes["role"] == "control"] < 0).all()


def test_planted_folds_are_in_the_counts(brain):
    genes = brain.uns["truth"]["genes"]
    assert genes["role"].value_counts().to_dict() == {"rises": 5, "control": 5, "falls": 3}
    assert (brain.var.loc[genes.index, "FBgn"] == genes["FBgn"]).all()
    age = brain.obs["age"].to_numpy()
    counts = brain[:, genes.index].X.toarray()
    total = np.asarray(brain.X.sum(axis=1)).ravel()
    share = {days: counts[age == days].sum(axis=0) / total[age == days].sum() for days in (0, 30)}
    seen = np.log2(share[30] / share[0])
    planted = genes["log2_fold"].to_numpy()
    assert np.abs(seen - planted)[planted == 0].max() < 1
    assert np.abs(seen - planted)[planted != 0].max() < 2.5
    for cell_type in ("G-KC", "Ensheathing_glia"):  # in every type alike
        of_type = (brain.obs["cell_type"] == cell_type).to_numpy()
        rises = (genes["role"] == "rises").to_numpy()
        means = [counts[of_type & (age == days)][:, rises].mean() for days in (0, 30)]
        assert means[1] > 10 * means[0]


def test_library_effects_can_be_turned_off():
    calm, loud = (fly_brain_simulated(420, seed=1, library_sd=sd, n_libraries=2) for sd in (0.0, 0.6))

    def between(adata) -> float:
        pairs = [adata[adata.obs["batch"] == f"sim_6d_r{i}"].X.sum(axis=0).A1 for i in (1, 2)]
        use = (pairs[0] > 20) & (pairs[1] > 20)
        return float(np.log(pairs[0][use] / pairs[1][use]).std())

    assert between(loud) > between(calm) + 0.2


def test_depth(brain):
    deeper = fly_brain_simulated(1050, seed=3, depth=0.9)
    assert deeper.X.sum() / brain.X.sum() == pytest.approx(3, rel=0.05)


@pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning")  # anndata announces its next default format
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_round_trip(suffix, tmp_path):
    adata = fly_brain_simulated(42)
    path = tmp_path / f"brain.{suffix}"
    back = stored(adata, path)
    assert (back.X != adata.X).nnz == 0
    assert back.uns["truth"]["genes"]["role"].tolist() == adata.uns["truth"]["genes"]["role"].tolist()
    assert "not a finding" in back.uns["truth"]["note"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_cells": 20}, "n_cells is 20; expected at least 21"),
        ({"n_libraries": 0}, "n_libraries is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"library_sd": -1}, "library_sd is -1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        fly_brain_simulated(**options)


def test_summary_is_small_and_plain():
    path = files("scflyformer.datasets") / "fly_brain_simulated.npz"
    assert path.stat().st_size < 1e6
    with np.load(path, allow_pickle=False) as archive:  # fails on pickled objects
        shapes = {name: archive[name].shape for name in archive.files}
    assert "w1118 only" in str(np.load(path, allow_pickle=False)["source"])
    assert shapes["level"] == (9, 2088)  # profiles, no cells
    assert "simulated cells, not measured" in fly_brain_simulated.__doc__
