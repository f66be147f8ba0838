"""Which of the classifiers that ship fits the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data._embedding import embedding, usable_rep
from scflyformer.data._tables import text_index

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.annotation._request import AnnotateRequest

AUTO = "auto"
GENERAL = "fly-atlas"
"""Covers all tissues, less finely; taken where no other classifier knows most of the cells."""
_USUAL = 0.99
"""Highest novelty of a cell that a classifier knows."""
_ASKED = 1000
"""Cells that decide."""
_KNOWN = 0.9
"""Least share of cells that a classifier of one tissue must know."""


def choose_classifier(cells: AnnData, request: AnnotateRequest, running: Running) -> tuple[str, pd.DataFrame]:
    """Return the name of the classifier to use, and a table: ``classifier``, that one first, and ``share_known``.

    A cell is known where its novelty is at most `_USUAL`. Of the classifiers of single tissues, that which knows
    most of the cells is taken, if it knows `_KNOWN` of them.
    """
    from scflyformer.annotation._saved import FILE, load_classifier
    from scflyformer.models._shipped import shipped_readouts

    some = cells[np.unique(np.linspace(0, cells.n_obs - 1, _ASKED).astype(int))] if cells.n_obs > _ASKED else cells
    shares: dict[str, float] = {}
    x = None
    for name in shipped_readouts(FILE):
        classifier, report = load_classifier(name)
        if x is None:
            use_rep = usable_rep(cells, request.use_rep, report.model_sha256)
            x = embedding(some, classifier.model, request.reading, running, use_rep=use_rep, log_prefix=None)
            x = x[(x != 0).any(axis=1)]
        novelty = classifier(x)[1]
        shares[name] = float((novelty <= _USUAL).mean()) if len(x) else float("nan")
    tissues = {name: share for name, share in shares.items() if name != GENERAL}
    best = max(tissues, key=lambda name: tissues[name])
    chosen = best if tissues[best] >= _KNOWN else GENERAL
    shown = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    if chosen == GENERAL:
        _log.warning(
            f"annotate: no classifier of one tissue knows {_KNOWN:.0%} of the cells ({shown}), so {chosen!r} labels "
            "them, often in broad terms. For finer labels learn from labelled cells of the tissue, by reference=."
        )
    else:
        _log.info(f"annotate: classifier {chosen!r} knows most of the cells ({shown})")
    order = [chosen, *(name for name in shares if name != chosen)]
    return chosen, text_index(pd.DataFrame({"classifier": order, "share_known": [shares[name] for name in order]}))
