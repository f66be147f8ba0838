"""Annotation learns planted types, tests itself on held-out samples, abstains, and comes back from disk unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata_updates import no_pull
from stored import stored

import scflyformer as sf
from scflyformer import _log
from scflyformer._running import Running
from scflyformer.annotation._request import BASELINES
from scflyformer.data import _embedding
from scflyformer.data._reading import Reading
from scflyformer.models import ModelFolderError

ARGUMENTS = {"label_key": "cell_type", "sample_key": "batch"}
CLOSE = {"rtol": 0, "atol": 5e-3}
"""Of two runs of the tiny model: its cells differ by 5e-4 only, and what float32 rounds is scaled up with them."""


def _run(adata: ad.AnnData, tiny_model: Path, **more: object) -> dict:
    sf.tl.annotate(adata, model=tiny_model, **{**ARGUMENTS, **more})
    return adata.uns["annotation"]


def test_learns_planted_types_by_sample(many_cells: ad.AnnData, tiny_model: Path) -> None:
    found = _run(many_cells, tiny_model)
    metrics = found["metrics"].set_index("features")
    assert list(metrics.index) == ["embedding", *BASELINES]
    assert (
        metrics.loc["embedding", "accuracy"] > 0.5
    )  # the weights are random: they keep some of what tells types apart
    assert metrics.loc["expression", "accuracy"] > 0.9
    assert metrics.loc["majority", "accuracy"] < 0.5
    assert (metrics["split"] == "sample").all()
    assert (metrics["n_samples"] == 4).all()
    assert (metrics["n_cells"] == 240).all()
    low, high = metrics["accuracy_low"] - 1e-12, metrics["accuracy_high"] + 1e-12
    assert ((low <= metrics["accuracy"]) & (metrics["accuracy"] <= high)).all()
    assert list(found["baselines"]["features"]) == list(BASELINES)
    gain = metrics["accuracy"]["embedding"] - metrics["accuracy"]
    np.testing.assert_allclose(metrics["accuracy_gain"][1:], gain[1:])
    assert metrics.loc["embedding"].filter(like="_gain").isna().all()
    assert (metrics["macro_f1_gain_low"] <= metrics["macro_f1_gain"] + 1e-12)[1:].all()
    assert metrics.loc["majority", "macro_f1_gain_low"] > 0 > metrics.loc["expression", "macro_f1_gain_high"]
    told = found["verdict"]
    assert told[0].startswith("embedding below expression in macro-F1 (-0.")
    assert told[4].startswith("embedding above majority in macro-F1 (+0.")
    assert "; above it in accuracy (+0." in told[4]
    best = many_cells.obs["annotation_best"].astype(str)
    assert (best == many_cells.obs["cell_type"].astype(str)).mean() == pytest.approx(
        metrics.loc["embedding", "accuracy"]
    )
    assert found["per_class"]["n_cells"].sum() == 240


def _with_counts_elsewhere(adata: ad.AnnData) -> ad.AnnData:
    """The cells with most of their counts in genes that the model does not know."""
    strange = [not str(name).startswith("tiny") for name in adata.var_names]
    matrix = adata.X.toarray()
    matrix[:, strange] += 500
    other = adata.copy()
    other.X = matrix
    return other


@pytest.mark.parametrize("method", ["probe", "finetune"])
def test_low_coverage_is_told_once_for_each_object(
    many_cells: ad.AnnData, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """However often the same cells are read: for the embedding, for tokens, and by the untrained network."""
    said: list[str] = []
    monkeypatch.setattr(_log, "warning", said.append)
    cells = _with_counts_elsewhere(many_cells)
    more = {"baselines": ["random"], "method": method, "epochs": 1}
    _run(cells, tiny_model, **more)
    assert [one.split(" of your counts")[0][:16] for one in said] == ["The model reads "]
    said.clear()
    sf.tl.annotate(many_cells[:30].copy(), reference=cells, model=tiny_model, **ARGUMENTS, **more)
    assert [one[:27] for one in said] == ["reference: The model reads "]


def test_the_bar_of_baselines_names_the_one_at_work(
    many_cells: ad.AnnData, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []
    original = _log.progress

    def progress(*args: Any, **kwargs: Any) -> Any:
        bar = original(*args, **kwargs)
        monkeypatch.setattr(bar, "set_description", lambda text, refresh: words.append(text), raising=False)
        return bar

    monkeypatch.setattr(_log, "progress", progress)
    _run(many_cells, tiny_model, baselines=["neighbours", "majority"])
    assert words == ["baseline: neighbours", "baseline: majority"]


def test_some_baselines_and_what_is_said(many_cells: ad.AnnData, tiny_model: Path, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(_log, "info", said.append)
    found = _run(many_cells, tiny_model, baselines=("majority", "neighbours"))
    assert list(found["metrics"]["features"]) == ["embedding", "neighbours", "majority"]
    assert list(found["params"]["baselines"]) == ["neighbours", "majority"]
    assert any(
        "fitting baselines (neighbours, majority) in the same folds: 240 cells, 3 classes" in line for line in said
    )
    assert said[-1].splitlines()[2:] == list(found["verdict"])
    none = _run(many_cells, tiny_model, baselines="none")
    assert "verdict" not in none and "baselines" not in none


def test_untrained_weights(many_cells: ad.AnnData, tiny_model: Path) -> None:
    """They follow the seed, differ from the trained ones, and leave torch's own generator where it was."""
    import torch

    model = sf.models.load(tiny_model)
    options = {"reading": Reading(), "running": Running("cpu")}
    state = torch.random.get_rng_state()
    first, again, other = (_embedding.untrained(many_cells, model, seed=seed, **options) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_allclose(first, again, atol=1e-5)
    trained = _embedding.embedding(many_cells, model, **options)
    assert first.shape == trained.shape
    assert np.abs(first - other).max() > 0.1 and np.abs(first - trained).max() > 0.1
    # the fixture's weights were drawn with seed 0 and never trained
    np.testing.assert_allclose(_embedding.untrained(many_cells, model, seed=0, **options), trained, atol=1e-5)


def test_what_is_written_fits_together(many_cells: ad.AnnData, tiny_model: Path) -> None:
    sf.tl.annotate(many_cells, model=tiny_model, min_score=0.9, key_added="mine", **ARGUMENTS)
    found, proba, score = many_cells.uns["mine"], many_cells.obsm["mine_proba"], many_cells.obs["mine_score"].to_numpy()
    assert list(found["classes"]) == ["T4/T5", "glia", "neuron"]
    assert isinstance(proba, np.ndarray)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(score, proba.max(axis=1))
    best = found["classes"][proba.argmax(axis=1)]
    assert (many_cells.obs["mine_best"].astype(str) == best).all()
    novelty = many_cells.obs["mine_novelty"].to_numpy()
    assert 0 <= novelty.min() < 0.1 and 0.9 < novelty.max() <= 1
    kept = (score >= 0.9) & (novelty <= 0.99)
    expected = np.where(kept, best, "Unknown")
    assert (many_cells.obs["mine"].astype(str) == expected).all()
    assert 0 < (expected == "Unknown").sum() < 240
    coverage = found["metrics"]["coverage"].iloc[0]
    assert coverage == pytest.approx(kept.mean())


def test_reference(many_cells: ad.AnnData, cells: ad.AnnData, tiny_model: Path) -> None:
    truth = cells.obs.pop("cell_type")
    found = _run(cells, tiny_model, reference=many_cells)
    assert (cells.obs["annotation_best"].astype(str) == truth.astype(str)).mean() > 0.45
    assert found["metrics"]["n_cells"].iloc[0] == 240
    assert "annotation" not in many_cells.uns
    assert found["params"]["mode"] == "reference"


def test_held_out_cells_have_no_part(many_cells: ad.AnnData, tiny_model: Path) -> None:
    """Relabelling a sample at random changes nothing of what the others' classifier says about it."""
    sf.tl.embed(many_cells, model=tiny_model)
    _run(many_cells, tiny_model, baselines="none", n_splits=4)
    before = many_cells.obsm["annotation_proba"].copy()
    here = (many_cells.obs["batch"] == "s1").to_numpy()
    kinds = many_cells.obs["cell_type"].astype(str).to_numpy()
    kinds[here] = np.roll(kinds[here], 1)
    many_cells.obs["cell_type"] = kinds
    _run(many_cells, tiny_model, baselines="none", n_splits=4)
    order = before[here].argsort(axis=1)  # the temperature, which comes from other folds' cells, may differ a little
    np.testing.assert_array_equal(many_cells.obsm["annotation_proba"][here].argsort(axis=1), order)


def test_random_labels_are_not_learnt(many_cells: ad.AnnData, tiny_model: Path) -> None:
    """Labels tied to nothing but the library look learnable by cell where libraries differ, and are not by sample."""
    rng = np.random.default_rng(0)
    many_cells.obs["cell_type"] = rng.permutation(many_cells.obs["cell_type"].astype(str))
    metrics = _run(many_cells, tiny_model)["metrics"].set_index("features")
    assert metrics.loc["embedding", "accuracy"] < 0.48
    assert metrics.loc["expression", "accuracy"] < 0.48
    assert metrics.loc["embedding", "ece"] < 0.15


def test_unlabelled_cells(many_cells: ad.AnnData, tiny_model: Path) -> None:
    truth = many_cells.obs["cell_type"].astype(str)
    labels = truth.astype(object).to_numpy(copy=True)
    labels[:20], labels[20:25], labels[25:27] = np.nan, "unknown ", "Unannotated"
    many_cells.obs["cell_type"] = labels
    found = _run(many_cells, tiny_model, baselines="none")
    assert found["metrics"]["n_cells"].iloc[0] == 240 - 27
    assert list(found["classes"]) == ["T4/T5", "glia", "neuron"]
    assert (many_cells.obs["annotation_best"].astype(str)[:27] == truth[:27]).mean() > 0.45


def test_small_and_single_sample_classes(many_cells: ad.AnnData, tiny_model: Path) -> None:
    labels = many_cells.obs["cell_type"].astype(str).to_numpy(dtype=object)
    labels[0] = "one cell"
    labels[np.flatnonzero(many_cells.obs["batch"] == "s2")[:5]] = "one sample"
    many_cells.obs["cell_type"] = labels
    found = _run(many_cells, tiny_model, baselines="none")
    assert list(found["classes"]) == ["T4/T5", "glia", "neuron", "one sample"]
    table = found["per_class"].set_index("label")
    assert table.loc["one sample", "recall"] == 0
    assert table.loc["one sample", "n_cells"] == 5


def test_by_cell_is_called_so(many_cells: ad.AnnData, tiny_model: Path) -> None:
    found = _run(many_cells, tiny_model, sample_key=None, baselines="none")
    assert found["metrics"]["split"].iloc[0] == "cell"
    assert found["metrics"]["n_samples"].iloc[0] == 0
    assert found["params"]["sample_key"] == "none"


def test_groups(many_cells: ad.AnnData, tiny_model: Path) -> None:
    many_cells.obs["cluster"] = (
        many_cells.obs["cell_type"].astype(str).map({"glia": "a/b", "neuron": "2", "T4/T5": "3"})
    )
    many_cells.obs.loc[many_cells.obs_names[0], "cluster"] = np.nan
    groups = _run(many_cells, tiny_model, groupby="cluster", baselines="none")["groups"].set_index("group")
    assert groups["label"].to_dict() == {"a/b": "glia", "2": "neuron", "3": "T4/T5"}
    assert groups["n_cells"].sum() == 239
    inside = many_cells.obs["cluster"] == "2"
    expected = (many_cells.obs.loc[inside, "annotation_best"] == "neuron").mean()
    assert groups.loc["2", "agreement"] == pytest.approx(expected)


def test_finetune_with_a_reference(many_cells: ad.AnnData, cells: ad.AnnData, tiny_model: Path, tmp_path: Path) -> None:
    """One fold is tested, the frozen probe stands beside, and the folder labels as the call did."""
    weights = (tiny_model / "model.safetensors").read_bytes()
    folder = tmp_path / "tuned"
    found = _run(
        cells, tiny_model, reference=many_cells, method="finetune", epochs=2, baselines="majority", save=folder
    )
    assert list(found["metrics"]["features"]) == ["finetuned", "embedding", "majority"]
    assert (found["metrics"]["n_samples"] == 1).all() and (found["metrics"]["n_cells"] == 60).all()
    assert found["verdict"][0].startswith("finetuned ")
    assert len(found["fit"]["losses"]) == 4
    assert found["params"]["method"] == "finetune" and found["params"]["epochs"] == 2
    assert (tiny_model / "model.safetensors").read_bytes() == weights
    first = cells.obsm["annotation_proba"], cells.obs["annotation_novelty"].to_numpy()
    cells.obs = cells.obs[["batch"]]
    sf.tl.embed(cells, model=tiny_model)  # of the frozen model: of no use here
    sf.tl.annotate(cells, classifier=folder)
    np.testing.assert_allclose(cells.obsm["annotation_proba"], first[0], **CLOSE)
    np.testing.assert_allclose(cells.obs["annotation_novelty"], first[1], **CLOSE)


def test_finetune_within_the_cells(many_cells: ad.AnnData, tiny_model: Path) -> None:
    """Every fold is tested; cells without a label get that of the last classifier."""
    many_cells.obs["partly"] = many_cells.obs["cell_type"].astype(object)
    many_cells.obs.loc[many_cells.obs_names[:7], "partly"] = None
    found = _run(many_cells, tiny_model, label_key="partly", method="finetune", epochs=1, n_splits=3, baselines="none")
    assert list(found["metrics"]["features"]) == ["finetuned"]
    assert found["metrics"]["n_cells"].iloc[0] == 233 and found["metrics"]["n_samples"].iloc[0] == 4
    np.testing.assert_allclose(many_cells.obsm["annotation_proba"].sum(axis=1), 1, rtol=1e-5)
    assert many_cells.obs["annotation_novelty"].notna().all()


def test_finetune_that_does_not_help_is_the_probe(
    many_cells: ad.AnnData, cells: ad.AnnData, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where training makes held-out cells worse, labels, probabilities and strangeness are those of the probe."""

    def spoil(_: Any, classifier: Any, *__: Any, **___: Any) -> None:
        classifier.weight.data.mul_(-1)

    monkeypatch.setattr("scflyformer.annotation._finetune.train_passes", spoil)
    monkeypatch.setattr("scflyformer.annotation._finetune.SHARES", (1.0,))
    plain = cells.copy()
    found = _run(cells, tiny_model, reference=many_cells, method="finetune", epochs=1, baselines="none")
    frozen = _run(plain, tiny_model, reference=many_cells, baselines="none")
    assert found["fit"]["share"] == 0 and found["fit"]["epoch"] == 0
    assert found["metrics"]["n_samples"].iloc[0] == 1 and frozen["metrics"]["n_samples"].iloc[0] == 4
    np.testing.assert_allclose(cells.obsm["annotation_proba"], plain.obsm["annotation_proba"], **CLOSE)
    np.testing.assert_allclose(cells.obs["annotation_novelty"], plain.obs["annotation_novelty"], **CLOSE)


def test_finetune_needs_three_folds(many_cells: ad.AnnData, tiny_model: Path) -> None:
    with pytest.raises(ValueError, match="needs three folds.*got 2"):
        _run(many_cells, tiny_model, method="finetune", n_splits=2)
    assert "annotation" not in many_cells.obs


def test_a_hidden_type_stands_out(many_cells: ad.AnnData, tiny_model: Path) -> None:
    """Cells of a type that the reference lacks are stranger than the others, and max_novelty decides on them."""
    kept = many_cells[many_cells.obs["cell_type"] != "glia"].copy()
    query = many_cells.copy()
    strange = (query.obs.pop("cell_type") == "glia").to_numpy()
    sf.tl.annotate(query, reference=kept, model=tiny_model, min_score=0, baselines="none", **ARGUMENTS)
    novelty = query.obs["annotation_novelty"].to_numpy()
    assert np.median(novelty[strange]) > np.median(novelty[~strange])
    unknown = (query.obs["annotation"] == "Unknown").to_numpy()
    np.testing.assert_array_equal(unknown, novelty > 0.99)
    sf.tl.annotate(query, reference=kept, model=tiny_model, min_score=0, max_novelty=1, baselines="none", **ARGUMENTS)
    assert (query.obs["annotation"] != "Unknown").all()


def test_empty_cells_are_unknown(many_cells: ad.AnnData, tiny_model: Path) -> None:
    many_cells.X = many_cells.X.multiply(np.arange(240)[:, None] >= 3).tocsr()
    _run(many_cells, tiny_model, min_score=0.0, max_novelty=1.0, baselines="none")
    assert (many_cells.obs["annotation"][:3] == "Unknown").all()
    assert many_cells.obs["annotation_novelty"].isna().to_numpy().tolist() == [True] * 3 + [False] * 237
    assert (many_cells.obs["annotation"][3:] != "Unknown").all()
    np.testing.assert_allclose(many_cells.obsm["annotation_proba"][:3], 1 / 3, atol=1e-3)


def test_the_order_of_cells_and_a_given_embedding_change_nothing(many_cells: ad.AnnData, tiny_model: Path) -> None:
    _run(many_cells, tiny_model, baselines="none", sample_key=None)
    order = np.random.default_rng(0).permutation(240)
    other = many_cells[order].copy()
    sf.tl.embed(other, model=tiny_model)
    _run(other, tiny_model, baselines="none", sample_key=None)
    np.testing.assert_allclose(other.obsm["annotation_proba"], many_cells.obsm["annotation_proba"][order], **CLOSE)


def test_an_embedding_of_another_model_is_not_used(many_cells: ad.AnnData, tiny_model: Path) -> None:
    sf.tl.embed(many_cells, model=tiny_model)
    model = sf.models.load(tiny_model)
    options = {"reading": Reading(), "running": Running()}
    many_cells.obsm["X_scflyformer"] = many_cells.obsm["X_scflyformer"] + 1
    np.testing.assert_array_equal(_embedding.embedding(many_cells, model, **options), many_cells.obsm["X_scflyformer"])
    many_cells.uns["X_scflyformer"]["params"]["model_sha256"] = "another"
    assert (
        np.abs(_embedding.embedding(many_cells, model, **options) + 1 - many_cells.obsm["X_scflyformer"]).max() < 1e-4
    )


def test_what_a_saved_classifier_does_not_use_is_said(many_cells, cells, tiny_model, tmp_path, monkeypatch) -> None:
    _run(cells, tiny_model, reference=many_cells, save=tmp_path / "types", baselines="none")
    said: list[str] = []
    monkeypatch.setattr(_log, "warning", said.append)
    sf.tl.annotate(cells, classifier=tmp_path / "types", label_key="cell_type", sample_key="batch")
    assert "annotate: a saved classifier is applied as it is; label_key and sample_key are not used." in said
    said.clear()
    sf.tl.annotate(cells, classifier=tmp_path / "types")
    assert not any("not used" in line for line in said)


def test_save_and_load(many_cells: ad.AnnData, cells: ad.AnnData, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "types"
    other = cells.copy()
    _run(cells, tiny_model, reference=many_cells, save=folder)
    sf.tl.annotate(other, classifier=folder)
    np.testing.assert_allclose(other.obsm["annotation_proba"], cells.obsm["annotation_proba"], **CLOSE)
    pd.testing.assert_series_equal(other.obs["annotation"], cells.obs["annotation"])
    pd.testing.assert_frame_equal(other.uns["annotation"]["metrics"], cells.uns["annotation"]["metrics"])
    assert list(other.uns["annotation"]["verdict"]) == list(cells.uns["annotation"]["verdict"])
    content = json.loads((folder / "labels.json").read_text())
    assert content["classes"] == ["T4/T5", "glia", "neuron"]
    assert content["model_sha256"] == sf.models.load(tiny_model).sha256
    model = sf.models.load(folder)
    assert set(model.tensors("classifier.")) == {
        "mean", "scale", "weight", "bias", "whiten", "centres", "quantiles"
    }  # fmt: skip
    assert "accuracy" in model.metrics["classifier"]["embedding"]
    sf.tl.embed(other, model=folder)
    from transformers import BertModel

    BertModel.from_pretrained(folder, add_pooling_layer=False)


def test_a_folder_that_is_no_classifier(
    cells: ad.AnnData, many_cells: ad.AnnData, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelFolderError, match="a model without a classifier: it has no labels.json"):
        sf.tl.annotate(cells, classifier=tiny_model)
    folder = tmp_path / "types"
    _run(many_cells, tiny_model, baselines="none", save=folder)
    with pytest.raises(FileExistsError, match="exists"):
        _run(many_cells, tiny_model, baselines="none", save=folder)
    content = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps(content | {"classes": ["a", "b"]}))
    with pytest.raises(ModelFolderError, match="lists 2 classes"):
        sf.tl.annotate(cells, classifier=folder)
    (folder / "labels.json").write_text("{")
    with pytest.raises(ModelFolderError, match="not readable as JSON"):
        sf.tl.annotate(cells, classifier=folder)
    del content["temperature"]
    (folder / "labels.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match="lacks temperature"):
        sf.tl.annotate(cells, classifier=folder)
    assert "annotation" not in cells.uns


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"label_key": "cel_type"}, KeyError, "label_key: no 'cel_type'.*did you mean 'cell_type'"),
        ({"sample_key": "bach"}, KeyError, "did you mean 'batch'"),
        ({"groupby": "nothing"}, KeyError, "groupby: no 'nothing'"),
        ({"label_key": None}, ValueError, "label_key is missing"),
        ({"min_score": 50}, ValueError, "min_score is 50; expected a number from 0 to 1"),
        ({"method": "magic"}, ValueError, "method is 'magic'; expected 'probe' or 'finetune'"),
        ({"baselines": True}, ValueError, "baselines is True; expected 'auto' .all., 'none', or some of 'expression'"),
        ({"baselines": ["pca", "scvi"]}, ValueError, "'scvi'.; expected 'auto'"),
        ({"n_splits": 1}, ValueError, "n_splits is 1"),
        ({"label_key": "same"}, ValueError, "holds the one class 'x'"),
        ({"label_key": "none"}, ValueError, "holds no class"),
        ({"label_key": "batch"}, ValueError, "comes from one sample only"),
        ({"sample_key": "same"}, ValueError, "come from one sample"),
        ({"sample_key": "holes"}, ValueError, "names no sample for 1 of 60 cells"),
        ({"classifier": "folder", "save": "there"}, ValueError, "Both classifier and save"),
        ({"layer": "count"}, KeyError, "layer: no 'count'"),
    ],
)
def test_bad_input(cells: ad.AnnData, tiny_model: Path, more: dict, error: type, message: str) -> None:
    cells.obs["same"], cells.obs["none"] = "x", "unknown"
    cells.obs["holes"] = cells.obs["batch"].astype(object)
    cells.obs.loc[cells.obs_names[0], "holes"] = np.nan
    before = cells.copy()
    with pytest.raises(error, match=message):
        _run(cells, tiny_model, **more)
    assert list(cells.uns) == list(before.uns)
    assert list(cells.obs) == list(before.obs)


def test_reference_without_common_genes(cells: ad.AnnData, tiny_model: Path) -> None:
    human = ad.AnnData(cells.X[:, :3].copy(), obs=cells.obs.copy(), var=pd.DataFrame(index=["TP53", "GAPDH", "ACTB"]))
    with pytest.raises(ValueError, match="recognised"):
        _run(cells, tiny_model, reference=human)
    assert "annotation" not in cells.obs


def test_mudata_reference(cells: ad.AnnData, many_cells: ad.AnnData, tiny_model: Path) -> None:
    import mudata

    with no_pull():
        data, reference = mudata.MuData({"rna": cells.copy()}), mudata.MuData({"rna": many_cells})
    sf.tl.annotate(data, reference=reference, mod="rna", model=tiny_model, baselines="none", **ARGUMENTS)
    _run(cells, tiny_model, reference=many_cells, baselines="none")
    assert (data["rna"].obs["annotation"].astype(str) == cells.obs["annotation"].astype(str)).all()


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_round_trip(many_cells: ad.AnnData, tiny_model: Path, tmp_path: Path, store: str) -> None:
    found = _run(many_cells, tiny_model, groupby="batch")
    back = stored(many_cells, tmp_path / f"cells.{store}")
    for table in ("metrics", "baselines", "per_class", "groups"):
        pd.testing.assert_frame_equal(back.uns["annotation"][table], found[table], check_dtype=False)
    assert list(back.uns["annotation"]["verdict"]) == list(found["verdict"])
    assert list(back.uns["annotation"]["classes"]) == list(found["classes"])
    assert back.obs["annotation"].astype(str).tolist() == many_cells.obs["annotation"].astype(str).tolist()
    assert isinstance(back.obsm["annotation_proba"], np.ndarray)


@pytest.mark.parametrize("argument", ["label_key", "sample_key", "groupby"])
def test_a_column_that_is_read_is_not_written_over(
    many_cells: ad.AnnData, tiny_model: Path, argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    many_cells.obs["annotation"] = many_cells.obs[ARGUMENTS.get(argument, "cell_type")]
    before = many_cells.obs["annotation"].copy()
    with pytest.raises(ValueError, match=f"{argument} is 'annotation', a column that the result would be written over"):
        _run(many_cells, tiny_model, **{argument: "annotation"})
    pd.testing.assert_series_equal(many_cells.obs["annotation"], before)
    assert "annotation" not in many_cells.uns
    asked = ARGUMENTS | {argument: "annotation"}
    sf.tl.annotate(many_cells, model=tiny_model, **asked, key_added="predicted", baselines="none")
    pd.testing.assert_series_equal(many_cells.obs["annotation"], before)
