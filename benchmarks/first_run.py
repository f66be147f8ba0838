"""One real run, end to end, on held-out fly libraries: pretrain, annotate, date, perturb; prints its table.

``python benchmarks/first_run.py`` pretrains a small model on the training libraries (about 25 minutes on two cores) and
judges it; ``--model fly-tiny`` judges the model in the wheel instead. Nothing of the evaluation libraries is seen in
training: fca_head FCA4 and FCA13, and davie's strain DGRP-551.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from pretrain_fly import EXCLUDE, add_data_argument, pretrain
from sklearn.metrics import accuracy_score, f1_score

import scflyformer as sf

HEAD_TEST = EXCLUDE["batch"][:2]
PERTURBED = ["fz2", "Drak", "Hnf4", "Imp", "CG10011", "noe", "Hsp83", "RpL41"]


def annotation(folder: Path, model: str) -> pd.DataFrame:
    """Label the held-out libraries of fca_head from the others; the baselines learn from the same cells."""
    head = ad.read_h5ad(folder / "fly" / "fca_head.h5ad")
    test = head.obs["batch"].isin(HEAD_TEST).to_numpy()
    reference, query = head[~test].copy(), head[test].copy()
    sf.tl.annotate(query, reference=reference, label_key="cell_type", sample_key="batch", model=model)
    truth = query.obs["cell_type"].astype(str)
    rows = {"embedding": query.obs["annotation_best"].astype(str)}
    rows["expression"] = _expression_labels(reference, query)
    rows["majority"] = pd.Series(reference.obs["cell_type"].mode()[0], index=query.obs_names)
    scores = {
        name: {"accuracy": accuracy_score(truth, labels), "macro_f1": f1_score(truth, labels, average="macro")}
        for name, labels in rows.items()
    }
    inside = query.uns["annotation"]["metrics"]
    print("\nWithin the reference, whole libraries held out:\n", inside.to_string(index=False), sep="")
    return pd.DataFrame(scores).T.rename_axis("features").reset_index()


def _expression_labels(reference: ad.AnnData, query: ad.AnnData) -> np.ndarray:
    """Return what logistic regression on log-normalised expression says, tuned as the embedding's is."""
    from scflyformer import _adata
    from scflyformer.stats._linear import standardised
    from scflyformer.stats._logistic import cross_logistic, fit_logistic
    from scflyformer.tl import _features

    (x, _), (new, _) = _adata.expression(reference), _adata.expression(query)
    classes, codes = np.unique(reference.obs["cell_type"].astype(str), return_inverse=True)
    names, samples = reference.obs_names.to_numpy(), _features.sample_names(reference, "batch")
    folds = _features.folds(names, samples, labels=codes, n_splits=5, seed=0)
    penalty = cross_logistic(x, codes, folds, n_classes=len(classes)).penalty
    head = fit_logistic(x, codes, n_classes=len(classes), penalty=penalty, scaler=standardised)
    return classes[head(new).argmax(axis=1)]


def clock(folder: Path, model: str) -> tuple[pd.DataFrame, ad.AnnData]:
    """Date davie's cells by library within each strain; DGRP-551 was never seen by the model."""
    davie = ad.read_h5ad(folder / "fly" / "davie_brain_aging.h5ad")
    sf.tl.embed(davie, model=model)
    sf.tl.age_clock(davie, age_key="age", groupby="genotype", sample_key="batch", model=model)
    return sf.get.clock_df(davie), davie


def perturbation(davie: ad.AnnData, model: str) -> pd.DataFrame:
    """Delete genes in old Kenyon cells of the unseen strain."""
    cells = davie[(davie.obs["genotype"] == "DGRP-551") & davie.obs["cell_type"].isin(["G-KC", "A.B-KC"])].copy()
    sf.tl.perturb(
        cells,
        genes=PERTURBED,
        state_key="age",
        start=[30, 50],
        goal=[0, 1, 3],
        sample_key="batch",
        model=model,
        max_cells=100,
        n_null=50,
    )
    return sf.get.perturb_df(cells)


def main() -> None:
    """Run all steps and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--model", help="judge this model instead of pretraining one")
    parser.add_argument("--epochs", type=float, default=0.5, help="passes over the cells (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="keep the pretrained model here")
    args = parser.parse_args()
    sc.settings.verbosity = 2
    pd.set_option("display.width", 200, "display.max_columns", 30, "display.precision", 3)
    clocked = time.perf_counter()

    def done(step: str) -> None:
        nonlocal clocked
        print(f"[{step}: {time.perf_counter() - clocked:.0f} s]", flush=True)
        clocked = time.perf_counter()

    with tempfile.TemporaryDirectory() as scratch:
        model = args.model
        if model is None:
            model = args.out or Path(scratch) / "first-run"
            pretrain(args.data, model, "fly-tiny", epochs=args.epochs)
            done("pretraining")
        held = sf.models.load(model).metrics["held_out"]
        print("\nHeld-out masked genes, nats:", {k: round(held[k], 3) for k in ("mlm", "unigram_by_source", "unigram")})
        print("\nfca_head, libraries FCA4 and FCA13 labelled from the others:")
        print(annotation(args.data, model).to_string(index=False))
        done("annotation")
        table, davie = clock(args.data, model)
        print("\ndavie, age by held-out library (target log2(days + 1)):")
        print(table.to_string(index=False))
        done("clock")
        print("\ndavie DGRP-551 Kenyon cells of 30 and 50 days, genes deleted, towards 0 to 3 days:")
        print(perturbation(davie, model).to_string(index=False))
        done("perturbation")


if __name__ == "__main__":
    main()
