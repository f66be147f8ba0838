"""Splits are the agreed ones."""

from __future__ import annotations


def test_splits(folder):
    from benchmarks.pretraining.tasks import Bench

    bench = Bench(folder)
    task = bench.makers["davie labels"]()
    (split,) = task.splits
    obs = task.data.obs
    assert set(obs["cell_type"].iloc[split.train]) == set(obs["cell_type"].iloc[split.test]) == {"A", "B"}
    assert set(obs["genotype"].iloc[split.test]) == {"DGRP-551"} and (obs["genotype"][split.fit.cells] == "w1118").all()
    clock = bench.makers["clock libraries"]()
    assert sorted(clock.test) == list(range(len(obs)))
    for each in clock.splits:
        assert not set(clock.data.libraries[each.train]) & set(clock.data.libraries[each.test])
        assert not each.fit.cells[each.test].any()
    strain = bench.makers["clock w1118 → DGRP-551"]()
    assert strain.views["to 30 days"].sum() < strain.views["with 50 days"].sum() == len(strain.test)
