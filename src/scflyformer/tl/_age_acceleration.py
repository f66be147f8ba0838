"""How much older cells look than they are, for comparing groups of samples."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.clock._fit import ALL
from scflyformer.data import _adata
from scflyformer.data._ages import Target, from_target, read_ages, to_target
from scflyformer.data._matrix import missing_key
from scflyformer.data._tables import text_index

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_FIXED = ("cell", "group", "sample", "age")
_SPLITS = ("sample", "external")


def age_acceleration(
    adata: AnnData | MuData,
    *,
    key: str = "age_clock",
    compare: str,
    features: str | None = None,
    reference: str | None = None,
    group: str = ALL,
    seed: int = 0,
    mod: str | None = None,
    key_added: str = "age_acceleration",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Compare groups of samples by how much older their cells look than they are.

    The acceleration of a sample is the mean age that :func:`scflyformer.tl.age_clock` predicted for its cells less what
    is expected at its age. Predictions of every clock regress to the mean age of its training samples, so predicted
    minus true age is above 0 in the young and below 0 in the old, whatever the treatment. The expectation is therefore
    a straight line of predicted on true age, fitted over the means of samples, on the scale that the clock was fitted
    on (log2(age + 1) by default); accelerations are then given in the unit of age.

    Samples are compared, not cells, since cells of a sample are not independent. Levels are compared within the ages
    that have samples of both; the line and other samples then do not matter. If the levels share no age, the comparison
    rests on the line, and `notes` and a warning say so.

    The residual is for such comparisons only. It includes other differences between libraries, such as depth or
    dissociation: if levels were prepared separately, a difference may come from handling. Call again with
    ``features="depth"`` to see what the counts alone give. A prediction corrected by the line uses the true age, so
    never compute a score of a clock from it.

    Parameters
    ----------
    adata
        Cells with ages predicted out of fold, whole samples held out, or by a clock of other data.
    key
        The `key_added` of :func:`scflyformer.tl.age_clock`.
    compare
        Column of `obs` with the levels to compare (genotype, treatment), one for all cells of a sample. Samples without
        a level are left out of comparison and line.
    features
        Feature set whose predictions are taken; by default the one in `obs[key]`.
    reference
        Level whose samples alone the line is fitted to, such as the control; by default all samples. Give one if levels
        differ in their ages, since a line through all samples absorbs part of their difference.
    group
        Group whose clock is taken; ``"all"`` is the one of all cells.
    seed
        Seed of the permutations, where they are too many to go through.
    mod
        Modality of a MuData.
    key_added
        Name of the keys written.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. `obs[key]` and `uns[key]` stay as they are. Written are

    `obs[key_added]` : float64
        Predicted age of the cell less what is expected at its age, in the unit of age; NaN without a prediction of this
        group's clock.
    `uns[key_added]` : dict
        ``"samples"``: a data frame, one row a sample: `sample`, `age`, `level`, `n_cells` (predictions behind it),
        `predicted` (mean on the clock's scale), `expected`, `acceleration`, in the unit of age. ``"results"``: one row
        for each pair of levels: `level_a`, `level_b` (the reference comes first), `n_a`, `n_b` (samples compared),
        `difference` (how much older b looks than a, in the unit of age, about the mean prediction of the samples
        compared) with `ci_low` and `ci_high` (95 %, Student's t over samples), `p_value` (two-sided; levels permuted
        over the samples of each age, or residuals over samples where the levels share no age; not adjusted for the
        number of pairs), `n_permutations` (all there are up to 10,000; no p-value is below one in this number), `basis`
        (``"age"``: within shared ages; ``"line"``), `ages_shared`, `on_scale` (the difference on the clock's scale, on
        which it was tested). NaN if it cannot be computed. ``"line"``: `slope`, `intercept`, `scale`. ``"notes"``:
        caveats, in words. ``"params"``: arguments, the clock's model and its hash, package version.

    Raises
    ------
    ValueError
        When cells of a sample were on both sides of the clock's split, a sample has several levels or ages, there are
        fewer than two levels, the line's samples have one age, or `key_added` names what the call reads.
    KeyError
        When the clock, group, feature set, column or reference is missing; lists near names.

    Examples
    --------
    Three benches, one for each repeat of an age. The cells are simulated and the benches are names alone, so there is
    nothing to be found.

    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.age_clock(
    ...     adata, sample_key="batch", model="fly-tiny", baselines="none"
    ... )
    >>> adata.obs["bench"] = adata.obs["batch"].astype(str).str[-2:]
    >>> sf.tl.age_acceleration(adata, compare="bench", reference="r1")

    What is counted are samples. Read ``difference`` with ``ci_low``, ``ci_high`` and ``p_value``.

    >>> results = adata.uns["age_acceleration"]["results"]
    >>> results[["level_a", "level_b", "n_a", "n_b", "basis"]]
      level_a level_b  n_a  n_b basis
    0      r1      r2    7    7   age
    1      r1      r3    7    7   age
    2      r2      r3    7    7   age

    How much of a difference the number of counts alone would give:

    >>> sf.tl.age_acceleration(
    ...     adata,
    ...     compare="bench",
    ...     reference="r1",
    ...     features="depth",
    ...     key_added="by_depth",
    ... )
    """
    from scflyformer.clock._acceleration import straight_line

    out, data = _adata.start(adata, mod=mod, copy=copy)
    cells, about = _predictions(data, key, features, group)
    sample_key, age_key = str(about["sample_key"]), str(about["age_key"])
    taken = (key, *(f"{key}_{end}" for end in ("low", "high", "outside")), compare, sample_key, age_key)
    if key_added in taken:
        raise ValueError(f"key_added is {key_added!r}, which this call reads and must not change; name it otherwise.")
    if compare == age_key:
        raise ValueError(f"compare is {compare!r}, the age itself; name a column with groups of samples.")
    level_of, order = _levels(data, compare, sample_key, set(cells["sample"]))
    if reference is not None and str(reference) not in order:
        raise KeyError(missing_key(reference, order, what="reference", place=f"obs[{compare!r}]"))
    target: Target = "log" if str(about["target"]).startswith("log") else "linear"
    samples = _sample_table(cells, level_of, target, sample_key)
    if reference is not None:
        order = [str(reference), *(level for level in order if level != str(reference))]
    order = [level for level in order if (samples["level"] == level).any()]
    if len(order) < 2:
        raise ValueError(
            f"obs[{compare!r}] has {len(order)} level(s) ({', '.join(order)}) among samples with predictions; "
            "expected two or more."
        )
    x, y = to_target(samples["age"].to_numpy(), target), samples.pop("on_scale").to_numpy()
    behind = np.ones(len(x), bool) if reference is None else (samples["level"] == str(reference)).to_numpy()
    slope, intercept = straight_line(x[behind], y[behind]) if behind.any() else (np.nan, np.nan)
    if np.isnan(slope):
        raise ValueError(
            f"The samples of {'all levels' if reference is None else repr(reference)} have one age; a line needs two "
            "ages or more. Choose another reference, or none."
        )
    samples["expected"] = from_target(slope * x + intercept, target)
    samples["acceleration"] = samples["predicted"] - samples["expected"]
    results = _compare(samples, x, y, order, None if reference is None else 0, target, seed)
    notes = _notes(results, compare)
    params = {"key": key, "compare": compare, "features": about["features"], "reference": reference, "group": group}
    params |= {"seed": seed}
    uns = {
        "samples": text_index(samples),
        "results": text_index(results),
        "line": {"slope": slope, "intercept": intercept, "scale": str(about["target"])},
        "notes": np.array(notes, dtype=object),
        "params": about["model"] | _adata.run_params(**params, age_key=age_key, sample_key=sample_key),
    }
    predicted, ages = _by_cell(data, cells, key, about, group, target)
    residual = predicted - from_target(slope * to_target(ages, target) + intercept, target)
    _adata.write(data, obs={key_added: residual}, uns={key_added: uns})
    for note in notes:
        _log.warning(f"age_acceleration: {note}")
    shown = "; ".join(
        f"{row.level_b} − {row.level_a} {row.difference:.2f} ({row.ci_low:.2f} to {row.ci_high:.2f}), "
        f"p {row.p_value:.3g}"
        for row in results.head(6).itertuples()
    )
    _log.info(f"age_acceleration: {len(samples)} samples, in .uns[{key_added!r}]\nin the unit of {age_key}: {shown}")
    return out if copy else None


