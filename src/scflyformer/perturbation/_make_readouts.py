"""What is read off edited cells: shifts between the groups' states, predicted age, probability, permuted states."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scflyformer import _log
from scflyformer.perturbation._nulls import LEAST_NULLS
from scflyformer.perturbation._readouts import AgeChange, ByGroup, ProbabilityChange, TokenMove, TowardsStates
from scflyformer.perturbation._shift import held_out_centroids, inliers
from scflyformer.perturbation._tables import shift_columns

if TYPE_CHECKING:
    from scflyformer.clock._saved import SavedClock
    from scflyformer.models import Model
    from scflyformer.perturbation._cells import EmbeddedCells
    from scflyformer.perturbation._plan import Group
    from scflyformer.perturbation._readouts import Readout
    from scflyformer.perturbation._request import PerturbRequest

Centroid = Literal["mean", "trimmed"]


@dataclass(frozen=True, eq=False)
class Probes:
    """What is read off each edited copy.

    Attributes
    ----------
    towards
        Shifts towards goal, start and alternatives.
    goals
        Centroid of the goal of each group, shape (n_groups, width).
    columns
        Name of each column of ``readouts``, side by side, and of the net shift that is made of the first two.
    readouts
        Kept for each copy, ``towards`` first.
    labels
        Shifts towards the goal and permuted goals, averaged over copies; `None` without permutations.
    token
        Move of the cell token, averaged over copies; `None` where no expression is decoded.
    about
        What is told of the readouts, for the parameters of the run.
    """

    towards: TowardsStates
    goals: np.ndarray
    columns: list[str]
    readouts: list[Readout]
    labels: ByGroup | None
    token: TokenMove | None
    about: dict[str, Any]


def read_probes(
    model: Model,
    groups: list[Group],
    cells: EmbeddedCells,
    request: PerturbRequest,
    *,
    states: list[str],
    pooling: str,
) -> Probes:
    """Make the readouts of a run.

    Parameters
    ----------
    model
        The model that embeds.
    groups
        What is compared.
    cells
        Embeddings of start, goal and alternatives are used.
    request
        What is asked for.
    states
        Labels of goal, start and alternatives.
    pooling
        How the cells were pooled.

    Raises
    ------
    ValueError
        When a clock or classifier does not read what is embedded here.
    """
    clock, classifier, seed = request.clock, request.classifier, request.seed
    if pooling != model.pooling and not (clock is None and classifier is None):
        raise ValueError(
            f"pooling is {pooling!r}; clocks and classifiers of {model.name!r} read {model.pooling!r}. Leave "
            "pooling= out, or run without readouts=."
        )
    towards = towards_states(groups, cells, request.centroid)
    ends = np.cumsum([0, *(len(group.pool) for group in groups[:-1])])
    columns, readouts, about = shift_columns(states[2:]), list[Any]([towards]), dict[str, Any]()
    if clock is not None:
        age, opened = age_change(clock, model, groups)
        columns.append("age")
        readouts.append(age)
        about |= {"clock_age_key": opened.age_key, "clock_target": opened.target}
        about["clock_sha256"] = opened.model.sha256
    if classifier is not None:
        pool = cells.vectors[np.concatenate([group.pool for group in groups])]
        change, of, about["classifier_sha256"] = probability_change(classifier, model, pool, states[0])
        columns.append("probability")
        readouts.append(change)
        about["probability_of"] = of
    permuted = request.method == "exact" and request.n_null >= LEAST_NULLS
    labels = permuted_states(groups, cells, n=request.n_label if permuted else 0, seed=seed)
    decoded = bool(request.downstream) and pooling == "cell" and model.has_cell_token
    token = TokenMove(model.hidden_size) if decoded else None
    goals = towards.centroids[towards.states[ends, 0]]
    return Probes(towards, goals, [*columns, "net_shift"], readouts, labels, token, about)


def towards_states(groups: list[Group], cells: EmbeddedCells, centroid: Centroid) -> TowardsStates:
    """Return the shifts of the cells of all groups, one group after the other: towards goal, start and alternatives."""
    states, centroids, ahead = [], [], 0
    for group in groups:
        own, seen = group_centroids(group, cells, centroid)
        states.append(np.where(seen >= 0, seen + ahead, -1))
        centroids.append(own)
        ahead += len(own)
    return TowardsStates(np.concatenate(centroids), np.concatenate(states))


def group_centroids(group: Group, embedded: EmbeddedCells, centroid: Centroid) -> tuple[np.ndarray, np.ndarray]:
    """Centroids of goal, start and alternatives, and which of them each perturbed cell is held against.

    Returns
    -------
    Centroids, shape (n_centroids, width), and their numbers, shape (n_pool, 2 + n_alt); -1 where there is none. A
    cell's start centroid comes from other samples, or other cells, than its own.
    """
    vectors, samples = embedded.vectors, embedded.samples

    def counted(cells: np.ndarray) -> np.ndarray:
        return inliers(vectors[cells]) if centroid == "trimmed" else np.ones(len(cells), dtype=bool)

    def middle(cells: np.ndarray) -> np.ndarray:
        return vectors[cells[counted(cells)]].astype(np.float64).mean(0, keepdims=True)

    apart, own = held_out_centroids(vectors[group.start], samples[group.start], counted=counted(group.start))
    parts = [middle(group.goal), apart]
    which = np.full((len(group.pool), 2 + len(group.alt)), -1, dtype=np.int64)
    which[:, 0] = 0
    place = own[np.searchsorted(group.start, group.pool)]
    which[:, 1] = np.where(place >= 0, place + 1, -1)
    for number, cells in enumerate(group.alt):
        if len(cells):
            which[:, 2 + number] = sum(map(len, parts))
            parts.append(middle(cells))
    return np.concatenate(parts), which


def permuted_states(groups: list[Group], embedded: EmbeddedCells, *, n: int, seed: int) -> ByGroup | None:
    """Return shifts of the cells of all groups towards the goal, then towards goals of permuted states."""
    from scflyformer.perturbation._label_permutation import permuted_labels

    if not n:
        return None
    parts = []
    for group in groups:
        cells = np.concatenate([group.start, group.goal])
        goal = np.repeat([False, True], [len(group.start), len(group.goal)])
        pool = np.searchsorted(group.start, group.pool)
        about = embedded.samples[cells], embedded.names[cells]
        parts.append(permuted_labels(embedded.vectors[cells], goal, *about, pool, n=n, seed=seed))
    return ByGroup(parts, [len(group.pool) for group in groups], n + 1)


def age_change(path: str | os.PathLike[str], model: Model, groups: list[Group]) -> tuple[AgeChange, SavedClock]:
    """Return the change in predicted age by a saved clock, and the clock.

    Raises
    ------
    ValueError
        When the clock does not read this model's embedding, and that alone.
    """
    from scflyformer.clock._saved import SavedClock

    clock = SavedClock.open(path)
    if clock.features != "embedding":
        raise ValueError(
            f"The clock in {clock.model.path} reads {clock.features}; tl.perturb takes a clock of the embedding alone "
            "(tl.age_clock(features='embedding', save=…)). For this clock use tl.clock_genes."
        )
    _require_model(model, clock.model, clock.fitted_on_sha256, what="clock")
    slopes, offsets = (np.concatenate(parts) for parts in zip(*((h.slope, h.offset) for h in clock.heads), strict=True))
    number = clock.numbers(np.array([group.name for group in groups], dtype=object))
    of_cell = np.repeat(number, [len(group.pool) for group in groups])
    return AgeChange(slopes, offsets, of_cell, clock.to_age), clock


def probability_change(
    path: str | os.PathLike[str], model: Model, vectors: np.ndarray, goal: str
) -> tuple[ProbabilityChange, str, str]:
    """Return the change in a class's probability by a saved classifier, which class that is, and the folder's hash.

    Parameters
    ----------
    path
        The classifier's folder.
    model
        The model that embeds.
    vectors
        Embeddings of the cells that are edited.
    goal
        The goal's label: its class is asked about where the classifier has it, else each cell's most probable one.
    """
    from scflyformer.annotation._saved import load_classifier

    classifier, report = load_classifier(path)
    own = classifier.known_model
    _require_model(model, own, report.model_sha256, what="classifier")
    classes = report.classes.astype(str)
    found = np.flatnonzero(np.isin(classes, [goal, f"{goal}.0"]))  # a float label in `obs` is 5.0, the state is 5
    asked = np.full(len(vectors), found[0]) if len(found) else classifier.head(vectors).argmax(1)
    change = ProbabilityChange(classifier.head, classifier.temperature, asked)
    if not len(found):
        _log.info(f"perturb: {goal!r} is no class of the classifier; each cell is asked about its own class")
    return change, goal if len(found) else "the cell's own", own.sha256


def _require_model(model: Model, own: Model, fitted_on: str, *, what: str) -> None:
    """Refuse a saved readout, whose folder holds ``own``, of a model other than that which runs."""
    if model.sha256 not in (own.sha256, fitted_on):
        raise ValueError(
            f"The {what} in {own.path} was fitted on another model than {model.name!r}; pass model= the model it was "
            f"fitted on, or model={str(own.path)!r}, which holds it."
        )
    if model.pooling != own.pooling:
        raise ValueError(
            f"The {what} in {own.path} reads embeddings of pooling {own.pooling!r}, and these are {model.pooling!r}; "
            f"pass pooling={own.pooling!r}."
        )
