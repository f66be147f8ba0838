"""What `tl.perturb` is asked for, as one value that has been checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from scflyformer.data._states import read_state, read_states, require_disjoint
from scflyformer.perturbation._edit import DOSED, Kind
from scflyformer.perturbation._make_readouts import Centroid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    import pandas as pd

    from scflyformer.data._reading import Reading
    from scflyformer.data._states import State


@dataclass(frozen=True)
class PerturbRequest:
    """The arguments of :func:`scflyformer.tl.perturb`, which documents them; ``reading``: what is read."""

    genes: str | Sequence[str | tuple[str, str]] | Mapping[str, str | Sequence[str]]
    kind: Kind
    dose: float
    method: Literal["auto", "exact", "screen"]
    n_top: int
    state_key: str
    start: Any
    goal: Any
    alt: Any
    sample_key: str | None
    groupby: str | None
    use_rep: str
    model: str | os.PathLike[str] | None
    pooling: Literal["auto", "cell", "code", "mean"]
    clock: str | os.PathLike[str] | None
    classifier: str | os.PathLike[str] | None
    downstream: int | Literal["all"]
    n_null: int
    max_cells: int | None
    seed: int
    reading: Reading
    n_label: int
    centroid: Centroid

    @property
    def every_gene(self) -> bool:
        """Whether all genes are asked for."""
        return isinstance(self.genes, str) and self.genes == "all"

    @property
    def screens(self) -> bool:
        """Whether genes are screened: asked for, or possible where all genes are deleted and no folder is read off."""
        if self.method == "auto":
            return self._can_screen and not (self.clock or self.classifier or self.downstream)
        return self.method == "screen"

    @property
    def _can_screen(self) -> bool:
        return self.every_gene and self.kind == "delete"

    def split_genes(self) -> tuple[Any, list[tuple[str, str]]]:
        """Return genes and sets without pairs, and the pairs among them."""
        if isinstance(self.genes, str) or not isinstance(self.genes, Sequence):
            return self.genes, []
        pairs = [gene for gene in self.genes if isinstance(gene, tuple)]
        return [gene for gene in self.genes if not isinstance(gene, tuple)], pairs

    def states(self, column: pd.Series) -> tuple[State, State, list[State]]:
        """Return the states start, goal and alternatives, as the column of states has them."""
        key = self.state_key
        start, goal = (read_state(column, getattr(self, what), key=key, what=what) for what in ("start", "goal"))
        others = read_states(column, self.alt, key=key, what="alt")
        require_disjoint([("start", start), ("goal", goal), *(("alt", state) for state in others)], key=key)
        return start, goal, others

    def params(self) -> dict[str, Any]:
        """Return the arguments that results depend on but for what is read, as they are to be recorded."""
        return {name: value for name, value in vars(self).items() if name not in ("model", "reading")}

    def check(self) -> None:
        """Raise `ValueError` where an argument is out of range."""
        from scflyformer.network._network import Pooling

        check_edits(self.kind, self.n_null, self.max_cells, kinds=get_args(Kind))
        choices = {
            "method": ("auto", "exact", "screen"),
            "pooling": ("auto", *get_args(Pooling)),
            "centroid": get_args(Centroid),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                shown = ", ".join(map(repr, allowed[:-1]))
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected {shown} or {allowed[-1]!r}.")
        if self.kind in DOSED and not 0 < self.dose <= 1:
            raise ValueError(f"dose is {self.dose}; expected above 0 (no change) and at most 1.")
        if self.method == "screen" and not self._can_screen:
            raise ValueError(
                f"method='screen' estimates what the deletion of every gene does; got genes={self.genes!r}, "
                f"kind={self.kind!r}. Pass genes='all' and kind='delete', or method='exact'."
            )
        for name, least in (("n_top", 1), ("n_label", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected {least} or more.")
        most: Any = self.downstream
        if most != "all" and (isinstance(most, str | bool) or not hasattr(most, "__index__") or most < 0):
            raise ValueError(f"downstream is {most!r}; expected a whole number of genes, or 'all'.")


def check_edits(kind: str, n_null: int, max_cells: int | None, *, kinds: tuple[str, ...]) -> None:
    """Raise `ValueError` where the edit, null sets or cells asked for are out of range."""
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}; expected {', '.join(map(repr, kinds[:-1]))} or {kinds[-1]!r}.")
    if n_null < 0:
        raise ValueError(f"n_null is {n_null}; expected 0 (no p-values) or more; 200 resolve p-values to 0.005.")
    if max_cells is not None and max_cells < 1:
        raise ValueError(f"max_cells is {max_cells}; expected 1 or more, or None for all cells.")


def sort_readouts(
    folders: Sequence[str | os.PathLike[str]],
) -> tuple[str | os.PathLike[str] | None, str | os.PathLike[str] | None]:
    """Return the folder of a saved clock and that of a saved classifier among ``folders``, at most one each."""
    from scflyformer.annotation._saved import FILE as CLASSIFIER_FILE
    from scflyformer.clock._saved import FILE as CLOCK_FILE

    files = {"clock": CLOCK_FILE, "classifier": CLASSIFIER_FILE}
    by_kind: dict[str, str | os.PathLike[str]] = {}
    for folder in [folders] if isinstance(folders, str | os.PathLike) else folders:
        kinds = [kind for kind, file in files.items() if (Path(folder).expanduser() / file).exists()]
        if not kinds:
            raise ValueError(
                f"readouts holds {str(folder)!r}; expected folders of saved clocks and classifiers, which hold "
                f"{CLOCK_FILE} or {CLASSIFIER_FILE}: tl.age_clock and tl.annotate make them with save=."
            )
        if kinds[0] in by_kind:
            raise ValueError(f"readouts holds two folders of a {kinds[0]}; give one, and run again for the other.")
        by_kind[kinds[0]] = folder
    return by_kind.get("clock"), by_kind.get("classifier")
