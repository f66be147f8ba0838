"""What the parts of the perturbation benchmark found: lines of a table, and sentences that say what passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .calibration import LEVEL, P_VALUES, READOUTS, describe
from .davie import AGE_GENES

Found = list[dict[str, Any]]
Lines = tuple[list[dict[str, Any]], list[str]]


def line(case: str, figure: str, value: float, low: float = np.nan, high: float = np.nan, note: str = "") -> dict:
    """Return one line of a part's table."""
    return {"case": case, "figure": figure, "value": value, "low": low, "high": high, "note": note}


def verdict(passes: bool) -> str:
    """Return the word for it."""
    return "passes" if passes else "does NOT pass"


WORDS = {
    "recall": "drivers found",
    "recall targets": "members of their modules found",
    "false": "false discoveries (neither) towards the goal",
    "false either way": "false discoveries either way",
    "auroc": "AUROC, drivers over genes that are neither",
    "fold recall": "log fold change: drivers found at as many calls",
    "fold recall targets": "log fold change: members of their modules found at as many calls",
    "fold false": "log fold change: false discoveries at as many calls",
    "fold auroc": "log fold change: AUROC",
}


def planted_lines(found: Found) -> Lines:
    """Return means over simulations, with the range, and what passes."""
    lines, said = [], []
    table = pd.DataFrame(
        [
            {"n_genes": each["n_genes"], "readout": readout, **scores}
            for each in found
            for readout, scores in each["scores"].items()
        ]
    )
    for (n_genes, readout), rows in table.groupby(["n_genes", "readout"], sort=False):
        case = f"{n_genes:,} genes, {readout}"
        note = f"{len(rows)} simulation(s), {rows['n'].mean():.0f} genes tested, {rows['called'].mean():.0f} called"
        for name, words in WORDS.items():
            if rows[name].notna().any():
                lines.append(line(case, words, rows[name].mean(), rows[name].min(), rows[name].max(), note))
        recall, false = rows["recall"].mean(), rows["false"].mean()
        wrong = "nothing called" if np.isnan(false) else f"false discoveries {false:.3f} (asked: 0.05)"
        said.append(f"{case}: recall {recall:.2f} (asked: 0.8), {wrong}: {verdict(recall >= 0.8 and false <= 0.05)}")
    return lines, said


def calibration_lines(found: Found) -> Lines:
    """Return how many scans call a gene, and tests of uniformity, and what passes."""
    lines, said = [], []
    for case in dict.fromkeys(each["case"] for each in found):
        deals = [each["deal"] for each in found if each["case"] == case]
        for readout in (readout for readout in READOUTS if readout in deals[0]):
            one = describe(deals, readout)
            called = one["calling"] / one["n"]
            lines.append(line(case, f"{readout}: scans that call a gene", called, note=f"{one['n']} deals"))
            said.append(
                f"{case}: {readout} calls a gene in {one['calling']} of {one['n']} scans: {verdict(called <= LEVEL)}"
            )
            for name in (name for name in P_VALUES if name in one):
                of_column = one[name]
                words = f"{readout}, {name}"
                share, low, high = (of_column[key] for key in ("share", "low", "high"))
                lines.append(line(case, f"{words}: share up to {LEVEL}", share, low, high))
                lines.append(line(case, f"{words}: uniform, KS p-value", of_column["ks_p"]))
                for stratum, (small, n) in of_column["strata"].items():
                    lines.append(line(case, f"{words}, {stratum}: share up to {LEVEL}", small, note=f"{n} p-values"))
    return lines, said


def davie_lines(found: Found) -> Lines:
    """Return shifts with their null, and which stand out."""
    lines, said = [], []
    for each in found:
        table = pd.DataFrame(each["results"])
        for words, readout in (("shift", "shift"), ("net shift", "net_shift")):
            results = table[table["readout"] == readout]
            for row in results.itertuples():
                note = f"{row.n_cells} cells; {AGE_GENES[row.gene]}; log2 fold change {row.log_fc:+.2f}"
                judged = (
                    f"null {row.null_mean:+.2g}, effect {row.effect:+.2f}, p = {row.p_value:.3g}, fdr {row.fdr:.2g}"
                )
                found_of = f"{words} of {row.gene}"
                lines.append(line(each["case"], found_of, row.shift, row.ci_low, row.ci_high, f"{judged}; {note}"))
            called = results[results["fdr"] <= 0.05]
            genes = ", ".join(
                f"{gene} ({effect:+.1f})" for gene, effect in zip(called["gene"], called["effect"], strict=True)
            )
            said.append(
                f"{each['case']}, {each['old']} old and {each['young']} young cells: {words} beyond null genes' at 5 % "
                f"false discoveries: {genes or 'none'}, of {len(results)} genes"
            )
        agree = np.sign(results["shift"] - results["null_mean"]) == -np.sign(results["log_fc"])
        said.append(
            f"{each['case']}: the log fold change says the same direction as the net shift for {agree.sum()} of "
            f"{len(results)} genes"
        )
        if not results["interpretable"].all():
            said.append(f"{each['case']}: the states are not told apart well enough to interpret shifts")
    return lines, said
