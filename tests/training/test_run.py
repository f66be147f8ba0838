"""The training log as a table: one row a step, measures of training and of held-out cells side by side."""

from __future__ import annotations

import numpy as np

from scflyformer.training._run import log_table


def test_a_step_that_was_logged_twice_is_one_row() -> None:
    log = [
        {"step": 10, "epoch": 0.5, "loss": 3.0, "learning_rate": 1e-4, "grad_norm": 2.0},
        {"step": 10, "epoch": 0.5, "eval_loss": 3.5, "eval_mlm": 2.5, "eval_runtime": 9.0},
        {"step": 20, "epoch": 1.0, "loss": 2.0, "learning_rate": 0.0},
        {"step": 30, "epoch": 1.5, "eval_loss": 2.25, "eval_mlm": 2.0},
    ]
    table = log_table(log)
    assert table.columns.tolist() == ["step", "epoch", "loss", "val_loss", "val_mlm", "learning_rate"]
    assert table["step"].tolist() == [10, 20, 30]
    np.testing.assert_array_equal(table["loss"], [3.0, 2.0, np.nan])
    np.testing.assert_array_equal(table["val_loss"], [3.5, np.nan, 2.25])
