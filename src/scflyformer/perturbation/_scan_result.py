"""What a scan finds: all edited copies go through the network in one stream and are read off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scflyformer import _log
from scflyformer.perturbation._copies import Mean, read_copies
from scflyformer.perturbation._shift import state_cosines

if TYPE_CHECKING:
    from scflyformer.perturbation._cells import EmbeddedCells, Embedder
    from scflyformer.perturbation._checkpoint import Checkpoint
    from scflyformer.perturbation._edit_plan import EditPlan, SetReadout
    from scflyformer.perturbation._make_readouts import Readouts

_NOISE_CELLS = 16


@dataclass(frozen=True, eq=False)
class ScanResult:
    """What came out of a scan.

    Attributes
    ----------
    shifts
        For each group: number of a set → what was read off its cells.
    labels
        Mean shift over sample means towards the goal and each permuted goal, shape (n_slots, 1 + n_permutations),
        in the slots of the plan; `None` without.
    moves
        Mean move over sample means of the cell token, shape (n_slots, hidden size); likewise.
    """

    shifts: list[dict[int, SetReadout]]
    labels: np.ndarray | None
    moves: np.ndarray | None


def run_scan(
    embedder: Embedder, cells: EmbeddedCells, plan: EditPlan, readouts: Readouts, checkpoint: Checkpoint | None
) -> ScanResult:
    """Edit every gene set in every group, and null sets beside it; what is done is kept in the checkpoint."""
    copies = plan.copies
    weight = sample_weights(plan.slot, cells.samples[plan.cells][copies.cells])
    averaged = [readout for readout in (readouts.labels, readouts.token) if readout is not None]
    with _log.progress(total=len(copies), desc=f"{plan.kind} genes", unit="copy") as bar:
        values, means = read_copies(
            embedder,
            cells.rows.take(plan.cells),
            copies,
            vectors=cells.vectors[plan.cells],
            readouts=readouts.of_copies,
            means=[Mean(readout, plan.slot, weight) for readout in averaged],
            checkpoint=checkpoint,
            bar=bar,
        )
    labels = None if readouts.labels is None else means.pop(0)
    moves = None if readouts.token is None else means.pop(0)
    towards = values[0]
    shifts = plan.by_set(np.column_stack([*values, towards[:, 0] - towards[:, 1]]))
    return ScanResult(shifts, labels, moves)


def sample_weights(slot: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Return the weight of each copy in its slot's mean over sample means, float64, shape (n_copies,)."""
    _, code = np.unique(samples.astype(str), return_inverse=True)
    keys, place, size = np.unique(slot * (code.max(initial=0) + 1) + code, return_inverse=True, return_counts=True)
    n_samples = np.bincount(keys // (code.max(initial=0) + 1))
    return 1 / (size[place] * n_samples[slot])


def noise_floor(embedder: Embedder, cells: EmbeddedCells, edited: np.ndarray, goal: np.ndarray) -> float:
    """Return how far an unedited cell moves towards the goal, at most, when it is embedded alone.

    Few of the ``edited`` cells are tried; ``goal`` is the centroid of the goal, shape (width,).
    """
    tried = edited[np.linspace(0, len(edited) - 1, min(len(edited), _NOISE_CELLS)).astype(int)]
    alone = np.concatenate([embedder.embed(cells.rows.take(np.array([cell]))) for cell in tried])
    which = np.zeros((len(tried), 1), dtype=np.int64)
    again, before = (state_cosines(part, goal[None], which) for part in (alone, cells.vectors[tried]))
    return float(np.nanmax(np.abs(again - before)))
