"""What is a perturbation in silico worth? Planted drivers, calibration, regulators, knock-downs, ageing cells.

``python -m benchmarks.perturbation --work DIR --out perturbation`` runs six parts, or those named by ``--parts``:

- ``planted``: cells are simulated with drivers that are on in one state and off in the other, and with decoys that vary
  alike in both. A small model is pretrained on other samples. What does a scan find at 5 % false discoveries?
- ``calibration``: states dealt at random to the libraries of real cells, or to cells within them. Does a scan call
  anything, and are p-values uniform?
- ``regulators``: transcription factors are deleted. Do the known targets of each (DroID, Marbach) change more in the
  decoder's eyes than matched genes, and more than co-expression, mean expression or the linear part would tell?
- ``knock-downs``: ps and msl-2 are deleted. Do genes go where RNAi moved them, more than with matched genes?
- ``davie``: old cells of one type against young: fz2 and genes that bear on age, with two figures beside ``--out``.
- ``article``: Drak, fz2 and Hnf4 in means of the article's atlas, deleted in cells **drawn** about them and in nuclei.

What passes on regulators and knock-downs, which are real experiments, stands first (`real_lines`). What is computed is
kept in ``--work``. ``--scale 0.1`` takes fewer cells and null genes, for a quick look.
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
from . import article as clusters
from .article_deleted import article_lines, deleted
from .calibration import one_deal, read_cells
from .cells import read_cells as read_edited
from .davie import old_against_young
from .knock_down import knock_down
from .lines import calibration_lines, davie_lines, planted_lines
from .measured import measured
from .planted import Design, scan, train
from .real_lines import knock_down_lines, regulators_lines
from .regulators import factor_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scflyformer.models import Model

    Task = tuple[str, Callable[[], dict[str, Any]]]

VERSION = 3
"""Counts up when a kept result is no longer what the code would compute."""
HEAD, BODY, DAVIE = "fca_head", "fca_body", "davie_brain_aging"
TYPES = {HEAD: "columnar neuron T1", DAVIE: "G-KC"}
"""The types of cells whose factors are deleted: many cells that express many factors."""
WING = "wing disc"
WHOLE = {
    "larval CNS": "fly_whole/larval_cns_1406", "midgut": "fly_whole/hung_midgut_1923",
    "gut nuclei": "fly/fca_gut_180cells", "olfactory neurons": "fly_whole/antenna_orn",
    WING: "fly/bageritz_wingdisc_lib1",
}  # fmt: skip
"""Whole transcriptomes; genes are knocked down in all of them, regulators deleted in all but the wing disc."""
MSL = "fly_whole/bulk_s2_msl2_mof_rnai", "control"
PASILLA = "fly/bulk_pasilla_ps_rnai", "untreated"
KNOCK_DOWNS: dict[str, tuple[str, tuple[str, str], str]] = {
    "ps": ("FBgn0261552", PASILLA, "ps_RNAi"), "msl-2": ("FBgn0005616", MSL, "msl2"),
}  # fmt: skip
"""The gene, the file with its controls, the samples with RNAi. RNAi of mof did not lower its RNA, so it is left out."""
DEALT = {HEAD: "columnar neuron T1", BODY: "adult peripheral nervous system", DAVIE: "Astrocyte-like"}
"""The types of cells whose states are dealt anew: many cells of many libraries."""
_JUDGED = ("ci_low", "ci_high", "null_mean", "effect", "p_value", "p_states", "fdr", "test")
KEPT = (
    "gene", "readout", "n_cells", "n_samples", "shift", *_JUDGED, "log_fc", "interpretable",
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
    deals: int = 20

    def file(self, name: str) -> Path:
        """Return the path of a fly set."""
        return self.data / "fly" / f"{name}.h5ad"

    def some(self, n: int, least: int = 2) -> int:
        """Return a size at this scale."""
        return max(round(n * self.scale), least)


def planted(options: Options) -> Iterator[Task]:
    """Yield, by number of genes and seed of the genes, the scores of a scan."""

    def make(n_genes: int, seed: int) -> dict[str, Any]:
        design = Design(seed=seed, n_genes=n_genes)
        folder = train(design, options.work / f"planted-{n_genes}-{seed}-v{VERSION}", corpus="atlas")
        return {"scores": scan(design, folder, seed=seed + 10, max_cells=options.some(80, 16)), "n_genes": n_genes}

    for n_genes, seed in product((400, 1200, 3000), (1, 2)):
        yield f"planted, {n_genes} genes, {seed}", partial(make, n_genes, seed)


def calibration(options: Options) -> Iterator[Task]:
    """Yield the calls and p-values of each deal."""
    cells = cache(lambda name: read_cells(options.file(name), DEALT[name]))

    def make(name: str, unit: Any, pooling: str, number: int) -> dict[str, Any]:
        found = one_deal(cells(name), options.model, unit, number, pooling=pooling, max_cells=options.some(24, 12))
        read = "profile code" if pooling == "code" else "whole embedding"
        return {"case": f"{name}, {DEALT[name]}, dealt to {unit}, {read}", "deal": found}

    for pooling, n_deals in (("code", options.deals), ("cell", options.deals // 4)):
        for number, name, unit in product(range(n_deals), DEALT, ("samples", "cells")):
            yield f"calibration, {name}, {unit}, {pooling}, {number}", partial(make, name, unit, pooling, number)


def regulators(options: Options) -> Iterator[Task]:
    """Yield the AUROC of each factor's targets by set of whole transcriptomes, and by type of cell of the panels."""

    def make(name: str, file: str, label: str | None, whole: bool) -> dict[str, Any]:
        path = options.data / f"{file}.h5ad"
        cells = read_edited(path, options.model, label=label, n_edited=options.some(200, 40))
        table = factor_scores(cells, options.model, options.data, most=options.some(20, 5))
        return {"case": name, "whole": whole, "table": table.to_dict("list")}

    asked = [(name, file, None, True) for name, file in WHOLE.items() if name != WING]
    asked += [(f"{name}, {label}", f"fly/{name}", label, False) for name, label in TYPES.items()]
    for each in asked:
        yield f"regulators, {each[0]}", partial(make, *each)


