"""Tools: embed, annotate, date, perturb and pretrain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ._age_clock import age_clock as age_clock
    from ._annotate import annotate as annotate
    from ._embed import embed as embed
    from ._perturb import perturb as perturb
    from ._pretrain import pretrain as pretrain

__getattr__, __dir__, __all__ = attach(
    __name__,
    names={
        "age_clock": "_age_clock",
        "annotate": "_annotate",
        "embed": "_embed",
        "perturb": "_perturb",
        "pretrain": "_pretrain",
    },
)
