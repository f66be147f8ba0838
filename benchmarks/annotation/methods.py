"""Methods of annotation: each labels the query of a split in a process of its own, and what it says is kept."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scflyformer as sf

from ..lib.exchange import write_cells
from ..lib.processes import output_of
from ..lib.representations import random_weights
from ..lib.results import save

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .tasks import Split, Task

OWN_MODEL: dict[str, Any] = {
    "hidden_size": 64,
    "n_layers": 2,
    "n_heads": 2,
    "max_len": 256,
    "dropout": 0.0,
    "code_size": 64,
    "n_directions": 128,
    "learning_rate": 1.5e-3,
    "warmup_steps": 50,
    "epochs": 4.0,
}
"""Shape and length of the pretraining where no fly model applies; not tuned."""
OWN_GENES = 4_000
"""Genes that such a model reads, those found in the most cells: its code costs their number cubed."""
BASELINES = {"l1": "L1 logistic", "pca": "PCA + logistic", "knn": "kNN", "majority": "majority"}
NAMES = ("probe", "finetune", *BASELINES, "random", "celltypist", "scanvi")
"""What ``--methods`` takes."""
VERSION = 3
"""Counts up when a kept prediction is no longer what the code would make."""


@dataclass(frozen=True)
class Method:
    """A way to label cells: a column of the table, and the module that is run for it.

    ``python`` runs it, `None` where that environment is not there, which ``needs`` tells. ``model`` is the model that
    it reads, ``untrained`` with random weights in it; ``first`` says whether it is run where no fly model applies, with
    the model pretrained there.
    """

    name: str
    script: str
    options: tuple[str, ...] = ()
    python: str | None = sys.executable
    model: str | None = None
    untrained: bool = False
    needs: str = ""
    first: bool = True


@dataclass(frozen=True, eq=False)
class Labelled:
    """What a method says of the query cells of a split: probabilities, names of their columns, strangeness, costs."""

    probability: np.ndarray
    classes: np.ndarray
    novelty: np.ndarray | None
    said: dict[str, Any]

    @property
    def score(self) -> np.ndarray:
        """Highest probability of each cell."""
        return self.probability.max(axis=1)

    def codes(self, names: np.ndarray) -> np.ndarray:
        """Return the best class of each cell as a position in ``names``, which are sorted."""
        return np.searchsorted(names, self.classes)[self.probability.argmax(axis=1)]


def methods(
    names: Sequence[str], models: Sequence[str], *, celltypist: str | None = None, scanvi: str | None = None,
    scanvi_options: Sequence[str] = (), dtype: str = "auto",
) -> list[Method]:  # fmt: skip
    """Return the methods named, those that read a model once a model."""
    ours, number_type = "package_labels", () if dtype == "auto" else ("--dtype", dtype)
    found: list[Method] = []
    for name in names:
        if name in ("probe", "finetune"):
            for number, model in enumerate(models):
                column = f"{name}, {Path(model).name}" if number else name
                found.append(Method(column, ours, ("--method", name, *number_type), model=model, first=not number))
        elif name == "random":
            found.append(
                Method("random network", ours, ("--method", "embedding", *number_type), model=models[0], untrained=True)
            )
        elif name == "celltypist":
            found.append(Method("CellTypist", "celltypist_labels", (), celltypist, needs="--celltypist-python"))
        elif name == "scanvi":
            found.append(Method("scANVI", "scanvi_labels", tuple(scanvi_options), scanvi, needs="--scvi-python"))
        else:
            found.append(Method(BASELINES[name], ours, ("--method", name)))
    return found


def label_file(task: Task, split: Split, method: Method, work: Path) -> tuple[Path, Path | str | None]:
    """Return where is kept what the method says, and the model that it reads, pretrained if need be."""
    model = _model(task, split, method, work)
    key = [task.key(split), *method.options, "" if model is None else sf.models.load(model).sha256[:12], f"v{VERSION}"]
    stem = f"{task.name}--{split.name}--{method.name}--{'-'.join(filter(None, key))}"
    return work / "labels" / (re.sub(r"[^\w.+-]+", "_", stem) + ".npz"), model


def labelled(task: Task, split: Split, method: Method, work: Path, *, threads: int = 1) -> Labelled:
    """Return what the method says, computed or read."""
    file, model = label_file(task, split, method, work)
    if not file.exists():
        _run(task, split, method, model, file, work, threads)
    with np.load(file) as stored:
        novelty = stored["novelty"] if "novelty" in stored else None
        return Labelled(stored["probability"], stored["classes"], novelty, json.loads(str(stored["said"])))


def _run(
    task: Task, split: Split, method: Method, model: Path | str | None, file: Path, work: Path, threads: int
) -> None:
    if method.python is None:
        raise FileNotFoundError(
            f"{method.name} has not labelled {task.name} ({split.name}) yet; pass {method.needs}, the Python of an "
            "environment that has it, or leave it out of --methods."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    more = embedded(task, model, method.options, work) if model is not None and task.embed_once else {}
    with tempfile.TemporaryDirectory() as scratch:
        cells, out = Path(scratch, "cells.h5ad"), file.with_suffix(".partial.npz")
        write_cells(
            cells, task.counts, task.genes, task.labels, task.libraries, split.reference, split.query,
            by_cell=task.by_cell, **more,
        )  # fmt: skip
        command = [method.python, "-m", f"benchmarks.annotation.{method.script}", str(cells), str(out), *method.options]
        command += ["--threads", str(threads)] + ([] if model is None else ["--model", str(model)])
        output_of(command, threads=threads)
    out.replace(file)


def _model(task: Task, split: Split, method: Method, work: Path) -> Path | str | None:
    if method.model is None:
        return None
    model = own_model(task, split, work) if task.own_model else method.model
    if method.untrained:
        loaded = sf.models.load(model)
        random_weights(work, loaded)
        return work / f"random-{loaded.sha256[:12]}-0"
    return model


def embedded(task: Task, model: Path | str, options: Sequence[str], work: Path) -> dict[str, Any]:
    """Return the embedding of all cells of a task's file that it uses, and how it was made; computed once."""
    import anndata as ad
    import pandas as pd

    used = np.unique(np.concatenate([part for split in task.splits for part in (split.reference, split.query)]))
    dtype = options[options.index("--dtype") + 1] if "--dtype" in options else "auto"
    key = sha256(used.tobytes() + "".join(task.genes).encode()).hexdigest()[:8]
    file = work / "embeddings" / f"{task.name.split()[0]}-{key}-{sf.models.load(model).sha256[:12]}-{dtype}.npz"
    if not file.exists():
        cells = ad.AnnData(task.counts[used], var=pd.DataFrame({"gene": task.genes}, index=task.genes.astype(str)))
        with sf.settings.override(dtype=dtype):
            sf.tl.embed(cells, model=model, gene_key="gene")
        file.parent.mkdir(parents=True, exist_ok=True)
        made = json.dumps(cells.uns["X_scflyformer"]["params"])
        np.savez(file.with_suffix(".partial.npz"), embedding=cells.obsm["X_scflyformer"], made=made)
        file.with_suffix(".partial.npz").replace(file)
    with np.load(file) as stored:
        whole = np.zeros((task.counts.shape[0], stored["embedding"].shape[1]), dtype=np.float32)
        whole[used] = stored["embedding"]
        return {"embedding": whole, "embedded": str(stored["made"])}


def own_model(task: Task, split: Split, work: Path) -> Path:
    """Return a model pretrained on the reference cells, without their labels; made where it is not there."""
    settings = sha256(f"{OWN_MODEL} {OWN_GENES}".encode()).hexdigest()[:6]
    out = work / "models" / f"{task.key(split)}-{settings}"
    costs = out.with_suffix(".json")
    if not costs.exists():
        import anndata as ad
        import pandas as pd

        begin = time.perf_counter()
        var = pd.DataFrame(index=pd.Index(task.genes.astype(object)))
        counts = task.counts[split.reference]
        least = max(np.sort(counts.getnnz(axis=0))[-OWN_GENES:][0], 2)
        sf.tl.pretrain(
            ad.AnnData(counts, var=var), out=out, min_cells=int(least), options=sf.tl.PretrainOptions(**OWN_MODEL)
        )
        save(costs, {"task": task.name, "split": split.name, "seconds": round(time.perf_counter() - begin, 1)})
        print(f"[{task.name}: model of {split.name} pretrained]", file=sys.stderr, flush=True)
    return out
