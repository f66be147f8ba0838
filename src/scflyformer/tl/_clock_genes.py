"""Which genes a saved clock's ages hang on: predicted age with each gene taken away or raised."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from scflyformer import _log
from scflyformer._deprecated import moved_to_settings
from scflyformer._running import Running
from scflyformer._settings import settings
from scflyformer.clock._fit import ALL
from scflyformer.data import _adata, _features
from scflyformer.data._reading import Reading
from scflyformer.data._tables import text_index
from scflyformer.perturbation._cells import draw_groups
from scflyformer.perturbation._clock_reader import age_changes, open_clock
from scflyformer.perturbation._edit_plan import MIN_CELLS, plan_edits
from scflyformer.perturbation._gene_sets import read_gene_sets
from scflyformer.perturbation._null_sets import NullDraw
from scflyformer.perturbation._reasons import absent_words, left_out
from scflyformer.perturbation._request import check_edits
from scflyformer.perturbation._tables import clock_results

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scflyformer.perturbation._gene_sets import GeneSet

Kind = Literal["delete", "overexpress"]


@moved_to_settings("synonyms", "device", "dtype", "batch_tokens")
def clock_genes(
    adata: AnnData | MuData,
    *,
    clock: str | os.PathLike[str],
    genes: str | Sequence[str] | Mapping[str, str | Sequence[str]] = "all",
    kind: Kind = "delete",
    sample_key: str | None = None,
    groupby: str | None = None,
    max_cells: int | None = 100,
    n_null: int = 200,
    seed: int = 0,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    key_added: str = "clock_genes",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Edit genes in cells and measure by how much a saved clock's predicted age changes.

    Where the clock reads the embedding, the cell's tokens are edited as :func:`scflyformer.tl.perturb` edits them and
    the copy is embedded again. Where it reads expression, the gene's log-normalised value alone is changed: other genes
    are not normalised again. A clock of both has both parts changed.

    The change shows what the clock uses. It does not prove that the gene drives ageing: genes that vary with age, cell
    composition or library preparation move a clock too, and of two redundant genes the clock may use either. A change
    is a hypothesis to test in flies. A clock of pseudocells or pseudobulks predicts the age of single cells here.

    Deleting any highly expressed gene moves a prediction, so each gene is compared with null genes matched in the same
    cells (detection rate, mean rank and value).

    Each edited copy of a cell goes through the network once, at the speed of :func:`scflyformer.tl.embed`; deleting all
    genes makes as many copies as the drawn cells have genes. A clock of expression alone needs no network.

    Parameters
    ----------
    adata
        Cells × genes: counts, or log1p of normalised counts; see :func:`scflyformer.pp.tokenize`. Best cells that the
        clock was not fitted on.
    clock
        Folder that :func:`scflyformer.tl.age_clock` wrote with ``save``.
    genes
        ``"all"``: every gene that the clock reads (the model's vocabulary, the genes of its expression part) and that
        at least 10 drawn cells of the group express. Else a gene, a list of genes, each by itself, or a dict of name to
        the genes edited together. FBgn, symbol, CG id or synonym, or a name under which the clock knows the gene.
    kind
        ``"delete"``: the gene's token is removed and later ones move up, its value becomes 0; done in the cells that
        express it (within the model's length, or among the values read). ``"overexpress"``: the gene is put in front,
        with the value of the cell's first gene, and its log-normalised value becomes the highest that the clock reads
        in the cell; done in all drawn cells, whether or not they express it.
    sample_key
        Column of `obs` with the sample (library, animal). Changes are then averaged within samples first, and samples,
        not cells, count as independent.
    groupby
        Column of `obs`, such as the cell type: each group is edited separately, with its own clock if the folder has
        one, else that of all cells.
    max_cells
        Most cells of a group to edit, drawn as evenly over samples as they allow; `None` for all.
    n_null
        Most null genes for each gene: the nearest in detection rate, mean rank and mean value, none further than two
        standard deviations in any, and at most 5 % of the genes there are (20 where that is more).
    seed
        Seed of the choice of cells and null genes. Neither depends on the order of cells or genes.
    layer
        Layer with the expression; `X` by default.
    gene_key
        Column of `var` with gene names; `var_names` by default. An expression clock needs the names it was fitted with.
    mod
        Modality of a MuData.
    key_added
        Name of the key written, in `uns`.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written is `uns[key_added]`, a dict with

    `"results"` : DataFrame, a row per gene (set) and group
        `gene` as asked (the symbol with ``genes="all"``), `gene_id` (of a set joined by ``+``), `group` (``"all"``
        without ``groupby``), `kind`; `n_cells` edited and `n_samples` they come from (1 without ``sample_key``);
        `change`, new minus old predicted age in the unit of the clock's ages, the mean over sample means; `ci_low`,
        `ci_high`, its 95 % t interval over samples, or over cells where there is one sample (NaN for one cell);
        `share_older`, the share of cells whose predicted age goes up, 0 to 1; `null_mean`, the mean change of the null
        genes; `effect` = (change − `null_mean`) / their standard deviation; `p_value` = (1 + number of null genes at
        least as far from the null median) / (1 + number of null genes), two-sided; `fdr`, Benjamini-Hochberg over all
        rows. As no p-value is below 1 / (1 + `n_null`), a scan of all genes hardly reaches a low `fdr`; rank it by
        `effect`. Then `ci_over` (``"samples"`` or ``"cells"``) and `n_null`.
    `"absent"` : array of names
        Genes asked for that the clock does not read in these cells, or that no drawn cell expresses.
    `"skipped"` : DataFrame
        `gene`, `group`, `reason`: combinations asked for that have no row, why.
    `"params"` : dict
        Arguments, what the clock predicts and from what, its hash, the model's name and hash, package version.

    Raises
    ------
    KeyError
        When a column is missing; lists near names.
    ValueError
        When no gene asked for is read or expressed, the expression clock's genes are missing, or an option is out of
        range.
    ModelFolderError
        When the folder holds no clock.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.age_clock(
    ...     adata,
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines="none",
    ...     save="brain-clock",
    ... )

    In cells of other libraries: Hsp68 was planted to rise with age, Yeti to be as high at all ages. Few null genes and
    cells keep this quick.

    >>> other = sf.datasets.fly_brain_simulated(100, seed=1)
    >>> sf.tl.clock_genes(
    ...     other,
    ...     clock="brain-clock",
    ...     genes=["Hsp68", "Yeti"],
    ...     sample_key="batch",
    ...     max_cells=20,
    ...     n_null=20,
    ... )
    >>> results = other.uns["clock_genes"]["results"]
    >>> results[["gene", "kind", "n_null", "ci_over"]]
        gene    kind  n_null  ci_over
    0  Hsp68  delete      20  samples
    1   Yeti  delete      16  samples

    No p-value is below 1 / (1 + number of null genes).

    >>> results.loc[results["p_value"] < 0.05, "gene"].tolist()
    ['Hsp68']
    """
    running = Running.as_set().exact()
    check_edits(kind, n_null, max_cells, kinds=("delete", "overexpress"))
    out, data = _adata.start(adata, mod=mod, copy=copy)
    samples = _features.sample_names(data, sample_key)
    everyone = np.full(data.n_obs, ALL, dtype=object)
    labels = everyone if groupby is None else _adata.obs_text(data, groupby, what="groupby")
    units = everyone if samples is None else samples
    table = _adata.synonym_table(settings.synonyms)
    opened = open_clock(data, clock, Reading(layer, gene_key, table))
    every = isinstance(genes, str) and genes == "all"
    sets, unread = (None, []) if every else read_gene_sets(genes, opened.known, table)

    row = {name: at for at, name in enumerate(opened.saved.groups) if groupby is not None and name != ALL}
    names, usable = _adata.cell_names(data, layer=layer), opened.usable()
    pools, bare = draw_groups(labels, usable, names, units, max_cells=max_cells, seed=seed)
    if not pools:
        raise ValueError(
            f"None of the {data.n_obs} cells has {'' if groupby is None else 'a group and '}counts in the genes that "
            "the clock reads, so there is nothing to edit. Pass cells with counts, with genes named as in the clock."
        )
    if without_clock := [pool.name for pool in pools if groupby is not None and pool.name not in row]:
        _log.info(f"clock_genes: no clock of their own, hence that of all cells: {', '.join(without_clock[:10])}")
    if samples is None:
        _log.warning("clock_genes: without sample_key cells count as independent, and intervals come out too narrow.")

    drawn = opened.take(np.concatenate([pool.cells for pool in pools]))
    rows = np.repeat([row.get(pool.name, 0) for pool in pools], [len(pool.cells) for pool in pools])
    names = opened.known.vocabulary.names
    plan = plan_edits(drawn.ranked(), pools, sets, NullDraw(kind, n_null, seed), names=names)
    if not len(plan.copies):
        raise ValueError(_nothing(plan.sets, len(rows), every=every))
    changes = age_changes(drawn, rows, plan.copies, running)
    results = clock_results(plan, changes, units, opened.known.vocabulary)
    absent, skipped = left_out(
        plan,
        dict.fromkeys(unread, "not read by the clock"),
        dict.fromkeys(bare, "no cells with counts in the genes that the clock reads"),
        {},
        unexpressed="not expressed in the drawn cells",
        every=every,
    )
    saved = opened.saved
    params = _adata.run_params(
        saved.model,
        clock=clock,
        clock_sha256=saved.model.sha256,
        features=saved.features,
        target=saved.target,
        age_key=saved.age_key,
        genes=genes if isinstance(genes, str | Mapping) else list(genes),
        kind=kind,
        groupby=groupby,
        sample_key=sample_key,
        max_cells=max_cells,
        n_null=n_null,
        layer=layer,
        gene_key=gene_key,
        synonyms=settings.synonyms,
        seed=seed,
        device=running.device,
        dtype=running.dtype,
        ci_level=0.95,
        fdr_family="all rows of results",
    )
    params |= {"model": saved.fitted_on, "model_sha256": saved.fitted_on_sha256}
    found = {
        "results": results,
        "absent": np.array(list(absent), dtype=object),
        "skipped": text_index(skipped),
        "params": params,
    }
    _adata.write(data, uns={key_added: found})
    if absent:
        _log.warning(f"clock_genes: left out: {absent_words(found)}.")
    _log.info(
        f"clock_genes: {len(results)} results from {len(rows)} cells and {len(changes)} edited copies, in "
        f".uns[{key_added!r}]['results']"
    )
    return out if copy else None


def _nothing(sets: Sequence[GeneSet], n_cells: int, *, every: bool) -> str:
    if every:
        return (
            f"No gene that the clock reads is expressed in {MIN_CELLS} cells or more of a group; {n_cells} cells were "
            "drawn. Give more cells, or ask for genes by name."
        )
    shown = ", ".join(repr(one.name) for one in sets[:5]) + (", …" if len(sets) > 5 else "")
    return (
        f"None of the {n_cells} drawn cells expresses {shown}, so there is nothing to delete. Ask for other genes, for "
        "more cells by max_cells=, or for kind='overexpress'."
    )
