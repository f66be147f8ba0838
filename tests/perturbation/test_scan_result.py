"""Weights of edited copies make a mean over sample means."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scflyformer.perturbation._scan_result import sample_weights


def test_weighted_sums_are_means_over_sample_means() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"slot": random.integers(0, 6, 200), "sample": random.choice(["b", "a", "c"], 200)})
    table["value"] = random.normal(size=200)
    table = table[(table["slot"] != 2) | (table["sample"] == "b")]  # one of a single sample
    weight = sample_weights(table["slot"].to_numpy(), table["sample"].to_numpy())
    summed = np.bincount(table["slot"], weights=weight * table["value"])
    expected = table.groupby(["slot", "sample"])["value"].mean().groupby("slot").mean()
    np.testing.assert_allclose(summed, expected)
