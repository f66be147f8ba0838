"""What the parts on real experiments found: lines of a table, and sentences, those with PASS or FAIL first.

What passes was laid down before the figures were seen. A knock-down passes where the share of changed genes that are
predicted in the measured direction, averaged over sets of cells, is above one half and above that of null genes with
p <= 0.05. A network passes where the AUROC of targets over matched genes, averaged over sets of whole-transcriptome
cells for each factor, is above 0.5 by a t interval over factors, and above the best of the baselines by a t interval of
the differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.stats._intervals import t_interval

from .knock_down import PREDICTIONS, upper_p
from .regulators import BASELINES, JUDGED, NETWORKS, SCORES

if TYPE_CHECKING:
    from .lines import Found, Lines

WORDS = {
    "sign": "changed genes in the measured direction", "sure": "Spearman, changed genes", "all": "Spearman, all genes",
}  # fmt: skip
ALL_SETS = "mean over sets"


def _line(case: str, figure: str, value: float, bounds: tuple[float, float], note: str) -> dict[str, Any]:
    low, high = bounds
    return {"case": case, "figure": figure, "value": value, "low": low, "high": high, "note": note}


def _word(passes: bool) -> str:
    return "PASS" if passes else "FAIL"


def knock_down_lines(found: Found) -> Lines:
    """Return agreements beside those of null genes, by set and over sets, and what passes."""
    lines, judged, said = [], [], []
    for each in found:
        gene, sets = each["gene"], each["sets"]
        for name, told in sets.items():
            low, middle, high = told["null_detection"]
            said.append(
                f"{each['case']}, {name}: {told['n_cells']} cells, {told['n_sure']} of {told['n_genes']} genes "
                f"changed ({told['down']:.0%} down); {gene} in {told['detection']:.1%} of cells, "
                f"{each['n_null']} null genes in {middle:.1%} ({low:.1%} to {high:.1%})"
            )
        p_values = {}
        for prediction in PREDICTIONS:
            for key, words in WORDS.items():
                table = np.array([each["scores"][prediction][name][key] for name in sets])
                rows = dict(zip(sets, table, strict=True)) | ({ALL_SETS: table.mean(0)} if len(sets) > 1 else {})
                for name, values in rows.items():
                    p = upper_p(values[0], values[1:])
                    bounds = np.quantile(values[1:], [0.025, 0.975])
                    note = f"interval: {each['n_null']} null genes, median {np.median(values[1:]):.3f}; p = {p:.3g}"
                    lines.append(_line(f"{each['case']}, {name}", f"{prediction}: {words}", values[0], bounds, note))
                p_values[prediction, key] = (values[0], np.median(values[1:]), p)
        value, middle, p = p_values["model", "sign"]
        beside = "; ".join(
            f"{prediction} {p_values[prediction, 'sign'][0]:.1%}, p = {p_values[prediction, 'sign'][2]:.3g}"
            for prediction in PREDICTIONS[1:]
        )
        what = (
            f"{each['case']} ({gene} RNA {each['fold']:+.2f} log2 in the knock-down): {value:.1%} of changed genes "
            f"in the measured direction, null genes {middle:.1%}, p = {p:.3g} ({beside}); Spearman over changed genes "
            f"{p_values['model', 'sure'][0]:+.3f}, p = {p_values['model', 'sure'][2]:.3g}; by chance "
            f"{each['by_chance']:.0%} of the changed genes"
        )
        if each["judged"]:
            judged.append(f"{_word(p <= 0.05 and value > 0.5)} knock-down, {what}")
        else:
            said.insert(0, f"not judged: {what}")
    return lines, judged + said


def regulators_lines(found: Found) -> Lines:
    """Return means over factors, with t intervals, by set and over sets, and whether each network passes."""
    tables = [pd.DataFrame(each["table"]).assign(case=each["case"], whole=each["whole"]) for each in found]
    together = pd.concat(tables, ignore_index=True)
    numbers = [f"{score}{end}" for score in SCORES for end in ("", ", all")]
    lines, judged, said = [], [], []
    for network in NETWORKS:
        of_network = together[together["network"] == network]
        whole = of_network[of_network["whole"]]
        means = whole.groupby("factor")[[*numbers, "n_targets", "n_cells"]].mean()
        n_sets = whole["case"].nunique()
        cases = {f"{network}, {n_sets} sets of whole transcriptomes": means}
        cases |= {f"{network}, {case}": rows for case, rows in of_network.groupby("case", sort=False)}
        for place, (case, rows) in enumerate(cases.items()):
            if len(rows) < 3:
                continue
            note = f"{len(rows)} factors; medians: {rows['n_targets'].median():.0f} targets, "
            note += f"{rows['n_cells'].median():.0f} cells"
            for end, against in (("", "matched genes"), (", all", "all other genes")):
                for score in SCORES:
                    values = rows[f"{score}{end}"].to_numpy(dtype=float)
                    figure = f"AUROC over {against}: {score}"
                    lines.append(_line(case, figure, float(values.mean()), t_interval(values), note))
            for score in SCORES[:2]:
                verdict, sentence = _judge(case, rows, score)
                if place == 0 and score == JUDGED:
                    judged.append(f"{verdict} regulators, {sentence}")
                else:
                    said.append(f"{sentence}: {'passes' if verdict == 'PASS' else 'does NOT pass'}")
    return lines, judged + said


def _judge(case: str, rows: pd.DataFrame, score: str) -> tuple[str, str]:
    """Return the word for a score beside 0.5 and the best baseline, and the sentence."""
    values = rows[score].to_numpy(dtype=float)
    best = max(BASELINES, key=lambda baseline: rows[baseline].mean())
    gap = values - rows[best].to_numpy(dtype=float)
    (own_low, own_high), (low, high) = t_interval(values), t_interval(gap)
    others = ", ".join(f"{baseline} {rows[baseline].mean():.3f}" for baseline in BASELINES)
    sentence = (
        f"{case}: AUROC of targets by {score} {values.mean():.3f} ({own_low:.3f} to {own_high:.3f}) over {len(rows)} "
        f"factors; {others}; above the best by {gap.mean():+.3f} ({low:+.3f} to {high:+.3f})"
    )
    return _word(own_low > 0.5 and low > 0), sentence
