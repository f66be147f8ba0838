"""Ages to learn from: which cells have one, how they are spread over samples, and the scale they are fitted on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data import _adata

if TYPE_CHECKING:
    from anndata import AnnData

Target = Literal["log", "linear"]
_NUMBER = r"(\d+\.?\d*)"
_DAYS = re.compile(rf"(?:{_NUMBER} ?(?:d|days?)|day ?{_NUMBER})(?: of adulthood)?", re.IGNORECASE)
_FBDV = re.compile(r"FBdv[:_](?P<number>\d+)")
_FBDV_DAYS = ((7075, 0, 61), (10001, 61, 10))
"""Terms of the fly development ontology (release 2026-04-02) for days of adulthood: first number, its day, how many."""


def read_ages(adata: AnnData, age_key: str, *, target: Target) -> np.ndarray:
    """Return the age of each cell, float64, NaN where it has none.

    Numbers, and text or categories that read as numbers or as days (`days_of`), are taken. A column of nothing but True
    and False is read as ages 1 and 0, with a warning. Other values, infinite ones and, on the log scale, negative ones
    are errors.
    """
    column = _adata.obs_column(adata, age_key, what="age_key")
    values = column.astype(object).where(column.notna(), np.nan)
    kind = column.cat.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
    ages = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    no_number = values.notna().to_numpy() & np.isnan(ages)
    if no_number.any() and np.isfinite(days := np.array([days_of(value) for value in values[no_number]])).all():
        ages[no_number], no_number = days, np.zeros(len(values), dtype=bool)
    truth = np.array([isinstance(value, bool | np.bool_) for value in values], dtype=bool)
    time = kind.kind in "mMc" if isinstance(kind, np.dtype) else pd.api.types.is_datetime64_any_dtype(kind)
    if truth.any() and truth[values.notna()].all() and len(set(values[truth])) == 2:
        _log.warning(
            f"obs[{age_key!r}] holds True and False, which are read as the ages 1 and 0. For ages in days or weeks, "
            "name a column of numbers by age_key=."
        )
    elif truth.any() or time or no_number.any():
        wrong = values[no_number] if no_number.any() else values.dropna()
        shown = ", ".join(repr(value) for value in pd.unique(wrong)[:5])
        how = f", for '5w' with 7 * adata.obs[{age_key!r}].astype(str).str.extract(r'([0-9.]+)')[0].astype(float)"
        raise ValueError(
            f"obs[{age_key!r}] holds {shown}; expected numbers in one unit, or days as '5d', 'day 5', 'day 5 of "
            f"adulthood' or 'FBdv:00007080'. Make a column of numbers"
            f"{'' if truth.any() or time else how}, and pass age_key=."
        )
    if np.isinf(ages).any():
        raise ValueError(f"obs[{age_key!r}] holds infinite ages; expected finite numbers, or NaN where not known.")
    if target == "log" and (ages < 0).any():
        raise ValueError(
            f"obs[{age_key!r}] holds ages below 0 (least {np.nanmin(ages):g}), for which log2(age + 1) makes no sense. "
            "Pass target='linear'."
        )
    return ages


def days_of(value: object) -> float:
    """Return the days of a text such as "5d", "day 5", "day 5 of adulthood" or its term of FBdv; NaN for any other."""
    text = str(value).strip()
    if found := _DAYS.fullmatch(text):
        return float(found[1] or found[2])
    if found := _FBDV.fullmatch(text):
        number = int(found["number"])
        for first, first_day, n_days in _FBDV_DAYS:
            if 0 <= number - first < n_days:
                return float(first_day + number - first)
    return float("nan")


def to_target(ages: np.ndarray, target: Target) -> np.ndarray:
    """Return log2(age + 1), or the age."""
    return np.log2(ages + 1) if target == "log" else ages


def from_target(values: np.ndarray, target: Target) -> np.ndarray:
    """Undo :func:`to_target`."""
    return np.exp2(values) - 1 if target == "log" else values


def target_name(target: Target, age_key: str) -> str:
    """Return the fitted scale in words."""
    return f"log2({age_key} + 1)" if target == "log" else age_key


def confounding(ages: np.ndarray, samples: np.ndarray | None) -> list[str]:
    """Say how far age (one of each cell, without NaN) and sample cannot be told apart, in sentences for the log."""
    if samples is None:
        return ["No samples are named: cells of one sample are on both sides of the split, so scores are too high."]
    table = pd.DataFrame({"age": ages, "sample": samples.astype(str)}).drop_duplicates()
    sentences = []
    if (table["sample"].value_counts() == 1).all():
        sentences.append(
            "Each sample has one age, so what differs between samples cannot be told from age by cells alone; only "
            "held-out samples tell."
        )
    per_age = table["age"].value_counts().sort_index()
    if single := [f"{age:g}" for age in per_age.index[per_age == 1]]:
        sentences.append(
            f"Ages of one sample only: {', '.join(single)}. When that sample is held out, no training sample has its "
            "age."
        )
    return sentences
