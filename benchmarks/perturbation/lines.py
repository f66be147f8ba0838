"""What the parts of the perturbation benchmark found: lines of a table, and sentences that say what passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .calibration import describe
from .davie import AGE_GENES
from .pasilla import upper_p
from .regulators import NETWORKS, SCORES

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
    "top": "drivers or members among as many largest effects as drivers",
    "fold recall": "log fold change: drivers found at as many calls",
    "fold false": "log fold change: false discoveries at as many calls",
    "fold auroc": "log fold change: AUROC",
    "label drivers": "drivers with p_label up to 0.05",
    "label rest": "genes that are neither with p_label up to 0.05",
}


def planted_lines(found: Found) -> Lines:
    """Return means over seeds, with the range, and what passes."""
    lines, said = [], []
    table = pd.DataFrame(
        [
            {"corpus": each["corpus"], "family": name, "call": call, **scores}
            for each in found
            for name, calls in each["families"].items()
            for call, scores in calls.items()
        ]
    )
    for (corpus, family, call), rows in table.groupby(["corpus", "family", "call"], sort=False):
        case = f"corpus of {corpus}, {family}, {call}"
        note = f"{len(rows)} simulation(s), {rows['n'].mean():.0f} genes tested, {rows['called'].mean():.0f} called"
        for name in WORDS:
            if rows[name].notna().any():
                lines.append(line(case, WORDS[name], rows[name].mean(), rows[name].min(), rows[name].max(), note))
        recall, false = rows["recall"].mean(), rows["false"].mean()
        wrong = "nothing called" if np.isnan(false) else f"false discoveries {false:.2f} (asked: 0.05)"
        said.append(f"{case}: recall {recall:.2f} (asked: 0.8), {wrong}: {verdict(recall >= 0.8 and false <= 0.05)}")
    return lines, said


def calibration_lines(found: Found) -> Lines:
    """Return tests of uniformity, and what passes."""
    lines, said = [], []
    for case in dict.fromkeys(each["case"] for each in found):
        deals = [each["p_values"] for each in found if each["case"] == case]
        for column, one in describe(deals).items():
            note = f"{column} of {one['n']} genes in {len(deals)} deals"
            lines.append(line(case, f"{column}: share up to 0.05", one["share"], one["low"], one["high"], note))
            lines.append(line(case, f"{column}: distance from uniform (KS)", one["ks"], note=f"p = {one['ks_p']:.3g}"))
            passes = one["low"] <= 0.05 and one["ks_p"] >= 0.01
            said.append(
                f"{case}: {column} is up to 0.05 in {one['share']:.1%} of genes ({one['low']:.1%} to "
                f"{one['high']:.1%}), KS p = {one['ks_p']:.3g}: {verdict(passes)}"
            )
    return lines, said


def regulators_lines(found: Found) -> Lines:
    """Return means over factors, with bootstrap intervals, and whether the model is above the baselines."""
    lines, said = [], []
    for each in found:
        table = pd.DataFrame(each["table"])
        for network in NETWORKS:
            rows = table[table["network"] == network]
            if len(rows) < 3:
                continue
            case = f"{each['case']}, {network}"
            draws = np.random.default_rng(0).integers(len(rows), size=(1000, len(rows)))
            note = f"{len(rows)} factors, {rows['n_targets'].median():.0f} targets each at the median"
            for end, against in (("", "matched genes"), (", all", "all other genes")):
                for score in SCORES:
                    values = rows[f"{score}{end}"].to_numpy(dtype=float)
                    bounds = np.quantile(values[draws].mean(1), [0.025, 0.975])
                    lines.append(line(case, f"AUROC over {against}: {score}", values.mean(), *bounds, note=note))
            values = {score: rows[score].to_numpy(dtype=float) for score in SCORES}
            best = max(SCORES[2:], key=lambda score: values[score].mean())
            for score in SCORES[:2]:
                gap = values[score] - values[best]
                low, high = np.quantile(gap[draws].mean(1), [0.025, 0.975])
                own = np.quantile(values[score][draws].mean(1), 0.025)
                passes = own > 0.5 and low > 0
                said.append(
                    f"{case}: {score} {values[score].mean():.3f}, {best} {values[best].mean():.3f}, difference "
                    f"{gap.mean():+.3f} ({low:+.3f} to {high:+.3f}): {verdict(passes)}"
                )
    return lines, said


def pasilla_lines(found: Found) -> Lines:
    """Return agreements beside those of null genes, and what passes."""
    lines, said = [], []
    for each in found:
        note = f"{each['n_cells']} cells, {each['n_sure']} of {each['n_genes']} genes changed ({each['down']:.0%} down)"
        for who, nulls in (("model", "null"), ("co-expression", "co-expression null")):
            for name, words in (
                ("sign", "changed genes in the measured direction"),
                ("sure", "Spearman, changed genes"),
                ("all", "Spearman, all genes"),
            ):
                null = np.array([one[name] for one in each[nulls]], dtype=float)
                value = each[who][name]
                low, high = np.quantile(null, [0.025, 0.975])
                p = upper_p(value, null)
                beside = f"{note}; interval: {len(null)} null genes; p = {p:.3g}"
                lines.append(line(each["case"], f"{who}: {words}", value, low, high, beside))
                if name == "sign":
                    said.append(
                        f"{each['case']}, {who}: {value:.1%} of {each['n_sure']} changed genes in the measured "
                        f"direction, null genes {np.median(null):.1%}, p = {p:.3g}: "
                        f"{verdict(p <= 0.05 and value > 0.5)}"
                    )
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
