"""What is a perturbation in silico worth? Planted drivers, calibration, regulators, a knock-down, ageing cells.

``python -m benchmarks.perturbation --work DIR --out perturbation`` runs five parts, or those named by ``--parts``:

- ``planted``: cells are simulated with drivers that are on in one state and off in the other, and with decoys that vary
  alike in both. A small model is pretrained on other samples. What does `tl.perturb` find at 5 % false discoveries?
- ``calibration``: states dealt at random to the libraries of real cells, or to cells within them. Are p-values uniform?
- ``regulators``: transcription factors are deleted. Do the known targets of each (DroID, Marbach) change more in the
  decoder's eyes than matched genes, and more than co-expression or mean expression would tell?
- ``pasilla``: ps is deleted. Do genes go where RNAi against ps moved them, more than with matched genes?
- ``davie``: old cells of one type against young: fz2 and genes that bear on age, with two figures beside ``--out``.

What is computed is kept in ``--work``. ``--scale 0.1`` takes fewer cells and null genes, for a quick look.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc

import scflyformer as sf

from ..lib.command import command, markdown_table, new_parser
from ..lib.results import kept, result_file
from .calibration import one_deal, read_cells
from .davie import old_against_young
from .lines import calibration_lines, davie_lines, pasilla_lines, planted_lines, regulators_lines
from .pasilla import knock_down
from .planted import Design, scan, train
from .regulators import factor_scores, read_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scflyformer.models import Model

    Task = tuple[str, Callable[[], dict[str, Any]]]

VERSION = 2
"""Counts up when a kept result is no longer what the code would compute."""
HEAD, DAVIE = "fca_head", "davie_brain_aging"
TYPES = {HEAD: "columnar neuron T1", DAVIE: "G-KC"}
"""The types of cells whose factors are deleted: many cells that express many factors."""
DEALT = {HEAD: "columnar neuron T1", DAVIE: "Astrocyte-like"}
"""The types of cells whose states are dealt anew: many cells of many libraries, and few genes a cell."""
_JUDGED = ("ci_low", "ci_high", "null_mean", "effect", "p_value", "fdr")
KEPT = (
    "gene", "readout", "n_cells", "n_samples", "shift", *_JUDGED, "p_label", "log_fc", "interpretable",
)  # fmt: skip
"""Columns of the results of the article's case."""


@dataclass(frozen=True)
class Options:
    """What the parts are run with."""

    data: Path
    work: Path
    model: Model
    figures: Path | None = None
    scale: float = 1.0
    deals: int = 10

    def file(self, name: str) -> Path:
        """Return the path of a fly set."""
        return self.data / "fly" / f"{name}.h5ad"

    def some(self, n: int, least: int = 2) -> int:
        """Return a size at this scale."""
        return max(round(n * self.scale), least)


def planted(options: Options) -> Iterator[Task]:
    """Yield, by corpus, number of genes and seed of the genes, the scores of a scan."""

    def make(corpus: Any, n_genes: int, seed: int, label: str) -> dict[str, Any]:
        design = Design(seed=seed, n_genes=n_genes)
        folder = train(design, options.work / f"planted-{label.replace(' ', '-')}-{seed}-v{VERSION}", corpus=corpus)
        sizes = {"n_others": 60, "n_null": options.some(250, 20), "max_cells": options.some(80, 16)}
        return {"families": scan(design, folder, seed=seed + 10, **sizes), "seed": seed, "corpus": label}

    for corpus, n_genes, seed in (*product(("atlas", "states"), (400,), (0, 1)), ("atlas", 1200, 0)):
        label = corpus if n_genes == 400 else f"{corpus} of {n_genes:,} genes"
        yield f"planted, {label}, {seed}", partial(make, corpus, n_genes, seed, label)


def calibration(options: Options) -> Iterator[Task]:
    """Yield the p-values of each deal."""
    cells = cache(lambda name: read_cells(options.file(name), DEALT[name]))

    def make(name: str, unit: Any, number: int) -> dict[str, Any]:
        sizes = {"n_genes": 20, "n_null": options.some(200, 20), "max_cells": options.some(16, 8)}
        p_values = one_deal(cells(name), options.model, unit, number, **sizes)
        return {"case": f"{name}, {DEALT[name]}, dealt to {unit}", "p_values": p_values}

    for name, unit, number in product(DEALT, ("samples", "cells"), range(options.deals)):
        yield f"calibration, {name}, {unit}, {number}", partial(make, name, unit, number)


