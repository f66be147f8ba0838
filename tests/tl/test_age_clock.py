"""The clock is judged on samples it has not seen, beside controls, and cannot be fooled by what libraries differ in."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

import scflyformer as sf
from scflyformer.models import ModelFolderError

AGES = np.repeat([0.0, 3, 10, 30, 50], 3)
ARMS = ["embedding", "expression", "embedding+expression", "depth", "mean"]


def _flies(
    *, ageing: float, library: float = 0.5, cells: int = 20, seed: int = 0, n_genes: int = 60, depth: float = 0.0
) -> ad.AnnData:
    """Draw counts over the tiny model's genes: 15 libraries of one age each; ten genes change with log age."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(15), cells)
    age = AGES[sample]
    slope = np.zeros(n_genes)
    slope[:10] = ageing * np.array([1, -1] * 5)
    rate = rng.normal(1, 0.5, n_genes) + rng.normal(0, library, (15, n_genes))[sample]
    rate = np.exp(rate + np.outer(np.log2(age + 1) / 6, slope))
    rate *= 400 / rate.sum(axis=1, keepdims=True) * np.exp(depth * np.log2(age + 1)[:, None])
    obs = {
        "age": age,
        "batch": [f"lib{n}" for n in sample],
        "cell_type": pd.Categorical(np.where(np.arange(len(age)) % 4 == 0, "rare/type", "glia")),
    }
    return ad.AnnData(
        sp.csr_matrix(rng.poisson(rate).astype(np.float32)),
        obs=pd.DataFrame(obs, index=[f"cell{n}" for n in range(len(age))]),
        var=pd.DataFrame(index=[f"tiny{n}" for n in range(1, n_genes + 1)]),
    )


def _run(adata: ad.AnnData, tiny_model: Path, **more: object) -> pd.DataFrame:
    sf.tl.age_clock(adata, **{"sample_key": "batch", "model": tiny_model, **more})
    return adata.uns["age_clock"]["results"].set_index(["group", "features"])


def test_finds_planted_ageing(tiny_model: Path) -> None:
    adata = _flies(ageing=2.0, library=0.1)
    results = _run(adata, tiny_model)
    assert list(results.loc["all"].index) == ARMS
    assert results.loc[("all", "expression"), "r2"] > 0.8
    assert results.loc[("all", "embedding"), "r2"] > 0.2
    assert results.loc[("all", "depth"), "r2"] < 0.6
    assert results.loc[("all", "mean"), "r2"] <= 0
    assert np.isnan(results.loc[("all", "mean"), "spearman"])
    assert (results["split"] == "sample").all()
    assert (results["n_samples"] == 15).all()
    assert (results["target"] == "log2(age + 1)").all()
    both = results[results["r2_low"].notna()]
    assert ((both["r2_low"] <= both["r2"]) & (both["r2"] <= both["r2_high"])).all()


def test_scores_are_those_of_the_predictions(tiny_model: Path) -> None:
    adata = _flies(ageing=1.0)
    results = _run(adata, tiny_model)
    table = adata.uns["age_clock"]["predictions"]
    assert table.columns.tolist() == ["cell", "group", "sample", "age", *ARMS]
    assert table["cell"].tolist() == adata.obs_names.tolist()
    np.testing.assert_array_equal(table["embedding"], adata.obs["age_clock"])
    for arm in ARMS:
        row = results.loc[("all", arm)]
        predicted, age = table[arm].to_numpy(), table["age"].to_numpy()
        assert row["r2"] == pytest.approx(r2_score(np.log2(age + 1), np.log2(predicted + 1)))
        assert row["mae"] == pytest.approx(np.abs(predicted - age).mean())
        if arm != "mean":
            assert row["spearman"] == pytest.approx(spearmanr(age, predicted).statistic)


@pytest.mark.parametrize("target", ["log", "linear"])
def test_library_effects_without_ageing_give_nothing_by_sample(tiny_model: Path, target: str) -> None:
    """Libraries differ strongly and each has one age, but age does nothing: by cell it looks like a clock."""
    adata = _flies(ageing=0.0, library=1.0)
    by_sample = _run(adata, tiny_model, target=target)
    by_cell = _run(adata, tiny_model, target=target, sample_key=None)
    assert (by_sample["r2"] <= 0.05).all()
    assert by_cell.loc[("all", "expression"), "r2"] > 0.6
    assert (by_cell["split"] == "cell").all()
    assert (by_cell["n_samples"] == 0).all()
    assert "flatters" in adata.uns["age_clock"]["confounding"][0]


