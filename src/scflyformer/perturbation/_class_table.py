"""The results of `tl.annotation_genes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scflyformer.data._tables import text_index
from scflyformer.perturbation._classifier_reader import CONTRAST, LOG_ODDS, PROBABILITY
from scflyformer.perturbation._tables import set_results, share_above_zero
from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._edit_plan import EditPlan

CLASS_RESULTS = (
    "gene",
    "gene_id",
    "group",
    "kind",
    "n_cells",
    "n_samples",
    "change",
    "ci_low",
    "ci_high",
    "share_higher",
    "null_mean",
    "effect",
    "p_value",
    "fdr",
    "ci_over",
    "n_null",
    "probability_change",
    "rival",
    "contrast",
    "contrast_null_mean",
    "contrast_effect",
    "contrast_p_value",
    "contrast_fdr",
)
"""Columns of the results of `tl.annotation_genes`, in this order; up to `n_null` those of `tl.clock_genes`."""


def class_results(
    plan: EditPlan, changes: np.ndarray, samples: np.ndarray, vocabulary: Vocabulary, *, rivals: Mapping[str, str]
) -> pd.DataFrame:
    """Return the results as `tl.annotation_genes` documents them.

    ``changes`` are those of each copy, as :func:`scflyformer.perturbation._classifier_reader.class_changes` returns
    them; ``rivals`` the class that each group's is held against.
    """
    rows = [
        {
            **each.about,
            **each.summaries[LOG_ODDS],
            "change": each.summaries[LOG_ODDS]["shift"],
            "share_higher": share_above_zero(each.values[:, LOG_ODDS]),
            **each.judged[LOG_ODDS],
            "probability_change": each.summaries[PROBABILITY]["shift"],
            "rival": rivals[each.about["group"]],
            "contrast": each.summaries[CONTRAST]["shift"],
            **{f"contrast_{name}": value for name, value in each.judged[CONTRAST].items()},
        }
        for each in set_results(plan, changes, samples, vocabulary)
    ]
    table = pd.DataFrame(rows)
    for prefix in ("", "contrast_"):
        table[f"{prefix}fdr"] = false_discovery_rate(table[f"{prefix}p_value"].to_numpy())
    return text_index(table[list(CLASS_RESULTS)])
