"""Tables as they are stored in `uns`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def text_index(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a text index, as h5ad keeps it."""
    return table.set_axis(np.arange(len(table)).astype(str).astype(object), axis="index")
