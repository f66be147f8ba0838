"""Labelled cells and their folds: who is held out together, and what cannot be split."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from scflyformer.annotation._folds import split_labelled
from scflyformer.annotation._request import AnnotateRequest
from scflyformer.data._labels import read_labels
from scflyformer.data._reading import Reading


@pytest.fixture
def request_() -> AnnotateRequest:
    fields = dict.fromkeys(field.name for field in dataclasses.fields(AnnotateRequest))
    return AnnotateRequest(**{**fields, "n_splits": 4, "seed": 0, "reading": Reading()})


def test_samples_are_held_out_whole(many_cells, request_: AnnotateRequest) -> None:
    samples = many_cells.obs["batch"].to_numpy(dtype=object)
    many_cells.obs.loc[many_cells.obs_names[:7], "cell_type"] = None
    labels = read_labels(many_cells, "cell_type", samples=samples)
    labelled = split_labelled(many_cells, labels, samples, request_, layer=None)
    np.testing.assert_array_equal(labelled.cells, np.arange(7, many_cells.n_obs))
    np.testing.assert_array_equal(labelled.y, labels.codes[7:])
    assert labelled.n_classes == len(labels.classes) and labelled.n_folds == labelled.folds.max() + 1
    np.testing.assert_array_equal(labelled.units, samples[7:])
    for sample in set(labelled.units):
        assert len(set(labelled.folds[labelled.units == sample])) == 1


def test_a_fold_must_leave_two_classes(many_cells, request_: AnnotateRequest) -> None:
    samples = many_cells.obs["cell_type"].astype(str).to_numpy(dtype=object)
    two = many_cells[np.isin(samples, np.unique(samples)[:2])].copy()
    samples = two.obs["cell_type"].astype(str).to_numpy(dtype=object)
    labels = read_labels(two, "cell_type", samples=None)
    with pytest.raises(ValueError, match="held out, the other cells have a single class"):
        split_labelled(two, labels, samples, request_, layer=None)


def test_tested_cells_are_judged_by_others(many_cells, request_: AnnotateRequest) -> None:
    """By other folds; where one fold is tested by other samples, and where that is one sample by its other half."""
    samples = many_cells.obs["batch"].to_numpy(dtype=object)
    labelled = split_labelled(
        many_cells, read_labels(many_cells, "cell_type", samples=samples), samples, request_, layer=None
    )
    every = np.ones(len(labelled.y), dtype=bool)
    np.testing.assert_array_equal(labelled.apart(every), labelled.folds)
    one = labelled.folds == 0
    assert len(set(labelled.samples[one])) == 1
    halves = labelled.apart(one)
    assert abs((halves == 0).sum() - (halves == 1).sum()) <= 1 and set(halves) == {0, 1}
    pooled = dataclasses.replace(labelled, folds=labelled.folds // 2)
    groups = pooled.apart(pooled.folds == 0)
    assert len(set(groups)) == 2 and len(set(zip(groups, labelled.samples[pooled.folds == 0], strict=True))) == 2
    by_cell = dataclasses.replace(labelled, samples=None)
    assert set(by_cell.apart(one)) == {0, 1}
