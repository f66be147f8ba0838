"""Tables of results: rows are tasks and metrics, columns what is compared, one of them the main one."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import scflyformer as sf
from scflyformer.stats._intervals import gain_interval

from .command import command, markdown_table
from .resamples import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LESS_IS_BETTER = ("nats", "ECE", "MAE")
"""What the names of metrics begin with of which less is better."""


def long_table(results: Sequence[tuple[str, str, dict[str, Any]]], main: str) -> pd.DataFrame:
    """Return one row a (task, metric, column), and what the column ``main`` has over it, paired.

    Results are (row, column, view), where a view is what `described` returns. ``difference`` is the mean over libraries
    of the gain in each, with Student's 95 % interval over three libraries or more, and ``by_library`` the gains, sorted
    by the libraries' names. Where cells were resampled, it is the difference of the values with a bootstrap interval.
    """
    found = {
        (row, metric, column): np.asarray(values, dtype=float)
        for row, column, view in results
        for metric, values in view["metrics"].items()
    }
    records = []
    for row, column, view in results:
        by_library = view["resampled"] == LIBRARIES
        for metric in view["metrics"]:
            mine, best = found[row, metric, column], found.get((row, metric, main))
            record: dict[str, Any] = {"task": row, "metric": metric, "column": column, "value": mine[0]}
            if not by_library:
                record["low"], record["high"] = np.nanquantile(mine[1:], [0.025, 0.975])
            if best is not None and column != main:
                gap = best - mine
                gains = gap[1:][np.isfinite(gap[1:])]
                record["difference"] = gains.mean() if by_library and len(gains) else gap[0]
                ends = gain_interval(gains) if by_library else np.nanquantile(gap[1:], [0.025, 0.975])
                record["difference_low"], record["difference_high"] = ends
                record["by_library"] = ", ".join(f"{gain:+.3f}" for gain in gains) if by_library else ""
            records.append(record | {key: value for key, value in view.items() if key != "metrics"})
    return pd.DataFrame(records)


def _range(row: Any) -> str:
    """Return the interval of a difference, or, where there are too few libraries for one, the gain in each."""
    if np.isnan(row.difference_low):
        return f"each {row.by_library}"
    return f"{row.difference_low:+.3f} to {row.difference_high:+.3f}"


def verdicts(table: pd.DataFrame, main: str) -> list[str]:
    """Return one sentence a (task, metric): what ``main`` is below, what it cannot be told from, what it is above.

    Fewer than three libraries cannot tell.
    """
    lines = []
    compared = table[table["difference"].notna()] if "difference" in table else table[:0]
    for (task, metric), rows in compared.groupby(["task", "metric"], sort=False):
        sign = -1 if metric.startswith(LESS_IS_BETTER) else 1
        sides: dict[str, list[str]] = {"below": [], "not told from": [], "above": []}
        for row in rows.itertuples():
            low, high = sorted((sign * row.difference_low, sign * row.difference_high))
            side = "above" if low > 0 else "below" if high < 0 else "not told from"
            sides[side].append(f"{row.column} ({row.difference:+.3f}, {_range(row)})")
        what = "better than" if sign < 0 else "above"
        worse = "worse than" if sign < 0 else "below"
        words = {"below": worse.upper(), "not told from": "not told from", "above": what}
        told = "; ".join(f"{words[side]} {', '.join(found)}" for side, found in sides.items() if found)
        few = f" ({rows['n_libraries'].iloc[0]} libraries cannot tell)" if rows["difference_low"].isna().any() else ""
        lines.append(f"{task}, {metric}: {main} is {told}{few}")
    return lines


def markdown(table: pd.DataFrame, main: str, *, cells: str = "training cells") -> str:
    """Return values in one wide table, and what ``main`` has over the others in a second."""
    columns = list(dict.fromkeys(table["column"]))

    def difference(row: Any) -> str:
        return "–" if np.isnan(row.difference) else f"{row.difference:+.3f} ({_range(row)})"

    def wide(text: Callable[[Any], str], names: list[str]) -> str:
        lines = []
        for (task, metric), rows in table.groupby(["task", "metric"], sort=False):
            by_name = {row.column: row for row in rows.itertuples()}
            row = rows.iloc[0]
            libraries = "library" if row["n_libraries"] == 1 else "libraries"
            where = f"{row['n_test']:,} cells, {row['n_libraries']} {libraries}"
            found = [text(by_name[name]) if name in by_name else "–" for name in names]
            lines.append([task, metric, where, *found])
        return markdown_table(["task", "metric", "test", *names], lines)

    tables = [wide(lambda row: f"{row.value:.3f}", columns)]
    others = [name for name in columns if name != main]
    if others and "difference" in table:
        tables.append(
            f"{main} less each of the others: the mean over libraries of the gain in each, with a 95 % t interval over "
            "them. Fewer than three libraries give no interval; their gains are listed, sorted by name. Where cells "
            "were resampled, the interval is a paired bootstrap in which cells count as independent:"
        )
        tables.append(wide(difference, others))
    splits = table.drop_duplicates(["task"])[["task", "split", "n_train", "resampled"]]
    lines = [[row.task, row.split, f"{row.n_train:,}", row.resampled] for row in splits.itertuples()]
    return "\n\n".join([*tables, markdown_table(["task", "split", cells, "intervals over"], lines)])


def report(
    results: Sequence[tuple[str, str, dict[str, Any]]],
    main: str,
    title: str,
    out: Path | None,
    *,
    columns: str,
    cells: str = "training cells",
    more: str = "",
) -> None:
    """Print the tables and write them to ``out.md`` and ``out.tsv``.

    ``columns`` says what one column is, such as ``"representation"``; ``cells`` what ``n_train`` of the views counts;
    ``more`` is text for the end.
    """
    import sklearn
    import torch

    table = long_table(results, main)
    versions = {"scflyformer": sf.__version__, "torch": torch.__version__, "scikit-learn": sklearn.__version__}
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = (
        f"# {title}\n\n`{command()}`\n\n{said}, Python {platform.python_version()}\n\n"
        f"{markdown(table, main, cells=cells)}\n\n" + "\n".join(f"- {line}" for line in verdicts(table, main)) + "\n"
    )
    text += f"\n{more}\n" if more else ""
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".md").write_text(text)
        table = table.rename(columns={"column": columns})
        table.to_csv(out.with_suffix(".tsv"), sep="\t", index=False, float_format="%.5g")
