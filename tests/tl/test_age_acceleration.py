"""Acceleration compares samples, finds what was planted, and never touches the clock or its scores."""

from __future__ import annotations

import copy
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scflyformer as sf
from scflyformer import _log

AGES = np.repeat([0.0, 3, 10, 30], 6)


def _clocked(
    *, shift: float = 0.0, target: str = "log2(age + 1)", ages: np.ndarray = AGES, cells: int = 8, seed: int = 0
) -> ad.AnnData:
    """Cells of samples with what `tl.age_clock` writes; every second sample is `mutant`, predicted `shift` older.

    Predictions are drawn to the mean, and samples of one age differ; the shift is on the clock's scale.
    """
    rng = np.random.default_rng(seed)
    log = target.startswith("log")
    n = len(ages)
    sample = np.repeat(np.arange(n), cells)
    scale = np.log2(ages + 1) if log else ages
    mean = scale.mean() + 0.6 * (scale - scale.mean()) + shift * (np.arange(n) % 2) + rng.normal(0, 0.1, n)
    one = mean[sample] + rng.normal(0, 0.3, len(sample))
    predicted = 2**one - 1 if log else one
    obs = pd.DataFrame({"age": ages[sample], "batch": pd.Categorical([f"s{i}" for i in sample])})
    obs["genotype"] = pd.Categorical(np.where(sample % 2, "mutant", "wild"), ["wild", "mutant", "unused"])
    obs["cell_type"] = pd.Categorical(np.where(np.arange(len(obs)) % 2, "glia", "neuron"))
    obs["age_clock"] = predicted
    adata = ad.AnnData(np.ones((len(obs), 1), np.float32), obs=obs.set_index("cell" + obs.index.astype(str)))
    tables = []
    for group, own in {"all": np.ones(len(obs), bool), "glia": (obs["cell_type"] == "glia").to_numpy()}.items():
        table = pd.DataFrame({"cell": adata.obs_names, "group": group, "sample": adata.obs["batch"].astype(str)})
        table["age"] = adata.obs["age"]
        tables.append(table.assign(embedding=predicted, article=predicted)[own])
    splits = {"embedding": "sample", "article": "cell 7:3"}
    rows = [
        {"group": group, "features": name, "r2": 0.5, "split": split, "target": target}
        for group in ("all", "glia")
        for name, split in splits.items()
    ]
    adata.uns["age_clock"] = {
        "results": pd.DataFrame(rows).set_axis(list("0123")),
        "predictions": pd.concat(tables).astype({"group": "category", "sample": "category"}),
        "params": {"age_key": "age", "sample_key": "batch", "features": "embedding", "groupby": "none"},
    }
    return adata


def _run(adata: ad.AnnData, **more: object) -> pd.Series:
    sf.tl.age_acceleration(adata, **{"compare": "genotype", **more})
    return adata.uns[str(more.get("key_added", "age_acceleration"))]["results"].iloc[0]


def test_a_planted_shift_is_found_at_the_level_of_samples() -> None:
    adata = _clocked(shift=0.8)
    row = _run(adata)
    assert (row["level_a"], row["level_b"], row["n_a"], row["n_b"]) == ("wild", "mutant", 12, 12)
    assert row["on_scale"] == pytest.approx(0.8, abs=0.15) and row["p_value"] <= 1e-3
    assert (row["basis"], row["ages_shared"]) == ("age", "0, 3, 10, 30")
    samples = adata.uns["age_acceleration"]["samples"]
    assert len(samples) == 24 and (samples["n_cells"] == 8).all()
    means = samples.groupby("level")["acceleration"].mean()
    assert row["difference"] == pytest.approx(means["mutant"] - means["wild"], rel=0.3)
    assert row["ci_low"] < row["difference"] < row["ci_high"] and row["ci_low"] > 0


def test_without_a_shift_nothing_is_found() -> None:
    rows = [_run(_clocked(seed=seed, cells=3)) for seed in range(100, 116)]
    assert 0.3 < np.mean([row["p_value"] for row in rows]) < 0.7
    assert sum(row["ci_low"] > 0 or row["ci_high"] < 0 for row in rows) <= 3


def test_the_residual_does_not_follow_age() -> None:
    """Predicted less true age does, in any clock; what is left of the line does not."""
    adata = _clocked()
    _run(adata)
    obs = adata.obs
    raw = (obs["age_clock"] - obs["age"]).corr(obs["age"], method="spearman")
    left = obs["age_acceleration"].corr(obs["age"], method="spearman")
    assert raw < -0.5 and abs(left) < 0.15
    line = adata.uns["age_acceleration"]["line"]
    expected = 2 ** (line["slope"] * np.log2(obs["age"] + 1) + line["intercept"]) - 1
    np.testing.assert_allclose(obs["age_acceleration"], obs["age_clock"] - expected)
    assert line["scale"] == "log2(age + 1)" and line["slope"] == pytest.approx(0.6, abs=0.1)


