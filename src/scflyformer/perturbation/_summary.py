"""What a perturbation analysis asked, found and cannot show, in a paragraph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer._words import some_names
from scflyformer.perturbation._judge import BOTH, DESCRIPTIVE, NONE, NULL, SCAN, share_linear

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from scflyformer.perturbation._cells import StateGroup

_LEVEL = 0.05
_READOUT = "net_shift"
_DONE = {
    "delete": "Deletion",
    "overexpress": "Overexpression",
    "knockdown": "Knockdown",
    "activate": "Activation",
    "mask": "Masking",
}
_TESTED = {
    SCAN: "against the states dealt anew to whole samples",
    BOTH: "against null genes and against the states dealt anew to whole samples",
    NULL: "against null genes alone, as there are too few samples to deal the states anew",
}


def summary(
    results: pd.DataFrame,
    separability: pd.DataFrame,
    params: Mapping[str, Any],
    *,
    groups: Sequence[StateGroup],
    screened: bool,
) -> str:
    """Return the paragraph: what was asked, what passed in the net shift, what share is linear, what it cannot show."""
    rows = results[results["readout"] == _READOUT]
    n_cells = sum(len(group.cells) for group in groups)
    where = "" if len(groups) == 1 and groups[0].name == "all" else f" in {_count(len(groups), 'group')}"
    asked = (
        f"{_DONE[params['kind']]} of {_count(rows['gene'].nunique(), _what(rows))} in {_count(n_cells, 'cell')} of "
        f"{params['state_key']} {params['start']}, towards {params['goal']}{where}"
        f"{', estimated to first order' if screened else ''}."
    )
    return " ".join([asked, *_passed(rows), *_linear(results), *_limits(rows, separability)])


def _what(rows: pd.DataFrame) -> str:
    """Return what was edited: genes, or sets where one has several genes."""
    return "gene set" if rows["gene_id"].str.contains("+", regex=False).any() else "gene"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _passed(rows: pd.DataFrame) -> list[str]:
    said = []
    for test, words in _TESTED.items():
        tested = rows[rows["test"] == test]
        if not len(tested):
            continue
        called = tested[tested["fdr"] <= _LEVEL].sort_values("effect", ascending=False, key=abs)
        names = f" ({some_names(list(dict.fromkeys(called['gene'])))})" if len(called) else ""
        said.append(f"In net_shift {len(called)} of {len(tested)} pass fdr {_LEVEL}{names}, tested {words}.")
    if (rows["test"] == DESCRIPTIVE).any():
        n = int((rows["test"] == DESCRIPTIVE).sum())
        said.append(f"{n} of {len(rows)} rows are descriptive: their cells come from one sample, so there is no test.")
    if (rows["test"] == NONE).any():
        said.append(f"{int((rows['test'] == NONE).sum())} of {len(rows)} rows have no null genes and no test.")
    return said


def _linear(results: pd.DataFrame) -> list[str]:
    share = share_linear(results)
    if not np.isfinite(share):
        return []
    return [
        f"{share:.0%} of the net shifts is what the linear part of the embedding says by itself (the change of the "
        "gene's own expression, carried to the states); the rest goes through the transformer."
    ]


def _limits(rows: pd.DataFrame, separability: pd.DataFrame) -> list[str]:
    said, tested = [], separability["auroc"].notna()
    blurred = ~separability["interpretable"].astype(bool)
    for which, words in ((blurred & tested, "are hardly told apart"), (blurred & ~tested, "could not be compared")):
        if groups := separability.loc[which, "group"].astype(str).tolist():
            where = "" if groups == ["all"] else f" in {some_names(groups)}"
            said.append(f"The states {words}{where}, so that shifts there mean nothing.")
    return [*said, "A shift is a change of the model's input, not of a fly: it ranks hypotheses and shows no cause."]
