"""Write the lists of training cells of the models, classifiers and the clock that ship.

``python -m tools.cell_manifests`` reads the real data sets and writes ``cells.safetensors`` into each folder, for
:func:`scflyformer.models.contamination`. Sets and cells are those of ``tools.pretrain_fly``,
``tools.train_classifiers`` and ``tools.train_clock``, checked against ``provenance.json``, ``labels.json`` and
``clock.json``. Cells drawn from cluster means are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

import scflyformer as sf
from benchmarks.lib.command import new_parser
from benchmarks.lib.splits import EXCLUDE, WHOLE_EXCLUDE, some_of_each
from scflyformer.data._reading import Reading
from scflyformer.data._training_cells import UsedCells
from scflyformer.models._manifest import FILE, CellSet, Manifest
from scflyformer.models._shipped import FOLDER, shipped_model
from scflyformer.training._sources import CorpusRequest, open_sources
from tools import train_clock
from tools.pretrain_fly import SETS, WHOLE_SETS
from tools.train_classifiers import EACH, MOST_REAL, labelled_cells
from tools.train_classifiers import SETS as LABELLED

MODELS = ("fly", "fly-tiny")
READING = Reading(gene_key="FBgn")
LARGE = 5_000
"""Cells from which a pretraining set keeps 8 bits of a fingerprint, beside its bucket, instead of 16."""


def model_manifest(model: sf.models.Model, folder: Path) -> Manifest:
    """Return the cells of the real data sets that a model was pretrained on."""
    request = CorpusRequest(exclude=EXCLUDE | {"batch": EXCLUDE["batch"] + WHOLE_EXCLUDE}, gene_key=READING.gene_key)
    manifest = Manifest.new(model.vocabulary)
    recorded = {record["name"]: record for record in model.provenance["data"]}
    files = [folder / "fly" / f"{name}.h5ad" for name in SETS] + [folder / f"{name}.h5ad" for name in WHOLE_SETS]
    with open_sources(files, request) as sources:
        for source in sources:
            if source.record != recorded[source.name]:
                raise SystemExit(f"{source.name} is {source.record}; {model.name} learnt from {recorded[source.name]}")
            bits = 8 if source.record["n_used"] > LARGE else 16
            used = UsedCells(source.adata, source.used, READING)
            manifest = manifest.add([as_set(used, manifest, model, name=source.name, use="pretraining", bits=bits)])
    return manifest


def readout_manifest(name: str, model: sf.models.Model, folder: Path) -> Manifest:
    """Return the cells whose labels or ages a readout has learnt from."""
    if name == train_clock.NAME:
        cells = {"davie_brain_aging": ad.read_h5ad(folder / "fly" / "davie_brain_aging.h5ad")}
    elif name == "fly-atlas":
        cells = {LABELLED[one]: some_of_each(labelled_cells(one, folder), EACH, MOST_REAL) for one in LABELLED}
    else:
        cells = {LABELLED[name]: labelled_cells(name, folder)}
    use = "ages" if name == train_clock.NAME else "labels"
    manifest = Manifest.new(model.vocabulary)
    for source, part in cells.items():
        used = UsedCells(part, np.ones(part.n_obs, dtype=bool), READING)
        manifest = manifest.add([as_set(used, manifest, model, name=source, use=use)])
    found, recorded = sum(each.n_cells for each in manifest.sets), n_recorded(name)
    if found > recorded or (found < recorded and name != "fly-atlas"):  # which has learnt from drawn cells as well
        raise SystemExit(f"{name} would have {found} cells, and learnt from {recorded}")
    return manifest


def as_set(used: UsedCells, manifest: Manifest, model: sf.models.Model, **named: Any) -> CellSet:
    """Return cells as a training set; an error where they cannot be read."""
    found = used.as_set(manifest, model.vocabulary, **named)
    if found is None:
        raise SystemExit(f"{named['name']}: genes or values cannot be read")
    return found


def n_recorded(name: str) -> int:
    """Return how many cells a readout says that it has learnt from."""
    (file,) = (FOLDER / name).glob("*.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    rows = content["metrics"] if "metrics" in content else content["results"]
    return int(rows[0]["n_cells"])


def write(manifest: Manifest, folder: Path) -> None:
    """Write a list into a folder and say what it holds."""
    manifest.write(folder)
    (folder / FILE).chmod(0o644)  # safetensors writes for the owner alone
    size = (folder / FILE).stat().st_size
    print(f"{folder.name}: {size:,} bytes")
    for each in manifest.sets:
        print(f"  {each.name}: {each.n_cells:,} cells, {each.n_buckets:,} with a fingerprint, {len(each.genes)} genes")


def main() -> None:
    """Read arguments and write."""
    parser = new_parser(__doc__)
    readouts = sorted(path.parent.name for path in FOLDER.glob("*/README.md"))
    parser.add_argument("names", nargs="*", default=[*MODELS, *readouts], help="which (default: all)")
    args = parser.parse_args()
    for name in args.names:
        if name in MODELS:
            model = sf.models.load(name)
            write(model_manifest(model, args.data), model.path)
        else:
            write(readout_manifest(name, shipped_model(name), args.data), FOLDER / name)


if __name__ == "__main__":
    main()
