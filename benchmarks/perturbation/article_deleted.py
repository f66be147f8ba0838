"""What deleting the article's genes does to cells, beside matched genes, and how it goes with expression over ages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import scflyformer as sf
from scflyformer.perturbation._shift import sample_means
from scflyformer.stats._intervals import t_interval

from .article import GENES, NUCLEI, OLD, YOUNG
from .lines import line, verdict

if TYPE_CHECKING:
    import anndata as ad

    from scflyformer.models import Model

POOLED = {"cell": "cell token and profile code", "code": "profile code alone"}
BEYOND = 0.95
"""Share of matched genes that a gene must move cells further than, to stand out."""


def deleted(
    cells: ad.AnnData, start: int, model: Model, pooling: Literal["cell", "code"], *, n_null: int, max_cells: int
) -> dict[str, Any]:
    """Delete the genes in cells of age ``start``; return the net shift of each, towards `YOUNG` less towards `OLD`.

    ``rows``, one a gene: ``gene``, ``n_cells``, ``n_samples``, ``shift``, ``ci_low``, ``ci_high`` (over libraries; over
    cells where there is one), ``null_mean``, ``effect``, ``n_null``, and ``beyond``, the share of matched genes that
    move cells less far. ``spearman``: of ``n_matched`` matched genes' net shifts and log2 fold changes, old over young.
    ``auroc``: how well held-out cells of age ``start`` and `YOUNG` are told apart.
    """
    sf.tl.perturb(
        cells, genes=list(GENES), state_key="age", start=start, goal=YOUNG, alt=None if start == OLD else OLD,
        sample_key="batch", model=model.path, pooling=pooling, n_null=n_null, max_cells=max_cells,
    )  # fmt: skip
    away = "shift_start" if start == OLD else f"shift_{OLD}"
    by_cell, null = (sf.get.perturb_df(cells, table=table) for table in ("cells", "null"))
    null["net"] = null["shift"] - null[away]
    rows = []
    for gene, of_gene in by_cell.groupby("gene", sort=False):
        net = (of_gene["shift"] - of_gene[away]).to_numpy(dtype=float)
        means = sample_means(net, of_gene["sample"].to_numpy())
        low, high = t_interval(means if len(means) > 1 else net)
        beside = null.loc[null["gene"] == gene, "net"].to_numpy(dtype=float)
        row = {"gene": gene, "n_cells": len(net), "n_samples": len(means), "shift": means.mean()}
        row |= {"ci_low": low, "ci_high": high, "null_mean": beside.mean(), "n_null": len(beside)}
        row |= {"effect": (means.mean() - beside.mean()) / beside.std(ddof=1), "beyond": (beside < means.mean()).mean()}
        rows.append({name: value if isinstance(value, str | int) else float(value) for name, value in row.items()})
    matched = null.drop_duplicates("null_gene")
    change = cells.var.set_index("symbol")["log_fc"].reindex(matched["null_gene"]).to_numpy()
    known = np.isfinite(change)
    found = {"rows": rows, "n_matched": int(known.sum())}
    found["spearman"] = float(spearmanr(matched["net"].to_numpy()[known], change[known]).statistic)
    found["auroc"] = float(sf.get.perturb_df(cells, table="separability")["auroc"].iloc[0])
    return found


def article_lines(found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return expression over ages and net shifts beside matched genes, and what they say of each gene."""
    lines, said = [], []
    ages = {each["label"]: pd.DataFrame(each["ages"]) for each in found if "ages" in each}
    for label, table in ages.items():
        for row in table.itertuples():
            known = f"in {row.share:.0%} of {row.nuclei:,} nuclei" if np.isfinite(row.mean) else "not listed: unknown"
            case = f"{label}, mean of a cluster"
            lines.append(line(case, f"{row.gene} at {row.age} days, counts per million", row.mean, note=known))
    for each in found:
        if "rows" not in each:
            continue
        cells = (
            f"DRAWN at {OLD} days ({each['read']}, draw {each['draw']})"
            if each["start"] == OLD
            else f"real nuclei, {NUCLEI} days"
        )
        case = f"{each['label']}, {cells}, {POOLED[each['pooling']]}"
        for row in each["rows"]:
            means = ages[each["label"]].query("gene == @row['gene']").set_index("age")["mean"]
            change = float(np.log2(means[OLD] / means[YOUNG]))
            beside = f"effect {row['effect']:+.2f}, further than {row['beyond']:.0%} of {row['n_null']} matched genes"
            note = f"{beside} (mean {row['null_mean']:+.2g}); {row['n_cells']} cells, {row['n_samples']} sample(s)"
            lines.append(line(case, f"net shift of {row['gene']}", row["shift"], row["ci_low"], row["ci_high"], note))
            same = (change > 0) == (row["effect"] > 0)
            agrees = "is unknown" if np.isnan(change) else "agrees" if same else "disagrees"
            said.append(
                f"{case}: {row['gene']} {beside}: {verdict(row['beyond'] >= BEYOND)}; {YOUNG} to {OLD} days "
                f"log2 {change:+.2f}, which {agrees}"
            )
        note = f"{each['n_matched']} matched genes known at {YOUNG} and {OLD} days"
        lines.append(line(case, "Spearman of net shift and log2 change with age", each["spearman"], note=note))
        lines.append(line(case, f"AUROC of these cells and those drawn at {YOUNG} days", each["auroc"]))
    said.append("One cluster an age is one sample: descriptive, no test.")
    return lines, said
