"""Which genes a saved classifier's labels hang on: each class asked again with each gene taken away or raised."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from scflyformer import _log
from scflyformer._running import Running
from scflyformer._settings import settings
from scflyformer._words import some_names
from scflyformer.data import _adata, _features
from scflyformer.data._reading import Reading
from scflyformer.data._tables import text_index
from scflyformer.genes._coverage import place_of
from scflyformer.perturbation._cells import draw_groups
from scflyformer.perturbation._class_table import class_results
from scflyformer.perturbation._classifier_reader import class_changes, open_classifier
from scflyformer.perturbation._edit import FOUND_ONLY
from scflyformer.perturbation._edit_plan import MIN_CELLS, plan_edits
from scflyformer.perturbation._gene_sets import distinct_names, read_gene_sets
from scflyformer.perturbation._null_sets import NullDraw
from scflyformer.perturbation._reasons import (
    absent_words,
    left_out,
    reasons_in_words,
    reasons_unknown,
    reasons_unmeasured,
)
from scflyformer.perturbation._request import check_edits

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scflyformer.perturbation._gene_sets import GeneSet

Kind = Literal["delete", "overexpress"]
BEST = "annotation_best"
"""Column of `obs` that is read where none is named."""


def annotation_genes(
    adata: AnnData | MuData,
    *,
    classifier: str | os.PathLike[str],
    genes: str | Sequence[str] | Mapping[str, str | Sequence[str]] = "all",
    kind: Kind = "delete",
    contrast: str | None = None,
    label_key: str | None = None,
    sample_key: str | None = None,
    max_cells: int | None = 100,
    n_null: int = 200,
    seed: int = 0,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    key_added: str = "annotation_genes",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Edit genes in labelled cells and measure how a saved classifier's answer changes.

    For each class among the cells: which genes, deleted (or raised), lower (or raise) the classifier's score of that
    class, and which of them separate it from the second-best class. The cell's tokens are edited as by
    :func:`scflyformer.tl.perturb`, the edited copy is embedded, and the classifier is applied to it.

    Genes are ranked by the change in log-odds, ln p / (1 − p), of the calibrated probability p. In most cells labelled
    by a good classifier the probability is near 1 and hardly moves, whichever gene is deleted: from 0.9999 to 0.999 it
    loses 0.0009, as much as from 0.5000 to 0.4991, while the log-odds fall by 2.3 and by 0.004. Log-odds do not
    saturate. The change in probability is in the table as well: it shows whether the label may change.

    The change shows what the classifier uses. A redundant marker changes nothing, and a gene with high expression in
    all cells may change much. So each gene is compared with null genes matched in the same cells (detection rate, mean
    rank and value).

    Each edited copy of a cell goes through the network once, at the speed of :func:`scflyformer.tl.embed`; deleting all
    genes makes as many copies of each class as its drawn cells have genes. A classifier trained on ``pooling="code"``
    is many times faster.

    Parameters
    ----------
    adata
        Cells × genes: counts, or log1p of normalised counts; see :func:`scflyformer.pp.tokenize`. Best cells that the
        classifier was not fitted on.
    classifier
        Folder that :func:`scflyformer.tl.annotate` wrote with ``save``.
    genes
        ``"all"``: every gene of the model's vocabulary that at least 10 drawn cells of the class hold. Else a gene, a
        list of genes, each by itself, or a dict of name to the genes edited together. FBgn, symbol, CG id or synonym.
    kind
        ``"delete"``: the gene's token is removed and later ones move up; done in the cells that express it (within the
        model's length). ``"overexpress"``: the gene is put in front, with the value of the cell's first gene; done in
        all drawn cells, whether or not they express it.
    contrast
        Class that each class is compared with. `None`: the runner-up, the other class with the highest mean probability
        in the drawn cells; it is also used for the class named here.
    label_key
        Column of `obs` with the labels, which are classes of the classifier. `None`: ``"annotation_best"``, which
        :func:`scflyformer.tl.annotate` writes. Cells labelled "Unknown" or "unannotated", or not at all, are left out.
    sample_key
        Column of `obs` with the sample (library, animal). Changes are then averaged within samples first, and samples,
        not cells, count as independent.
    max_cells
        Most cells of a class to edit, drawn as evenly over samples as they allow; `None` for all.
    n_null
        Most null genes for each gene: the nearest in detection rate, mean rank and mean value, none further than two
        standard deviations in any, and at most 5 % of the genes there are (20 where that is more).
    seed
        Seed of the choice of cells and null genes. Neither depends on the order of cells or genes.
    layer
        Layer with the expression; `X` by default.
    gene_key
        Column of `var` with gene names; `var_names` by default.
    mod
        Modality of a MuData.
    key_added
        Name of the key written, in `uns`.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written is `uns[key_added]`, a dict with

    `"results"` : DataFrame, a row per gene (set) and class
        `gene` as asked (the symbol with ``genes="all"``), `gene_id` (of a set joined by ``+``), `group` (the class),
        `kind`; `n_cells` edited and `n_samples` they come from (1 without ``sample_key``); `change`, new minus old
        log-odds of the class (natural logarithm), the mean over sample means: below 0 if deleting the gene lowers the
        support for the label; `ci_low`, `ci_high`, its 95 % t interval over samples, or over cells where there is one
        sample (NaN for one cell); `share_higher`, the share of cells whose log-odds go up, 0 to 1; `null_mean`, the
        mean change of the null genes; `effect` = (change − `null_mean`) / their standard deviation; `p_value` = (1 +
        number of null genes at least as far from the null median) / (1 + number of null genes), two-sided; `fdr`,
        Benjamini-Hochberg over all rows. As no p-value is below 1 / (1 + `n_null`), a scan of all genes hardly reaches
        a low `fdr`; rank it by `effect`. `ci_over` (``"samples"`` or ``"cells"``) and `n_null`; then
        `probability_change`, the mean change in calibrated probability, −1 to 1; `rival`, the class it is compared
        with; `contrast`, the mean change in log-odds between the class and its rival; `contrast_null_mean`,
        `contrast_effect`, `contrast_p_value`, `contrast_fdr`, the same of that.
    `"groups"` : DataFrame, a row per class
        `group`, `n_cells`, `n_samples`, `probability`, `rival`, `rival_probability`: mean calibrated probabilities of
        the drawn cells before any edit.
    `"absent"` : array of names
        Genes asked for that are not in the model's vocabulary, that the data do not measure, or that no drawn cell
        expresses.
    `"skipped"` : DataFrame
        `gene`, `group`, `reason`: combinations asked for that have no row, why; labels that are not a class among them.
    `"params"` : dict
        Arguments, the classifier's hash, name and hash of the model that it was fitted on, package version.

    Raises
    ------
    KeyError
        When a column is missing; lists near names.
    ValueError
        When no label is a class of the classifier, ``contrast`` is not one, no gene asked for is known or expressed, or
        an option is out of range.
    ModelFolderError
        When the folder holds no classifier.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.annotate(
    ...     adata,
    ...     label_key="cell_type",
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines="none",
    ...     save="brain-types",
    ... )

    In cells of other libraries, labelled by the classifier. Few null genes and cells keep this quick.

    >>> other = sf.datasets.fly_brain_simulated(100, seed=1)
    >>> sf.tl.annotate(other, classifier="brain-types")
    >>> sf.tl.annotation_genes(
    ...     other,
    ...     classifier="brain-types",
    ...     genes=["Gs2", "Yeti"],
    ...     sample_key="batch",
    ...     max_cells=10,
    ...     n_null=20,
    ... )
    >>> results = other.uns["annotation_genes"]["results"]
    >>> glia = results[results["group"] == "Astrocyte-like"].set_index("gene")
    >>> glia[["kind", "n_null", "rival"]]
            kind  n_null             rival
    gene
    Gs2   delete       7  Ensheathing_glia
    Yeti  delete      11  Ensheathing_glia

    Without *Gs2*, an enzyme of glia, all these cells look less like astrocytes; *Yeti* was planted as uninformative.

    >>> bool(glia.loc["Gs2", "ci_high"] < 0), float(glia.loc["Gs2", "share_higher"])
    (True, 0.0)
    >>> bool(abs(glia.loc["Yeti", "change"]) < 0.1 * abs(glia.loc["Gs2", "change"]))
    True
    """
    running = Running.as_set().exact()
    check_edits(kind, n_null, max_cells, kinds=("delete", "overexpress"))
    out, data = _adata.start(adata, mod=mod, copy=copy)
    labels = _labels(data, label_key)
    samples = _features.sample_names(data, sample_key)
    units = np.full(data.n_obs, "all", dtype=object) if samples is None else samples
    table = _adata.synonym_table(settings.synonyms)
    reader = open_classifier(data, classifier, Reading(layer, gene_key, table))
    model, place = reader.model, place_of(gene_key)
    not_classes = _check_classes(labels, reader.classes.tolist(), contrast, label_key or BEST)
    labels[np.isin(labels.astype(str), not_classes)] = None

    every = isinstance(genes, str) and genes == "all"
    sets, unknown = (None, []) if every else read_gene_sets(genes, model, table)
    absent = reasons_unknown(unknown, model.vocabulary, _adata.all_gene_names(data, gene_key), place)
    unmeasured = reasons_unmeasured(sets or [], reader.rows.panel, place, whole=kind not in FOUND_ONLY)
    if sets is not None and kind not in FOUND_ONLY:  # a gene that was not measured cannot be switched on
        absent |= unmeasured
        sets = [gene_set for gene_set in sets if gene_set.name not in unmeasured]
        if not sets:
            raise ValueError(f"There is nothing to {kind}: {reasons_in_words(unmeasured)}. Ask for other genes.")

    names = _adata.cell_names(data, layer=layer)
    groups, bare = draw_groups(labels, reader.usable(), names, units, max_cells=max_cells, seed=seed)
    if not groups:
        raise ValueError(
            f"None of the {data.n_obs} cells has a label and counts in the model's genes, so there is nothing to edit. "
            "Pass cells with counts, with genes named as in the model."
        )
    if samples is None:
        _log.warning("annotation_genes: without sample_key cells count as independent; intervals come out too narrow.")

    drawn = reader.take(np.concatenate([group.cells for group in groups]))
    gene_names = distinct_names(model.vocabulary)
    plan = plan_edits(drawn.rows, groups, sets, NullDraw(kind, n_null, seed), names=gene_names)
    if not len(plan.copies):
        raise ValueError(_nothing(plan.sets, len(drawn.rows), unmeasured, every=every))
    changes, about = class_changes(drawn, groups, plan.copies, running, contrast=contrast, samples=units)
    rivals = dict(zip(about["group"], about["rival"], strict=True))
    results = class_results(plan, changes, units, model.vocabulary, rivals=rivals)
    reasons = dict.fromkeys(not_classes, "not a class of the classifier")
    reasons |= dict.fromkeys(bare, "no cells with counts in the model's genes")
    absent, skipped = left_out(
        plan, absent, reasons, unmeasured, unexpressed="not expressed in the drawn cells", every=every
    )
    params = _adata.run_params(
        model,
        classifier=classifier,
        classifier_sha256=model.sha256,
        pooling=model.pooling,
        genes=genes if isinstance(genes, str | Mapping) else list(genes),
        kind=kind,
        contrast=contrast,
        label_key=label_key or BEST,
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
    params |= {"model": reader.fitted_on, "model_sha256": reader.fitted_on_sha256}
    found = {
        "results": results,
        "groups": about,
        "absent": np.array(list(absent), dtype=object),
        "skipped": text_index(skipped),
        "params": params,
    }
    _adata.write(data, uns={key_added: found})
    if absent:
        _log.warning(f"annotation_genes: left out: {absent_words(found)}.")
    _log.info(
        f"annotation_genes: {len(results)} results from {len(drawn.rows)} cells of {len(groups)} classes and "
        f"{len(changes)} edited copies, in .uns[{key_added!r}]['results']"
    )
    return out if copy else None


def _labels(data: AnnData, label_key: str | None) -> np.ndarray:
    """Return the label of each cell as text, `None` where it has none."""
    if label_key is None and BEST not in data.obs:
        raise KeyError(
            f"label_key: no {BEST!r} in adata.obs. Run sf.tl.annotate(adata, classifier=…) first, or name the column "
            "with the classes by label_key=."
        )
    labels = _adata.labels_of(_adata.obs_column(data, label_key or BEST, what="label_key"))
    if not any(label is not None for label in labels):
        raise ValueError(f"obs[{label_key or BEST!r}] labels none of the {data.n_obs} cells; expected classes.")
    return labels


def _check_classes(labels: np.ndarray, classes: list[str], contrast: str | None, label_key: str) -> list[str]:
    """Return the labels that the classifier does not know; an error where it knows none, or not ``contrast``."""
    if contrast is not None and contrast not in classes:
        raise ValueError(f"contrast is {contrast!r}; expected a class of the classifier: {some_names(classes, 20)}.")
    present = sorted(set(labels) - {None})
    not_classes = [label for label in present if label not in classes]
    if len(not_classes) == len(present):
        raise ValueError(
            f"obs[{label_key!r}] holds {some_names(not_classes)}, none of them a class of the classifier, which knows "
            f"{some_names(classes, 20)}. Name the column with its classes by label_key=, or label the cells by "
            "sf.tl.annotate(adata, classifier=…)."
        )
    if not_classes:
        _log.warning(
            f"annotation_genes: left out, as they are not classes of the classifier: {some_names(not_classes, 10)}."
        )
    return not_classes


def _nothing(sets: Sequence[GeneSet], n_cells: int, unmeasured: Mapping[str, str], *, every: bool) -> str:
    if every:
        return (
            f"No gene of the model's vocabulary is expressed in {MIN_CELLS} cells or more of a class; {n_cells} cells "
            "were drawn. Give more cells, or ask for genes by name."
        )
    measured = [gene_set.name for gene_set in sets if gene_set.name not in unmeasured]
    absent = f" {reasons_in_words(unmeasured)}." if unmeasured else ""
    none = f"None of the {n_cells} drawn cells expresses {some_names(measured)}." if measured else ""
    return (
        f"There is nothing to delete. {none}{absent} Ask for other genes, for more cells by max_cells=, or for "
        "kind='overexpress'."
    )
