"""The classifiers that ship: how often they are right in sealed libraries, and in tissues that none has learnt from.

``python -m benchmarks.annotation.shipped`` labels, from the file alone, the held-out libraries of the labelled sets,
the gut nuclei and the olfactory neurons. It prints which classifier ``classifier="auto"`` takes, how often the flat
label is right and how many cells get one, and for answers in FBbt terms how many are right (the term, or one above it,
is that of the cell's label) and how deep they are.

"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

import scflyformer as sf
from scflyformer.ontology._match import match_labels
from scflyformer.ontology._terms import CELL, fbbt

from ..lib.command import command, markdown_table, new_parser
from ..lib.splits import held_out
from .terms import OTHER, TERMS

if TYPE_CHECKING:
    import argparse

SETS = {"head": "fly/fca_head", "body": "fly/fca_body", "brain": "fly/davie_brain_aging"}
OWN = {"head": "fly-head", "body": "fly-body", "brain": "fly-brain"}


def sealed_cells(folder: Path, file: str) -> ad.AnnData:
    """Return the held-out cells of a set with such, else all."""
    cells = ad.read_h5ad(folder / f"{file}.h5ad")
    sealed = held_out(cells.obs)
    return cells[sealed].copy() if sealed.any() else cells


def read(folder: Path, file: str) -> ad.AnnData:
    """Return the cells to label, with ``obs["term"]``: the held-out ones of a set with such, else all."""
    cells = sealed_cells(folder, file)
    labels = cells.obs["cell_type"].astype(str)
    terms = {each.label: each.term for each in match_labels(sorted(set(labels)), fbbt(), given=TERMS)}
    cells.obs["term"] = labels.map(terms)
    return cells[(cells.obs["term"] != "") & ~labels.str.fullmatch(r"\d+").to_numpy()].copy()


def right(found: pd.Series, truth: pd.Series) -> np.ndarray:
    """Return whether each term found is the true one or above it."""
    pairs = pd.DataFrame({"found": found.astype(str), "truth": truth.astype(str)})
    ancestors = {term: fbbt().ancestors(term) for term in pairs["truth"].unique()}
    return np.array([term in ancestors[true] for term, true in zip(pairs["found"], pairs["truth"], strict=True)])


def row(name: str, cells: ad.AnnData, classifier: str, precision: float) -> list[str]:
    """Label cells and return a line of the table."""
    from sklearn.metrics import f1_score

    sf.tl.annotate(cells, classifier=classifier, precision=precision, gene_key="FBgn")
    found, obs = cells.uns["annotation"], cells.obs
    terms = dict(zip(found["classes"], found["terms"]["term"], strict=True))
    best = obs["annotation_best"].astype(str).map(terms)
    flat = right(best, obs["term"])
    covered = (obs["annotation"] != "Unknown").to_numpy()
    rolled, level = right(obs["annotation_fbbt"], obs["term"]), obs["annotation_level"]
    root = (obs["annotation_fbbt"] == CELL).to_numpy()
    macro = "–"
    if set(obs["cell_type"].astype(str)) <= set(found["classes"]):
        macro = f"{f1_score(obs['cell_type'].astype(str), obs['annotation_best'].astype(str), average='macro'):.3f}"
    return [
        name,
        found["params"]["classifier"],
        f"{cells.n_obs:,}",
        macro,
        f"{covered.mean():.2f}: {flat[covered].mean():.3f}" if covered.any() else "0",
        f"{rolled.mean():.3f}",
        f"{rolled[~root].mean():.3f}" if (~root).any() else "–",
        f"{(level == 1).mean():.2f}",
        f"{root.mean():.2f}",
        f"{level.median():.0f} of {len(terms)}",
    ]


HEAD = (
    "cells", "classifier", "n", "macro-F1", "labelled: right", "terms right", "right below *cell*", "single type",
    "*cell*", "classes under the term, median",
)  # fmt: skip


def celltypist(folder: Path, found: Path) -> str:
    """Return the table of flat labels, every cell labelled, beside those of CellTypist from the same drawn cells."""
    lines = []
    for name, file in OTHER.items():
        cells = read(folder, file)
        table = pd.read_csv(found / f"{name}.csv.gz", index_col=0, dtype={0: str}).loc[cells.obs_names.astype(str)]
        theirs = table.idxmax(axis=1)
        sf.tl.annotate(cells, classifier="fly-atlas", gene_key="FBgn")
        known = cells.uns["annotation"]
        ours = (
            cells.obs["annotation_best"]
            .astype(str)
            .map(dict(zip(known["classes"], known["terms"]["term"], strict=True)))
        )
        for method, best in (("fly-atlas", ours), ("CellTypist", theirs)):
            exact = (best.astype(str).to_numpy() == cells.obs["term"].astype(str).to_numpy()).mean()
            lines.append([name, method, f"{right(best, cells.obs['term']).mean():.3f}", f"{exact:.3f}"])
    return markdown_table(["cells", "method", "best term is the cell's or above it", "is the cell's"], lines)


def choices(folder: Path) -> str:
    """Return the table of what ``classifier="auto"`` takes, by library."""
    lines = []
    for name, file in (SETS | OTHER | {"Baker's brains": "fly/baker_brain"}).items():
        cells = sealed_cells(folder, file)
        by = cells.obs["batch"].astype(str)
        by = by if held_out(cells.obs).any() else pd.Series("all", index=cells.obs_names)
        for library in sorted(by.unique()):
            some = cells[by == library].copy()
            sf.tl.annotate(some, gene_key="FBgn")
            choice = some.uns["annotation"]["choice"].set_index("classifier")["share_known"]
            shares = [f"{choice[each]:.2f}" for each in (*OWN.values(), "fly-atlas")]
            lines.append([name, library, str(some.uns["annotation"]["params"]["classifier"]), *shares])
    return markdown_table(["cells", "library", "taken", *OWN.values(), "fly-atlas"], lines)


def strangers(folder: Path) -> str:
    """Return, for each classifier of a tissue, the AUROC of novelty: cells of other tissues against its own."""
    from sklearn.metrics import roc_auc_score

    sets = {name: sealed_cells(folder, file) for name, file in (SETS | OTHER).items()}
    lines = []
    for own, classifier in OWN.items():
        novelty = {}
        for name, cells in sets.items():
            sf.tl.annotate(cells, classifier=classifier, gene_key="FBgn")
            novelty[name] = cells.obs["annotation_novelty"].fillna(1).to_numpy()
        values = []
        for name in sets:
            if name == own:
                values.append("–")
                continue
            strange = np.repeat([False, True], [len(novelty[own]), len(novelty[name])])
            values.append(f"{roc_auc_score(strange, np.concatenate([novelty[own], novelty[name]])):.3f}")
        lines.append([classifier, *values])
    return markdown_table(["classifier", *sets], lines)


def tables(args: argparse.Namespace) -> str:
    """Return all tables."""
    said = f"`{command()}`: precision asked for {args.precision:g}."
    if args.celltypist:
        return f"{said}\n\n{celltypist(args.data, args.celltypist)}"
    lines = []
    for name, file in (SETS | OTHER).items():
        cells = read(args.data, file)
        for classifier in dict.fromkeys([OWN.get(name, "fly-atlas"), "fly-atlas"]):
            lines.append(row(name, cells, classifier, args.precision))
    return "\n\n".join([said, markdown_table(HEAD, lines), choices(args.data), strangers(args.data)])


def main() -> None:
    """Read arguments, label and print."""
    parser = new_parser(__doc__ or "")
    parser.add_argument("--precision", type=float, default=0.95, help="asked for (default: %(default)s)")
    parser.add_argument("--celltypist", type=Path, help="score what celltypist_drawn.py wrote into this folder instead")
    print(tables(parser.parse_args()))


if __name__ == "__main__":
    main()
