"""Tools: adapt, embed, annotate, date, perturb and pretrain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ._adapt import adapt as adapt
    from ._age_acceleration import age_acceleration as age_acceleration
    from ._age_clock import age_clock as age_clock
    from ._annotate import annotate as annotate
    from ._annotation_genes import annotation_genes as annotation_genes
    from ._clock_genes import clock_genes as clock_genes
    from ._embed import embed as embed
    from ._perturb import perturb as perturb
    from ._pretrain import PretrainOptions as PretrainOptions
    from ._pretrain import pretrain as pretrain

__getattr__, __dir__, __all__ = attach(
    __name__,
    names={
        "PretrainOptions": "_pretrain",
        "adapt": "_adapt",
        "age_acceleration": "_age_acceleration",
        "age_clock": "_age_clock",
        "annotate": "_annotate",
        "annotation_genes": "_annotation_genes",
        "clock_genes": "_clock_genes",
        "embed": "_embed",
        "perturb": "_perturb",
        "pretrain": "_pretrain",
    },
)
