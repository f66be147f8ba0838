"""Age of cells, tested on held-out samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scflyformer import _log
from scflyformer._deprecated import former_values, moved_to_settings, now_constant
from scflyformer._running import Running
from scflyformer.annotation._tuned import warn_of_tuned
from scflyformer.clock._fit import ALL, FEATURE_SETS, MIN_SAMPLES, fit_clocks
from scflyformer.clock._predictions import AgePredictions
from scflyformer.clock._request import ClockRequest, Features
from scflyformer.clock._tables import clock_tables
from scflyformer.clock._units import Aggregate, Cells
from scflyformer.data import _adata, _features
from scflyformer.data._ages import Target, confounding, read_ages, target_name
from scflyformer.data._embedding import (
    EMBEDDING_KEY,
    choose_model,
    embedding,
    made_by,
    reading_of,
    require_model,
    untrained,
)
from scflyformer.data._reading import Reading
from scflyformer.data._seen import note_seen, warn_of_seen
from scflyformer.data._training_cells import UsedCells

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scflyformer.models import Model

DEFAULT_AGE = "age"
SHIPPED = "fly-brain-clock"


@moved_to_settings("device", "dtype", "batch_tokens")
@now_constant(pseudocell_size=15)
def age_clock(
    adata: AnnData | MuData,
    *,
    age_key: str = DEFAULT_AGE,
    sample_key: str | None = None,
    groupby: str | None = None,
    use_rep: str = EMBEDDING_KEY,
    clock: str | os.PathLike[str] | None = None,
    features: Features = "embedding",
    baselines: Literal["auto", "all", "none"] | Sequence[str] = "auto",
    target: Target = "log",
    aggregate: Aggregate | int = "none",
    level: float = 0.9,
    n_splits: int = 5,
    min_cells: int = 50,
    save: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    seed: int = 0,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    key_added: str = "age_clock",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Predict the age of cells by ridge regression, from samples that were held out.

    Without ages, ``age_clock(adata)`` predicts the age of adult fly brain cells, in days, by a clock that ships.

    Every feature set (the embedding, log-normalised expression, both, and controls) goes through the same folds with
    the same penalties to choose from: whole samples are held out, samples of one age in different folds, and the
    penalty is chosen inside the training samples by holding out further samples. Within the training folds genes are
    standardised one by one, and an embedding is divided by one common scale. Two controls use no gene information: the
    mean age of the training samples, and the number of counts and genes of a cell. Prediction intervals come from
    samples that the fit has not seen (conformal, all samples weighing equally), and their coverage is measured on
    held-out samples.

    A random split of cells overestimates a clock, as libraries can be recognised. It is used only without
    ``sample_key``, and is called ``"cell"`` in the results.

    Parameters
    ----------
    adata
        Cells: counts, or log1p of normalised counts.
    age_key
        Column of `obs` with ages: numbers in any unit, or days as "5d", "day 5", "day 5 of adulthood" or the FBdv term
        of that. Cells without an age get no prediction. If there is no `obs["age"]` and no column is named, ``clock``
        is ``"fly-brain-clock"``.
    sample_key
        Column of `obs` with the sample (library, animal). Whole samples are then held out.
    groupby
        Column of `obs`, such as cell types: a clock for each group, in addition to the one for all cells.
    use_rep
        Embedding in `obsm`, from any method. It is computed, but not written, if there is none under the default name,
        it is not that of ``model``, or the expression has changed since.
    clock
        Folder that an earlier call wrote with ``save``: predicts with that clock instead of fitting. Or
        ``"fly-brain-clock"``, which ships, trained on adult brains of two strains, 0 to 50 days (Davie 2018). It
        predicts the age of cells like those (as near to one of their clusters as 99.9 % of held-out brain cells), and
        refuses data with less than half of such cells.
    features
        Feature set whose predictions are written to `obs`, and that ``save`` keeps.
    baselines
        Feature sets to compare with ``features``, as names: ``"embedding"``, ``"expression"``,
        ``"embedding+expression"``; ``"random"``, the embedding by the same network with untrained weights, which shows
        what pretraining adds and is computed for it; ``"article"``, the published recipe: `ElasticNet(l1_ratio=0.1)`
        with alpha left at 1 on the embedding as it is, cells split 7:3 at random, whatever their sample. The controls
        ``"depth"`` and ``"mean"`` are always there. ``"auto"``: all but ``"random"``. ``"all"``, ``"none"``.
    target
        Scale that is fitted: ``"log"`` for log2(age + 1), ``"linear"`` for the age itself.
    aggregate
        What the age is predicted of: ``"none"``, cells; a number, pseudocells: means of about so many cells of one
        sample and age (and group), drawn inside the folds; ``"pseudocell"``, the same of about 15 cells;
        ``"pseudobulk"``, means of all of these. A cell then gets the age of its pseudocell. Expression is averaged
        before the logarithm.
    level
        Expected share of the cells of an average new sample inside the prediction interval, above 0 and below 1.
    n_splits
        Folds, at least 3; fewer where there are fewer samples.
    min_cells
        Least cells of a group.
    save
        Folder to write, with the model and a clock fitted on all cells, for later use as ``clock``.
    model
        Name of a model, or its folder. `None`: the model that made `obsm[use_rep]`, else `settings.model` (``"fly"``).
    seed
        Seed of the folds and intervals.
    layer
        Layer with the expression. `None`: the one that the embedding was made from, else `X`.
    gene_key
        Column of `var` with gene names. `None`: the one that the embedding was made with, else `var_names`.
    mod
        Modality of a MuData.
    key_added
        Name of the keys written.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written are

    `obs[key_added]` : float64
        Predicted age, in the unit of ``age_key``, from a clock that has not seen the cell's sample; with ``groupby``
        from the clock of the cell's group. NaN without an age or where the group was skipped. With ``clock``, its
        prediction. Predictions are not clipped to the training ages.
    `obs[key_added + "_low"]`, `obs[key_added + "_high"]` : float64
        Prediction interval, in the unit of ``age_key``, as wide as errors at such predictions are. NaN with fewer than
        ten samples (more for a ``level`` above 0.9) to take errors from.
    `obs[key_added + "_outside"]` : bool
        Whether the prediction is outside the training ages: extrapolated and unreliable.
    `uns[key_added]` : dict
        ``"results"``: a data frame, one row for each group (``"all"``: all cells) × feature set: `group`, `features`,
        `r2` (on the scale fitted), `mae` (in the unit of ``age_key``), `spearman`, each with `_low` and `_high` (95 % t
        interval over what samples contribute, or over cells without ``sample_key``), `r2_gain`, `spearman_gain`,
        `mae_gain` (``features`` less this row, with the same interval of the paired differences), `coverage` (share of
        held-out cells inside their interval, the mean over samples), `coverage_lowest` (the sample with the least),
        `width` (median, in the unit of ``age_key``), `n_cells`, `n_units` (pseudocells; else the cells), `n_samples` (0
        where not named), `split` (``"sample"``, ``"cell"``, ``"cell 7:3"`` for the article's, or ``"external"`` with
        ``clock``), `target`. ``"verdict"``: for each feature set, whether ``features`` is above it, in words.
        ``"predictions"``: a data frame of `cell`, `group`, `sample`, `age` and a column for each feature set, in the
        unit of ``age_key``; NaN where the article's split does not test. ``"per_age"``: `group`, `features`, `age`,
        `n_cells`, `n_samples`, `bias` (predicted less true age, the mean over samples) and `mae`. ``"genes"``, of the
        expression clock: `group`, `gene`, `weight` (change of the target with one standard deviation of log expression,
        mean over the fits that each leave a fold out), `weight_sd`, `same_sign` (share of the fits with its sign),
        `top_share` (share of the fits that have it among their 50 largest); the 200 largest of a group.
        ``"scale_trap"``: R² of the article's recipe with the features multiplied by 0.1, 1 and 10: its penalty is
        fixed, so the unit of the features decides. ``"skipped"``: `group` and `reason`, where groups were too small.
        ``"no_interval"``: the same, where samples are too few for prediction intervals. ``"confounding"``: how far age
        and sample are confounded, in words. ``"n_outside"``: for each feature set, cells predicted outside the ages of
        the training cells. ``"params"``: arguments, model, model hash, package version, and the share of up to 5,000
        cells that :func:`scflyformer.models.contamination` finds among the training cells, where it can tell:
        ``"training_seen"``, with ``clock`` (the log warns from 1 %), else ``"pretraining_seen"``, by the model, without
        ages. With ``clock``, results and predictions only where ages are known.

    Raises
    ------
    ValueError
        When ages are not numbers, there is one age only, samples are too few, arguments contradict each other, or the
        expression cannot be read; see also :func:`scflyformer.tl.embed`.
    KeyError
        When a column is missing; lists near names.
    FileExistsError
        When ``save`` is taken.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.age_clock(
    ...     adata,
    ...     age_key="age",
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines=["expression"],
    ... )
    >>> results = sf.get.clock_df(adata)
    >>> results[["group", "features", "n_cells", "n_samples", "split"]]
      group    features  n_cells  n_samples   split
    0   all   embedding      200         21  sample
    1   all  expression      200         21  sample
    2   all       depth      200         21  sample
    3   all        mean      200         21  sample

    Read a score with its interval, compared with the controls ``"depth"`` and ``"mean"``, and check the confounding.

    >>> print(adata.uns["age_clock"]["verdict"][-1])
    embedding above mean in R² (..., 95 % ... to ...)
    >>> print(adata.uns["age_clock"]["confounding"][0])
    Each sample has one age, so what differs between samples cannot be ...

    Save a clock and predict the age of other cells with it.

    >>> sf.tl.age_clock(
    ...     adata,
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines="none",
    ...     save="brain-clock",
    ... )
    >>> other = sf.datasets.fly_brain_simulated(50, seed=1)
    >>> sf.tl.age_clock(other, sample_key="batch", clock="brain-clock")
    >>> sf.get.clock_df(other)[["features", "n_cells", "split"]]
        features  n_cells     split
    0  embedding       50  external

    Leave out cells with predictions outside the training ages.

    >>> inside = other[~other.obs["age_clock_outside"]]
    """
    from scflyformer.models._save import check_target

    request = ClockRequest(
        age_key=age_key,
        sample_key=sample_key,
        groupby=groupby,
        use_rep=use_rep,
        clock=clock,
        features=features,
        baselines=baselines,
        target=target,
        aggregate="pseudocell" if isinstance(aggregate, int) else aggregate,
        level=level,
        n_splits=n_splits,
        min_cells=min_cells,
        save=save,
        seed=seed,
        reading=Reading.as_set(layer, gene_key),
        **(former_values() | ({"pseudocell_size": aggregate} if isinstance(aggregate, int) else {})),
    )
    request.check()
    check_target(save)
    out, data = _adata.start(adata, mod=mod, copy=copy)
    asks_nothing = clock is None and save is None and sample_key is None and groupby is None and age_key == DEFAULT_AGE
    if asks_nothing and age_key not in data.obs:
        clock = SHIPPED
        request = replace(request, clock=clock)
        _log.warning(f"age_clock: no obs[{age_key!r}], so ages are predicted by {clock!r}, which ships.")
    request = request.reads(reading_of(data, model if clock is None else clock, use_rep, request.reading))
    running = Running.as_set()
    _adata.check_key_added(key_added, ("", "_low", "_high", "_outside"), **request.columns())
    groups = _read_groups(data, groupby)
    samples = _features.sample_names(data, sample_key)
    if clock is not None:
        from scflyformer.clock._apply import apply_clock
        from scflyformer.clock._saved import SavedClock
        from scflyformer.models._shipped import require_genes

        require_genes(data.n_vars, clock)
        saved = SavedClock.open(clock)
        if features not in ("embedding", saved.features):
            _log.warning(f"age_clock: the saved clock reads {saved.features!r}; features={features!r} is not used.")
        predictions, uns = apply_clock(data, saved, request, running, groups=groups, samples=samples)
        noted = warn_of_seen(data, clock, saved.model, "ages", request.reading, tool="age_clock")
        uns["params"] = _adata.run_params(saved.model, **(request.params() | uns["params"])) | noted
        _adata.write(data, obs=predictions.columns(key_added), uns={key_added: uns})
        _log.info(f"age_clock: {data.n_obs} cells by a saved clock, in .obs[{key_added!r}]")
        return out if copy else None

    ages = read_ages(data, age_key, target=target)
    known = np.isfinite(ages)
    _check_ages(ages[known], None if samples is None else samples[known], age_key, sample_key)
    loaded, blocks, genes = _blocks(data, model, request, running)
    noted = note_seen(data, loaded, request.reading, tool="age_clock") if "embedding" in blocks else {}
    feature_sets = tuple(name for name in request.feature_sets if name != "depth" or "depth" in blocks)
    for name, block in blocks.items():
        if name != "depth":  # a cell without counts in the genes has no age to predict
            known &= np.asarray(abs(block).sum(axis=1)).ravel() > 0
    rows = np.flatnonzero(known)
    cells = Cells(_adata.cell_names(data, layer=request.reading.layer), ages, samples, blocks).take(rows)
    _check_ages(cells.ages, cells.samples, age_key, sample_key)
    options = request.options(feature_sets)
    clocks, skipped = fit_clocks(cells, None if groups is None else groups[rows], options, min_cells=min_cells)
    uns = clock_tables(clocks, skipped, features, target_name(target, age_key), genes)
    uns["confounding"] = np.array(confounding(cells.ages, cells.samples), dtype=object)
    made = {} if loaded is not None else made_by(data, use_rep)
    uns["params"] = _adata.run_params(loaded, **request.params()) | noted
    uns["params"] |= warn_of_tuned(loaded, made, tool="age_clock")
    uns["params"] |= {name: made[name] for name in ("model", "model_sha256") if name in made}
    if save is not None and loaded is not None:
        from scflyformer.clock._saved import SavedClock

        used = UsedCells(data, known, request.reading)
        SavedClock.of(clocks, loaded, request, genes).save(save, uns["results"], used)
    predictions = AgePredictions.none(data.n_obs)
    for group_clock in clocks if groups is None else clocks[1:]:
        predictions.put(rows[group_clock.cells], group_clock.by_cell(features))
    _adata.write(data, obs=predictions.columns(key_added), uns={key_added: uns})
    _report(uns, key_added, features, n_cells=len(cells.ages), n_left_out=data.n_obs - len(cells.ages), skipped=skipped)
    return out if copy else None


