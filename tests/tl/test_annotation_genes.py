"""A gene's change in log-odds is what labelling the edited cell by hand gives, and is judged beside other genes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from scipy import stats

import scflyformer as sf
from scflyformer.models import ModelFolderError
from scflyformer.perturbation import _copies
from scflyformer.perturbation._class_table import CLASS_RESULTS
from scflyformer.perturbation._tables import CLOCK_RESULTS

SAMPLES: dict[str, Any] = {"sample_key": "batch"}
BY_TYPE: dict[str, Any] = {"label_key": "cell_type"} | SAMPLES
CLASSES = ["T4/T5", "glia", "neuron"]


@pytest.fixture(scope="module")
def order_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads the order of genes alone, and answers to every gene."""
    from scflyformer.models._save import save_folder
    from scflyformer.network._network import CellBert, NetworkShape, make_config

    vocabulary = sf.models.load(tiny_model).vocabulary
    shape = NetworkShape(
        objective="mlm", hidden_size=32, n_layers=2, n_heads=2, feed_forward=64, max_len=64, dropout=0.0
    )
    network, generator = CellBert(make_config(vocabulary.n_tokens, shape)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    folder = tmp_path_factory.mktemp("order") / "order"
    save_folder(folder, network, vocabulary, metrics={}, provenance={"note": "random"}, card="# order\n")
    return folder


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the classifiers, filled by the first test."""
    return tmp_path_factory.mktemp("classifiers")


@pytest.fixture
def order(order_model: Path, shelf: Path, many_cells: ad.AnnData) -> Path:
    """A classifier of three types on a model that reads order alone."""
    return fitted(many_cells, order_model, shelf / "order")


@pytest.fixture
def lively(lively_model: Path, shelf: Path, many_cells: ad.AnnData) -> Path:
    """A classifier of three types on a model with a cell token."""
    return fitted(many_cells, lively_model, shelf / "lively")


def fitted(cells: ad.AnnData, model: Path, path: Path) -> Path:
    if not path.exists():
        sf.tl.annotate(cells, model=model, baselines="none", save=path, **BY_TYPE)
    return path


def run(adata: ad.AnnData, classifier: Path, **more: Any) -> pd.DataFrame:
    """Return the results by gene and class."""
    sf.tl.annotation_genes(adata, classifier=classifier, **({"n_null": 0} | BY_TYPE | more))
    return adata.uns["annotation_genes"]["results"].set_index(["gene", "group"])


def answers(adata: ad.AnnData, classifier: Path, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities by hand from the embedding, and the probabilities of the public function."""
    other = ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), adata.obs.copy(), adata.var.copy())
    sf.tl.embed(other, model=classifier)
    tensors = sf.models.load(classifier).tensors("classifier.")
    x = (other.obsm["X_scflyformer"].astype(float) - tensors["mean"]) / tensors["scale"]
    logits = x @ tensors["weight"].T + tensors["bias"]
    sf.tl.annotate(other, classifier=classifier)
    logits /= other.uns["annotation"]["temperature"]
    return logits - np.logaddexp.reduce(logits, axis=1)[:, None], other.obsm["annotation_proba"].astype(float)


