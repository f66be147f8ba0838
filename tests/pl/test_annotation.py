"""The three panels show labels, scores and abstentions at the cells' places, and leave the object as it was."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba
from mudata_updates import no_pull

import scflyformer as sf
from scflyformer.pl._annotation import PALE, PALER
from scflyformer.pl._figure import COLOURS


@pytest.fixture
def mapped(cells):
    """Sixty cells, 8 of them `Unknown`, with a map of three columns."""
    rng = np.random.default_rng(0)
    labels = cells.obs["cell_type"].astype(str).to_numpy().copy()
    labels[:8] = "Unknown"
    cells.obs["annotation"] = pd.Categorical(labels, ["Unknown", "glia", "neuron", "T4/T5", "no such cell"])
    cells.obs["annotation_score"] = rng.random(cells.n_obs).astype(np.float32)
    cells.obsm["X_umap"] = rng.normal(size=(cells.n_obs, 3)).astype(np.float32)
    return cells


def many_labels(n_labels: int = 40, n_cells: int = 400) -> AnnData:
    """Cells of many labels, each in its own corner of the map."""
    number = np.arange(n_cells) % n_labels
    obs = pd.DataFrame({"annotation": [f"type {n:02d}" for n in number], "annotation_score": 0.5})
    data = AnnData(np.ones((n_cells, 1), dtype=np.float32), obs=obs.set_index(obs.index.astype(str)))
    places = np.c_[number % 8, number // 8] + np.random.default_rng(0).normal(0, 0.05, (n_cells, 2))
    data.obsm["X_umap"] = places
    return data


def drawn(axis, which: int = -1) -> np.ndarray:
    return np.asarray(axis.collections[which].get_offsets())


def legend(axis) -> dict[str, str]:
    box = axis.get_legend()
    return {
        text.get_text(): handle.get_color() for text, handle in zip(box.get_texts(), box.legend_handles, strict=True)
    }


def same_points(left: np.ndarray, right: np.ndarray) -> bool:
    return np.allclose(left[np.lexsort(left.T)], right[np.lexsort(right.T)])


def test_three_panels(mapped):
    labels, scores, unknown = sf.pl.annotation(mapped, show=False)
    places = mapped.obsm["X_umap"][:, :2]
    by_label = {"glia": COLOURS[0], "neuron": COLOURS[1], "T4/T5": COLOURS[2], "Unknown": PALE}
    assert legend(labels) == by_label and list(legend(labels))[-1] == "Unknown"
    assert (labels.get_xlabel(), labels.get_ylabel(), labels.get_title()) == ("UMAP1", "UMAP2", "annotation")
    colours = labels.collections[0].get_facecolors()
    for place, label in zip(places, mapped.obs["annotation"], strict=True):
        at = np.flatnonzero(np.isclose(drawn(labels), place).all(axis=1))
        np.testing.assert_allclose(colours[at[0]], to_rgba(by_label[label]))
    assert scores.collections[-1].get_clim() == (0, 1) and scores.collections[-1].colorbar is not None
    for place, score in zip(places, mapped.obs["annotation_score"], strict=True):
        at = np.flatnonzero(np.isclose(drawn(scores), place).all(axis=1))
        assert scores.collections[-1].get_array()[at[0]] == pytest.approx(score)
    assert same_points(drawn(unknown), places[:8]) and same_points(drawn(unknown, 0), places[8:])
    assert unknown.get_title() == "Unknown: 8 of 60 cells (13.3%)"


def test_novelty_where_it_is_named(mapped):
    mapped.obs["annotation_novelty"] = np.linspace(0, 1, 60, dtype=np.float32)
    mapped.obs.loc[mapped.obs_names[3], "annotation_novelty"] = np.nan  # no counts in the model's genes
    names = ["label", "score", "unknown", "novelty"]
    axis = sf.pl.annotation(mapped, panels=names, show=False)[3]
    assert axis.get_title() == "annotation_novelty" and axis.collections[-1].get_clim() == (0, 1)
    assert "less novel" in axis.collections[-1].colorbar.ax.get_ylabel()
    assert same_points(drawn(axis, 0), mapped.obsm["X_umap"][3:4, :2])
    for place, novelty in zip(mapped.obsm["X_umap"][4:, :2], mapped.obs["annotation_novelty"][4:], strict=True):
        at = np.flatnonzero(np.isclose(drawn(axis), place).all(axis=1))
        assert axis.collections[-1].get_array()[at[0]] == pytest.approx(novelty)
    del mapped.obs["annotation_novelty"]
    with pytest.raises(KeyError, match="annotation_novelty"):
        sf.pl.annotation(mapped, panels="novelty", show=False)


def test_the_object_stays_as_it_was(mapped):
    before = mapped.copy()
    sf.pl.annotation(mapped, show=False)[0].figure.canvas.draw()
    pd.testing.assert_frame_equal(mapped.obs, before.obs)
    np.testing.assert_array_equal(mapped.obsm["X_umap"], before.obsm["X_umap"])
    assert list(mapped.uns) == [] and list(mapped.obsm) == ["X_umap"]


def test_points_in_random_but_seeded_order(mapped):
    first, again = (sf.pl.annotation(mapped, panels="label", show=False) for _ in range(2))
    other = sf.pl.annotation(mapped, panels="label", seed=1, show=False)
    np.testing.assert_array_equal(drawn(first), drawn(again))
    assert same_points(drawn(first), drawn(other)) and not np.allclose(drawn(first), drawn(other))
    assert not np.allclose(drawn(first), mapped.obsm["X_umap"][:, :2])


def test_forty_labels_are_numbered_beside_and_on_the_map():
    data = many_labels()
    axis = sf.pl.annotation(data, panels="label", show=False)
    names = list(legend(axis))
    assert names[0] == "1  type 00" and names[-1] == "40  type 39"
    assert len(set(legend(axis).values())) == 40
    written = {int(text.get_text()): text.get_position() for text in axis.texts}
    assert sorted(written) == list(range(1, 41))
    for number, place in written.items():
        np.testing.assert_allclose(place, [(number - 1) % 8, (number - 1) // 8], atol=0.1)
    axis.figure.canvas.draw()
    box, panel, page = axis.get_legend().get_window_extent(), axis.get_window_extent(), axis.figure.bbox
    assert box.x0 >= panel.x1 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    assert panel.width > 0.8 * panel.height


def test_numbers_keep_off_each_other():
    data = many_labels(12, 1200)
    data.obsm["X_umap"] = np.random.default_rng(0).normal(size=(1200, 2))  # all labels in one heap
    axis = sf.pl.annotation(data, panels="label", show=False)
    places = np.array([text.get_position() for text in axis.texts]) / np.ptp(data.obsm["X_umap"], axis=0)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(12, 1)]
    assert apart.min() >= 0.05 - 1e-9


def test_colours_that_scanpy_stored(mapped):
    mapped.uns["annotation_colors"] = ["#111111", "#222222", "#333333", "#444444", "#555555"]
    want = {"Unknown": "#111111", "glia": "#222222", "neuron": "#333333", "T4/T5": "#444444"}
    assert legend(sf.pl.annotation(mapped, panels="label", show=False)) == want
    mapped.uns["annotation_colors"] = ["#111111"]  # of another column: too few
    assert legend(sf.pl.annotation(mapped, panels="label", show=False))["glia"] == COLOURS[0]


def test_missing_values(mapped):
    """Cells without a label, a score or a place."""
    mapped.obs["annotation"] = mapped.obs["annotation"].where(np.arange(60) != 20)
    mapped.obs.loc[mapped.obs_names[:5], "annotation_score"] = np.nan
    mapped.obsm["X_umap"][30] = np.nan
    labels, scores, unknown = sf.pl.annotation(mapped, show=False)
    assert legend(labels)["no label"] == PALER
    assert len(drawn(scores, 0)) == 5 and len(drawn(scores)) == 55
    assert unknown.get_title().startswith("Unknown: 8 of 60")
    labels.figure.canvas.draw()


@pytest.mark.parametrize("n_labels", [1, 12])
def test_odd_maps(n_labels):
    """One label, no abstention, all cells in one place, or none that has a place."""
    data = many_labels(n_labels, 24)
    for place in (0.0, np.nan):
        data.obsm["X_umap"] = np.full((24, 2), place)
        axes = sf.pl.annotation(data, show=False)
        assert axes[2].get_title() == "Unknown: 0 of 24 cells (0.0%)"
        axes[0].figure.canvas.draw()


def test_many_cells_are_one_image(mapped):
    few = sf.pl.annotation(mapped, show=False)
    many = sf.pl.annotation(many_labels(5, 6000), show=False)
    assert not any(dots.get_rasterized() for axis in few for dots in axis.collections)
    assert all(axis.collections[-1].get_rasterized() for axis in many)
    assert many[0].collections[0].get_sizes()[0] < few[0].collections[0].get_sizes()[0]
    assert sf.pl.annotation(mapped, panels="label", size=3, show=False).collections[0].get_sizes().tolist() == [3]


def test_basis_key_and_axis(mapped):
    figure, ax = plt.subplots()
    width = figure.get_figwidth()
    mapped.obsm["spatial"] = pd.DataFrame(mapped.obsm["X_umap"], index=mapped.obs_names)
    assert sf.pl.annotation(mapped, basis="spatial", ax=ax) is ax
    assert ax.get_xlabel() == "SPATIAL1" and ax.get_title() == "annotation" and figure.get_figwidth() == width
    assert sf.pl.annotation(mapped, basis="X_umap", panels="unknown", show=False).get_xlabel() == "UMAP1"
    assert len(sf.pl.annotation(mapped, key="cell_type", panels=["label", "unknown"], show=False)) == 2
    assert sf.pl.annotation(mapped, ax=ax, panels="score", return_fig=True) is figure


def test_mudata(mapped):
    from mudata import MuData

    with no_pull():
        both = MuData({"rna": mapped})
    assert len(sf.pl.annotation(both, mod="rna", show=False)) == 3


def test_errors(mapped):
    with pytest.raises(KeyError, match=r"no 'X_umpa' in adata\.obsm; did you mean 'X_umap'.*sc\.tl\.umap"):
        sf.pl.annotation(mapped, basis="umpa")
    with pytest.raises(KeyError, match="did you mean 'annotation'"):
        sf.pl.annotation(mapped, key="annotaton")
    with pytest.raises(KeyError, match="cell_type_score"):
        sf.pl.annotation(mapped, key="cell_type")
    with pytest.raises(ValueError, match="panels is 'labels'; expected one or more of 'label', 'score', 'unknown'"):
        sf.pl.annotation(mapped, panels="labels")
    with pytest.raises(ValueError, match=r"panels is \[\]"):
        sf.pl.annotation(mapped, panels=[])
    with pytest.raises(ValueError, match="One axis was given for 2 panels"):
        sf.pl.annotation(mapped, panels=["label", "score"], ax=plt.subplots()[1])
    mapped.obs["annotation_score"] = "high"
    with pytest.raises(ValueError, match=r"obs\['annotation_score'\] holds .*expected numbers from 0 to 1"):
        sf.pl.annotation(mapped)
    mapped.obsm["X_umap"] = mapped.obsm["X_umap"][:, :1]
    with pytest.raises(ValueError, match=r"has the shape \(60, 1\); expected two columns"):
        sf.pl.annotation(mapped, panels="label")
    del mapped.obsm["X_umap"]
    with pytest.raises(KeyError, match=r"there are none\. To make a UMAP.*sc\.tl\.umap"):
        sf.pl.annotation(mapped)
