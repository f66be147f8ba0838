"""The clock is judged on samples it has not seen, beside controls, and cannot be fooled by what libraries differ in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mudata_updates import no_pull
from scipy.stats import spearmanr
from sklearn.metrics import r2_score
from stored import stored

import scflyformer as sf
from scflyformer import _log
from scflyformer.models import ModelFolderError

AGES = np.repeat([0.0, 3, 10, 30, 50], 3)
HONEST = ["embedding", "expression", "embedding+expression", "depth", "mean"]
"""Feature sets whose whole samples are held out."""
ARMS = [*HONEST, "article"]


ENDS = ["_low", "_high"]
CLOSE = {"rtol": 1e-3, "atol": 1e-3}
"""Of two runs of the tiny model: its cells differ by 5e-4 only, and what float32 rounds is scaled up with them."""


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
    assert results.loc["all", "split"].tolist() == [*["sample"] * 5, "cell 7:3"]
    assert results.loc["all", "n_cells"].tolist() == [*[300] * 5, 90]
    assert results["n_units"].tolist() == results["n_cells"].tolist()
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
        row, tested = results.loc[("all", arm)], table[arm].notna()
        assert tested.sum() == (90 if arm == "article" else 300)
        predicted, age = table.loc[tested, arm].to_numpy(), table.loc[tested, "age"].to_numpy()
        assert row["r2"] == pytest.approx(r2_score(np.log2(age + 1), np.log2(predicted + 1)))
        assert row["mae"] == pytest.approx(np.abs(predicted - age).mean())
        if arm not in ("mean", "article"):
            assert row["spearman"] == pytest.approx(spearmanr(age, predicted).statistic)


@pytest.mark.parametrize("target", ["log", "linear"])
def test_library_effects_without_ageing_give_nothing_by_sample(tiny_model: Path, target: str) -> None:
    """Libraries differ strongly and each has one age, but age does nothing: by cell it looks like a clock."""
    adata = _flies(ageing=0.0, library=1.0)
    by_sample = _run(adata, tiny_model, target=target)
    by_cell = _run(adata, tiny_model, target=target, sample_key=None)
    honest = by_sample[by_sample["split"] == "sample"]
    assert honest.index.get_level_values("features").tolist() == HONEST
    assert (honest["r2"] <= 0.05).all()
    assert by_cell.loc[("all", "expression"), "r2"] > 0.6
    assert by_cell["split"].tolist() == [*["cell"] * 5, "cell 7:3"]
    assert (by_cell["n_samples"] == 0).all()
    assert "too high" in adata.uns["age_clock"]["confounding"][0]


def test_a_held_out_library_has_no_part_in_its_prediction(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ages the held-out libraries are said to have, their predictions stay the same."""
    from scflyformer.clock import _fit

    adata = _flies(ageing=1.0)
    sf.tl.embed(adata, model=tiny_model)
    fold = adata.obs["batch"].str.removeprefix("lib").astype(int).to_numpy() % 5
    monkeypatch.setattr(_fit, "folds", lambda *_, **__: fold)
    _run(adata, tiny_model)
    before = adata.uns["age_clock"]["predictions"]
    interval = adata.obs[[f"age_clock{end}" for end in ENDS]].set_axis(ENDS, axis=1)
    held = fold == 2
    adata.obs["age"] = np.where(held, 50 - adata.obs["age"], adata.obs["age"])
    _run(adata, tiny_model)
    after = adata.uns["age_clock"]["predictions"]
    np.testing.assert_allclose(after.loc[held, HONEST], before.loc[held, HONEST], rtol=1e-6)
    assert not np.allclose(after.loc[~held, "embedding"], before.loc[~held, "embedding"])
    for end in ENDS:
        np.testing.assert_allclose(adata.obs.loc[held, f"age_clock{end}"], interval.loc[held, end], rtol=1e-6)
        assert not np.allclose(adata.obs.loc[~held, f"age_clock{end}"], interval.loc[~held, end])


