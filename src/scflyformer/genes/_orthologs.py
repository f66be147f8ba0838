"""Human orthologues of fly genes, from FlyBase's release server, a file or a table."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scflyformer.genes._files import FLYBASE_RELEASE, fetch_flybase, opened

NONE, UNKNOWN = "", "-"
"""The symbol where no human gene is listed; the same of a gene of a set in which others have one."""
_URL = "https://s3ftp.flybase.org/releases/{release}/precomputed_files/orthologs/{file}"
_NO_NAME = ("", "-", "NA")


class Layout(NamedTuple):
    """Names of the columns of a table of orthologues."""

    fly: str
    human: str
    score: str
    fly_symbol: str | None = None


LAYOUTS = (
    Layout("fly", "human", "score"),
    Layout("Dmel_gene_ID", "Human_gene_symbol", "DIOPT_score", "Dmel_gene_symbol"),  # FlyBase
    Layout("ensembl", "human_symbol", "support_n", "symbol"),  # babelgene, from HCOP
)
_EXPECTED = (
    "the columns fly, human and score, FlyBase's dmel_human_orthologs_disease_fb_YYYY_MM.tsv(.gz), or babelgene's table"
)


@dataclass(frozen=True, eq=False)
class Orthologs:
    """The best human orthologues of fly genes."""

    best: dict[str, tuple[str, float]]  # of a fly gene the human symbols of the highest score, joined by |, and it
    aliases: dict[str, str]  # fly symbol to the name in `best`, symbols of one gene only

    def of(self, genes: Iterable[str]) -> pd.DataFrame:
        """Return `human_symbol` and `human_score` of each gene, or set of genes joined by ``+``.

        Of a set the symbols are joined by ``+`` too, ``-`` where a gene has none, and the score is the lowest, NaN
        where a gene has none.
        """
        rows = [self._row(str(name)) for name in genes]
        symbols, scores = zip(*rows, strict=True) if rows else ((), ())
        return pd.DataFrame({"human_symbol": np.array(symbols, dtype=object), "human_score": np.array(scores, float)})

    def _row(self, name: str) -> tuple[str, float]:
        if (alone := self._found(name)) is not None:
            return alone
        found = [self._found(part) for part in name.split("+")]
        if not any(found):
            return NONE, np.nan
        symbols = "+".join(UNKNOWN if one is None else one[0] for one in found)
        return symbols, float(np.min([np.nan if one is None else one[1] for one in found]))

    def _found(self, name: str) -> tuple[str, float] | None:
        return self.best.get(name) or self.best.get(self.aliases.get(name, ""))


def read_orthologs(source: str | os.PathLike[str] | pd.DataFrame) -> Orthologs:
    """Read a table of orthologues; ``"human"`` fetches that of FlyBase once and keeps it in the cache folder."""
    if isinstance(source, pd.DataFrame):
        return _best(source.astype(object), "The table of orthologues")
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"orthologs is a {type(source).__name__}; expected 'human', a path or a DataFrame.")
    path = fetch_orthologs() if source == "human" else Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"No table of orthologues at {path}. Pass 'human', or a DataFrame or file with {_EXPECTED}."
        )
    try:
        table = _read(path)
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a readable text table ({error}); download it again.") from error
    return _best(table, str(path))


def fetch_orthologs(release: str = FLYBASE_RELEASE) -> Path:
    """Return where FlyBase's file of human orthologues lies; fetched if it is not in the cache."""
    file = f"dmel_human_orthologs_disease_{release.lower().replace('fb', 'fb_', 1)}.tsv.gz"
    return fetch_flybase(_URL.format(release=release, file=file), argument="orthologs")


def _read(path: Path) -> pd.DataFrame:
    """Return the rows under the first line that is no comment, or is the commented heading of FlyBase."""
    with opened(path) as lines:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        for row in rows:
            heading = [name.strip().lstrip("#").strip() for name in row]
            if _layout(heading) or (any(row) and not row[0].startswith("#")):
                width = len(heading)
                kept = [cells for cells in rows if any(cells) and not cells[0].startswith("#")]
                return pd.DataFrame([(cells + [""] * width)[:width] for cells in kept], columns=heading, dtype=object)
    return pd.DataFrame()


def _layout(columns: list[str]) -> Layout | None:
    return next((layout for layout in LAYOUTS if {layout.fly, layout.human, layout.score} <= set(columns)), None)


def _best(table: pd.DataFrame, what: str) -> Orthologs:
    """Return the human genes of the highest score of each fly gene; an error where the table cannot be read so."""
    layout = _layout(list(table))
    if layout is None:
        raise ValueError(f"{what} has the columns {list(table)[:8]}; expected {_EXPECTED}.")
    named = table[layout.fly].notna() & table[layout.human].notna()
    rows = pd.DataFrame({"fly": table[layout.fly], "human": table[layout.human], "score": table[layout.score]})[named]
    rows[["fly", "human"]] = rows[["fly", "human"]].astype(str).apply(lambda names: names.str.strip())
    rows = rows[~rows["fly"].isin(_NO_NAME) & ~rows["human"].isin(_NO_NAME)]
    scores = pd.to_numeric(rows["score"], errors="coerce").astype(float)
    if not np.isfinite(scores).all():
        wrong = rows[~np.isfinite(scores)].iloc[0]
        raise ValueError(
            f"{what}: the score of {wrong['fly']} and {wrong['human']} is {wrong['score']!r}; expected a number in "
            f"each row of {layout.score!r}, the higher the better."
        )
    if rows.empty:
        raise ValueError(f"{what} lists no pair of a fly and a human gene.")
    rows["score"] = scores
    top = rows[rows["score"] == rows.groupby("fly")["score"].transform("max")].drop_duplicates()
    by_gene = top.sort_values("human").groupby("fly")
    joined, highest = by_gene["human"].agg("|".join), by_gene["score"].first()
    best = dict(zip(joined.index, zip(joined, highest, strict=True), strict=True))
    return Orthologs(best, _aliases(table[named], layout))


def _aliases(table: pd.DataFrame, layout: Layout) -> dict[str, str]:
    """Return the gene of each fly symbol that stands for one alone."""
    if layout.fly_symbol not in table:
        return {}
    pairs = table[[layout.fly_symbol, layout.fly]].dropna().astype(str).drop_duplicates()
    pairs = pairs[~pairs[layout.fly_symbol].duplicated(keep=False)]
    return dict(pairs.itertuples(index=False, name=None))