def regulators(options: Options) -> Iterator[Task]:
    """Yield the AUROC of each factor's targets by type of cell, and over cells of all types."""

    def make(name: str, label: str | None) -> dict[str, Any]:
        cells = read_type(options.file(name), label, options.model, most=options.some(400, 40))
        table = factor_scores(cells, options.model, options.data, most=options.some(50, 5))
        return {"case": f"{name}, {label or 'all types'}", "table": table.to_dict("list")}

    for name, label in [*TYPES.items(), *((name, None) for name in TYPES)]:
        yield f"regulators, {name}, {label or 'all types'}", partial(make, name, label)


def pasilla(options: Options) -> Iterator[Task]:
    """Yield the agreement with the measured knock-down."""
    files = options.file(DAVIE), options.file("bulk_pasilla_ps_rnai")
    sizes = {"n_cells": options.some(40, 6), "n_null": options.some(200, 20)}
    yield f"pasilla, {DAVIE}", lambda: {"case": DAVIE, **knock_down(*files, options.model, **sizes)}


def davie(options: Options) -> Iterator[Task]:
    """Yield the results of the article's case."""

    def make() -> dict[str, Any]:
        sizes = {"n_null": options.some(200, 20), "max_cells": options.some(40, 8)}
        label, results, counts = old_against_young(options.file(DAVIE), options.model, options.figures, **sizes)
        return {"case": f"davie, {label}", **counts, "results": results[list(KEPT)].to_dict("list")}

    yield "davie", make


PARTS = {
    "planted": (planted, planted_lines), "calibration": (calibration, calibration_lines),
    "regulators": (regulators, regulators_lines), "pasilla": (pasilla, pasilla_lines), "davie": (davie, davie_lines),
}  # fmt: skip


def write(parts: dict[str, tuple[list[dict], list[str]]], out: Path | None) -> None:
    """Print a table and sentences for each part; write them to ``out.md``, and all lines to ``out.tsv``."""
    import torch

    text = [f"# Perturbation in silico\n\n`{command()}`\n"]
    text.append(f"scflyformer {sf.__version__}, torch {torch.__version__}, Python {platform.python_version()}\n")
    for part, (lines, said) in parts.items():
        text += [f"## {part}\n", *(f"- {sentence}" for sentence in said), ""]
        rows = []
        for each in lines:
            bounds = f"{each['low']:.4g} to {each['high']:.4g}" if np.isfinite(each["low"]) else "–"
            rows.append([each["case"], each["figure"], f"{each['value']:.4g}", bounds, each["note"]])
        text += [markdown_table(["case", "figure", "value", "interval or range", ""], rows), ""]
    print("\n".join(text))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".md").write_text("\n".join(text))
        table = pd.concat([pd.DataFrame(lines).assign(part=part) for part, (lines, _) in parts.items()])
        table.to_csv(out.with_suffix(".tsv"), sep="\t", index=False, float_format="%.5g")


def main() -> None:
    """Read arguments, compute what is missing, report."""
    parser = new_parser(__doc__)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="(default: all)")
    parser.add_argument("--model", default="fly", help="name or folder (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="of cells and null genes (default: %(default)s)")
    parser.add_argument("--deals", type=int, default=10, help="deals of states at random (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("perturbation-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md, OUT.tsv and figures to the folder OUT-figures")
    args = parser.parse_args()
    sc.settings.verbosity = 0
    figures = None if args.out is None else args.out.with_name(f"{args.out.stem}-figures")
    model = sf.models.load(args.model)
    options = Options(args.data, args.work, model, figures, args.scale, args.deals)
    found: dict[str, list[dict[str, Any]]] = {part: [] for part in args.parts}
    for part in args.parts:
        said = f"{VERSION}{args.scale}{model.sha256 if part != 'planted' else ''}"
        key = sha256(said.encode()).hexdigest()[:10]
        for name, make in PARTS[part][0](options):
            found[part].append(kept(result_file(args.work, name, "perturb", key), make, name))
    write({part: PARTS[part][1](found[part]) for part in args.parts}, args.out)


if __name__ == "__main__":
    main()
