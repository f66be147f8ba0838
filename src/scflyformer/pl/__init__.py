"""Plots of what the tools have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ._age_clock import age_clock as age_clock
    from ._annotation import annotation as annotation
    from ._clock_scores import clock_scores as clock_scores
    from ._confusion import confusion as confusion
    from ._expression import expression as expression
    from ._perturb_shift import perturb_shift as perturb_shift
    from ._perturb_volcano import perturb_volcano as perturb_volcano
    from ._training import training as training

__getattr__, __dir__, __all__ = attach(
    __name__,
    names={
        "age_clock": "_age_clock",
        "annotation": "_annotation",
        "clock_scores": "_clock_scores",
        "confusion": "_confusion",
        "expression": "_expression",
        "perturb_shift": "_perturb_shift",
        "perturb_volcano": "_perturb_volcano",
        "training": "_training",
    },
)
