"""The embeddings of fly models on whole transcriptomes, against what any lab computes from its cells.

``python -m benchmarks.whole_transcriptome --scvi-python scvi-env/bin/python`` asks gut nuclei and olfactory neurons for
their types, halves of the counts of midgut and larval cells for one another, and human cells, which are for the columns
without a fly model, for their types: pancreas by donor, blood by cell. The models were not trained on any of these
cells; the small human ones were pretrained on other sets. Whatever is fitted is fitted on training cells alone. A
second table compares the columns over folds. Results are kept in ``--work`` as soon as they are there.

scvi-tools has an environment of its own: ``pip install scvi-tools``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
from scipy import sparse

import scflyformer as sf

from ..lib.command import markdown_table, new_parser
from ..lib.results import kept, result_file
from .human import GENE_KEY, HUMAN, OTHERS, PANCREAS, PBMC, human_model
from .intervals import REFERENCE, comparison
from .representations import BASELINES, adapted_embedding, embedding, halves
from .scores import N_INNER, dense, folds_of, found_again, macro_f1, probe, same_type, stratified
from .scvi import SCVI, latent_means, python_with_scvi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MODELS, ADAPTED = ("fly",), ", adapted"
N_CANDIDATES = 1000
SEEDS = (0, 1, 2)
GUT, NEURONS = "gut nuclei, 18 types", "olfactory neurons, 24 types"
TYPE_MEASURES = ("same type among 10 neighbours", "probe macro-F1")
HALVES = {
    "midgut, no labels": ("fly_whole/hung_midgut_1923", "S1_rep1"),
    "larval CNS, no labels": ("fly_whole/larval_cns_1406", "sample_brain"),
}
PLATES = ("P5", "P6", "P7")


def typed(
    cells: ad.AnnData, folds: np.ndarray, fit: Callable[[sparse.csr_matrix], Any], *, library: str, cosine: bool,
    among_all: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return neighbours and macro-F1 of each fold, and of all; fold −1 is only learnt from.

    Neighbours are sought among training cells, or ``among_all``. Cells of a type that the training cells lack count as
    misses, like any other.
    """
    counts, labels = sparse.csr_matrix(cells.X), cells.obs["cell_type"].to_numpy(dtype=str)
    libraries = cells.obs[library].to_numpy(dtype=str)
    share, called = np.full(len(labels), np.nan), labels.copy()
    by_fold = {}
    for fold in np.unique(folds[folds >= 0]):
        test = np.flatnonzero(folds == fold)
        train = np.flatnonzero(folds < 0) if (folds < 0).any() else np.flatnonzero(folds != fold)
        features = dense(fit(counts[train])(counts))
        pool = np.arange(len(labels)) if among_all else train
        share[test] = same_type(features - features[train].mean(axis=0), labels, test, pool, cosine=cosine)
        groups = np.full(len(train), "one") if among_all else libraries[train]
        inner = folds_of(labels[train], groups, N_INNER)
        called[test] = probe(features, labels, inner, train)[0][test]
        by_fold[str(int(fold))] = [float(share[test].mean()), macro_f1(labels[test], called[test])]
    asked = folds >= 0
    return {"folds": by_fold, "all": [float(share[asked].mean()), macro_f1(labels[asked], called[asked])]}


def halved(counts: sparse.csr_matrix, held: np.ndarray, fit: Callable[[sparse.csr_matrix], Any]) -> dict[str, Any]:
    """Return recall at 1 and agreement of neighbours for each seed of the halves, cells held out asked.

    Candidates are the held-out cells and, up to 1,000, training cells drawn at random.
    """
    transform = fit(counts[~held])
    scores = []
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        n_others = min(max(N_CANDIDATES - int(held.sum()), 1), int((~held).sum()))
        others = random.choice(np.flatnonzero(~held), n_others, replace=False)
        pool = np.concatenate([np.flatnonzero(held), others])
        a, b = (dense(transform(part)) for part in halves(counts[pool], random))
        scores.append(found_again(a, b, held[pool], ~held[pool]))
    return {"seeds": scores}


