"""What `tl.age_clock` is asked for, as one value that has been checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from scflyformer.clock._run import ARMS, ARTICLE, MEAN, ClockOptions
from scflyformer.clock._units import Aggregate
from scflyformer.data._ages import Target

if TYPE_CHECKING:
    from scflyformer.data._reading import Reading

Features = Literal["embedding", "expression", "embedding+expression"]
COMPARED = ("embedding", "expression", "embedding+expression", "random", "depth", MEAN, ARTICLE)
"""What ``baselines`` takes."""
CONTROLS = ("depth", MEAN)
"""Feature sets that every call has."""


@dataclass(frozen=True)
class ClockRequest:
    """The arguments of :func:`scflyformer.tl.age_clock`, which documents them; ``reading``: what is read."""

    age_key: str
    sample_key: str | None
    groupby: str | None
    use_rep: str
    clock: str | os.PathLike[str] | None
    features: Features
    baselines: str | Sequence[str]
    target: Target
    aggregate: Aggregate
    pseudocell_size: int
    level: float
    n_splits: int
    min_cells: int
    save: str | os.PathLike[str] | None
    seed: int
    reading: Reading

    @property
    def compared(self) -> list[str]:
        """Feature sets that stand beside ``features``, but for the controls."""
        baselines: Any = self.baselines
        if isinstance(baselines, str) and baselines in ("auto", "all", "none"):
            named = {"auto": [name for name in COMPARED if name != "random"], "all": list(COMPARED), "none": []}
            return named[baselines]
        return [baselines] if isinstance(baselines, str) or not isinstance(baselines, Sequence) else list(baselines)

    @property
    def article(self) -> bool:
        """Whether the published recipe is asked for."""
        return ARTICLE in self.compared

    @property
    def feature_sets(self) -> tuple[str, ...]:
        """All feature sets but the published recipe, in the order of the tables."""
        return tuple(name for name in ARMS if name in (self.features, *self.compared, *CONTROLS))

    def columns(self) -> dict[str, str | None]:
        """Return the columns of `obs` that are read, by argument."""
        return {"age_key": self.age_key, "sample_key": self.sample_key, "groupby": self.groupby}

    def params(self) -> dict[str, Any]:
        """Return the arguments as they are to be recorded."""
        asked = {name: value for name, value in vars(self).items() if name != "reading"}
        baselines = self.baselines if isinstance(self.baselines, str) else list(self.baselines)
        return asked | {"baselines": baselines} | vars(self.reading)

    def options(self, feature_sets: tuple[str, ...]) -> ClockOptions:
        """Return how clocks of these feature sets are fitted and tested."""
        return ClockOptions(
            feature_sets, article=self.article, target=self.target, n_splits=self.n_splits, seed=self.seed,
            aggregate=self.aggregate, final=None if self.save is None else self.features,
            pseudocell_size=self.pseudocell_size, level=self.level,
        )  # fmt: skip

    def reads(self, reading: Reading) -> ClockRequest:
        """Return the request with what is read instead of what was asked for."""
        return replace(self, reading=reading)

    def check(self) -> None:
        """Raise `ValueError` where an argument is out of range, or arguments contradict each other."""
        if [name for name in self.compared if name not in COMPARED]:
            raise ValueError(
                f"baselines is {self.baselines!r}; expected 'auto', 'all', 'none', or some of "
                f"{', '.join(map(repr, COMPARED))}."
            )
        for name, kind in (("features", Features), ("target", Target), ("aggregate", Aggregate)):
            if getattr(self, name) not in get_args(kind):
                shown = ", ".join(map(repr, get_args(kind)))
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {shown}.")
        if self.n_splits < 3:
            raise ValueError(
                f"n_splits is {self.n_splits}; expected 3 or more: one fold tests, and one chooses the penalty."
            )
        if self.pseudocell_size < 1:
            raise ValueError(f"aggregate is {self.pseudocell_size}; expected pseudocells of 1 or more cells.")
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}; expected a share above 0 and below 1, such as 0.9.")
        if self.clock is not None and self.save is not None:
            raise ValueError("Both clock and save were given; a saved clock is used as it is. Give one of them.")
