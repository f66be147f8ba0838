"""A perturbation run: all edited copies go through the network in one stream and are read off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scflyformer import _log
from scflyformer.perturbation._copies import Edits, Mean, read_copies
from scflyformer.perturbation._shift import state_cosines

if TYPE_CHECKING:
    from scflyformer._running import Running
    from scflyformer.network._infer import Pooling
    from scflyformer.network._network import CellBert
    from scflyformer.perturbation._cells import EmbeddedCells
    from scflyformer.perturbation._checkpoint import Checkpoint
    from scflyformer.perturbation._edit import Kind
    from scflyformer.perturbation._make_readouts import Probes
    from scflyformer.perturbation._scan import Scan, Shifts

_NOISE_CELLS = 16


@dataclass(frozen=True, eq=False)
class Found:
    """What came out of a scan.

    Attributes
    ----------
    shifts
        For each group: number of a set → what was read off its cells.
    labels
        Mean shift over sample means towards the goal and each permuted goal, shape (n_slots, 1 + n_permutations),
        in the slots of the scan; `None` without.
    moves
        Mean move over sample means of the cell token, shape (n_slots, hidden size); likewise.
    """

    shifts: list[dict[int, Shifts]]
    labels: np.ndarray | None
    moves: np.ndarray | None


def run_scan(
    network: CellBert,
    cells: EmbeddedCells,
    scan: Scan,
    probes: Probes,
    *,
    kind: Kind,
    dose: float,
    pooling: Pooling,
    checkpoint: Checkpoint | None,
    running: Running,
) -> Found:
    """Perturb every gene set in every group, and null sets beside it.

    Parameters
    ----------
    network
        The network.
    cells
        All cells; those of ``scan.cells`` are used.
    scan
        Where and what to perturb.
    probes
        What is read off.
    kind, dose, pooling
        The edit, the pooling.
    checkpoint
        Where what is done is kept.
    running
        How the network runs.
    """
    weight = sample_weights(scan.slot, cells.samples[scan.cells][scan.pairs[0]])
    averaged = [readout for readout in (probes.labels, probes.token) if readout is not None]
    edits = Edits(scan.table.matrix(), *scan.pairs, kind, dose)
    with _log.progress(total=len(scan.pairs[0]), desc=f"{kind} genes", unit="copy") as bar:
        values, means = read_copies(
            network, cells.rows.take(scan.cells), edits, vectors=cells.vectors[scan.cells], pooling=pooling,
            readouts=probes.readouts, means=[Mean(readout, scan.slot, weight) for readout in averaged],
            checkpoint=checkpoint, bar=bar, running=running,
        )  # fmt: skip
    labels = None if probes.labels is None else means.pop(0)
    moves = None if probes.token is None else means.pop(0)
    towards = values[0]
    shifts = scan.by_set(np.column_stack([*values, towards[:, 0] - towards[:, 1]]))
    return Found(shifts, labels, moves)


def sample_weights(slot: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Return the weight of each copy in its slot's mean over sample means, float64, shape (n_pairs,)."""
    _, code = np.unique(samples.astype(str), return_inverse=True)
    keys, place, size = np.unique(slot * (code.max(initial=0) + 1) + code, return_inverse=True, return_counts=True)
    n_samples = np.bincount(keys // (code.max(initial=0) + 1))
    return 1 / (size[place] * n_samples[slot])


def noise_floor(
    network: CellBert,
    cells: EmbeddedCells,
    pool: np.ndarray,
    goal: np.ndarray,
    *,
    pooling: Pooling,
    running: Running,
) -> float:
    """Return how far a cell that nothing was done to moves towards the goal, at most, when it is embedded alone.

    Parameters
    ----------
    network, cells
        As for :func:`run_scan`.
    pool
        The cells that are perturbed; few of them are tried.
    goal
        Centroid of the goal, shape (width,).
    """
    from scflyformer.network._infer import embed_rows

    some = pool[np.linspace(0, len(pool) - 1, min(len(pool), _NOISE_CELLS)).astype(int)]
    one_by_one = (cells.rows.take(np.array([cell])) for cell in some)
    alone = np.concatenate([embed_rows(network, row, pooling=pooling, running=running) for row in one_by_one])
    which = np.zeros((len(some), 1), dtype=np.int64)
    again, before = (state_cosines(part, goal[None], which) for part in (alone, cells.vectors[some]))
    return float(np.nanmax(np.abs(again - before)))
