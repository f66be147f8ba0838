"""Check that a built wheel holds the models and the demonstration data, and that they are small."""

from __future__ import annotations

import sys
from zipfile import ZipFile

FILES = (
    "config.json",
    "model.safetensors",
    "vocab.tsv",
    "metrics.json",
    "provenance.json",
    "README.md",
    "cells.safetensors",
)
READOUT_FILES = ("readout.safetensors", "README.md", "cells.safetensors")
READOUTS = ("fly-head", "fly-body", "fly-brain", "fly-atlas", "fly-brain-clock")
NEEDED = (
    "scflyformer/py.typed",
    "scflyformer/models/registry.json",
    "scflyformer/datasets/fly_brain_simulated.npz",
    "scflyformer/datasets/flybase_clusters.npz",
    "scflyformer/datasets/olfactory_neurons.npz",
    "scflyformer/datasets/olfactory_neurons_LICENSE.txt",
    "scflyformer/genes/flybase_names.tsv.gz",
    "scflyformer/ontology/fbbt.tsv.gz",
    *(f"scflyformer/models/{model}/{file}" for model in ("fly", "fly-tiny") for file in FILES),
    *(f"scflyformer/models/readouts/{name}/{file}" for name in READOUTS for file in READOUT_FILES),
)
MB = 1_000_000
LIMITS = {
    "scflyformer/models/fly-tiny/model.safetensors": 2 * MB,
    "scflyformer/models/fly/": 25 * MB,
    "scflyformer/datasets/": 6 * MB,
    "scflyformer/models/readouts/": 4 * MB,
}


def main(path: str) -> int:
    """Print what is wrong with the wheel; 0 where nothing is."""
    with ZipFile(path) as wheel:
        sizes = {entry.filename: entry.file_size for entry in wheel.infolist()}
    wrong = [f"{name} is missing" for name in NEEDED if name not in sizes]
    weights = [name for name in sizes if name.endswith(".safetensors") and name not in NEEDED]
    wrong += [f"{name} does not belong into the wheel" for name in weights]
    for folder, limit in LIMITS.items():
        size = sum(n for name, n in sizes.items() if name.startswith(folder) and not name.endswith(".py"))
        print(f"{folder}: {size / MB:.2f} MB of at most {limit / MB:.0f} MB")
        if size > limit:
            wrong.append(f"{folder} holds {size} bytes; at most {limit}")
    for line in wrong:
        print(f"{path}: {line}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
