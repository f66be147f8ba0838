"""The heatmap shows the counts of true against predicted labels, in a stable order, normalised as asked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib import pyplot as plt
from mudata_updates import no_pull
from sklearn.metrics import confusion_matrix

import scflyformer as sf
from scflyformer.pl._confusion import by_similarity, confusion_counts

LABELS = ["glia", "neuron", "T4/T5"]


@pytest.fixture
def annotated(cells):
    rng = np.random.default_rng(0)
    predicted = cells.obs["cell_type"].astype(str).to_numpy().copy()
    wrong = rng.choice(cells.n_obs, 20, replace=False)
    predicted[wrong[:12]] = rng.choice(LABELS, 12)
    predicted[wrong[12:17]] = "Unknown"
    predicted[wrong[17:]] = "muscle"  # a label of the reference only
    cells.obs["annotation"] = pd.Categorical(predicted)
    cells.obs["annotation_best"] = pd.Categorical(rng.choice(LABELS, cells.n_obs))
    return cells


def shown(axis) -> np.ndarray:
    return np.asarray(axis.images[0].get_array())


def tick_labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_xticklabels()]


@pytest.mark.parametrize("normalize", ["truth", "prediction", "none"])
def test_matrix(annotated, normalize):
    axis = sf.pl.confusion(annotated, truth="cell_type", normalize=normalize, order="categories", show=False)
    order = ["T4/T5", "glia", "neuron", "muscle", "Unknown"]
    oracle = confusion_matrix(
        annotated.obs["cell_type"].astype(str),
        annotated.obs["annotation"].astype(str),
        labels=order,
        normalize={"truth": "true", "prediction": "pred", "none": None}[normalize],
    )[:3]
    assert tick_labels(axis) == order
    np.testing.assert_allclose(shown(axis), oracle)
    assert [label.get_text().rsplit(" ", 1)[0] for label in axis.get_yticklabels()] == order[:3]
    right = (annotated.obs["cell_type"].astype(str) == annotated.obs["annotation"].astype(str)).mean()
    assert axis.get_title().startswith(f"{right:.1%} right, {55 / 60:.1%} labelled, 60 cells")
    assert "cell_type" in axis.get_ylabel() and "annotation" in axis.get_xlabel()


def test_numbers_stand_in_the_boxes(annotated):
    axis = sf.pl.confusion(annotated, truth="cell_type", normalize="none", show=False)
    written = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axis.texts}
    assert written == {(r, c): f"{v:.0f}" for (r, c), v in np.ndenumerate(shown(axis)) if v}


def test_another_column_and_axis(annotated):
    figure, ax = plt.subplots()
    assert sf.pl.confusion(annotated, truth="cell_type", key="annotation_best", order="categories", ax=ax) is ax
    assert tick_labels(ax) == ["T4/T5", "glia", "neuron"]
    assert sf.pl.confusion(annotated, truth="cell_type", ax=ax, return_fig=True) is figure


def labelled(pairs: dict[tuple[str, str], int], categories: list[str] | None = None) -> AnnData:
    """Cells by true and predicted label; numbers of cells."""
    true, predicted = zip(*(pair for pair, n in pairs.items() for _ in range(n)), strict=True)
    if categories is not None:
        true = [name if name in categories else None for name in true]
    obs = pd.DataFrame({"truth": pd.Categorical(true, categories), "annotation": pd.Categorical(predicted)})
    return AnnData(np.ones((len(obs), 1), dtype=np.float32), obs=obs.set_index(obs.index.astype(str)))


TYPES = ["Dm8", "R7 pale", "T1", "T4/T5", "photoreceptor 8", "yellow R7"]


def test_labels_taken_for_one_another_stand_together():
    """Two pairs far apart in the alphabet; the label that is never mistaken keeps its place; `Unknown` last."""
    pairs = {(label, label): 20 for label in TYPES}
    pairs |= {("R7 pale", "yellow R7"): 8, ("yellow R7", "R7 pale"): 2, ("Dm8", "photoreceptor 8"): 5}
    pairs |= {("T1", "Unknown"): 3, ("yellow R7", "muscle"): 4, ("T1", "glia"): 1}
    data = labelled(pairs)
    axis = sf.pl.confusion(data, truth="truth", normalize="none", show=False)
    rows = ["Dm8", "photoreceptor 8", "R7 pale", "yellow R7", "T1", "T4/T5"]
    assert tick_labels(axis) == [*rows, "muscle", "glia", "Unknown"]
    assert [label.get_text().rsplit(" ", 1)[0] for label in axis.get_yticklabels()] == rows
    want = [[pairs.get((row, column), 0) for column in tick_labels(axis)] for row in rows]
    np.testing.assert_array_equal(shown(axis), want)
    alphabet = sf.pl.confusion(data, truth="truth", order="categories", show=False)
    assert tick_labels(alphabet) == [*TYPES, "glia", "muscle", "Unknown"]
    assert axis.get_title() == alphabet.get_title()


def test_a_block_is_laid_out_as_a_chain():
    """A little confusion everywhere does not hide who is nearest; the end that stood first begins."""
    pairs = {(row, column): 100 if row == column else 1 for row in "abcdef" for column in "abcdef"}
    for left, right in ("ae", "eb", "bd", "df", "fc"):
        pairs[left, right] = 30
    order = list(by_similarity(confusion_counts(*columns(labelled(pairs)))).index)
    assert sum((left + right) in ("ae", "eb", "bd", "df", "fc") for left, right in pairwise(order)) >= 4
    assert order[0] < order[-1]


def columns(data: AnnData) -> tuple[pd.Series, pd.Series]:
    return data.obs["truth"], data.obs["annotation"]


@pytest.mark.parametrize(
    ("pairs", "rows", "shown_columns"),
    [
        ({("b", "b"): 1}, ["b"], ["b"]),
        ({("b", "Unknown"): 2}, ["b"], ["b", "Unknown"]),
        ({("b", "a"): 2, ("a", "b"): 1}, ["b", "a"], ["b", "a"]),
        ({("b", "b"): 2, ("a", "a"): 1, ("c", "c"): 1}, ["c", "b", "a"], ["c", "b", "a"]),
        ({("Unknown", "Unknown"): 1, ("b", "b"): 1}, ["b"], ["b"]),
        ({("unannotated", "a"): 1, ("b", "Unknown"): 1}, ["b"], ["b", "Unknown"]),
        ({(" N/A ", "a"): 1, ("b", "c"): 1}, ["b"], ["b", "c"]),
    ],
)
def test_few_labels_and_ties_keep_the_categories_order(pairs, rows, shown_columns):
    data = labelled(pairs, ["Unknown", "c", "b", "a"])
    counts = confusion_counts(*columns(data))
    ordered = by_similarity(counts)
    assert list(ordered.index) == rows
    assert list(ordered.columns) == shown_columns
    assert ordered.to_numpy().sum() == counts.to_numpy().sum()
    sf.pl.confusion(data, truth="truth", show=False).figure.canvas.draw()


def test_missing_labels_are_left_out(annotated):
    annotated.obs["cell_type"] = annotated.obs["cell_type"].where(np.arange(60) > 9)
    counts = confusion_counts(annotated.obs["cell_type"], annotated.obs["annotation"])
    assert counts.to_numpy().sum() == 50


def test_order_of_the_cells_is_of_no_account(annotated):
    shuffled = annotated[np.random.default_rng(1).permutation(60)]
    pd.testing.assert_frame_equal(
        confusion_counts(annotated.obs["cell_type"], annotated.obs["annotation"]),
        confusion_counts(shuffled.obs["cell_type"].astype(str), shuffled.obs["annotation"]),
    )


def test_mudata(annotated):
    from mudata import MuData

    with no_pull():
        both = MuData({"rna": annotated})
    axis = sf.pl.confusion(both, truth="cell_type", mod="rna", show=False)
    assert shown(axis).shape == (3, 5)


def test_errors(annotated):
    with pytest.raises(KeyError, match="cell_type"):
        sf.pl.confusion(annotated, truth="cell_typ")
    with pytest.raises(KeyError, match="annotaton"):
        sf.pl.confusion(annotated, truth="cell_type", key="annotaton")
    with pytest.raises(ValueError, match="normalize is 'rows'"):
        sf.pl.confusion(annotated, truth="cell_type", normalize="rows")
    with pytest.raises(ValueError, match="order is 'alphabet'; expected 'similar' or 'categories'"):
        sf.pl.confusion(annotated, truth="cell_type", order="alphabet")
    annotated.obs["annotation"] = pd.Categorical([None] * 60, categories=LABELS)
    with pytest.raises(ValueError, match="No cell has both"):
        sf.pl.confusion(annotated, truth="cell_type")


def test_a_column_is_not_compared_with_itself(annotated):
    with pytest.raises(ValueError, match="truth and key are both 'annotation'"):
        sf.pl.confusion(annotated, truth="annotation")
