"""Whether the cells at hand were among those that a model was trained on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scflyformer import _log
from scflyformer.data import _adata
from scflyformer.data._embedding import EMBEDDING_KEY, choose_model, require_model
from scflyformer.data._reading import Reading
from scflyformer.data._tables import text_index
from scflyformer.data._training_cells import compare, seen_cells

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from scflyformer.data._training_cells import SetMatches
    from scflyformer.models import Model

COLUMNS = ("model", "set", "use", "n_cells", "n_compared", "n_matched", "expected", "share", "verdict")
NO_MANIFEST = "not known: there is no list of its training cells"
_UNTOLD = ("cannot be told", "not known")


def contamination(
    adata: AnnData | MuData,
    *,
    model: str | os.PathLike[str] | None = None,
    key_added: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
) -> pd.DataFrame:
    """Tell which of your cells a model, a classifier or a clock was trained on.

    A classifier or a clock has seen the labels or ages of such cells, so that scores on them say little of new cells. A
    pretrained model has seen the cells, but no labels.

    A cell is recognised by which genes it expresses, out of 256 that about half of the training cells express, and not
    by its barcode: as counts or as log1p of normalised counts, with further genes, in any order. A cell whose reads
    were aligned anew, or whose counts were corrected for ambient RNA, is not recognised. A few cells match by chance,
    since a model folder keeps a short hash of each cell.

    Parameters
    ----------
    adata
        Cells × genes: counts, or log1p of normalised counts.
    model
        Name of a model, of a classifier or a clock that ships, or a folder. `None`: the model that made
        `obsm["X_scflyformer"]`, else `settings.model` (``"fly"``).
    key_added
        Column of `obs` to write. `None`: nothing is written.
    layer
        Layer with the expression; `X` by default.
    gene_key
        Column of `var` with gene names; `var_names` by default.
    mod
        Modality of a MuData.

    Returns
    -------
    One row for each training set, of the model and of the classifier or clock that reads it:

    - ``model``, ``set``: names;
    - ``use``: ``"pretraining"`` or ``"adaptation"`` (without labels), ``"labels"`` or ``"ages"`` (with them); ``""``
      where it is not known;
    - ``n_cells``: cells of the set;
    - ``n_compared``: cells of ``adata`` that can be compared with it: those that express 20 or more of the genes, and
      do not express 20 or more;
    - ``n_matched``: those of them that match; ``expected``: how many would by chance;
    - ``share``: of the cells compared, how many were in the set, matches by chance taken off; NaN without such cells;
    - ``verdict``: ``"seen: …"``, where so many matches have a probability below 0.0001 by chance, ``"not seen: …"``,
      ``"cannot be told: …"``, where ``adata`` lacks more than four of the genes or no cell can be compared, or ``"not
      known: …"``, where a folder was written without a list of its training cells.

    With ``key_added`` are written

    `obs[key_added]` : bool
        Whether the cell matches a set that was seen; some do by chance.
    `uns[key_added]` : dict
        ``"results"``: the table; ``"params"``: arguments, model, model hash, package version.

    Raises
    ------
    ValueError
        When the genes are not those of the model, or the values are no expression; see also
        :func:`scflyformer.tl.embed`.
    KeyError
        When ``layer``, ``gene_key`` or ``mod`` do not exist; lists near names.
    ModelFolderError
        When the list of training cells is damaged. A `ValueError`.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(300)
    >>> table = sf.models.contamination(adata, model="fly-tiny")
    >>> table.loc[0, ["set", "use", "verdict"]].tolist()
    ['fca_head', 'pretraining', 'cannot be told: 37 of the 256 genes that tell its cells apart are missing']

    A classifier knows the cells that it has learnt from.

    >>> sf.tl.annotate(adata, label_key="cell_type", model="fly-tiny", baselines="none", save="types")
    >>> table = sf.models.contamination(adata, model="types", key_added="seen")
    >>> table.loc[len(table) - 1, ["set", "use", "verdict"]].tolist()
    ['cell_type', 'labels', 'seen: 100.0% of the cells']
    >>> int(adata.obs["seen"].sum())
    300
    """
    import pandas as pd

    from scflyformer.models._manifest import Manifest

    if key_added is None:
        cells = _adata.open_data(adata, mod=mod)
    else:
        _adata.check_key_added(key_added, ("",))
        _, cells = _adata.start(adata, mod=mod)
    loaded, folders = _folders(cells, model)
    reading = Reading.as_set(layer, gene_key)
    found: list[tuple[str, SetMatches]] = []
    rows = []
    for name, folder in folders.items():
        manifest = Manifest.read(folder, loaded.vocabulary.n_genes)
        matches = [] if manifest is None else compare(cells, manifest, loaded, reading)
        for unknown in (name,) if manifest is None else manifest.unknown:
            rows.append((name, unknown, "", 0, 0, 0, float("nan"), float("nan"), NO_MANIFEST))
        found += [(name, each) for each in matches]
        rows += [_row(name, each) for each in matches]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    seen = seen_cells([each for _, each in found], cells.n_obs)
    if key_added is not None:
        params = _adata.run_params(loaded, **({} if model is None else {"asked": model}), **vars(reading))
        _adata.write(cells, obs={key_added: seen}, uns={key_added: {"results": text_index(table), "params": params}})
    _log.info("contamination: " + _summary(table, int(seen.sum()), cells.n_obs))
    return table


def _folders(cells: AnnData, model: str | os.PathLike[str] | None) -> tuple[Model, dict[str, Path]]:
    """Return the model whose vocabulary counts, and the folders with lists of training cells by name."""
    from scflyformer import models
    from scflyformer.models._shipped import FOLDER, is_shipped, shipped_model

    if model is not None and is_shipped(model):
        name = os.fspath(model)
        loaded = shipped_model(name)
        return loaded, {loaded.name: loaded.path, name: FOLDER / name}
    chosen = models.load(model) if model is not None else choose_model(cells, None, use_rep=EMBEDDING_KEY)
    loaded = require_model(chosen, EMBEDDING_KEY, what="model=None")
    return loaded, {loaded.name: loaded.path}


def _row(model: str, matches: SetMatches) -> tuple[Any, ...]:
    cells = matches.set
    found = (getattr(matches, name) for name in COLUMNS[4:])
    return model, cells.name, cells.use, cells.n_cells, *found


def _summary(table: pd.DataFrame, n_seen: int, n_obs: int) -> str:
    """Return what was found, in a line or two."""
    kinds = table["verdict"].str.partition(":")[0]
    seen = table[kinds == "seen"]
    said = [] if kinds.isin(_UNTOLD).all() else [f"{n_seen:,} of {n_obs:,} cells match training sets"]
    if len(seen):
        said = [f"{said[0]}: " + ", ".join(f"{row.set} ({row.use}), {row.share:.1%}" for row in seen.itertuples())]
    for kind in _UNTOLD:
        if len(names := table["set"][kinds == kind]):
            said.append(f"{kind}: {', '.join(names)}")
    if table["verdict"].str.endswith("are missing").any():
        said.append("if genes were renamed since, pass the column of var with FlyBase ids as gene_key=")
    return "; ".join(said)
