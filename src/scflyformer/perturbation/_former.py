"""Arguments of `tl.perturb` that others have taken in, for one release more."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from itertools import combinations
from typing import Any, ParamSpec, TypeVar

from scflyformer._deprecated import warn_deprecated

P = ParamSpec("P")
R = TypeVar("R")


def former_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Let `tl.perturb` take pairs of genes, a clock and a classifier by themselves, as it did; with a warning."""

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> R:
        for name in ("clock", "classifier"):
            if (folder := given.pop(name, None)) is not None:
                warn_deprecated("tl.perturb", name, "Give its folder in readouts.")
                before = given.get("readouts", ())
                given["readouts"] = [*([before] if isinstance(before, str | os.PathLike) else before), folder]
        if (pairs := given.pop("pairs", None)) is not None:
            warn_deprecated("tl.perturb", "pairs", "Give pairs as tuples in genes.")
            given["genes"] = _with_pairs(given.get("genes"), pairs)
        return function(*args, **given)

    return call


def _with_pairs(genes: Any, pairs: Any) -> list[Any]:
    """Return genes with pairs among them."""
    if not isinstance(genes, list | tuple):
        raise ValueError(
            f"pairs goes with a list of gene names; got genes={genes!r}. Name the genes, or leave pairs out."
        )
    if isinstance(pairs, str):
        single = list(dict.fromkeys(gene for gene in genes if isinstance(gene, str)))
        if pairs != "all" or len(single) < 2:
            raise ValueError(
                f"pairs is {pairs!r} with {len(single)} gene(s); expected 'all' with two or more, or a list of pairs."
            )
        pairs = combinations(single, 2)
    return [*genes, *(tuple(pair) for pair in pairs)]
