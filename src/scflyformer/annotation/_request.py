"""What `tl.annotate` is asked for, as one value that has been checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from scflyformer.data._reading import Reading

BASELINES = ("expression", "pca", "neighbours", "random", "majority")


@dataclass(frozen=True)
class AnnotateRequest:
    """The arguments of :func:`scflyformer.tl.annotate`, which documents them; ``reading``: what is read."""

    label_key: str | None
    sample_key: str | None
    groupby: str | None
    use_rep: str
    classifier: str | os.PathLike[str] | None
    method: Literal["probe", "finetune"]
    baselines: str | Sequence[str]
    min_score: float
    max_novelty: float
    precision: float
    epochs: int
    n_splits: int
    save: str | os.PathLike[str] | None
    seed: int
    reading: Reading

    @property
    def compared(self) -> list[str]:
        """The baselines, in the order of `BASELINES`."""
        baselines: Any = self.baselines
        if isinstance(baselines, str) and baselines in ("auto", "none"):
            return list(BASELINES) if baselines == "auto" else []
        names = [baselines] if isinstance(baselines, str) or not isinstance(baselines, Sequence) else baselines
        return [*(name for name in BASELINES if name in names), *(name for name in names if name not in BASELINES)]

    def params(self) -> dict[str, Any]:
        """Return the arguments as they are to be recorded."""
        asked = {name: value for name, value in vars(self).items() if name != "reading"}
        asked |= {"baselines": self.baselines if isinstance(self.baselines, str) else self.compared}
        if self.method != "finetune":
            del asked["epochs"]
        return asked | vars(self.reading)

    def check(self, reference: object) -> None:
        """Raise `ValueError` where an argument is out of range, or arguments contradict each other."""
        if [name for name in self.compared if name not in BASELINES]:
            raise ValueError(
                f"baselines is {self.baselines!r}; expected 'auto' (all), 'none', or some of "
                f"{', '.join(map(repr, BASELINES))}."
            )
        if self.method not in ("probe", "finetune"):
            raise ValueError(f"method is {self.method!r}; expected 'probe' or 'finetune'.")
        for name in ("min_score", "max_novelty", "precision"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number from 0 to 1.")
        if self.classifier is None:
            if self.label_key is None and any(each is not None for each in (reference, self.save, self.sample_key)):
                raise ValueError(
                    "label_key is missing; name the column of obs with the labels to learn, or pass classifier= alone."
                )
            return
        for name, value in {"reference": reference, "save": self.save}.items():
            if value is not None:
                raise ValueError(
                    f"Both classifier and {name} were given; a saved classifier is used as it is. Give one of them."
                )
