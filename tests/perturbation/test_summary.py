"""The paragraph says what was asked, what passed, what is linear, and what it cannot show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scflyformer.perturbation._judge import BOTH, DESCRIPTIVE, LINEAR, NONE, NULL, SCAN, TRANSFORMER
from scflyformer.perturbation._summary import summary

PARAMS = {"kind": "delete", "state_key": "age", "start": "30", "goal": "5"}
APART = pd.DataFrame({"group": ["all"], "auroc": [0.9], "interpretable": [True]})
LAST = "A shift is a change of the model's input, not of a fly: it ranks hypotheses and shows no cause."


def groups(*names: str) -> list[Any]:
    """Return groups of seven cells each."""
    return [SimpleNamespace(name=name, cells=np.arange(7)) for name in names]


def rows(test: str, fdr: list[float], readout: str = "net_shift", effect: list[float] | None = None) -> pd.DataFrame:
    """Return results of as many genes as there are rates."""
    table = pd.DataFrame({"gene": [f"g{n}" for n in range(len(fdr))], "fdr": fdr, "test": test, "readout": readout})
    return table.assign(effect=range(len(fdr)) if effect is None else effect, shift=1.0, gene_id=table["gene"])


def said(results: pd.DataFrame, separability: pd.DataFrame = APART, **changes: Any) -> str:
    """Return the summary of these results, of one group without a name unless others are given."""
    return summary(
        results, separability, PARAMS | changes.pop("params", {}), groups=changes.pop("of", groups("all")),
        screened=changes.pop("screened", False),
    )  # fmt: skip


def test_a_plain_run_is_told_in_full() -> None:
    text = said(rows(BOTH, [0.01, 0.2, 0.05], effect=[1.0, 9.0, -4.0]))
    assert text == (
        "Deletion of 3 genes in 7 cells of age 30, towards 5. In net_shift 2 of 3 pass fdr 0.05 ('g2' and "
        f"'g0'), tested against null genes and against the states dealt anew to whole samples. {LAST}"
    )


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (SCAN, "0 of 2 pass fdr 0.05, tested against the states dealt anew to whole samples."),
        (NULL, "0 of 2 pass fdr 0.05, tested against null genes alone, as there are too few samples"),
        (DESCRIPTIVE, "2 of 2 rows are descriptive: their cells come from one sample, so there is no test."),
        (NONE, "2 of 2 rows have no null genes and no test."),
    ],
)
def test_what_the_rows_are_tested_by(test: str, words: str) -> None:
    text = said(rows(test, [0.3, np.nan]))
    assert words in text and text.count("tested against") == (test in (SCAN, NULL))
    assert "pass" not in text.replace(words, "")


def test_other_readouts_do_not_count() -> None:
    assert "0 of 1 pass" in said(pd.concat([rows(NULL, [0.9]), rows(NULL, [0.01, 0.01], "shift")]))


@pytest.mark.parametrize(
    ("kind", "word"),
    [("overexpress", "Overexpression"), ("knockdown", "Knockdown"), ("activate", "Activation"), ("mask", "Masking")],
)
def test_edits_groups_and_screens_are_named(kind: str, word: str) -> None:
    text = said(rows(SCAN, [0.9]), params={"kind": kind}, of=groups("glia", "neuron"), screened=True)
    assert text.startswith(f"{word} of 1 gene in 14 cells of age 30, towards 5 in 2 groups, estimated to first order.")


def test_the_share_of_the_linear_part_is_told() -> None:
    parts = [rows(NULL, [0.9]), rows(NULL, [0.9], LINEAR), rows(NULL, [0.9], TRANSFORMER).assign(shift=-0.25)]
    assert " 80% of the net shifts is what the linear part of the embedding says by itself" in said(pd.concat(parts))
    assert "linear part" not in said(parts[0])


def test_states_that_are_hardly_apart_are_told() -> None:
    assert "hardly" not in said(rows(NULL, [0.9]))
    assert "The states are hardly told apart, so that shifts there" in said(
        rows(NULL, [0.9]), APART.assign(interpretable=False)
    )
    two = pd.DataFrame({"group": ["glia", "neuron"], "auroc": [0.5, 0.9], "interpretable": [False, True]})
    assert "hardly told apart in 'glia', so that" in said(rows(NULL, [0.9]), two, of=groups("glia", "neuron"))
    unknown = APART.assign(auroc=float("nan"), interpretable=False)
    assert "The states could not be compared, so that shifts there" in said(rows(NULL, [0.9]), unknown)
