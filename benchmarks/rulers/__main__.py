"""Held to rulers that others made: cz-benchmarks, scib-metrics and cellxgene-schema, unmodified, each from PyPI.

``python -m benchmarks.rulers cz``: four tasks of cz-benchmarks on head and body, beside its own baselines. ``… scib``:
the Benchmarker of scib-metrics on head, body, brain and olfactory neurons, beside Harmony, scVI, scANVI and
JointEmbeddingSCVI. ``… schema``: what ``cellxgene-schema validate`` says of files that `tl.annotate` has labelled.

Each ruler gets an environment of its own in ``--environments``, made at the first call with the versions pinned in
``benchmarks/rulers/*.txt``. Cells go there as files; nothing of this repository is imported there. With ``--shipped``
only data that comes with the package are used. Results are kept in ``--work`` as soon as they are there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scflyformer as sf

from ..lib.command import command, new_parser
from ..lib.results import kept, result_file
from . import environments as env
from .schema import UNKNOWN, completed, shortened, validated
from .sets import BODY, BRAIN, HEAD, MODEL, N_CELLS, NEURONS, SIMULATED, cell_set, embeddings, write_cells
from .tables import cz_table, scib_table

if TYPE_CHECKING:
    import argparse

SETS = {"cz": (HEAD, BODY), "scib": (HEAD, BODY, BRAIN, NEURONS), "schema": (HEAD, BODY)}
SHIPPED = {"cz": (SIMULATED, NEURONS), "scib": (SIMULATED, NEURONS), "schema": (SIMULATED,)}
USED = {"cz": ("cz",), "scib": ("scvi", "scib"), "schema": ("schema",)}
TITLES = {"cz": "cz-benchmarks", "scib": "scib-metrics", "schema": "cellxgene-schema"}


def cz(name: str, args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Return what cz-benchmarks says of a set."""
    chosen = cell_set(name, args.data, args.n_cells)
    with tempfile.TemporaryDirectory() as folder:
        cells, out = Path(folder) / "cells.h5ad", Path(folder) / "out.json"
        ours = {key: value[chosen.scored] for key, value in embeddings(chosen).items()}
        write_cells(cells, chosen.asked, ours)
        env.run(pythons["cz"], "cz_script.py", cells, out)
        return {"note": chosen.note, "found": json.loads(out.read_text())}


def scib(name: str, args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Return what scib-metrics says of a set, and how long the models of scvi-tools trained."""
    chosen = cell_set(name, args.data, args.n_cells)
    with tempfile.TemporaryDirectory() as folder:
        cells, arrays, out = (Path(folder) / file for file in ("cells.h5ad", "arrays.npz", "out.json"))
        ours = embeddings(chosen)
        write_cells(cells, chosen.cells, ours)
        env.run(pythons["scvi"], "scvi_script.py", cells, arrays, "--epochs", str(args.epochs))
        with np.load(arrays) as found:
            epochs = json.loads(str(found["epochs"]))
            others = {key: found[key] for key in found.files if key != "epochs"}
        write_cells(cells, chosen.asked, {key: value[chosen.scored] for key, value in (ours | others).items()})
        env.run(pythons["scib"], "scib_script.py", cells, out)
        return {"note": chosen.note, "found": json.loads(out.read_text()), "epochs": epochs}


def schema(name: str, args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Return what cellxgene-schema says of a set labelled by `tl.annotate`, and of the file completed."""
    chosen = cell_set(name, args.data, args.n_cells)
    sf.tl.embed(chosen.cells, gene_key="FBgn")
    sf.tl.annotate(chosen.cells)
    said, done = {}, completed(chosen.cells, name)
    terms = done.obs["cell_type_ontology_term_id"].astype(str)
    known = terms[terms != UNKNOWN]
    named = f"{len(known):,} of {len(terms):,} cells have a term, {known.nunique()} different ones"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        for what, cells in {
            "as `tl.annotate` leaves it": chosen.cells,
            f"completed ({named})": done,
        }.items():
            cells.write_h5ad(path)
            said[what] = validated(pythons["schema"], path)
    return {"note": chosen.note, "said": said}


def text_of(ruler: str, result: dict[str, Any], n_epochs: int) -> str:
    """Return a set's result as markdown."""
    if ruler == "cz":
        return cz_table(result["found"])
    if ruler == "scib":
        stops = ", ".join(f"{name} {number}" for name, number in result["epochs"].items())
        return f"{scib_table(result['found'])}\n\nEpochs, of {n_epochs} at most (scANVI goes on for 20): {stops}."
    return "\n\n".join(f"{what}:\n\n```\n{shortened(said)}\n```" for what, said in result["said"].items())


def main() -> None:
    """Read arguments, make environments, run what is missing, print."""
    parser = new_parser(__doc__)
    parser.add_argument("rulers", choices=SETS, nargs="+", help="which rulers")
    parser.add_argument("--shipped", action="store_true", help="only data that comes with the package")
    parser.add_argument("--only", nargs="+", choices=(HEAD, BODY, BRAIN, NEURONS), help="which sets, all by default")
    parser.add_argument("--n-cells", type=int, default=N_CELLS, help="most cells of a set (%(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="most epochs of scVI (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("rulers-benchmark"), help="kept results (%(default)s)")
    parser.add_argument("--out", type=Path, help="file for the text that is printed")
    parser.add_argument("--environments", type=Path, default=env.default_folder(), help="folder (%(default)s)")
    parser.add_argument("--python", default=sys.executable, help="Python 3.12 or newer, of the environments")
    parser.add_argument("--scvi-python", help="Python of the environment with torch, where it is to be another")
    args = parser.parse_args()
    parts = [f"`{command()}`"]
    model = sf.models.load(MODEL).sha256[:12]
    for ruler in args.rulers:
        pythons = {
            name: env.python_of(name, args.environments, (args.scvi_python if name == "scvi" else None) or args.python)
            for name in USED[ruler]
        }
        said = "; ".join(env.versions(name, python) for name, python in pythons.items())
        parts.append(f"## {TITLES[ruler]}\n\n{said}")
        for name in SHIPPED[ruler] if args.shipped else SETS[ruler]:
            if args.only and name not in args.only:
                continue
            pins = "-".join(env.digest(used) for used in USED[ruler])
            key = f"{model}-{pins}-{args.n_cells}-{args.epochs if ruler == 'scib' else ''}"
            make = partial({"cz": cz, "scib": scib, "schema": schema}[ruler], name, args, pythons)
            result = kept(result_file(args.work, ruler, name, key), make, f"{ruler}: {name}")
            parts.append(f"### {name}\n\n{result['note']}.\n\n{text_of(ruler, result, args.epochs)}")
            if args.out is not None:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text("\n\n".join(parts) + "\n")
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
