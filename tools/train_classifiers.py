"""Train the classifiers that ship: ``fly-head``, ``fly-body``, ``fly-brain`` and ``fly-atlas``.

``python -m tools.train_classifiers fly-head`` learns from the training libraries of a labelled set,
``python -m tools.train_classifiers fly-atlas --drawn drawn`` from those of all sets and from cells drawn from FlyBase's
cluster means (``python -m tools.draw_cells``). All read the profile code of ``fly``. What is written is the readout
without the model: weights, prototypes, labels with their FBbt terms, and a card. ``python -m tools.cell_manifests``
then adds the list of training cells.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import anndata as ad
import numpy as np
import pandas as pd

import scflyformer as sf
from benchmarks.annotation.terms import TERMS
from benchmarks.lib.command import new_parser
from benchmarks.lib.splits import MOST_DRAWN, held_out, some_of_each
from scflyformer.annotation._terms import ClassTerms
from scflyformer.models._save import to_json
from scflyformer.models._shipped import FOLDER
from scflyformer.ontology._match import match_labels
from scflyformer.ontology._roll_up import precision_curve, term_tree
from scflyformer.ontology._terms import fbbt
from scflyformer.stats._families import LOGISTIC
from tools.readouts import write_readout

SETS = {"fly-head": "fca_head", "fly-body": "fca_body", "fly-brain": "davie_brain_aging"}
ABOUT = {
    "fly-head": "nuclei of adult heads (Fly Cell Atlas, 5 days)",
    "fly-body": "nuclei of adult bodies (Fly Cell Atlas, 5 days)",
    "fly-brain": "cells of adult brains of w1118 flies of 0 to 50 days (Davie 2018)",
    "fly-atlas": (
        "cells drawn from FlyBase's cluster means of 13 atlases, from embryo to 70-day-old flies, and the cells of "
        "fly-head, fly-body and fly-brain"
    ),
}
KEY = "X_scflyformer"
ATLAS_PENALTY = 0.01
"""Of ``fly-atlas``: of the penalties 0.001 to 0.1 that which gives the deepest terms at a precision of 0.95 in held-out
atlases, a quarter of whose cells are of types that no other has. Likelihood, which cannot judge those, asks for 0.1."""
EACH, MOST_REAL = ["cell_type", "batch"], 15
"""Cells of a type in a library, for ``fly-atlas``."""


def labelled_cells(name: str, folder: Path) -> ad.AnnData:
    """Return the labelled cells of a set's training libraries."""
    cells = ad.read_h5ad(folder / "fly" / f"{SETS[name]}.h5ad")
    labels = cells.obs["cell_type"].astype(str)
    return cells[~held_out(cells.obs) & ~labels.str.fullmatch(r"\d+").to_numpy()].copy()


def training_cells(name: str, folder: Path) -> ad.AnnData:
    """Return these cells, embedded, with their terms in ``obs["term"]``."""
    cells = labelled_cells(name, folder)
    sf.tl.embed(cells, model="fly", pooling="code", gene_key="FBgn")
    cells.obs["term"] = terms_of(cells.obs["cell_type"].astype(str))
    return cells


def terms_of(labels: pd.Series) -> pd.Series:
    """Return the FBbt term of each label; an error where there is none."""
    matched = {each.label: each.term for each in match_labels(sorted(set(labels)), fbbt(), given=TERMS)}
    absent = [label for label, term in matched.items() if not term]
    if absent:
        raise ValueError(f"no term for {absent}")
    return labels.map(matched)


def atlas_cells(folder: Path, drawn: Path) -> ad.AnnData:
    """Return some cells of each cluster, drawn, and of each type and library, real, with embeddings alone."""
    parts = []
    for file in sorted(drawn.glob("*.h5ad")):
        cells = ad.read_h5ad(file)
        sf.tl.embed(cells, model="fly", pooling="code", gene_key="FBgn")
        cells.obs["term"] = cells.obs["cell_type"].astype(str).str.replace("_", ":", n=1)
        parts.append(some_of_each(cells, ["cluster"], MOST_DRAWN))
    parts += [some_of_each(training_cells(name, folder), EACH, MOST_REAL) for name in SETS]
    obs = pd.concat([part.obs[["term", "batch"]] for part in parts]).astype(str)
    obs.index = [f"cell{number}" for number in range(len(obs))]
    nothing = np.ones((len(obs), 1), dtype=np.float32)  # atlases share no genes, and the embedding is all that is read
    joined = ad.AnnData(nothing, obs=obs, obsm={KEY: np.concatenate([part.obsm[KEY] for part in parts])})
    joined.uns[KEY] = {"params": dict(parts[0].uns[KEY]["params"])}
    joined.obs["cell_type"] = joined.obs["term"].map(fbbt().names)
    return joined


def train(name: str, cells: ad.AnnData, out: Path) -> None:
    """Fit a classifier and write it as a readout."""
    grid = (ATLAS_PENALTY,) if name == "fly-atlas" else LOGISTIC.grid
    penalties = mock.patch("scflyformer.stats._families.LOGISTIC", replace(LOGISTIC, grid=grid))
    with tempfile.TemporaryDirectory() as folder, penalties:
        saved = Path(folder) / name
        sf.tl.annotate(
            cells,
            label_key="cell_type",
            sample_key="batch",
            model="fly",
            baselines="none",
            save=saved,
            n_splits=3 if name == "fly-atlas" else 4,
        )
        content = json.loads((saved / "labels.json").read_text())
        tensors = sf.models.load(saved).tensors("classifier.")
    labels, classes = cells.obs["cell_type"].astype(str).to_numpy(), np.array(content["classes"])
    term = dict(zip(labels, cells.obs["term"].astype(str), strict=True))
    terms = np.array([term[label] for label in classes], dtype=object)
    truth = np.searchsorted(classes, labels)
    assert (classes[truth] == labels).all()
    curve = precision_curve(term_tree(list(terms), fbbt()), cells.obsm["annotation_proba"], truth)
    rolled = ClassTerms(terms, curve)
    content |= {"fbbt": list(rolled.terms), "roll_up_precision": rolled.precision, "fbbt_release": fbbt().release}
    scores = content["metrics"][0]
    lines = [f"# {name}", "", f"Cell types of {ABOUT[name]}, read off the profile code of the model `fly`.", ""]
    lines += [
        f"{len(classes)} classes, {scores['n_cells']:,} cells of {scores['n_samples']} libraries or atlases. Whole "
        f"ones held out: accuracy {scores['accuracy']:.3f}, macro-F1 {scores['macro_f1']:.3f}.",
        "",
        f"Each class has a term of FBbt ({fbbt().release}). `python -m tools.train_classifiers {name}` makes this "
        "folder; `sf.tl.annotate(adata)` uses it.",
        "",
    ]
    write_readout(out / name, "labels.json", to_json(content), tensors, "\n".join(lines))
    print(f"{name}: {scores}\n{dict(zip(np.arange(30, 100, 5), curve[::5].round(3), strict=False))}")


def main() -> None:
    """Read arguments and train."""
    parser = new_parser(__doc__)
    parser.add_argument("names", nargs="+", choices=list(ABOUT), help="which")
    parser.add_argument("--drawn", type=Path, help="with fly-atlas: folder of cells that draw_cells wrote")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where to put the folders (default: in the package)")
    args = parser.parse_args()
    for name in args.names:
        cells = atlas_cells(args.data, args.drawn) if name == "fly-atlas" else training_cells(name, args.data)
        train(name, cells, args.out)


if __name__ == "__main__":
    main()
