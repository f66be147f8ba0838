"""Cell types from labelled cells."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scflyformer import _log
from scflyformer._deprecated import moved_to_settings
from scflyformer._running import Running
from scflyformer.annotation._baselines import Baselines
from scflyformer.annotation._choose import AUTO, GENERAL, choose_classifier
from scflyformer.annotation._finetune_folds import fit_finetuned
from scflyformer.annotation._folds import split_labelled
from scflyformer.annotation._probe import fit_probe
from scflyformer.annotation._report import COLUMNS, annotation_results, score_classifier
from scflyformer.annotation._request import AnnotateRequest
from scflyformer.annotation._saved import load_classifier, records, save_classifier
from scflyformer.annotation._tuned import warn_of_tuned
from scflyformer.data import _adata, _features
from scflyformer.data._embedding import (
    EMBEDDING_KEY,
    choose_model,
    embedding,
    made_by,
    reading_of,
    require_model,
    untrained,
    usable_rep,
)
from scflyformer.data._labels import UNKNOWN, read_labels
from scflyformer.data._reading import Reading
from scflyformer.data._seen import note_seen, warn_of_seen
from scflyformer.data._training_cells import UsedCells

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scflyformer.annotation._classifier import Fitted
    from scflyformer.models import Model


@moved_to_settings("device", "dtype", "batch_tokens")
def annotate(
    adata: AnnData | MuData,
    *,
    reference: AnnData | MuData | None = None,
    label_key: str | None = None,
    sample_key: str | None = None,
    groupby: str | None = None,
    use_rep: str = EMBEDDING_KEY,
    classifier: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    method: Literal["probe", "finetune"] = "probe",
    baselines: Literal["auto", "none"] | Sequence[str] = "auto",
    min_score: float = 0.5,
    max_novelty: float = 0.99,
    precision: float = 0.95,
    epochs: int = 3,
    n_splits: int = 5,
    save: str | os.PathLike[str] | None = None,
    seed: int = 0,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    key_added: str = "annotation",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Label cells by a classifier on their embedding.

    ``annotate(adata)`` labels fly cells by a classifier that ships. With ``reference`` a classifier is trained there
    and labels ``adata``; ``classifier`` loads one by name or from a folder that an earlier call saved; with
    ``label_key`` alone, labelled cells of ``adata`` are cross-validated (each gets the label of a classifier that has
    not seen its sample), and cells without a label are predicted from all labelled ones. A new classifier is tested on
    held-out samples and compared with baselines.

    The classifier is multinomial logistic regression on the embedding, centred and divided by one common scale. The
    penalty is chosen within the training folds, each held out in turn, all samples weighing equally. Probabilities are
    calibrated with one temperature (Guo et al. 2017) from held-out predictions. A cell is labelled ``"Unknown"`` where
    its highest probability is below ``min_score``, or its novelty exceeds ``max_novelty``, that is, it resembles no
    class.

    Where classes are terms of the fly anatomy ontology FBbt, as in classifiers that ship and with labels of
    :func:`scflyformer.pp.harmonize_labels`, each cell also gets the deepest term whose classes together are probable
    enough: for an L1 neuron in doubt *lamina monopolar neuron*, else *neuron*. The probability that this takes is
    calibrated on held-out cells, so that a share ``precision`` of these terms is right. A cell that is too novel is a
    *cell*.

    Parameters
    ----------
    adata
        Cells to label: counts, or log1p of normalised counts.
    reference
        Labelled cells to train on.
    label_key
        Column of `obs` with the labels, in ``reference`` or else in ``adata``. Cells labelled "Unknown" or
        "unannotated", or not at all, are not used for training. Not used with ``classifier``. Without it, and without
        ``reference`` and ``sample_key``, ``classifier`` is ``"auto"``.
    sample_key
        Column of `obs` with the sample (library, donor), where the labels are. Whole samples are then held out, and
        verdicts are over samples. Without it cells are held out, and scores overestimate transfer to new samples.
    groupby
        Column of `obs`, such as clusters: adds a table with a label for each group.
    use_rep
        Embedding in `obsm`, from any method. It is computed, but not written, if there is none under the default name,
        it is not that of ``model``, or the expression has changed since; likewise in ``reference``.
    classifier
        Folder that an earlier call wrote with ``save``, or one that ships and reads the model ``fly``: ``"fly-head"``,
        ``"fly-body"`` (types of the Fly Cell Atlas), ``"fly-brain"`` (Davie 2018) or ``"fly-atlas"`` (embryo to old
        fly, from FlyBase's cluster means and the cells of the others). ``"auto"``: the one of the first three that
        knows most cells (novelty at most 0.99), if it knows 90 % of them, else ``"fly-atlas"``.
    model
        Name of a model, or its folder. `None`: the model that made `obsm[use_rep]` of ``adata``, else of ``reference``,
        else `settings.model` (``"fly"``). With ``classifier``, the model is in that folder and this is not used.
    method
        ``"probe"``: logistic regression on the frozen embedding. ``"finetune"``: starting there, the network is trained
        on the labels, for minutes to hours; the number of epochs, and how far the weights move, are chosen on a
        held-out fold (the temperature on other cells), and the final classifier is trained on all labelled cells. With
        ``reference`` one fold is tested, else all.
    baselines
        What the classifier is compared with in the same folds. ``"auto"``: all. ``"none"``: none. Or some names:
        ``"expression"``, logistic regression with an L1 penalty on log-normalised expression (at most 4,000 most
        variable genes); ``"pca"``, logistic regression on 64 principal components of it, from the training cells of
        each fold; ``"neighbours"``, votes of the nearest cells on these components; ``"random"``, the same classifier
        on the embedding of the same network with untrained weights, which shows what pretraining adds; ``"majority"``,
        the most frequent class. Each but the last has one parameter to tune, chosen in the same way as for the
        embedding, from as many values.
    min_score
        Least calibrated probability, 0 to 1, with which a cell gets a label.
    max_novelty
        Highest novelty with which a cell gets a label: with 0.99, about 1 % of cells like the labelled ones get none. 1
        labels all cells, however novel.
    precision
        Share of answers in ontology terms that should be right, 0 to 1. A broad answer is right more often.
    epochs
        Passes over the labelled cells at most, for ``method="finetune"``.
    n_splits
        Folds; fewer where there are fewer samples.
    save
        Folder to write, with the model and the classifier, for later use as ``classifier``.
    seed
        Seed of the folds and intervals.
    layer
        Layer with the expression, in ``adata`` and ``reference``. `None`: the one that the embedding was made from,
        else `X`.
    gene_key
        Column of `var` with gene names, in both. `None`: the one that the embedding was made with, else `var_names`.
    mod
        Modality of a MuData, in both.
    key_added
        Name of the keys written.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written are

    `obs[key_added]` : categorical
        Label; ``"Unknown"`` where the score is below ``min_score``, the novelty above ``max_novelty``, or the cell has
        no counts in the model's genes.
    `obs[key_added + "_score"]` : float32
        Calibrated probability of the best label, 0 to 1.
    `obs[key_added + "_novelty"]` : float32
        Share of the held-out labelled cells that are less novel, 0 to 1, by two scores combined: the Mahalanobis
        distance to the nearest class (Lee et al. 2018) and the energy of the logits (Liu et al. 2020). NaN for a cell
        without counts in the model's genes.
    `obs[key_added + "_best"]` : categorical
        Best label before abstaining.
    `obs[key_added + "_fbbt"]`, `obs[key_added + "_fbbt_name"]` : categorical
        Where classes are terms of FBbt: id and name of the deepest term that is probable enough.
    `obs[key_added + "_level"]` : int32
        How many of the classes fall under that term: 1 for a single type, all of them for *cell*.
    `obsm[key_added + "_proba"]` : float32, n_obs × n_classes
        Calibrated probabilities, columns as in ``classes``.
    `uns[key_added]` : dict
        ``"classes"``: names, sorted. ``"metrics"``: a data frame with a row for each of `features` (`embedding` and the
        baselines): `accuracy`, `macro_f1` (of all cells, each with `_low` and `_high`: a 95 % t interval over samples
        of the first, a bootstrap over samples of the second, which is rough; over cells without ``sample_key``), `ece`,
        `coverage` (share of cells labelled, each placed among those of other folds), `accuracy_covered`,
        `accuracy_gain`, `macro_f1_gain` (embedding less this row, the mean over samples of the gain in each, with
        `_low` and `_high`, a 95 % t interval over samples, NaN with fewer than three, and `_least` and `_most`, the
        lowest and highest gain of a sample; without ``sample_key`` over cells, which then count as independent; NaN for
        the embedding), `n_cells`, `n_samples` (0 where not named), `split` (``"sample"`` or ``"cell"``); held-out
        predictions within the labelled cells; with ``classifier`` within its training cells. ``"baselines"``: its rows
        without the first. ``"verdict"``: for each of these a sentence: the embedding is above it, below it, or cannot
        be told from it: where the interval of the gain holds 0, and with fewer than three samples, whatever the gains.
        ``"per_class"``: `label`, `n_cells`, `recall`, `precision`, `f1`. ``"temperature"``. ``"choice"``
        (``classifier="auto"``): `classifier`, the one taken first, and `share_known`, the share of cells whose novelty
        for it is at most 0.99. ``"terms"``: `term` and `name` of each class; ``"roll_up"``: ``"precision"``, the
        ``"threshold"`` of probability that it needs, the ``"release"`` of FBbt. ``"groups"`` (with ``groupby``):
        `group`, `label` (most frequent best label), `agreement` (share of the group's cells with it), `score` (their
        mean), `n_cells`. ``"params"``: arguments, model, model hash, package version, and the share of up to 5,000
        cells that :func:`scflyformer.models.contamination` finds among the training cells, where it can tell:
        ``"training_seen"``, with ``classifier`` (the log warns from 1 %), else ``"pretraining_seen"``, by the model,
        without labels. With ``classifier`` nothing is fitted, and the metrics are those saved.

    Raises
    ------
    ValueError
        When arguments contradict each other, labels cannot be learnt (one class, one sample), or the expression cannot
        be read; see also :func:`scflyformer.tl.embed`.
    KeyError
        When a column is missing; lists near names.
    FileExistsError
        When ``save`` is taken.

    Examples
    --------
    Label fly cells, with nothing but the file.

    >>> import scflyformer as sf
    >>> cells = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.annotate(cells)
    >>> str(cells.uns["annotation"]["params"]["classifier"])
    'fly-brain'
    >>> names = cells.obs["annotation_fbbt_name"]
    >>> bool((names[cells.obs["cell_type"] == "G-KC"] == "adult gamma Kenyon cell").mean() > 0.5)
    True

    Transfer to new samples, compared with baselines. The labels written are out of fold.

    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.annotate(
    ...     adata,
    ...     label_key="cell_type",
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines=["pca", "majority"],
    ... )
    >>> metrics = adata.uns["annotation"]["metrics"]
    >>> metrics[["features", "n_cells", "n_samples", "split"]]
        features  n_cells  n_samples   split
    0  embedding      200         21  sample
    1        pca      200         21  sample
    2   majority      200         21  sample
    >>> print(adata.uns["annotation"]["verdict"][-1])
    embedding above majority in macro-F1 (..., 95 % ... to ...); ...

    Label new cells from a reference, and keep the classifier for the next ones.

    >>> new = sf.datasets.fly_brain_simulated(50, seed=1)
    >>> sf.tl.annotate(
    ...     new,
    ...     reference=adata,
    ...     label_key="cell_type",
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines="none",
    ...     save="brain-types",
    ... )
    >>> later = sf.datasets.fly_brain_simulated(50, seed=2)
    >>> sf.tl.annotate(later, classifier="brain-types")
    >>> later.obs.columns[3:].tolist()
    ['annotation', 'annotation_score', 'annotation_novelty', 'annotation_best']
    """
    from scflyformer.models._save import check_target
    from scflyformer.models._shipped import is_shipped, require_genes

    request = AnnotateRequest(
        label_key=label_key,
        sample_key=sample_key,
        groupby=groupby,
        use_rep=use_rep,
        classifier=classifier,
        method=method,
        baselines=baselines,
        min_score=min_score,
        max_novelty=max_novelty,
        precision=precision,
        epochs=epochs,
        n_splits=n_splits,
        save=save,
        seed=seed,
        reading=Reading.as_set(layer, gene_key),
    )
    request.check(reference)
    check_target(save)
    unused = [name for name in ("label_key", "sample_key") if classifier is not None and getattr(request, name)]
    if unused:
        _log.warning(f"annotate: a saved classifier is applied as it is; {' and '.join(unused)} are not used.")
    if reference is None and label_key is None and classifier is None:
        classifier = AUTO
    out, cells = _adata.start(adata, mod=mod, copy=copy)
    labels_here = label_key if reference is None and classifier is None else None
    read = {"label_key": labels_here, "sample_key": sample_key, "groupby": groupby}
    _adata.check_key_added(key_added, COLUMNS, **read)
    groups = None if groupby is None else _adata.obs_text(cells, groupby, what="groupby")
    asked, running, others = request.reading, Running.as_set(), request.compared

    noted: dict[str, Any] = {}
    choice = None
    if classifier is not None:
        require_genes(cells.n_vars, classifier)
        named = GENERAL if classifier == AUTO else classifier  # those that ship all read one embedding
        labeller, report = load_classifier(named)
        known = report.model_sha256
        if is_shipped(named):  # its model is its own affair, and another one's embedding nothing to warn of
            use_rep = usable_rep(cells, use_rep, known)
        x = embedding(cells, labeller.model, asked, running, use_rep=use_rep, sha256=known, tool="annotate")
        if classifier == AUTO:
            named, choice = choose_classifier(x)
            request = replace(request, classifier=named)
            labeller, report = load_classifier(named)
        reading = reading_of(cells, None, use_rep, asked)
        noted |= warn_of_seen(cells, named, labeller.known_model, "labels", reading, tool="annotate")
        probability, novelty = labeller(x)
        mode = "classifier"
    else:
        labelled = cells if reference is None else _adata.open_data(reference, mod=mod if _has_mod(reference) else None)
        loaded = choose_model(cells if use_rep in cells.obsm else labelled, model, use_rep=use_rep)
        if save is not None or method == "finetune":
            require_model(loaded, use_rep, what="save" if save is not None else "method='finetune'")
        if loaded is None and baselines == "auto":
            others.remove("random")
        noted |= warn_of_tuned(loaded, made_by(labelled, use_rep), tool="annotate")
        samples = _features.sample_names(labelled, sample_key)
        labels = read_labels(labelled, label_key, samples=samples)  # type: ignore[arg-type]
        log_prefix = "" if reference is None else "reference: "
        x = embedding(labelled, loaded, asked, running, use_rep=use_rep, tool="annotate", log_prefix=log_prefix)
        reading = reading_of(labelled, model, use_rep, asked)
        learnt_from = UsedCells(labelled, labels.codes >= 0, reading)
        noted |= note_seen(labelled, loaded, reading, tool="annotate")
        folds = split_labelled(labelled, labels, samples, request, layer=reading.layer)
        if method == "finetune" and loaded is not None:
            rows, _ = _adata.token_rows(labelled, loaded, reading, log_prefix=None)
            few = None if reference is None else [0]
            fitted = fit_finetuned(loaded, x, rows, folds, request, running, held_out=few)
            others = ["embedding", *others] if others else []
        else:
            fitted = fit_probe(loaded, x, folds)
        features = {
            "embedding": lambda: x,
            "random": lambda: untrained(
                labelled,
                require_model(loaded, use_rep, what="The baseline 'random', an untrained network,"),
                reading,
                running,
                seed=seed,
            ),
        }
        to_beat = Baselines(labelled, folds, fitted.tested, features, reading)
        report = score_classifier(fitted, folds, to_beat, others, request)
        labeller = fitted.classifier
        if reference is None:
            probability, novelty = _out_of_fold(cells, loaded, x, labels.codes, fitted, reading, running)
        else:
            rep = use_rep if labeller.model is loaded else ""  # none is there by a network trained just now
            reading = reading_of(cells, model, use_rep, asked)
            x = embedding(cells, labeller.model, reading, running, use_rep=rep, tool="annotate")
            _check_width(x, labeller.head.weight.shape[1], use_rep)
            probability, novelty = labeller(x)
        mode = "reference" if reference is not None else "cross-validation"

    empty = (x == 0).all(axis=1)
    probability[empty], novelty[empty] = report.prior, np.nan
    result = annotation_results(labeller, report, probability, novelty, groups, key_added, request)
    if save is not None:
        save_classifier(save, labeller, report, request, learnt_from)
    uns = result["uns"][key_added]
    uns["params"] = _adata.run_params(labeller.model, mode=mode, **request.params()) | noted
    if choice is not None:
        uns["choice"] = choice
    if labeller.model is None:
        uns["params"] |= {name: value for name, value in made_by(cells, use_rep).items() if name.startswith("model")}
    _adata.write(cells, **result)
    _report(uns, int((result["obs"][key_added] == UNKNOWN).sum()), cells.n_obs, key_added)
    return out if copy else None