def _check_ages(ages: np.ndarray, samples: np.ndarray | None, age_key: str, sample_key: str | None) -> None:
    found = np.unique(ages)
    if len(found) < 2:
        what = f"one age, {found[0]:g}" if len(found) else "no ages"
        raise ValueError(
            f"obs[{age_key!r}] holds {what}, in cells with counts; a clock needs two ages or more to learn from. "
            f"The age of adult brain cells is predicted by one that ships: clock={SHIPPED!r}."
        )
    if samples is not None and (n_samples := len(np.unique(samples.astype(str)))) < MIN_SAMPLES:
        raise ValueError(
            f"obs[{sample_key!r}] names {n_samples} sample(s) with ages; holding out whole samples needs at least "
            f"{MIN_SAMPLES}: one to test, one to choose the penalty, one to learn from. Add samples, or date the cells "
            f"by a saved clock (clock=). Without sample_key the split is by cell, which flatters the scores."
        )


def _read_groups(data: AnnData, groupby: str | None) -> np.ndarray | None:
    """Return the group of each cell as text, `None` for a cell without one; `None` without ``groupby``."""
    if groupby is None:
        return None
    groups = _adata.obs_text(data, groupby, what="groupby")
    if ALL in groups:
        raise ValueError(f"obs[{groupby!r}] has a group called {ALL!r}, which names the row for all cells; rename it.")
    return groups


