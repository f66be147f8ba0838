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
    from scflyformer.perturbation._edit_plan import EditPlan
    from scflyformer.perturbation._make_readouts import Readouts

_NOISE_CELLS = 16


@dataclass(frozen=True, eq=False)
class ScanResult:
    """What came out of a scan.

    Attributes
    ----------
    values
        What was read off each copy, float64, shape (n_copies, n_columns).
    dots, linear
        Mean change towards each unit of the states' samples, over the copies of each sample, in the slots of the plan,
        shape (n_slots, n_samples, n_units): in all, and of the linear part (`None` where it is not told apart).
    size
        Mean displacement, shape (n_slots,).
    moves
        Mean move over sample means of the cell token, shape (n_slots, hidden size); `None` without.
    """

    values: np.ndarray
    dots: np.ndarray
    linear: np.ndarray | None
    size: np.ndarray
    moves: np.ndarray | None


def run_scan(
    embedder: Embedder, cells: EmbeddedCells, plan: EditPlan, readouts: Readouts, checkpoint: Checkpoint | None
) -> ScanResult:
    """Edit every gene set in every group, and null sets beside it; what is done is kept in the checkpoint."""
    copies = plan.copies
    weight = sample_weights(plan.slot, cells.samples[plan.cells][copies.cells])
    own = np.concatenate([states.own for states in readouts.states])[copies.cells]
    n_samples = max(states.n_samples for states in readouts.states)
    by_sample, equal = plan.slot * n_samples + own, np.ones(len(copies))
    *towards_units, size = readouts.sums
    means = [Mean(readout, by_sample, equal) for readout in towards_units]
    means += [Mean(readout, plan.slot, weight) for readout in (size, readouts.token) if readout is not None]
    with _log.progress(total=len(copies), desc=f"{plan.kind} genes", unit="copy") as bar:
        values, found = read_copies(
            embedder,
            cells.rows.take(plan.cells),
            copies,
            vectors=cells.vectors[plan.cells],
            readouts=readouts.of_copies,
            means=means,
            checkpoint=checkpoint,
            bar=bar,
        )
    n_slots = int(plan.slot.max(initial=-1)) + 1
    dots = [_in_slots(part, n_slots, n_samples) for part in found[: len(towards_units)]]
    lengths, *moves = found[len(towards_units) :]
    linear = dots[1] if readouts.has_linear_part else None
    return ScanResult(_with_net_shifts(values, readouts), dots[0], linear, lengths[:, 0], moves[0] if moves else None)


def _in_slots(means: np.ndarray, n_slots: int, n_samples: int) -> np.ndarray:
    """Return means of slots and samples, shape (at most n_slots * n_samples, width), as three dimensions."""
    out = np.full((n_slots * n_samples, means.shape[1]), np.nan)
    out[: len(means)] = means
    return out.reshape(n_slots, n_samples, -1)


def _with_net_shifts(values: list[np.ndarray], readouts: Readouts) -> np.ndarray:
    """Return the columns of what was read off each copy, the net shift and its parts last."""
    towards, *others = values
    net = [towards[:, 0] - towards[:, 1]]
    if readouts.has_linear_part:
        linear = others.pop(0)
        net += [linear[:, 0] - linear[:, 1]]
        net += [net[0] - net[1]]
    return np.column_stack([towards, *others, *net])


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