def test_a_recipe_that_does_not_come_to_an_end_is_told(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words of our own, and not by a warning of the solver's."""
    from dataclasses import replace

    from scflyformer import _log
    from scflyformer.clock import _published

    original = _published.published_clock

    def endless(*args: object, scale: float, **more: int) -> _published.Published:
        return replace(original(*args, scale=scale, **more), converged=scale != 10)

    said: list[str] = []
    monkeypatch.setattr(_log, "warning", said.append)
    monkeypatch.setattr(_published, "published_clock", endless)
    _run(_flies(ageing=1.0), tiny_model)
    told = [one for one in said if "article's recipe" in one]
    assert len(told) == 1 and "features times 10 in group 'all'; its scores there are approx" in told[0]


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
    np.testing.assert_allclose(_run(alone, tiny_model)["r2"], results.loc["rare/type", "r2"], **CLOSE)


def test_missing_ages_and_empty_cells(tiny_model: Path) -> None:
    adata = _flies(ageing=2.0, library=0.1)
    adata.obs.loc[adata.obs_names[:7], "age"] = np.nan
    adata.X = adata.X.multiply(np.arange(300)[:, None] != 20).tocsr()
    results = _run(adata, tiny_model)
    assert adata.obs["age_clock"].isna().sum() == 8
    assert results["n_cells"].tolist() == [*[292] * 5, 88]
    for end in ENDS:
        assert adata.obs[f"age_clock{end}"].isna().sum() == 8
    assert not adata.obs.loc[adata.obs["age_clock"].isna(), "age_clock_outside"].any()


@pytest.mark.parametrize("kind", ["category", "text", "int"])
def test_ages_in_other_dress(tiny_model: Path, kind: str) -> None:
    adata, other = _flies(ageing=1.0), _flies(ageing=1.0)
    ages = adata.obs["age"].astype(int)
    other.obs["age"] = {"category": ages.astype("category"), "text": ages.astype(str), "int": ages}[kind]
    expected = _run(adata, tiny_model, baselines="none")
    pd.testing.assert_frame_equal(_run(other, tiny_model, baselines="none"), expected, **CLOSE)


def test_confounding_is_said(tiny_model: Path) -> None:
    adata = _flies(ageing=1.0)
    adata = adata[~adata.obs["batch"].isin(["lib13", "lib14"])].copy()
    _run(adata, tiny_model, baselines="none")
    said = adata.uns["age_clock"]["confounding"]
    assert "Each sample has one age" in said[0]
    assert said[1].startswith("Ages of one sample only: 50.")
    mixed = _flies(ageing=1.0)
    mixed.obs["batch"] = [f"animal{n % 6}" for n in range(300)]
    _run(mixed, tiny_model, baselines="none")
    assert len(mixed.uns["age_clock"]["confounding"]) == 0


def test_outside_the_ages_learnt(tiny_model: Path) -> None:
    adata = _flies(ageing=3.0, library=0.05)
    adata.obs["age"] = np.where(adata.obs["batch"].isin(["lib14"]), 90, adata.obs["age"])
    _run(adata, tiny_model, features="expression")
    outside = adata.uns["age_clock"]["n_outside"]
    assert outside["expression"] > 0
    assert outside["mean"] == 0
    old = adata.obs["age"] == 90
    learnt = np.where(old, 50, 90)  # the one library of 90 days is dated by a clock that has learnt up to 50
    beyond = (adata.obs["age_clock"] < 0) | (adata.obs["age_clock"] > learnt)
    np.testing.assert_array_equal(adata.obs["age_clock_outside"], beyond)
    assert adata.obs["age_clock_outside"].dtype == bool
    assert outside["expression"] == beyond.sum()


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
    np.testing.assert_allclose(adata.obs["age_clock"], other.obs["age_clock"], **CLOSE)
    assert "X_scflyformer" not in other.obsm


@pytest.mark.parametrize("features", ["embedding", "expression", "embedding+expression"])
def test_save_and_apply(tiny_model: Path, tmp_path: Path, features: str) -> None:
    learnt, new = _flies(ageing=2.0, library=0.1), _flies(ageing=2.0, library=0.1, seed=0, cells=10)
    folder = tmp_path / "clock"
    _run(learnt, tiny_model, features=features, groupby="cell_type", save=folder, baselines="none")
    assert {"features", "target", "groups", "age_range", "half_width", "aggregate"} <= set(
        json.loads((folder / "clock.json").read_text())
    )
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


@pytest.mark.parametrize(("features", "warns"), [("expression", True), ("embedding", False)])
def test_a_saved_clock_keeps_its_features(tiny_model: Path, tmp_path: Path, monkeypatch, features, warns) -> None:
    adata = _flies(ageing=1.0)
    _run(adata, tiny_model, save=tmp_path / "clock", baselines="none")
    said: list[str] = []
    monkeypatch.setattr(_log, "warning", said.append)
    sf.tl.age_clock(adata, clock=tmp_path / "clock", features=features)
    assert any("reads 'embedding'; features='expression' is not used" in line for line in said) is warns


def test_a_saved_clock_equals_scikit_learn(tiny_model: Path, tmp_path: Path) -> None:
    from sklearn.linear_model import Ridge

    adata = _flies(ageing=1.0)
    sf.tl.embed(adata, model=tiny_model)
    _run(adata, tiny_model, save=tmp_path / "clock", target="linear")
    sf.tl.age_clock(adata, clock=tmp_path / "clock", key_added="applied")
    x, y = adata.obsm["X_scflyformer"].astype(float), adata.obs["age"].to_numpy()
    z = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0).sum())  # one scale for all columns
    from scflyformer.clock._ridge import ALPHAS

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
        ({"age_key": "text"}, ValueError, r"holds '5w'.*expected numbers"),
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
        (
            {"baselines": ["expression", "pca"]},
            ValueError,
            r"baselines is \['expression', 'pca'\]; expected 'auto', 'all'",
        ),
        ({"baselines": "pca"}, ValueError, "baselines is 'pca'.*'random'.*'article'"),
        ({"level": 0}, ValueError, "level is 0; expected a share above 0"),
        ({"level": 1.0}, ValueError, "level is 1.0"),
        ({"level": 90}, ValueError, "level is 90"),
        (
            {"aggregate": "metacell"},
            ValueError,
            "aggregate is 'metacell'; expected one of 'none', 'pseudocell', 'pseudobulk'",
        ),
        ({"aggregate": 0}, ValueError, "aggregate is 0; expected pseudocells of 1 or more"),
        ({"layer": "count"}, KeyError, "layer: no 'count'"),
        ({"use_rep": "X_nothing"}, KeyError, "use_rep: no 'X_nothing'"),
    ],
)
def test_bad_input(tiny_model: Path, more: dict, error: type, message: str) -> None:
    adata = _flies(ageing=1.0, cells=4)
    n = adata.n_obs
    adata.obs["text"], adata.obs["yes"], adata.obs["one"], adata.obs["none"] = "5w", True, 5.0, np.nan
    adata.obs["endless"] = np.where(np.arange(n) == 3, np.inf, adata.obs["age"])
    adata.obs["negative"] = adata.obs["age"] - 2
    adata.obs["two"], adata.obs["everything"] = np.where(np.arange(n) % 2, "a", "b"), "all"
    before = adata.copy()
    with pytest.raises(error, match=message):
        _run(adata, tiny_model, **more)
    assert list(adata.uns) == list(before.uns)
    pd.testing.assert_frame_equal(adata.obs, before.obs)


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_round_trip(tiny_model: Path, tmp_path: Path, store: str) -> None:
    adata = _flies(ageing=1.0)
    _run(adata, tiny_model, groupby="cell_type")
    back = stored(adata, tmp_path / f"cells.{store}")
    for table in ("results", "predictions", "skipped", "per_age", "genes", "scale_trap"):
        written, read = adata.uns["age_clock"][table], back.uns["age_clock"][table]
        pd.testing.assert_frame_equal(read, written, check_dtype=False, check_categorical=False)
        assert sf.get.clock_df(back, table=table).shape == sf.get.clock_df(adata, table=table).shape
    for said in ("confounding", "verdict"):
        assert list(back.uns["age_clock"][said]) == list(adata.uns["age_clock"][said])
    assert back.uns["age_clock"]["n_outside"] == adata.uns["age_clock"]["n_outside"]
    for end in ("", *ENDS, "_outside"):
        np.testing.assert_array_equal(back.obs[f"age_clock{end}"], adata.obs[f"age_clock{end}"])