def knock_downs(options: Options) -> Iterator[Task]:
    """Yield the agreement with each measured knock-down: over whole transcriptomes, and in davie's brains for ps."""
    sizes = {"n_cells": options.some(10, 5), "n_null": options.some(100, 20)}

    @cache
    def read(file: str) -> Any:
        return read_edited(options.data / f"{file}.h5ad", options.model, unseen=False)

    def make(gene: str, case: str, files: dict[str, str], judged: bool) -> dict[str, Any]:
        identifier, (bulk, control), down = KNOCK_DOWNS[gene]
        effect = measured(options.data / f"{bulk}.h5ad", down, control)
        sets = {name: read(file) for name, file in files.items()}
        found = knock_down(sets, effect, identifier, options.model, **sizes)
        return {"case": case, "gene": gene, "judged": judged, **found}

    for gene in KNOCK_DOWNS:
        yield f"knock-down, {gene}", partial(make, gene, f"{gene}, whole transcriptomes", WHOLE, True)
    yield f"knock-down, ps, {DAVIE}", partial(make, "ps", f"ps, {DAVIE}", {DAVIE: f"fly/{DAVIE}"}, False)


def davie(options: Options) -> Iterator[Task]:
    """Yield the results of the article's case."""

    def make() -> dict[str, Any]:
        sizes = {"n_null": options.some(200, 20), "max_cells": options.some(40, 8)}
        label, results, counts = old_against_young(options.file(DAVIE), options.model, options.figures, **sizes)
        return {"case": f"davie, {label}", **counts, "results": results[list(KEPT)].to_dict("list")}

    yield "davie", make


def article(options: Options) -> Iterator[Task]:
    """Yield expression over ages by type, then net shifts by type, cells, genes that are drawn, and pooling."""

    def make(label: str, start: int, read: Any, number: int, pooling: Any) -> dict[str, Any]:
        cells = clusters.drawn_cells(label, read, options.some(100, 20), seed=number)
        if start == clusters.NUCLEI:
            cells = clusters.with_nuclei(cells, options.file(HEAD), label, options.some(20, 8))
        sizes = {"n_null": options.some(100, 20), "max_cells": options.some(40 if start == clusters.OLD else 200, 20)}
        found = deleted(cells, start, options.model, pooling, **sizes)
        return {"label": label, "start": start, "read": read, "draw": number + 1, "pooling": pooling, **found}

    old, nuclei = (clusters.OLD, "all genes"), (clusters.NUCLEI, "all genes")
    runs = [(*old, 0, "code"), (*nuclei, 0, "code"), (clusters.OLD, "listed genes", 0, "code")]
    runs += [(*old, 1, "code"), (*old, 2, "code"), (*old, 0, "cell"), (*nuclei, 0, "cell")]
    for label in clusters.TYPES:
        ages = partial(lambda of_type: {"label": of_type, "ages": clusters.over_ages(of_type).to_dict("list")}, label)
        yield f"article, {label}, ages", ages
        for run in runs:
            yield f"article, {label}, {', '.join(map(str, run))}", partial(make, label, *run)


PARTS = {
    "planted": (planted, planted_lines), "calibration": (calibration, calibration_lines),
    "regulators": (regulators, regulators_lines), "knock-downs": (knock_downs, knock_down_lines),
    "davie": (davie, davie_lines), "article": (article, article_lines),
}  # fmt: skip


def write(parts: dict[str, tuple[list[dict], list[str]]], out: Path | None) -> None:
    """Print a table and sentences for each part; write them to ``out.md``, and all lines to ``out.tsv``."""
    import torch

    first = [said for _, sentences in parts.values() for said in sentences if said.startswith(("PASS", "FAIL"))]
    text = [*(f"{said}\n" for said in first), f"# Perturbation in silico\n\n`{command()}`\n"]
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
    parser.add_argument("--deals", type=int, default=20, help="deals of states at random (default: %(default)s)")
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