def test_linear_scale_and_the_line_of_a_reference() -> None:
    adata = _clocked(shift=5.0, target="age")
    row = _run(adata, reference="mutant")
    assert (row["level_a"], row["level_b"]) == ("mutant", "wild")
    assert row["on_scale"] == pytest.approx(-5, abs=0.3)
    assert row["difference"] == pytest.approx(row["on_scale"], rel=1e-9)
    samples = adata.uns["age_acceleration"]["samples"]
    own = samples[samples["level"] == "mutant"]
    assert own["acceleration"].mean() == pytest.approx(0, abs=1e-9)
    by_hand = np.polyfit(own["age"], own["predicted"], 1)
    np.testing.assert_allclose(samples["acceleration"], samples["predicted"] - np.polyval(by_hand, samples["age"]))


def test_levels_without_a_common_age_rest_on_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(_log, "warning", said.append)
    ages = np.array([0.0, 1, 3, 6, 10, 15, 30, 50, 20, 40])  # wild and mutant take turns
    adata = _clocked(shift=0.8, ages=ages)
    row = _run(adata)
    assert (row["basis"], row["ages_shared"]) == ("line", "")
    assert row["on_scale"] == pytest.approx(0.8, abs=0.25) and row["p_value"] < 0.05
    assert "share no age; the comparison rests on the line" in adata.uns["age_acceleration"]["notes"][0]
    assert len(said) == 1 and "rests on the line" in said[0]


def test_levels_of_one_age_each_cannot_be_told_from_age() -> None:
    adata = _clocked(ages=np.tile([5.0, 30.0], 3))
    row = _run(adata)
    assert np.isnan([row["difference"], row["ci_low"], row["p_value"]]).all()
    assert "cannot be told from age" in adata.uns["age_acceleration"]["notes"][0]


def test_several_levels_and_samples_without_one() -> None:
    adata = _clocked()
    adata.obs["food"] = adata.obs["batch"].map(lambda name: [None, "a", "b", "c"][int(name[1:]) % 4])
    _run(adata, compare="food", reference="b")
    found = adata.uns["age_acceleration"]
    pairs = list(zip(found["results"]["level_a"], found["results"]["level_b"], strict=True))
    assert pairs == [("b", "a"), ("b", "c"), ("a", "c")]
    assert set(found["samples"]["level"]) == {"a", "b", "c"} and len(found["samples"]) == 18
    assert adata.obs["age_acceleration"].notna().all()  # cells have predictions all the same


def test_the_clock_stays_as_it_was_and_no_score_is_made() -> None:
    adata = _clocked(shift=0.8)
    before, predicted = copy.deepcopy(adata.uns["age_clock"]), adata.obs["age_clock"].copy()
    _run(adata)
    for name in ("results", "predictions"):
        pd.testing.assert_frame_equal(adata.uns["age_clock"][name], before[name])
    assert adata.uns["age_clock"]["params"] == before["params"]
    pd.testing.assert_series_equal(adata.obs["age_clock"], predicted)
    found = adata.uns["age_acceleration"]
    names = {*found, *(column for table in ("samples", "results") for column in found[table])}
    assert not names & {"r2", "mae", "spearman"}


def test_cells_split_at_random_are_refused() -> None:
    adata = _clocked()
    with pytest.raises(ValueError, match=r"split 'cell 7:3'; expected whole samples held out.*sample_key="):
        _run(adata, features="article")
    adata.uns["age_clock"]["results"]["split"] = "cell"
    with pytest.raises(ValueError, match="split 'cell'"):
        _run(adata)
    adata.uns["age_clock"]["results"]["split"] = "external"
    _run(adata)
    adata.uns["age_clock"]["params"]["sample_key"] = "none"
    with pytest.raises(ValueError, match="no samples named"):
        _run(adata, key_added="other")
    assert "other" not in adata.uns and "other" not in adata.obs


def test_levels_that_vary_within_samples_are_refused() -> None:
    adata = _clocked()
    with pytest.raises(ValueError, match=r"'cell_type'\] varies within 24 sample\(s\) of obs\['batch'\]: s0 \('neur.*"):
        _run(adata, compare="cell_type")
    adata.obs.loc["cell3", "genotype"] = np.nan
    with pytest.raises(ValueError, match=r"1 sample\(s\).*s0 \('wild', None\)"):
        _run(adata)
    assert "age_acceleration" not in adata.uns and "age_acceleration" not in adata.obs


