"""Columns and cell names are read in one way: text, missing values, labels, repeats."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scflyformer as sf
from scflyformer import _log
from scflyformer.data import _columns
from scflyformer.data._chunks import value_checksums

from ..conftest import make_cells


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([3, 4, 3]),
        pd.Series([3.0, 4.0, 3.0]),
        pd.Series(["3", "4", "3"]),
        pd.Series([3, 4.0, "3"], dtype=object),
        pd.Series(pd.Categorical([3.0, 4.0, 3.0])),
        pd.Series(pd.Categorical(["3", "4", "3"])),
        pd.Series([3, 4, 3], dtype="Int64"),
        pd.Series([3, 4, 3], dtype=np.float32),
        pd.Series(["3.0", "4.0", "3.0"]),
        pd.Series(pd.Categorical(["3.0", "4.0", "3.0"])),
        pd.Series([b"3", b"4", b"3"], dtype=object),
        pd.Series([3, 4, 3], dtype=">i4"),
    ],
)
def test_numbers_and_their_text_are_the_same(values):
    assert _columns.as_text(values).tolist() == ["3", "4", "3"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pd.Series([1.5, np.nan, 2.0]), ["1.5", None, "2"]),
        (pd.Series(["a", None, np.nan], dtype=object), ["a", None, None]),
        (pd.Series(pd.Categorical(["b", None, "a"])), ["b", None, "a"]),
        (pd.Series([True, False, True]), ["True", "False", "True"]),
        (pd.Series([1, None, 2], dtype="Int64"), ["1", None, "2"]),
        (pd.Series(["3.0", "nan", "4.0"]), ["3", "nan", "4"]),
        (pd.Series([0.1, 0.2], dtype=np.float32), ["0.1", "0.2"]),
        (pd.Series(["1.0", "1.10", "1"]), ["1.0", "1.10", "1"]),  # text stays as it is: names of subclusters
    ],
)
def test_missing_values_and_other_kinds(values, text):
    assert _columns.as_text(values).tolist() == text


def test_words_that_are_no_label():
    words = pd.Series(["glia", "unannotated", " Unknown ", "NA", "", None, "nan", "neuron"], dtype=object)
    assert _columns.labels_of(words).tolist() == ["glia", *[None] * 6, "neuron"]


@pytest.mark.parametrize("place", ["obs", "var"])
def test_a_repeated_column(place):
    cells = make_cells()
    frame = getattr(cells, place)
    key = frame.columns[0]
    setattr(cells, place, pd.concat([frame, frame[[key]]], axis=1))
    with pytest.raises(ValueError, match=rf"adata\.{place} has 2 columns called {key!r}; expected one.*duplicated\(\)"):
        _columns.column(getattr(cells, place), key, place=place)


@pytest.mark.parametrize("key", ["age", "batch", "cell_type"])
def test_repeated_columns_are_named_by_every_tool(tiny_model, key):
    """Whatever the column is for: an error with a remedy that works, and nothing written."""
    cells = make_cells(120)
    cells.obs = pd.concat([cells.obs, cells.obs[[key]]], axis=1)
    calls = {
        "age": lambda a: sf.tl.age_clock(a, sample_key="batch", model=tiny_model),
        "batch": lambda a: sf.tl.perturb(
            a, genes=["tiny1"], state_key="age", start=30, goal=5, sample_key="batch", model=tiny_model
        ),
        "cell_type": lambda a: sf.tl.annotate(a, label_key="cell_type", sample_key="batch", model=tiny_model),
    }
    with pytest.raises(ValueError, match=rf"adata\.obs has 2 columns called {key!r}") as caught:
        calls[key](cells)
    assert not cells.uns and not list(cells.obsm)
    remedy = str(caught.value).split("first: ")[1]
    exec(remedy, {"adata": cells})
    assert list(cells.obs) == ["cell_type", "batch", "age"]


def test_other_repeated_columns_do_no_harm(tiny_model):
    cells = make_cells()
    cells.obs["note"] = "x"
    cells.obs = pd.concat([cells.obs, cells.obs[["note"]]], axis=1)
    cells.var = pd.concat([cells.var, cells.var[["FBgn"]]], axis=1)
    sf.tl.embed(cells, model=tiny_model)
    with pytest.raises(ValueError, match=r"adata\.var has 2 columns called 'FBgn'"):
        sf.tl.embed(cells, model=tiny_model, gene_key="FBgn")


class TestCellNames:
    def test_unique_names_are_as_they_are(self):
        cells = make_cells()
        assert _columns.cell_names(cells, layer=None).tolist() == cells.obs_names.tolist()

    @pytest.mark.filterwarnings("ignore:Observation names are not unique")
    def test_repeated_names_are_told_apart_by_values(self, monkeypatch):
        said = []
        monkeypatch.setattr(_log, "warning", said.append)
        cells = make_cells()
        cells.obs_names = [f"c{n % 50}" for n in range(60)]
        names = _columns.cell_names(cells, layer=None)
        assert len(set(names)) == 60
        assert _columns.plain_names(names).tolist() == cells.obs_names.tolist()
        assert "obs_names repeat: 20 of 60 cells" in said[0] and "obs_names_make_unique" in said[0]
        order = np.random.default_rng(0).permutation(60)
        assert _columns.cell_names(cells[order].copy(), layer=None).tolist() == names[order].tolist()

    def test_checksums_follow_the_values_alone(self):
        cells = make_cells()
        sums = value_checksums(cells, layer=None)
        assert len(set(sums)) == 60
        genes = np.random.default_rng(0).permutation(cells.n_vars)
        other = cells[:, genes].copy()
        for matrix in (sp.csc_matrix(other.X), other.X.toarray(), other.X.astype(np.int64)):
            other.X = matrix
            np.testing.assert_array_equal(value_checksums(other, layer=None), sums)
        other.X = other.X.toarray()
        other.X[3, 7] += 1
        assert np.flatnonzero(value_checksums(other, layer=None) != sums).tolist() == [3]
