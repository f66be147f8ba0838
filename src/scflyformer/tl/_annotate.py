"""Cell types from labelled cells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from scflyformer import _adata, _log
from scflyformer._settings import DEFAULT_MODEL
from scflyformer.tl import _features
from scflyformer.tl._annotation_run import results, train
from scflyformer.tl._classifier_folder import load_classifier, records, save_classifier
from scflyformer.tl._labels import UNKNOWN, read_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def annotate(
    adata: AnnData | MuData,
    *,
    reference: AnnData | MuData | None = None,
    label_key: str | None = None,
    sample_key: str | None = None,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    classifier: str | os.PathLike[str] | None = None,
    groupby: str | None = None,
    key_added: str = "annotation",
    method: Literal["probe"] = "probe",
    baselines: Literal["auto", "none"] = "auto",
    min_score: float = 0.5,
    n_splits: int = 5,
    save: str | os.PathLike[str] | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_tokens: int | Literal["auto"] = "auto",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Label cells by a classifier on their embedding, tested on held-out samples beside baselines.

    With ``reference`` it learns there and labels ``adata``; with ``classifier`` it loads what an earlier call saved;
    with neither it learns within ``adata`` and every labelled cell gets the label of a classifier that has not seen its
    sample (out of fold), while cells without a label get that of a classifier that has seen all labelled ones.

    The classifier is multinomial logistic regression on standardised embeddings, its penalty chosen inside the training
    folds. Its probabilities are calibrated with one temperature (Guo et al. 2017) from held-out predictions. A cell
    whose highest probability is below ``min_score`` is labelled ``"Unknown"``.

    Parameters
    ----------
    adata
        Cells to label: counts, or log1p of normalised counts.
    reference
        Labelled cells to learn from.
    label_key
        Column of `obs` with the labels, in ``reference`` or else in ``adata``. Missing labels and words such as
        "Unknown" or "unannotated" teach nothing. Not used with ``classifier``.
    sample_key
        Column of `obs`, beside the labels, with the sample of each cell (a library, a donor). Whole samples are then
        held out. Without it cells are, and the scores do not tell how labels carry over to a new sample.
    model
        Name of a model, or its folder. With ``classifier``, the model is in that folder and this is not used.
    classifier
        Folder that an earlier call wrote with ``save``.
    groupby
        Column of `obs` of ``adata`` (clusters): adds a table with a label for each group.
    key_added
        Name of the keys written.
    method
        ``"probe"``: logistic regression on the frozen embedding.
    baselines
        ``"auto"``: logistic regression on log-normalised expression (at most 4,000 most variable genes), tuned in the
        same way, and the most frequent class, in the same folds. ``"none"``: leave them out.
    min_score
        Least calibrated probability, 0 to 1, with which a cell gets a label.
    n_splits
        Folds; fewer where there are fewer samples.
    save
        Folder to write, with the model and the classifier, for later use as ``classifier``.
    layer
        Layer with the expression, in ``adata`` and ``reference``; `X` by default.
    gene_key
        Column of `var` with gene names, in both; `var_names` by default.
    mod
        Modality of a MuData, in both.
    seed
        Seed of the folds and intervals.
    device, dtype
        Where the network runs and in which number format; ``"auto"`` follows the settings.
    batch_tokens
        Tokens a batch of the network holds.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written are

    `obs[key_added]` : categorical
        Label; ``"Unknown"`` where the score is below ``min_score`` or the cell has no counts in the model's genes.
    `obs[key_added + "_score"]` : float32
        Calibrated probability of the best label, 0 to 1.
    `obs[key_added + "_best"]` : categorical
        Best label before abstaining.
    `obsm[key_added + "_proba"]` : float32, n_obs × n_classes
        Calibrated probabilities, columns as in ``classes``.
    `uns[key_added]` : dict
        ``"classes"``: names, sorted. ``"metrics"``: a data frame with a row for each of `features` (`embedding`,
        `expression`, `majority`): `accuracy`, `macro_f1` (each with `_low` and `_high`, 95 % bootstrap over samples, or
        over cells without ``sample_key``), `ece`, `coverage` (share of cells labelled), `accuracy_covered`, `n_cells`,
        `n_samples` (0 where not named), `split` (``"sample"`` or ``"cell"``); held-out predictions within the labelled
        cells. ``"baselines"``: those of its rows. ``"per_class"``: `label`, `n_cells`, `recall`, `precision`, `f1`.
        ``"temperature"``. ``"groups"`` (with ``groupby``): `group`, `label` (most frequent best label), `agreement`
        (share of the group's cells with it), `score` (their mean), `n_cells`. ``"params"``: arguments, model, model
        hash, package version. With ``classifier`` there are no baselines, and the metrics are those saved.

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
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated()
    >>> sf.tl.annotate(adata, label_key="cell_type", sample_key="batch")
    >>> adata.uns["annotation"]["metrics"]["split"].iloc[0]
    'sample'
    """
    from scflyformer import models
    from scflyformer.models._heads import check_target
    from scflyformer.stats._classification import softmax

    _check_arguments(reference, label_key, classifier, method, baselines, min_score, save)
    check_target(save)
    out, cells = _adata.start(adata, mod=mod, copy=copy)
    groups = None if groupby is None else _adata.obs_column(cells, groupby, what="groupby")
    road: dict[str, Any] = {"layer": layer, "gene_key": gene_key, "device": device, "dtype": dtype}
    road["batch_tokens"] = batch_tokens
    params: dict[str, Any] = {"label_key": label_key, "sample_key": sample_key, "groupby": groupby, "method": method}
    params |= {"baselines": baselines, "min_score": min_score, "n_splits": n_splits, "layer": layer, "seed": seed}
    params |= {"gene_key": gene_key, "classifier": classifier, "save": save}

    if classifier is not None:
        loaded, head, trained = load_classifier(classifier)
        x = _features.embedding(cells, loaded, sha256=trained["model_sha256"], **road)
        probability = softmax(head(x), trained["temperature"])
        mode = "classifier"
    else:
        loaded = models.load(model)
        teacher = cells if reference is None else _adata.open_data(reference, mod=mod if _has_mod(reference) else None)
        samples = _features.sample_names(teacher, sample_key)
        labels = read_labels(teacher, str(label_key), samples=samples)
        x = _features.embedding(teacher, loaded, **road)
        head, trained, held_out = train(
            teacher, x, labels, samples, baselines, min_score, n_splits, seed, layer=layer, gene_key=gene_key
        )
        if reference is not None:
            x = _features.embedding(cells, loaded, **road)
        probability = softmax(head(x), trained["temperature"])
        if reference is None:
            probability[labels.codes >= 0] = held_out
        mode = "reference" if reference is not None else "cross-validation"

    empty = (x == 0).all(axis=1)
    probability[empty] = trained["prior"]
    result = results(cells, probability, empty, trained, groups, key_added, min_score)
    if save is not None:
        save_classifier(save, loaded, head, trained, label_key=label_key, min_score=min_score)
    uns = result["uns"][key_added]
    uns["params"] = _adata.run_params(loaded, mode=mode, **params)
    _adata.write(cells, **result)
    n_unknown = int((result["obs"][key_added] == UNKNOWN).sum())
    _log.info(f"annotate: {cells.n_obs} cells, {n_unknown} of them {UNKNOWN}, in .obs[{key_added!r}]\n{_verdict(uns)}")
    return out if copy else None


def _check_arguments(
    reference: Any, label_key: Any, classifier: Any, method: str, baselines: str, min_score: float, save: Any
) -> None:
    if method != "probe":
        raise ValueError(f"method is {method!r}; expected 'probe'.")
    if baselines not in ("auto", "none"):
        raise ValueError(f"baselines is {baselines!r}; expected 'auto' or 'none'.")
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score is {min_score}; expected a probability from 0 to 1.")
    if classifier is None:
        if label_key is None:
            raise ValueError(
                "label_key is missing; name the column of obs with the labels to learn, or pass classifier=."
            )
        return
    for name, value in {"reference": reference, "save": save}.items():
        if value is not None:
            raise ValueError(
                f"Both classifier and {name} were given; a saved classifier is used as it is. Give one of them."
            )


def _has_mod(data: Any) -> bool:
    return hasattr(data, "mod")


def _verdict(uns: dict[str, Any]) -> str:
    rows = records(uns["metrics"])
    shown = (f"{row['features']}: accuracy {row['accuracy']:.3f}, macro-F1 {row['macro_f1']:.3f}" for row in rows)
    return f"held out by {rows[0]['split']} — " + "; ".join(shown)