def columns_of(models: Iterable[str], scvi_python: str | None = None) -> dict[str, str]:
    """Return the columns, and what each needs: a model, a Python, or nothing but the cells at hand."""
    of_models = {f"{Path(model).name}{way}": model for model in models for way in ("", ADAPTED)}
    return of_models | dict.fromkeys((HUMAN, *BASELINES), "") | ({SCVI: scvi_python} if scvi_python else {})


def is_asked(column: str, name: str) -> bool:
    """Return whether a column is there for a set of cells: models are of the species of the cells."""
    return column in BASELINES or column == SCVI or (column == HUMAN) == (name in OTHERS)


def fitter(column: str, needed: str, cells: ad.AnnData) -> Callable[[sparse.csr_matrix], Any]:
    """Return what fits a column; an embedding is computed once for the same counts."""
    if column in BASELINES:
        return BASELINES[column]
    if column == SCVI:
        return latent_means(needed)
    if column == HUMAN:
        return adapted_embedding(needed, cells.var, GENE_KEY)
    if column.endswith(ADAPTED):
        return adapted_embedding(needed, cells.var)
    transform, known = embedding(needed, cells.var), {}

    def once(counts: sparse.csr_matrix) -> np.ndarray:
        key = (counts.shape, float(counts.sum()), float(counts.data[:1000].sum()))
        if key not in known:
            known[key] = transform(counts)
        return known[key]

    return lambda train: once


def read_share(cells: ad.AnnData, model: str) -> dict[str, float]:
    """Return the share of the counts that the model reads, as `tl.embed` reports it."""
    total = sparse.csr_matrix(cells.X.sum(axis=0), dtype=np.float32)
    pooled = ad.AnnData(total, var=cells.var[["FBgn"]].copy())
    sf.tl.embed(pooled, model=model, gene_key="FBgn")
    return {"share": float(pooled.uns["X_scflyformer"]["coverage"]["share_counts"])}


