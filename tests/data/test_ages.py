"""Ages are read from any column of numbers, and it is said where they cannot be told from samples."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scflyformer.data._ages import confounding, from_target, read_ages, target_name, to_target


def _read(values: Any, target: str = "log") -> np.ndarray:
    obs = pd.DataFrame({"age": values}, index=[f"c{n}" for n in range(4)])
    return read_ages(ad.AnnData(np.ones((4, 1), np.float32), obs=obs), "age", target=target)


@pytest.mark.parametrize(
    "values",
    [
        [5, 30, None, 0.5],
        pd.array([5, 30, None, 0.5], dtype="Float64"),
        ["5", "30.0", None, "0.5"],
        pd.Categorical([5, 30, None, 0.5]),
        pd.Categorical(["5", "30", None, "0.5"]),
    ],
    ids=["numbers", "nullable", "text", "category", "category of text"],
)
def test_numbers_in_any_dress(values: Any) -> None:
    np.testing.assert_array_equal(_read(values), [5, 30, np.nan, 0.5])


def test_two_truth_values_are_ages_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("scflyformer._log.warning", said.append)
    assert _read([True, False, True, False]).tolist() == [1, 0, 1, 0]
    assert len(said) == 1 and "read as the ages 1 and 0" in said[0]


@pytest.mark.parametrize(
    ("values", "days"),
    [
        (["5d", "30 d", None, "12.5 days"], [5, 30, np.nan, 12.5]),
        (["day 5", "Day 50", "day 0", "1 day"], [5, 50, 0, 1]),
        (["day 5 of adulthood", "day 70 of adulthood", "3", 7], [5, 70, 3, 7]),
        (["FBdv:00007075", "FBdv:00007135", "FBdv_0010001", "FBdv:0010010"], [0, 60, 61, 70]),
    ],
)
def test_days_in_words_and_terms(values: Any, days: list[float]) -> None:
    np.testing.assert_array_equal(_read(values), days)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["5w", "30d", None, "5w"], r"holds '5w', '30d'; expected numbers in one unit.*str.extract"),
        (["young", "5", None, "old"], r"holds 'young', 'old'; expected numbers in one unit"),
        (["FBdv:00005369", "FBdv:00007080", None, None], "holds 'FBdv:00005369'"),
        (pd.to_datetime(["2020-01-01"] * 4), "expected numbers in one unit"),
        ([True, True, True, True], "holds True; expected numbers"),
        ([1, np.inf, 2, 3], "holds infinite ages"),
        ([-1, 2, 3, 4], r"below 0 \(least -1\).*target='linear'"),
    ],
    ids=["weeks", "text", "a stage", "dates", "one truth value", "infinite", "negative"],
)
def test_what_is_no_age(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(values)
    if "linear" in message:
        assert _read(values, "linear").tolist() == values


def test_the_log_scale_and_back() -> None:
    ages = np.array([0, 1, 3, 50.0])
    np.testing.assert_allclose(to_target(ages, "log")[:3], [0, 1, 2])
    for target in ("log", "linear"):
        np.testing.assert_allclose(from_target(to_target(ages, target), target), ages)
    assert (target_name("log", "day"), target_name("linear", "day")) == ("log2(day + 1)", "day")


def test_what_cannot_be_told_apart_is_said() -> None:
    samples = np.array(["a", "a", "b", "b", "c", "c"])
    assert "No samples are named" in confounding(np.zeros(6), None)[0]
    one_age_each = confounding(np.array([5.0, 5, 5, 5, 30, 30]), samples)
    assert "Each sample has one age" in one_age_each[0] and one_age_each[1].startswith("Ages of one sample only: 30.")
    assert confounding(np.array([5.0, 30, 5, 30, 5, 30]), samples) == []
