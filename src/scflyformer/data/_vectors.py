"""Cells of an object become vectors of a model, block by block: what `tl.embed` and the clock share."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer import _log
from scflyformer.data import _adata

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.data._reading import Reading
    from scflyformer.models._model import Model
    from scflyformer.network._infer import Pooling
    from scflyformer.tokens._rows import TokenRows


def embed_cells(
    adata: AnnData,
    model: Model,
    reading: Reading,
    running: Running,
    *,
    pooling: Pooling,
    log_prefix: str | None = "",
    desc: str = "embedding cells",
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the vectors of an object's cells, float32, shape (n_obs, width), and the coverage report.

    Tokens exist for a block of cells at a time. Row chunks of a dask array are ranked and embedded where the scheduler
    in force runs them, on the device of that place.
    """
    from scflyformer.network._infer import check_embedding, embed_rows

    network = model.network()
    check_embedding(network, pooling, running)
    read = partial(embed_rows, network, pooling=pooling, running=running)
    if _adata.is_lazy(adata, reading.layer):
        network.to("cpu")  # type: ignore[arg-type]  # wherever it ran before, workers may have no such place
        blocks, coverage = _adata.map_token_rows(adata, model, read, reading, log_prefix=log_prefix, progress=False)
    else:
        with ExitStack() as opened:
            bars: list[Any] = []

            def read_on(rows: TokenRows) -> np.ndarray:
                if not bars:  # genes are resolved and the model is loaded: from here on it moves
                    bars.append(opened.enter_context(_log.progress(total=adata.n_obs, desc=desc, unit="cell")))
                return read(rows, bar=bars[0])

            blocks, coverage = _adata.map_token_rows(
                adata, model, read_on, reading, log_prefix=log_prefix, progress=False
            )
    return _stacked(blocks), coverage


def _stacked(blocks: list[np.ndarray]) -> np.ndarray:
    """Stack blocks and empty their list, so that they and the whole never exist at once."""
    out = np.empty((sum(map(len, blocks)), blocks[0].shape[1]), dtype=np.float32)
    start = 0
    blocks.reverse()
    while blocks:
        block = blocks.pop()
        out[start : start + len(block)] = block
        start += len(block)
    return out