def by_sample(adata: ad.AnnData, values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Mean of each sample's mean over some cells."""
    return pd.Series(values[cells]).groupby(adata.obs["batch"].to_numpy(dtype=str)[cells]).mean().to_numpy()


def odds(log_probability: np.ndarray, at: int) -> np.ndarray:
    """Return ln p / (1 − p) of a class."""
    others = np.delete(log_probability, at, axis=1)
    return log_probability[:, at] - np.logaddexp.reduce(others, axis=1)


@pytest.mark.parametrize("kind", ["delete", "overexpress"])
def test_equals_labelling_the_edited_counts(
    order: Path, cells: ad.AnnData, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that reads order alone sees a deleted gene as one without counts, and a raised one as the highest."""
    monkeypatch.setattr(_copies, "BLOCK_TOKENS", 300)  # many small blocks
    asked = {"genes": ["tiny3", "tiny30"], "kind": kind, "max_cells": None}
    results, against = run(cells, order, **asked), run(cells.copy(), order, contrast="glia", **asked)
    about = cells.uns["annotation_genes"]["groups"].set_index("group")
    counts, label = cells.X.toarray(), cells.obs["cell_type"].to_numpy(dtype=str)
    before, share = answers(cells, order, counts)
    for gene in ("tiny3", "tiny30"):
        column = cells.var_names.get_loc(gene)
        edited = counts.copy()
        edited[:, column] = 0 if kind == "delete" else 1e6
        after, new_share = answers(cells, order, edited)
        for at, group in enumerate(CLASSES):
            inside = label == group
            done = np.flatnonzero(inside & (counts[:, column] > 0)) if kind == "delete" else np.flatnonzero(inside)
            changed, row = odds(after, at) - odds(before, at), results.loc[(gene, group)]
            means = by_sample(cells, changed, done)
            assert row["change"] == pytest.approx(means.mean(), rel=1e-3, abs=1e-5)
            interval = stats.t.interval(0.95, len(means) - 1, loc=means.mean(), scale=stats.sem(means))
            assert (row["ci_low"], row["ci_high"]) == pytest.approx(interval, rel=1e-3, abs=1e-4)
            assert (row["n_cells"], row["n_samples"], row["ci_over"]) == (len(done), len(means), "samples")
            assert row["share_higher"] == pytest.approx((changed[done] > 0).mean(), abs=0.06)
            moved = by_sample(cells, (new_share - share)[:, at], done).mean()
            assert row["probability_change"] == pytest.approx(moved, abs=1e-5)
            mean_share = share[inside].mean(0)
            others = [name for name in CLASSES if name != group]
            rival = max(others, key=lambda name: mean_share[CLASSES.index(name)])
            assert about.loc[group, "probability"] == pytest.approx(mean_share[at], rel=1e-4)
            assert about.loc[group, "rival_probability"] == pytest.approx(mean_share[CLASSES.index(rival)], rel=1e-3)
            for found, want in ((row, rival), (against.loc[(gene, group)], rival if group == "glia" else "glia")):
                assert found["rival"] == want
                ratio = (after - before)[:, at] - (after - before)[:, CLASSES.index(want)]
                assert found["contrast"] == pytest.approx(by_sample(cells, ratio, done).mean(), rel=1e-3, abs=1e-5)
            assert np.abs(changed[done]).mean() > 0.01  # the comparison is not of zeros


def test_equals_a_loop_over_single_cells(lively: Path, cells: ad.AnnData) -> None:
    """The cell token, which reads values: two genes taken out of one unpadded cell after the other."""
    results = run(cells, lively, genes={"two": ["tiny30", "CG3"]}, sample_key=None)
    folder = sf.models.load(lively)
    medians, tensors = folder.vocabulary.medians.astype(float), folder.tensors("classifier.")
    sf.tl.annotate(cells, classifier=lively, key_added="told")
    changes: dict[str, list[float]] = {name: [] for name in CLASSES}
    for counts, label in zip(cells.X.toarray()[:, :60].astype(float), cells.obs["cell_type"], strict=True):
        held = np.flatnonzero(counts)
        scale = medians[held].sum() / counts[held].sum()
        ranked = sorted(held, key=lambda gene: (-np.float32(counts[gene]) / np.float32(medians[gene]), gene))
        pairs = [(gene + 3, float(np.log1p(counts[gene] / medians[gene] * scale))) for gene in ranked][: folder.max_len]
        rest = [pair for pair in pairs if pair[0] not in (32, 5)]
        if len(rest) == len(pairs):
            continue
        said = []
        for edit in (pairs, rest):
            tokens, values = zip(*edit, strict=True)
            with torch.inference_mode():
                vector = folder.network().embed(torch.tensor([tokens]), torch.tensor([values]))[0].numpy()
            logits = ((vector.astype(float) - tensors["mean"]) / tensors["scale"]) @ tensors["weight"].T
            said.append((logits + tensors["bias"])[None] / cells.uns["told"]["temperature"])
        at = CLASSES.index(label)
        changes[label].append((odds(said[1], at) - odds(said[0], at)).item())
    for label, changed in changes.items():
        row = results.loc[("two", label)]
        assert row["gene_id"] == "FBgn9900030+FBgn9900003"
        assert (row["n_cells"], row["n_samples"], row["ci_over"]) == (len(changed), 1, "cells")
        assert row["change"] == pytest.approx(np.mean(changed), rel=1e-3, abs=1e-5)
        assert np.std(changed) > 0.01


def test_all_genes_stand_against_each_other(order: Path, cells: ad.AnnData) -> None:
    """Genes of 10 cells or more of a class; null genes are the other rows of the class, effects follow from them."""
    rare = cells.X.toarray()
    rare[9:, cells.var_names.get_loc("tiny4")] = 0
    cells.X = sp.csr_matrix(rare)
    results = run(cells, order, n_null=1000).reset_index()
    assert list(cells.uns["annotation_genes"]["results"]) == list(CLASS_RESULTS)
    assert [name.replace("higher", "older") for name in CLASS_RESULTS[: len(CLOCK_RESULTS)]] == list(CLOCK_RESULTS)
    for group, part in results.groupby("group"):
        inside = (cells.obs["cell_type"] == group).to_numpy()
        n_cells = pd.Series((rare[inside] > 0).sum(0), cells.var_names)[:60]
        assert set(part["gene"]) == set(n_cells.index[n_cells >= 10]) and "tiny4" not in set(part["gene"])
        for at, row in part.iterrows():
            for column, prefix in (("change", ""), ("contrast", "contrast_")):
                others, n_null = part[column].drop(at).to_numpy(), row["n_null"]
                assert 0 <= n_null <= 20
                if n_null:
                    assert others.min() - 1e-6 <= row[f"{prefix}null_mean"] <= others.max() + 1e-6
                    steps = row[f"{prefix}p_value"] * (1 + n_null)
                    assert steps == pytest.approx(round(steps)) and 1 <= round(steps) <= 1 + n_null
    results = results[results["p_value"].notna()]
    assert len(results) > 20
    for prefix in ("", "contrast_"):
        adjusted = stats.false_discovery_control(results[f"{prefix}p_value"])
        assert results[f"{prefix}fdr"].to_numpy() == pytest.approx(adjusted)


def test_order_batches_and_storage_do_not_matter(lively: Path, cells: ad.AnnData, tmp_path: Path) -> None:
    asked = {"genes": ["tiny1", "tiny30"], "max_cells": 12, "n_null": 5}
    reference = run(cells.copy(), lively, **asked)
    assert reference["n_cells"].max() <= 12 and reference["n_samples"].eq(4).all() and len(reference) == 6
    rng = np.random.default_rng(3)
    shuffled = cells[rng.permutation(60)][:, rng.permutation(65)].copy()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    for other, more in ((shuffled, {}), (cells.copy(), {"batch_tokens": 64}), (backed, {})):
        with sf.settings.override(**more):
            pd.testing.assert_frame_equal(run(other, lively, **asked), reference, rtol=1e-3, atol=1e-4)
    backed.file.close()


def test_the_profile_code_alone(tmp_path: Path) -> None:
    """A classifier of the code is asked by the code: with another pooling its head would not even fit."""
    adata, other = (sf.datasets.fly_brain_simulated(n, seed=n) for n in (200, 60))
    sf.tl.embed(adata, model="fly-tiny", pooling="code")
    sf.tl.annotate(adata, baselines="none", save=tmp_path / "code", **BY_TYPE)
    results = run(other, tmp_path / "code", genes=["VGlut"])
    assert results.loc[("VGlut", "TmY14"), "change"] < -0.1
    assert other.uns["annotation_genes"]["params"]["pooling"] == "code"


def test_finds_the_genes_that_a_class_was_planted_with(tmp_path: Path, many_cells: ad.AnnData) -> None:
    """A model pretrained on such cells: the genes that a type doubles hold its label up, those of others do not."""
    adata, other = sf.datasets.fly_brain_simulated(300), sf.datasets.fly_brain_simulated(150, seed=1)
    sf.tl.annotate(adata, model="fly-tiny", baselines="none", save=tmp_path / "types", **BY_TYPE)
    sf.tl.annotate(other, classifier=tmp_path / "types")
    results = run(other, tmp_path / "types", genes=["VGlut", "Gs2", "Yeti"], label_key=None, n_null=20, max_cells=20)
    vesicles, glia = results.loc[("VGlut", "TmY14")], results.loc[("Gs2", "Astrocyte-like")]
    for row in (vesicles, glia):  # glutamate is TmY14's transmitter, and glia make glutamine of it
        assert row["ci_high"] < 0 and row["effect"] < -1
        assert row["probability_change"] < 0 and row["contrast"] < 0
    assert results.loc["Yeti", "change"].abs().max() < min(-vesicles["change"], -glia["change"])


def test_says_what_is_left_out(lively: Path, cells: ad.AnnData) -> None:
    counts = cells.X.toarray()
    counts[:, cells.var_names.get_loc("tiny8")] = 0
    counts[(cells.obs["cell_type"] == "glia").to_numpy()] = 0
    cells.X = sp.csr_matrix(counts)
    cells.obs["told"] = cells.obs["cell_type"].astype(str)
    cells.obs.iloc[[1, 4, 7], cells.obs.columns.get_loc("told")] = ["wing", "Unknown", None]
    cells = cells[:, cells.var_names != "tiny10"].copy()
    asked = ["tiny8", "nonsense", "stranger1", "tiny9", "tiny10"]
    results = run(cells, lively, genes=asked, label_key="told")
    found = cells.uns["annotation_genes"]
    assert set(results.index) == {("tiny9", "T4/T5"), ("tiny9", "neuron")}
    assert found["groups"].set_index("group")["n_cells"].to_dict() == {"T4/T5": 20, "neuron": 17}
    assert set(found["absent"]) == {"nonsense", "stranger1", "tiny8", "tiny10"}
    skipped = set(found["skipped"].itertuples(index=False, name=None))
    assert ("stranger1", "all", "not in the model's vocabulary") in skipped
    assert ("tiny8", "neuron", "not expressed in the drawn cells") in skipped
    assert ("tiny10", "neuron", "not measured (not in var_names)") in skipped
    assert ("all", "wing", "not a class of the classifier") in skipped
    assert ("all", "glia", "no cells with counts in the model's genes") in skipped
    raised = run(cells, lively, genes=["tiny8", "tiny10"], kind="overexpress", label_key="told")
    assert raised["n_cells"].to_dict() == {("tiny8", "T4/T5"): 20, ("tiny8", "neuron"): 17}
    with pytest.raises(ValueError, match="nothing to overexpress: 'tiny10' is not measured"):
        run(cells, lively, genes=["tiny10"], kind="overexpress", label_key="told")


def test_one_class_alone(lively: Path, cells: ad.AnnData) -> None:
    """It is asked as it is among others, and has a runner-up all the same."""
    asked = {"genes": ["tiny3"], "n_null": 5}
    among = run(cells, lively, **asked).loc[[("tiny3", "glia")]].drop(columns=["fdr", "contrast_fdr"])
    alone = run(cells[cells.obs["cell_type"] == "glia"].copy(), lively, **asked)
    pd.testing.assert_frame_equal(alone.drop(columns=["fdr", "contrast_fdr"]), among, rtol=1e-3, atol=1e-4)


def test_a_cell_of_one_gene_does_not_count(lively: Path, cells: ad.AnnData) -> None:
    counts = cells.X.toarray()
    counts[0] = np.where(cells.var_names == "tiny30", 5, 0)
    cells.X = sp.csr_matrix(counts)
    label = cells.obs["cell_type"].iloc[0]
    found, without = (run(each, lively, genes=["tiny30"]).loc[("tiny30", label)] for each in (cells, cells[1:].copy()))
    assert found["n_cells"] == without["n_cells"] and found["change"] == pytest.approx(without["change"], rel=1e-3)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"kind": "boost"}, ValueError, "kind is 'boost'; expected 'delete' or 'overexpress'"),
        ({"n_null": -1}, ValueError, "n_null is -1"),
        ({"max_cells": 0}, ValueError, "max_cells is 0; expected 1 or more"),
        ({"contrast": "wing"}, ValueError, "contrast is 'wing'; expected a class of the classifier: 'T4/T5', 'glia'"),
        ({"genes": []}, ValueError, "genes is empty"),
        ({"genes": 3}, TypeError, "genes is a int"),
        ({"genes": ["nonsense"]}, ValueError, "None of the 1 gene.*'nonsense'"),
        ({"label_key": "batch"}, ValueError, "holds 's0', 's1'.*none of them a class.*knows 'T4/T5'"),
        ({"label_key": None}, KeyError, "no 'annotation_best' in adata.obs. Run sf.tl.annotate"),
        ({"label_key": "celltype"}, KeyError, "cell_type"),
        ({"label_key": "bare"}, ValueError, "labels none of the 60 cells"),
        ({"sample_key": "batches"}, KeyError, "batch"),
        ({"layer": "raw"}, KeyError, "raw"),
    ],
)
def test_bad_input_changes_nothing(lively: Path, cells: ad.AnnData, more: dict, error: type, message: str) -> None:
    cells.obs["bare"] = "Unknown"
    before = set(cells.uns)
    with pytest.raises(error, match=message):
        run(cells, lively, **({"genes": ["tiny1"]} | more))
    assert set(cells.uns) == before


def test_folders_of_something_else(lively_model: Path, cells: ad.AnnData, many_cells: ad.AnnData, tmp_path) -> None:
    with pytest.raises(ModelFolderError, match="a model without a classifier"):
        run(cells, lively_model)
    sf.tl.age_clock(many_cells, model=lively_model, baselines="none", save=tmp_path / "clock", **SAMPLES)
    with pytest.raises(ModelFolderError, match="without a classifier"):
        run(cells, tmp_path / "clock")
    with pytest.raises(ModelFolderError):
        run(cells, tmp_path / "nowhere")


def test_nothing_to_edit(lively: Path, cells: ad.AnnData) -> None:
    with pytest.raises(ValueError, match="expressed in 10 cells or more of a class; 9 cells were drawn"):
        run(cells[:9].copy(), lively)
    cells.X = cells.X @ sp.diags_array(np.where(cells.var_names == "tiny8", 0, 1).astype(np.float32), format="csr")
    with pytest.raises(ValueError, match="None of the 60 drawn cells expresses 'tiny8'"):
        run(cells, lively, genes=["tiny8"])
    cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
    with pytest.raises(ValueError, match="counts"):
        run(cells, lively)


def test_survives_the_disk_and_says_what_ran(lively: Path, lively_model: Path, cells: ad.AnnData, tmp_path) -> None:
    run(cells, lively, genes=["tiny1", "nonsense"], n_null=3)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    back, here = ad.read_h5ad(tmp_path / "cells.h5ad").uns["annotation_genes"], cells.uns["annotation_genes"]
    for name in ("results", "groups", "skipped"):
        pd.testing.assert_frame_equal(back[name], here[name], check_dtype=False)
    assert list(back["absent"]) == ["nonsense"]
    params, model = here["params"], sf.models.load(lively_model)
    assert set(params) == set(back["params"])
    assert (params["model"], params["model_sha256"]) == (model.name, model.sha256)
    assert params["classifier_sha256"] == sf.models.load(lively).sha256