def test_mudata(tiny_model: Path) -> None:
    import mudata

    adata = _flies(ageing=1.0)
    with no_pull():
        data = mudata.MuData({"rna": adata.copy()})
    sf.tl.age_clock(data, mod="rna", model=tiny_model, sample_key="batch", baselines="none")
    _run(adata, tiny_model, baselines="none")
    np.testing.assert_allclose(data["rna"].obs["age_clock"], adata.obs["age_clock"], **CLOSE)


def test_more_genes_than_the_readout_takes(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scflyformer.data import _features

    adata = _flies(ageing=1.0)
    monkeypatch.setattr(_features, "MAX_GENES", 20)
    values, names = _features.expression_features(adata)
    everything = np.asarray(sf.data._adata.log_expression(adata)[0].todense())
    top = set(adata.var_names[np.argsort(-everything.std(axis=0))[:20]])
    assert values.shape == (300, 20)
    assert set(names) == top


def _numbers(
    n_samples: int, cells: int | np.ndarray = 20, *, sample_sd: float = 0.4, cell_sd: float = 0.8, seed: int = 0
) -> ad.AnnData:
    """Draw cells whose four-dimensional embedding holds their age (0 to 50), errors of their sample and of the cell."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(n_samples), cells)
    age = np.array([0.0, 3, 10, 30, 50])[sample % 5]
    signal = np.log2(age + 1) + rng.normal(0, sample_sd, n_samples)[sample] + rng.normal(0, cell_sd, len(age))
    embedding = np.column_stack([signal, rng.normal(size=(len(age), 3))])
    obs = pd.DataFrame({"age": age, "batch": [f"lib{n}" for n in sample]}, index=[f"c{n}" for n in range(len(age))])
    counts = sp.csr_matrix(rng.poisson(3.0, (len(age), 6)).astype(np.float32))
    var = pd.DataFrame(index=[f"tiny{n}" for n in range(1, 7)])
    return ad.AnnData(counts, obs=obs, var=var, obsm={"X_mine": embedding})


def _date(adata: ad.AnnData, **more: object) -> pd.DataFrame:
    sf.tl.age_clock(adata, **{"sample_key": "batch", "use_rep": "X_mine", "baselines": "none", **more})
    return adata.uns["age_clock"]["results"].set_index(["group", "features"])


@pytest.mark.parametrize("target", ["log", "linear"])
def test_intervals_hold_what_they_promise(target: str) -> None:
    """Samples differ in size and in their errors; a new sample's cells lie inside as often as `level` says."""
    sizes = np.where(np.arange(60) % 3 == 0, 90, 15)
    adata = _numbers(60, sizes)
    for level in (0.9, 0.6):
        row = _date(adata, level=level, target=target).loc[("all", "embedding")]
        obs = adata.obs
        assert level - 0.02 < row["coverage"] < level + 0.05
        assert row["coverage_lowest"] < row["coverage"]
        inside = (obs["age_clock_low"] <= obs["age"]) & (obs["age"] <= obs["age_clock_high"])
        by_sample = inside.groupby(obs["batch"]).mean()
        assert row["coverage"] == pytest.approx(by_sample.mean())
        assert row["coverage_lowest"] == pytest.approx(by_sample.min())
        assert row["width"] == pytest.approx((obs["age_clock_high"] - obs["age_clock_low"]).median())
        assert (obs["age_clock_low"] < obs["age_clock"]).all() and (obs["age_clock"] < obs["age_clock_high"]).all()
        scale = (lambda age: np.log2(age + 1)) if target == "log" else (lambda age: age)
        reach = [np.abs(scale(obs[f"age_clock{end}"]) - scale(obs["age_clock"])) for end in ENDS]
        np.testing.assert_allclose(reach[0], reach[1])  # symmetric on the scale fitted
        assert len(np.unique(reach[0].round(6))) > 50  # it follows the prediction


def test_intervals_widen_with_the_level_and_with_what_samples_differ_by() -> None:
    quiet, loud = _numbers(30, sample_sd=0.1), _numbers(30, sample_sd=1.5)
    widths = [_date(quiet, level=level).loc[("all", "embedding"), "width"] for level in (0.5, 0.8, 0.95)]
    assert widths == sorted(widths) and widths[0] < widths[-1]
    assert _date(loud, level=0.8).loc[("all", "embedding"), "width"] > 1.5 * widths[1]


def test_gains_and_verdict(tiny_model: Path) -> None:
    adata = _flies(ageing=2.0, library=0.1)
    results = _run(adata, tiny_model, features="expression").loc["all"]
    own = results.loc["expression"]
    for score in ("r2", "spearman", "mae"):
        assert np.isnan(own[f"{score}_gain"]) and np.isnan(results.loc["article", f"{score}_gain"])
        for other in ("embedding", "embedding+expression", "depth"):
            row = results.loc[other]
            assert row[f"{score}_gain"] == pytest.approx(own[score] - row[score])
            assert row[f"{score}_gain_low"] <= row[f"{score}_gain"] <= row[f"{score}_gain_high"]
    assert results.loc["mean", "r2_gain"] == pytest.approx(own["r2"] - results.loc["mean", "r2"])
    assert np.isnan(results.loc["mean", "spearman_gain"])  # one age a fold has no ranks
    said = adata.uns["age_clock"]["verdict"]
    assert [line.split(" in R²")[0].split()[-1] for line in said] == [
        "embedding", "embedding+expression", "depth", "mean",
    ]  # fmt: skip
    assert said[0].startswith(f"expression above embedding in R² ({results.loc['embedding', 'r2_gain']:+.3f}, 95 % ")
    assert "above it in Spearman" in said[0] and "Spearman" not in said[3]
    assert results.loc["depth", "r2_gain_low"] > 0


def test_feature_sets_that_are_the_same_cannot_be_told_apart() -> None:
    """With an embedding that is the expression, paired resamples differ by nothing.

    Every second cell has the counts of the one before, the genes swapped. So both genes vary alike in every set of
    samples, and it is the same to scale each of them or both together.
    """
    adata = _numbers(15)[:, :2].copy()
    counts = adata.X.toarray()
    counts[1::2] = counts[::2, ::-1]
    adata.X = counts
    adata.obsm["X_mine"] = sf.data._adata.log_expression(adata)[0].toarray()
    row = _date(adata, baselines=["expression"]).loc[("all", "expression")]
    np.testing.assert_allclose(row[["r2_gain", "r2_gain_low", "r2_gain_high"]].astype(float), 0, atol=1e-6)
    assert any("cannot be told from expression" in line for line in adata.uns["age_clock"]["verdict"])


def test_bias_per_age_is_the_mean_over_samples() -> None:
    adata = _numbers(15, np.arange(10, 25))
    _date(adata)
    table = adata.uns["age_clock"]["per_age"]
    assert table["features"].unique().tolist() == ["embedding", "depth", "mean"]
    own = table[table["features"] == "embedding"].set_index("age")
    assert own.index.tolist() == [0, 3, 10, 30, 50]
    obs = adata.obs.assign(off=adata.obs["age_clock"] - adata.obs["age"])
    for age, row in own.iterrows():
        there = obs[obs["age"] == age]
        means = [there.loc[there["batch"] == name, "off"].mean() for name in there["batch"].unique()]
        sizes = [np.abs(there.loc[there["batch"] == name, "off"]).mean() for name in there["batch"].unique()]
        assert (row["n_cells"], row["n_samples"]) == (len(there), 3)
        assert row["bias"] == pytest.approx(np.mean(means))
        assert row["mae"] == pytest.approx(np.mean(sizes))
    mean = table[table["features"] == "mean"].set_index("age")["bias"]
    assert mean[0] > 0 > mean[50]  # the mean age is too old for the young and too young for the old


@pytest.mark.parametrize(
    ("baselines", "expected"),
    [
        ("none", ["embedding", "depth", "mean"]),
        ("auto", ARMS),
        (["expression"], ["embedding", "expression", "depth", "mean"]),
        ("article", ["embedding", "depth", "mean", "article"]),
        (["mean", "depth", "embedding"], ["embedding", "depth", "mean"]),
        ([], ["embedding", "depth", "mean"]),
    ],
)
def test_baselines(baselines: object, expected: list[str]) -> None:
    adata = _numbers(6, 10)
    results = _date(adata, baselines=baselines)
    assert results.loc["all"].index.tolist() == expected
    uns = adata.uns["age_clock"]
    assert uns["predictions"].columns.tolist() == ["cell", "group", "sample", "age", *expected]
    assert ("genes" in uns) == ("expression" in expected)
    assert ("scale_trap" in uns) == ("article" in expected)


def test_an_untrained_network_stands_beside(tiny_model: Path) -> None:
    adata = _flies(ageing=1.0, cells=8)
    results = _run(adata, tiny_model, baselines="all")
    assert results.loc["all"].index.tolist() == [*HONEST[:3], "random", *HONEST[3:], "article"]
    table = adata.uns["age_clock"]["predictions"]
    # the tiny model's own weights are those of seed 0
    np.testing.assert_allclose(table["random"], table["embedding"], **CLOSE)
    _run(adata, tiny_model, baselines=["random"], seed=1)
    table = adata.uns["age_clock"]["predictions"]
    assert not np.allclose(table["random"], table["embedding"], **CLOSE)
    _run(adata, tiny_model, baselines=["random"], seed=1)
    again = adata.uns["age_clock"]["predictions"]["random"]
    np.testing.assert_allclose(again, table["random"], **CLOSE)


def test_an_untrained_network_needs_to_know_which() -> None:
    adata = _numbers(6, 10)
    before = adata.copy()
    with pytest.raises(
        ValueError,
        match=r"The baseline 'random', an untrained network, needs the model that made obsm\['X_mine'\].*Pass it by",
    ):
        _date(adata, baselines=["random"])
    assert "age_clock" not in adata.uns
    pd.testing.assert_frame_equal(adata.obs, before.obs)


def test_the_published_recipe_by_cell_and_by_scale() -> None:
    """Libraries differ strongly, age does nothing: by cell the recipe dates them, and the unit decides how well."""
    rng = np.random.default_rng(0)
    adata = _numbers(15)
    sample = adata.obs["batch"].astype("category").cat.codes.to_numpy()
    adata.obsm["X_mine"] = rng.normal(0, 3, (15, 30))[sample] + rng.normal(size=(300, 30))
    results = _date(adata, baselines=["article"]).loc["all"]
    assert results.loc["embedding", "r2"] <= 0.05
    assert results.loc["article", "r2"] > 0.5
    assert results["split"].to_dict() == {name: "sample" for name in HONEST if name in results.index} | {
        "article": "cell 7:3"
    }
    assert results.loc["article", ["coverage", "coverage_lowest", "width"]].isna().all()
    trap = adata.uns["age_clock"]["scale_trap"]
    assert trap["group"].unique().tolist() == ["all"] and trap["scale"].tolist() == [0.1, 1.0, 10.0]
    assert trap["r2"].iloc[1] == pytest.approx(results.loc["article", "r2"])
    assert trap["r2"].iloc[0] < 0.3 and trap["r2"].is_monotonic_increasing
    other = adata.copy()
    other.obsm["X_mine"] = adata.obsm["X_mine"] / 10
    scaled = _date(other, baselines=["article"]).loc["all"]
    assert scaled.loc["article", "r2"] == pytest.approx(trap["r2"].iloc[0], abs=1e-4)
    assert scaled.loc["embedding", "r2"] == pytest.approx(results.loc["embedding", "r2"], abs=1e-4)


def test_the_published_recipe_equals_scikit_learn() -> None:
    from sklearn.linear_model import ElasticNet

    adata = _numbers(10)
    _date(adata, baselines=["article"])
    table = adata.uns["age_clock"]["predictions"].set_index("cell").loc[adata.obs_names]
    tested = table["article"].notna().to_numpy()
    assert tested.sum() == 60
    x, y = adata.obsm["X_mine"].astype(np.float32).astype(float), np.log2(adata.obs["age"].to_numpy() + 1)
    expected = 2 ** ElasticNet(l1_ratio=0.1).fit(x[~tested], y[~tested]).predict(x[tested]) - 1
    np.testing.assert_allclose(table["article"][tested], expected, rtol=1e-3)


def test_genes_that_were_planted_come_first(tiny_model: Path) -> None:
    adata = _flies(ageing=3.0, library=0.05, cells=40)
    _run(adata, tiny_model, baselines=["expression"])
    table = adata.uns["age_clock"]["genes"]
    assert table.columns.tolist() == ["group", "gene", "weight", "weight_sd", "same_sign", "top_share"]
    assert len(table) == 60 and (table["group"] == "all").all()
    assert table["weight"].abs().is_monotonic_decreasing
    top = table.head(9)
    rising = {f"tiny{n}": 1 if n % 2 else -1 for n in range(1, 11)}
    assert set(top["gene"]) <= set(rising)
    assert np.sign(top["weight"]).tolist() == [rising[gene] for gene in top["gene"]]
    assert (top["same_sign"] == 1).all() and (top["top_share"] == 1).all()
    assert (top["weight_sd"] < top["weight"].abs() / 2).all()
    assert table["same_sign"].between(0.4, 1).all()


def test_pseudocells(tiny_model: Path) -> None:
    adata = _flies(ageing=2.0, library=0.05, cells=24)
    results = _run(adata, tiny_model, aggregate=6, groupby="cell_type")
    rows = results.loc["all"]
    assert (rows.loc[HONEST, "n_units"] == 60).all() and (rows.loc[HONEST, "n_cells"] == 360).all()
    assert (rows.loc["article", "n_cells"], rows.loc["article", "split"]) == (108, "cell 7:3")  # of cells
    table = adata.uns["age_clock"]["predictions"]
    assert "article" not in table and (table["group"] == "all").sum() == 60
    assert table.loc[table["group"] == "all", "cell"].str.endswith(" and 5 more").all()
    own = adata.obs.groupby(["batch", "cell_type"], observed=True)["age_clock"]
    assert own.nunique().max() == 3 and own.nunique().min() == 1  # 18 glia and 6 others in a library
    assert set(adata.obs["age_clock"]) == set(table.loc[table["group"] != "all", "embedding"])
    for end in (*ENDS, "_outside"):
        assert (adata.obs.groupby("age_clock")[f"age_clock{end}"].nunique() == 1).all()
    by_cell = _run(adata, tiny_model, baselines=["expression"])
    assert rows.loc["expression", "mae"] < by_cell.loc[("all", "expression"), "mae"]


def test_pseudobulks_by_hand() -> None:
    """One a sample and age; features are those of the sample's mean, and every cell gets its sample's age."""
    adata = _numbers(15, np.arange(10, 25))
    rows = _date(adata, aggregate="pseudobulk").loc["all"]
    assert (rows["n_units"] == 15).all() and (rows["n_cells"] == adata.n_obs).all()
    frame = pd.DataFrame(adata.obsm["X_mine"], index=adata.obs_names).groupby(adata.obs["batch"].to_numpy())
    bulk = ad.AnnData(np.ones((15, 2), np.float32), obsm={"X_mine": frame.mean().to_numpy()})
    bulk.obs_names = list(frame.groups)
    bulk.obs["batch"] = list(frame.groups)
    bulk.obs["age"] = adata.obs.groupby("batch")["age"].first().loc[list(frame.groups)].to_numpy()
    _date(bulk, min_cells=1)
    np.testing.assert_allclose(
        adata.obs["age_clock"], bulk.obs["age_clock"].loc[adata.obs["batch"]].to_numpy(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("aggregate", [4, "pseudobulk"])
def test_pseudocells_stay_within_folds_samples_and_ages(aggregate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from scflyformer.tl import _age_clock

    kept: list = []
    run = _age_clock.fit_clocks
    monkeypatch.setattr(_age_clock, "fit_clocks", lambda *a, **k: kept.append(run(*a, **k)) or kept[-1])
    adata = _numbers(6, 30)
    adata.obs["age"] = np.where(np.arange(180) % 2, adata.obs["age"], adata.obs["age"] + 1)  # two ages a sample
    for sample_key in ("batch", None):
        _date(adata, aggregate=aggregate, sample_key=sample_key)
        pseudocells = kept[-1][0][0].pseudocells
        if sample_key:
            assert (adata.obs.groupby(pseudocells)["batch"].nunique() == 1).all()
        assert (adata.obs.groupby(pseudocells)["age"].nunique() == 1).all()
        if sample_key is None:
            from scflyformer.data._features import folds

            fold = folds(adata.obs_names.to_numpy(), None, values=adata.obs["age"].to_numpy(), n_splits=5, seed=0)
            assert (pd.Series(fold).groupby(pseudocells).nunique() == 1).all()
            assert (adata.uns["age_clock"]["results"]["split"] == "cell").all()


@pytest.mark.parametrize("size", [1, 6])
def test_the_order_of_cells_changes_no_pseudocell(size: int) -> None:
    adata = _numbers(8, 20)
    options = {"aggregate": size, "baselines": ["expression", "article"]}
    results = _date(adata, **options)
    other = adata[np.random.default_rng(0).permutation(160)].copy()
    shuffled = _date(other, **options)
    found = other.obs["age_clock"].loc[adata.obs_names]
    np.testing.assert_allclose(found, adata.obs["age_clock"], rtol=1e-4, atol=1e-4)
    scores = ["r2", "mae", "spearman", "coverage", "r2_low", "r2_high"]
    np.testing.assert_allclose(shuffled[scores], results[scores], rtol=1e-4, atol=1e-4)
    one, two = adata.uns["age_clock"]["predictions"], other.uns["age_clock"]["predictions"]
    assert one["cell"].tolist() == two["cell"].tolist() and one["cell"].is_unique
    assert "article" not in one  # it dates cells, of which there may be as many as pseudocells
    assert "article" not in set(adata.uns["age_clock"]["per_age"]["features"])


def test_a_saved_clock_of_pseudocells(tiny_model: Path, tmp_path: Path) -> None:
    """New cells are bundled alike: by sample (and age, where known), whatever their order; without samples too."""
    learnt, new = _flies(ageing=2.0, library=0.1), _flies(ageing=2.0, library=0.1, cells=12)
    options = {"features": "expression", "baselines": "none", "save": tmp_path / "clock"}
    with pytest.warns(FutureWarning, match=r"age_clock\(pseudocell_size=...\) is deprecated"):
        _run(learnt, tiny_model, aggregate="pseudocell", pseudocell_size=4, **options)
    content = json.loads((tmp_path / "clock" / "clock.json").read_text())
    assert (content["aggregate"], content["pseudocell_size"], content["level"]) == ("pseudocell", 4, 0.9)
    sf.tl.age_clock(new, clock=tmp_path / "clock", sample_key="batch")
    counts = new.obs.groupby("batch")["age_clock"].nunique()
    assert (counts == 3).all() and new.obs["age_clock"].nunique() == 45
    assert new.uns["age_clock"]["results"]["r2"].iloc[0] > 0.8
    shuffled = new[np.random.default_rng(0).permutation(180)].copy()
    sf.tl.age_clock(shuffled, clock=tmp_path / "clock", sample_key="batch", key_added="again")
    np.testing.assert_allclose(shuffled.obs["again"], shuffled.obs["age_clock"], rtol=1e-4, atol=1e-4)
    bare = new.copy()
    del bare.obs["age"]
    sf.tl.age_clock(bare, clock=tmp_path / "clock")
    assert bare.obs["age_clock"].nunique() == 45


def test_a_saved_clock_keeps_its_interval(tiny_model: Path, tmp_path: Path) -> None:
    """It reaches as far, on the scale fitted, as held-out residuals of all samples say; coverage is measured again."""
    from scflyformer.clock._conformal import HalfWidth, half_width

    adata, new = _flies(ageing=2.0, library=0.3), _flies(ageing=2.0, library=0.3)
    folder = tmp_path / "clock"
    _run(adata, tiny_model, features="expression", baselines="none", save=folder, level=0.8, groupby="cell_type")
    content = json.loads((folder / "clock.json").read_text())
    table = adata.uns["age_clock"]["predictions"]
    widths = {}
    for group, saved in zip(content["groups"], content["half_width"], strict=True):
        rows = table[table["group"] == group]
        told = np.log2(rows["expression"].to_numpy() + 1)
        off = np.log2(rows["age"].to_numpy() + 1) - told
        expected = half_width(told, off, rows["sample"].to_numpy(), 0.8)
        widths[group] = HalfWidth(np.array(saved["at"]), np.array(saved["half"]))
        np.testing.assert_allclose(widths[group](told), expected(told), rtol=1e-5)
    sf.tl.age_clock(new, clock=folder, sample_key="batch", groupby="cell_type")
    on_target = np.log2(new.obs["age_clock"].to_numpy() + 1)
    expected = [widths[name](at) for name, at in zip(new.obs["cell_type"], on_target, strict=True)]
    for end, sign in zip(ENDS, (-1, 1), strict=True):
        reach = sign * (np.log2(new.obs[f"age_clock{end}"] + 1) - np.log2(new.obs["age_clock"] + 1))
        np.testing.assert_allclose(reach, expected, rtol=1e-5)
    row = new.uns["age_clock"]["results"].set_index("group").loc["all"]
    inside = (new.obs["age_clock_low"] <= new.obs["age"]) & (new.obs["age"] <= new.obs["age_clock_high"])
    assert row["coverage"] == pytest.approx(inside.groupby(new.obs["batch"]).mean().mean())
    beyond = (new.obs["age_clock"] < 0) | (new.obs["age_clock"] > 50)
    np.testing.assert_array_equal(new.obs["age_clock_outside"], beyond)
    assert new.uns["age_clock"]["n_outside"] == {"expression": int(beyond.sum())}
    params = new.uns["age_clock"]["params"]  # of the clock, not the defaults of this call
    assert params["features"] == "expression" and params["level"] == 0.8
    content["half_width"] = content["half_width"][:1]
    (folder / "clock.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match="do not fit"):
        sf.tl.age_clock(new, clock=folder)