def test_a_group_has_its_own_clock() -> None:
    adata = _clocked(shift=0.8)
    _run(adata, group="glia")
    glia = (adata.obs["cell_type"] == "glia").to_numpy()
    assert (adata.obs["age_acceleration"].notna() == glia).all()
    assert (adata.uns["age_acceleration"]["samples"]["n_cells"] == 4).all()


def test_cells_taken_out_after_the_clock_do_not_count() -> None:
    adata = _clocked(shift=0.8)
    some = adata[(adata.obs["batch"] != "s3") & (adata.obs["cell_type"] == "glia")].copy()
    _run(some)
    samples = some.uns["age_acceleration"]["samples"]
    assert len(samples) == 23 and (samples["n_cells"] == 4).all()


def test_predictions_of_bundles_of_cells() -> None:
    """Their rows are no cells; cells have the prediction in `obs`."""
    adata = _clocked(shift=0.8)
    plain = _run(adata, key_added="plain")
    table = adata.uns["age_clock"]["predictions"]
    table["cell"] = [f"bundle{n}" for n in range(len(table))]
    row = _run(adata)
    assert row[["difference", "p_value"]].tolist() == pytest.approx(plain[["difference", "p_value"]].tolist(), rel=1e-9)
    np.testing.assert_allclose(adata.obs["age_acceleration"], adata.obs["plain"])
    adata.uns["age_clock"]["params"]["groupby"] = "cell_type"  # those in obs are of other clocks
    _run(adata)
    assert adata.obs["age_acceleration"].isna().all()


def test_from_the_tool_and_to_the_disk(many_cells: ad.AnnData, tiny_model: Path, tmp_path: Path) -> None:
    sf.tl.age_clock(many_cells, sample_key="batch", baselines="none", model=tiny_model, groupby="cell_type")
    many_cells.obs["bench"] = many_cells.obs["batch"].map({"s0": "a", "s1": "b", "s2": "a", "s3": "b"})
    out = sf.tl.age_acceleration(many_cells, compare="bench", copy=True)
    assert "age_acceleration" not in many_cells.obs
    results = out.uns["age_acceleration"]["results"]
    assert results["basis"].tolist() == ["age"] and results["n_permutations"].tolist() == [4]
    assert "cannot be below 1/4" in out.uns["age_acceleration"]["notes"][0]
    assert out.obs["age_acceleration"].notna().all()
    out.write_h5ad(tmp_path / "cells.h5ad")
    back = ad.read_h5ad(tmp_path / "cells.h5ad").uns["age_acceleration"]
    pd.testing.assert_frame_equal(back["results"], results, check_dtype=False)
    assert back["params"]["reference"] == "none" and back["line"] == out.uns["age_acceleration"]["line"]
    sums = sf.tl.age_clock(many_cells, sample_key="batch", aggregate="pseudobulk", model=tiny_model, key_added="bulk")
    assert sums is None
    sf.tl.age_acceleration(many_cells, key="bulk", compare="bench")
    assert (many_cells.uns["age_acceleration"]["samples"]["n_cells"] == 1).all()
    assert many_cells.obs.groupby("batch", observed=True)["age_acceleration"].nunique().tolist() == [1] * 4


def test_errors() -> None:
    adata = _clocked()
    with pytest.raises(KeyError, match="did you mean 'genotype'"):
        _run(adata, compare="genotyp")
    with pytest.raises(KeyError, match="embeding"):
        _run(adata, features="embeding")
    with pytest.raises(KeyError, match="group: no 'gila'"):
        _run(adata, group="gila")
    with pytest.raises(KeyError, match="reference: no 'wilt'"):
        _run(adata, reference="wilt")
    with pytest.raises(KeyError, match=r"run sf\.tl\.age_clock\(adata, .*first"):
        _run(adata, key="clock")
    for name in ("age_clock", "age_clock_low", "genotype", "batch", "age"):
        with pytest.raises(ValueError, match="must not change"):
            _run(adata, key_added=name)
    with pytest.raises(ValueError, match="the age itself"):
        _run(adata, compare="age")
    adata.obs["same"] = "x"
    with pytest.raises(ValueError, match=r"has 1 level\(s\) \(x\)"):
        _run(adata, compare="same")
    few = _clocked(ages=np.array([5.0, 0, 5, 30, 5, 50]))
    with pytest.raises(ValueError, match="'wild' have one age; a line needs two"):
        _run(few, reference="wild")
    few.uns["age_clock"]["predictions"].loc["cell0", "age"] = 7.0
    with pytest.raises(ValueError, match="hold cells of several ages: s0"):
        _run(few)
    assert "age_acceleration" not in few.uns and "age_acceleration" not in few.obs
