"""Which cells have a label to learn from, and which classes can be learnt and tested."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scflyformer.data._labels import Labels, read_labels


def _read(labels: list, samples: list[str] | None = None) -> Labels:
    obs = pd.DataFrame(
        {"kind": pd.Series(labels, dtype=object).to_numpy()}, index=[f"c{n}" for n in range(len(labels))]
    )
    adata = ad.AnnData(np.ones((len(labels), 1), np.float32), obs=obs)
    return read_labels(adata, "kind", samples=None if samples is None else np.array(samples))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr("scflyformer._log.warning", said.append)
    return said


def test_words_for_no_label_teach_nothing(said: list[str]) -> None:
    found = _read(["b", "a", None, "Unknown", "unannotated", "b", "a", "alone"])
    assert found.classes.tolist() == ["a", "b"]
    assert found.codes.tolist() == [1, 0, -1, -1, -1, 1, 0, -1]
    assert len(said) == 1 and said[0].startswith("'alone': fewer than 2 cells")


def test_a_class_of_one_sample_is_told(said: list[str]) -> None:
    found = _read(["a", "b", "c", "a", "b", "c"], ["s1", "s1", "s2", "s2", "s2", "s2"])
    assert found.codes.tolist() == [0, 1, 2, 0, 1, 2]
    assert len(said) == 1 and said[0].startswith("'c': in one sample only")


@pytest.mark.parametrize(
    ("labels", "samples", "message"),
    [
        (["a", "a", "b"], None, "holds the one class 'a' with at least 2 cells"),
        (["a", "b", None], None, "holds no class with at least 2 cells"),
        (["a", "a", "b", "b"], ["s", "s", "s", "s"], "come from one sample"),
        (["a", "a", "b", "b"], ["s", "s", "t", "t"], "Every class .* comes from one sample only"),
    ],
)
def test_what_cannot_be_learnt_or_tested(labels: list, samples: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(labels, samples)
