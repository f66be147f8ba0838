"""The loss curves are those of the model folder's table, complete or still growing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scflyformer as sf


@pytest.fixture
def run(tmp_path):
    """Folder of a pretraining of which only the table is written yet."""
    step = np.arange(1, 11) * 100
    table = pd.DataFrame(
        {
            "step": step,
            "tokens": step * 4096,
            "loss": np.linspace(7, 5, 10),
            "mlm": np.linspace(6, 4.5, 10),
            "profile": np.linspace(1, 0.5, 10),
            "val_loss": [np.nan, np.nan, np.nan, np.nan, 5.9, np.nan, np.nan, np.nan, np.nan, 5.2],
            "lr": np.linspace(1e-3, 0, 10),
        }
    )
    folder = tmp_path / "my-model"
    folder.mkdir()
    table.to_csv(folder / "training.tsv", sep="\t", index=False)
    return folder


def lines(axis) -> dict:
    return {line.get_label(): line.get_xydata() for line in axis.lines}


def test_curves(run):
    axis = sf.pl.training(run, show=False)
    drawn = lines(axis)
    assert list(drawn) == ["training", "masked genes", "expression profile", "held out"]
    np.testing.assert_allclose(drawn["training"][:, 0], np.arange(1, 11) * 100 * 4096)
    np.testing.assert_allclose(drawn["training"][:, 1], np.linspace(7, 5, 10))
    np.testing.assert_allclose(drawn["held out"], [[500 * 4096, 5.9], [1000 * 4096, 5.2]])
    assert axis.get_title() == "my-model"


def test_steps_text_path_and_file(run):
    by_step = lines(sf.pl.training(str(run), x="step", show=False))
    assert by_step["training"][-1].tolist() == [1000, 5]
    assert lines(sf.pl.training(run / "training.tsv", show=False)).keys() == by_step.keys()


def test_a_loaded_model(run):
    class Loaded:
        path = run

    figure = sf.pl.training(Loaded(), return_fig=True)
    assert len(figure.axes[0].lines) == 4


def test_a_table_without_held_out_losses(run):
    table = pd.read_csv(run / "training.tsv", sep="\t").drop(columns=["val_loss", "profile"])
    table.to_csv(run / "training.tsv", sep="\t", index=False)
    assert list(lines(sf.pl.training(run, show=False))) == ["training", "masked genes"]


def test_errors(run, tmp_path):
    with pytest.raises(ValueError, match="x is 'time'"):
        sf.pl.training(run, x="time")
    (run / "training.tsv").write_text("step\ttokens\tloss\n")
    with pytest.raises(ValueError, match="holds no losses yet"):
        sf.pl.training(run)
    (run / "training.tsv").write_text("epoch\tacc\n1\t2\n")
    with pytest.raises(ValueError, match="expected 'tokens' and at least one of"):
        sf.pl.training(run)
    with pytest.raises(FileNotFoundError, match=r"holds no training\.tsv"):
        sf.pl.training(tmp_path)
