"""Genes, cells and labels are found by what they are, though names repeat, are missing or are written otherwise."""

from __future__ import annotations

import json
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib.collections import PathCollection

import scflyformer as sf
from scflyformer import _log
from scflyformer.models import ModelFolderError

from ..conftest import make_cells


@pytest.fixture
def flies() -> ad.AnnData:
    """Cells whose age shows in every gene, and a column of `var` for other names."""
    rng = np.random.default_rng(0)
    age = np.repeat(np.arange(12) * 3.0, 10)
    slope = rng.normal(0, 0.06, 60)
    rate = np.exp(rng.normal(1.5, 0.5, 60) + np.outer(age, slope))
    return ad.AnnData(
        sp.csr_matrix(rng.poisson(rate).astype(np.float32)),
        obs=pd.DataFrame({"age": age, "batch": [f"lib{n}" for n in (age // 3).astype(int)]}).set_axis(
            [f"c{n}" for n in range(120)]
        ),
        var=pd.DataFrame(index=[f"tiny{n}" for n in range(1, 61)]),
    )


def renamed(adata: ad.AnnData, how: str) -> np.ndarray:
    names = np.array(adata.var_names, dtype=object)
    if how == "repeated":
        names[1::2] = names[::2]
    elif how == "missing":
        names[::3] = np.nan
    elif how == "text nan":
        names[::3] = "nan"
    return names


def clock(adata: ad.AnnData, **more) -> None:
    sf.tl.age_clock(adata, **{"sample_key": "batch", "baselines": "none", "target": "linear"} | more)


@pytest.mark.parametrize("how", ["unique", "repeated", "missing", "text nan"])
def test_a_saved_expression_clock_reads_what_it_was_fitted_on(flies, tiny_model, tmp_path, how):
    flies.var["symbol"] = renamed(flies, how)
    options = {"features": "expression", "gene_key": "symbol", "model": tiny_model}
    clock(flies, save=tmp_path / "clock", **options)
    content = json.loads((tmp_path / "clock" / "clock.json").read_text())
    assert len(content["genes"]) == len(set(content["genes"])) == flies.var["symbol"].replace("nan", np.nan).nunique()
    order = np.random.default_rng(1).permutation(60)
    other = flies[:, order].copy()
    clock(flies, clock=tmp_path / "clock", gene_key="symbol")
    clock(other, clock=tmp_path / "clock", gene_key="symbol")
    np.testing.assert_allclose(other.obs["age_clock"], flies.obs["age_clock"], rtol=1e-6)
    assert np.corrcoef(flies.obs["age_clock"], flies.obs["age"])[0, 1] > 0.95
    assert flies.obs["age_clock"].between(-10, 45).all()


def test_repeated_columns_are_their_sum(flies, tiny_model, tmp_path):
    """A clock of repeated names is the clock of a table whose columns were added up before."""
    flies.var["symbol"] = renamed(flies, "repeated")
    options = {"features": "expression", "model": tiny_model}
    clock(flies, save=tmp_path / "clock", gene_key="symbol", **options)
    counts = flies.X.toarray()
    summed = ad.AnnData(
        sp.csr_matrix(counts[:, ::2] + counts[:, 1::2]), obs=flies.obs, var=pd.DataFrame(index=flies.var["symbol"][::2])
    )
    clock(summed, **options)
    clock(flies, gene_key="symbol", **options)
    np.testing.assert_allclose(flies.obs["age_clock"], summed.obs["age_clock"], rtol=1e-6)
    clock(summed, clock=tmp_path / "clock")
    clock(flies, clock=tmp_path / "clock", gene_key="symbol")
    np.testing.assert_allclose(flies.obs["age_clock"], summed.obs["age_clock"], rtol=1e-6)


def test_a_clock_of_repeated_names_from_before_is_refused(flies, tiny_model, tmp_path):
    clock(flies, save=tmp_path / "clock", features="expression", model=tiny_model)
    file = tmp_path / "clock" / "clock.json"
    content = json.loads(file.read_text())
    content["genes"][1] = content["genes"][0]
    file.write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match="names genes more than once.*fit the clock again"):
        clock(flies, clock=tmp_path / "clock")


def test_a_clock_finds_names_that_r_has_changed(flies, tiny_model, tmp_path):
    flies.var_names = [f"a:{name}" for name in flies.var_names]
    clock(flies, save=tmp_path / "clock", features="expression", model=tiny_model)
    expected = flies.copy()
    clock(expected, clock=tmp_path / "clock")
    flies.var_names = flies.var_names.str.replace(":", ".")
    clock(flies, clock=tmp_path / "clock")
    np.testing.assert_allclose(flies.obs["age_clock"], expected.obs["age_clock"], rtol=1e-6)


def test_clock_genes_and_plots_with_repeated_names(flies, tiny_model, tmp_path):
    flies.var["symbol"] = renamed(flies, "repeated")
    clock(flies, save=tmp_path / "clock", features="expression", gene_key="symbol", model=tiny_model)
    sf.tl.clock_genes(flies, clock=tmp_path / "clock", genes=["tiny1"], gene_key="symbol", n_null=5, max_cells=20)
    assert flies.uns["clock_genes"]["results"]["n_cells"].tolist() == [20]
    axis = sf.pl.expression(flies, "tiny1", gene_key="symbol", groupby="age", show=False)
    counts = flies.X.toarray()
    summed = counts[:, 0] + counts[:, 1]
    expected = np.log1p(summed / counts.sum(1) * 1e4)[:10].mean()
    means = [float(dots.get_offsets()[0, 1]) for dots in axis.collections if isinstance(dots, PathCollection)]
    assert means[0] == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def with_repeated_cells():
    cells = make_cells(120, seed=3)
    cells.obs["place"] = np.arange(120)
    cells.obs_names = [f"c{n % 7}" for n in range(120)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        order = np.random.default_rng(0).permutation(120)
        yield cells, cells[order].copy(), order


def by_place(cells: ad.AnnData, column: str) -> np.ndarray:
    return cells.obs.set_index("place").loc[range(120), column].to_numpy()


@pytest.mark.parametrize("aggregate", ["none", 5])
def test_the_order_of_cells_of_one_name_changes_no_clock(with_repeated_cells, tiny_model, aggregate):
    one, other, _ = with_repeated_cells
    for cells in (one, other):
        sf.tl.age_clock(cells, baselines="none", model=tiny_model, aggregate=aggregate)
    np.testing.assert_allclose(by_place(one, "age_clock"), by_place(other, "age_clock"), rtol=1e-4)
    assert set(one.uns["age_clock"]["predictions"]["cell"].str.split(" ").str[0]) <= set(one.obs_names)


def test_the_order_of_cells_of_one_name_changes_no_label(with_repeated_cells, tiny_model):
    one, other, order = with_repeated_cells
    for cells in (one, other):
        sf.tl.annotate(cells, label_key="cell_type", baselines="none", model=tiny_model)
    np.testing.assert_allclose(other.obsm["annotation_proba"], one.obsm["annotation_proba"][order], atol=1e-4)


def test_the_order_of_cells_of_one_name_changes_no_shift(with_repeated_cells, tiny_model):
    one, other, _ = with_repeated_cells
    asked = {"genes": ["tiny30"], "state_key": "age", "start": 30, "goal": 5, "n_null": 5}
    for cells in (one, other):
        sf.tl.perturb(cells, max_cells=10, model=tiny_model, **asked)
    results = [cells.uns["perturb"]["results"] for cells in (one, other)]
    np.testing.assert_allclose(results[0]["shift"], results[1]["shift"], atol=1e-6)
    assert set(one.uns["perturb"]["cells"]["cell"]) <= set(one.obs_names)


def test_cells_that_occur_twice_stay_together(tiny_model):
    """Cells of one name and the same values are one cell, and never on both sides of the split."""
    from scflyformer.data import _columns
    from scflyformer.data._features import folds

    cells = make_cells(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twice = ad.concat([cells, cells])
        names = _columns.cell_names(twice, layer=None)
    dealt = folds(names, None, values=twice.obs["age"].to_numpy(), n_splits=5, seed=0)
    np.testing.assert_array_equal(dealt[:60], dealt[60:])


@pytest.mark.parametrize(
    "ages",
    [
        pd.Series([True] * 120),
        pd.Series([False, None] * 60, dtype=object),
        pd.Series([True, None] * 60, dtype="boolean"),
        pd.Series([5, True] * 60, dtype=object),
        pd.Series(pd.to_timedelta([5, 30] * 60, unit="D")),
        pd.Series(pd.to_datetime(["2020-01-01", "2020-02-01"] * 60)),
    ],
)
def test_single_truth_values_and_times_are_no_ages(flies, tiny_model, ages):
    flies.obs["old"] = ages.to_numpy() if ages.dtype == object else ages.array
    with pytest.raises(ValueError, match=r"obs\['old'\] holds .*expected numbers in one unit"):
        clock(flies, age_key="old", model=tiny_model)
    assert "age_clock" not in flies.obs


@pytest.mark.parametrize("dtype", [object, bool, "boolean", "category"])
def test_two_truth_values_are_said_to_be_read_as_numbers(flies, tiny_model, monkeypatch, dtype):
    said = []
    monkeypatch.setattr(_log, "warning", said.append)
    flies.obs["old"] = pd.Series(list(flies.obs["age"] > 15), index=flies.obs_names, dtype=object).astype(dtype)
    clock(flies, age_key="old", model=tiny_model)
    assert said[0].startswith("obs['old'] holds True and False, which are read as the ages 1 and 0.")
    assert sorted(flies.uns["age_clock"]["per_age"]["age"].unique()) == [0, 1]


def test_a_clock_by_group_finds_groups_of_another_type(flies, tiny_model, tmp_path):
    flies.obs["group"] = np.arange(120) % 2 + 0.0
    clock(flies, groupby="group", save=tmp_path / "clock", features="expression", model=tiny_model)
    expected = flies.copy()
    clock(expected, clock=tmp_path / "clock", groupby="group")
    for groups in (np.arange(120) % 2, (np.arange(120) % 2).astype(str), (np.arange(120) % 2 + 0.0).astype(str)):
        flies.obs["group"] = groups
        clock(flies, clock=tmp_path / "clock", groupby="group")
        np.testing.assert_allclose(flies.obs["age_clock"], expected.obs["age_clock"])


def test_a_clock_needs_no_readable_ages(flies, tiny_model, tmp_path, monkeypatch):
    said = []
    clock(flies, save=tmp_path / "clock", features="expression", model=tiny_model)
    flies.obs["age"] = "young"
    monkeypatch.setattr(_log, "warning", said.append)
    clock(flies, clock=tmp_path / "clock")
    assert np.isfinite(flies.obs["age_clock"]).all()
    assert any("the predictions are not scored: obs['age'] holds 'young'" in line for line in said)


def test_a_key_that_files_cannot_hold_leaves_no_folder(flies, tiny_model, tmp_path):
    with pytest.raises(ValueError, match="'a/b' holds '/'"):
        clock(flies, save=tmp_path / "clock", key_added="a/b", model=tiny_model)
    assert not (tmp_path / "clock").exists()


def test_labels_as_numbers_or_text_are_the_same(tiny_model):
    """Learnt from 3.0, compared with 3 and "3"."""
    cells = make_cells(120, seed=3)
    codes = cells.obs["cell_type"].cat.codes
    cells.obs["number"], cells.obs["text"] = codes.astype(float).where(codes > 0), codes.astype(str)
    cells.obs["text"] = cells.obs["text"].replace("0", "unannotated")
    sf.tl.annotate(cells, label_key="number", sample_key="batch", baselines="none", model=tiny_model)
    assert cells.uns["annotation"]["classes"].tolist() == ["1", "2"]
    titles = [sf.pl.confusion(cells, truth=truth, show=False).get_title() for truth in ("number", "text")]
    accuracy, n_cells = cells.uns["annotation"]["metrics"].loc["0", ["accuracy", "n_cells"]]
    assert titles[0] == titles[1] and titles[0].endswith(f"{n_cells:g} cells")
    best = sf.pl.confusion(cells, truth="text", key="annotation_best", show=False).get_title()
    assert best.startswith(f"{accuracy:.1%} right")
