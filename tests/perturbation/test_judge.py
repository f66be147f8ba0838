"""Effects stand beside null genes as if these moved cells as far, and beside permuted states where there are any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scflyformer.perturbation._effects import set_effects
from scflyformer.perturbation._judge import (
    BOTH,
    DESCRIPTIVE,
    LINEAR,
    NONE,
    NULL,
    SCAN,
    TRANSFORMER,
    GroupEdits,
    judge,
    share_linear,
)
from scflyformer.perturbation._p_values import null_p_value
from scflyformer.perturbation._permutation_test import permutation_p_values, permuted_shifts, scan_false_discoveries

COLUMNS = ["shift", "shift_start", "net_shift", LINEAR, TRANSFORMER]
N_SETS, N_SAMPLES, N_UNITS = 40, 4, 9


@pytest.fixture
def edits() -> GroupEdits:
    """Sets 0, 3 and 7 are tested beside those from 10 on; set 7 comes from one sample, set 3 has no null sets."""
    random = np.random.default_rng(0)
    chosen, sample = np.repeat(np.arange(N_SETS), 24), np.tile(np.arange(N_SAMPLES), N_SETS * 6)
    sample[chosen == 7] = 2
    dots, linear = random.normal(size=(2, N_SETS, N_SAMPLES, N_UNITS))
    dots[7, [0, 1, 3]] = np.nan
    return GroupEdits(
        set_effects(chosen, sample, random.normal(size=(len(chosen), len(COLUMNS)))),
        np.array([0, 3, 7]),
        [np.arange(10, 35), np.arange(0), np.arange(20, N_SETS)],
        random.uniform(0.5, 2, N_SETS),
        dots,
        linear,
    )


@pytest.fixture
def weights() -> np.ndarray:
    """Weights of the truth and of 99 permutations."""
    return np.random.default_rng(1).normal(size=(2, 100, N_SAMPLES, N_UNITS))


def test_null_sets_are_scaled_to_the_displacement_of_the_tested_set(edits: GroupEdits) -> None:
    effects = edits.effects
    for column, table in enumerate(judge(edits, COLUMNS, None, scan=False)):
        for row, (place, null) in enumerate(zip(edits.tested, edits.nulls, strict=True)):
            line, beside = table.iloc[row], effects.shift[null, column] * edits.size[place] / edits.size[null]
            shift, half = effects.shift[place, column], effects.half_width()[place, column]
            assert line[["shift", "ci_low", "ci_high"]].tolist() == pytest.approx([shift, shift - half, shift + half])
            assert (line["n_cells"], line["n_null"]) == (24, len(null))
            if not len(null):
                assert line[["null_mean", "effect", "p_value"]].isna().all()
                continue
            assert line["null_mean"] == pytest.approx(beside.mean())
            assert line["effect"] == pytest.approx((shift - beside.mean()) / beside.std(ddof=1))
            if place != 7:
                assert line["p_value"] == pytest.approx(null_p_value(shift, beside))


def test_a_set_that_is_only_larger_does_not_stand_out(edits: GroupEdits) -> None:
    """A gene that does what its null genes do, ten times as far, is one of them."""
    random = np.random.default_rng(2)
    shares = random.normal(size=N_SETS)
    size = np.where(np.arange(N_SETS) == 0, 10.0, 1.0)
    means = np.repeat((shares * size)[:, None, None], N_SAMPLES, axis=1)
    effects = replace(edits.effects, means=np.repeat(means, len(COLUMNS), axis=2))
    first = judge(replace(edits, effects=effects, size=size), COLUMNS, None, scan=False)[0].iloc[0]
    assert first["p_value"] == pytest.approx(null_p_value(shares[0], shares[10:35]))
    unscaled = judge(replace(edits, effects=effects, size=np.ones(N_SETS)), COLUMNS, None, scan=False)[0].iloc[0]
    assert unscaled["p_value"] < first["p_value"] or abs(unscaled["effect"]) > 5 * abs(first["effect"])


@pytest.mark.parametrize("scan", [False, True])
def test_what_each_row_is_tested_by(edits: GroupEdits, weights: np.ndarray, scan: bool) -> None:
    """One sample: nothing. A readout without a direction between the states: null genes alone."""
    tables = dict(zip(COLUMNS, judge(edits, COLUMNS, weights, scan=scan), strict=True))
    for name, table in tables.items():
        permuted = name != "shift_start"
        first, second = (SCAN, SCAN) if scan and permuted else (BOTH if permuted else NULL, NONE)
        assert table["test"].tolist() == [first, second, DESCRIPTIVE], name
        assert table["p_states"].notna().tolist() == [permuted, permuted, False]
        assert table["p_value"].notna().tolist() == [True, False, False]
        assert table["fdr"].notna().tolist() == [permuted and scan] * 2 + [False]
    without = judge(edits, COLUMNS, None, scan=scan)
    assert all(table["test"].tolist() == [NULL, NONE, DESCRIPTIVE] for table in without)
    assert all(table[["p_states", "fdr"]].isna().all(axis=None) for table in without)


@pytest.mark.parametrize(
    ("readout", "towards", "part"),
    [("shift", "goal", "all"), ("net_shift", "net", "all"), (LINEAR, "net", "linear"), (TRANSFORMER, "net", "rest")],
)
def test_readouts_are_permuted_by_what_they_are_of(
    edits: GroupEdits, weights: np.ndarray, readout: str, towards: str, part: str
) -> None:
    dots = {"all": edits.dots, "linear": edits.linear, "rest": edits.dots - edits.linear}[part]
    turned = weights[0] if towards == "goal" else weights[0] - weights[1]
    expected = permuted_shifts(dots, turned)[:, edits.tested]
    table = judge(edits, COLUMNS, weights, scan=True)[COLUMNS.index(readout)]
    np.testing.assert_allclose(table["p_states"][:2], permutation_p_values(expected)[:2])
    np.testing.assert_allclose(table["fdr"][:2], scan_false_discoveries(expected)[:2])
    whole = judge(replace(edits, linear=None), COLUMNS, weights, scan=True)[COLUMNS.index(readout)]
    assert whole["p_states"].isna().all() == (part != "all")


def test_the_linear_part_has_a_share_of_absolute_shifts() -> None:
    rows = [("net_shift", 0.5), (LINEAR, 0.3), (TRANSFORMER, 0.1), (LINEAR, -0.3), (TRANSFORMER, 0.1)]
    table = pd.DataFrame(rows, columns=["readout", "shift"])
    assert share_linear(table) == pytest.approx(0.75)
    assert np.isnan(share_linear(table[:1])) and np.isnan(share_linear(table.assign(shift=0.0)))
