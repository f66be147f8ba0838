"""What counts as right, and that the labels of the real sets have terms."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("benchmarks")


def test_a_term_above_the_true_one_is_right_and_one_below_is_not() -> None:
    from benchmarks.annotation.shipped import right

    monopolar, l1, kenyon, cell = "FBbt:00003718", "FBbt:00003719", "FBbt:00049828", "FBbt:00007002"
    found, truth = pd.Series([l1, monopolar, cell, l1, kenyon]), pd.Series([l1, l1, l1, monopolar, l1])
    assert right(found, truth).tolist() == [True, True, True, False, False]


def test_terms_of_labels_are_terms_of_fbbt() -> None:
    from benchmarks.annotation.terms import TERMS
    from scflyformer.ontology._terms import fbbt

    assert {term for term in TERMS.values() if term} <= set(fbbt().names)
    assert all(fbbt().is_cell(term) for term in TERMS.values() if term)


def test_some_cells_of_each_group() -> None:
    from benchmarks.lib.splits import some_of_each

    obs = pd.DataFrame({"batch": ["a"] * 6 + ["b"] * 3}, index=[f"c{n}" for n in range(9)])
    found = some_of_each(ad.AnnData(np.zeros((9, 1)), obs=obs), ["batch"], 4)
    assert found.obs["batch"].value_counts().to_dict() == {"a": 4, "b": 3}


def test_a_label_without_a_term_stops_the_training() -> None:
    from tools.train_classifiers import terms_of

    assert terms_of(pd.Series(["G-KC", "hemocyte"])).tolist() == ["FBbt:00049828", "FBbt:00058143"]
    with pytest.raises(ValueError, match="no term for"):
        terms_of(pd.Series(["G-KC", "my cells"]))