def _blocks(
    data: AnnData, model: Any, request: ClockRequest, running: Running
) -> tuple[Model | None, dict[str, Any], np.ndarray]:
    """Return the model (`None` for an embedding that no model here made), the feature matrices and the gene names."""
    use_rep, reading = request.use_rep, request.reading
    wanted = {block for name in request.feature_sets for block in FEATURE_SETS[name]}
    wanted |= {"embedding"} if request.article else set()
    blocks: dict[str, Any] = {}
    genes = np.empty(0, dtype=object)
    loaded = choose_model(data, model, use_rep=use_rep)
    if request.save is not None:
        require_model(loaded, use_rep, what="save")
    if "embedding" in wanted:
        blocks["embedding"] = embedding(data, loaded, reading, running, use_rep=use_rep, tool="age_clock")
    if "random" in wanted:
        known = require_model(loaded, use_rep, what="The baseline 'random', an untrained network,")
        blocks["random"] = untrained(data, known, reading, running, seed=request.seed)
    if "expression" in wanted:
        log_prefix = None if "embedding" in wanted and loaded is not None else ""
        blocks["expression"], genes = _features.expression_features(data, reading, log_prefix=log_prefix)
    try:
        blocks["depth"] = _features.depth(data, layer=reading.layer)
    except ValueError as error:  # the embedding in obsm is as good, such as after X was scaled
        if "embedding" not in blocks or "expression" in wanted:
            raise
        _log.warning(f"age_clock: the control 'depth' is left out: {error}")
    return loaded, blocks, genes


def _report(
    uns: dict[str, Any], key: str, features: str, *, n_cells: int, n_left_out: int, skipped: list[dict[str, str]]
) -> None:
    """Log what was found and what to mind."""
    results = uns["results"]
    for sentence in uns["confounding"]:
        _log.warning(f"age_clock: {sentence}")
    if n_left_out:
        _log.info(f"age_clock: {n_left_out} cells have no age or no counts and get none.")
    if skipped:
        _log.info("age_clock: skipped " + "; ".join(f"{one['group']} ({one['reason']})" for one in skipped))
    outside = uns["n_outside"].get(features, 0)
    if outside:
        _log.info(f"age_clock: {outside} cells are predicted outside the ages learnt; they are not clipped.")
    rows = results[results["group"] == ALL].to_dict(orient="records")
    shown = "; ".join(f"{row['features']} {row['r2']:.3f}" for row in rows)
    said = "\n".join([f"R² — {shown}", *uns["verdict"]])
    _log.info(f"age_clock: {n_cells} cells, held out by {rows[0]['split']}, in .obs[{key!r}]\n{said}")
