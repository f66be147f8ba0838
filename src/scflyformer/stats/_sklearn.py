"""scikit-learn, loaded when it is first needed."""

from __future__ import annotations

import random


def load_sklearn() -> None:
    """Import scikit-learn; what comes with it (rich) draws from Python's global generator, which is left as it was."""
    state = random.getstate()
    try:
        import sklearn.metrics
        import sklearn.model_selection  # noqa: F401
    finally:
        random.setstate(state)
