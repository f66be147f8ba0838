"""What is read off edited cells: shifts between the groups' states, predicted age, probability, permuted states."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from scflyformer import _log
from scflyformer.perturbation._judge import LINEAR, TRANSFORMER
from scflyformer.perturbation._readouts import (
    AgeChange,
    ByGroup,
    Displacement,
    DotChange,
    LinearPart,
    ProbabilityChange,
    Readout,
    TokenMove,
    TowardsStates,
)
from scflyformer.perturbation._shift import held_out_centroids, inliers
from scflyformer.perturbation._state_samples import state_samples
from scflyformer.perturbation._tables import shift_columns

if TYPE_CHECKING:
    from scflyformer.clock._saved import SavedClock
    from scflyformer.models import Model
    from scflyformer.network._infer import Pooling
    from scflyformer.perturbation._cells import EmbeddedCells, StateGroup
    from scflyformer.perturbation._request import PerturbRequest
    from scflyformer.perturbation._state_samples import StateSamples

Centroid = Literal["mean", "trimmed"]


@dataclass(frozen=True, eq=False)
class Readouts:
    """What is read off each edited copy.

    Attributes
    ----------
    towards
        Shifts towards goal, start and alternatives.
    goals
        Centroid of the goal of each group, shape (n_groups, width).
    columns
        Name of each number read off: of ``of_copies`` side by side but for the linear part, of the net shift and of
        its two parts.
    of_copies
        Kept for each copy, ``towards`` first, then, where there is one, its linear part.
    states
        Samples of each group.
    permuted
        Which of their units are the goal in truth and in each permutation; `None` for groups with too few samples.
    sums
        Averaged over the copies of a sample: change towards each unit, likewise of the linear part, displacement.
    token
        Move of the cell token, averaged over copies; `None` where no expression is decoded.
    params
        What is recorded of clock and classifier among the parameters of the run.
    """

    towards: TowardsStates
    goals: np.ndarray
    columns: list[str]
    of_copies: list[Readout]
    states: list[StateSamples]
    permuted: list[np.ndarray | None]
    sums: list[Readout]
    token: TokenMove | None
    params: dict[str, str | None]

    @property
    def has_linear_part(self) -> bool:
        """Whether the profile code is told apart from the cell token."""
        return LINEAR in self.columns


def make_readouts(
    model: Model,
    groups: list[StateGroup],
    cells: EmbeddedCells,
    request: PerturbRequest,
    *,
    states: list[str],
    pooling: Pooling,
) -> Readouts:
    """Return the readouts of a run; ``states`` are the labels of goal, start and alternatives.

    Raises
    ------
    ValueError
        When a clock or classifier does not read what is embedded here.
    """
    clock, classifier = request.clock, request.classifier
    if pooling != model.pooling and not (clock is None and classifier is None):
        raise ValueError(
            f"pooling is {pooling!r}; clocks and classifiers of {model.name!r} read {model.pooling!r}. Leave "
            "pooling= out, or run without readouts=."
        )
    towards = towards_states(groups, cells, request.centroid)
    ends = np.cumsum([0, *(len(group.cells) for group in groups[:-1])])
    columns, of_copies = shift_columns(states[2:]), list[Readout]([towards])
    token_size = model.hidden_size if pooling == "cell" and model.network().profile_encoder is not None else None
    if token_size is not None:
        of_copies.append(LinearPart(towards, token_size))
    params: dict[str, str | None] = {}
    if clock is not None:
        age, saved = age_change(clock, model, groups)
        columns.append("age")
        of_copies.append(age)
        params |= {"clock_age_key": saved.age_key, "clock_target": saved.target}
        params["clock_sha256"] = saved.model.sha256
    if classifier is not None:
        edited = cells.vectors[np.concatenate([group.cells for group in groups])]
        change, label, params["classifier_sha256"] = probability_change(classifier, model, edited, states[0])
        columns.append("probability")
        of_copies.append(change)
        params["probability_of"] = label
    decoded = bool(request.downstream) and pooling == "cell" and model.has_cell_token
    token = TokenMove(model.hidden_size) if decoded else None
    goals = towards.centroids[towards.states[ends, 0]]
    of_states = [state_samples(group, cells, in_parts=request.screens) for group in groups]
    permuted = [of_group.permuted_goals(n=request.n_label, seed=request.seed) for of_group in of_states]
    width = max(len(of_group.goal) for of_group in of_states)
    dots = ByGroup(
        [DotChange(of_group.sums, width) for of_group in of_states], [len(group.cells) for group in groups], width
    )
    linear = [] if token_size is None else [LinearPart(dots, token_size)]
    parts = [] if token_size is None else [LINEAR, TRANSFORMER]
    return Readouts(
        towards,
        goals,
        [*columns, "net_shift", *parts],
        of_copies,
        of_states,
        permuted,
        [dots, *linear, Displacement()],
        token,
        params,
    )


def towards_states(groups: list[StateGroup], cells: EmbeddedCells, centroid: Centroid) -> TowardsStates:
    """Return the shifts of the cells of all groups, one group after the other: towards goal, start and alternatives."""
    states, centroids, ahead = [], [], 0
    for group in groups:
        of_group, which = group_centroids(group, cells, centroid)
        states.append(np.where(which >= 0, which + ahead, -1))
        centroids.append(of_group)
        ahead += len(of_group)
    return TowardsStates(np.concatenate(centroids), np.concatenate(states))


def group_centroids(group: StateGroup, embedded: EmbeddedCells, centroid: Centroid) -> tuple[np.ndarray, np.ndarray]:
    """Return centroids of goal, start and alternatives, and which of them each edited cell is held against.

    Shapes (n_centroids, width) and (n_edited, 2 + n_alt), -1 where there is none. A cell's centroids come from other
    samples than its own: that of the start else from other cells, that of the goal else from all.
    """
    vectors, samples = embedded.vectors, embedded.samples

    def counted(cells: np.ndarray) -> np.ndarray:
        return inliers(vectors[cells]) if centroid == "trimmed" else np.ones(len(cells), dtype=bool)

    def middle(cells: np.ndarray) -> np.ndarray:
        return vectors[cells[counted(cells)]].astype(np.float64).mean(0, keepdims=True)

    start_centroids, of_start = held_out_centroids(
        vectors[group.start], samples[group.start], counted=counted(group.start)
    )
    parts = [middle(group.goal), start_centroids]
    which = np.full((len(group.cells), 2 + len(group.alt)), -1, dtype=np.int64)
    which[:, 0] = 0
    place = of_start[np.searchsorted(group.start, group.cells)]
    which[:, 1] = np.where(place >= 0, place + 1, -1)
    shared = np.intersect1d(samples[group.cells].astype(str), samples[group.goal].astype(str))
    for sample in shared:  # that holds cells of both states
        others = group.goal[samples[group.goal].astype(str) != sample]
        if len(others):
            which[samples[group.cells].astype(str) == sample, 0] = sum(map(len, parts))
            parts.append(middle(others))
    for number, cells in enumerate(group.alt):
        if len(cells):
            which[:, 2 + number] = sum(map(len, parts))
            parts.append(middle(cells))
    return np.concatenate(parts), which


def age_change(path: str | os.PathLike[str], model: Model, groups: list[StateGroup]) -> tuple[AgeChange, SavedClock]:
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
    of_cell = np.repeat(number, [len(group.cells) for group in groups])
    return AgeChange(slopes, offsets, of_cell, clock.to_age), clock


def probability_change(
    path: str | os.PathLike[str], model: Model, vectors: np.ndarray, goal: str
) -> tuple[ProbabilityChange, str, str]:
    """Return the change in a class's probability by a saved classifier, which class that is, and the folder's hash.

    The class is the goal's where the classifier has it, else each cell's most probable one. ``vectors`` are the
    embeddings of the cells that are edited.
    """
    from scflyformer.annotation._saved import load_classifier

    classifier, report = load_classifier(path)
    known_model = classifier.known_model
    _require_model(model, known_model, report.model_sha256, what="classifier")
    classes = report.classes.astype(str)
    place = np.flatnonzero(np.isin(classes, [goal, f"{goal}.0"]))  # a float label in `obs` is 5.0, the state is 5
    asked = np.full(len(vectors), place[0]) if len(place) else classifier.head(vectors).argmax(1)
    change = ProbabilityChange(classifier.head, classifier.temperature, asked)
    if not len(place):
        _log.info(f"perturb: {goal!r} is no class of the classifier; each cell is asked about its own class")
    return change, goal if len(place) else "the cell's own", known_model.sha256


def _require_model(model: Model, saved: Model, fitted_on: str, *, what: str) -> None:
    """Refuse a saved readout, whose folder holds ``saved``, of a model other than that which runs."""
    if model.sha256 not in (saved.sha256, fitted_on):
        raise ValueError(
            f"The {what} in {saved.path} was fitted on another model than {model.name!r}; pass model= the model it was "
            f"fitted on, or model={str(saved.path)!r}, which holds it."
        )
    if model.pooling != saved.pooling:
        raise ValueError(
            f"The {what} in {saved.path} reads embeddings of pooling {saved.pooling!r}, and these are "
            f"{model.pooling!r}; pass pooling={saved.pooling!r}."
        )