def test_a_held_out_library_has_no_part_in_its_prediction(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ages the held-out libraries are said to have, their predictions stay the same."""
    from scflyformer.tl import _clock_run

    adata = _flies(ageing=1.0)
    sf.tl.embed(adata, model=tiny_model)
    fold = adata.obs["batch"].str.removeprefix("lib").astype(int).to_numpy() % 5
    monkeypatch.setattr(_clock_run, "folds", lambda *_, **__: fold)
    _run(adata, tiny_model)
    before = adata.uns["age_clock"]["predictions"]
    held = fold == 2
    adata.obs["age"] = np.where(held, 50 - adata.obs["age"], adata.obs["age"])
    _run(adata, tiny_model)
    after = adata.uns["age_clock"]["predictions"]
    np.testing.assert_allclose(after.loc[held, ARMS], before.loc[held, ARMS], rtol=1e-6)
    assert not np.allclose(after.loc[~held, "embedding"], before.loc[~held, "embedding"])


def test_depth_is_told_from_expression(tiny_model: Path) -> None:
    """Old libraries are only deeper: the depth control shows it."""
    results = _run(_flies(ageing=0.0, library=0.05, depth=0.3), tiny_model)
    assert results.loc[("all", "depth"), "r2"] > 0.8


def test_groups(tiny_model: Path) -> None:
    adata = _flies(ageing=2.0, library=0.1)
    adata.obs["kind"] = adata.obs["cell_type"].astype(str)
    adata.obs.loc[adata.obs_names[:4], "kind"] = "tiny"
    adata.obs.loc[adata.obs_names[4:6], "kind"] = np.nan
    young = adata.obs_names[(adata.obs["age"] == 3)]
    adata.obs.loc[young, "kind"] = "only 3"
    results = _run(adata, tiny_model, groupby="kind")
    assert list(results.index.unique("group")) == ["all", "glia", "rare/type"]
    skipped = adata.uns["age_clock"]["skipped"].set_index("group")["reason"]
    assert skipped.to_dict() == {"only 3": "one age (3)", "tiny": "4 cells, fewer than 50"}
    missing = adata.obs["kind"].isna() | adata.obs["kind"].isin(["tiny", "only 3"])
    assert (adata.obs["age_clock"].isna() == missing).all()
    table = adata.uns["age_clock"]["predictions"]
    own = table[table["group"] == "rare/type"].set_index("cell")["embedding"]
    np.testing.assert_array_equal(adata.obs.loc[own.index, "age_clock"], own)
    alone = adata[(adata.obs["kind"] == "rare/type").to_numpy()].copy()
    np.testing.assert_allclose(_run(alone, tiny_model)["r2"], results.loc["rare/type", "r2"], atol=1e-6)


def test_missing_ages_and_empty_cells(tiny_model: Path) -> None:
    adata = _flies(ageing=2.0, library=0.1)
    adata.obs.loc[adata.obs_names[:7], "age"] = np.nan
    adata.X = adata.X.multiply(np.arange(300)[:, None] != 20).tocsr()
    results = _run(adata, tiny_model)
    assert adata.obs["age_clock"].isna().sum() == 8
    assert (results["n_cells"] == 292).all()


@pytest.mark.parametrize("kind", ["category", "text", "int"])
def test_ages_in_other_dress(tiny_model: Path, kind: str) -> None:
    adata, other = _flies(ageing=1.0), _flies(ageing=1.0)
    ages = adata.obs["age"].astype(int)
    other.obs["age"] = {"category": ages.astype("category"), "text": ages.astype(str), "int": ages}[kind]
    expected = _run(adata, tiny_model, baselines="none")
    pd.testing.assert_frame_equal(_run(other, tiny_model, baselines="none"), expected)


def test_confounding_is_said(tiny_model: Path) -> None:
    adata = _flies(ageing=1.0)
    adata = adata[~adata.obs["batch"].isin(["lib13", "lib14"])].copy()
    _run(adata, tiny_model, baselines="none")
    said = adata.uns["age_clock"]["confounding"]
    assert "Each sample has one age" in said[0]
    assert said[1].endswith("age 50.")
    mixed = _flies(ageing=1.0)
    mixed.obs["batch"] = [f"animal{n % 6}" for n in range(300)]
    _run(mixed, tiny_model, baselines="none")
    assert len(mixed.uns["age_clock"]["confounding"]) == 0


def test_outside_the_ages_learnt(tiny_model: Path) -> None:
    adata = _flies(ageing=3.0, library=0.05)
    adata.obs["age"] = np.where(adata.obs["batch"].isin(["lib14"]), 90, adata.obs["age"])
    _run(adata, tiny_model, features="expression")
    inside = adata.uns["age_clock"]["n_outside"]
    assert inside["expression"] > 0
    assert inside["mean"] == 0


def test_the_order_of_cells_changes_nothing(tiny_model: Path) -> None:
    adata = _flies(ageing=1.0, cells=8)
    results = _run(adata, tiny_model, sample_key=None)
    other = _flies(ageing=1.0, cells=8)[np.random.default_rng(0).permutation(120)].copy()
    shuffled = _run(other, tiny_model, sample_key=None)
    np.testing.assert_allclose(
        other.obs["age_clock"].loc[adata.obs_names], adata.obs["age_clock"], rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(shuffled["r2"], results["r2"], atol=1e-3)


def test_any_embedding(tiny_model: Path) -> None:
    adata = _flies(ageing=0.0)
    rng = np.random.default_rng(0)
    adata.obsm["X_mine"] = rng.normal(size=(300, 4)) + adata.obs["age"].to_numpy()[:, None] / 20
    results = _run(adata, tiny_model, use_rep="X_mine", target="linear")
    assert results.loc[("all", "embedding"), "r2"] > 0.7
    assert "model" not in adata.uns["age_clock"]["params"]
    with pytest.raises(ValueError, match="save needs the model that made"):
        _run(adata, tiny_model, use_rep="X_mine", save="somewhere")
    with pytest.raises(KeyError, match="did you mean 'X_mine'"):
        _run(adata, tiny_model, use_rep="X_min")
    adata.obsm["X_mine"][0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        _run(adata, tiny_model, use_rep="X_mine")


def test_the_embedding_at_hand_is_used(tiny_model: Path) -> None:
    adata, other = _flies(ageing=1.0), _flies(ageing=1.0)
    sf.tl.embed(adata, model=tiny_model)
    sf.tl.age_clock(adata, sample_key="batch", baselines="none")  # the default model would not know these genes
    assert adata.uns["age_clock"]["params"]["model"] == "tiny"
    _run(other, tiny_model, baselines="none")
    np.testing.assert_allclose(adata.obs["age_clock"], other.obs["age_clock"])
    assert "X_scflyformer" not in other.obsm


@pytest.mark.parametrize("features", ["embedding", "expression", "embedding+expression"])
def test_save_and_apply(tiny_model: Path, tmp_path: Path, features: str) -> None:
    learnt, new = _flies(ageing=2.0, library=0.1), _flies(ageing=2.0, library=0.1, seed=0, cells=10)
    folder = tmp_path / "clock"
    _run(learnt, tiny_model, features=features, groupby="cell_type", save=folder, baselines="none")
    assert {"features", "target", "groups", "age_range"} <= set(json.loads((folder / "clock.json").read_text()))
    model = sf.models.load(folder)
    assert set(model.tensors("clock.")) == {"mean", "scale", "weight", "bias"}
    assert model.metrics["clock"]["all"]["split"] == "sample"
    kept = new.copy()
    sf.tl.age_clock(new, clock=folder, groupby="cell_type", sample_key="batch")
    results = new.uns["age_clock"]["results"].set_index("group")
    assert (results["split"] == "external").all()
    assert set(results.index) == {"all", "glia", "rare/type"}
    shuffled = kept[::-1].copy()
    shuffled.obs = shuffled.obs[["cell_type"]].copy()
    sf.tl.age_clock(shuffled, clock=folder, groupby="cell_type")
    np.testing.assert_allclose(shuffled.obs["age_clock"].loc[new.obs_names], new.obs["age_clock"], rtol=1e-3, atol=1e-3)
    assert "results" not in shuffled.uns["age_clock"]
    if features != "embedding":
        assert results.loc["all", "r2"] > 0.8
        fewer = kept[:, list(range(10, 60))].copy()
        sf.tl.age_clock(fewer, clock=folder)
        assert np.isfinite(fewer.obs["age_clock"]).all()
        few = kept[:, list(range(20))].copy()
        with pytest.raises(ValueError, match="Only 20 of the clock's 60 genes"):
            sf.tl.age_clock(few, clock=folder)


def test_a_saved_clock_equals_scikit_learn(tiny_model: Path, tmp_path: Path) -> None:
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    adata = _flies(ageing=1.0)
    sf.tl.embed(adata, model=tiny_model)
    _run(adata, tiny_model, save=tmp_path / "clock", target="linear")
    sf.tl.age_clock(adata, clock=tmp_path / "clock", key_added="applied")
    scaler = StandardScaler().fit(adata.obsm["X_scflyformer"].astype(float))
    z, y = scaler.transform(adata.obsm["X_scflyformer"].astype(float)) / 32**0.5, adata.obs["age"].to_numpy()
    from scflyformer.stats._ridge import ALPHAS

    errors = [np.abs(Ridge(alpha=a * 300).fit(z, y).predict(z) - adata.obs["applied"].to_numpy()).max() for a in ALPHAS]
    assert min(errors) < 1e-2


def test_a_folder_that_is_no_clock(tiny_model: Path, tmp_path: Path) -> None:
    adata = _flies(ageing=1.0)
    with pytest.raises(ModelFolderError, match="a model without a clock: it has no clock.json"):
        sf.tl.age_clock(adata, clock=tiny_model)
    folder = tmp_path / "clock"
    _run(adata, tiny_model, baselines="none", save=folder)
    with pytest.raises(FileExistsError, match="exists"):
        _run(adata, tiny_model, baselines="none", save=folder)
    content = json.loads((folder / "clock.json").read_text())
    (folder / "clock.json").write_text(json.dumps(content | {"groups": ["all", "more"]}))
    with pytest.raises(ModelFolderError, match="do not fit"):
        sf.tl.age_clock(adata, clock=folder)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"age_key": "ages"}, KeyError, "age_key: no 'ages'.*did you mean 'age'"),
        ({"sample_key": "bach"}, KeyError, "did you mean 'batch'"),
        ({"groupby": "celltype"}, KeyError, "did you mean 'cell_type'"),
        ({"age_key": "text"}, ValueError, r"holds '5d'.*expected numbers"),
        ({"age_key": "yes"}, ValueError, "holds True"),
        ({"age_key": "one"}, ValueError, "holds one age, 5"),
        ({"age_key": "none"}, ValueError, "holds no ages"),
        ({"age_key": "endless"}, ValueError, "infinite"),
        ({"age_key": "negative"}, ValueError, "below 0 .*target='linear'"),
        ({"sample_key": "two"}, ValueError, "names 2 sample.*at least 3"),
        ({"groupby": "everything"}, ValueError, "a group called 'all'"),
        ({"n_splits": 2}, ValueError, "expected 3 or more"),
        ({"target": "days"}, ValueError, "target is 'days'; expected one of 'log', 'linear'"),
        ({"features": "genes"}, ValueError, "features is 'genes'"),
        ({"baselines": False}, ValueError, "baselines is False"),
        ({"clock": "a", "save": "b"}, ValueError, "Both clock and save"),
        ({"layer": "count"}, KeyError, "layer: no 'count'"),
        ({"use_rep": "X_nothing"}, KeyError, "use_rep: no 'X_nothing'"),
    ],
)
def test_bad_input(tiny_model: Path, more: dict, error: type, message: str) -> None:
    adata = _flies(ageing=1.0, cells=4)
    n = adata.n_obs
    adata.obs["text"], adata.obs["yes"], adata.obs["one"], adata.obs["none"] = "5d", True, 5.0, np.nan
    adata.obs["endless"] = np.where(np.arange(n) == 3, np.inf, adata.obs["age"])
    adata.obs["negative"] = adata.obs["age"] - 2
    adata.obs["two"], adata.obs["everything"] = np.where(np.arange(n) % 2, "a", "b"), "all"
    before = adata.copy()
    with pytest.raises(error, match=message):
        _run(adata, tiny_model, **more)
    assert list(adata.uns) == list(before.uns)
    assert list(adata.obs) == list(before.obs)


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_round_trip(tiny_model: Path, tmp_path: Path, store: str) -> None:
    adata = _flies(ageing=1.0)
    _run(adata, tiny_model, groupby="cell_type")
    path = tmp_path / f"cells.{store}"
    if store == "h5ad":
        adata.write_h5ad(path)
        back = ad.read_h5ad(path)
    else:
        adata.write_zarr(path)
        back = ad.read_zarr(path)
    for table in ("results", "predictions", "skipped"):
        written, read = adata.uns["age_clock"][table], back.uns["age_clock"][table]
        pd.testing.assert_frame_equal(read, written, check_dtype=False, check_categorical=False)
        assert sf.get.clock_df(back, table=table).shape == sf.get.clock_df(adata, table=table).shape
    assert list(back.uns["age_clock"]["confounding"]) == list(adata.uns["age_clock"]["confounding"])
    np.testing.assert_array_equal(back.obs["age_clock"], adata.obs["age_clock"])


def test_mudata(tiny_model: Path) -> None:
    import mudata

    adata = _flies(ageing=1.0)
    with mudata.set_options(pull_on_update=False):
        data = mudata.MuData({"rna": adata.copy()})
    sf.tl.age_clock(data, mod="rna", model=tiny_model, sample_key="batch", baselines="none")
    _run(adata, tiny_model, baselines="none")
    np.testing.assert_allclose(data["rna"].obs["age_clock"], adata.obs["age_clock"])


def test_more_genes_than_the_readout_takes(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scflyformer.tl import _features

    adata = _flies(ageing=1.0)
    monkeypatch.setattr(_features, "MAX_GENES", 20)
    values, names = _features.expression(adata, layer=None, gene_key=None)
    everything = np.asarray(sf._adata.expression(adata)[0].todense())
    top = set(adata.var_names[np.argsort(-everything.std(axis=0))[:20]])
    assert values.shape == (300, 20)
    assert set(names) == top
