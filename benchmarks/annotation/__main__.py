"""Which method labels cells best? Methods × tasks on held-out libraries, donors or cells, with paired intervals.

``python -m benchmarks.annotation --models fly fly-tiny --celltypist-python celltypist-env/bin/python --scvi-python
scvi-env/bin/python --work DIR --out annotation`` compares `tl.annotate` with baselines, CellTypist and scANVI. Each
method labels in a process of its own. What it says, what that cost and every result are kept in ``--work``, so that the
same command goes on where it was interrupted. The first method is the one that the others are subtracted from.

``--hidden`` takes two types out of the reference, five times over, and asks whether their cells stand out.
``--zheng68k`` adds Zheng68K for whoever has it. Where no fly model applies, one is pretrained on the reference cells.

CellTypist and scvi-tools have environments of their own: ``pip install celltypist "scikit-learn<1.8"``, ``pip install
scvi-tools``.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc

from ..lib.command import markdown_table, new_parser
from ..lib.report import report
from ..lib.resamples import Libraries, Resamples
from ..lib.results import described, kept, result_file
from .hidden_types import hidden_scores, without_types
from .methods import NAMES, Method, label_file, labelled, methods
from .scores import label_scores, recalls
from .tasks import Task, Tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .methods import Labelled


def run(task: Task, found: Sequence[Labelled], *, n_boot: int) -> dict[str, Any]:
    """Return the view and the table of types of each of the task's views."""
    predicted = np.concatenate([each.codes(task.classes) for each in found])
    score = np.concatenate([each.score for each in found]).astype(np.float64)
    truth, libraries = np.searchsorted(task.classes, task.labels[task.query]), task.libraries[task.query]
    n_train = int(np.mean([len(split.reference) for split in task.splits]))
    views, types = {}, {}
    for name, mask in task.views.items():
        n_cells = int(mask.sum())
        draws = (
            Resamples(np.arange(n_cells), n_boot=n_boot, unit="cells") if task.by_cell else Libraries(libraries[mask])
        )
        metrics = label_scores(draws, truth[mask], predicted[mask], score[mask])
        views[name] = described(metrics, draws, libraries[mask], n_train, task.note)
        types[name] = recalls(truth[mask], predicted[mask], task.classes)
    return {"views": views, "types": types}


def compare(
    tasks: Tasks,
    names: Sequence[str],
    columns: Sequence[Method],
    work: Path,
    *,
    n_boot: int,
    hidden: bool = False,
    threads: int = 1,
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (task, method, result) of every pair, computed or read; each is kept as soon as it is there."""
    results = []
    for name in names:
        task, types = tasks.makers[name](), list[np.ndarray]()
        if hidden:
            task, types = without_types(task)
        for method in columns:
            if task.own_model and method.model is not None and not method.first:
                continue

            def make(task: Task = task, types: Sequence[Any] = types, method: Method = method) -> dict[str, Any]:
                found = [labelled(task, split, method, work, threads=threads) for split in task.splits]
                said = [each.said for each in found]
                costs = {key: sum(each[key] for each in said) for key in ("seconds", "cpu_seconds")}
                costs |= {key: max(each[key] for each in said) for key in ("memory_mb", "peak_mb")}
                if not types:
                    return run(task, found, n_boot=n_boot) | {"costs": costs, "said": said}
                view, draws = hidden_scores(task, found, types)
                return {"views": {"": view}, "draws": draws, "costs": costs, "said": said}

            read = "".join(label_file(task, split, method, work)[0].name for split in task.splits)
            file = result_file(work, task.name, method.name, f"{sha256(read.encode()).hexdigest()[:12]}-{n_boot}")
            results.append((task.name, method.name, kept(file, make, f"{task.name}: {method.name}")))
    return results


def rows(results: Sequence[tuple[str, str, dict[str, Any]]]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (row, method, view), as a report takes them."""
    return [
        (f"{task}, {view}" if view else task, method, each)
        for task, method, result in results
        for view, each in result["views"].items()
    ]


def cost_table(results: Sequence[tuple[str, str, dict[str, Any]]]) -> str:
    """Return seconds and memory of each method as a wide table."""
    columns = list(dict.fromkeys(method for _, method, _ in results))
    found = {(task, method): result["costs"] for task, method, result in results}
    said = (
        "Seconds to learn and label, and the most memory that this took beside data and packages; splits of a task are "
    )
    lines = []
    for task in dict.fromkeys(task for task, _ in found):
        cells = [found.get((task, name)) for name in columns]
        told = ["–" if each is None else f"{each['seconds']:,.0f} s, {each['memory_mb']:,} MB" for each in cells]
        lines.append([task, *told])
    return f"{said}added up.\n\n{markdown_table(['task', *columns], lines)}"


def draw_table(results: Sequence[tuple[str, str, dict[str, Any]]]) -> str:
    """Return what each draw of hidden types gave, as one line a task and method: the range."""
    lines = []
    for task, method, result in results:
        if found := [draw["AUROC, hidden types"] for draw in result.get("draws", ())]:
            lines.append(f"- {task}, {method}: AUROC {min(found):.3f} to {max(found):.3f} over {len(found)} draws")
    return "\n".join(lines)


def write_details(results: Sequence[tuple[str, str, dict[str, Any]]], out: Path) -> None:
    """Write OUT-per-class.tsv or OUT-draws.tsv, and OUT-costs.tsv."""
    out.parent.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[dict[str, Any]]] = {"per-class": [], "draws": [], "costs": []}
    for task, method, result in results:
        where = {"task": task, "method": method}
        for view, types in result.get("types", {}).items():
            tables["per-class"] += [where | {"view": view} | each for each in types]
        tables["draws"] += [where | each for each in result.get("draws", ())]
        tables["costs"].append(where | result["costs"])
    for name, records in tables.items():
        if records:
            file = out.with_name(f"{out.name}-{name}.tsv")
            pd.DataFrame(records).to_csv(file, sep="\t", index=False, float_format="%.5g")


