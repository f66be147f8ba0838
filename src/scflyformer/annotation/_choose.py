"""Which of the classifiers that ship fits the cells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data._tables import text_index

AUTO = "auto"
GENERAL = "fly-atlas"
"""Covers all tissues, less finely; taken where no other classifier knows most of the cells."""
_USUAL = 0.99
"""Highest novelty of a cell that a classifier knows."""
_ASKED = 1000
"""Cells that decide."""
_KNOWN = 0.9
"""Least share of cells that a classifier of one tissue must know."""


def choose_classifier(x: np.ndarray) -> tuple[str, pd.DataFrame]:
    """Return the name of the classifier to use, and a table: ``classifier``, that one first, and ``share_known``.

    ``x`` is the embedding that all classifiers that ship read, shape (n_obs, width). A cell is known where its novelty
    is at most `_USUAL`. Of the classifiers of single tissues, that which knows most of the cells is taken, if it knows
    `_KNOWN` of them.
    """
    from scflyformer.annotation._saved import FILE, load_classifier
    from scflyformer.models._shipped import shipped_readouts

    if len(x) > _ASKED:
        x = x[np.unique(np.linspace(0, len(x) - 1, _ASKED).astype(int))]
    x = x[(x != 0).any(axis=1)]
    shares: dict[str, float] = {}
    for name in shipped_readouts(FILE):
        novelty = load_classifier(name)[0](x)[1]
        shares[name] = float((novelty <= _USUAL).mean()) if len(x) else float("nan")
    tissues = {name: share for name, share in shares.items() if name != GENERAL}
    best = max(tissues, key=lambda name: tissues[name])
    chosen = best if tissues[best] >= _KNOWN else GENERAL
    shown = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    if chosen == GENERAL:
        _log.warning(
            f"annotate: less than {_KNOWN:.0%} of cells resemble the training cells of a classifier of one tissue "
            f"({shown}), so {chosen!r} labels them, often in broad terms. For finer labels learn from labelled cells "
            "of the tissue, by reference=."
        )
    else:
        _log.info(f"annotate: most cells resemble the training cells of classifier {chosen!r} ({shown})")
    order = [chosen, *(name for name in shares if name != chosen)]
    return chosen, text_index(pd.DataFrame({"classifier": order, "share_known": [shares[name] for name in order]}))
