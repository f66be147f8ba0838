"""Updates of MuData that copy no columns of a modality to the whole, in any version."""

from contextlib import nullcontext

import mudata


def no_pull():
    """Return a context in which updates copy no columns; from 0.4 on that is so anyway."""
    return mudata.set_options(pull_on_update=False) if hasattr(mudata, "set_options") else nullcontext()
