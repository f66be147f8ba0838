"""Tasks of annotation: labelled cells to learn from, cells to label, and the split between them in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scflyformer.stats._splits import cell_folds

from ..lib.splits import TRAIN_CELLS, held_out, named_in_both, probe_cells

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

FLY = {"head": "fca_head", "body": "fca_body", "davie": "davie_brain_aging"}
SAYS = {"head": "FCA4, FCA13 held out", "body": "FCA16, FCA25 held out", "davie": "w1118 → DGRP-551"}
MANY_CELLS = 1_000
"""A type with more cells counts as common: the stand-in for the article's limit of 2,000."""
FEW_LABELS = 0.1
MIN_TYPE_CELLS = 10
"""Cells of a human type, fewer of which say nothing about a method."""


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of the cells to learn from and of those to label."""

    name: str
    reference: np.ndarray
    query: np.ndarray


@dataclass(frozen=True, eq=False)
class Task:
    """One row group of the table: all cells of a file, and which of them teach and are asked.

    Each split is learnt by itself; their query cells are pooled, and ``views`` are masks over those, by name. ``note``
    is the split in words. With ``by_cell`` cells of one library stand on both sides, and tuning and intervals go by
    cells, too; with ``own_model`` no fly model applies, so that one is pretrained on the reference cells; with
    ``embed_once`` splits share an embedding, so that the methods' times are without it.
    """

    name: str
    counts: sparse.csr_matrix
    genes: np.ndarray
    labels: np.ndarray
    libraries: np.ndarray
    splits: list[Split]
    views: dict[str, np.ndarray]
    note: str
    by_cell: bool = False
    own_model: bool = False
    embed_once: bool = False

    @property
    def query(self) -> np.ndarray:
        """Positions of all query cells."""
        return np.concatenate([split.query for split in self.splits])

    @cached_property
    def classes(self) -> np.ndarray:
        """Names of all types that are learnt or asked for, sorted."""
        used = [part for split in self.splits for part in (split.reference, split.query)]
        return np.unique(self.labels[np.concatenate(used)])

    def key(self, split: Split) -> str:
        """Return what changes when the cells, their labels or the split would."""
        digest = sha256(f"{self.by_cell}{self.own_model}".encode())
        for part in (split.reference, split.query):
            rows = self.counts[part]
            for array in (rows.data, rows.indices, part, self.labels[part], self.libraries[part]):
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:12]


class Tasks:
    """Files, opened when a task first asks for them, and the tasks on them."""

    def __init__(
        self, folder: Path, *, zheng68k: Path | None = None, zheng68k_labels: str = "cell_type", seed: int = 0
    ) -> None:
        self.folder, self.zheng68k, self.zheng68k_labels, self.seed = folder, zheng68k, zheng68k_labels, seed
        self._open: dict[Path, AnnData] = {}

    @cached_property
    def makers(self) -> dict[str, Callable[[], Task]]:
        """Return what makes each task, by name."""
        makers: dict[str, Callable[[], Task]] = {}
        for short, base in self.bases.items():
            makers[base] = partial(self.by_library, short)
        for short, base in self.bases.items():
            makers[f"{base}, 10 % of labels"] = partial(self.few_labels, short)
        makers["head by library, types > 1,000 cells"] = partial(self.by_library, "head", common=True)
        for short in ("head", "body"):
            makers[f"{short} by cell 8:1:1"] = partial(self.fly_by_cell, short)
        makers["pancreas by donor"] = self.pancreas
        makers["PBMC by cell 8:1:1"] = self.pbmc
        if self.zheng68k is not None:
            makers["Zheng68K by cell 8:1:1"] = self.zheng
        return makers

    @property
    def bases(self) -> dict[str, str]:
        """Names of the tasks with whole libraries held out, by set."""
        return {"head": "head by library", "body": "body by library", "davie": "davie by strain"}

    def by_library(self, short: str, *, common: bool = False) -> Task:
        """Return a task with the libraries, or the strain, held out that no pretraining saw."""
        cells = self._file(self.folder / "fly" / f"{FLY[short]}.h5ad")
        labels, test = cells.obs["cell_type"].to_numpy(dtype=str), held_out(cells.obs)
        known = named_in_both(labels, test) if short == "davie" else np.ones(len(labels), dtype=bool)
        name, what = self.bases[short], SAYS[short]
        if common:
            types, sizes = np.unique(labels, return_counts=True)
            known &= np.isin(labels, types[sizes > MANY_CELLS])
            name, what = f"{name}, types > 1,000 cells", f"{what}, types with more than {MANY_CELLS:,} cells"
        used = probe_cells(known & ~test, known & test, self.seed)
        split = Split("held-out", used[~test[used]], used[test[used]])
        return self._task(name, cells, labels, cells.obs["batch"].to_numpy(dtype=str), [split], what, gene_key="FBgn")

    def few_labels(self, short: str) -> Task:
        """Return the same with a tenth of the labelled cells of every reference library."""
        task = self.by_library(short)
        (split,) = task.splits
        drawn = thinned(split.reference, task.libraries, FEW_LABELS, self.seed)
        name, note = f"{task.name}, 10 % of labels", f"{task.note}; 10 % of each reference library"
        return replace(task, name=name, splits=[replace(split, reference=drawn)], note=note)

    def fly_by_cell(self, short: str) -> Task:
        """Return the article's split of a fly set."""
        cells = self._file(self.folder / "fly" / f"{FLY[short]}.h5ad")
        note = "pretraining saw most of these cells, unlabelled, as in the article"
        return self._by_cell(f"{short} by cell 8:1:1", cells, "cell_type", "batch", note, gene_key="FBgn")

    def pancreas(self) -> Task:
        """Return each donor labelled from the three others."""
        cells = self._file(self.folder / "human" / "baron_pancreas_human_2142.h5ad")
        labels, donors = cells.obs["cell_type"].to_numpy(dtype=str), cells.obs["donor"].to_numpy(dtype=str)
        known = _frequent(labels)
        names = np.unique(donors)
        splits = [
            Split(donor, np.flatnonzero(known & (donors != donor)), np.flatnonzero(known & (donors == donor)))
            for donor in names
        ]
        last = np.repeat(names == names[-1], [len(split.query) for split in splits])
        views = {"4 donors in turn": np.ones(len(last), dtype=bool), "donors 1–3 → donor 4": last}
        note = f"each donor from the others; types with {MIN_TYPE_CELLS} cells or more; model pretrained on the others"
        return self._task("pancreas by donor", cells, labels, donors, splits, note, views=views, own_model=True)

    def pbmc(self) -> Task:
        """Return sorted blood cells, split by cell alone."""
        cells = self._file(self.folder / "human" / "zheng_facs_3874.h5ad")
        note = "one run is one label, so no run can be held out; model pretrained on the reference cells"
        return self._by_cell("PBMC by cell 8:1:1", cells, "cell_type", None, note, own_model=True)

    def zheng(self) -> Task:
        """Return Zheng68K, one sample of blood, split by cell."""
        assert self.zheng68k is not None
        cells = self._file(self.zheng68k)
        if self.zheng68k_labels not in cells.obs:
            raise KeyError(
                f"{self.zheng68k} has no labels {self.zheng68k_labels!r}; name one of {', '.join(cells.obs)} by "
                "--zheng68k-labels. In a 10x folder they are a column of a .tsv file beside its column 'barcodes'."
            )
        note = "one sample; model pretrained on the reference cells"
        return self._by_cell("Zheng68K by cell 8:1:1", cells, self.zheng68k_labels, None, note, own_model=True)

    def _by_cell(self, name: str, cells: AnnData, label_key: str, batch: str | None, note: str, **more: Any) -> Task:
        labels = cells.obs[label_key].astype(object).fillna("").to_numpy(dtype=str)
        libraries = np.full(len(labels), "one") if batch is None else cells.obs[batch].to_numpy(dtype=str)
        known = np.flatnonzero(_frequent(labels) & (labels != ""))
        query = np.zeros(len(labels), dtype=bool)
        query[known] = cell_folds(labels[known], n_splits=10, seed=self.seed) == 9
        reference = np.zeros(len(labels), dtype=bool)
        reference[known] = ~query[known]
        used = probe_cells(reference, query, self.seed)
        split = Split("by-cell", used[~query[used]], used[query[used]])
        note = f"by cell, stratified: 8 parts and 1 for tuning → 1 part; {note}"
        return self._task(name, cells, labels, libraries, [split], note, by_cell=True, **more)

    def _task(
        self, name: str, cells: AnnData, labels: np.ndarray, libraries: np.ndarray, splits: list[Split], note: str, *,
        gene_key: str | None = None, views: dict[str, np.ndarray] | None = None, **more: Any,
    ) -> Task:  # fmt: skip
        genes = cells.var_names if gene_key is None else cells.var[gene_key]
        counts, n_query = sparse.csr_matrix(cells.X), sum(len(split.query) for split in splits)
        views = {"": np.ones(n_query, dtype=bool)} if views is None else views
        task = Task(name, counts, genes.to_numpy(dtype=str), labels, libraries, splits, views, note, **more)
        drawn = f", {TRAIN_CELLS:,} reference cells drawn" if len(splits[0].reference) == TRAIN_CELLS else ""
        return replace(task, note=f"{note}; {len(task.classes)} types{drawn}")

    def _file(self, path: Path) -> AnnData:
        if path not in self._open:
            self._open.clear()
            self._open[path] = read_labelled(path)
        return self._open[path]