def _out_of_fold(
    cells: AnnData,
    model: Model | None,
    x: np.ndarray,
    codes: np.ndarray,
    fitted: Fitted,
    reading: Reading,
    running: Running,
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and novelty of all cells: of labelled ones as they were held out, of others as new ones."""
    known = codes >= 0
    probability, novelty = np.zeros((len(x), fitted.probability.shape[1])), np.zeros(len(x))
    probability[known], novelty[known] = fitted.probability, fitted.novelty
    if not known.all():
        reads = fitted.classifier.model
        new = (
            x[~known]
            if reads is model
            else embedding(cells[~known], reads, reading, running, use_rep="", log_prefix=None)
        )
        probability[~known], novelty[~known] = fitted.classifier(new)
    return probability, novelty


def _check_width(x: np.ndarray, expected: int, use_rep: str) -> None:
    if x.shape[1] != expected:
        raise ValueError(
            f"obsm[{use_rep!r}] has {x.shape[1]} dimensions in the cells and {expected} in the reference; expected the "
            "same embedding in both."
        )


def _has_mod(data: Any) -> bool:
    return hasattr(data, "mod")


def _report(uns: dict[str, Any], n_unknown: int, n_cells: int, key: str) -> None:
    """Log what was found; with a classifier the scores are those of the cells that it has learnt from."""
    loaded = uns["params"]["mode"] == "classifier"
    rows = records(uns["metrics"])
    shown = (f"{row['features']}: accuracy {row['accuracy']:.3f}, macro-F1 {row['macro_f1']:.3f}" for row in rows)
    whose = "cells that the classifier has learnt from, " if loaded else ""
    said = [f"{whose}held out by {rows[0]['split']} — " + "; ".join(shown), *uns.get("verdict", [])]
    _log.info("\n".join([f"annotate: {n_cells} cells, {n_unknown} of them {UNKNOWN}, in .obs[{key!r}]", *said]))
    if loaded and n_unknown > n_cells / 2:
        terms = f" obs['{key}_fbbt_name'] has a broader term for each." if "terms" in uns else ""
        _log.warning(f"annotate: {n_unknown} of {n_cells} cells are {UNKNOWN} to the classifier.{terms}")
