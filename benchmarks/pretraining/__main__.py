"""Is pretraining worth it? Representations × tasks on held-out libraries, one table with paired intervals.

``python -m benchmarks.pretraining --models fly fly-tiny --mlm my-mlm --scvi-python scvi-env/bin/python`` compares the
frozen embedding of each model with random weights, PCA, expression and scVI. Every representation and every result is
kept in ``--work``, so that the same command goes on where it was interrupted. The first model is the one that the
others are subtracted from.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import scanpy as sc

from ..lib.command import new_parser
from ..lib.report import report
from ..lib.representations import Expression, Frozen, Joined, Pca, Representation, Scvi, random_weights
from .probing import probed
from .tasks import Bench

if TYPE_CHECKING:
    from collections.abc import Callable

BASELINES = ("random", "pca", "expression", "joined", "scvi")


def columns_of(args: argparse.Namespace) -> list[Representation]:
    """Return the representations asked for, the main one first."""
    models = [Frozen(args.work, model, dtype=args.dtype) for model in args.models]
    main = models[0]
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
    return [*models, *(column for kind in args.baselines for column in kinds[kind]())]


def main() -> None:
    """Read arguments, compute what is missing, print."""
    parser = new_parser(__doc__)
    names = list(Bench(Path()).makers)
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
    parser.add_argument("--dtype", default="auto", help="number type of the networks that embed (default: %(default)s)")
    args = parser.parse_args()
    tasks = [name for name in names if any(word in name for word in args.tasks)]
    if not tasks:
        raise SystemExit(f"--tasks {args.tasks} fits none of: {', '.join(names)}.")
    sc.settings.verbosity = 0  # no bars: progress is told task by task
    bench, columns = Bench(args.data), columns_of(args)
    results = [row for name in tasks for row in probed(bench.makers[name](), columns, args.work)]
    title = "Representations on held-out libraries"
    report(results, columns[0].name, title, args.out, columns="representation", cells="probe cells")


if __name__ == "__main__":
    main()