def read_labelled(path: Path) -> AnnData:
    """Read an h5ad file, or a 10x folder with a table of barcodes and labels (.tsv, column ``barcodes``) in it."""
    import anndata as ad

    if not path.is_dir():
        return ad.read_h5ad(path)
    import pandas as pd
    import scanpy as sc

    cells = sc.read_10x_mtx(path)
    for file in sorted([*path.glob("*.tsv"), *path.glob("*.tsv.gz")]):
        table: pd.DataFrame = pd.read_csv(file, sep="\t")
        if "barcodes" in table:
            columns = table.set_index("barcodes").reindex(cells.obs_names)
            cells.obs = cells.obs.join(columns, rsuffix="_table")
    return cells


def thinned(reference: np.ndarray, libraries: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Return a share of the reference cells of each library, drawn at random."""
    random = np.random.default_rng(seed)
    mine = libraries[reference]
    drawn = [
        random.choice(found, max(round(share * len(found)), 1), replace=False)
        for found in (reference[mine == library] for library in np.unique(mine))
    ]
    return np.sort(np.concatenate(drawn))


def _frequent(labels: np.ndarray) -> np.ndarray:
    names, sizes = np.unique(labels, return_counts=True)
    return np.isin(labels, names[sizes >= MIN_TYPE_CELLS])
