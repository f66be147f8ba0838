"""Results as tidy data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ._annotation_df import annotation_df as annotation_df
    from ._clock_df import clock_df as clock_df
    from ._perturb_df import perturb_df as perturb_df

__getattr__, __dir__, __all__ = attach(
    __name__,
    names={
        "annotation_df": "_annotation_df",
        "clock_df": "_clock_df",
        "perturb_df": "_perturb_df",
    },
)
