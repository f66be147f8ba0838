"""The clock of cluster means learns from the training types alone, and leaves types or classes out whole."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

N_TYPES, AGES = 30, (30.0, 50.0, 70.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Few folds and penalties."""
    from benchmarks.clock import clusters

    for name, value in {"PENALTIES": [30.0, 1000.0], "N_FOLDS": 5, "N_INSIDE": 3}.items():
        monkeypatch.setattr(clusters, name, value)


def made(slope: float, *, unknown: float = 0.0):
    """Types × three ages, 40 genes: a level for each type and gene, half of the genes with a slope over age."""
    from benchmarks.clock.clusters import Clusters

    random = np.random.default_rng(0)
    types, ages = np.repeat(np.arange(N_TYPES), 3), np.tile(AGES, N_TYPES)
    x = 5 + 0.3 * random.normal(size=(N_TYPES, 40))[types] + 0.1 * random.normal(size=(len(ages), 40))
    x[:, :20] += slope * (ages[:, None] - 50) / 20
    x[:, 10:][random.random((len(ages), 30)) < unknown] = np.nan
    names = np.array([f"type{number}" for number in types])
    values = dict.fromkeys(("X", "mean_in_expressing", "extent"), x)
    classes = np.array(["neurons", "glia", "others"])[types % 3]
    return Clusters(values, names, ages, np.full(len(ages), 100), classes)


def test_the_atlas_is_read_as_92_types():
    import scflyformer as sf
    from benchmarks.clock.clusters import CLASSES, OTHERS, at_all_ages, read

    clusters = read(at_all_ages(sf.datasets.flybase_clusters()))
    assert len(np.unique(clusters.types)) == 92
    assert clusters.ages.reshape(-1, 3).tolist() == [list(AGES)] * 92
    assert set(clusters.classes) == {*CLASSES, OTHERS}
    assert clusters.classes[clusters.types == "outer photoreceptor cell"].tolist() == ["neurons"] * 3
    x = clusters.values["X"]
    assert np.isnan(x).any() and np.nanmin(x) > 0  # unknown, not zero


@pytest.mark.parametrize("by_class", [False, True])
def test_a_slope_is_found_in_types_left_out_and_nothing_without(by_class):
    from benchmarks.clock.clusters import EXPRESSION, MEAN, averaged

    options = {"by_class": by_class, "n_boot": 20, "n_deals": 1}
    found = averaged(made(0.5), EXPRESSION, **options)
    assert found["R²"][0] > 0.8 and found["types in order"][0] > 0.8 and found["MAE, days"].shape == (21,)
    assert averaged(made(0.0), EXPRESSION, **options)["R²"][0] < 0.1
    assert averaged(made(0.5), MEAN, **options)["R²"][0] == pytest.approx(0)


def test_a_type_is_left_out_whole():
    """What is told of a type does not depend on its ages, nor on its own values in the training of its fold."""
    from benchmarks.clock.clusters import EXPRESSION, told

    clusters = made(0.5)
    before = told(clusters, EXPRESSION, clusters.types, n_folds=5, seed=0)
    mine = clusters.types == "type3"
    clusters.ages[mine] = clusters.ages[mine][::-1].copy()
    after = told(clusters, EXPRESSION, clusters.types, n_folds=5, seed=0)
    np.testing.assert_array_equal(after[mine], before[mine])
    assert not np.allclose(after[~mine], before[~mine])


def test_genes_and_fillings_are_those_of_the_training_clusters():
    from benchmarks.clock.clusters import EXPRESSION, HALF, LISTED, ZEROS, features

    clusters = made(0.5, unknown=0.3)
    train = np.arange(len(clusters.ages)) >= 3
    x = clusters.values["X"]
    x[3:, 10:12] = 5.0  # known in every training cluster, unknown in one held out
    x[0, 10] = np.nan
    read_by = features(clusters, EXPRESSION, train)
    assert read_by.shape[1] == 12 and read_by[0, 10] == pytest.approx(5.0)
    known = np.isfinite(x)
    half = features(clusters, HALF, train)
    assert half.shape[1] == (known[train].mean(axis=0) >= 0.5).sum() and np.isfinite(half).all()
    assert features(clusters, ZEROS, train).min() == 0 < half.min()
    assert set(np.unique(features(clusters, LISTED, train))) == {0.0, 1.0}
    x[0] *= 2  # a cluster held out changes no training cluster's features
    np.testing.assert_array_equal(features(clusters, HALF, train)[3:], half[3:])


def test_swapped_ages_keep_the_pools_apart():
    from benchmarks.clock.clusters import EXPRESSION, SWAPPED, averaged, swapped

    clusters = made(0.5)
    for called in SWAPPED.values():
        other = swapped(clusters, called)
        assert other.ages.reshape(-1, 3).tolist() == [list(called)] * N_TYPES
        found = averaged(other, EXPRESSION, by_class=False, n_boot=5, n_deals=1)
        assert found["R²"][0] < 0.6  # a true slope is no line in a wrong order


def test_the_command_prints_its_table(monkeypatch, capsys):
    from benchmarks.clock import clusters as benchmark

    monkeypatch.setattr("sys.argv", ["clusters", "--n-boot", "5"])
    monkeypatch.setattr(benchmark, "at_all_ages", lambda adata: adata)
    monkeypatch.setattr(benchmark, "read", lambda adata: made(0.5, unknown=0.3))
    monkeypatch.setattr(benchmark, "averaged", partial(benchmark.averaged, n_deals=1))
    benchmark.main()
    said = capsys.readouterr().out
    assert "30 types, 90 clusters" in said and "Genes listed in every cluster: 10" in said
    rows = [line.split(" | ")[0].removeprefix("| ") for line in said.splitlines() if line.startswith("| ")]
    assert rows[2:10] == list(benchmark.ARMS) and len(rows) == 14
    assert "| mean age | 0.00 (0.00 to 0.00) | 13.33 (13.33 to 13.33) | – |" in said
