"""Is pretraining worth it? Representations × tasks on held-out libraries, one table with paired intervals.

``python benchmarks/pretraining.py --models fly fly-tiny --mlm my-mlm --scvi-python scvi-env/bin/python`` compares the
frozen embedding of each model with random weights, PCA, expression and scVI. Every representation and every result is
kept in ``--work``, so that the same command goes on where it was interrupted. The first model is the one that the
others are subtracted from.

``--curve`` pretrains the first model's shape on 10, 30 and 100 % of the cells for the same number of steps, and
``--leave-out-platform`` without nuclei and without whole cells; both take folders that are already trained instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scanpy as sc
from _alike import trained
from _bench import Bench
from _hidden import masked_genes
from _probing import probed
from _report import report
from _representations import Expression, Frozen, Joined, Pca, Representation, Scvi, random_weights
from pretrain_fly import add_data_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BASELINES = ("random", "pca", "expression", "joined", "scvi")


def compare(
    bench: Bench, columns: Sequence[Representation], tasks: Sequence[str], work: Path, *, n_boot: int
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return every (row, column, view), computed or read; each is kept as soon as it is there."""
    results = []
    for name in tasks:
        if name == "masked genes":
            frozen = [column for column in columns if isinstance(column, Frozen)]
            found = masked_genes(bench.folder, frozen, work, n_boot=n_boot) if frozen else []
            results += [(f"masked genes, {source}", column, view) for source, column, view in found]
            continue
        results += probed(bench.makers[name](), columns, work, n_boot=n_boot)
    return results


def columns_of(args: argparse.Namespace) -> list[Representation]:
    """Return the representations asked for, the main one first."""
    models: list[Representation] = [Frozen(args.work, model, dtype=args.dtype) for model in args.models]
    main = models[0]
    assert isinstance(main, Frozen)
    if args.mlm:
        models.append(Frozen(args.work, args.mlm, "objective mlm", dtype=args.dtype))
    expression = Expression(args.work)
    kinds: dict[str, Callable[[], list[Representation]]] = {
        "random": lambda: [random_weights(args.work, main.model, dtype=args.dtype)],
        "pca": lambda: [Pca(args.work)],
        "expression": lambda: [expression],
        "joined": lambda: [Joined(main, expression)],
        "scvi": lambda: [
            Scvi(args.work, n, library=args.scvi_library, python=args.scvi_python, max_epochs=args.scvi_epochs)
            for n in args.scvi_latent
        ],
    }
    return models + [column for kind in args.baselines for column in kinds[kind]()]


def main() -> None:
    """Read arguments, compute what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    names = [*Bench(Path()).makers, "masked genes"]
    parser.add_argument("--models", nargs="+", default=["fly-tiny"], help="names or folders; the first is compared")
    parser.add_argument("--mlm", help="folder of a model pretrained with objective='mlm'")
    parser.add_argument("--baselines", nargs="*", choices=BASELINES, default=BASELINES, help="(default: all)")
    parser.add_argument("--scvi-python", help="Python of an environment with scvi-tools")
    parser.add_argument("--scvi-epochs", type=int, help="bound on scVI's epochs (default: scvi-tools' own rule)")
    parser.add_argument("--scvi-latent", type=int, nargs="+", default=[10], help="scVI's dimensions (default: 10)")
    parser.add_argument("--scvi-library", action="store_true", help="tell scVI's decoder the library")
    parser.add_argument(
        "--tasks", nargs="+", default=names, help=f"words that occur in the names of: {', '.join(names)}"
    )
    parser.add_argument("--work", type=Path, default=Path("pretraining-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.tsv")
    parser.add_argument("--n-boot", type=int, default=1000)
    parser.add_argument("--dtype", default="auto", help="number type of the networks that embed (default: %(default)s)")
    parser.add_argument("--curve", nargs="*", metavar="FOLDER", help="compare shares of the pretraining cells instead")
    parser.add_argument(
        "--leave-out-platform", nargs="*", metavar="FOLDER", help="compare models that never saw a platform instead"
    )
    parser.add_argument("--epochs", type=float, default=1.0, help="passes over all cells that --curve trains for")
    args = parser.parse_args()
    tasks = [name for name in names if any(word in name for word in args.tasks)]
    if not tasks:
        raise SystemExit(f"--tasks {args.tasks} fits none of: {', '.join(names)}.")
    sc.settings.verbosity = 0  # no bars: progress is told task by task
    bench = Bench(args.data)
    columns: Sequence[Representation] = columns_of(args)
    main_model, title = columns[0], "Representations on held-out libraries"
    assert isinstance(main_model, Frozen)
    for kind, given in (("curve", args.curve), ("leave-out-platform", args.leave_out_platform)):
        if given is not None:
            columns = trained(main_model, kind, given, data=args.data, work=args.work, epochs=args.epochs)
            title = {"curve": "Share of the pretraining cells"}.get(kind, "A platform left out of pretraining")
    results = compare(bench, columns, tasks, args.work, n_boot=args.n_boot)
    report(results, columns[0].name, title, args.out, columns="representation", cells="probe cells")


if __name__ == "__main__":
    main()
