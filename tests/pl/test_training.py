"""The loss curves are those of the model folder's table, complete or still growing."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import scflyformer as sf

STEP = np.arange(1, 11) * 100


@pytest.fixture
def run(tmp_path):
    """Folder of a pretraining of which only the tables are written."""
    table = pd.DataFrame(
        {
            "step": STEP,
            "epoch": STEP / 1000,
            "loss": np.linspace(7, 5, 10),
            "mlm": np.linspace(6, 4.5, 10),
            "profile": np.linspace(1, 0.5, 10),
            "val_loss": [np.nan, np.nan, np.nan, np.nan, 5.9, np.nan, np.nan, np.nan, np.nan, 5.2],
            "val_mlm": [np.nan, np.nan, np.nan, np.nan, 5.2, np.nan, np.nan, np.nan, np.nan, 4.6],
            "val_profile": np.nan,
            "learning_rate": np.linspace(1e-3, 0, 10),
        }
    )
    folder = tmp_path / "my-model"
    folder.mkdir()
    table.to_csv(folder / "training.tsv", sep="\t", index=False)
    (folder / "metrics.json").write_text(json.dumps({"held_out": {"unigram": 5.5}}))
    return folder


def lines(axis) -> dict:
    return {line.get_label(): line.get_xydata() for line in axis.lines}


def test_curves(run):
    axes = sf.pl.training(run, show=False)
    assert [axis.get_ylabel().split()[0] for axis in axes] == ["loss", "masked", "expression"]
    total, genes, profile = map(lines, axes)
    np.testing.assert_allclose(total["training cells"], np.c_[STEP, np.linspace(7, 5, 10)])
    np.testing.assert_allclose(total["held-out cells"], [[500, 5.9], [1000, 5.2]])
    np.testing.assert_allclose(genes["held-out cells"], [[500, 5.2], [1000, 4.6]])
    assert genes["gene frequencies"][:, 1].tolist() == [5.5, 5.5]
    assert list(profile) == ["training cells"]
    assert axes[0].get_title(loc="left") == "my-model"


def test_one_loss_on_an_axis(run):
    _, ax = plt.subplots()
    assert sf.pl.training(str(run), x="epoch", ax=ax) is ax
    np.testing.assert_allclose(lines(ax)["training cells"][-1], [1, 5])
    _, other = plt.subplots()
    sf.pl.training(run / "training.tsv", losses="mlm", ax=other)
    assert "gene frequencies" in lines(other)
    with pytest.raises(ValueError, match="One axis was given for 2 panels"):
        sf.pl.training(run, losses=["mlm", "profile"], ax=ax)


def test_a_loaded_model(run):
    class Loaded:
        path = run

    assert len(sf.pl.training(Loaded(), return_fig=True).axes) == 3


def test_a_run_without_profile_or_metrics(run):
    table = pd.read_csv(run / "training.tsv", sep="\t")[["step", "loss", "mlm"]]
    table.to_csv(run / "training.tsv", sep="\t", index=False)
    (run / "metrics.json").unlink()
    axes = sf.pl.training(run, show=False)
    assert [list(lines(axis)) for axis in axes] == [["training cells"], ["training cells"]]


def test_errors(run, tmp_path):
    with pytest.raises(ValueError, match="x is 'time'"):
        sf.pl.training(run, x="time")
    with pytest.raises(ValueError, match=r"losses is 'accuracy'.*holds \['loss', 'mlm', 'profile'\]"):
        sf.pl.training(run, losses="accuracy")
    with pytest.raises(ValueError, match="expected 'tokens' and one of"):
        sf.pl.training(run, x="tokens")
    (run / "training.tsv").write_text("step\tepoch\tloss\n")
    with pytest.raises(ValueError, match="holds no losses yet"):
        sf.pl.training(run)
    with pytest.raises(FileNotFoundError, match=r"holds no training\.tsv"):
        sf.pl.training(tmp_path)
