"""The heatmap shows the counts of true against predicted labels, in a stable order, normalised as asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.metrics import confusion_matrix

import scflyformer as sf
from scflyformer.pl._confusion import confusion_counts

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
    axis = sf.pl.confusion(annotated, truth="cell_type", normalize=normalize, show=False)
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
    assert sf.pl.confusion(annotated, truth="cell_type", key="annotation_best", ax=ax) is ax
    assert tick_labels(ax) == ["T4/T5", "glia", "neuron"]
    assert sf.pl.confusion(annotated, truth="cell_type", ax=ax, return_fig=True) is figure


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
    from mudata import MuData, set_options

    with set_options(pull_on_update=False):
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
    annotated.obs["annotation"] = pd.Categorical([None] * 60, categories=LABELS)
    with pytest.raises(ValueError, match="No cell has both"):
        sf.pl.confusion(annotated, truth="cell_type")