def main() -> None:
    """Read arguments, compute what is missing, print."""
    parser = new_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["fly"], help="names or folders (default: fly)")
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=NAMES, help="the first is compared")
    parser.add_argument("--tasks", nargs="+", default=[""], help="names of tasks, or words in them (default: all)")
    parser.add_argument("--hidden", action="store_true", help="take types out of the reference instead")
    parser.add_argument("--celltypist-python", help="Python of an environment with CellTypist")
    parser.add_argument("--scvi-python", help="Python of an environment with scvi-tools")
    parser.add_argument("--scvi-epochs", type=int, default=60, help="bound on scVI's epochs (default: %(default)s)")
    parser.add_argument("--scanvi-epochs", type=int, default=20, help="on scANVI's (default: %(default)s)")
    parser.add_argument("--query-epochs", type=int, default=30, help="on those of its surgery (default: %(default)s)")
    parser.add_argument("--zheng68k", type=Path, help="h5ad file or 10x folder of Zheng68K")
    parser.add_argument("--zheng68k-labels", default="cell_type", help="its column of labels (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("annotation-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md, OUT.tsv, OUT-per-class.tsv, OUT-costs.tsv")
    parser.add_argument("--threads", type=int, default=1, help="of each method's process (default: %(default)s)")
    parser.add_argument("--n-boot", type=int, default=1000, help="resamples of cells, in rows by cell")
    parser.add_argument("--dtype", default="auto", help="number type of the networks (default: %(default)s)")
    args = parser.parse_args()
    tasks = Tasks(args.data, zheng68k=args.zheng68k, zheng68k_labels=args.zheng68k_labels)
    names = list(tasks.bases.values()) if args.hidden else list(tasks.makers)
    chosen = [
        name for name in names if name in args.tasks or any(word in name for word in args.tasks if word not in names)
    ]
    if not chosen:
        raise SystemExit(f"--tasks {args.tasks} fits none of: {', '.join(names)}.")
    sc.settings.verbosity = 0  # no bars: progress is told task by task
    options = ["--scvi-epochs", args.scvi_epochs, "--scanvi-epochs", args.scanvi_epochs]
    options += ["--query-epochs", args.query_epochs]
    columns = methods(
        args.methods, args.models, celltypist=args.celltypist_python, scanvi=args.scvi_python,
        scanvi_options=[str(option) for option in options], dtype=args.dtype,
    )  # fmt: skip
    results = compare(tasks, chosen, columns, args.work, n_boot=args.n_boot, hidden=args.hidden, threads=args.threads)
    title = "Cell types hidden from the reference" if args.hidden else "Cell types in new libraries, donors and cells"
    more = "\n\n".join(filter(None, [draw_table(results), cost_table(results)]))
    report(rows(results), columns[0].name, title, args.out, columns="method", cells="reference cells", more=more)
    if args.out is not None:
        write_details(results, args.out)


if __name__ == "__main__":
    main()