def typed_rows(name: str, result: dict[str, Any], names: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return (row, measure, value) of every fold by name, or of all cells where there are no names."""
    values = dict(zip(names, result["folds"].values(), strict=False)) or {"": result["all"]}
    return [
        (f"{name}{', ' if part else ''}{part}", measure, f"{value:.3f}")
        for number, measure in enumerate(TYPE_MEASURES)
        for part, value in ((part, pair[number]) for part, pair in values.items())
    ]


def halved_rows(name: str, result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (row, measure, value), mean ± standard deviation over seeds."""
    mean, spread = np.mean(result["seeds"], axis=0), np.std(result["seeds"], axis=0, ddof=1)
    measures = ("other half first (recall at 1)", "shared among 10 neighbours of the halves")
    return [(name, m, f"{mean[i]:.3f} ± {spread[i]:.3f}") for i, m in enumerate(measures)]


def best_in_bold(found: dict[tuple[str, str], dict[str, str]], columns: Iterable[str]) -> str:
    """Return the table, the highest value of each row in bold."""
    heads = list(columns)
    lines = []
    for (row, measure), values in found.items():
        best = max(float(value.split()[0]) for value in values.values())
        texts = [values.get(column, "–") for column in heads]
        texts = [f"**{text}**" if text != "–" and float(text.split()[0]) == best else text for text in texts]
        lines.append([row, measure, *texts])
    return markdown_table(["cells", "measure", *heads], lines)


def plan(name: str, data: Path) -> tuple[ad.AnnData, Any, dict[str, Any], list[str]]:
    """Return cells, folds (or the mask of cells held out), options of `typed`, and the folds' names."""
    if name.startswith(GUT):
        cells = ad.read_h5ad(data / "fly" / "fca_gut_180cells.h5ad")
        if name == GUT:
            return cells, stratified(cells.obs["cell_type"].to_numpy(dtype=str), 5), {"among_all": True}, []
        libraries, code = np.unique(cells.obs["batch"].astype(str), return_inverse=True)
        return cells, code, {}, [f"{library.split('_')[0]} asked" for library in libraries]
    if name == NEURONS:
        cells = ad.read_h5ad(data / "fly_whole" / "antenna_orn.h5ad")
        plates = cells.obs["batch"].astype(str)
        return cells, plates.map({p: i for i, p in enumerate(PLATES)}).fillna(-1).to_numpy(int), {}, list(PLATES)
    if name == PANCREAS:
        cells = ad.read_h5ad(data / "human" / "baron_pancreas_human_2142.h5ad")
        donors, code = np.unique(cells.obs["donor"].astype(str), return_inverse=True)
        return cells, code, {"library": "donor"}, list(donors)
    if name == PBMC:
        cells = ad.read_h5ad(data / "human" / "zheng_facs_3874.h5ad")
        cells.obs["batch"] = "one run a label"  # no donors; inner folds are of cells, too
        return cells, stratified(cells.obs["cell_type"].to_numpy(dtype=str), 5), {}, []
    file, held = HALVES[name]
    cells = ad.read_h5ad(data / f"{file}.h5ad")
    return cells, (cells.obs["batch"] == held).to_numpy(), {}, []


ROWS = (GUT, f"{GUT}, by library", NEURONS, *HALVES, PANCREAS, PBMC)


def results_of(name: str, data: Path, work: Path, columns: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Compute or read every column of one set of cells."""
    cells, folds, options, _ = plan(name, data)
    counts, results = sparse.csr_matrix(cells.X), {}
    for column, needed in columns.items():
        if not is_asked(column, name):
            continue
        needed = str(human_model(name, data, work)) if column == HUMAN else needed
        fit = fitter(column, needed, cells)

        def make(fit: Any = fit, column: str = column) -> dict[str, Any]:
            if name in HALVES:
                return halved(counts, folds, fit)
            choices = {"library": "batch", "cosine": column == "all genes"} | options
            return typed(cells, folds, fit, **choices)

        has_model = column not in BASELINES and column != SCVI
        key = sf.models.load(needed).sha256[:12] if has_model else "1"
        results[column] = kept(result_file(work, name, column, key), make, f"{name}: {column}")
    return results


def rows_of(name: str, results: dict[str, dict[str, Any]], names: list[str]) -> dict[tuple[str, str], dict[str, str]]:
    """Return the values of every row of a set of cells, by column."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for column, result in results.items():
        rows = halved_rows(name, result) if name in HALVES else typed_rows(name, result, names)
        for row, measure, value in rows:
            found.setdefault((row, measure), {})[column] = value
    return found


def share_read(name: str, data: Path, work: Path, models: Iterable[str]) -> str:
    """Return which share of the counts of a set of cells each model reads, in words."""
    cells, said = plan(name, data)[0], []
    for model in models:
        key = sf.models.load(model).sha256[:12]
        share = kept(result_file(work, name, "share", key), lambda m=model: read_share(cells, m), f"{name}: share")
        said.append(f"{Path(model).name} reads {share['share']:.1%}")
    return f"{name}: {', '.join(said)} of the counts."


def main() -> None:
    """Read arguments, compute what is missing, print."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("whole-transcriptome-benchmark"), help="kept (%(default)s)")
    parser.add_argument("--models", default=MODELS, nargs="+", help="fly models, names or folders (%(default)s)")
    parser.add_argument("--only", choices=ROWS, nargs="+", default=ROWS, help="rows, all by default")
    parser.add_argument("--scvi-python", help="Python of an environment with scvi-tools; this one by default")
    args = parser.parse_args()
    columns = columns_of(args.models, python_with_scvi(args.scvi_python))
    found: dict[tuple[str, str], dict[str, str]] = {}
    lines = []
    for name in args.only:
        results, names = results_of(name, args.data, args.work, columns), plan(name, args.data)[3]
        found |= rows_of(name, results, names)
        if name not in HALVES:
            for number, measure in enumerate(TYPE_MEASURES):
                lines.append([name, measure, *comparison(results, number, columns, bool(names))])
    print(best_in_bold(found, columns))
    if lines:
        print(f"\nMean over folds, difference to {REFERENCE}, and its 95 % t interval over folds:\n")
        print(markdown_table(["cells", "measure", "folds", *columns], lines))
    print()
    for name in (name for name in args.only if name not in OTHERS):
        print(share_read(name, args.data, args.work, args.models))


if __name__ == "__main__":
    main()
