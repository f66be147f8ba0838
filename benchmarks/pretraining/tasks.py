"""The fly sets and the tasks on them: types, neighbours and ages in libraries that pretraining has not seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from scflyformer.stats._splits import sample_folds

from ..lib.data import Data, Fit
from ..lib.splits import TRAIN_CELLS, held_out, named_in_both, probe_cells
from .probing import Split, Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

NUCLEI = ("fca_head", "fca_body")
"""The sets of nuclei; the others are of whole cells."""


@dataclass(eq=False)
class Bench:
    """The sets, opened when a task first asks for them, and the tasks on them."""

    folder: Path
    seed: int = 0
    train_cells: int = TRAIN_CELLS
    _open: dict[str, Data] = field(default_factory=dict)

    def data(self, name: str) -> Data:
        """Return a set; only the last one stays in memory."""
        if name not in self._open:
            self._open.clear()
            self._open[name] = Data(self.folder / "fly" / f"{name}.h5ad", self._used(name))
        return self._open[name]

    def _used(self, name: str) -> Callable[[pd.DataFrame], np.ndarray]:
        def choose(obs: pd.DataFrame) -> np.ndarray:
            if name not in NUCLEI:
                return np.arange(len(obs))
            test = held_out(obs)
            return probe_cells(~test, test, self.seed, self.train_cells)

        return choose

    @cached_property
    def makers(self) -> dict[str, Callable[[], Task]]:
        """Return what makes each task, by name."""
        makers: dict[str, Callable[[], Task]] = {}
        for kind in ("labels", "neighbours"):
            for name in ("fca_head", "fca_body", "davie_brain_aging"):
                short = name.removeprefix("fca_").split("_")[0]
                makers[f"{short} {kind}"] = partial(self._labelled, name, kind, short)
        makers["clock libraries"] = self._clock_libraries
        makers["clock w1118 → DGRP-551"] = partial(self._clock_strain, "w1118", "DGRP-551")
        makers["clock DGRP-551 → w1118"] = partial(self._clock_strain, "DGRP-551", "w1118")
        return makers

    def _labelled(self, name: str, kind: str, short: str) -> Task:
        data = self.data(name)
        test = held_out(data.obs)
        labels, known = data.obs["cell_type"].to_numpy(dtype=str), np.ones(len(test), dtype=bool)
        if name == "davie_brain_aging":
            known = named_in_both(labels, test)
        codes = np.zeros(len(labels), dtype=int)
        codes[known] = np.unique(labels[known], return_inverse=True)[1]
        fit = Fit("w1118" if name == "davie_brain_aging" else "train", ~held_out(data.adata.obs))
        split = Split(fit, np.flatnonzero(known & ~test), np.flatnonzero(known & test))
        says = {"fca_head": "FCA4, FCA13 held out", "fca_body": "FCA16, FCA25 held out"}.get(name, "w1118 → DGRP-551")
        if kind == "neighbours":
            says += "; 15 nearest cells of other libraries"
        views = {"": np.ones(len(split.test), dtype=bool)}
        return Task(f"{short} {kind}", kind, data, codes, [split], views, f"{says}, {codes.max() + 1} types")

    def _ages(self) -> tuple[Data, np.ndarray, np.ndarray]:
        data = self.data("davie_brain_aging")
        days = data.obs["age"].to_numpy(dtype=float)
        return data, days, np.log2(days + 1)

    def _clock_libraries(self) -> Task:
        data, _, target = self._ages()
        folds = sample_folds(data.libraries, values=target, n_splits=3)
        splits = [
            Split(Fit(f"fold{fold}", folds != fold), np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
            for fold in range(3)
        ]
        test = np.concatenate([split.test for split in splits])
        dgrp = (data.obs["genotype"] == "DGRP-551").to_numpy()[test]
        views = {"all": np.ones(len(test), dtype=bool), "DGRP-551 alone": dgrp}
        return Task("clock libraries", "age", data, target, splits, views, "3 folds, each with one library an age")

    def _clock_strain(self, train: str, test: str) -> Task:
        data, days, target = self._ages()
        strain = data.obs["genotype"].to_numpy(dtype=str)
        split = Split(Fit(train, strain == train), np.flatnonzero(strain == train), np.flatnonzero(strain == test))
        young = days[split.test] <= 30
        every = np.ones(len(young), dtype=bool)
        views = {"all": every} if young.all() else {"to 30 days": young, "with 50 days": every}
        return Task(f"clock {train} → {test}", "age", data, target, [split], views, f"{train} → {test}")