def _predictions(data: AnnData, key: str, features: str | None, group: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a group's predictions (`cell`, `sample`, `age`, `predicted`), and how they were made."""
    from scflyformer.get._clock_df import clock_df

    wide = clock_df(data, key=key)
    params = data.uns[key]["params"]
    known = list(dict.fromkeys(wide["group"].astype(str)))
    if group not in known:
        raise KeyError(missing_key(group, known, what="group", place=f"uns[{key!r}]['results']"))
    rows = wide[wide["group"].astype(str) == group].set_index("features")
    if features is None:
        features = next(name for name in (str(params["features"]), *rows.index) if name in rows.index)
    if features not in rows.index:
        raise KeyError(missing_key(features, list(rows.index), what="features", place=f"uns[{key!r}]['results']"))
    split = str(rows.loc[features, "split"])
    table = data.uns[key]["predictions"]
    named = str(params["sample_key"]) != "none"
    if split not in _SPLITS or not named:
        raise ValueError(
            f"uns[{key!r}] holds predictions of {features!r} with the split {split!r}"
            + ("" if split not in _SPLITS else " and no samples named")
            + "; expected whole samples held out, since a clock that knows a sample's other cells predicts their "
            "library. Run tl.age_clock with sample_key=."
        )
    cells = table.loc[table["group"].astype(str) == group, [*_FIXED, features]].rename(columns={features: "predicted"})
    cells = cells.astype({"cell": str, "sample": str, "age": float, "predicted": float})
    written = str(params["features"])
    about = {name: params[name] for name in ("sample_key", "age_key", "groupby")}
    about |= {"features": features, "target": rows.loc[features, "target"], "written": written}
    about["model"] = {name: params[name] for name in ("model", "model_sha256") if name in params}
    present = cells["cell"].isin(data.obs_names.astype(str)).to_numpy()
    if present.any():  # else rows are sums of cells, with names of their own
        cells = cells[present]
    return cells[np.isfinite(cells["predicted"])].reset_index(drop=True), about


def _levels(data: AnnData, compare: str, sample_key: str, wanted: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return the level of each sample that has one, and the levels in the column's order."""
    column = _adata.obs_column(data, compare, what="compare")
    samples = _adata.obs_column(data, sample_key, what="sample_key")
    known = samples.notna().to_numpy()
    names = samples[known].astype(str).to_numpy()
    text = _adata.obs_text(data, compare, what="compare")[known]
    pairs = pd.DataFrame({"sample": names, "level": text}, dtype=object).drop_duplicates()  # None stays None
    pairs = pairs[pairs["sample"].isin(wanted)]
    several = pairs["sample"][pairs["sample"].duplicated()].unique().tolist()
    if several:
        shown = "; ".join(
            f"{name} ({', '.join(map(repr, pairs.loc[pairs['sample'] == name, 'level']))})" for name in several[:5]
        )
        raise ValueError(
            f"obs[{compare!r}] varies within {len(several)} sample(s) of obs[{sample_key!r}]: {shown}. Expected one "
            "level for all cells of a sample: samples are what is compared. Cell types and the like are compared by "
            "the clock of each (group=)."
        )
    level_of = {str(row.sample): str(row.level) for row in pairs.itertuples() if row.level is not None}
    if isinstance(column.dtype, pd.CategoricalDtype):
        return level_of, [level for level in map(str, column.cat.categories) if level in set(level_of.values())]
    return level_of, sorted(set(level_of.values()))


def _sample_table(cells: pd.DataFrame, level_of: dict[str, str], target: Target, sample_key: str) -> pd.DataFrame:
    """Return one row a sample that has a level; `on_scale` is its mean prediction on the clock's scale."""
    on_scale = to_target(np.maximum(cells["predicted"], -0.99) if target == "log" else cells["predicted"], target)
    by_sample = cells.assign(on_scale=on_scale).groupby("sample", sort=True)
    table = by_sample.agg(
        age=("age", "first"), n_ages=("age", "nunique"), n_cells=("age", "size"), on_scale=("on_scale", "mean")
    ).reset_index()
    if (several := table.loc[table["n_ages"] > 1, "sample"].tolist()) != []:
        raise ValueError(
            f"{len(several)} sample(s) of obs[{sample_key!r}] hold cells of several ages: {', '.join(several[:5])}. "
            "Expected one age a sample; run tl.age_clock with a sample_key that tells them apart."
        )
    table = table[table["sample"].isin(level_of)].reset_index(drop=True)
    table["sample"] = table["sample"].astype(object)
    table["level"] = table["sample"].map(level_of).astype(object)
    table["predicted"] = from_target(table["on_scale"].to_numpy(), target)
    return table[["sample", "age", "level", "n_cells", "predicted", "on_scale"]]


def _compare(
    samples: pd.DataFrame,
    x: np.ndarray,
    y: np.ndarray,
    order: list[str],
    reference: int | None,
    target: Target,
    seed: int,
) -> pd.DataFrame:
    """Return one row for each pair of levels."""
    from scflyformer.clock._acceleration import level_difference

    codes = samples["level"].map({level: code for code, level in enumerate(order)}).to_numpy(dtype=int)
    rows = []
    for first, second in combinations(range(len(order)), 2):
        found = level_difference(y, x, codes, first, second, reference=reference, seed=seed)
        own = np.isin(codes, (first, second)) & (np.isin(x, found.shared) if len(found.shared) else True)
        middle = float(y[own].mean())

        def unit_of_age(difference: float, middle: float = middle) -> float:
            ends = from_target(np.array([middle - difference / 2, middle + difference / 2]), target)
            return float(ends[1] - ends[0])

        basis: Literal["age", "line"] = "age" if len(found.shared) else "line"
        rows.append(
            {
                "level_a": order[first],
                "level_b": order[second],
                "n_a": found.n_first,
                "n_b": found.n_second,
                "difference": unit_of_age(found.value),
                "ci_low": unit_of_age(found.low),
                "ci_high": unit_of_age(found.high),
                "p_value": found.p_value,
                "n_permutations": found.n_permutations,
                "basis": basis,
                "ages_shared": ", ".join(f"{age:g}" for age in from_target(found.shared, target).round(6)),
                "on_scale": found.value,
            }
        )
    return pd.DataFrame(rows)


def _notes(results: pd.DataFrame, compare: str) -> list[str]:
    """Say which comparisons rest on the line, cannot be made, or can show little."""
    said = []
    for row in results.itertuples():
        pair = f"{row.level_a} and {row.level_b} of {compare}"
        if np.isnan(row.difference):
            said.append(f"{pair} share no age, and no level has two, so they cannot be told from age.")
        elif row.basis == "line":
            said.append(f"{pair} share no age; the comparison rests on the line.")
        elif row.n_permutations < 40:
            said.append(
                f"{pair} have so few samples of the same ages that the p-value cannot be below 1/{row.n_permutations}."
            )
    return said


def _by_cell(
    data: AnnData, cells: pd.DataFrame, key: str, about: dict[str, Any], group: str, target: Target
) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and true age of every cell of the object; NaN where this clock has predicted none.

    Predictions of sums of cells have names of their own; the cells then take those in `obs`, if they are of this clock.
    """
    predicted, ages = (np.full(data.n_obs, np.nan) for _ in range(2))
    names = data.obs_names.astype(str)
    if cells["cell"].isin(names).any():
        if not names.is_unique:
            raise ValueError(
                "obs_names are not unique, so predictions cannot be told apart. Run adata.obs_names_make_unique() and "
                "tl.age_clock again."
            )
        place = names.get_indexer(cells["cell"])
        predicted[place], ages[place] = cells["predicted"], cells["age"]
        return predicted, ages
    groupby = str(about["groupby"])
    whole = group == ALL and groupby == "none"
    if about["features"] != about["written"] or key not in data.obs or not (whole or group != ALL):
        return predicted, ages
    own = np.ones(data.n_obs, bool) if whole else _adata.obs_text(data, groupby, what="groupby") == group
    predicted[own] = _adata.obs_column(data, key, what="key").to_numpy(dtype=float)[own]
    return predicted, read_ages(data, str(about["age_key"]), target=target)
